package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"gatehouse/internal/platform"
	"gatehouse/internal/wire"
)

// holdBack is how much of a reply is held back before its first byte is sent. A
// token that cannot be replaced within it is an honest 502; after it, only a
// broken connection.
const holdBack = 64 << 10

// maxErrorReply bounds the body of an error of the platform, which is read whole
// to be understood.
const maxErrorReply = 1 << 20

// Most replies are small; what is larger grows its buffer once.
var replyBuffers = sync.Pool{New: func() any { return bytes.NewBuffer(make([]byte, 0, 8<<10)) }}

// relay gives the platform's reply to the caller: the status as it is, headers
// by a list of what may pass, JSON with its tokens and links replaced, and other
// content only of types that hold no credentials.
func (c *call) relay(ctx context.Context, reply *http.Response) error {
	if reply.StatusCode >= 400 {
		return c.relayError(ctx, reply)
	}
	out := newReplyWriter(c, reply.StatusCode, reply)
	defer out.release()
	var err error
	switch replyKind(reply) {
	case replyEmpty:
		c.seen.answered(false)
	case replyJSON:
		out.delivery = c.delivery(ctx)
		err = c.relayJSON(ctx, reply.Body, out)
	case replyMedia:
		c.seen.answered(true)
		err = c.relayMedia(ctx, reply, out)
	default:
		err = wire.BadGateway("upstream/content-type", "The platform answered with a content type that is not passed on, because it could hide credentials.", nil)
	}
	if err != nil {
		return relayFailure(err)
	}
	return out.finish()
}

// relayJSON passes a JSON reply on. Most replies are small and hold nothing that
// could be a credential or a link; a look at their bytes tells, and spares taking
// them apart.
func (c *call) relayJSON(ctx context.Context, body io.Reader, out *replyWriter) error {
	first := replyBuffers.Get().(*bytes.Buffer)
	first.Reset()
	defer replyBuffers.Put(first)
	if c.narrow != nil {
		body = c.narrow.Reader(body, platform.Reply{Keyed: c.keyed})
	}
	body = c.seen.reads(body, c.keysIDs())
	n, err := first.ReadFrom(io.LimitReader(body, holdBack))
	if err != nil {
		return err
	}
	if n < holdBack && harmless(first.Bytes(), c.known) && json.Valid(first.Bytes()) {
		_, err := out.Write(first.Bytes())
		return err
	}
	whole := io.MultiReader(first, body)
	if c.narrow == nil {
		whole = platform.StrictJSON(whole)
	}
	return platform.RewriteReply(whole, out, c.rewriter(ctx))
}

// harmless reports whether a reply holds nothing that could be a credential, a
// link or what was sent, in any spelling. It errs on the other side: an escape or
// a parameter anywhere is enough.
func harmless(b []byte, sent []platform.Known) bool {
	if bytes.IndexByte(b, '\\') >= 0 || bytes.IndexByte(b, '=') >= 0 || bytes.Contains(b, []byte("paging")) {
		return false
	}
	for _, k := range sent {
		if start := k.Value[:min(len(k.Value), 4)]; start != "" && bytes.Contains(b, []byte(start)) {
			return false
		}
	}
	folded := replyBuffers.Get().(*bytes.Buffer)
	folded.Reset()
	defer replyBuffers.Put(folded)
	for _, c := range b {
		switch {
		case c == '_' || c == '-' || c == '.' || c == ' ':
			continue
		case c >= 'A' && c <= 'Z':
			c |= 0x20
		}
		folded.WriteByte(c)
	}
	for _, word := range []string{"token", "secret", "proof"} {
		if bytes.Contains(folded.Bytes(), []byte(word)) {
			return false
		}
	}
	return true
}

// relayError relays an error of the platform, after noting what it says about
// the grant. Texts of errors may quote the token that was wrong.
func (c *call) relayError(ctx context.Context, reply *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(reply.Body, maxErrorReply+1))
	if err != nil {
		return relayFailure(err)
	}
	if len(b) > maxErrorReply {
		return wire.BadGateway("upstream/size", "The platform's error is too large.", nil)
	}
	c.interpret(ctx, reply.StatusCode, reply.Header, b)
	out := newReplyWriter(c, reply.StatusCode, reply)
	out.delivery = c.lineage(ctx)
	defer out.release()
	switch kind := replyKind(reply); {
	case len(b) == 0:
	case kind == replyJSON && json.Valid(b):
		var rewritten bytes.Buffer
		if err := platform.RewriteReply(narrowed(c.narrow, bytes.NewReader(b), platform.Reply{Failed: true}), &rewritten, c.rewriter(ctx)); err != nil {
			return relayFailure(err)
		}
		_, _ = out.Write(rewritten.Bytes())
	default:
		// The status is worth having, the body (a proxy's page, mostly) is not.
		out.contentType = "application/problem+json"
		p, _ := json.Marshal(wire.Problem{
			Type: "about:blank", Title: http.StatusText(reply.StatusCode), Status: reply.StatusCode, Rule: "upstream/content-type",
			Detail: "The platform answered with this status and a body that is not JSON, which is not passed on.", Instance: c.receipt.ID(),
		})
		_, _ = out.Write(p)
	}
	return out.finish()
}

