package egress_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
)

// Requests that two programs could read in two ways. Either nobody gets them, or the
// destination gets exactly one, written anew, that says what was judged here.
func TestRequestsThatCouldBeReadInTwoWays(t *testing.T) {
	r := newRig(t, options{})
	const post, get = "POST http://plain.test/one HTTP/1.1\r\nHost: plain.test\r\n", "GET http://plain.test/one HTTP/1.1\r\n"
	for _, c := range []struct {
		name, text string
		arrives    int // how many requests the destination gets
		body       string
	}{
		{"length", post + "Content-Length: 5\r\n" + r.credentials() + "\r\nhello", 1, "hello"},
		{"chunks", post + "Transfer-Encoding: chunked\r\n" + r.credentials() + "\r\n5\r\nhello\r\n0\r\n\r\n", 1, "hello"},
		{"chunks, and a length that hides a request", post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n" + r.credentials() + "\r\n5\r\nhello\r\n0\r\n\r\n", 1, "hello"},
		{"a length, and chunks that hide a request", post + "Transfer-Encoding: chunked\r\nContent-Length: 100\r\n" + r.credentials() + "\r\n0\r\n\r\n", 1, ""},
		{"two lengths", post + "Content-Length: 5\r\nContent-Length: 6\r\n" + r.credentials() + "\r\nhello", 0, ""},
		{"the same length twice", post + "Content-Length: 5\r\nContent-Length: 5\r\n" + r.credentials() + "\r\nhello", 1, "hello"},
		{"a length with a sign", post + "Content-Length: +5\r\n" + r.credentials() + "\r\nhello", 0, ""},
		{"a list of lengths", post + "Content-Length: 5, 5\r\n" + r.credentials() + "\r\nhello", 0, ""},
		{"another transfer encoding", post + "Transfer-Encoding: gzip, chunked\r\n" + r.credentials() + "\r\n5\r\nhello\r\n0\r\n\r\n", 0, ""},
		{"a transfer encoding that is nearly one", post + "Transfer-Encoding: xchunked\r\n" + r.credentials() + "\r\n5\r\nhello\r\n0\r\n\r\n", 0, ""},
		{"two transfer encodings", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n" + r.credentials() + "\r\n5\r\nhello\r\n0\r\n\r\n", 0, ""},
		{"a space before the colon", post + "Transfer-Encoding : chunked\r\n" + r.credentials() + "\r\n5\r\nhello\r\n0\r\n\r\n", 0, ""},
		{"a chunk's length that overflows", post + "Transfer-Encoding: chunked\r\n" + r.credentials() + "\r\n10000000000000005\r\nhello\r\n0\r\n\r\n", 0, ""},
		{"a bare LF in a chunk's line", post + "Transfer-Encoding: chunked\r\n" + r.credentials() + "\r\n5\nhello\r\n0\r\n\r\n", 0, ""},
		{"no end of chunks", post + "Transfer-Encoding: chunked\r\n" + r.credentials() + "\r\n5\r\nhel", 0, ""},
		{"two hosts", get + "Host: plain.test\r\nHost: other.test\r\n" + r.credentials() + "\r\n", 0, ""},
		{"another host in the header", get + "Host: other.test\r\n" + r.credentials() + "\r\n", 1, ""},
		{"no host in the header", get + r.credentials() + "\r\n", 0, ""},
		{"a folded header", get + "Host: plain.test\r\nX-A: 1\r\n Host: other.test\r\n" + r.credentials() + "\r\n", 1, ""},
		{"bare LF", strings.ReplaceAll(get+"Host: plain.test\r\n"+r.credentials()+"\r\n", "\r\n", "\n"), 1, ""},
		{"bare CR in a header", get + "Host: plain.test\r\nX-A: 1\rHost: other.test\r\n" + r.credentials() + "\r\n", 0, ""},
		{"NUL in a header", get + "Host: plain.test\r\nX-A: \x00\r\n" + r.credentials() + "\r\n", 0, ""},
		{"a space in the address", "GET http://plain.test/a b HTTP/1.1\r\nHost: plain.test\r\n" + r.credentials() + "\r\n", 0, ""},
		{"HTTP/0.9", "GET http://plain.test/one\r\n\r\n", 0, ""},
		{"HTTP/1.0", "GET http://plain.test/one HTTP/1.0\r\nHost: plain.test\r\n" + r.credentials() + "\r\n", 1, ""},
		{"HTTP/2 in the open", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, ""},
		{"a header of a hop that names others", post + "Connection: close, Content-Length, Host, X-A\r\nX-A: 1\r\nContent-Length: 5\r\n" + r.credentials() + "\r\nhello", 1, "hello"},
		{"trailers", post + "Trailer: Authorization\r\nTransfer-Encoding: chunked\r\n" + r.credentials() + "\r\n5\r\nhello\r\n0\r\nAuthorization: Bearer x\r\n\r\n", 1, "hello"},
		{"trailers that are not announced", post + "Transfer-Encoding: chunked\r\n" + r.credentials() + "\r\n5\r\nhello\r\n0\r\nX-Late: x\r\n\r\n", 1, "hello"},
	} {
		r.plain.mu.Lock()
		r.plain.got = nil
		r.plain.mu.Unlock()
		conn, read := r.dial()
		if _, err := io.WriteString(conn, c.text); err != nil {
			t.Fatal(err)
		}
		if c.arrives == 0 {
			// Whoever still waits for the rest learns that there is none.
			if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
		}
		answer, status := reply(t, read)
		got := r.plain.arrived()
		if len(got) != c.arrives || c.arrives > 0 != (status == 200) {
			t.Errorf("%s: %d requests arrived: %+v; the answer is %d %.200s", c.name, len(got), got, status, answer)
			continue
		}
		if c.arrives == 0 {
			continue
		}
		a := got[0]
		if a.URI != "/one" || a.Host != "plain.test" || a.Body != c.body || len(a.Trailer) != 0 || a.Header.Get("Authorization") != "" || a.Proto != "HTTP/1.1" {
			t.Errorf("%s: what arrived is %+v", c.name, a)
		}
		if len(a.Encoding) > 0 && a.Length >= 0 || a.Header.Get("X-A") != "" && c.name != "a folded header" {
			t.Errorf("%s: what arrived is %+v", c.name, a)
		}
		// What comes next on the connection is what is asked next.
		_, _ = io.WriteString(conn, "GET http://plain.test/next HTTP/1.1\r\nHost: plain.test\r\n"+r.credentials()+"\r\n")
		if answer, status := reply(t, read); status != 0 && (status != 200 || answer != "got /next") {
			t.Errorf("%s: the next answer is %d %.200s", c.name, status, answer)
		}
	}
}

// reply reads one answer; its status is 0 when the connection ended.
func reply(t *testing.T, read *bufio.Reader) (body string, status int) {
	t.Helper()
	reply, err := http.ReadResponse(read, nil)
	if err != nil {
		return "", 0
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		return "", 0
	}
	return string(text), reply.StatusCode
}

// A destination's answer is relayed as it is, without what concerns its own hop.
func TestAnswersThatCouldBeReadInTwoWays(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		status       int
		body         string
	}{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok"},
		{"no length", "HTTP/1.1 200 OK\r\n\r\nok", 200, "ok"},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, "ok"},
		{"an early hint", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok"},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", 204, ""},
		{"a redirect is the caller's", "HTTP/1.1 302 Found\r\nLocation: http://unknown.test/\r\nContent-Length: 0\r\n\r\n", 302, ""},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", 502, ""},
		{"no HTTP", "220 mail.example ESMTP\r\n", 502, ""},
		{"another protocol", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", 502, ""},
		{"nothing", "", 502, ""},
		{"a proxy's demand", "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"give me your key\"\r\nContent-Length: 0\r\n\r\n", 407, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, options{})
			r.route("plain.test", answering(t, c.answer))
			reply, err := r.client("analytics", reports).Transport.RoundTrip(newRequest(t, "http://plain.test/"))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(reply.Body)
			reply.Body.Close()
			if err != nil || reply.StatusCode != c.status || c.status < 500 && string(body) != c.body {
				t.Errorf("%d %s %v", reply.StatusCode, body, err)
			}
			if reply.Header.Get("Proxy-Authenticate") != "" {
				t.Error("a destination asks for the proxy's credentials")
			}
		})
	}
	// One that breaks off breaks the caller's, too: half an answer is none.
	r := newRig(t, options{})
	r.route("plain.test", answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok"))
	reply, err := r.client("analytics", reports).Transport.RoundTrip(newRequest(t, "http://plain.test/"))
	if err == nil {
		_, err = io.ReadAll(reply.Body)
	}
	if err == nil {
		t.Error("half an answer passed for a whole one")
	}
}

func newRequest(t *testing.T, address string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), "GET", address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return request
}
