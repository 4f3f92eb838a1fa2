package meta

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// dataAccess is how long an app may read a person's data without the person
// having used it.
const dataAccess = 90 * 24 * time.Hour

// secondsLeft is a token's expires_in.
func (p *Platform) secondsLeft(t *token) int {
	return int(t.expires.Sub(p.now()).Round(time.Second) / time.Second)
}

func bearerReply(p *Platform, t *token) *reply {
	out := object{{"access_token", t.value}, {"token_type", "bearer"}}
	if !t.expires.IsZero() {
		out.set("expires_in", p.secondsLeft(t))
	}
	return answer(out)
}

func oauthFailure(code, subcode int, challenge, message string) *failure {
	return &failure{status: http.StatusBadRequest, kind: oauthException, code: code, subcode: subcode, message: message, challenge: challenge}
}

// registered checks client_id and client_secret.
func (p *Platform) registered(c *call) (*app, *failure) {
	id := c.params.Get("client_id")
	if id == "" {
		return nil, oauthFailure(101, 0, "invalid_request", "Missing client_id parameter.")
	}
	a := p.apps[id]
	if a == nil || a.product != c.product {
		return nil, oauthFailure(101, 0, "invalid_request", "Error validating application. Cannot get application info due to a system error.")
	}
	secret := c.params.Get("client_secret")
	if secret == "" {
		return nil, oauthFailure(1, 0, "invalid_request", "Missing client_secret parameter.")
	}
	if !equal(secret, a.AppSecret) {
		return nil, oauthFailure(1, 0, "invalid_request", "Error validating client secret.")
	}
	return a, nil
}

// facebookToken answers GET and POST /oauth/access_token.
func (p *Platform) facebookToken(c *call) *reply {
	a, failed := p.registered(c)
	if failed != nil {
		return failed.reply()
	}
	switch grantType := c.params.Get("grant_type"); grantType {
	case "client_credentials":
		return bearerReply(p, p.newToken(token{kind: appToken, app: a}))
	case "fb_exchange_token":
		return p.exchangeFacebook(c, a)
	case "", "authorization_code":
		g, failed := p.redeem(c, a)
		if failed != nil {
			return failed.reply()
		}
		return bearerReply(p, p.userTokenFor(g, false))
	default:
		return oauthFailure(100, 0, "invalid_request", "Unsupported grant_type.").reply()
	}
}

// redeem spends an authorization code.
func (p *Platform) redeem(c *call, a *app) (*grant, *failure) {
	text := c.params.Get("code")
	if text == "" {
		return nil, oauthFailure(1, 0, "invalid_request", "Missing authorization code")
	}
	redirect := c.params.Get("redirect_uri")
	if redirect == "" {
		return nil, oauthFailure(191, 0, "invalid_request", "Missing redirect_uri parameter.")
	}
	// Instagram's and Threads' own "#_" must not be sent back; Facebook's is cut
	// by every browser. A code with it is not the code.
	found := p.codes[text]
	switch {
	case found == nil || found.app != a:
		return nil, oauthFailure(100, 0, "invalid_code", "Invalid verification code format.")
	case found.used:
		return nil, oauthFailure(100, 36009, "invalid_code", "This authorization code has been used.")
	case !p.now().Before(found.expires):
		return nil, oauthFailure(100, 36007, "invalid_code", "This authorization code has expired.")
	case found.redirect != redirect:
		return nil, oauthFailure(100, 36008, "invalid_code", "Error validating verification code. Please make sure your redirect_uri is identical to the one you used in the OAuth dialog request")
	case found.challenge != "" && !verifierMatches(found.challenge, c.params.Get("code_verifier")):
		return nil, oauthFailure(100, 0, "invalid_code", "Invalid code_verifier.")
	case found.grant.removed:
		return nil, oauthFailure(100, 36009, "invalid_code", "This authorization code has been used.")
	}
	found.used = true
	return found.grant, nil
}

// verifierMatches accepts both PKCE methods; a challenge of the plain kind is the
// verifier itself.
func verifierMatches(challenge, verifier string) bool {
	sum := sha256.Sum256([]byte(verifier))
	return equal(challenge, base64.RawURLEncoding.EncodeToString(sum[:])) || equal(challenge, verifier)
}

