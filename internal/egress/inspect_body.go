package egress

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse"
	"gatehouse/internal/identity"
	"gatehouse/internal/wire"
)

// bodyShape is how a request's body is looked into.
type bodyShape int

const (
	noBody bodyShape = iota
	// plainBody is looked into as it comes.
	plainBody
	// smallBody is judged to its end before anything is sent: what is refused leaves
	// no trace at the destination.
	smallBody
	// encodedBody is compressed: held whole, decoded for the judgement, and sent on as
	// it came.
	encodedBody
	// envelopedBody is a sequence of messages, each with its length before it: gRPC's.
	// Each is judged for itself, since the other side may wait for it before anything
	// more is said.
	envelopedBody
)

// smallBodyBytes is the length up to which a body is judged before it is sent.
const smallBodyBytes = 64 << 10

// bodyKind says how a request's body is looked into, by its header.
func bodyKind(r *http.Request) bodyShape {
	switch {
	case r.Body == nil, r.Body == http.NoBody, r.ContentLength == 0:
		return noBody
	case len(contentEncodings(r.Header)) > 0:
		return encodedBody
	case envelopeEncoding(r.Header) != "":
		return envelopedBody
	case r.ContentLength > 0 && r.ContentLength <= smallBodyBytes:
		return smallBody
	}
	return plainBody
}

// contentEncodings returns the encodings of the body in the order in which they were
// applied, without identity.
func contentEncodings(h http.Header) []string {
	return encodings(h["Content-Encoding"])
}

func encodings(values []string) []string {
	var all []string
	for _, value := range values {
		for name := range strings.SplitSeq(value, ",") {
			if name = strings.ToLower(strings.TrimSpace(name)); name != "" && name != "identity" {
				all = append(all, name)
			}
		}
	}
	return all
}

// judgedBody is a request's body as the destination gets it. The transport reads it,
// in a goroutine of its own; finish comes from the handler's.
type judgedBody struct {
	request *inspectedRequest
	ctx     context.Context
	src     io.Reader
	control *http.ResponseController
	trailer http.Header // filled when the body is at its end

	waking sync.Mutex // guards over, and keeps the handler from returning while control is used
	over   bool
	woken  atomic.Bool // nobody wants more; what a read then fails with says nothing

	mu         sync.Mutex // guards what follows
	closed     bool
	shape      bodyShape
	inspection Inspection // of the whole body; nil where each message has one
	gate       *gate
	ready      []byte
	at         int // of ready, passed on
	err        error
	held       int64      // bytes counted in terminator.held
	outer      Inspection // of a compressed text as it is; nil for others

	// Of a message under way.
	left int64 // bytes that are missing; -1 between messages
}

var errBodyClosed = errors.New("the request is over")

// prepare readies the body, and judges what is judged before anything is sent.
func (b *judgedBody) prepare(shape bodyShape) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shape, b.left = shape, -1
	if len(b.request.r.Trailer) > 0 {
		b.trailer = http.Header{}
		for name := range b.request.r.Trailer {
			b.trailer[name] = nil
		}
	}
	if b.inspection != nil {
		b.gate = b.newGate(b.inspection)
	}
	switch shape {
	case smallBody:
		for b.err == nil {
			b.err = b.fill()
		}
		if !errors.Is(b.err, io.EOF) {
			return b.err
		}
	case encodedBody:
		return b.takeEncoded()
	}
	return nil
}

func (b *judgedBody) newGate(i Inspection) *gate {
	return &gate{inspection: i, limit: b.request.config.MaxWaiting, ready: &b.ready}
}

// Read implements io.Reader: it returns nothing that is not judged.
func (b *judgedBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for !b.closed {
		if b.at < len(b.ready) {
			n := copy(p, b.ready[b.at:])
			b.at += n
			b.request.sent.Add(int64(n))
			return n, nil
		}
		if b.err != nil {
			return 0, b.err
		}
		if b.woken.Load() {
			return 0, errBodyClosed
		}
		b.ready, b.at = b.ready[:0], 0
		b.err = b.fill()
	}
	return 0, errBodyClosed
}

