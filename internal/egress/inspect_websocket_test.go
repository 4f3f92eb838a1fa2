package egress_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/gobwas/ws"
)

// echoSocket is a real server that offers compression and sends everything back.
func echoSocket(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionContextTakeover, Subprotocols: []string{"chat"}})
	if err != nil {
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(4 << 20)
	for {
		kind, data, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		if err := conn.Write(r.Context(), kind, data); err != nil {
			return
		}
	}
}

func dialSocket(t *testing.T, l *inspectProxy) *websocket.Conn {
	t.Helper()
	conn, reply, err := websocket.Dial(t.Context(), "wss://"+thirdParty+"/talk", &websocket.DialOptions{
		HTTPClient: l.client(false), CompressionMode: websocket.CompressionContextTakeover, Subprotocols: []string{"chat"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	if got := reply.Header.Get("Sec-WebSocket-Extensions"); got != "" {
		t.Errorf("the socket has extensions: %q", got)
	}
	if conn.Subprotocol() != "chat" {
		t.Errorf("the subprotocol is %q", conn.Subprotocol())
	}
	conn.SetReadLimit(4 << 20)
	return conn
}

func TestWebSocketsPass(t *testing.T) {
	l := newLook(t, newSite(t, thirdParty, true, http.HandlerFunc(echoSocket)), nil)
	conn := dialSocket(t, l)
	for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
		// The last one ends like the beginning of what is looked for.
		for _, message := range []string{"", "hello", strings.Repeat("0123456789", 200_000), "from " + adasAddress[:10]} {
			if err := conn.Write(t.Context(), kind, []byte(message)); err != nil {
				t.Fatal(err)
			}
			got, data, err := conn.Read(t.Context())
			if err != nil || got != kind || string(data) != message {
				t.Fatalf("%v %.40q, %v; want %.40q", got, data, err, message)
			}
		}
	}
	// A ping is answered by the other side while somebody reads.
	ctx := conn.CloseRead(t.Context())
	if err := conn.Ping(ctx); err != nil {
		t.Errorf("ping: %v", err)
	}
	if err := conn.Close(websocket.StatusNormalClosure, "bye"); err != nil {
		t.Errorf("closing: %v", err)
	}
	for _, e := range l.entries() {
		if e.Kind == "outcome" && (e.Verdict != "done" || e.Status != 101 || e.Facts["protocol"] != "http/1.1 websocket") {
			t.Errorf("the outcome is %q, %d, %v", e.Verdict, e.Status, e.Facts)
		}
	}
}

func TestWebSocketsAreStopped(t *testing.T) {
	l := newLook(t, newSite(t, thirdParty, true, http.HandlerFunc(echoSocket)), nil)
	for name, send := range map[string]func(*websocket.Conn) error{
		"one message": func(c *websocket.Conn) error {
			return c.Write(t.Context(), websocket.MessageText, []byte("to "+adasAddress))
		},
		"fragments": func(c *websocket.Conn) error {
			w, err := c.Writer(t.Context(), websocket.MessageText)
			if err != nil {
				return err
			}
			for i := range adasAddress {
				if _, err := io.WriteString(w, adasAddress[i:i+1]); err != nil {
					return err
				}
			}
			return w.Close()
		},
		"the reason of a close": func(c *websocket.Conn) error { return c.Close(websocket.StatusNormalClosure, adasAddress) },
	} {
		before := len(l.finder.places())
		conn := dialSocket(t, l)
		if err := conn.Write(t.Context(), websocket.MessageText, []byte("first")); err != nil {
			t.Fatal(err)
		}
		if _, data, err := conn.Read(t.Context()); err != nil || string(data) != "first" {
			t.Fatalf("%q, %v", data, err)
		}
		if err := send(conn); err == nil {
			if _, data, err := conn.Read(t.Context()); err == nil {
				t.Errorf("%s: it came back: %q", name, data)
			}
		}
		if got := l.finder.places()[before:]; !slices.Equal(got, []string{"body"}) {
			t.Errorf("%s: found in %q", name, got)
		}
		conn.CloseNow()
	}
	stopped := 0
	for _, e := range l.entries() {
		if e.Verdict == "aborted" && e.Rule == "egress/personal-data" {
			stopped++
		}
	}
	if stopped != 3 {
		t.Errorf("%d outcomes say that it was stopped, want 3", stopped)
	}
}

func TestWebSocketHeadersAreJudged(t *testing.T) {
	l := newLook(t, newSite(t, thirdParty, true, http.HandlerFunc(echoSocket)), nil)
	_, reply, err := websocket.Dial(t.Context(), "wss://"+thirdParty+"/talk?who="+adasAddress, &websocket.DialOptions{HTTPClient: l.client(false)})
	if err == nil || reply == nil || reply.StatusCode != http.StatusForbidden {
		t.Errorf("answered %v, %v", reply, err)
	}
}

// frame is a client's frame.
func frame(h ws.Header, payload string) []byte {
	h.Masked, h.Mask, h.Length = true, [4]byte{1, 2, 3, 4}, int64(len(payload))
	var b bytes.Buffer
	if err := ws.WriteHeader(&b, h); err != nil {
		panic(err)
	}
	data := []byte(payload)
	ws.Cipher(data, h.Mask, 0)
	b.Write(data)
	return b.Bytes()
}

// rawSocket upgrades by hand.
func rawSocket(t *testing.T, l *inspectProxy) (*tls.Conn, *bufio.Reader) {
	t.Helper()
	conn := l.secured("http/1.1")
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n", thirdParty)
	r := bufio.NewReader(conn)
	reply, err := http.ReadResponse(r, nil)
	if err != nil || reply.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", reply, err)
	}
	return conn, r
}

// The shapes of a client's frames, good and bad.
func TestWebSocketFramesAreJudged(t *testing.T) {
	text, more, ping := ws.OpText, ws.OpContinuation, ws.OpPing
	for _, c := range []struct {
		name   string
		frames []byte
		want   string // the text that comes back; "" means that the connection breaks
	}{
		{"whole", frame(ws.Header{Fin: true, OpCode: text}, "ok"), "ok"},
		{"fragments with a ping between", slices.Concat(
			frame(ws.Header{OpCode: text}, "o"), frame(ws.Header{Fin: true, OpCode: ping}, "p"), frame(ws.Header{OpCode: more}, ""), frame(ws.Header{Fin: true, OpCode: more}, "k")), "ok"},
		{"fragments that hold a beginning back, with a ping between", slices.Concat(
			frame(ws.Header{OpCode: text}, adasAddress[:5]), frame(ws.Header{Fin: true, OpCode: ping}, "p"), frame(ws.Header{Fin: true, OpCode: more}, "k")), adasAddress[:5] + "k"},
		{"a word over fragments", slices.Concat(frame(ws.Header{OpCode: text}, adasAddress[:5]), frame(ws.Header{Fin: true, OpCode: more}, adasAddress[5:])), ""},
		{"a word over fragments with a ping between", slices.Concat(
			frame(ws.Header{OpCode: text}, adasAddress[:5]), frame(ws.Header{Fin: true, OpCode: ping}, "p"), frame(ws.Header{Fin: true, OpCode: more}, adasAddress[5:])), ""},
		{"a word in a ping", frame(ws.Header{Fin: true, OpCode: ping}, adasAddress), ""},
		{"a credential of ours", frame(ws.Header{Fin: true, OpCode: text}, "gth_svc_0123456789"), ""},
		{"compressed", frame(ws.Header{Fin: true, OpCode: text, Rsv: ws.Rsv(true, false, false)}, "ok"), ""},
		{"not masked", append([]byte{0x81, 2}, "ok"...), ""},
		{"reserved", frame(ws.Header{Fin: true, OpCode: 3}, "ok"), ""},
		{"continuation of nothing", frame(ws.Header{Fin: true, OpCode: more}, "ok"), ""},
		{"message in a message", slices.Concat(frame(ws.Header{OpCode: text}, "o"), frame(ws.Header{Fin: true, OpCode: text}, "k")), ""},
		{"fragmented ping", frame(ws.Header{OpCode: ping}, "p"), ""},
		{"long ping", frame(ws.Header{Fin: true, OpCode: ping}, strings.Repeat("p", 126)), ""},
		{"negative length", []byte{0x81, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLook(t, newSite(t, thirdParty, true, http.HandlerFunc(echoSocket)), nil)
			conn, r := rawSocket(t, l)
			if _, err := conn.Write(c.frames); err != nil {
				t.Fatal(err)
			}
			for {
				h, err := ws.ReadHeader(r)
				payload := make([]byte, h.Length)
				if err == nil {
					_, err = io.ReadFull(r, payload)
				}
				if err != nil {
					if c.want != "" {
						t.Errorf("broken off: %v", err)
					}
					break
				}
				if h.OpCode.IsControl() {
					if strings.Contains(string(payload), adasAddress) {
						t.Error("the ping arrived")
					}
					continue
				}
				if string(payload) != c.want || c.want == "" {
					t.Errorf("%q comes back, want %q", payload, c.want)
				}
				break
			}
			conn.Close()
		})
	}
}

func TestOtherUpgradesAreNotPassedOn(t *testing.T) {
	var got http.Header
	l := newLook(t, newSite(t, thirdParty, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Clone()
		echo(w, r)
	})), nil)
	conn := l.secured("http/1.1")
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n", thirdParty)
	reply, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if read(t, reply); reply.StatusCode != 200 || got.Get("Upgrade") != "" || got.Get("Http2-Settings") != "" {
		t.Errorf("%d, and the destination got %v", reply.StatusCode, got)
	}
}

