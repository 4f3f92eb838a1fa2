package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/identity"
	"gatehouse/internal/platform"
	"gatehouse/internal/wire"
)

// send opens the credential and makes the call with it; see replay for when it
// is made a second time.
func (c *call) send(ctx context.Context) (*http.Response, error) {
	var err error
	if c.credential, err = c.gateway.config.Connections.Credential(ctx, c.receipt, c.handle.Connection); err != nil {
		return nil, err
	}
	c.reached(&c.went.Opened)
	sent := time.Now()
	reply, err := c.attempt(ctx)
	if err != nil {
		return nil, err
	}
	if reply, err = c.replay(ctx, sent, reply); err == nil {
		c.ticket.Settle() // the platform has counted it, however long the rest takes
	}
	return reply, err
}

// attempt puts the credential on a request of our own making, and sends that to
// the platform's host.
func (c *call) attempt(ctx context.Context) (*http.Response, error) {
	var err error
	replace := map[string]string{}
	if c.batch != nil {
		if replace["batch"], err = c.batch.authorize(ctx, c); err != nil {
			return nil, err
		}
	}
	out, upload, err := c.outgoing(ctx, replace)
	if err != nil {
		return nil, err
	}
	if err := c.authorize(out); err != nil {
		return nil, err
	}
	c.known = carried(out.Header.Get("Authorization"), out.URL.RawQuery, c.shown.text)
	if err := leaksHandle(out); err != nil {
		return nil, err
	}
	trip := c.gateway.config.Egress.RoundTrip
	if c.class.Streaming {
		trip = c.gateway.config.Egress.Stream
	}
	c.ticket.Sent()
	reply, err := trip(c.counted(out))
	c.reached(&c.went.Answered)
	if reply != nil {
		c.learn(reply)
		c.hear(reply)
		c.countPosts(reply)
	}
	if why := upload.failure(); why != nil {
		// The transport only says that the body broke off; we know why.
		if reply != nil {
			reply.Body.Close()
		}
		return nil, why
	}
	if err != nil {
		return nil, err
	}
	if err := c.checkReply(reply); err != nil {
		reply.Body.Close()
		return nil, err
	}
	return reply, nil
}

// authorize puts the credential on the request. What OAuth 1.0a signs of a body
// are the fields of a form, nothing else.
func (c *call) authorize(out *http.Request) error {
	if c.credential.Kind() == connect.KindOAuth1 {
		var form url.Values
		if c.body.kind == bodyForm {
			form = c.body.params.without(stripped[c.at.platform]).values()
		}
		return c.credential.AuthorizeOAuth1(out, form)
	}
	return c.credential.Authorize(out)
}

// outgoing makes the request for the platform. Host and scheme come from our
// table, the path was judged, and of headers, query and body only what is known
// to be no credential and no proof is taken over. Replace holds new values of
// parameters.
func (c *call) outgoing(ctx context.Context, replace map[string]string) (*http.Request, *upload, error) {
	role := c.class.Role
	if c.class.Unknown && c.at.byHost {
		role = c.at.role // report mode: the table does not know which host serves it
	}
	path := c.at.path
	if app := c.settings.Apps[c.handle.App]; c.class.Version == "" && app.Version != "" && c.at.platform == platform.Facebook && role != platform.RoleUpload {
		path = "/" + app.Version + path
	}
	query := c.query.without(stripped[c.at.platform]).with(replace)
	to := c.gateway.upstreams[c.at.platform].url(role, path, query.encode())
	body, up, err := c.outgoingBody(replace)
	if err != nil {
		return nil, nil, err
	}
	out, err := http.NewRequestWithContext(ctx, c.r.Method, to.Scheme+"://"+to.Host, body)
	if err != nil {
		return nil, nil, fmt.Errorf("making the request for the platform: %w", errors.Join(gatehouse.ErrInvalid, err))
	}
	out.URL = to // as it was judged, never parsed again
	if up != nil {
		out.ContentLength = up.length
	}
	copyRequestHeaders(out.Header, c.r.Header, c.at.platform)
	if c.went.Trace.Onward {
		out.Header.Set("Traceparent", c.went.Trace.header())
	}
	if body != nil && c.body.contentType != "" {
		out.Header.Set("Content-Type", c.body.contentType)
	}
	return out, up, nil
}

// upload is a body that passes through while the request is sent.
type upload struct {
	length int64
	guard  *guardReader // nil when there is nothing left to watch
}

// failure says why the upload was broken off on our side, if it was.
func (u *upload) failure() error {
	if u == nil || u.guard == nil {
		return nil
	}
	if why := u.guard.failure(); why != nil {
		return bodyError(why)
	}
	return nil
}

