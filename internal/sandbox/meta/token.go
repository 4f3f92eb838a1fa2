package meta

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"
)

// tokenKind is what debug_token calls "type".
type tokenKind string

const (
	userToken   tokenKind = "USER"
	pageToken   tokenKind = "PAGE"
	appToken    tokenKind = "APP"
	systemToken tokenKind = "SYSTEM_USER"
)

// token is one issued access token. Its fields are guarded by Platform.mu.
type token struct {
	value string
	kind  tokenKind
	app   *app
	// grant is what the person allowed; nil for app and system user tokens.
	grant *grant
	// node is what "me" means to this token; nil for app tokens.
	node *node
	// scopes are those of a system user token; a person's stand in the grant.
	scopes []string
	issued time.Time
	// expires is zero for a token that never does.
	expires time.Time
	long    bool
	// dead is set when the token was revoked, with the subcode to answer.
	dead int
}

// has reports whether the token carries any of the permissions.
func (t *token) has(permissions ...string) bool {
	for _, permission := range permissions {
		if t.grant != nil && t.grant.status[permission] == granted {
			return true
		}
		if t.grant == nil && slices.Contains(t.scopes, permission) {
			return true
		}
	}
	return false
}

// permissions lists what the token carries, in a stable order.
func (t *token) permissions() []string {
	if t.grant == nil {
		return slices.Clone(t.scopes)
	}
	var all []string
	for _, permission := range sortedKeys(t.grant.status) {
		if t.grant.status[permission] == granted {
			all = append(all, permission)
		}
	}
	return all
}

// newToken issues a token and records it.
func (p *Platform) newToken(t token) *token {
	prefix, kind := "EAA", "facebook "+strings.ToLower(string(t.kind))+" token"
	switch t.app.product {
	case instagram:
		prefix, kind = "IGAA", "instagram token"
	case threads:
		prefix, kind = "THAA", "threads token"
		if !t.long {
			prefix = "THQ"
		}
	}
	t.value = prefix + base62(160)
	if t.app.product == facebook {
		// Facebook's tokens end in "ZD" more often than not.
		t.value += "ZD"
	}
	if t.kind == appToken {
		t.value, kind = t.app.AppID+"|"+base62(27), string(t.app.product)+" app token"
		if t.app.product == threads {
			t.value = "TH|" + t.value
		}
	}
	t.issued = p.now()
	issued := &t
	p.tokens[t.value] = issued
	p.config.Ledger.Add(kind, t.value)
	return issued
}

// check returns the live token of that value, or the error that a client sees.
func (p *Platform) check(value string, on product) (*token, *failure) {
	t := p.find(value)
	if t == nil || t.app.product != on {
		return nil, dead(0, "Invalid OAuth access token - Cannot parse access token")
	}
	if failed := p.alive(t); failed != nil {
		return nil, failed
	}
	return t, nil
}

// find returns the token of that value, dead or alive. The form
// "app-id|app-secret" is an app token without ever having been issued.
func (p *Platform) find(value string) *token {
	if t := p.tokens[value]; t != nil {
		return t
	}
	id, secret, ok := strings.Cut(strings.TrimPrefix(value, "TH|"), "|")
	if a := p.apps[id]; ok && a != nil && equal(secret, a.AppSecret) {
		return &token{value: value, kind: appToken, app: a}
	}
	return nil
}

// alive returns why a token does not work, nil when it does.
func (p *Platform) alive(t *token) *failure {
	now := p.now()
	switch {
	case t.grant != nil && t.grant.removed:
		return dead(458, "Error validating access token: The user has not authorized application "+t.app.AppID+".")
	case t.dead == 460:
		return dead(460, "Error validating access token: The session has been invalidated because the user changed their password or Facebook has changed the session for security reasons.")
	case t.dead == 459:
		return dead(459, "Error validating access token: You cannot access the app till you log in to www.facebook.com and follow the instructions given.")
	case t.dead == 492:
		return dead(492, "Error validating access token: The user must be an administrator, editor, or moderator of the page in order to impersonate it.")
	case t.dead == 493:
		return dead(493, "Error validating access token: Any of the pages_read_engagement, pages_manage_metadata permission(s) must be granted before impersonating a user's page.")
	case t.dead != 0:
		return dead(t.dead, "Error validating access token: The session is invalid because the user logged out.")
	case !t.expires.IsZero() && !now.Before(t.expires):
		const form = "Monday, 02-Jan-06 15:04:05 PST"
		return dead(463, fmt.Sprintf("Error validating access token: Session has expired on %s. The current time is %s.", t.expires.Format(form), now.Format(form)))
	}
	return nil
}

