package connect

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"gatehouse/internal/platform"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// requestToken is the temporary credential of X's three-legged OAuth 1.0a. Its
// secret plays the part that the PKCE verifier has in OAuth 2.0.
type requestToken struct {
	token  string
	secret secret.Text
}

// text is the form in which a request token is sealed; neither part can hold a
// space.
func (r requestToken) text() secret.Text { return secret.New(r.token + " " + r.secret.Reveal()) }

func parseRequestToken(t secret.Text) requestToken {
	token, tokenSecret, _ := strings.Cut(t.Reveal(), " ")
	return requestToken{token, secret.New(tokenSecret)}
}

// requestToken asks X for a request token whose consent returns to callback.
func (c *Connections) requestToken(ctx context.Context, a App, callback string) (requestToken, error) {
	values, err := client{c, a}.oauth1Form(ctx, a.Endpoints.API+"/oauth/request_token", nil, grant{}, platform.Pair{Key: "oauth_callback", Value: callback})
	if err != nil {
		return requestToken{}, err
	}
	if values.Get("oauth_callback_confirmed") != "true" {
		return requestToken{}, wire.BadGateway("connect/platform-reply", "The platform did not confirm the callback address.", nil)
	}
	return requestToken{values.Get("oauth_token"), secret.New(values.Get("oauth_token_secret"))}, nil
}

// accessToken turns an agreed request token into a lasting one. That the
// callback was for this request token is how its attempt was found.
func (c *Connections) accessToken(ctx context.Context, a App, request requestToken, verifier string) (grant, error) {
	if verifier == "" {
		return grant{}, &denial{"invalid_request"}
	}
	values, err := client{c, a}.oauth1Form(ctx, a.Endpoints.API+"/oauth/access_token", url.Values{"oauth_verifier": {verifier}},
		grant{access: secret.New(request.token), refresh: request.secret})
	if err != nil {
		return grant{}, err
	}
	g := grant{
		access: secret.New(values.Get("oauth_token")), refresh: secret.New(values.Get("oauth_token_secret")),
		user: values.Get("user_id"), name: values.Get("screen_name"),
	}
	g, err = client{c, a}.obtained(ctx, g, checkUser(&g))
	return g, err
}

// oauth1Form makes one signed call to an OAuth 1.0a endpoint, whose reply is a
// form.
func (p client) oauth1Form(ctx context.Context, address string, values url.Values, g grant, extra ...platform.Pair) (url.Values, error) {
	req, err := form(ctx, address, values)
	if err != nil {
		return nil, err
	}
	if err := p.sign(req, values, g, extra...); err != nil {
		return nil, err
	}
	body, err := p.fetch(req)
	if err != nil {
		return nil, err
	}
	reply, err := url.ParseQuery(string(body))
	bad := func(s string) bool { return s == "" || len(s) > 1000 || strings.ContainsAny(s, " \r\n") }
	if err != nil || bad(reply.Get("oauth_token")) || bad(reply.Get("oauth_token_secret")) {
		return nil, wire.BadGateway("connect/platform-reply", "The platform's answer held no usable token.", nil)
	}
	return reply, nil
}

// whoseOAuth1 asks X whose OAuth 1.0a token a grant is.
func (c *Connections) whoseOAuth1(ctx context.Context, a App, g *grant) error {
	p := client{c, a}
	req, err := get(ctx, a.Endpoints.API+"/2/users/me", nil)
	if err != nil {
		return err
	}
	if err := p.sign(req, nil, *g); err != nil {
		return err
	}
	return p.me(req, g)
}

// invalidate ends an OAuth 1.0a token at X.
func (c *Connections) invalidate(ctx context.Context, a App, g grant) error {
	p := client{c, a}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.Endpoints.API+"/1.1/oauth/invalidate_token", nil)
	if err != nil {
		return err
	}
	if err := p.sign(req, nil, g); err != nil {
		return err
	}
	_, err = p.fetch(req)
	return err
}
