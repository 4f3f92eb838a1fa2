package egress

import (
	"context"
	"crypto/x509"
	"net"
	"sync/atomic"

	"gatehouse/internal/audit"
)

// Terminate carries a tunnel to a destination that is looked into: it speaks TLS
// with the app in the destination's place, and with the destination. The tunnel
// was asked for, allowed, recorded and answered with 200 before.
//
// client begins with the app's ClientHello, whose server name is the destination.
// Whoever called Terminate closes it. Terminate returns when both sides are done;
// its error becomes the tunnel's outcome. ctx ends when the proxy stops or the
// tunnel's time is over; client is closed then, too.
type Terminate func(ctx context.Context, client net.Conn, t Inspected) error

// Inspected is a tunnel to look into.
type Inspected struct {
	// Transfer is what each of its requests inherits. Its Entry is the tunnel's.
	Transfer Transfer
	// Port is the destination's.
	Port uint16
	// Dial connects to the destination, at an address that was judged and is the
	// one that is dialled. The first call returns the connection that stands
	// already; each further one resolves and judges anew. It speaks no TLS yet: the
	// certificate must be verified for Transfer.Destination under Roots. Its owner
	// closes it.
	Dial func(context.Context) (net.Conn, error)
	// Roots verify the destination. nil means the system's.
	Roots *x509.CertPool
	// Receipt is of the tunnel's intent. Its outcome is written by the caller of
	// Terminate, with what Carried counts.
	Receipt audit.Receipt
	// Carried counts what went through, for the outcome.
	Carried *Carried
}

// Carried counts bytes of content in each direction. It is safe for concurrent use.
type Carried struct {
	// Sent went to the destination, Received came from it.
	Sent, Received atomic.Int64
}
