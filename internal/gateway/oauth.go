package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/identity"
	"gatehouse/internal/platform"
	"gatehouse/internal/wire"
)

// refusedEndpoints are never carried, with what to do instead.
var refusedEndpoints = map[platform.Endpoint]string{
	platform.Authorize:    "people agree at the platform itself, in their browser; begin a connection with POST /gatehouse/v1/connections",
	platform.TokenCode:    "Gatehouse exchanges authorization codes itself; begin a connection with POST /gatehouse/v1/connections and redeem its code",
	platform.TokenOther:   "Gatehouse does not know this grant type; handles are made with POST /gatehouse/v1/handles",
	platform.RequestToken: "Gatehouse does the OAuth 1.0a dance itself; begin a connection with POST /gatehouse/v1/connections",
	platform.AccessToken:  "Gatehouse does the OAuth 1.0a dance itself; begin a connection with POST /gatehouse/v1/connections",
}

// undeclaredEndpoints need no declaration, with the rule that allows them.
var undeclaredEndpoints = map[platform.Endpoint]string{
	platform.TokenRefresh:      ruleOwnHandle,
	platform.TokenExtend:       ruleOwnHandle,
	platform.Revoke:            ruleReduction,
	platform.Invalidate:        ruleReduction,
	platform.RemovePermissions: ruleReduction,
}

const (
	// ruleOwnHandle allows a caller to get back the handle that it sent.
	ruleOwnHandle = "gateway/own-handle"
	// ruleReduction allows a caller to give up access.
	ruleReduction = "gateway/reduction"
)

// endpoints are the OAuth endpoints that are answered here. Those that are not
// named are refused or, like the reading of permissions, ordinary calls.
var endpoints map[platform.Endpoint]func(*call, context.Context) error

func init() {
	endpoints = map[platform.Endpoint]func(*call, context.Context) error{
		platform.TokenRefresh:      (*call).answerRefresh,
		platform.TokenExtend:       (*call).answerRefresh,
		platform.TokenApp:          (*call).answerAppToken,
		platform.Revoke:            (*call).answerRevoke,
		platform.Invalidate:        (*call).answerRevoke,
		platform.DebugToken:        (*call).answerDebugToken,
		platform.RemovePermissions: (*call).answerRemovePermissions,
	}
}

// reduces reports whether the call only gives up access. That works even when
// the log cannot be written.
func (c *call) reduces() bool { return undeclaredEndpoints[c.class.Endpoint] == ruleReduction }

// operand returns the handle that an OAuth endpoint is asked about: the one in
// the named parameters, or the caller's own.
func (c *call) operand(ctx context.Context, names ...string) (identity.Handle, string, error) {
	for _, name := range names {
		for _, in := range []params{c.body.params, c.query} {
			value, ok := in.get(name)
			if !ok || value == "" || value == c.shown.text {
				continue
			}
			h, err := c.gateway.authenticate(ctx, value)
			if err == nil && h.ServiceName != c.handle.ServiceName {
				err = wire.Unauthenticated("identity/handle-unknown", "No such handle exists here for this service.")
			}
			return h, value, err
		}
	}
	return c.handle, c.shown.text, nil
}

// usable returns a handle's connection if the grant still stands.
func (c *call) usable(ctx context.Context, h identity.Handle) (connect.Connection, error) {
	connection, err := c.gateway.config.Connections.Get(ctx, h.Connection)
	if err == nil && !connection.Status.Usable() {
		err = wire.Refuse(gatehouse.ErrDenied, "connect/"+strings.ReplaceAll(string(connection.Status), "_", "-"),
			"the grant behind this handle cannot be used any more; let the person connect again")
	}
	return connection, err
}

// answerRefresh answers the renewal of a token: Gatehouse renews the real one by
// itself, so the caller gets back the handle that it has.
func (c *call) answerRefresh(ctx context.Context) error {
	h, text, err := c.operand(ctx, "refresh_token", "fb_exchange_token")
	if err != nil {
		return err
	}
	connection, err := c.usable(ctx, h)
	if err != nil {
		return err
	}
	if text == "" {
		return wire.Refuse(gatehouse.ErrInvalid, "refuse/oauth-endpoint", "an OAuth 1.0a handle does not expire by itself and is not renewed")
	}
	out := map[string]any{"access_token": text, "token_type": "bearer", "expires_in": secondsLeft(h)}
	if c.at.platform == platform.X {
		out["scope"] = strings.Join(connection.Scopes, " ")
		out["refresh_token"] = text
	}
	return c.answerJSON(ctx, http.StatusOK, out)
}