// again lets a body be sent once more that is judged to its end: a kept-alive
// connection may end just when it is used. It is nil for all others.
func (b *judgedBody) again() func() (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !errors.Is(b.err, io.EOF) {
		return nil
	}
	return func() (io.ReadCloser, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.at = 0
		return b, nil
	}
}

// Close implements io.Closer: the transport wants no more. Whoever reads just then
// waits for the app's next bytes, perhaps for ever, and nothing but a deadline wakes
// it. The app's side stays as it is: it is the handler's to end.
func (b *judgedBody) Close() error {
	b.waking.Lock()
	defer b.waking.Unlock()
	if b.over {
		return nil
	}
	// First said, then looked: who begins to read now sees it, or is found reading.
	b.woken.Store(true)
	if b.mu.TryLock() {
		b.mu.Unlock()
		return nil
	}
	return b.control.SetReadDeadline(time.Unix(1, 0))
}

// finish ends the body, and waits until nobody reads it.
func (b *judgedBody) finish() {
	_ = b.Close() // a writer without deadlines has no connection to wait for
	b.waking.Lock()
	b.over = true
	b.waking.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed, b.ready = true, nil
	if b.gate != nil {
		b.request.over(b.gate.inspection)
	}
	b.closeOuter()
	b.giveBack(b.held)
}

// fill reads what comes next and moves what is judged to ready. io.EOF is the end.
func (b *judgedBody) fill() error {
	if b.shape == envelopedBody {
		return b.fillEnveloped()
	}
	buffer := chunks.Get().(*[chunk]byte)
	defer chunks.Put(buffer)
	n, err := b.src.Read(buffer[:])
	if n > 0 {
		if err := b.gate.data(buffer[:n], buffer[:n]); err != nil {
			return b.request.stop(err)
		}
		// What is judged before anything is sent is judged as a whole: until then nobody
		// knows that any of it leaves.
		if err == nil && b.shape == smallBody {
			return nil
		}
		if err == nil {
			return b.judge()
		}
	}
	switch {
	case errors.Is(err, io.EOF):
		if err := b.takeTrailer(b.gate.inspection); err != nil {
			return err
		}
		if err := b.gate.end(b.ctx); err != nil {
			return b.request.stop(err)
		}
		return io.EOF
	case err != nil:
		return b.broken(err)
	}
	return nil
}

// judge moves on what may go, and sees to it that not too much waits.
func (b *judgedBody) judge() error {
	if err := b.gate.judge(b.ctx); err != nil {
		return b.request.stop(err)
	}
	if !b.gate.full() {
		return nil
	}
	if err := b.request.unread("egress/held-back", "more of the body would have to be held back than the limit allows"); err != nil {
		return err
	}
	b.gate.letGo()
	return nil
}

// broken says that the app's side of the body broke off, or was no body.
func (b *judgedBody) broken(err error) error {
	if b.woken.Load() {
		return errBodyClosed
	}
	if b.request.r.Context().Err() != nil {
		return b.request.stop(errGone())
	}
	var syntax bool
	for _, text := range []string{"chunk", "malformed", "trailer"} {
		syntax = syntax || strings.Contains(err.Error(), text)
	}
	if !syntax {
		return b.request.stop(errGone())
	}
	return b.request.stop(wire.Refuse(gatehouse.ErrInvalid, "egress/body", "the request's body is not valid HTTP"))
}