// The kinds of reply body.
type replyBodyKind uint8

const (
	replyOther replyBodyKind = iota
	replyEmpty
	replyJSON
	replyMedia
)

// replyKind decides by status, length and type. Graph declares JSON as
// text/javascript here and there.
func replyKind(reply *http.Response) replyBodyKind {
	if reply.StatusCode == http.StatusNoContent || reply.StatusCode == http.StatusNotModified || reply.ContentLength == 0 ||
		reply.Request != nil && reply.Request.Method == http.MethodHead {
		return replyEmpty
	}
	switch t := mediaType(reply.Header.Get("Content-Type")); {
	case t == "application/json", t == "text/javascript", t == "application/x-ndjson", strings.HasSuffix(t, "+json"):
		return replyJSON
	case strings.HasPrefix(t, "image/") && t != "image/svg+xml", strings.HasPrefix(t, "video/"), strings.HasPrefix(t, "audio/"),
		t == "application/octet-stream", t == "text/csv", t == "application/pdf":
		return replyMedia
	}
	return replyOther
}

// relayFailure gives an error that ended a reply a rule, if it has none.
func relayFailure(err error) error {
	if wire.RuleOf(err) != "" {
		return err
	}
	if errors.Is(err, platform.ErrSyntax) {
		return wire.BadGateway("upstream/not-json", "The platform's answer is declared as JSON and is not.", err)
	}
	return wire.BadGateway("upstream/reply", "The platform's answer could not be passed on safely.", err)
}

// replyWriter sends a reply and counts it. It holds the first bytes back until
// they are too many or the reply is complete; until then the header is not
// touched, so that an error can still take the reply's place.
type replyWriter struct {
	call        *call
	status      int
	from        *http.Response // whose headers are passed on; nil for an answer of ours
	contentType string         // in place of the platform's
	length      int64          // of the body; -1 when unknown
	held        *bytes.Buffer
	committed   bool
	delivery    *delivery // nil: nobody wants to know what is delivered
	late        []byte    // what the delivery does not let pass yet
}

func newReplyWriter(c *call, status int, from *http.Response) *replyWriter {
	b := replyBuffers.Get().(*bytes.Buffer)
	b.Reset()
	return &replyWriter{call: c, status: status, from: from, length: -1, held: b}
}

func (w *replyWriter) Write(p []byte) (int, error) {
	if !w.committed {
		if w.held.Len()+len(p) <= holdBack {
			return w.held.Write(p)
		}
		if err := w.delivery.look(w.held.Bytes()); err != nil {
			return 0, err
		}
		if err := w.commit(); err != nil {
			return 0, err
		}
	}
	if err := w.delivery.look(p); err != nil {
		return 0, err
	}
	return len(p), w.send(p)
}

// send writes what may pass of what came before and of p.
func (w *replyWriter) send(p []byte) error {
	pending := w.delivery.pending()
	if pending > 0 || len(w.late) > 0 {
		w.late = append(w.late, p...)
		p = w.late[:len(w.late)-pending]
	}
	n, err := w.call.w.Write(p)
	w.call.bytes += int64(n)
	if len(w.late) > 0 {
		w.late = w.late[:copy(w.late, w.late[len(p):])]
	}
	return err
}

// commit sends the header and of what was held back what may pass.
func (w *replyWriter) commit() error {
	w.committed = true
	w.call.status = w.status
	if w.from != nil {
		w.call.copyReplyHeaders(w.from)
	}
	header := w.call.w.Header()
	if w.contentType != "" {
		header.Set("Content-Type", w.contentType)
	}
	if w.length >= 0 {
		header.Set("Content-Length", strconv.FormatInt(w.length, 10))
	}
	w.call.w.WriteHeader(w.status)
	if w.held.Len() == 0 {
		return nil
	}
	return w.send(w.held.Bytes())
}

// finish sends the rest of a reply, or one that was held back whole, with its
// length.
func (w *replyWriter) finish() error {
	if !w.committed {
		if err := w.delivery.look(w.held.Bytes()); err != nil {
			return err
		}
	}
	if err := w.delivery.settle(); err != nil {
		return err
	}
	if w.committed {
		if len(w.late) == 0 {
			return nil
		}
		return w.send(nil)
	}
	if w.held.Len() > 0 {
		w.length = int64(w.held.Len())
	}
	return w.commit()
}

// release gives the buffer back; the writer must not be used afterwards.
func (w *replyWriter) release() {
	if w.held != nil {
		replyBuffers.Put(w.held)
		w.held = nil
	}
}
