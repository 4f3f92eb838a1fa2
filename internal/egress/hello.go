package egress

import (
	"encoding/binary"
	"errors"
	"io"
	"strings"

	"gatehouse"
	"gatehouse/internal/wire"
)

// maxHello bounds a ClientHello. Those with post-quantum key shares have some 2 KiB.
const maxHello = 16 << 10

// Constants of TLS (RFC 8446).
const (
	recordHeader        = 5
	recordHandshake     = 22
	messageHeader       = 4
	messageClientHello  = 1
	extensionServerName = 0
	nameHost            = 0
)

// errNoHello means that what a tunnel begins with is not TLS.
func errNoHello(why string) error {
	return wire.Refuse(gatehouse.ErrDenied, "tunnel/no-tls", "a tunnel carries TLS only, and begins with its ClientHello: "+why)
}

// readHello reads a tunnel's first message, which must be TLS's ClientHello. It
// returns every byte that it read (those of the message, and whatever of the last
// record follows it), also beside an error, and the server name that stands in it,
// "" when none does.
//
// With encrypted ClientHello the name is that of the outer one, which is a client's
// only hint to the network; the inner one is not seen. Browsers send a meaningless
// extension of that kind to everybody, so its presence says nothing.
func readHello(r io.Reader) (read []byte, name string, err error) {
	buffer := make([]byte, 0, 2048)
	var message []byte // of the handshake, put together from records
	for {
		begin := len(buffer)
		if buffer, err = readMore(r, buffer, recordHeader); err != nil {
			return buffer, "", err
		}
		header := buffer[begin:]
		length := int(binary.BigEndian.Uint16(header[3:]))
		// The version in a record's header is 3.x for every version of TLS.
		if header[0] != recordHandshake || header[1] != 3 || length == 0 {
			return buffer, "", errNoHello("what came is something else")
		}
		if len(buffer)+length > maxHello {
			return buffer, "", errNoHello("what came is too long for one")
		}
		if buffer, err = readMore(r, buffer, length); err != nil {
			return buffer, "", err
		}
		message = append(message, buffer[begin+recordHeader:]...)
		if message[0] != messageClientHello {
			return buffer, "", errNoHello("what came is something else")
		}
		if len(message) < messageHeader {
			continue
		}
		body := int(message[1])<<16 | int(message[2])<<8 | int(message[3])
		if body > maxHello {
			return buffer, "", errNoHello("what came is too long for one")
		}
		if len(message) >= messageHeader+body {
			name, ok := serverName(message[messageHeader : messageHeader+body])
			if !ok {
				return buffer, "", errNoHello("its parts do not fit together")
			}
			return buffer, name, nil
		}
	}
}

// readMore appends n bytes. It reads not one byte more than that: what follows goes
// from one connection to the other without passing through here.
func readMore(r io.Reader, buffer []byte, n int) ([]byte, error) {
	begin := len(buffer)
	buffer = append(buffer, make([]byte, n)...)
	got, err := io.ReadFull(r, buffer[begin:])
	if err == nil {
		return buffer, nil
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errNoHello("the tunnel was closed before it was complete")
	}
	return buffer[:begin+got], err
}

// serverName returns the server name of a ClientHello's body. ok is false when the
// body is not one: lengths that do not fit, something left over, a name given twice.
func serverName(body []byte) (name string, ok bool) {
	b := reader(body)
	b.skip(2 + 32) // version, random
	b.skip(b.uint8())
	b.skip(b.uint16()) // cipher suites
	b.skip(b.uint8())  // compression methods
	if b != nil && len(b) == 0 {
		return "", true // no extensions
	}
	extensions := b.take(b.uint16())
	if b == nil || len(b) != 0 {
		return "", false
	}
	seen := false
	for len(extensions) > 0 {
		kind := extensions.uint16()
		data := extensions.take(extensions.uint16())
		if extensions == nil {
			return "", false
		}
		if kind != extensionServerName {
			continue
		}
		if seen {
			return "", false
		}
		seen = true
		list := data.take(data.uint16())
		if data == nil || len(data) != 0 {
			return "", false
		}
		// One name of the only type there is (RFC 6066, section 3).
		if list.uint8() != nameHost {
			return "", false
		}
		host := list.take(list.uint16())
		if list == nil || len(list) != 0 || len(host) == 0 {
			return "", false
		}
		name = string(host)
	}
	return name, true
}

// reader takes parts off the front of a message. It is nil once a part was longer
// than what was left, and stays so.
type reader []byte

func (r *reader) take(n int) reader {
	if *r == nil || n > len(*r) {
		*r = nil
		return nil
	}
	part := (*r)[:n:n]
	*r = (*r)[n:]
	return part
}

func (r *reader) skip(n int) { r.take(n) }

func (r *reader) uint8() int {
	if part := r.take(1); part != nil {
		return int(part[0])
	}
	return 0
}

func (r *reader) uint16() int {
	if part := r.take(2); part != nil {
		return int(binary.BigEndian.Uint16(part))
	}
	return 0
}

// checkName refuses a ClientHello for somebody else than the tunnel was asked for:
// one front may serve many, and only the host was judged. An address has no server
// name (RFC 6066), though some clients send it.
func checkName(name, host string, isAddress bool) error {
	if strings.EqualFold(name, host) || name == "" && isAddress {
		return nil
	}
	why := "the TLS server name is not the host that the tunnel was asked for"
	if name == "" {
		why = "the ClientHello names no server; send the host's name in it (SNI)"
	}
	return wire.Refuse(gatehouse.ErrDenied, "tunnel/server-name", why)
}
