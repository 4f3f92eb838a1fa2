package x

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// form is one request to an OAuth endpoint: its parsed fields beside the
// request.
type form struct {
	r    *http.Request
	body []byte
	url.Values
}

// maxForm bounds the forms of the OAuth endpoints.
const maxForm = 64 << 10

// servePost reads a form and answers with what the handler returns: text stays
// text, anything else becomes JSON.
func (p *Platform) servePost(w http.ResponseWriter, r *http.Request, handle func(*form) (any, error)) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		sendError(w, plainProblem(http.StatusMethodNotAllowed, "Method Not Allowed"))
		return
	}
	f, err := readForm(r)
	if err != nil {
		sendError(w, err)
		return
	}
	reply, err := handle(f)
	if err != nil {
		sendError(w, err)
		return
	}
	if text, ok := reply.(string); ok {
		// X's OAuth 1.0a endpoints say text/html and send a form.
		send(w, http.StatusOK, "text/html;charset=utf-8", []byte(text))
		return
	}
	send(w, http.StatusOK, jsonType, encode(reply))
}

// readForm reads a form body; an empty body is an empty form.
func readForm(r *http.Request) (*form, error) {
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	if len(body) > maxForm {
		return nil, errTooLarge
	}
	if len(body) > 0 && !isForm(r) {
		return nil, &oauthError{http.StatusBadRequest, "invalid_request", "Content-Type must be application/x-www-form-urlencoded."}
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, &oauthError{http.StatusBadRequest, "invalid_request", "The form could not be read."}
	}
	for name, all := range values {
		if len(all) > 1 {
			return nil, &oauthError{http.StatusBadRequest, "invalid_request", "Parameter [" + name + "] was given more than once."}
		}
	}
	return &form{r, body, values}, nil
}

// client identifies and authenticates the OAuth 2.0 client and returns its id.
func (p *Platform) client(f *form) (string, error) {
	app := p.config.App
	if user, password, ok := f.r.BasicAuth(); ok {
		id, errID := url.QueryUnescape(user)
		secret, errSecret := url.QueryUnescape(password)
		if errID != nil || errSecret != nil || !same(id, app.ClientID) || !same(secret, app.ClientSecret) {
			return "", errClient
		}
		if in := f.Get("client_id"); in != "" && in != id {
			return "", invalidOAuthValue("client_id")
		}
		return id, nil
	}
	if f.r.Header.Get("Authorization") != "" {
		return "", errClient
	}
	switch id := f.Get("client_id"); id {
	case "":
		return "", missingOAuthParameter("client_id")
	case app.PublicClientID:
		return id, nil
	case app.ClientID:
		// A confidential client must use the header; a secret in the body does
		// not count.
		return "", errClient
	}
	// The status for an unknown client is not known; RFC 6749 says 401.
	return "", &oauthError{http.StatusUnauthorized, "invalid_client", "Value passed for the client_id was invalid."}
}

var errClient = &oauthError{http.StatusUnauthorized, "unauthorized_client", "Missing valid authorization header"}

// same compares secrets.
func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// exchangeToken is the token endpoint.
func (p *Platform) exchangeToken(f *form) (any, error) {
	clientID, err := p.client(f)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch f.Get("grant_type") {
	case "authorization_code":
		return p.exchangeCode(f, clientID)
	case "refresh_token":
		return p.refresh(f, clientID)
	case "":
		return nil, missingOAuthParameter("grant_type")
	}
	return nil, &oauthError{http.StatusBadRequest, "unsupported_grant_type", "Value passed for the grant_type was invalid."}
}

// exchangeCode redeems an authorization code. The code is gone whatever the
// outcome: a wrong verifier must not allow a second guess.
func (p *Platform) exchangeCode(f *form, clientID string) (any, error) {
	for _, name := range []string{"code", "redirect_uri", "code_verifier"} {
		if f.Get(name) == "" {
			return nil, missingOAuthParameter(name)
		}
	}
	c := p.auth.codes[f.Get("code")]
	if c == nil {
		return nil, invalidOAuthValue("authorization code")
	}
	delete(p.auth.codes, f.Get("code"))
	if c.grant.clientID != clientID || c.redirectURI != f.Get("redirect_uri") ||
		!p.now().Before(c.expires) || !c.verifies(f.Get("code_verifier")) {
		return nil, invalidOAuthValue("authorization code")
	}
	return p.issuePair(c.grant), nil
}

