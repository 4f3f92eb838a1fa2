package egress

import (
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strings"
)

// envelopeEncoding returns the name of the header that says how messages are
// compressed, for media types of messages with a prefix of five bytes: gRPC, gRPC-Web
// and Connect's streams. "" for all others.
func envelopeEncoding(h http.Header) string {
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	media = strings.ToLower(strings.TrimSpace(media))
	is := func(name string) bool { return media == name || strings.HasPrefix(media, name+"+") }
	switch {
	case is("application/grpc"), is("application/grpc-web"):
		return "Grpc-Encoding"
	case is("application/connect"):
		return "Connect-Content-Encoding"
	}
	return ""
}

// The prefix of a message: flags, and four bytes of length.
const (
	envelopePrefix     = 5
	envelopeCompressed = 1
	envelopeEnd        = 2 // Connect's last message
)

// fillEnveloped reads the prefix of the next message, or the next piece of the one
// under way.
func (b *judgedBody) fillEnveloped() error {
	if b.left < 0 {
		return b.beginMessage()
	}
	buffer := chunks.Get().(*[chunk]byte)
	defer chunks.Put(buffer)
	n, err := b.src.Read(buffer[:min(int64(chunk), b.left)])
	if n > 0 {
		if err := b.gate.data(buffer[:n], buffer[:n]); err != nil {
			return b.request.stop(err)
		}
		b.left -= int64(n)
		if b.left == 0 {
			return b.endMessage()
		}
		if err == nil {
			return b.judge()
		}
	}
	switch {
	case errors.Is(err, io.EOF):
		return b.notEnveloped(nil)
	case err != nil:
		return b.broken(err)
	}
	return nil
}

func (b *judgedBody) beginMessage() error {
	s := b.request
	var prefix [envelopePrefix]byte
	n, err := io.ReadFull(b.src, prefix[:])
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return b.notEnveloped(prefix[:n])
	case errors.Is(err, io.EOF):
		last := s.config.Inspector.Inspect(s.transfer)
		defer last.Close()
		if err := b.takeTrailer(last); err != nil {
			return err
		}
		if err := last.End(b.ctx); err != nil {
			return s.stop(err)
		}
		return io.EOF
	case err != nil:
		return b.broken(err)
	}
	flags, length := prefix[0], int64(binary.BigEndian.Uint32(prefix[1:]))
	if flags&^(envelopeCompressed|envelopeEnd) != 0 {
		return b.notEnveloped(prefix[:])
	}
	b.gate = b.newGate(s.config.Inspector.Inspect(s.transfer))
	if flags&envelopeCompressed != 0 && length > 0 {
		return b.takeMessage(prefix[:], length)
	}
	b.gate.frame(prefix[:])
	b.left = length
	if length == 0 {
		return b.endMessage()
	}
	return nil
}

// endMessage has the message judged to its end. Nothing of it waits then.
func (b *judgedBody) endMessage() error {
	b.left = -1
	if err := b.gate.end(b.ctx); err != nil {
		return b.request.stop(err)
	}
	b.gate.inspection.Close()
	b.gate = nil
	b.closeOuter()
	return nil
}

// takeMessage reads a compressed message whole.
func (b *judgedBody) takeMessage(prefix []byte, length int64) error {
	s := b.request
	if length > int64(s.config.MaxEncoded) {
		if err := s.unread("egress/encoded-size", "a compressed message is larger than can be looked into; send it uncompressed"); err != nil {
			return err
		}
		b.gate.letGo()
		b.gate.frame(prefix)
		b.left = length
		return nil
	}
	before := b.held
	raw, err := b.readHeld(length)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if int64(len(raw)) < length {
		b.ready = append(append(b.ready, prefix...), raw...)
		return b.notEnveloped(nil)
	}
	names := encodings(s.r.Header[envelopeEncoding(s.r.Header)])
	if err := b.judgeEncoded(names, raw, b.gate.inspection); err != nil {
		return err
	}
	b.ready = append(append(b.ready, prefix...), raw...)
	b.giveBack(b.held - before)
	return b.endMessage()
}

// notEnveloped ends a body that is not what its media type says. In report mode it
// passes, and what may still come with it.
func (b *judgedBody) notEnveloped(read []byte) error {
	s := b.request
	if err := s.unread("egress/envelope", "the body is not the sequence of messages that its media type says"); err != nil {
		return err
	}
	if b.gate == nil {
		b.gate = b.newGate(s.config.Inspector.Inspect(s.transfer))
	}
	b.gate.letGo()
	b.shape = plainBody
	if err := b.gate.data(read, read); err != nil {
		return s.stop(err)
	}
	return nil
}
