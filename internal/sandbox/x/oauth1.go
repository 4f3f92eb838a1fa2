package x

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gatehouse/internal/sandbox/world"
)

// temporaryTTL is the life of a request token; X does not document it.
const temporaryTTL = 15 * time.Minute

// requestToken is the first step of the three-legged flow.
func (p *Platform) requestToken(f *form) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	signed, err := p.verifySigned(f.r, f.body)
	if err != nil {
		return nil, err
	}
	field := func(name string) string {
		for _, value := range []string{signed.fields[name], f.Get(name), f.r.URL.Query().Get(name)} {
			if value != "" {
				return value
			}
		}
		return ""
	}
	callback := field("oauth_callback")
	if callback == "" || callback != "oob" && !p.redirects[callback] {
		return nil, errCallback
	}
	accessType := field("x_auth_access_type")
	if accessType != "" && accessType != "read" && accessType != "write" {
		return nil, errBadAuthData
	}
	t := &temporary{
		value: alphanumeric(27), secret: alphanumeric(32), callback: callback,
		readOnly: accessType == "read", expires: p.now().Add(temporaryTTL),
	}
	p.auth.temporaries[t.value] = t
	p.config.Ledger.Add("x oauth1 request token", t.value)
	p.config.Ledger.Add("x oauth1 request token secret", t.secret)
	return url.Values{"oauth_token": {t.value}, "oauth_token_secret": {t.secret}, "oauth_callback_confirmed": {"true"}}.Encode(), nil
}

