package x

import (
	"net/http"
	"strings"
	"time"
)

// caller is who made a request, and how they proved it.
type caller struct {
	kind  authKind
	user  *user // nil for app-only
	token *token
}

// grant is one consent: the family of everything that grew from it.
type grant struct {
	user     *user
	clientID string
	public   bool
	scopes   []string
	tokens   []*token
}

// token is one secret that authenticates or is exchanged. A token never leaves
// authState.tokens, so that a spent one is recognised as such.
type token struct {
	kind    string // access, refresh, app, oauth1
	value   string
	secret  string // OAuth 1.0a only
	grant   *grant // OAuth 2.0 user tokens only
	user    *user
	scopes  []string
	expires time.Time // zero: never
	spent   bool      // a refresh token that was exchanged
	// readOnly is an OAuth 1.0a token asked for with x_auth_access_type=read.
	readOnly bool
	dead     chan struct{} // closed when revoked; ends streams
	revoked  bool
}

// code is one authorization code.
type code struct {
	grant       *grant
	redirectURI string
	challenge   string
	method      string
	expires     time.Time
}

// temporary is one OAuth 1.0a request token.
type temporary struct {
	value, secret string
	callback      string
	readOnly      bool
	user          *user // set once the person allowed it
	verifier      string
	expires       time.Time
}

// authState is everything that has been granted. Platform.mu guards it.
type authState struct {
	tokens      map[string]*token
	codes       map[string]*code
	temporaries map[string]*temporary
	nonces      map[string]time.Time
	// bearer is the app's one bearer, the same until it is invalidated.
	bearer *token
	// allowed remembers who allowed the app by OAuth 1.0a, for authenticate,
	// which then asks no more.
	allowed map[string]bool
}

func newAuthState() authState {
	return authState{
		tokens:      make(map[string]*token),
		codes:       make(map[string]*code),
		temporaries: make(map[string]*temporary),
		nonces:      make(map[string]time.Time),
		allowed:     make(map[string]bool),
	}
}

// issue records a new token. The caller holds Platform.mu.
func (p *Platform) issue(t *token) *token {
	t.dead = make(chan struct{})
	p.auth.tokens[t.value] = t
	if t.grant != nil {
		t.grant.tokens = append(t.grant.tokens, t)
	}
	p.config.Ledger.Add("x "+t.kind+" token", t.value)
	p.config.Ledger.Add("x "+t.kind+" token secret", t.secret)
	return t
}

// revoke kills a token; what uses it ends.
func (t *token) revoke() {
	if !t.revoked {
		t.revoked = true
		close(t.dead)
	}
}

// revoke kills everything that grew from the consent.
func (g *grant) revoke() {
	for _, t := range g.tokens {
		t.revoke()
	}
}

// live reports whether the token still counts at a time.
func (t *token) live(now time.Time) bool {
	return !t.revoked && !t.spent && (t.expires.IsZero() || now.Before(t.expires))
}

// authenticate finds out who calls. It returns an error of the older interfaces;
// API v2 puts it in its own words. The caller holds Platform.mu.
func (p *Platform) authenticate(r *http.Request, body []byte) (caller, error) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return caller{}, errBadAuthData
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		t := p.auth.tokens[strings.TrimSpace(rest)]
		if t == nil || !t.live(p.now()) {
			return caller{}, errInvalidToken
		}
		switch t.kind {
		case "access":
			return caller{oauth2User, t.user, t}, t.user.barred()
		case "app":
			return caller{appOnly, nil, t}, nil
		}
		return caller{}, errInvalidToken
	case strings.EqualFold(scheme, "OAuth"):
		signed, err := p.verifySigned(r, body)
		if err != nil {
			return caller{}, err
		}
		if signed.token == nil {
			return caller{}, errBadAuthData
		}
		return caller{oauth1User, signed.token.user, signed.token}, signed.token.user.barred()
	}
	return caller{}, errBadAuthData
}

// barred says why an account may not be used, if so. That a suspended person's
// token is refused with 403 and a deleted one's as invalid is general knowledge,
// not in X's documentation of v2.
func (u *user) barred() error {
	switch u.standing {
	case "active":
		return nil
	case "suspended":
		return errSuspended
	}
	return errInvalidToken
}

// Revoke kills any token that the platform issued, as if X had found it leaked.
// It reports whether there was one.
func (p *Platform) Revoke(value string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.auth.tokens[value]
	if t == nil {
		return false
	}
	t.revoke()
	if p.auth.bearer == t {
		p.auth.bearer = nil
	}
	return true
}

// RevokePerson withdraws everything that a person granted, as they can in X's
// settings for connected apps, and tells the webhooks. It reports whether there
// was anything.
func (p *Platform) RevokePerson(username string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.state.byUsername(username)
	if u == nil {
		return false
	}
	found := false
	for _, t := range p.auth.tokens {
		if t.user == u && !t.revoked {
			t.revoke()
			found = true
		}
	}
	delete(p.auth.allowed, u.id)
	if found {
		p.announce("oauth.revoke", u, map[string]any{
			"date_time": timestamp(p.now()), "user_id": u.id, "app_id": p.config.App.ID,
		})
	}
	return found
}

// MintOAuth1 makes an OAuth 1.0a user token without the three-legged dance, as
// the developer portal does for the app's owner. It returns empty strings for an
// unknown person.
func (p *Platform) MintOAuth1(username string) (value, secret string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.state.byUsername(username)
	if u == nil {
		return "", ""
	}
	t := p.issueOAuth1(u, false)
	return t.value, t.secret
}

// AppBearer returns the app-only bearer, the same until it is invalidated.
func (p *Platform) AppBearer() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.appBearer().value
}

// appBearer returns the live bearer or makes one. The caller holds Platform.mu.
func (p *Platform) appBearer() *token {
	if p.auth.bearer == nil {
		p.auth.bearer = p.issue(&token{kind: "app", value: newAppBearer()})
	}
	return p.auth.bearer
}

// issueOAuth1 makes a user token in X's shape: the user's id, a dash and 40
// characters. The caller holds Platform.mu.
func (p *Platform) issueOAuth1(u *user, readOnly bool) *token {
	return p.issue(&token{kind: "oauth1", value: u.id + "-" + alphanumeric(40), secret: alphanumeric(45), user: u, readOnly: readOnly})
}