// answerAppToken answers the request for the app's own token. What the platform
// gives contains the app's secret (Facebook) or stands for the whole app (X), so
// it is kept as a child connection, and the caller gets a handle.
func (c *call) answerAppToken(ctx context.Context) error {
	text, err := c.appHandle(ctx)
	if err != nil {
		return err
	}
	return c.answerJSON(ctx, http.StatusOK, map[string]any{"access_token": text, "token_type": "bearer"})
}

// answerRevoke ends the grant behind a handle, here and at the platform.
func (c *call) answerRevoke(ctx context.Context) error {
	h, text, err := c.operand(ctx, "token", "revoke_token", "access_token")
	if err != nil {
		return err
	}
	if err := c.revoke(ctx, h); err != nil {
		return err
	}
	switch {
	case c.class.Endpoint == platform.Invalidate:
		if text == "" {
			text = string(h.ID) // the OAuth 1.0a token
		}
		return c.answerJSON(ctx, http.StatusOK, map[string]any{"access_token": text})
	case c.at.platform == platform.X:
		return c.answerJSON(ctx, http.StatusOK, map[string]any{"revoked": true})
	}
	return c.answerJSON(ctx, http.StatusOK, map[string]any{"success": true})
}

// revoke goes on when the caller hangs up: a grant that was half given up would
// be worse than none.
func (c *call) revoke(ctx context.Context, h identity.Handle) error {
	return c.gateway.config.Connections.Revoke(context.WithoutCancel(ctx), h.Connection, "the app asked for it through service "+string(h.ServiceName))
}

// answerRemovePermissions ends the whole grant as a revocation does. The removal
// of a single permission is the platform's business and passes on.
func (c *call) answerRemovePermissions(ctx context.Context) error {
	_, inQuery := c.query.get("permission")
	_, inBody := c.body.params.get("permission")
	if inQuery || inBody || c.class.Param("permission") != "" {
		reply, err := c.send(ctx)
		if err != nil {
			return err
		}
		defer reply.Body.Close()
		return c.relay(ctx, reply)
	}
	if id := c.class.Param("id"); id != "" {
		connection, err := c.usable(ctx, c.handle)
		if err != nil {
			return err
		}
		if connection.PlatformUser != id {
			return wire.Refuse(gatehouse.ErrDenied, "refuse/other-person", "the handle stands for another person than the one whose permissions are to be removed")
		}
	}
	if err := c.revoke(ctx, c.handle); err != nil {
		return err
	}
	return c.answerJSON(ctx, http.StatusOK, map[string]any{"success": true})
}

// debugTypes are the platform's words for kinds of token.
var debugTypes = map[connect.Kind]string{
	connect.KindUser: "USER", connect.KindPage: "PAGE", connect.KindSystemUser: "SYSTEM_USER", connect.KindApp: "APP",
}

// answerDebugToken says about a handle what the platform would say about its
// token. It is answered from our own record: the platform's answer would be about
// a token that the caller does not have, and would need the app's secret.
func (c *call) answerDebugToken(ctx context.Context) error {
	h, _, err := c.operand(ctx, "input_token")
	var connection connect.Connection
	if err == nil {
		connection, err = c.usable(ctx, h)
	}
	if err != nil {
		if wire.StatusOf(err) >= http.StatusInternalServerError {
			return err
		}
		return c.answerJSON(ctx, http.StatusOK, map[string]any{"data": map[string]any{
			"is_valid": false, "scopes": []string{},
			"error": map[string]any{"code": 190, "message": "The handle is not one that can be used."},
		}})
	}
	app := c.settings.Apps[h.App]
	scopes := connection.Scopes
	if scopes == nil {
		scopes = []string{}
	}
	data := map[string]any{
		"app_id": app.ClientID, "application": string(h.App), "type": debugTypes[connection.Kind], "is_valid": true,
		"issued_at": h.Created.Unix(), "expires_at": h.Expires.Unix(), "scopes": scopes,
	}
	switch connection.Kind {
	case connect.KindUser, connect.KindSystemUser:
		data["user_id"] = connection.PlatformUser
	case connect.KindPage:
		data["profile_id"] = connection.PlatformUser
	}
	return c.answerJSON(ctx, http.StatusOK, map[string]any{"data": data})
}

func secondsLeft(h identity.Handle) int64 {
	return max(0, int64(time.Until(h.Expires)/time.Second))
}

// answerJSON writes an answer of our own.
func (c *call) answerJSON(ctx context.Context, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	out := newReplyWriter(c, status, nil)
	out.contentType = "application/json; charset=utf-8"
	out.delivery = c.lineage(ctx)
	defer out.release()
	if _, err := out.Write(b); err != nil {
		return err
	}
	return out.finish()
}
