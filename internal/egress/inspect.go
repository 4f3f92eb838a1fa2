package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"
)

// InspectConfig says how tunnels are looked into. It is copied.
type InspectConfig struct {
	// Inspector looks for what may not be sent. It is needed.
	Inspector Inspector
	// Certificate returns the certificate with which we speak in a destination's
	// place; see [Authority.Leaf]. It is needed.
	Certificate func(destination string) (*tls.Certificate, error)
	// Log records each request. It is needed.
	Log *audit.Log
	// Logger gets a line for each request, and what is said about broken
	// connections. nil drops it.
	Logger *slog.Logger
	// Silence is after how long without a byte in either direction a tunnel is given
	// up. Zero means 10 min.
	Silence time.Duration
	// MaxWaiting bounds what one body may have waiting because nothing is decided
	// about it yet. Zero means 1 MiB.
	MaxWaiting int
	// MaxEncoded bounds a compressed body, or a compressed message of gRPC, which is
	// held whole until it is judged. Zero means 8 MiB.
	MaxEncoded int
	// MaxDecoded bounds what may come out of one. Zero means 64 MiB.
	MaxDecoded int64
	// MaxHeld bounds all the compressed bodies that are held at once, and half of it
	// those of one service. Zero means 128 MiB.
	MaxHeld int64
	// Decoders bounds how many are decoded at once. Zero means 4.
	Decoders int
}

// NewTerminate returns what looks into tunnels.
func NewTerminate(c InspectConfig) (Terminate, error) {
	if c.Inspector == nil || c.Certificate == nil || c.Log == nil {
		return nil, fmt.Errorf("setting up inspection: an inspector, certificates and a log are needed: %w", gatehouse.ErrInvalid)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	def(&c.Silence, 10*time.Minute)
	def(&c.MaxWaiting, 1<<20)
	def(&c.MaxEncoded, 8<<20)
	def(&c.MaxDecoded, 64<<20)
	def(&c.MaxHeld, 128<<20)
	def(&c.Decoders, 4)
	t := &terminator{
		config:   c,
		surface:  &wire.Surface{Name: "egress", Log: c.Logger, BodyStall: -1, Transparent: true},
		decoding: make(chan struct{}, c.Decoders),
		held:     heldBytes{most: c.MaxHeld},
	}
	return t.terminate, nil
}

// terminator is what all tunnels share.
type terminator struct {
	config   InspectConfig
	surface  *wire.Surface
	decoding chan struct{} // holds one element for each decoder at work
	held     heldBytes     // of compressed bodies
}

// terminate implements [Terminate].
func (t *terminator) terminate(ctx context.Context, client net.Conn, in Inspected) error {
	o := &opened{terminator: t, in: in}
	if o.in.Carried == nil {
		o.in.Carried = new(Carried)
	}
	var err error
	o.destination, err = wire.NewDestination(wire.DestinationConfig{Host: in.Transfer.Destination, Dial: in.Dial, Roots: in.Roots})
	if err != nil {
		return err
	}
	defer o.destination.Close()
	err = wire.ServeConn(ctx, client, wire.ConnConfig{
		TLS:     &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: o.greet},
		Surface: t.surface, Pattern: "inspected", Handler: o.serve, Log: t.config.Logger, Silence: t.config.Silence,
	})
	switch {
	case err == nil:
		return o.unreachable
	case o.refusal != nil:
		return o.refusal
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return wire.Refuse(gatehouse.ErrInvalid, "egress/client-tls",
		"the app's TLS handshake failed; most often it does not trust the authority for inspection: gatehouse egress ca")
}

// opened is one tunnel. What stands above the blank line is set before the first
// request, by the handshake.
type opened struct {
	*terminator
	in          Inspected
	destination *wire.Destination
	refusal     error // why there is no handshake
	unreachable error // why there is no destination

	// Requests run side by side and share nothing but the destination.
}

// greet answers the app's ClientHello. The destination is connected first: the app is
// offered what the destination speaks, so that a call is HTTP/2 on both sides or on
// none, and gRPC passes.
func (o *opened) greet(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	host := o.in.Transfer.Destination
	if hello.ServerName != "" && !strings.EqualFold(hello.ServerName, host) {
		o.refusal = wire.Refuse(gatehouse.ErrDenied, "egress/server-name", "the TLS server name is not the host that the tunnel was asked for")
		return nil, o.refusal
	}
	certificate, err := o.config.Certificate(host)
	if err != nil {
		o.refusal = wire.Public(fmt.Errorf("making a certificate for inspection: %w", errors.Join(gatehouse.ErrUnavailable, err)),
			"the authority for inspection does not cover this destination yet")
		return nil, o.refusal
	}
	answer := &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*certificate},
		// Each tunnel has its own keys for tickets; one would resume nothing.
		SessionTicketsDisabled: true,
	}
	offer := []string{wire.ProtocolHTTP1}
	if len(hello.SupportedProtos) > 0 {
		offer = slices.DeleteFunc(slices.Clone(hello.SupportedProtos), func(p string) bool { return p != wire.ProtocolHTTP1 && p != wire.ProtocolHTTP2 })
		if len(offer) == 0 {
			o.refusal = wire.Refuse(gatehouse.ErrDenied, "egress/protocol", "only HTTP/1.1 and HTTP/2 can be looked into")
			return nil, o.refusal
		}
	}
	protocol, err := o.destination.Connect(hello.Context(), offer)
	if err != nil {
		// The app is told within its TLS what is wrong.
		o.unreachable, protocol = err, offer[0]
	}
	if len(hello.SupportedProtos) > 0 {
		answer.NextProtos = []string{protocol}
	}
	return answer, nil
}

// serve answers one request of the tunnel.
func (o *opened) serve(w http.ResponseWriter, r *http.Request) error {
	wire.Annotate(w, wire.Note{Service: string(o.in.Transfer.Service), Purpose: string(o.in.Transfer.Purpose), Operation: actionRequest})
	if o.unreachable != nil {
		w.Header().Set("Connection", "close")
		return o.unreachable
	}
	s := &inspectedRequest{opened: o, w: w, r: r}
	err := s.check()
	if err != nil {
		err = s.refuse(err)
	} else {
		err = s.run()
	}
	if err != nil && r.ProtoMajor == 1 && bodyKind(r) != noBody {
		// What still comes of the body would be taken for the next request's beginning.
		w.Header().Set("Connection", "close")
	}
	return err
}