// verifies checks the PKCE verifier against the challenge.
func (c *code) verifies(verifier string) bool {
	if c.method != "S256" {
		return same(verifier, c.challenge)
	}
	sum := sha256.Sum256([]byte(verifier))
	return same(base64.RawURLEncoding.EncodeToString(sum[:]), c.challenge)
}

// issuePair makes an access token and, with offline.access, a refresh token.
func (p *Platform) issuePair(g *grant) map[string]any {
	now := p.now()
	access := p.issue(&token{
		kind: "access", value: newOAuth2Secret("at", now), grant: g, user: g.user, scopes: g.scopes, expires: now.Add(p.config.TokenTTL),
	})
	reply := map[string]any{
		"token_type":   "bearer",
		"expires_in":   int(p.config.TokenTTL.Seconds()),
		"access_token": access.value,
		"scope":        strings.Join(g.scopes, " "),
	}
	if slices.Contains(g.scopes, "offline.access") {
		refresh := p.issue(&token{
			kind: "refresh", value: newOAuth2Secret("rt", now), grant: g, user: g.user, scopes: g.scopes, expires: now.Add(p.config.RefreshTTL),
		})
		reply["refresh_token"] = refresh.value
	}
	return reply
}

// refresh exchanges a refresh token, which is single-use.
func (p *Platform) refresh(f *form, clientID string) (any, error) {
	if f.Get("refresh_token") == "" {
		return nil, missingOAuthParameter("refresh_token")
	}
	t := p.auth.tokens[f.Get("refresh_token")]
	if t == nil || t.kind != "refresh" || t.grant.clientID != clientID {
		return nil, invalidOAuthValue("token")
	}
	if t.spent && p.config.FamilyKill {
		t.grant.revoke()
	}
	if !t.live(p.now()) || t.user.gone() {
		return nil, invalidOAuthValue("token")
	}
	t.spent = true
	if p.config.RefreshKillsAccess {
		for _, other := range t.grant.tokens {
			if other.kind == "access" {
				other.revoke()
			}
		}
	}
	return p.issuePair(t.grant), nil
}

// revokeToken is the revocation endpoint. Revoking the refresh token ends the
// consent; revoking an access token leaves the refresh token usable, as
// implementers assume and nobody has measured. An unknown token is no error
// (RFC 7009).
func (p *Platform) revokeToken(f *form) (any, error) {
	clientID, err := p.client(f)
	if err != nil {
		return nil, err
	}
	if f.Get("token") == "" {
		return nil, missingOAuthParameter("token")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.auth.tokens[f.Get("token")]; t != nil && t.grant != nil && t.grant.clientID == clientID {
		if t.kind == "refresh" {
			t.grant.revoke()
		} else {
			t.revoke()
		}
	}
	return map[string]any{"revoked": true}, nil
}

// issueAppBearer is the app-only token endpoint.
func (p *Platform) issueAppBearer(f *form) (any, error) {
	if !p.isConsumer(f.r) {
		return nil, errUnableToVerify
	}
	if f.Get("grant_type") != "client_credentials" {
		return nil, &legacyError{status: http.StatusForbidden, code: 170, message: "Missing required parameter: grant_type", label: "forbidden_missing_parameter"}
	}
	return map[string]any{"token_type": "bearer", "access_token": p.AppBearer()}, nil
}

// isConsumer checks the consumer key and secret in a Basic header; both are
// form-encoded before they are joined.
func (p *Platform) isConsumer(r *http.Request) bool {
	user, password, ok := r.BasicAuth()
	key, errKey := url.QueryUnescape(user)
	secret, errSecret := url.QueryUnescape(password)
	return ok && errKey == nil && errSecret == nil && same(key, p.config.App.ConsumerKey) && same(secret, p.config.App.ConsumerSecret)
}

// invalidateAppBearer ends the app-only bearer. X's documentation shows both
// Basic and OAuth 1.0a authentication; both are taken.
func (p *Platform) invalidateAppBearer(f *form) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.isConsumer(f.r) {
		if _, err := p.verifySigned(f.r, f.body); err != nil {
			return nil, errUnableToVerify
		}
	}
	t := p.auth.tokens[f.Get("access_token")]
	if t == nil || t.kind != "app" || t.revoked {
		return nil, errInvalidToken
	}
	t.revoke()
	if p.auth.bearer == t {
		p.auth.bearer = nil
	}
	return map[string]any{"access_token": t.value}, nil
}
