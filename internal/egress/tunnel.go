package egress

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"gatehouse"
	"gatehouse/internal/wire"
)

// established is the answer to CONNECT. It has no header: what follows is the
// tunnel's.
const established = "HTTP/1.1 200 Connection established\r\n\r\n"

// The fatal alerts (RFC 8446, section 6) by which a client learns of a refusal when
// it has sent its ClientHello.
var (
	alertAccessDenied     = []byte{21, 3, 3, 0, 2, 2, 49}
	alertUnrecognizedName = []byte{21, 3, 3, 0, 2, 2, 112}
)

// carryTunnel connects to the destination, answers, and joins both sides once the
// client's first message is one for this destination. Errors before the answer are
// the answer.
func (x *exchange) carryTunnel(ctx context.Context) (err error) {
	// The request's own context knows nothing of the connection once it is taken over,
	// and ends with the listener, while tunnels have a grace period.
	request := ctx
	ctx, cut := context.WithCancelCause(context.WithoutCancel(request))
	defer cut(nil)
	waiting := context.AfterFunc(request, func() { cut(request.Err()) })
	defer waiting()
	x.cut = cut
	if err := x.proxy.register(x); err != nil {
		return err
	}
	if limit := x.proxy.config.Limits.TunnelTime; limit > 0 {
		timer := time.AfterFunc(limit, func() { cut(errTime) })
		defer timer.Stop()
	}
	defer func() {
		// Why it was cut says more than what broke by it.
		if cause := context.Cause(ctx); err != nil && cause != nil && wire.RuleOf(cause) != "" {
			err = cause
		}
	}()

	upstream, err := x.proxy.dial(ctx, x.host, x.port)
	if err != nil {
		x.w.Header().Set("Connection", "close")
		return err
	}
	defer upstream.Close()
	taken, buffered, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return err
	}
	defer taken.Close()
	waiting()
	// Closing both ends whatever waits for one of them.
	defer context.AfterFunc(ctx, func() {
		taken.Close()
		upstream.Close()
	})()
	client := wire.Bare(taken)
	hello, err := x.greet(client, buffered.Reader)
	if err != nil {
		return err
	}
	if x.decision.Inspect {
		return x.proxy.config.Terminate(ctx, &prefixed{Conn: client, prefix: hello}, x.inspected(upstream))
	}
	if err := x.sendHello(upstream, hello); err != nil {
		return err
	}
	return join(client, upstream, x.proxy.config.Limits.Idle, &x.carried)
}

// greet answers the CONNECT and reads the client's first message, which may have come
// with it. It returns everything that was read and has to be passed on.
func (x *exchange) greet(client net.Conn, early *bufio.Reader) ([]byte, error) {
	if err := client.SetDeadline(time.Now().Add(x.proxy.config.Limits.HelloTime)); err != nil {
		return nil, errGone()
	}
	if _, err := io.WriteString(client, established); err != nil {
		return nil, errGone()
	}
	ahead, err := early.Peek(early.Buffered())
	if err != nil {
		return nil, errGone()
	}
	first := &front{ahead: ahead, rest: client}
	hello, name, err := readHello(first)
	if err == nil {
		_, notAddress := netip.ParseAddr(x.host)
		err = checkName(name, x.host, notAddress == nil)
		if err != nil {
			_, _ = client.Write(alertUnrecognizedName)
		}
	} else if isTimeout(err) {
		err = errNoHello("it did not come in time")
	}
	if err != nil {
		_, _ = client.Write(alertAccessDenied)
		return nil, err
	}
	return append(hello, first.ahead...), client.SetDeadline(time.Time{})
}

// front reads what came early, then the connection.
type front struct {
	ahead []byte
	rest  io.Reader
}

func (f *front) Read(p []byte) (int, error) {
	if len(f.ahead) == 0 {
		return f.rest.Read(p)
	}
	n := copy(p, f.ahead)
	f.ahead = f.ahead[n:]
	return n, nil
}

// sendHello passes on what was read ahead.
func (x *exchange) sendHello(upstream net.Conn, hello []byte) error {
	if err := upstream.SetWriteDeadline(time.Now().Add(x.proxy.config.Limits.HelloTime)); err != nil {
		return errBroken()
	}
	n, err := upstream.Write(hello)
	x.carried.Sent.Add(int64(n))
	if err != nil {
		return errBroken()
	}
	return nil
}

// inspected is what carries the tunnel's content gets to know.
func (x *exchange) inspected(first net.Conn) Inspected {
	var taken atomic.Bool
	return Inspected{
		Transfer: x.transfer(), Port: x.port, Roots: x.route.Roots, Receipt: x.receipt, Carried: &x.carried,
		Dial: func(ctx context.Context) (net.Conn, error) {
			if taken.CompareAndSwap(false, true) {
				return first, nil
			}
			return x.proxy.dial(ctx, x.host, x.port)
		},
	}
}

// prefixed is a connection of which something was read already.
type prefixed struct {
	net.Conn
	prefix []byte
}

func (c *prefixed) Read(p []byte) (int, error) {
	if len(c.prefix) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.prefix)
	c.prefix = c.prefix[n:]
	return n, nil
}

// CloseWrite ends one direction, if the connection can.
func (c *prefixed) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// ruleGone says that the caller broke off.
const ruleGone = "egress/caller-gone"

// errGone and errBroken say which side broke off; errTorn that either did. What the
// system says of it stays out of the log.
func errGone() error {
	return wire.WithStatus(wire.Refuse(gatehouse.ErrUnavailable, ruleGone, "the caller broke off"), statusGone)
}

func errBroken() error {
	return wire.BadGateway("destination/connection", "The connection to the destination broke.", nil)
}

var errTorn = wire.BadGateway("tunnel/broken", "One side broke the tunnel off.", nil)