// takeTrailer has the trailers judged that have come by now, and hands on those that
// were announced.
func (b *judgedBody) takeTrailer(inspection Inspection) error {
	for name, values := range b.request.r.Trailer {
		for _, value := range values {
			if identity.Holds(value) || identity.Holds(strings.ToLower(name)) {
				return b.request.stop(errKeyInside("a trailer"))
			}
			inspection.Text(InHeader, name, value)
		}
	}
	if len(b.request.r.Trailer) > 0 {
		if _, err := inspection.Judge(b.ctx); err != nil {
			return b.request.stop(err)
		}
	}
	for name := range b.trailer {
		b.trailer[name] = slices.Clone(b.request.r.Trailer[name])
	}
	return nil
}

// takeEncoded reads a compressed body whole and has it judged as it is and decoded. It
// is all ready then.
func (b *judgedBody) takeEncoded() error {
	s := b.request
	raw, err := b.readHeld(int64(s.config.MaxEncoded) + 1)
	whole := errors.Is(err, io.EOF)
	if err != nil && !whole {
		return err
	}
	if !whole {
		// More came than is held. In report mode the rest passes as it comes.
		if err := s.unread("egress/encoded-size", "the compressed body is larger than can be looked into; send it uncompressed or in parts"); err != nil {
			return err
		}
		b.gate.letGo()
		if err := b.gate.data(raw, raw); err != nil {
			return s.stop(err)
		}
		return nil
	}
	if err := b.judgeEncoded(contentEncodings(s.r.Header), raw, b.gate.inspection); err != nil {
		return err
	}
	if err := b.takeTrailer(b.gate.inspection); err != nil {
		return err
	}
	if err := b.gate.inspection.End(b.ctx); err != nil {
		return s.stop(err)
	}
	b.closeOuter()
	b.ready, b.err = raw, io.EOF
	return nil
}

// closeOuter ends the inspection of a compressed text as it is, once the text is
// judged as what it holds, too.
func (b *judgedBody) closeOuter() {
	if b.outer != nil {
		b.request.over(b.outer)
		b.outer = nil
	}
}

// readHeld reads up to most bytes into memory that is accounted for. io.EOF means that
// these are all.
func (b *judgedBody) readHeld(most int64) ([]byte, error) {
	var raw bytes.Buffer
	for int64(raw.Len()) < most {
		want := min(chunk, most-int64(raw.Len()))
		if !b.request.held.take(b.request.transfer.Service, want) {
			return nil, b.request.stop(wire.Refuse(gatehouse.ErrLimited, "egress/held", "too many compressed bodies are held at the moment; try again"))
		}
		b.held += want
		n, err := io.CopyN(&raw, b.src, want)
		if n < want {
			b.giveBack(want - n)
		}
		switch {
		case errors.Is(err, io.EOF):
			return raw.Bytes(), io.EOF
		case err != nil:
			return nil, b.broken(err)
		}
	}
	return raw.Bytes(), nil
}

// giveBack makes room for other bodies.
func (b *judgedBody) giveBack(n int64) {
	b.request.held.give(b.request.transfer.Service, n)
	b.held -= n
}

// judgeEncoded has a compressed text judged: decoded into the inspection, and as it
// is in another, since compressed formats have room for text that is not compressed.
func (b *judgedBody) judgeEncoded(names []string, raw []byte, inspection Inspection) error {
	s := b.request
	if identity.HoldsBytes(raw) {
		return s.stop(errKeyInside("the body"))
	}
	outer := s.config.Inspector.Inspect(s.transfer)
	b.outer = outer
	_, _ = outer.Write(raw)
	if err := outer.End(b.ctx); err != nil {
		return s.stop(err)
	}
	select {
	case s.decoding <- struct{}{}:
		defer func() { <-s.decoding }()
	case <-b.ctx.Done():
		return s.stop(errGone())
	}
	err := decode(b.ctx, names, raw, s.config.MaxDecoded, inspection)
	var unreadable *unreadableError
	if errors.As(err, &unreadable) {
		return s.unread(unreadable.rule, unreadable.why)
	}
	if err != nil {
		return s.stop(err)
	}
	return nil
}
