package connect

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/wire"
)

// facebookProvider speaks Facebook Login. A code gives a short-lived token,
// which is exchanged for a long-lived one (about 60 days) before the connection
// counts; there is no refresh token, renewal is another exchange. Whether
// Facebook Login honours PKCE is not documented for this flow, so it is not
// sent: the code can only be exchanged with the app secret.
type facebookProvider struct{ client }

func (p facebookProvider) ownScopes() []string { return []string{"public_profile"} }

func (p facebookProvider) authorize(redirect, state, _ string, scopes []string) string {
	return consentURL(p.app.Endpoints.Authorize, url.Values{
		"response_type": {"code"}, "client_id": {p.app.ClientID}, "redirect_uri": {redirect}, "state": {state},
		"scope": {strings.Join(scopes, ",")},
	})
}

func (p facebookProvider) exchange(ctx context.Context, code, redirect, _ string, _ []string) (grant, error) {
	short, err := p.graphToken(ctx, p.app.Endpoints.Token, url.Values{
		"client_id": {p.app.ClientID}, "client_secret": {p.app.ClientSecret.Reveal()}, "redirect_uri": {redirect}, "code": {code},
	})
	if err != nil {
		return grant{}, err
	}
	g, err := p.renew(ctx, short)
	if err != nil {
		return grant{}, err
	}
	return g, p.whose(ctx, &g)
}

// graphToken asks one of Meta's token endpoints that take their parameters in
// the query.
func (p client) graphToken(ctx context.Context, address string, query url.Values) (grant, error) {
	req, err := get(ctx, address, query)
	if err != nil {
		return grant{}, err
	}
	sent := time.Now()
	var reply tokenReply
	if err := p.send(req, &reply); err != nil {
		return grant{}, err
	}
	g, err := reply.grant(p.since(sent))
	return p.obtained(ctx, g, err)
}

func (p facebookProvider) whose(ctx context.Context, g *grant) error {
	var me struct{ ID, Name string }
	if err := p.graph(ctx, http.MethodGet, "/me", url.Values{"fields": {"id,name"}}, *g, &me); err != nil {
		return err
	}
	g.user, g.name = me.ID, me.Name
	if err := checkUser(g); err != nil {
		return err
	}
	var permissions struct {
		Data []struct{ Permission, Status string } `json:"data"`
	}
	if err := p.graph(ctx, http.MethodGet, "/me/permissions", nil, *g, &permissions); err != nil {
		return err
	}
	g.scopes = nil
	for _, one := range permissions.Data {
		if one.Status == "granted" {
			g.scopes = append(g.scopes, one.Permission)
		}
	}
	slices.Sort(g.scopes)
	return nil
}

// graph makes one Graph API call with a user's token and its proof.
func (p client) graph(ctx context.Context, method, path string, query url.Values, g grant, into any) error {
	req, err := get(ctx, p.app.Endpoints.API+"/"+p.app.Version+path, query)
	if err != nil {
		return err
	}
	req.Method = method
	bearer(req, g.access)
	p.prove(req, g.access)
	return p.send(req, into)
}

// renew exchanges a person's token, or a system user's of the kind that expires,
// for one that lives as long again. The old one lives on to its own expiry.
func (p facebookProvider) renew(ctx context.Context, old grant) (grant, error) {
	query := url.Values{
		"grant_type": {"fb_exchange_token"}, "client_id": {p.app.ClientID}, "client_secret": {p.app.ClientSecret.Reveal()},
		"fb_exchange_token": {old.access.Reveal()},
	}
	if old.kind == KindSystemUser {
		// Without it Facebook would answer with a token that never expires.
		query.Set("set_token_expires_in_60_days", "true")
	}
	g, err := p.graphToken(ctx, p.app.Endpoints.Token, query)
	if err == nil && len(g.scopes) == 0 {
		g.scopes = old.scopes
	}
	return g, err
}

// revoke removes the app from the person's account, with all its permissions.
func (p facebookProvider) revoke(ctx context.Context, g grant) error {
	// The reply is {"success":true} or a bare true; both are a 200.
	var reply json.RawMessage
	return p.graph(ctx, http.MethodDelete, "/me/permissions", nil, g, &reply)
}

// instagramProvider speaks Instagram API with Instagram Login.
type instagramProvider struct{ client }

func (p instagramProvider) ownScopes() []string { return []string{"instagram_business_basic"} }

func (p instagramProvider) authorize(redirect, state, _ string, scopes []string) string {
	return metaConsent(p.client, redirect, state, scopes)
}

func metaConsent(p client, redirect, state string, scopes []string) string {
	return consentURL(p.app.Endpoints.Authorize, url.Values{
		"response_type": {"code"}, "client_id": {p.app.ClientID}, "redirect_uri": {redirect}, "state": {state},
		"scope": {strings.Join(scopes, ",")},
	})
}

// codeReply is what Instagram's and Threads' code exchange answers, in either
// of the two shapes that are seen.
type codeReply struct {
	codeGrant
	Data []codeGrant `json:"data"`
}

type codeGrant struct {
	AccessToken string          `json:"access_token"`
	UserID      json.RawMessage `json:"user_id"` // a string, or a number too large for float64
	Permissions json.RawMessage `json:"permissions"`
}

// scopes reads permissions as a comma-separated string or a list.
func (c codeGrant) scopes() []string {
	var text string
	if json.Unmarshal(c.Permissions, &text) == nil {
		return splitScopes(text)
	}
	var list []string
	if json.Unmarshal(c.Permissions, &list) == nil {
		slices.Sort(list)
	}
	return list
}

