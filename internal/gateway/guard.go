package gateway

import (
	"io"
	"sync/atomic"

	"gatehouse"
	"gatehouse/internal/identity"
	"gatehouse/internal/wire"
)

// errHandleInside means that a handle stands where none belongs.
func errHandleInside(where string) error {
	return wire.Refuse(gatehouse.ErrInvalid, "refuse/handle-inside",
		"a Gatehouse handle or key stands in "+where+"; it would have been sent to the platform")
}

// guardReader passes an upload on and breaks it off when a handle appears in it.
type guardReader struct {
	r    io.Reader
	scan identity.Scanner
	why  atomic.Pointer[error] // why the upload was broken off; the transport reads in a goroutine of its own
}

// failure returns why the upload was broken off here, or nil.
func (g *guardReader) failure() error {
	if why := g.why.Load(); why != nil {
		return *why
	}
	return nil
}

func (g *guardReader) Read(p []byte) (int, error) {
	n, err := g.r.Read(p)
	if err != nil && err != io.EOF {
		g.why.Store(&err)
	}
	if g.scan.Found(p[:n]) {
		err := errHandleInside("the body")
		g.why.Store(&err)
		return 0, err
	}
	return n, err
}
