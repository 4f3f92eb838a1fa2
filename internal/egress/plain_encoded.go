package egress

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"

	"gatehouse"
	"gatehouse/internal/wire"
)

const (
	// plainEncoded bounds a compressed body without TLS, plainDecoded what may come out
	// of it, and plainHeld all of them at once.
	plainEncoded = 8 << 20
	plainDecoded = 64 << 20
	plainHeld    = 64 << 20
	// plainDecoders is how many are decoded at once.
	plainDecoders = 2
)

// takeEncoded reads a compressed body whole and has it judged as it is and decoded,
// before anything is sent; release gives its memory back. What cannot be looked into
// is refused, in report mode too: without TLS nobody has to be let through.
func (x *exchange) takeEncoded(ctx context.Context, names []string, body io.Reader, look Inspection) (raw []byte, release func(), err error) {
	l, service := x.proxy.limits, x.service.Name
	var taken int64
	release = func() { l.held.give(service, taken) }
	var whole bytes.Buffer
	for {
		if !l.held.take(service, chunk) {
			return nil, release, wire.Refuse(gatehouse.ErrLimited, "egress/held", "too many compressed bodies are held at the moment; try again")
		}
		taken += chunk
		_, err := io.CopyN(&whole, body, chunk)
		if errors.Is(err, io.EOF) {
			break
		}
		switch {
		case isTimeout(err):
			return nil, release, wire.WithStatus(wire.Refuse(gatehouse.ErrInvalid, "limit/slow-body", "the body came too slowly"), http.StatusRequestTimeout)
		case err != nil:
			return nil, release, errGone()
		case whole.Len() > plainEncoded:
			return nil, release, unsupported(&unreadableError{"egress/encoded-size", "the compressed body is larger than can be looked into; send it uncompressed or in parts"})
		}
	}
	outer := x.proxy.config.Inspector.Inspect(x.transfer())
	defer outer.Close()
	_, _ = outer.Write(whole.Bytes())
	select {
	case l.decoding <- struct{}{}:
		defer func() { <-l.decoding }()
	case <-ctx.Done():
		return nil, release, errGone()
	}
	var unreadable *unreadableError
	err = decode(ctx, names, whole.Bytes(), plainDecoded, look)
	if errors.As(err, &unreadable) {
		err = unsupported(unreadable)
	}
	if err == nil {
		err = look.End(ctx)
	}
	if err == nil {
		err = outer.End(ctx)
	}
	if err != nil {
		// Nothing has left.
		takeBack(context.WithoutCancel(ctx), look, false, x.proxy.config.Logger)
		takeBack(context.WithoutCancel(ctx), outer, false, x.proxy.config.Logger)
	}
	return whole.Bytes(), release, err
}

func unsupported(e *unreadableError) error {
	return wire.WithStatus(wire.Refuse(gatehouse.ErrInvalid, e.rule, e.why), http.StatusUnsupportedMediaType)
}
