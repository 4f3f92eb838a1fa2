package egress

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"sync"

	"gatehouse"
	"gatehouse/internal/identity"
	"gatehouse/internal/wire"
)

// perHop are the headers that concern one connection (RFC 9110, section 7.6.1), with
// what other proxies made up.
var perHop = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect",
}

// dropPerHop removes them, and those that Connection names.
func dropPerHop(h http.Header) {
	for _, value := range h["Connection"] {
		for name := range strings.SplitSeq(value, ",") {
			h.Del(textproto.TrimString(name))
		}
	}
	for _, name := range perHop {
		h.Del(name)
	}
}

// carryPlain sends a request without TLS on, looked into as it goes, and relays the
// answer. What the destination gets is written anew from what was understood here, so
// that there is no second way to read it.
func (x *exchange) carryPlain(ctx context.Context) error {
	if x.r.Header.Get("Upgrade") != "" {
		return wire.Refuse(gatehouse.ErrInvalid, "egress/upgrade", "a connection without TLS does not change its protocol here; use wss or https")
	}
	ctx, cancel := context.WithTimeout(ctx, x.proxy.config.Limits.RequestTime)
	defer cancel()
	out := x.outgoing(ctx)
	var look Inspection
	var held *heldBody
	if inspector := x.proxy.config.Inspector; inspector != nil {
		look = inspector.Inspect(x.transfer())
		defer look.Close()
		if err := x.inspectHead(ctx, look, out); err != nil {
			return err
		}
		if names := contentEncodings(out.Header); out.Body != nil && len(names) > 0 {
			raw, release, err := x.takeEncoded(ctx, names, out.Body, look)
			defer release()
			if err != nil {
				return err
			}
			out.Body = io.NopCloser(bytes.NewReader(raw))
		} else if out.Body != nil {
			held = &heldBody{ctx: ctx, from: out.Body, look: look, most: x.proxy.config.Limits.HoldBytes}
			out.Body = held
			// The transport may read in a goroutine of its own, which must not use the
			// inspection when it is closed.
			defer held.stop()
		}
	}
	var guarded *guardedBody
	if out.Body != nil {
		// An answer may come before the request is complete; net/http would first wait
		// for the rest.
		if err := http.NewResponseController(x.w).EnableFullDuplex(); err != nil {
			return err
		}
		guarded = &guardedBody{from: out.Body, sent: &x.carried}
		out.Body = guarded
	}
	reply, err := x.proxy.forward.RoundTrip(out)
	if err == nil {
		defer reply.Body.Close()
		if err = guarded.failure(); err == nil {
			err = x.relay(reply)
		}
	}
	// Why the body was broken off says more than what broke by it.
	if why := guarded.failure(); err != nil && why != nil {
		if held != nil && wire.RuleOf(why) != ruleGone {
			held.stop()
			takeBack(context.WithoutCancel(ctx), look, true, x.proxy.config.Logger)
		}
		return why
	}
	return err
}

// outgoing is the request as the destination gets it.
func (x *exchange) outgoing(ctx context.Context) *http.Request {
	out := x.r.Clone(ctx)
	dropPerHop(out.Header)
	out.Close, out.RequestURI = false, ""
	// One name, in the spelling that was judged. Trailers, which nobody looks into,
	// stay here.
	out.URL = &url.URL{Scheme: "http", Host: x.hostPort(), Path: x.r.URL.Path, RawPath: x.r.URL.RawPath, RawQuery: x.r.URL.RawQuery, ForceQuery: x.r.URL.ForceQuery}
	if x.port == 80 {
		out.URL.Host = strings.TrimSuffix(out.URL.Host, ":80")
	}
	out.Host, out.Trailer, out.TransferEncoding = out.URL.Host, nil, nil
	if x.r.ContentLength == 0 || x.r.Body == http.NoBody {
		out.Body = nil
	}
	if _, ok := out.Header["User-Agent"]; !ok {
		out.Header["User-Agent"] = nil // none is none
	}
	out.Header.Add("Via", "1.1 gatehouse")
	return out
}

// inspectHead looks into everything before the body.
func (x *exchange) inspectHead(ctx context.Context, look Inspection, out *http.Request) error {
	look.Text(InURL, "", out.URL.String())
	if !plainMethod(out.Method) {
		look.Text(InHeader, ":method", out.Method)
	}
	for name, values := range out.Header {
		for _, value := range values {
			look.Text(InHeader, name, value)
		}
	}
	_, err := look.Judge(ctx)
	return err
}