// exchangeFacebook turns a live user token into a long-lived one, and renews a
// sixty-day system user token. There is no refresh token, and what has expired
// cannot be exchanged.
func (p *Platform) exchangeFacebook(c *call, a *app) *reply {
	value := c.params.Get("fb_exchange_token")
	if value == "" {
		return oauthFailure(1, 0, "invalid_request", "Missing fb_exchange_token parameter.").reply()
	}
	old, failed := p.check(value, facebook)
	if failed != nil {
		return failed.reply()
	}
	if old.app != a {
		return oauthFailure(190, 0, "invalid_token", "The access token does not belong to application "+a.AppID+".").reply()
	}
	switch old.kind {
	case userToken:
		return bearerReply(p, p.userTokenFor(old.grant, true))
	case systemToken:
		t := token{kind: systemToken, app: a, node: old.node, scopes: old.scopes, long: true}
		if yes(c.params.Get("set_token_expires_in_60_days")) {
			t.expires = p.now().Add(p.config.LongTTL)
		}
		return bearerReply(p, p.newToken(t))
	}
	return oauthFailure(100, 0, "invalid_request", "The access token cannot be exchanged.").reply()
}

// revokeToken answers GET /oauth/revoke.
func (p *Platform) revokeToken(c *call) *reply {
	a, failed := p.registered(c)
	if failed != nil {
		return failed.reply()
	}
	if _, failed := p.check(c.credential(), facebook); failed != nil {
		return failed.reply()
	}
	t := p.tokens[c.params.Get("revoke_token")]
	if t == nil || t.app != a {
		return dead(0, "Invalid OAuth access token - Cannot parse access token").reply()
	}
	t.dead = 467
	return success()
}

// igFailure is the shape of errors on Instagram's token host.
func igFailure(message string) *reply {
	r := answer(object{{"error_type", oauthException}, {"code", 400}, {"error_message", message}})
	r.status = http.StatusBadRequest
	return r
}

// instagramCode answers POST api.instagram.com/oauth/access_token.
func (p *Platform) instagramCode(c *call) *reply {
	if c.method != http.MethodPost {
		return igFailure("This endpoint requires POST")
	}
	a := p.apps[c.params.Get("client_id")]
	if a == nil || a.product != instagram || !equal(c.params.Get("client_secret"), a.AppSecret) {
		return igFailure("Invalid platform app")
	}
	if c.params.Get("grant_type") != "authorization_code" {
		return igFailure("Invalid grant_type")
	}
	g, failed := p.redeem(c, a)
	switch {
	case failed != nil && failed.subcode == 36008:
		return igFailure("Error validating verification code. Please make sure your redirect_uri is identical to the one you used in the OAuth dialog request")
	case failed != nil:
		return igFailure("Matching code was not found or was already used")
	}
	t := p.userTokenFor(g, false)
	inner := object{{"access_token", t.value}, {"user_id", t.node.id}, {"permissions", strings.Join(t.permissions(), ",")}}
	if p.config.FlatInstagramToken {
		return answer(inner)
	}
	return answer(object{{"data", []any{inner}}})
}

// threadsCode answers graph.threads.net/oauth/access_token: codes, and the app's
// own token.
func (p *Platform) threadsCode(c *call) *reply {
	a, failed := p.registered(c)
	if failed != nil {
		return failed.reply()
	}
	if c.params.Get("grant_type") == "client_credentials" {
		return bearerReply(p, p.newToken(token{kind: appToken, app: a}))
	}
	if c.method != http.MethodPost || c.params.Get("grant_type") != "authorization_code" {
		return oauthFailure(100, 0, "invalid_request", "Unsupported request.").reply()
	}
	g, failed := p.redeem(c, a)
	if failed != nil {
		return failed.reply()
	}
	t := p.userTokenFor(g, false)
	id, err := strconv.ParseInt(t.node.id, 10, 64)
	if err != nil {
		return oauthFailure(1, 0, "invalid_request", "An unknown error has occurred.").reply()
	}
	return answer(object{{"access_token", t.value}, {"user_id", id}})
}

