package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"gatehouse"
	"gatehouse/internal/platform"
)

// replay answers a platform's refusal of the credential (401) by renewing the
// connection once and making the call once more; a refusal of our signature's
// timestamp, by signing it again if the reply has corrected our idea of the
// platform's time. A 401 says that nothing was done, so that any operation may be
// repeated whose body is still at hand. Streams and batches are not repeated: a
// stream's caller connects again by itself, and a batch's items have tokens of
// their own. What was sent at the given time got the given reply; the result is
// what is to be relayed.
func (c *call) replay(ctx context.Context, sent time.Time, reply *http.Response) (*http.Response, error) {
	if reply.StatusCode != http.StatusUnauthorized || c.batch != nil || c.class.Streaming || !c.body.atHand() {
		c.credential.Answered(ctx, sent, reply, false)
		return reply, nil
	}
	start, err := io.ReadAll(io.LimitReader(reply.Body, 8<<10))
	if err != nil {
		reply.Body.Close()
		return nil, relayFailure(err)
	}
	reply.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(start), reply.Body), reply.Body}
	said := platform.Interpret(c.at.platform, reply.StatusCode, reply.Header, start)
	corrected := c.credential.Answered(ctx, sent, reply, said.Kind == platform.OutcomeBadProof)
	switch {
	case said.Kind == platform.OutcomeTokenDead:
		fresh, err := c.gateway.config.Connections.Replace(ctx, c.receipt, c.credential)
		if fresh == nil && (err == nil || errors.Is(err, gatehouse.ErrDenied)) {
			return reply, nil // the refusal stands
		}
		if err != nil {
			reply.Body.Close()
			return nil, err
		}
		c.credential = fresh
	case !corrected:
		return reply, nil
	}
	reply.Body.Close()
	return c.attempt(ctx)
}

// atHand reports whether the body can be sent a second time.
func (b *body) atHand() bool {
	return b.kind == bodyNone || b.kind == bodyForm || b.kind == bodyJSON
}
