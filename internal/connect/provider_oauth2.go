package connect

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"
)

// oauth2Provider is any OAuth 2.0 provider, described by configuration:
// authorization code with PKCE, refresh tokens, RFC 7009 revocation if the app
// names an endpoint for it.
type oauth2Provider struct{ client }

func (p oauth2Provider) ownScopes() []string { return nil }

func (p oauth2Provider) authorize(redirect, state, challenge string, scopes []string) string {
	params := url.Values{
		"response_type": {"code"}, "client_id": {p.app.ClientID}, "redirect_uri": {redirect}, "state": {state},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}
	if len(scopes) > 0 {
		params.Set("scope", strings.Join(scopes, " "))
	}
	return consentURL(p.app.Endpoints.Authorize, params)
}

func (p oauth2Provider) exchange(ctx context.Context, code, redirect, verifier string, asked []string) (grant, error) {
	g, err := p.token(ctx, url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirect}, "code_verifier": {verifier},
	})
	if err != nil {
		return grant{}, err
	}
	if len(g.scopes) == 0 {
		// RFC 6749 §5.1: a reply without scope granted what was asked for.
		g.scopes = asked
	}
	return g, p.whose(ctx, &g)
}

func (p oauth2Provider) whose(ctx context.Context, g *grant) error {
	req, err := get(ctx, p.app.UserInfo, nil)
	if err != nil {
		return err
	}
	bearer(req, g.access)
	var reply json.RawMessage
	if err := p.send(req, &reply); err != nil {
		return err
	}
	path := p.app.UserIDPath
	if path == "" {
		path = "id"
	}
	g.user, g.name = member(reply, path), ""
	if p.app.UserNamePath != "" {
		g.name = member(reply, p.app.UserNamePath)
	}
	return checkUser(g)
}

// member returns the string or number at a dotted path of a JSON object, or "".
func member(object json.RawMessage, path string) string {
	for name := range strings.SplitSeq(path, ".") {
		var members map[string]json.RawMessage
		if json.Unmarshal(object, &members) != nil {
			return ""
		}
		object = members[name]
	}
	var text string
	if json.Unmarshal(object, &text) == nil {
		return text
	}
	var number json.Number
	if json.Unmarshal(object, &number) == nil {
		return number.String()
	}
	return ""
}

func (p oauth2Provider) renew(ctx context.Context, old grant) (grant, error) {
	return p.refresh(ctx, old)
}

func (p oauth2Provider) revoke(ctx context.Context, g grant) error { return p.revokeToken(ctx, g) }
