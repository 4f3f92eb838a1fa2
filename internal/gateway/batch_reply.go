package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/textproto"
	"strings"

	"gatehouse/internal/platform"
	"gatehouse/internal/wire"
)

// batchAnswer is one item of a batch's reply. The body is JSON in a string.
type batchAnswer struct {
	Code    int           `json:"code"`
	Headers []batchHeader `json:"headers,omitempty"`
	Body    string        `json:"body"`
}

type batchHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// relayBatch gives a batch's reply back item by item, because each item may have
// been made with another credential: tokens in it become children of that
// credential's connection, and what it says of the grant is said of that one.
func (c *call) relayBatch(ctx context.Context, reply *http.Response) error {
	if reply.StatusCode >= 400 {
		return c.relayError(ctx, reply)
	}
	limit := c.gateway.config.Limits.BatchReplyBytes
	b, err := io.ReadAll(io.LimitReader(reply.Body, limit+1))
	if err != nil {
		return relayFailure(err)
	}
	if int64(len(b)) > limit {
		return wire.BadGateway("upstream/size", "The platform's answer to the batch is too large.", nil)
	}
	var answers []*batchAnswer
	if err := json.Unmarshal(b, &answers); err != nil || len(answers) > len(c.batch.items) {
		return wire.BadGateway("upstream/batch", "The platform's answer is not that of this batch.", nil)
	}
	for i, a := range answers {
		if a == nil {
			continue // omitted, or timed out at the platform
		}
		o := c.batch.items[i].by.owner
		o.me = forMe(c.batch.items[i].class)
		if o.asked = nil; i < len(c.asked) {
			o.asked = &c.asked[i]
		}
		if o.credential == c.credential {
			o.known = c.known
		}
		if err := c.rewriteAnswer(ctx, o, &c.batch.items[i], a); err != nil {
			return err
		}
	}
	out := newReplyWriter(c, reply.StatusCode, reply)
	defer out.release()
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	if err := e.Encode(answers); err != nil {
		return relayFailure(err)
	}
	return out.finish()
}

// rewriteAnswer narrows one item's answer and replaces its tokens and links.
func (c *call) rewriteAnswer(ctx context.Context, o owner, item *batchItem, a *batchAnswer) error {
	var rewritten bytes.Buffer
	body := narrowed(item.narrow, strings.NewReader(a.Body), platform.Reply{Keyed: item.params.Has("ids"), Failed: a.Code >= 400})
	if a.Code < 400 {
		body = item.seen.reads(body, item.params.Has("ids"))
	}
	if err := platform.RewriteReply(body, &rewritten, c.rewriterFor(ctx, o)); err != nil {
		return relayFailure(err)
	}
	if d := c.lineageFor(ctx, o, item.class.Operation); d != nil {
		// Each item is on record before any of them is sent.
		if err := d.look(rewritten.Bytes()); err != nil {
			return err
		}
		if err := d.settle(); err != nil {
			return err
		}
	}
	kept := a.Headers[:0]
	header := http.Header{}
	for _, h := range a.Headers {
		name := textproto.CanonicalMIMEHeaderKey(h.Name)
		if platform.ReplyHeader(c.at.platform, name) {
			kept = append(kept, h)
			header.Add(name, h.Value)
		}
	}
	a.Headers = kept
	c.learnItem(o, a.Code, header)
	if a.Code >= 400 {
		c.interpretFor(ctx, o, a.Code, header, rewritten.Bytes())
	}
	a.Body = rewritten.String()
	return nil
}
