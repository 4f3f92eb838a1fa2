package egress_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// ledger notes every request that a destination sees.
type ledger struct {
	mu  sync.Mutex
	all []string
}

func (d *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, fmt.Sprintf("%s %s host=%s body=%q te=%v cl=%d", r.Method, r.URL.RequestURI(), r.Host, body, r.TransferEncoding, r.ContentLength))
}

func (d *ledger) seen() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.all...)
}

// What looks like one request to us must not look like two to the destination, or be
// for somebody else. Each shape is refused, or arrives as exactly what was judged.
func TestRequestsAreReadInOneWay(t *testing.T) {
	const host = "Host: " + thirdParty + "\r\n"
	smuggled := "GET /smuggled HTTP/1.1\r\n" + host + "\r\n"
	for _, c := range []struct {
		name, raw string
		status    int      // of the first answer
		want      []string // what arrives, in order; each is looked for in the entry
	}{
		{"content length", "POST / HTTP/1.1\r\n" + host + "Content-Length: 2\r\n\r\nok", 200, []string{`body="ok"`}},
		{"chunks", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, []string{`body="ok" te=[chunked]`}},
		{"both, chunks first to end", "POST / HTTP/1.1\r\n" + host + "Content-Length: 49\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, 200, []string{`POST / host=` + thirdParty + ` body=""`, "GET /smuggled"}},
		{"two content lengths", "POST / HTTP/1.1\r\n" + host + "Content-Length: 2\r\nContent-Length: 40\r\n\r\nok" + smuggled, 400, nil},
		{"two equal content lengths", "POST / HTTP/1.1\r\n" + host + "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", 200, []string{`body="ok"`}},
		{"a list of content lengths", "POST / HTTP/1.1\r\n" + host + "Content-Length: 2, 40\r\n\r\nok" + smuggled, 400, nil},
		{"signed content length", "POST / HTTP/1.1\r\n" + host + "Content-Length: +2\r\n\r\nok", 400, nil},
		{"unknown transfer encoding", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 501, nil},
		{"chunked twice", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501, nil},
		{"chunked and identity", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 501, nil},
		{"space before the colon", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding : chunked\r\nContent-Length: 2\r\n\r\nok", 400, nil},
		{"a vertical tab in the value", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400, nil},
		{"a bare line feed in a value", "GET / HTTP/1.1\r\n" + host + "X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, []string{"te=[chunked]"}},
		{"folded line", "GET / HTTP/1.1\r\n" + host + "X-A: b\r\n c: d\r\n\r\n", 200, []string{"GET / host=" + thirdParty}},
		{"folded first line", "GET / HTTP/1.1\r\n Host: other.example.com\r\n" + host + "\r\n", 400, nil},
		{"two hosts", "GET / HTTP/1.1\r\n" + host + "Host: other.example.com\r\n\r\n", 400, nil},
		{"no host", "GET / HTTP/1.1\r\n\r\n", 400, nil},
		{"another host", "GET / HTTP/1.1\r\nHost: other.example.com\r\n\r\n", 421, nil},
		{"absolute form", "GET " + base + "/x HTTP/1.1\r\n" + host + "\r\n", 200, []string{"GET /x host=" + thirdParty}},
		{"absolute form for another host", "GET https://other.example.com/x HTTP/1.1\r\n" + host + "\r\n", 421, nil},
		{"absolute form without TLS", "GET http://" + thirdParty + "/x HTTP/1.1\r\n" + host + "\r\n", 421, nil},
		{"absolute form with a user", "GET https://u:p@" + thirdParty + "/x HTTP/1.1\r\n" + host + "\r\n", 421, nil},
		{"absolute form hides another Host", "GET " + base + "/x HTTP/1.1\r\nHost: other.example.com\r\n\r\n", 200, []string{"GET /x host=" + thirdParty}},
		{"a tunnel in the tunnel", "CONNECT other.example.com:443 HTTP/1.1\r\nHost: other.example.com:443\r\n\r\n", 403, nil},
		{"HTTP/2 preface", http2.ClientPreface, 421, nil},
		{"HTTP/1.0", "GET / HTTP/1.0\r\n" + host + "\r\n", 200, []string{"GET /"}},
		{"the second request for another", "GET /1 HTTP/1.1\r\n" + host + "\r\nGET /2 HTTP/1.1\r\nHost: other.example.com\r\n\r\n", 200, []string{"GET /1"}},
		{"chunk size with a sign", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n+2\r\nok\r\n0\r\n\r\n", 400, nil},
		{"chunk that is too long", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n2\r\nokok\r\n0\r\n\r\n", 400, nil},
		{"a hop that would take a header away", "GET / HTTP/1.1\r\n" + host + "Connection: X-A\r\nX-A: b\r\n\r\n", 200, []string{"GET /"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			arrived := &ledger{}
			l := newLook(t, newSite(t, thirdParty, false, arrived), nil)
			conn := l.secured("http/1.1")
			if _, err := io.WriteString(conn, c.raw); err != nil {
				t.Fatal(err)
			}
			r := bufio.NewReader(conn)
			first := 0
			for i := range max(len(c.want), 1) {
				reply, err := http.ReadResponse(r, nil)
				if err != nil {
					if len(c.want) > 0 {
						t.Errorf("answer %d: %v", i, err)
					}
					break
				}
				if i == 0 {
					first = reply.StatusCode
				}
				_, _ = io.Copy(io.Discard, reply.Body)
			}
			conn.Close()
			if first != c.status {
				t.Errorf("answered with %d, want %d", first, c.status)
			}
			l.entries()
			got := arrived.seen()
			if len(c.want) == 0 && c.status != 200 {
				for _, g := range got {
					// A body that turned out to be none was begun to be sent, and broke off.
					if !strings.Contains(c.name, "chunk ") {
						t.Errorf("arrived: %s", g)
					}
				}
				return
			}
			if len(got) != len(c.want) {
				t.Fatalf("arrived: %q, want %q", got, c.want)
			}
			for i := range got {
				if !strings.Contains(got[i], c.want[i]) {
					t.Errorf("arrived: %s, want %s", got[i], c.want[i])
				}
			}
		})
	}
}

// Tricks with HTTP/2's pseudo-headers, by hand.
func TestHTTP2IsReadInOneWay(t *testing.T) {
	type field = hpack.HeaderField
	good := []field{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: thirdParty}, {Name: ":path", Value: "/x"}}
	with := func(more ...field) []field { return append(append([]field(nil), good...), more...) }
	replace := func(name, value string) []field {
		all := with()
		for i := range all {
			if all[i].Name == name {
				all[i].Value = value
			}
		}
		return all
	}
	for _, c := range []struct {
		name   string
		fields []field
		status string // "" is a stream that is reset
		want   string // what arrives
	}{
		{"good", good, "200", "GET /x host=" + thirdParty},
		{"another authority", replace(":authority", "other.example.com"), "421", ""},
		{"another Host beside the authority", with(field{Name: "host", Value: "other.example.com"}), "421", ""},
		{"the same Host beside the authority", with(field{Name: "host", Value: thirdParty}), "200", "GET /x host=" + thirdParty},
		{"Host in the authority's place", append(append([]field(nil), good[0], good[1], good[3]), field{Name: "host", Value: "other.example.com"}), "421", ""},
		{"two authorities", with(field{Name: ":authority", Value: "other.example.com"}), "", ""},
		{"a path that is an address", replace(":path", "https://other.example.com/x"), "421", ""},
		{"a path that is no path", replace(":path", "x"), "", ""},
		{"a path with a line in it", replace(":path", "/x HTTP/1.1\r\nHost: other"), "", ""},
		{"another scheme", replace(":scheme", "http"), "200", "GET /x host=" + thirdParty},
		{"a method with a line in it", replace(":method", "GET / HTTP/1.1\r\nX:"), "", ""},
		{"pseudo-header behind others", append([]field{{Name: "x", Value: "y"}}, good...), "", ""},
		{"upper case", with(field{Name: "X-A", Value: "b"}), "", ""},
		{"connection", with(field{Name: "connection", Value: "close"}), "", ""},
		{"transfer encoding", with(field{Name: "transfer-encoding", Value: "chunked"}), "", ""},
		{"a line in a value", with(field{Name: "x", Value: "y\r\nz: 1"}), "", ""},
		{"extended CONNECT", append(replace(":method", "CONNECT"), field{Name: ":protocol", Value: "websocket"}), "", ""},
		{"plain CONNECT", []field{good[2], {Name: ":method", Value: "CONNECT"}}, "403", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			arrived := &ledger{}
			l := newLook(t, newSite(t, thirdParty, true, arrived), nil)
			conn := l.secured("h2")
			if conn.ConnectionState().NegotiatedProtocol != "h2" {
				t.Fatal("there is no HTTP/2")
			}
			fmt.Fprint(conn, http2.ClientPreface)
			framer := http2.NewFramer(conn, conn)
			framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
			if err := framer.WriteSettings(); err != nil {
				t.Fatal(err)
			}
			var block bytes.Buffer
			encoder := hpack.NewEncoder(&block)
			pseudoLast := c.fields
			for _, f := range pseudoLast {
				if err := encoder.WriteField(f); err != nil {
					t.Fatal(err)
				}
			}
			if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}); err != nil {
				t.Fatal(err)
			}
			status := ""
			for done := false; !done; {
				f, err := framer.ReadFrame()
				switch f := f.(type) {
				case *http2.MetaHeadersFrame:
					status, done = f.PseudoValue("status"), true
				case *http2.RSTStreamFrame, *http2.GoAwayFrame:
					done = true
				}
				if err != nil {
					if !errors.Is(err, io.EOF) {
						t.Logf("reading: %v", err)
					}
					break
				}
			}
			conn.Close()
			if status != c.status && !(c.status == "" && status == "400") {
				t.Errorf("answered with %q, want %q", status, c.status)
			}
			l.entries()
			got := arrived.seen()
			if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], c.want)) {
				t.Errorf("arrived: %q, want %q", got, c.want)
			}
		})
	}
}
