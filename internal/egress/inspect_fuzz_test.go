package egress

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"gatehouse/internal/wire"

	"github.com/gobwas/ws"
)

type seekingInspector struct{}

func (seekingInspector) Inspect(Transfer) Inspection { return &seeking{} }

// bareRequest is enough of a request to read a body or frames in.
func bareRequest(t *testing.T, body io.Reader) *inspectedRequest {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://a.example", body)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = -1
	shared := &terminator{
		config:   InspectConfig{Inspector: seekingInspector{}, MaxWaiting: 1 << 20, MaxEncoded: 1 << 20, MaxDecoded: 1 << 20},
		held:     heldBytes{most: 1 << 21},
		decoding: make(chan struct{}, 1),
	}
	return &inspectedRequest{opened: &opened{terminator: shared}, r: r}
}

func clientFrame(fin bool, op ws.OpCode, payload string) []byte {
	h := ws.Header{Fin: fin, OpCode: op, Masked: true, Mask: [4]byte{9, 8, 7, 6}, Length: int64(len(payload))}
	var b bytes.Buffer
	_ = ws.WriteHeader(&b, h)
	data := []byte(payload)
	ws.Cipher(data, h.Mask, 0)
	b.Write(data)
	return b.Bytes()
}

// What is no frame of a client's is refused here, whatever the destination makes of it.
func TestFramesThatAreNone(t *testing.T) {
	change := func(i int, to byte) []byte {
		f := clientFrame(true, ws.OpText, "ok")
		f[i] = to
		return f
	}
	for name, c := range map[string]struct {
		raw  []byte
		rule string
	}{
		"good":       {change(0, 0x81), ""},
		"compressed": {change(0, 0xc1), "egress/websocket-frame"},
		"second bit": {change(0, 0xa1), "egress/websocket-frame"},
		"reserved":   {change(0, 0x83), "egress/websocket-frame"},
		"not masked": {change(1, 0x02), "egress/websocket-frame"},
	} {
		frames := &frameReader{request: bareRequest(t, nil), ctx: t.Context(), src: bufio.NewReader(bytes.NewReader(c.raw))}
		out, err := io.ReadAll(frames)
		frames.close()
		if got := wire.RuleOf(err); got != c.rule || c.rule == "" && !bytes.Equal(out, c.raw) || c.rule != "" && len(out) > 0 {
			t.Errorf("%s: rule %q, want %q; %x comes out", name, got, c.rule, out)
		}
	}
}

// Whatever a client sends: what comes out are whole frames up to the last, and no
// message of them holds the word.
func FuzzFrames(f *testing.F) {
	f.Add(clientFrame(true, ws.OpText, "a needle"), false)
	f.Add(slices.Concat(clientFrame(false, ws.OpText, "nee"), clientFrame(true, ws.OpPing, "p"), clientFrame(true, ws.OpContinuation, "dle")), true)
	f.Add(slices.Concat(clientFrame(true, ws.OpBinary, "nee"), clientFrame(true, ws.OpText, "dle")), false)
	f.Add([]byte{0x81, 0xfe, 0, 2, 1, 2, 3, 4, 5, 6}, false)
	f.Fuzz(func(t *testing.T, raw []byte, slowly bool) {
		if len(raw) > 1<<12 {
			return
		}
		var from io.Reader = bytes.NewReader(raw)
		if slowly {
			from = iotest.OneByteReader(from)
		}
		frames := &frameReader{request: bareRequest(t, nil), ctx: t.Context(), src: bufio.NewReader(from)}
		out, err := io.ReadAll(frames)
		frames.close()
		r := bytes.NewReader(out)
		var message []byte
		for {
			h, herr := ws.ReadHeader(r)
			if herr != nil {
				break
			}
			data, rerr := io.ReadAll(io.LimitReader(r, h.Length))
			if rerr != nil || int64(len(data)) < h.Length && err == nil && int64(len(raw)) >= h.Length+int64(len(out)) {
				t.Fatalf("%x becomes %x, which ends in a frame (%v)", raw, out, err)
			}
			ws.Cipher(data, h.Mask, 0)
			if h.OpCode.IsControl() {
				if bytes.Contains(data, []byte(word)) {
					t.Fatalf("%x: the word came out in a control frame", raw)
				}
				continue
			}
			message = append(message, data...)
			if bytes.Contains(message, []byte(word)) {
				t.Fatalf("%x: the word came out", raw)
			}
			if h.Fin {
				message = nil
			}
		}
	})
}

// Whatever stands in an enveloped body: what comes out is its beginning, all of it
// when it is accepted, and no message of it holds the word.
func FuzzEnvelope(f *testing.F) {
	message := func(flags byte, s string) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(s))), s...)
	}
	f.Add(message(0, "a needle"), false)
	f.Add(slices.Concat(message(0, "nee"), message(0, "dle"), message(0, "")), true)
	f.Add(message(1, "no gzip"), false)
	f.Add([]byte{0, 0, 0, 0, 9, 1}, false)
	f.Fuzz(func(t *testing.T, raw []byte, slowly bool) {
		if len(raw) > 1<<12 {
			return
		}
		var from io.Reader = bytes.NewReader(raw)
		if slowly {
			from = iotest.OneByteReader(from)
		}
		s := bareRequest(t, from)
		s.r.Header.Set("Content-Type", "application/grpc")
		s.r.Header.Set("Grpc-Encoding", "gzip")
		body := &judgedBody{request: s, ctx: context.WithoutCancel(t.Context()), src: from}
		if err := body.prepare(envelopedBody); err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(body)
		body.over = true // there is no connection to wake
		body.finish()
		if !bytes.HasPrefix(raw, out) || err == nil && len(out) != len(raw) {
			t.Fatalf("%x becomes %x (%v)", raw, out, err)
		}
		for rest := out; len(rest) >= envelopePrefix; {
			n := min(int(binary.BigEndian.Uint32(rest[1:])), len(rest)-envelopePrefix)
			if rest[0] == 0 && bytes.Contains(rest[envelopePrefix:envelopePrefix+n], []byte(word)) {
				t.Fatalf("%x: the word came out", raw)
			}
			rest = rest[envelopePrefix+n:]
		}
		if held := s.held.total(); held != 0 {
			t.Fatalf("%x: %d bytes stay held", raw, held)
		}
		if err != nil && strings.TrimSpace(err.Error()) == "" {
			t.Fatal(errors.New("an error without a text"))
		}
	})
}