// relay gives the answer back as it came.
func (x *exchange) relay(reply *http.Response) error {
	x.status = reply.StatusCode
	dropPerHop(reply.Header)
	h := x.w.Header()
	for name, values := range reply.Header {
		h[name] = values
	}
	if reply.Header.Get("Content-Length") == "" && reply.ContentLength < 0 && x.r.Method != http.MethodHead {
		// The end is known by the connection's or by chunks; both are made anew.
		h.Del("Content-Length")
	}
	x.w.WriteHeader(reply.StatusCode)
	control := http.NewResponseController(x.w)
	buffer := buffers.Get().(*[32 << 10]byte)
	defer buffers.Put(buffer)
	for {
		n, err := reply.Body.Read(buffer[:])
		if n > 0 {
			if _, err := x.w.Write(buffer[:n]); err != nil {
				return errGone()
			}
			x.carried.Received.Add(int64(n))
			if reply.ContentLength < 0 {
				// What has no announced end may be a stream that somebody waits for.
				_ = control.Flush()
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// guardedBody counts what goes out and breaks off when a handle or key of ours
// appears in it. The transport reads it, in a goroutine of its own.
type guardedBody struct {
	from io.ReadCloser
	scan identity.Scanner
	sent *Carried

	mu  sync.Mutex // guards why
	why error
}

func (b *guardedBody) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	if b.scan.Found(p[:n]) {
		n, err = 0, errKeyInside("the body")
	}
	b.sent.Sent.Add(int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		b.mu.Lock()
		b.why = err
		b.mu.Unlock()
	}
	return n, err
}

func (b *guardedBody) Close() error { return b.from.Close() }

// failure returns why the body was broken off on this side, or nil.
func (b *guardedBody) failure() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.why == nil || wire.RuleOf(b.why) != "" || gatehouse.Kind(b.why) != nil:
		return b.why
	case isTimeout(b.why):
		return wire.WithStatus(wire.Refuse(gatehouse.ErrInvalid, "limit/slow-body", "the body came too slowly"), http.StatusRequestTimeout)
	}
	return errGone()
}

// heldBody passes a body on as far as inspection lets it. The transport reads it;
// stop comes from the handler's goroutine.
type heldBody struct {
	ctx  context.Context
	from io.ReadCloser
	most int

	held    []byte // read and not passed on
	passed  int64  // before held
	allowed int64  // of the whole body
	ended   bool
	err     error
	buffer  [16 << 10]byte

	mu   sync.Mutex // guards look, and is held while it is used
	look Inspection // nil once stopped
}

func (b *heldBody) Read(p []byte) (int, error) {
	for {
		if free := min(b.allowed-b.passed, int64(len(b.held)), int64(len(p))); free > 0 {
			n := copy(p, b.held[:free])
			b.held = b.held[n:]
			b.passed += int64(n)
			return n, nil
		}
		switch {
		case b.err != nil:
			return 0, b.err
		case b.ended && len(b.held) == 0:
			return 0, io.EOF
		case len(p) == 0:
			return 0, nil
		}
		b.err = b.more()
	}
}

// more reads the next piece and has it judged.
func (b *heldBody) more() error {
	n, err := b.from.Read(b.buffer[:])
	if n > b.most-len(b.held) {
		return wire.Refuse(gatehouse.ErrInvalid, "egress/held-back", "more of the body would have to be held back than the limit allows")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.look == nil {
		return context.Canceled
	}
	if n > 0 {
		b.held = append(b.held, b.buffer[:n]...)
		if _, err := b.look.Write(b.buffer[:n]); err != nil {
			return err
		}
		allowed, err := b.look.Judge(b.ctx)
		if err != nil {
			return err
		}
		b.allowed = max(b.allowed, allowed)
	}
	if errors.Is(err, io.EOF) {
		if err := b.look.End(b.ctx); err != nil {
			return err
		}
		b.ended, b.allowed = true, b.passed+int64(len(b.held))
		return nil
	}
	return err
}

func (b *heldBody) Close() error { return b.from.Close() }

// stop keeps the inspection from being used any more, and waits until it is not.
func (b *heldBody) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.look = nil
}
