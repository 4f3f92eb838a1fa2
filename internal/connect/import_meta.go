package connect

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// debugTypes are debug_token's words for the kinds that can be handed in.
var debugTypes = map[Kind]string{KindUser: "USER", KindPage: "PAGE", KindSystemUser: "SYSTEM_USER"}

// debugged asks Facebook what a token is, and refuses one of another app or of
// another kind than was said. Facebook's word replaces what the caller believes
// of scopes and expiry.
func (p facebookProvider) debugged(ctx context.Context, kind Kind, g *grant) error {
	req, err := get(ctx, p.app.Endpoints.API+"/"+p.app.Version+"/debug_token", url.Values{"input_token": {g.access.Reveal()}})
	if err != nil {
		return err
	}
	bearer(req, secret.New(p.app.ClientID+"|"+p.app.ClientSecret.Reveal()))
	var reply struct {
		Data struct {
			AppID   string      `json:"app_id"`
			Type    string      `json:"type"`
			Valid   bool        `json:"is_valid"`
			Expires json.Number `json:"expires_at"`
			Scopes  []string    `json:"scopes"`
		} `json:"data"`
	}
	if err := p.send(req, &reply); err != nil {
		return err
	}
	refuse := func(detail string) error {
		return wire.Refuse(gatehouse.ErrInvalid, "connect/import-refused", "access_token: "+detail)
	}
	switch d := reply.Data; {
	case !d.Valid:
		return refuse("Facebook says that it is not valid (any more)")
	case d.AppID != p.app.ClientID:
		return refuse("Facebook says that it belongs to another app")
	case d.Type != debugTypes[kind]:
		return refuse("Facebook says that it is not a token of this kind")
	}
	g.expires = time.Time{}
	if seconds, err := reply.Data.Expires.Int64(); err == nil && seconds > 0 {
		g.expires = time.Unix(seconds, 0)
	}
	var me struct{ ID, Name string }
	if err := p.graph(ctx, http.MethodGet, "/me", url.Values{"fields": {"id,name"}}, *g, &me); err != nil {
		return err
	}
	g.user, g.name = me.ID, me.Name
	g.scopes = slices.Clone(reply.Data.Scopes)
	slices.Sort(g.scopes)
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
