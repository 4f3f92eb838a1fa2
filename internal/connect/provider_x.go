package connect

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// xProvider speaks X's OAuth 2.0: authorization code with PKCE, refresh tokens
// that community evidence says are single-use, and a revocation endpoint.
type xProvider struct{ client }

func (p xProvider) ownScopes() []string {
	return []string{"offline.access", "tweet.read", "users.read"}
}

func (p xProvider) authorize(redirect, state, challenge string, scopes []string) string {
	return consentURL(p.app.Endpoints.Authorize, url.Values{
		"response_type": {"code"}, "client_id": {p.app.ClientID}, "redirect_uri": {redirect}, "state": {state},
		"scope": {strings.Join(scopes, " ")}, "code_challenge": {challenge}, "code_challenge_method": {"S256"},
	})
}

// token asks the token endpoint, as a public or a confidential client.
func (p client) token(ctx context.Context, values url.Values) (grant, error) {
	req, err := p.clientForm(ctx, p.app.Endpoints.Token, values)
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

// clientForm returns a POST that proves which client sends it: a confidential
// one by Basic authentication, a public one by its id alone.
func (p client) clientForm(ctx context.Context, address string, values url.Values) (*http.Request, error) {
	values.Set("client_id", p.app.ClientID)
	req, err := form(ctx, address, values)
	if err == nil && !p.app.Public {
		req.SetBasicAuth(url.QueryEscape(p.app.ClientID), url.QueryEscape(p.app.ClientSecret.Reveal()))
	}
	return req, err
}

func (p xProvider) exchange(ctx context.Context, code, redirect, verifier string, _ []string) (grant, error) {
	g, err := p.token(ctx, url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirect}, "code_verifier": {verifier},
	})
	if err != nil {
		return grant{}, err
	}
	return g, p.whose(ctx, &g)
}

func (p xProvider) whose(ctx context.Context, g *grant) error {
	req, err := get(ctx, p.app.Endpoints.API+"/2/users/me", nil)
	if err != nil {
		return err
	}
	bearer(req, g.access)
	return p.me(req, g)
}

// me reads who the request's credential belongs to.
func (p client) me(req *http.Request, g *grant) error {
	var reply struct {
		Data struct{ ID, Username string } `json:"data"`
	}
	if err := p.send(req, &reply); err != nil {
		return err
	}
	g.user, g.name = reply.Data.ID, reply.Data.Username
	return checkUser(g)
}

// checkUser refuses a grant whose owner the platform did not name.
func checkUser(g *grant) error {
	if !plainText(g.user, 1, 200) {
		return wire.BadGateway("connect/platform-reply", "The platform did not say whose grant this is.", nil)
	}
	if !plainText(g.name, 0, 500) {
		g.name = ""
	}
	return nil
}

func (p xProvider) renew(ctx context.Context, old grant) (grant, error) {
	return p.refresh(ctx, old)
}

// refresh uses the refresh token. A reply without a new one means that the old
// one stays in use.
func (p client) refresh(ctx context.Context, old grant) (grant, error) {
	if old.refresh.IsZero() {
		return grant{}, errNoRenewal
	}
	g, err := p.token(ctx, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {old.refresh.Reveal()}})
	if err != nil {
		return grant{}, err
	}
	if g.refresh.IsZero() {
		g.refresh, g.refreshExpires = old.refresh, old.refreshExpires
	}
	if len(g.scopes) == 0 {
		g.scopes = old.scopes
	}
	return g, nil
}

// revoke ends the refresh token, which implementers take to end the access
// token too; without one, the access token.
func (p xProvider) revoke(ctx context.Context, g grant) error { return p.revokeToken(ctx, g) }

func (p client) revokeToken(ctx context.Context, g grant) error {
	if p.app.Endpoints.Revoke == "" {
		return nil
	}
	token, hint := g.refresh, "refresh_token"
	if token.IsZero() {
		token, hint = g.access, "access_token"
	}
	req, err := p.clientForm(ctx, p.app.Endpoints.Revoke, url.Values{"token": {token.Reveal()}, "token_type_hint": {hint}})
	if err != nil {
		return err
	}
	_, err = p.fetch(req)
	return err
}

// bearer puts a token where it is never logged by intermediaries: the header.
func bearer(req *http.Request, token secret.Text) {
	req.Header.Set("Authorization", "Bearer "+token.Reveal())
}