// A destination that changes the protocol although nobody asked, or compresses
// although nobody offered it, is not followed.
func TestUpgradesThatNobodyAskedFor(t *testing.T) {
	for name, c := range map[string]struct{ asked, extensions string }{
		"not asked":  {"", ""},
		"compressed": {"websocket", "Sec-WebSocket-Extensions: permessage-deflate\r\n"},
	} {
		l := newLook(t, newSite(t, thirdParty, false, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%s\r\n", c.extensions)
			_, _ = io.Copy(io.Discard, conn)
		})), nil)
		r := request("GET", base, nil)
		if c.asked != "" {
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Upgrade", c.asked)
		}
		reply, err := l.client(false).Do(r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := rule(t, reply); reply.StatusCode != http.StatusBadGateway {
			t.Errorf("%s: %d, rule %q", name, reply.StatusCode, got)
		}
	}
}

// When the app's side breaks off, the destination's ends.
func TestWebSocketsEndOnBothSides(t *testing.T) {
	ended := make(chan error, 1)
	l := newLook(t, newSite(t, thirdParty, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			ended <- err
			return
		}
		_, _, err = conn.Read(context.WithoutCancel(r.Context()))
		ended <- err
	})), nil)
	conn, _ := rawSocket(t, l)
	conn.NetConn().Close()
	if err := <-ended; err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("the destination's end: %v", err)
	}
}