// userTokenFor issues a user token of the product's lifetime.
func (p *Platform) userTokenFor(g *grant, long bool) *token {
	me := p.me(g.app.product, g.person)
	return p.newToken(token{kind: userToken, app: g.app, grant: g, node: me, long: long, expires: p.now().Add(p.lifetime(g.app.product, long))})
}

// lifetime is how long a user token of the product lives.
func (p *Platform) lifetime(on product, long bool) time.Duration {
	switch {
	case on == facebook && long:
		return p.config.LongTTL
	case on == facebook:
		return p.config.ShortTTL
	}
	full := p.config.IGTTL
	if on == threads {
		full = p.config.ThreadsTTL
	}
	if !long {
		return min(time.Hour, full)
	}
	return full
}

// pageTokenFor returns the page's token for a user or system user token. It is
// the same each time: from a long-lived token one that never expires, from a
// short-lived one a token that ends with it.
func (p *Platform) pageTokenFor(t *token, page *node) *token {
	key, expires := page.id+"\x00"+t.value, t.expires
	if t.long {
		expires = time.Time{}
		if t.grant != nil {
			key = page.id + "\x00" + t.grant.id
		}
	}
	if found := p.pageKeys[key]; found != nil && p.alive(found) == nil {
		return found
	}
	issued := p.newToken(token{kind: pageToken, app: t.app, grant: t.grant, scopes: t.scopes, node: page, long: t.long, expires: expires})
	p.pageKeys[key] = issued
	return issued
}

// Revoke kills any token; it reports whether there was one.
func (p *Platform) Revoke(value string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tokens[value]
	if t == nil {
		return false
	}
	t.dead = 467
	return true
}

// invalidateSessions makes every token of a person die as a changed password
// does. Page tokens die with the user token's session.
func (p *Platform) invalidateSessions(person int, subcode int) int {
	killed := 0
	for _, t := range p.tokens {
		if t.grant != nil && t.grant.person == person && t.dead == 0 {
			t.dead = subcode
			killed++
		}
	}
	return killed
}

// MintUserToken gives a long-lived token of the product for the person, as if
// the dialog had been answered with everything allowed.
func (p *Platform) MintUserToken(product, username string, scopes ...string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.appOf(productOf(product))
	if a == nil {
		return "", fmt.Errorf("there is no product %q", product)
	}
	person, ok := p.names[username]
	if !ok {
		return "", fmt.Errorf("there is no person %q", username)
	}
	if len(scopes) == 0 {
		scopes = allScopes(a.product)
	}
	return p.userTokenFor(p.allow(a, person, scopes, nil), true).value, nil
}

// MintSystemUser gives a system user token that never expires.
func (p *Platform) MintSystemUser(scopes ...string) string {
	return p.MintSystemUserFor(0, scopes...)
}

// MintSystemUserFor gives a system user token that lives as long as said; zero is
// for ever.
func (p *Platform) MintSystemUserFor(life time.Duration, scopes ...string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(scopes) == 0 {
		scopes = allScopes(facebook)
	}
	t := token{kind: systemToken, app: p.appOf(facebook), node: p.nodes[systemUserID], scopes: scopes, long: true}
	if life > 0 {
		t.expires = p.now().Add(life)
	}
	return p.newToken(t).value
}

// SetDataAccess sets until when the app may read a person's data, as if the person
// had last used it 90 days before. It reports whether they have connected it.
func (p *Platform) SetDataAccess(product, username string, until time.Time) bool {
	g, unlock := p.grantOf(product, username)
	defer unlock()
	if g != nil {
		g.access = until
	}
	return g != nil
}

// SetPermission has the person grant or take back one permission in their
// settings. It reports whether the app ever asked them for it.
func (p *Platform) SetPermission(product, username, permission string, on bool) bool {
	g, unlock := p.grantOf(product, username)
	defer unlock()
	if g == nil || g.status[permission] == "" {
		return false
	}
	if g.status[permission] = declined; on {
		g.status[permission] = granted
	}
	return true
}

// grantOf locks the platform and returns the grant that a person gave, or nil.
func (p *Platform) grantOf(product, username string) (g *grant, unlock func()) {
	p.mu.Lock()
	a := p.appOf(productOf(product))
	person, ok := p.names[username]
	if a == nil || !ok {
		return nil, p.mu.Unlock
	}
	return p.grants[grantKey{a.AppID, person}], p.mu.Unlock
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// base62 returns n random characters.
func base62(n int) string {
	b := make([]byte, n)
	limit := big.NewInt(int64(len(alphabet)))
	for i := range b {
		// crypto/rand does not fail on the systems that Go supports.
		c, err := rand.Int(rand.Reader, limit)
		if err != nil {
			panic(fmt.Sprintf("meta: reading randomness: %v", err))
		}
		b[i] = alphabet[c.Int64()]
	}
	return string(b)
}

func hexSecret() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
