package wire

import (
	"context"
	"net"
	"net/http"
	"time"
)

// ForwardConfig says how plain http requests to others than the platforms are
// carried. It is copied.
type ForwardConfig struct {
	// Dial connects to a host as it stands in a request, by a [Dialer]. Required.
	Dial func(ctx context.Context, host string, port uint16) (net.Conn, error)
	// HeaderTimeout bounds the wait from the request's end to the reply's header.
	// Zero means 60 s.
	HeaderTimeout time.Duration
	// Stall bounds a silence in the middle of a body, in either direction. Zero
	// means 60 s.
	Stall time.Duration
	// MaxHeaderBytes bounds a reply's header. Zero means 256 KiB.
	MaxHeaderBytes int64
}

// Forward is the client of a forward proxy for requests without TLS. It judges no
// host: whoever calls it did, and Dial judges the addresses. It is safe for
// concurrent use.
type Forward struct {
	stall     time.Duration
	transport *http.Transport
}

// NewForward returns a client.
func NewForward(c ForwardConfig) *Forward {
	withDefault(&c.HeaderTimeout, 60*time.Second)
	withDefault(&c.Stall, 60*time.Second)
	withDefault(&c.MaxHeaderBytes, 256<<10)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &Forward{stall: c.Stall, transport: &http.Transport{
		Proxy: nil, // never from the environment
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			host, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, BadGateway("egress/host", "The address cannot be read.", nil)
			}
			conn, err := c.Dial(ctx, host, portNumber(port))
			if err != nil {
				return nil, err
			}
			return &stallConn{conn, c.Stall}, nil
		},
		ResponseHeaderTimeout:  c.HeaderTimeout,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    32,
		MaxResponseHeaderBytes: c.MaxHeaderBytes,
		DisableCompression:     true, // the reply is relayed as it came
		Protocols:              protocols,
	}}
}

// RoundTrip sends one request and returns the reply, whatever its status. Anything
// but http is refused. Errors, also those of reading the body, are [BadGateway] or
// [GatewayTimeout] and repeat nothing of the request or the reply; when r's own
// context was cancelled the error is that. It implements http.RoundTripper.
func (f *Forward) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL == nil || r.URL.Scheme != "http" || r.URL.User != nil || r.Header.Get("Upgrade") != "" {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, BadGateway("egress/host", "Only plain http is carried here.", nil)
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	reply, err := f.transport.RoundTrip(r.WithContext(ctx))
	if err != nil {
		err = destinationError(r.Context(), err)
		cancel(nil)
		return nil, err
	}
	if reply.StatusCode == http.StatusSwitchingProtocols {
		reply.Body.Close()
		cancel(nil)
		return nil, BadGateway("destination/protocol", "The destination changed the protocol.", nil)
	}
	body := newReplyBody(r.Context(), reply.Body, cancel, f.stall, 0)
	body.explain = destinationError
	reply.Body = body
	reply.Request = r
	return reply, nil
}

// CloseIdle closes connections that nobody uses.
func (f *Forward) CloseIdle() { f.transport.CloseIdleConnections() }
