package gateway

import (
	"bytes"
	"io"
	"strings"
	"sync/atomic"

	"gatehouse"
	"gatehouse/internal/wire"
)

// errHandleInside means that a handle stands where none belongs.
func errHandleInside(where string) error {
	return wire.Refuse(gatehouse.ErrInvalid, "refuse/handle-inside",
		"a Gatehouse handle or key stands in "+where+"; it would have been sent to the platform")
}

// The prefixes of the two forms that Gatehouse issues; see package identity.
const handleForm, keyForm = "gth_hnd_", "gth_svc_"

// holdsHandle reports whether s holds something with the beginning of a handle
// or key.
func holdsHandle(s string) bool {
	return strings.Contains(s, "gth_") && (strings.Contains(s, handleForm) || strings.Contains(s, keyForm))
}

// bytesHoldHandle is holdsHandle for bytes.
func bytesHoldHandle(b []byte) bool {
	return bytes.Contains(b, []byte("gth_")) && (bytes.Contains(b, []byte(handleForm)) || bytes.Contains(b, []byte(keyForm)))
}

// guardReader passes an upload on and breaks it off when a handle appears in
// it. Its memory of the last bytes finds one that two reads divide.
type guardReader struct {
	r    io.Reader
	tail [7]byte // the end of what was passed: one less than the needle
	n    int
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
	if n == 0 {
		return n, err
	}
	read := p[:n]
	var seam [14]byte
	joined := append(seam[:0], g.tail[:g.n]...)
	joined = append(joined, read[:min(n, len(g.tail))]...)
	if bytesHoldHandle(joined) || bytesHoldHandle(read) {
		err := errHandleInside("the body")
		g.why.Store(&err)
		return 0, err
	}
	if n >= len(g.tail) {
		g.n = copy(g.tail[:], read[n-len(g.tail):])
	} else {
		keep := min(g.n, len(g.tail)-n)
		copy(g.tail[:], g.tail[g.n-keep:g.n])
		g.n = keep + copy(g.tail[keep:], read)
	}
	return n, err
}