// exchangeLong turns a short-lived Instagram or Threads token into a long-lived
// one.
func (p *Platform) exchangeLong(c *call, grantType string) *reply {
	if c.params.Get("grant_type") != grantType {
		return oauthFailure(100, 0, "invalid_request", "Unsupported grant_type.").reply()
	}
	t, failed := p.check(c.credential(), c.product)
	if failed != nil {
		return failed.reply()
	}
	if !equal(c.params.Get("client_secret"), t.app.AppSecret) {
		return oauthFailure(1, 0, "invalid_request", "Error validating client secret.").reply()
	}
	if t.long || t.kind != userToken {
		return oauthFailure(452, 0, "invalid_token", "Session key invalid. This could be because the session key has an incorrect format, or because the user has revoked this session").reply()
	}
	return bearerReply(p, p.userTokenFor(t.grant, true))
}

// refreshLong renews a long-lived token that is at least a day old. No secret is
// asked for.
func (p *Platform) refreshLong(c *call, grantType string) *reply {
	if c.params.Get("grant_type") != grantType {
		return oauthFailure(100, 0, "invalid_request", "Unsupported grant_type.").reply()
	}
	t, failed := p.check(c.credential(), c.product)
	switch {
	case failed != nil:
		return failed.reply()
	case !t.long || t.kind != userToken:
		return oauthFailure(100, 0, "invalid_token", "The access token is not a long-lived token.").reply()
	case !t.has(fixedScope(c.product)):
		return denied(10, "Application does not have permission for this action").reply()
	case p.now().Sub(t.issued) < p.config.RefreshAge:
		return oauthFailure(100, 0, "invalid_token", "The access token must be at least 24 hours old to be refreshed.").reply()
	}
	return bearerReply(p, p.userTokenFor(t.grant, true))
}

// debugToken answers GET /debug_token: what is known about a token, for the app
// that it belongs to.
func (p *Platform) debugToken(c *call) *reply {
	if failed := p.authenticate(c); failed != nil {
		return failed.reply()
	}
	value := c.params.Get("input_token")
	if value == "" {
		return invalid("The parameter input_token is required").reply()
	}
	t := p.find(value)
	if t == nil || t.app != c.token.app {
		failed := invalid("You must provide an app access token, or a user access token that is an owner or developer of the app")
		if t == nil {
			return answer(object{{"data", object{
				{"error", object{{"code", 190}, {"message", "Invalid OAuth access token - Cannot parse access token"}}}, {"is_valid", false}, {"scopes", []string{}},
			}}})
		}
		return failed.reply()
	}
	return answer(object{{"data", p.describe(t)}})
}

func (p *Platform) describe(t *token) object {
	out := object{{"app_id", t.app.AppID}, {"type", string(t.kind)}, {"application", t.app.Name}}
	failed := p.alive(t)
	if t.kind != appToken {
		// A system user is no person whose use would count.
		access := int64(0)
		if t.grant != nil {
			access = t.grant.access.Unix()
		}
		out.set("data_access_expires_at", access)
		expires := int64(0)
		if !t.expires.IsZero() {
			expires = t.expires.Unix()
		}
		out.set("expires_at", expires)
	}
	if failed != nil {
		out.set("error", object{{"code", failed.code}, {"message", failed.message}, {"subcode", failed.subcode}})
	}
	out.set("is_valid", failed == nil)
	if t.long {
		out.set("issued_at", t.issued.Unix())
	}
	if t.kind == pageToken {
		out.set("profile_id", t.node.id)
	}
	scopes := t.permissions()
	if scopes == nil || t.kind == appToken {
		scopes = []string{}
	}
	out.set("scopes", scopes)
	if t.kind == userToken && t.app.product == facebook {
		out.set("granular_scopes", p.granular(t, scopes))
	}
	switch {
	case t.grant != nil:
		out.set("user_id", p.me(t.app.product, t.grant.person).id)
	case t.kind == systemToken:
		out.set("user_id", t.node.id)
	}
	return out
}

// granular names the pages and accounts that permissions reach.
func (p *Platform) granular(t *token, scopes []string) []any {
	list := []any{}
	for _, scope := range scopes {
		entry := object{{"scope", scope}}
		var targets []string
		for _, page := range p.pagesOf(t.grant.person) {
			switch {
			case strings.HasPrefix(scope, "pages_") || scope == "leads_retrieval":
				targets = append(targets, page.id)
			case strings.HasPrefix(scope, "instagram_"):
				if account, ok := page.props["instagram"].(*node); ok {
					targets = append(targets, account.id)
				}
			default:
				continue
			}
		}
		if len(targets) > 0 {
			entry.set("target_ids", targets)
			list = append(list, entry)
		}
	}
	return list
}
