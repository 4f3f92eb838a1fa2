package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"gatehouse/internal/platform"
	"gatehouse/internal/wire"
)

// maxStreamLine bounds one object of a stream.
const maxStreamLine = 1 << 20

// errCutOff ends a stream whose handle may no longer be used.
var errCutOff = errors.New("the handle may no longer be used")

// stream relays a reply that has no end: object by object, heartbeats at once,
// until one side leaves or the handle may no longer be used. The caller sees a
// cut stream as a broken reply, as it would if the platform cut it.
func (c *call) stream(ctx context.Context, reply *http.Response) error {
	if reply.StatusCode != http.StatusOK {
		return c.relay(ctx, reply)
	}
	if replyKind(reply) != replyJSON {
		return wire.BadGateway("upstream/content-type", "The platform answered with a content type that is not passed on, because it could hide credentials.", nil)
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		c.watch(ctx)
	}()
	err := c.pump(ctx, reply)
	c.cut(nil)
	<-watched
	if errors.Is(context.Cause(ctx), errCutOff) {
		return wire.Unauthenticated("gateway/stream-cut", "the handle may no longer be used")
	}
	return err
}

// watch asks again and again whether the handle still stands (revoked, expired, of
// a disabled service, without its purpose), and ends the request
// to the platform as soon as it does not. It only reads what was settled before
// the stream began.
func (c *call) watch(ctx context.Context) {
	tick := time.NewTicker(c.gateway.config.Limits.StreamCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.gateway.closing:
		case <-tick.C:
			err := c.stillAllowed(ctx)
			if err == nil || ctx.Err() != nil {
				continue
			}
		}
		c.cut(errCutOff)
		return
	}
}

// stillAllowed rechecks what was decided when the stream began. If it cannot be
// checked, the stream ends: a gate that cannot see is closed.
func (c *call) stillAllowed(ctx context.Context) error {
	if err := c.gateway.config.Handles.Recheck(ctx, c.handle.ID); err != nil {
		return err
	}
	settings := c.gateway.settings.Load()
	if settings == c.settings {
		return nil
	}
	service, ok := settings.Services[c.handle.ServiceName]
	if !ok {
		return errCutOff
	}
	now := &call{
		gateway: c.gateway, settings: settings, service: service, handle: c.handle, class: c.class, at: c.at, query: c.query, body: c.body,
	}
	if err := now.decide(ctx); err != nil {
		return err
	}
	if !sameFields(c.decision.Contract, now.decision.Contract) {
		return errCutOff // the lines to come are narrowed in another way
	}
	return nil
}

// pump passes lines on. Blank ones are heartbeats and go out at once.
func (c *call) pump(ctx context.Context, reply *http.Response) error {
	c.copyReplyHeaders(reply)
	c.status = reply.StatusCode
	c.w.WriteHeader(reply.StatusCode)
	control := http.NewResponseController(c.w)
	if err := control.Flush(); err != nil {
		return err
	}
	in := bufio.NewReaderSize(reply.Body, 32<<10)
	// Each object is on record before it is sent: a stream has no end to wait for.
	out := &countingWriter{call: c, delivery: c.delivery(ctx)}
	var line, rewritten bytes.Buffer
	var observed time.Time
	for {
		part, err := in.ReadSlice('\n')
		line.Write(part)
		if errors.Is(err, bufio.ErrBufferFull) && line.Len() <= maxStreamLine {
			continue
		}
		if line.Len() > maxStreamLine {
			return wire.BadGateway("upstream/size", "The platform sent an object that is too large.", nil)
		}
		if line.Len() > 0 {
			if werr := c.passLine(ctx, &line, &rewritten, out); werr != nil {
				return werr
			}
			c.streamed(&observed)
			if in.Buffered() == 0 {
				if ferr := control.Flush(); ferr != nil {
					return ferr
				}
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return relayFailure(err)
		}
	}
}

// passLine writes one line, rewritten if it holds anything, and empties it.
func (c *call) passLine(ctx context.Context, line, rewritten *bytes.Buffer, out io.Writer) error {
	defer line.Reset()
	if len(bytes.TrimSpace(line.Bytes())) == 0 {
		_, err := out.Write(line.Bytes())
		return err
	}
	rewritten.Reset()
	body := c.seen.reads(narrowed(c.narrow, bytes.NewReader(line.Bytes()), platform.Reply{}), false)
	if err := platform.RewriteReply(body, rewritten, c.rewriter(ctx)); err != nil {
		return relayFailure(err)
	}
	_, err := out.Write(rewritten.Bytes())
	return err
}

// countingWriter counts what a stream delivers.
type countingWriter struct {
	call     *call
	delivery *delivery
}

func (w *countingWriter) Write(p []byte) (int, error) {
	if err := w.delivery.look(p); err != nil {
		return 0, err
	}
	// An object that goes on in the next line is none that a stream should send.
	if err := w.delivery.settle(); err != nil {
		return 0, err
	}
	n, err := w.call.w.Write(p)
	w.call.bytes += int64(n)
	return n, err
}
