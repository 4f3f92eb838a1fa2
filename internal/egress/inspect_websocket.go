package egress

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"gatehouse"
	"gatehouse/internal/wire"

	"github.com/gobwas/ws"
)

// isWebSocket reports whether a request asks to become a WebSocket.
func isWebSocket(r *http.Request) bool {
	return r.ProtoMajor == 1 && r.Method == http.MethodGet && strings.EqualFold(r.Header.Get("Upgrade"), "websocket") &&
		len(r.Header["Upgrade"]) == 1 && bodyKind(r) == noBody
}

// socket is the destination's end of a WebSocket. What the app writes is taken apart
// into frames and looked into message by message; what the destination sends passes.
type socket struct {
	request *inspectedRequest
	conn    io.ReadWriteCloser
	in      *io.PipeWriter
	done    chan struct{} // closed when nothing more is looked into
}

func newSocket(ctx context.Context, s *inspectedRequest, conn io.ReadWriteCloser) *socket {
	out, in := io.Pipe()
	k := &socket{request: s, conn: conn, in: in, done: make(chan struct{})}
	go func() {
		defer close(k.done)
		out.CloseWithError(k.pump(ctx, out))
	}()
	return k
}

// pump passes on what is judged until the app's side ends.
func (k *socket) pump(ctx context.Context, from io.Reader) error {
	frames := &frameReader{request: k.request, ctx: ctx, src: bufio.NewReaderSize(from, 4096)}
	defer frames.close()
	buffer := chunks.Get().(*[chunk]byte)
	defer chunks.Put(buffer)
	for {
		n, err := frames.Read(buffer[:])
		if n > 0 {
			if _, err := k.conn.Write(buffer[:n]); err != nil {
				return err
			}
			k.request.sent.Add(int64(n))
		}
		switch {
		case errors.Is(err, io.EOF):
			if half, ok := k.conn.(interface{ CloseWrite() error }); ok {
				return half.CloseWrite()
			}
			return k.conn.Close()
		case err != nil:
			k.conn.Close()
			return err
		}
	}
}

// Read returns what the destination sent.
func (k *socket) Read(p []byte) (int, error) {
	n, err := k.conn.Read(p)
	k.request.got.Add(int64(n))
	return n, err
}

// Write takes what the app sent.
func (k *socket) Write(p []byte) (int, error) { return k.in.Write(p) }

// CloseWrite says that the app sends nothing more.
func (k *socket) CloseWrite() error { return k.in.Close() }

// Close ends both directions.
func (k *socket) Close() error {
	k.in.CloseWithError(io.ErrClosedPipe)
	return k.conn.Close()
}

// wait ends the socket and waits until nothing more is looked into.
func (k *socket) wait() {
	k.Close()
	<-k.done
}

// frameReader returns a client's frames as far as they are judged. One goroutine owns
// it.
type frameReader struct {
	request *inspectedRequest
	ctx     context.Context
	src     *bufio.Reader

	ready   []byte
	at      int
	message *gate // nil between messages
	header  ws.Header
	left    int64 // bytes of the frame's payload that are missing; only of data
	offset  int   // in the frame's payload, for its mask
}

func (f *frameReader) Read(p []byte) (int, error) {
	for f.at == len(f.ready) {
		f.ready, f.at = f.ready[:0], 0
		if err := f.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, f.ready[f.at:])
	f.at += n
	return n, nil
}

func (f *frameReader) close() {
	if f.message != nil {
		f.request.over(f.message.inspection)
	}
}

// errFrame refuses what is no frame of a client's, in report mode too: no server could
// read it either.
func errFrame() error {
	return wire.Refuse(gatehouse.ErrInvalid, "egress/websocket-frame", "this is not a WebSocket client's frame (RFC 6455) without extensions")
}

// fill reads the next frame's header, or the next piece of its payload.
func (f *frameReader) fill() error {
	if f.left > 0 {
		return f.payload()
	}
	h, err := ws.ReadHeader(f.src)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe):
		return io.EOF // half a header passes nothing on
	case errors.Is(err, ws.ErrHeaderLengthMSB), errors.Is(err, ws.ErrHeaderLengthUnexpected):
		return f.request.stop(errFrame())
	case err != nil:
		return err
	}
	if !h.Masked || h.Rsv != 0 || h.OpCode.IsReserved() {
		return f.request.stop(errFrame())
	}
	f.header, f.offset = h, 0
	// The shortest form of the length, as the protocol demands.
	var raw bytes.Buffer
	if err := ws.WriteHeader(&raw, h); err != nil {
		return f.request.stop(errFrame())
	}
	if h.OpCode.IsControl() {
		return f.control(raw.Bytes())
	}
	if (h.OpCode == ws.OpContinuation) == (f.message == nil) {
		return f.request.stop(errFrame())
	}
	if f.message == nil {
		s := f.request
		f.message = &gate{inspection: s.config.Inspector.Inspect(s.transfer), limit: s.config.MaxWaiting, ready: &f.ready}
	}
	f.message.frame(raw.Bytes())
	if f.left = h.Length; f.left == 0 {
		return f.judge()
	}
	return nil
}

// payload reads the next piece of a data frame.
func (f *frameReader) payload() error {
	masked, plain := chunks.Get().(*[chunk]byte), chunks.Get().(*[chunk]byte)
	defer chunks.Put(masked)
	defer chunks.Put(plain)
	n, err := f.src.Read(masked[:min(int64(chunk), f.left)])
	if n > 0 {
		copy(plain[:n], masked[:n])
		ws.Cipher(plain[:n], f.header.Mask, f.offset)
		f.offset, f.left = (f.offset+n)%4, f.left-int64(n)
		if err := f.message.data(masked[:n], plain[:n]); err != nil {
			return f.request.stop(err)
		}
		return f.judge()
	}
	if errors.Is(err, io.ErrClosedPipe) {
		return io.EOF
	}
	return err
}

// judge moves on what may go. A message that is complete may be awaited by the other
// side: nothing of it waits.
func (f *frameReader) judge() error {
	s := f.request
	if f.left == 0 && f.header.Fin {
		if err := f.message.end(f.ctx); err != nil {
			return s.stop(err)
		}
		f.message.inspection.Close()
		f.message = nil
		return nil
	}
	if err := f.message.judge(f.ctx); err != nil {
		return s.stop(err)
	}
	if f.message.full() {
		if err := s.unread("egress/held-back", "more of the message would have to be held back than the limit allows"); err != nil {
			return err
		}
		f.message.letGo()
	}
	return nil
}

// control looks into a control frame, which is small and may stand between the
// fragments of a message.
func (f *frameReader) control(header []byte) error {
	s := f.request
	if !f.header.Fin || f.header.Length > ws.MaxControlFramePayloadSize {
		return s.stop(errFrame())
	}
	raw := make([]byte, f.header.Length)
	if _, err := io.ReadFull(f.src, raw); err != nil {
		return io.EOF
	}
	plain := bytes.Clone(raw)
	ws.Cipher(plain, f.header.Mask, 0)
	alone := &gate{inspection: s.config.Inspector.Inspect(s.transfer), limit: s.config.MaxWaiting, ready: new([]byte)}
	defer alone.inspection.Close()
	if err := alone.data(raw, plain); err != nil {
		return s.stop(err)
	}
	if err := alone.end(f.ctx); err != nil {
		return s.stop(err)
	}
	frame := append(header, raw...)
	if f.message != nil {
		f.message.frame(frame)
	} else {
		f.ready = append(f.ready, frame...)
	}
	return nil
}
