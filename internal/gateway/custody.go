package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/identity"
	"gatehouse/internal/platform"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// This file is where text from the wire becomes a secret and a secret becomes
// text for the wire; nothing else in the package does either.

// authenticate returns the handle that a bearer text names.
func (g *Gateway) authenticate(ctx context.Context, text string) (identity.Handle, error) {
	if identity.Looks(text) == identity.None && !identity.Resembles(text) {
		return identity.Handle{}, wire.Unauthenticated("refuse/not-a-handle",
			"the access token is not a Gatehouse handle; if it is a platform's token, it does not belong in the app: import it and call with a handle")
	}
	return g.config.Handles.AuthenticateHandle(ctx, secret.New(text))
}

// authenticateOAuth1 verifies the caller's signature over the address that the
// caller signed: the gateway's own, or the platform's real one for clients that
// sign before a transport hook changes the address.
func (c *call) authenticateOAuth1(ctx context.Context) (identity.Handle, error) {
	header, err := platform.ParseOAuth1(c.r.Header.Get("Authorization"))
	if err != nil {
		return identity.Handle{}, wire.Unauthenticated("refuse/authorization", "the OAuth 1.0a Authorization header cannot be read; X's seven parameters are expected, with HMAC-SHA1")
	}
	seconds, err := strconv.ParseInt(header.Timestamp, 10, 64)
	if err != nil {
		return identity.Handle{}, wire.Unauthenticated("refuse/authorization", "the OAuth 1.0a timestamp is not a number")
	}
	var form url.Values
	if c.body.kind == bodyForm {
		form = c.body.params.values()
	}
	verify := func(consumerSecret, tokenSecret secret.Text) bool {
		for _, base := range c.signedAddresses() {
			if platform.VerifyOAuth1(header, c.r.Method, base, form, consumerSecret.Reveal(), tokenSecret.Reveal()) {
				return true
			}
		}
		return false
	}
	return c.gateway.config.Handles.AuthenticateOAuth1(ctx, header.ConsumerKey, header.Token, header.Nonce, time.Unix(seconds, 0), verify)
}

// signedAddresses are the addresses that a client may have signed for this
// request.
func (c *call) signedAddresses() []*url.URL {
	own := "http://"
	if c.r.TLS != nil {
		own = "https://"
	}
	var out []*url.URL
	for _, text := range []string{
		own + c.r.Host + rawPath(c.r), "https://api.x.com" + c.at.path, "https://api.twitter.com" + c.at.path,
	} {
		if u, err := url.Parse(text); err == nil {
			u.RawQuery = c.r.URL.RawQuery
			out = append(out, u)
		}
	}
	return out
}

// adopt keeps a token that a reply contained and returns the handle that stands
// for it: the same one each time.
func (c *call) adopt(ctx context.Context, o owner, child connect.Child, token string) (string, error) {
	if child.ExternalID == "" {
		// The reply does not say whose it is. Two such tokens must not take each
		// other's place, so the token itself tells them apart.
		sum := sha256.Sum256([]byte(token))
		child.ExternalID = "sha256:" + hex.EncodeToString(sum[:])
	}
	child.Token = secret.New(token)
	connection, err := c.gateway.config.Connections.Adopt(ctx, o.receipt, o.handle.Connection, child)
	if err != nil {
		return "", errToken("a token in the reply could not be kept", err)
	}
	text, err := c.gateway.config.Handles.ChildHandle(ctx, o.handle, connection.ID, connection.Person)
	if err != nil {
		return "", errToken("no handle could be made for a token in the reply", err)
	}
	return text.Reveal(), nil
}

// appHandle returns the handle that stands for the app's own token. connect puts
// that token on a request, as for any call by the app; this request is never
// sent, and the token goes from it into the vault.
func (c *call) appHandle(ctx context.Context) (string, error) {
	to := c.gateway.upstreams[c.at.platform].url(platform.RoleAPI, "/", "")
	out, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return "", err
	}
	if err := c.gateway.config.Connections.AppRequest(ctx, c.receipt, c.handle.App, out); err != nil {
		return "", err
	}
	token, ok := strings.CutPrefix(out.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		return "", errors.Join(gatehouse.ErrUnavailable, errors.New("the app has no bearer token"))
	}
	// Not the caller's own grant: the child of the connection it asked with.
	return c.adopt(context.WithoutCancel(ctx), c.owner(), connect.Child{Kind: connect.KindApp, ExternalID: "app"}, token)
}

// carried returns the credential and the proof that connect put on a request, with
// the handle that takes their place wherever the platform repeats them: in an
// error's text, in a header, in a field of which nobody knew.
func carried(authorization, query, handle string) []platform.Known {
	if handle == "" {
		handle = "[token]"
	}
	token, ok := strings.CutPrefix(authorization, "Bearer ")
	if !ok {
		if h, err := platform.ParseOAuth1(authorization); err == nil {
			token = h.Token
		}
	}
	known := []platform.Known{{Value: token, Replacement: handle}}
	if _, rest, ok := strings.Cut(query, "appsecret_proof="); ok {
		proof, _, _ := strings.Cut(rest, "&")
		known = append(known, platform.Known{Value: proof, Replacement: "[proof]"})
	}
	return known
}