// codeToken exchanges a code for a short-lived token.
func (p client) codeToken(ctx context.Context, code, redirect string) (grant, error) {
	req, err := form(ctx, p.app.Endpoints.Token, url.Values{
		"client_id": {p.app.ClientID}, "client_secret": {p.app.ClientSecret.Reveal()}, "grant_type": {"authorization_code"},
		"redirect_uri": {redirect}, "code": {strings.TrimSuffix(code, "#_")},
	})
	if err != nil {
		return grant{}, err
	}
	var reply codeReply
	if err := p.send(req, &reply); err != nil {
		return grant{}, err
	}
	one := reply.codeGrant
	if one.AccessToken == "" && len(reply.Data) == 1 {
		one = reply.Data[0]
	}
	g, err := tokenReply{AccessToken: one.AccessToken}.grant(time.Now())
	if g, err = p.obtained(ctx, g, err); err != nil {
		return grant{}, err
	}
	g.scopes, g.user = one.scopes(), strings.Trim(string(one.UserID), `"`)
	return g, nil
}

// lengthen exchanges a short-lived token for a 60-day one, keeping what the
// code exchange said about scopes and owner.
func (p client) lengthen(ctx context.Context, kind string, short grant) (grant, error) {
	g, err := p.graphToken(ctx, p.app.Endpoints.API+"/access_token", url.Values{
		"grant_type": {kind}, "client_secret": {p.app.ClientSecret.Reveal()}, "access_token": {short.access.Reveal()},
	})
	if err != nil {
		return grant{}, err
	}
	g.user, g.name = short.user, short.name
	if len(g.scopes) == 0 {
		g.scopes = short.scopes
	}
	return g, nil
}

// again refreshes a 60-day token, which the platform allows from the age of
// 24 hours until it expires.
func (p client) again(ctx context.Context, kind string, old grant) (grant, error) {
	g, err := p.graphToken(ctx, p.app.Endpoints.API+"/refresh_access_token", url.Values{
		"grant_type": {kind}, "access_token": {old.access.Reveal()},
	})
	if err == nil && len(g.scopes) == 0 {
		g.scopes = old.scopes
	}
	return g, err
}

func (p instagramProvider) exchange(ctx context.Context, code, redirect, _ string, _ []string) (grant, error) {
	short, err := p.codeToken(ctx, code, redirect)
	if err != nil {
		return grant{}, err
	}
	g, err := p.lengthen(ctx, "ig_exchange_token", short)
	if err != nil {
		return grant{}, err
	}
	return g, p.whose(ctx, &g)
}

func (p instagramProvider) whose(ctx context.Context, g *grant) error {
	var me struct {
		UserID   json.RawMessage `json:"user_id"`
		ID       json.RawMessage `json:"id"`
		Username string          `json:"username"`
	}
	if err := p.graph(ctx, http.MethodGet, "/me", url.Values{"fields": {"user_id,username"}}, *g, &me); err != nil {
		return err
	}
	return settleUser(g, me.Username, me.UserID, me.ID)
}

// settleUser takes the owner's id from the code exchange, which names the
// app-scoped one, or else from the profile.
func settleUser(g *grant, name string, ids ...json.RawMessage) error {
	g.name = name
	for _, id := range ids {
		if g.user == "" {
			g.user = strings.Trim(string(id), `"`)
		}
	}
	return checkUser(g)
}

func (p instagramProvider) renew(ctx context.Context, old grant) (grant, error) {
	return p.again(ctx, "ig_refresh_token", old)
}

// revoke has nothing to call: Instagram documents no revocation by the app.
func (p instagramProvider) revoke(context.Context, grant) error { return nil }

// threadsProvider speaks the Threads API's login.
type threadsProvider struct{ client }

func (p threadsProvider) ownScopes() []string { return []string{"threads_basic"} }

func (p threadsProvider) authorize(redirect, state, _ string, scopes []string) string {
	return metaConsent(p.client, redirect, state, scopes)
}

func (p threadsProvider) exchange(ctx context.Context, code, redirect, _ string, asked []string) (grant, error) {
	short, err := p.codeToken(ctx, code, redirect)
	if err != nil {
		return grant{}, err
	}
	g, err := p.lengthen(ctx, "th_exchange_token", short)
	if err != nil {
		return grant{}, err
	}
	if len(g.scopes) == 0 {
		// Threads does not say what was granted; a call that lacks a scope
		// is refused by Threads itself.
		g.scopes = asked
	}
	return g, p.whose(ctx, &g)
}

func (p threadsProvider) whose(ctx context.Context, g *grant) error {
	var me struct {
		ID       json.RawMessage `json:"id"`
		Username string          `json:"username"`
	}
	req, err := get(ctx, p.app.Endpoints.API+"/v1.0/me", url.Values{"fields": {"id,username"}})
	if err != nil {
		return err
	}
	bearer(req, g.access)
	if err := p.send(req, &me); err != nil {
		return err
	}
	return settleUser(g, me.Username, me.ID)
}

func (p threadsProvider) renew(ctx context.Context, old grant) (grant, error) {
	return p.again(ctx, "th_refresh_token", old)
}

// revoke has nothing to call: Threads documents no revocation by the app.
func (p threadsProvider) revoke(context.Context, grant) error { return nil }

// errNoRenewal means that there is nothing to renew a grant with.
var errNoRenewal = wire.BadGateway("connect/no-renewal", "This grant cannot be renewed: the person must connect again.",
	&platformError{status: 0, class: "no-refresh-token", dead: true})
