package connect

import (
	"context"
	"net/http"
	"net/url"

	"gatehouse"
	"gatehouse/internal/wire"
)

// debugged asks Facebook what a token is, and refuses one of another app or of
// another kind than was said. Facebook's word replaces what the caller believes
// of scopes and expiry.
func (p facebookProvider) debugged(ctx context.Context, kind Kind, g *grant) error {
	found, err := p.inspect(ctx, g.access)
	if err != nil {
		return err
	}
	refuse := func(detail string) error {
		return wire.Refuse(gatehouse.ErrInvalid, "connect/import-refused", "access_token: "+detail)
	}
	switch {
	case !found.valid:
		return refuse("Facebook says that it is not valid (any more)")
	case found.appID != p.app.ClientID:
		return refuse("Facebook says that it belongs to another app")
	case found.kind != debugTypes[kind]:
		return refuse("Facebook says that it is not a token of this kind")
	}
	g.expires = found.expires
	var me struct{ ID, Name string }
	if err := p.graph(ctx, http.MethodGet, "/me", url.Values{"fields": {"id,name"}}, *g, &me); err != nil {
		return err
	}
	g.user, g.name = me.ID, me.Name
	g.scopes = found.scopes
	return checkUser(g)
}

// revokeSystemUser ends one token of a system user, which is no person's grant
// and has no permissions edge that would end it.
func (p facebookProvider) revokeSystemUser(ctx context.Context, g grant) error {
	req, err := get(ctx, p.app.Endpoints.API+"/"+p.app.Version+"/oauth/revoke", url.Values{
		"client_id": {p.app.ClientID}, "client_secret": {p.app.ClientSecret.Reveal()}, "revoke_token": {g.access.Reveal()},
	})
	if err != nil {
		return err
	}
	bearer(req, g.access)
	_, err = p.fetch(req)
	return err
}
