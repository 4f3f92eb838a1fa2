package meta

import (
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/internal/sandbox/world"
)

// code is an authorization code. Guarded by Platform.mu.
type code struct {
	app       *app
	grant     *grant
	redirect  string
	challenge string
	expires   time.Time
	used      bool
}

// Facebook's codes live ten minutes here (their lifetime is not documented);
// Instagram's and Threads' an hour.
const (
	facebookCodeLife = 10 * time.Minute
	otherCodeLife    = time.Hour
)

// dialog serves the consent page of each product and takes its answer.
func (p *Platform) dialog(w http.ResponseWriter, r *http.Request, on product) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost && r.Method != http.MethodHead {
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	if err := r.ParseForm(); err != nil {
		dialogError(w, "Invalid Request", "The form cannot be read.")
		return
	}
	// In a posted form "scope" is what was left checked, in the address it is what
	// the app asks for.
	request := r.Form
	if r.Method == http.MethodPost {
		request = world.OriginalRequest(r.PostForm)
	}
	a := p.apps[request.Get("client_id")]
	if a == nil || a.product != on {
		dialogError(w, "Invalid App ID", "The provided app ID does not look like a valid app ID.")
		return
	}
	redirect := request.Get("redirect_uri")
	p.mu.Lock()
	registered := p.redirects[redirect]
	p.mu.Unlock()
	if !registered {
		dialogError(w, "URL Blocked", "This redirect failed because the redirect URI is not whitelisted in the app’s Client OAuth Settings. Make sure Client and Web OAuth Login are on and add all your app domains as Valid OAuth Redirect URIs.")
		return
	}
	responseType := splitScopes(request.Get("response_type"))
	if len(responseType) == 0 {
		responseType = []string{"code"}
	}
	for _, kind := range responseType {
		if kind != "code" && (on != facebook || kind != "token" && kind != "granted_scopes") {
			dialogError(w, "Invalid Parameter", "Unknown response_type.")
			return
		}
	}
	scopes := splitScopes(request.Get("scope"))
	for _, scope := range scopes {
		if !slices.Contains(scopeNames[on], scope) {
			dialogError(w, "Invalid Scopes", "Invalid Scopes: "+scope+". This message is only shown to developers. Users of your app will ignore these permissions if present. Please read the documentation for valid permissions at: https://developers.facebook.com/docs/facebook-login/permissions")
			return
		}
	}
	offered := slices.DeleteFunc(slices.Clone(scopes), func(scope string) bool { return scope == fixedScope(on) })
	decision, decided := world.ReadAnswer(r.Form, offered)
	notice := ""
	if decided {
		if person, ok := p.names[decision.Person]; ok {
			p.answered(w, r, ask{app: a, redirect: redirect, request: request, kinds: responseType, offered: offered}, person, decision)
			return
		}
		notice = "There is nobody of that user name in the sandbox."
	}
	page := world.Consent{
		Platform: map[product]string{facebook: "Facebook", instagram: "Instagram", threads: "Threads"}[on],
		AppName:  a.Name, People: p.people, Scopes: offered, Fixed: []string{fixedScope(on)}, Hidden: request, Notice: notice,
	}
	if err := world.RenderConsent(w, page); err != nil {
		p.log.InfoContext(r.Context(), "consent page not delivered", slog.String("error", err.Error()))
	}
}

// ask is a valid authorization request.
type ask struct {
	app      *app
	redirect string
	request  url.Values
	kinds    []string
	offered  []string
}

// answered redirects back with what the person decided.
func (p *Platform) answered(w http.ResponseWriter, r *http.Request, a ask, person int, decision world.Answer) {
	target, err := url.Parse(a.redirect)
	if err != nil {
		dialogError(w, "URL Blocked", "The redirect URI cannot be parsed.")
		return
	}
	query, fragment := target.Query(), url.Values{}
	state := a.request.Get("state")
	if !decision.Allow {
		query.Set("error", "access_denied")
		query.Set("error_reason", "user_denied")
		query.Set("error_description", "Permissions error.")
		if a.app.product != facebook {
			query.Set("error_description", "The user denied your request.")
		}
	} else {
		p.mu.Lock()
		g := p.decide(a, person, decision)
		if slices.Contains(a.kinds, "code") {
			query.Set("code", p.newCode(a, g))
		}
		if slices.Contains(a.kinds, "token") {
			t := p.userTokenFor(g, false)
			fragment.Set("access_token", t.value)
			fragment.Set("expires_in", strconv.Itoa(p.secondsLeft(t)))
			fragment.Set("data_access_expiration_time", strconv.FormatInt(p.now().Add(dataAccess).Unix(), 10))
		}
		if slices.Contains(a.kinds, "granted_scopes") || a.request.Get("return_scopes") == "true" {
			var yes, no []string
			for _, name := range sortedKeys(g.status) {
				if g.status[name] == granted {
					yes = append(yes, name)
				} else {
					no = append(no, name)
				}
			}
			query.Set("granted_scopes", strings.Join(yes, ","))
			query.Set("denied_scopes", strings.Join(no, ","))
		}
		p.mu.Unlock()
	}
	if len(fragment) > 0 {
		// A token travels in the fragment, and then everything does.
		for name := range query {
			fragment.Set(name, query.Get(name))
		}
		if state != "" {
			fragment.Set("state", state)
		}
		target.RawFragment, target.Fragment = "", ""
		http.Redirect(w, r, target.String()+"#"+fragment.Encode(), http.StatusFound)
		return
	}
	if state != "" {
		query.Set("state", state)
	}
	target.RawQuery = query.Encode()
	// What stands behind the hash is an old habit of theirs that breaks naive
	// clients; Instagram's and Threads' is documented.
	suffix := "#_"
	if a.app.product == facebook {
		suffix = "#_=_"
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, target.String()+suffix, http.StatusFound)
}

// decide records the answer. What was declined before is not asked again unless
// the app says auth_type=rerequest, so it stays declined whatever the form said.
func (p *Platform) decide(a ask, person int, decision world.Answer) *grant {
	yes := decision.Scopes
	if old := p.grants[grantKey{a.app.AppID, person}]; old != nil && a.app.product == facebook && a.request.Get("auth_type") != "rerequest" {
		yes = slices.DeleteFunc(slices.Clone(yes), func(scope string) bool { return old.status[scope] == declined })
	}
	no := slices.DeleteFunc(slices.Clone(a.offered), func(scope string) bool { return slices.Contains(yes, scope) })
	return p.allow(a.app, person, yes, no)
}

func (p *Platform) newCode(a ask, g *grant) string {
	life, text := otherCodeLife, "AQ"+base62(180)
	if a.app.product == facebook {
		life = facebookCodeLife
	}
	p.codes[text] = &code{app: a.app, grant: g, redirect: a.redirect, challenge: a.request.Get("code_challenge"), expires: p.now().Add(life)}
	p.config.Ledger.Add(string(a.app.product)+" authorization code", text)
	return text
}

var errorPage = template.Must(template.New("error").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{{.Title}}</title></head>
<body><main><h1>{{.Title}}</h1><p>{{.Text}}</p></main></body></html>
`))

// dialogError is shown to the person and never redirected: without a trusted
// redirect URI there is nowhere to send it.
func dialogError(w http.ResponseWriter, title, text string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusBadRequest)
	// A browser that left is no concern of ours.
	_ = errorPage.Execute(w, struct{ Title, Text string }{title, text})
}