// serveOAuth1Authorize is the second step: the person decides. The path
// /oauth/authenticate asks no more once the person has allowed the app.
func (p *Platform) serveOAuth1Authorize(w http.ResponseWriter, r *http.Request) {
	form := r.URL.Query()
	switch r.Method {
	case http.MethodGet:
	case http.MethodPost:
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
		if err := r.ParseForm(); err != nil {
			sendError(w, errBadAuthData)
			return
		}
		form = r.PostForm
	default:
		w.Header().Set("Allow", "GET, POST")
		sendError(w, plainProblem(http.StatusMethodNotAllowed, "Method Not Allowed"))
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.auth.temporaries[form.Get("oauth_token")]
	if t == nil || t.user != nil || !p.now().Before(t.expires) {
		sendError(w, errInvalidToken)
		return
	}
	answer, decided := world.ReadAnswer(form, nil)
	known := p.state.byUsername(form.Get("screen_name"))
	if !decided && strings.HasSuffix(r.URL.Path, "authenticate") && known != nil && p.auth.allowed[known.id] && form.Get("force_login") != "true" {
		answer, decided = world.Answer{Person: known.person.Username, Allow: true}, true
	}
	notice := ""
	if decided && answer.Allow {
		u := p.state.byUsername(answer.Person)
		if u != nil && !u.gone() {
			p.allowOAuth1(w, t, u)
			return
		}
		notice = "There is no person with that user name."
	} else if decided {
		p.denyOAuth1(w, t)
		return
	}
	access := "Read and write posts, and read your profile"
	if t.readOnly {
		access = "Read posts and your profile"
	}
	_ = world.RenderConsent(w, world.Consent{
		Platform: "X", AppName: p.config.App.Name, People: world.People(), Chosen: form.Get("screen_name"),
		Fixed: []string{access}, Hidden: url.Values{"oauth_token": {t.value}}, Notice: notice,
	})
}

// allowOAuth1 binds the request token to the person and sends them back, or
// shows the PIN to type. The caller holds Platform.mu.
func (p *Platform) allowOAuth1(w http.ResponseWriter, t *temporary, u *user) {
	t.user = u
	p.auth.allowed[u.id] = true
	if t.callback == "oob" {
		t.verifier = pin()
		p.config.Ledger.Add("x oauth1 verifier", t.verifier)
		showPage(w, "Enter this PIN in the app", t.verifier)
		return
	}
	t.verifier = alphanumeric(32)
	p.config.Ledger.Add("x oauth1 verifier", t.verifier)
	redirect(w, t.callback, url.Values{"oauth_token": {t.value}, "oauth_verifier": {t.verifier}})
}

// denyOAuth1 throws the request token away. That X sends denied=<request token>
// to the callback is general knowledge, not in its documentation.
func (p *Platform) denyOAuth1(w http.ResponseWriter, t *temporary) {
	delete(p.auth.temporaries, t.value)
	if t.callback == "oob" {
		showPage(w, "You have denied the app access", "")
		return
	}
	redirect(w, t.callback, url.Values{"denied": {t.value}})
}

// pin is seven digits, as X shows them.
func pin() string {
	digits := []byte(letters(7))
	for i := range digits {
		digits[i] = '0' + digits[i]%10
	}
	return string(digits)
}

var notePage = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{{.Title}} (X sandbox)</title></head>
<body><main><h1>{{.Title}}</h1>{{with .Code}}<p><kbd><code id="code">{{.}}</code></kbd></p>{{end}}</main></body></html>
`))

func showPage(w http.ResponseWriter, title, code string) {
	var out bytes.Buffer
	_ = notePage.Execute(&out, struct{ Title, Code string }{title, code}) // writes to memory
	send(w, http.StatusOK, "text/html; charset=utf-8", out.Bytes())
}

// accessToken is the third step: the request token and its verifier become an
// access token, once.
func (p *Platform) accessToken(f *form) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	signed, err := p.verifySigned(f.r, f.body)
	if err != nil {
		return nil, err
	}
	t := signed.temporary
	if t == nil {
		return nil, errInvalidToken
	}
	verifier := signed.fields["oauth_verifier"]
	if verifier == "" {
		verifier = f.Get("oauth_verifier")
	}
	if t.user == nil || !same(verifier, t.verifier) {
		return nil, errCouldNotAuthenticate
	}
	delete(p.auth.temporaries, t.value)
	access := p.issueOAuth1(t.user, t.readOnly)
	return url.Values{
		"oauth_token": {access.value}, "oauth_token_secret": {access.secret},
		"user_id": {t.user.id}, "screen_name": {t.user.person.Username},
	}.Encode(), nil
}

// invalidateOAuth1 ends the token that signed the request.
func (p *Platform) invalidateOAuth1(f *form) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	signed, err := p.verifySigned(f.r, f.body)
	if err != nil {
		return nil, err
	}
	if signed.token == nil {
		return nil, errBadAuthData
	}
	signed.token.revoke()
	return map[string]any{"access_token": signed.token.value}, nil
}

// serveLegacy serves the few operations of API 1.1 that clients still use to
// check a signature.
func (p *Platform) serveLegacy(w http.ResponseWriter, r *http.Request, method string, handle func(caller, *form) (any, error)) {
	if r.Method != method {
		w.Header().Set("Allow", method)
		sendError(w, plainProblem(http.StatusMethodNotAllowed, "Method Not Allowed"))
		return
	}
	f, err := readForm(r)
	if err != nil {
		sendError(w, err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	who, err := p.authenticate(r, f.body)
	if err == nil && who.kind != oauth1User {
		err = errNotAllowed
	}
	if err != nil {
		sendError(w, err)
		return
	}
	reply, err := handle(who, f)
	if err != nil {
		sendError(w, err)
		return
	}
	send(w, http.StatusOK, jsonType, encode(reply))
}

// verifyCredentials is GET /1.1/account/verify_credentials.json.
func (p *Platform) verifyCredentials(who caller, _ *form) (any, error) {
	u := who.user
	return map[string]any{
		"id_str": u.id, "name": u.person.Name, "screen_name": u.person.Username, "description": u.person.Bio,
		"location": u.person.Location, "protected": u.protected, "followers_count": u.followers.len(),
		"friends_count": u.following.len(), "statuses_count": len(u.posts),
	}, nil
}

// updateStatus is POST /1.1/statuses/update.json.
func (p *Platform) updateStatus(who caller, f *form) (any, error) {
	if who.token.readOnly {
		return nil, &legacyError{status: http.StatusForbidden, code: 261, message: "Application cannot perform write actions."}
	}
	text := f.Get("status")
	if text == "" || weight(text) > maxWeight {
		return nil, &legacyError{status: http.StatusForbidden, code: 186, message: "Tweet needs to be a bit shorter."}
	}
	if p.duplicate(who.user, text) {
		return nil, errLegacyDuplicate
	}
	made := p.addPost(&post{author: who.user, text: text})
	return map[string]any{
		"id_str": made.id, "text": made.text, "created_at": made.created.Format("Mon Jan 02 15:04:05 -0700 2006"),
		"user": map[string]any{"id_str": who.user.id, "screen_name": who.user.person.Username, "name": fmt.Sprint(who.user.person.Name)},
	}, nil
}