// outgoingBody returns what is sent on of the body; nil if there is none.
func (c *call) outgoingBody(replace map[string]string) (io.Reader, *upload, error) {
	b, off := &c.body, stripped[c.at.platform]
	switch b.kind {
	case bodyForm:
		return bytes.NewReader([]byte(b.params.without(off).with(replace).encode())), nil, nil
	case bodyJSON:
		if len(replace) == 0 && !b.holdsCredential(off) {
			return bytes.NewReader(b.bytes), nil, nil
		}
		return bytes.NewReader(encodeMembers(b.members, off, replace)), nil, nil
	case bodyMultipart:
		if b.parts == nil {
			break
		}
		r, length, err := b.parts.outgoing(off, replace, c.late)
		if err != nil {
			return nil, nil, err
		}
		up := &upload{length: length}
		if parts, ok := r.(*multipartReader); ok {
			up.guard = &guardReader{r: parts}
			r = up.guard
		}
		return r, up, nil
	case bodyNone:
		return nil, nil, nil
	}
	up := &upload{length: b.length, guard: &guardReader{r: b.rest}}
	return c.seen.passes(c, up.guard), up, nil
}

// decides reports whether a parameter of this name decides about the call, so
// that it may not follow a file.
func decides(name string) bool {
	plain := strings.ToLower(plainName(name))
	return judged[plain] || credentialNames[plain]
}

// inspect refuses a handle anywhere but where it belongs: it would be sent to the
// platform. What passes through unread is watched while it does.
func (c *call) inspect(context.Context) error {
	off := stripped[c.at.platform]
	if err := c.query.without(off).holdsHandle("the query", c.class.Batch); err != nil {
		return err
	}
	if identity.Holds(c.at.path) {
		return errHandleInside("the path")
	}
	switch c.body.kind {
	case bodyForm, bodyMultipart:
		return c.body.params.without(off).holdsHandle("the body", c.class.Batch)
	case bodyJSON:
		if c.body.members == nil {
			return jsonHoldsHandle(c.body.bytes)
		}
		for _, m := range c.body.members {
			if off[m.key] || c.class.Batch && m.key == "batch" {
				continue
			}
			if err := jsonHoldsHandle(m.raw); err != nil {
				return err
			}
		}
	}
	return nil
}

// holdsCredential reports whether a member of the JSON body is a credential.
func (b *body) holdsCredential(names map[string]bool) bool {
	for i := range b.members {
		if names[b.members[i].key] {
			return true
		}
	}
	return false
}

// holdsHandle refuses parameters that carry a handle where none belongs.
func (p params) holdsHandle(where string, batch bool) error {
	for i := range p {
		if batch && p[i].key == "batch" {
			continue // its items are looked at one by one; see openItem
		}
		if identity.Holds(p[i].value) || identity.Holds(p[i].key) || identity.Holds(p[i].raw) {
			return errHandleInside(where)
		}
	}
	return nil
}

// jsonHoldsHandle refuses a JSON body that carries a handle, also one written
// with escapes.
func jsonHoldsHandle(b []byte) error {
	if identity.HoldsBytes(b) {
		return errHandleInside("the body")
	}
	if !bytes.Contains(b, []byte(`\u`)) {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	for {
		t, err := d.Token()
		if err != nil {
			return nil // the end; validity was checked before
		}
		if s, ok := t.(string); ok && identity.Holds(s) {
			return errHandleInside("the body")
		}
	}
}

// leaksHandle is the last look at what goes upstream: whatever the steps before
// overlooked, a handle in address or headers stops the call here.
func leaksHandle(out *http.Request) error {
	if identity.Holds(out.URL.Path) || identity.Holds(out.URL.RawQuery) {
		return errHandleInside("the address")
	}
	for _, values := range out.Header {
		for _, v := range values {
			if identity.Holds(v) {
				return errHandleInside("a header")
			}
		}
	}
	return nil
}

// checkReply refuses replies that cannot be relayed as they are, and notes what
// the platform said of the grant.
func (c *call) checkReply(reply *http.Response) error {
	if reply.StatusCode >= 300 && reply.StatusCode < 400 && reply.StatusCode != http.StatusNotModified {
		return wire.BadGateway("upstream/redirect", "The platform answered with a redirect, which is not followed.", nil)
	}
	if reply.StatusCode == http.StatusPartialContent && replyKind(reply) == replyJSON {
		// A caller that chooses the range could ask for a token without its name.
		return wire.BadGateway("upstream/partial", "The platform answered with a part of a JSON document, in which credentials cannot be found.", nil)
	}
	if e := strings.Join(reply.Header["Content-Encoding"], ","); e != "" && e != "identity" {
		return wire.BadGateway("upstream/encoding", "The platform's answer is compressed although that was not asked for.", nil)
	}
	return nil
}
