package connect

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/platform"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// debugTypes are debug_token's words for the kinds that it is asked about.
var debugTypes = map[Kind]string{KindUser: "USER", KindPage: "PAGE", KindSystemUser: "SYSTEM_USER"}

// inspected is what Facebook says of a token.
type inspected struct {
	valid       bool
	cause       Cause  // of a token that is not valid
	appID, kind string // may be empty for one that is not valid
	expires     time.Time
	expiryKnown bool      // whether anything was said of it
	dataAccess  time.Time // zero: never, or not said
	scopes      []string  // nil: not said
}

// debugReply is the reply to debug_token. What tells life from death is a pointer:
// an answer that lacks it says nothing.
type debugReply struct {
	Data struct {
		AppID      string      `json:"app_id"`
		Type       string      `json:"type"`
		Valid      *bool       `json:"is_valid"`
		Expires    json.Number `json:"expires_at"`
		DataAccess json.Number `json:"data_access_expires_at"`
		Scopes     []string    `json:"scopes"`
		Error      *struct {
			Code    int `json:"code"`
			Subcode int `json:"subcode"`
		} `json:"error"`
	} `json:"data"`
}

var (
	// errMisfit is an answer that cannot be about the token that was asked about:
	// a fault of the configuration, or of the platform, and no word on the grant.
	errMisfit = wire.BadGateway("connect/check-misfit", "The platform's answer is about another app, or another kind of token.", nil)
	// errVague is one that does not say whether the token is good.
	errVague = wire.BadGateway("connect/platform-reply", "The platform's answer does not say whether the token is good.", nil)
)

// inspect asks Facebook what a token is. An error is never a word about the token:
// the call is made, and may be refused, in the app's own name.
func (p facebookProvider) inspect(ctx context.Context, token secret.Text) (inspected, error) {
	req, err := get(ctx, p.app.Endpoints.API+"/"+p.app.Version+"/debug_token", url.Values{"input_token": {token.Reveal()}})
	if err != nil {
		return inspected{}, err
	}
	bearer(req, secret.New(p.app.ClientID+"|"+p.app.ClientSecret.Reveal()))
	var reply debugReply
	if err := p.send(req, &reply); err != nil {
		return inspected{}, err
	}
	return reply.read()
}

// read judges a reply.
func (r debugReply) read() (inspected, error) {
	d := r.Data
	if d.Valid == nil {
		return inspected{}, errVague
	}
	found := inspected{valid: *d.Valid, appID: d.AppID, kind: d.Type, cause: causeInvalid}
	if d.Error != nil {
		cause, dead := platform.DeadToken(d.Error.Code, d.Error.Subcode)
		if !dead || found.valid {
			return inspected{}, errVague // trouble of another kind than the token's end
		}
		found.cause = Cause(cause)
	}
	found.expires, found.expiryKnown = unix(d.Expires)
	found.dataAccess, _ = unix(d.DataAccess)
	if d.Scopes != nil {
		found.scopes = slices.Compact(slices.Sorted(slices.Values(d.Scopes)))
		if found.scopes == nil {
			found.scopes = []string{}
		}
	}
	return found, nil
}

// unix reads a time in seconds, of which 0 stands for never; ok is false when
// there is none.
func unix(n json.Number) (t time.Time, ok bool) {
	seconds, err := n.Int64()
	if err != nil || seconds < 0 || seconds > 1<<40 {
		return time.Time{}, false
	}
	if seconds == 0 {
		return time.Time{}, true
	}
	return time.Unix(seconds, 0).UTC(), true
}

// fits refuses an answer about a token of another app or kind. Of a token that
// Facebook cannot read at all it does not say whose it is.
func (f inspected) fits(a App, kind Kind) error {
	unread := !f.valid && f.appID == "" && f.kind == ""
	if !unread && (f.appID != a.ClientID || f.kind != debugTypes[kind]) {
		return errMisfit
	}
	return nil
}

// pageToken asks for a Page's token with the token that it comes from. The grant
// is empty when Facebook says that there is none: the role on the Page is gone, or
// the Page.
func (p facebookProvider) pageToken(ctx context.Context, from grant, page string) (grant, error) {
	if page == "" || strings.Trim(page, "0123456789") != "" {
		return grant{}, errors.New("a page's id is a number")
	}
	var reply tokenReply
	err := p.graph(ctx, http.MethodGet, "/"+page, url.Values{"fields": {"access_token"}}, from, &reply)
	if refused := refusal(err); refused != nil && (refused.kind == platform.OutcomeScopeMissing || refused.kind == platform.OutcomeNotFound) {
		return grant{}, nil
	}
	if err != nil || reply.AccessToken == "" {
		return grant{}, err
	}
	g, err := reply.grant(p.c.now(p.app.Name))
	return p.obtained(ctx, g, err)
}
