package egress

import (
	"context"
	"net/http/httptrace"
	"net/textproto"
	"sync/atomic"

	"gatehouse/internal/wire"
)

// Answers before the answer (1xx) are passed on to the app, which may do what it likes
// with them; somebody who sends no other would keep it busy for ever. A site sends one
// or two.
const (
	maxEarly      = 32
	maxEarlyBytes = 64 << 10
)

// earlyAnswers counts them for one request. The transport's goroutine counts.
type earlyAnswers struct {
	count, bytes int
	refused      atomic.Bool // more came than may
}

var errEarly = wire.BadGateway("destination/early-answers", "The destination sends too many answers before its answer.", nil)

// watch has those of a request counted that is made with the context. It comes before
// whoever passes them on adds a trace of its own, which is then asked first.
func (e *earlyAnswers) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(_ int, header textproto.MIMEHeader) error {
		e.count++
		for name, values := range header {
			for _, v := range values {
				e.bytes += len(name) + len(v)
			}
		}
		if e.count <= maxEarly && e.bytes <= maxEarlyBytes {
			return nil
		}
		e.refused.Store(true)
		return errEarly
	}})
}
