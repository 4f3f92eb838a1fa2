package world

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Consent is what the consent page shows: who asks, for what, and who may
// answer.
type Consent struct {
	// Platform is the name at the top of the page.
	Platform string
	// AppName is the app that asks.
	AppName string
	// People may be chosen from the list; anybody else by user name.
	People []Person
	// Chosen is the user name that is selected when the page opens; empty means
	// the first of the list.
	Chosen string
	// Scopes are offered as checkboxes, all of them checked.
	Scopes []string
	// Fixed are scopes that the person cannot decline; they are shown, not
	// offered.
	Fixed []string
	// Hidden is the original request; it comes back with the answer.
	Hidden url.Values
	// Notice is an error or remark shown above the form.
	Notice string
}

// Answer is what the person decided.
type Answer struct {
	// Person is the user name of who answered.
	Person string
	// Allow is false when the person pressed "Deny".
	Allow bool
	// Scopes are the ones left checked.
	Scopes []string
}

// The shortcut that only the sandbox has: with these in the query of the
// authorize URL the redirect comes at once, without a page.
const (
	ShortcutPerson   = "sandbox_person"
	ShortcutDecision = "sandbox_decision"
	ShortcutScopes   = "sandbox_scopes"
)

// requestedScope is the hidden field that carries the request's own scope
// parameter through the form.
const requestedScope = "requested_scope"

// OriginalRequest returns the authorization request that a posted consent form
// carries: its hidden fields under their own names, without the answer.
func OriginalRequest(form url.Values) url.Values {
	request := make(url.Values, len(form))
	for name, values := range form {
		switch name {
		case "person", "other", "scope", "decision":
		case requestedScope:
			request["scope"] = values
		default:
			request[name] = values
		}
	}
	return request
}

// listed is how many people the page's list holds.
const listed = 40

// ReadAnswer reads the decision from a posted consent form, or from the shortcut
// parameters of an authorize URL, in which case scopes left out mean all of
// offered. The second result is false when there is no decision yet.
func ReadAnswer(form url.Values, offered []string) (Answer, bool) {
	if person := form.Get(ShortcutPerson); person != "" {
		scopes := slices.Clone(offered)
		if form.Has(ShortcutScopes) {
			scopes = keep(offered, strings.Fields(form.Get(ShortcutScopes)))
		}
		return Answer{Person: person, Allow: form.Get(ShortcutDecision) != "deny", Scopes: scopes}, true
	}
	decision := form.Get("decision")
	if decision != "allow" && decision != "deny" {
		return Answer{}, false
	}
	person := strings.TrimPrefix(strings.TrimSpace(form.Get("other")), "@")
	if person == "" {
		person = form.Get("person")
	}
	return Answer{Person: person, Allow: decision == "allow", Scopes: keep(offered, form["scope"])}, true
}

// keep returns the offered scopes that stand in wanted, in the offered order: a
// form cannot add what was not asked for.
func keep(offered, wanted []string) []string {
	var kept []string
	for _, scope := range offered {
		if slices.Contains(wanted, scope) {
			kept = append(kept, scope)
		}
	}
	return kept
}

// RenderConsent writes the consent page. The form posts to the path the page was
// served from, with the fields person, other, scope (repeated), decision and
// everything in Hidden; a hidden "scope" travels as "requested_scope", because
// "scope" is what the person left checked.
func RenderConsent(w http.ResponseWriter, c Consent) error {
	if len(c.People) > listed {
		c.People = c.People[:listed]
	}
	if c.Chosen == "" && len(c.People) > 0 {
		c.Chosen = c.People[0].Username
	}
	hidden := make(url.Values, len(c.Hidden))
	for name, values := range c.Hidden {
		if name == "scope" {
			name = requestedScope
		}
		hidden[name] = values
	}
	c.Hidden = hidden
	var page bytes.Buffer
	if err := consentPage.Execute(&page, c); err != nil {
		return fmt.Errorf("rendering the consent page: %w", err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	if _, err := page.WriteTo(w); err != nil {
		return fmt.Errorf("sending the consent page: %w", err)
	}
	return nil
}

// The form's action is "?" so that the page works below any path prefix.
var consentPage = template.Must(template.New("consent").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.AppName}} wants to access your {{.Platform}} account (sandbox)</title>
<style>
h1{font-size:1.5rem;line-height:1.25;margin:.75rem 0 1rem}
fieldset p{margin:.35rem 0}
body{font:16px/1.5 system-ui,sans-serif;margin:0;background:#f3f4f6;color:#111827}
main{max-width:34rem;margin:2rem auto;background:#fff;border:1px solid #d1d5db;border-radius:.75rem;padding:1.5rem 2rem}
fieldset{border:1px solid #d1d5db;border-radius:.5rem;margin:1rem 0;padding:.75rem 1rem}
select,input[type=text]{font:inherit;width:100%;box-sizing:border-box;padding:.4rem}
label{display:block;margin:.35rem 0}
.badge{background:#fde68a;color:#78350f;border-radius:.3rem;padding:.1rem .5rem;font-size:.8rem}
.notice{background:#fee2e2;color:#7f1d1d;padding:.5rem .75rem;border-radius:.5rem}
button{font:inherit;padding:.5rem 1.5rem;border-radius:.5rem;border:1px solid #374151;background:#fff;margin-right:.5rem}
button[value=allow]{background:#1d4ed8;border-color:#1d4ed8;color:#fff}
</style>
</head>
<body>
<main>
<p><span class="badge">{{.Platform}} sandbox</span></p>
<h1>{{.AppName}} wants to access your account</h1>
{{with .Notice}}<p class="notice" role="alert">{{.}}</p>{{end}}
<form method="post" action="?">
{{range $name, $values := .Hidden}}{{range $values}}<input type="hidden" name="{{$name}}" value="{{.}}">
{{end}}{{end}}<fieldset>
<legend>Who are you?</legend>
<label for="person">Choose a person</label>
<select id="person" name="person">
{{range .People}}<option value="{{.Username}}" lang="{{.Lang}}"{{if eq .Username $.Chosen}} selected{{end}}>{{.Name}} (@{{.Username}})</option>
{{end}}</select>
<label for="other">or enter any user name</label>
<input type="text" id="other" name="other" autocomplete="off" spellcheck="false">
</fieldset>
<fieldset>
<legend>What may the app do?</legend>
{{range .Fixed}}<p>{{.}} <small>(always included)</small></p>
{{end}}{{range .Scopes}}<label><input type="checkbox" name="scope" value="{{.}}" checked> {{.}}</label>
{{else}}<p>Nothing beyond your public profile.</p>
{{end}}</fieldset>
<button type="submit" name="decision" value="allow">Allow</button>
<button type="submit" name="decision" value="deny">Deny</button>
</form>
</main>
</body>
</html>
`))
