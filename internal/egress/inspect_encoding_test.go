package egress_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/egress"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// encoders compress in each way that is read; level is the best there is.
var encoders = map[string]func(io.Writer) io.WriteCloser{
	"zlib":  func(w io.Writer) io.WriteCloser { return must(zlib.NewWriterLevel(w, 9)) },
	"flate": func(w io.Writer) io.WriteCloser { return must(flate.NewWriter(w, 9)) },
	"br":    func(w io.Writer) io.WriteCloser { return brotli.NewWriterLevel(w, 5) },
	"zstd":  func(w io.Writer) io.WriteCloser { return must(zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))) },
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func compressed(t testing.TB, how string, plain io.Reader) []byte {
	t.Helper()
	var b bytes.Buffer
	w := encoders[how](&b)
	if _, err := io.Copy(w, plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// zeros is a long text of nothing.
func zeros(n int64) io.Reader { return io.LimitReader(zero{}, n) }

type zero struct{}

func (zero) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestEncodedBodiesAreLookedInto(t *testing.T) {
	filler := strings.Repeat("some text, and more of it. ", 20_000)
	for _, c := range []struct {
		name, header string
		build        func(string) []byte
	}{
		{"gzip", "gzip", func(s string) []byte { return gzipped(t, s) }},
		{"x-gzip", "X-GZIP", func(s string) []byte { return gzipped(t, s) }},
		{"two members", "gzip", func(s string) []byte { return slices.Concat(gzipped(t, filler), gzipped(t, s)) }},
		{"a word over two members", "gzip", func(s string) []byte { return slices.Concat(gzipped(t, s[:7]), gzipped(t, s[7:])) }},
		{"zlib", "deflate", func(s string) []byte { return compressed(t, "zlib", strings.NewReader(s)) }},
		{"bare deflate", "deflate", func(s string) []byte { return compressed(t, "flate", strings.NewReader(s)) }},
		{"brotli", "br", func(s string) []byte { return compressed(t, "br", strings.NewReader(s)) }},
		{"zstd", "zstd", func(s string) []byte { return compressed(t, "zstd", strings.NewReader(s)) }},
		{"twice", "zstd, gzip", func(s string) []byte { return gzipped(t, string(compressed(t, "zstd", strings.NewReader(s)))) }},
		{"identity and gzip", "identity, gzip", func(s string) []byte { return gzipped(t, s) }},
		{"a comment in gzip's header", "gzip", func(s string) []byte {
			b := gzipped(t, filler)
			b[3] |= 0x10
			return slices.Concat(b[:10], []byte(s), []byte{0}, b[10:])
		}},
		{"a frame that zstd skips", "zstd", func(s string) []byte {
			return slices.Concat([]byte{0x50, 0x2a, 0x4d, 0x18, byte(len(s)), 0, 0, 0}, []byte(s), compressed(t, "zstd", strings.NewReader("x")))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			arrived := &reached{}
			var length atomic.Int64
			l := newLook(t, newSite(t, thirdParty, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				length.Store(r.ContentLength)
				arrived.ServeHTTP(w, r)
			})), nil)
			send := func(body []byte, known bool) *http.Response {
				t.Helper()
				var from io.Reader = bytes.NewReader(body)
				if !known {
					from = io.MultiReader(from)
				}
				r := request("POST", base, from)
				r.Header.Set("Content-Encoding", c.header)
				reply, err := l.client(true).Do(r)
				if err != nil {
					t.Fatal(err)
				}
				return reply
			}
			for _, known := range []bool{true, false} {
				reply := send(c.build(adasAddress), known)
				if got := rule(t, reply); got != "egress/personal-data" {
					t.Errorf("rule %q", got)
				}
			}
			if arrived.requests != 0 {
				t.Error("something arrived before it was judged")
			}
			near := c.build(adasAddress[:len(adasAddress)-1] + "_")
			if reply := send(near, true); reply.StatusCode != 200 || read(t, reply) != "" || arrived.text() != string(near) || length.Load() != int64(len(near)) {
				t.Errorf("the near miss: %d, %d of %d bytes arrive", reply.StatusCode, length.Load(), len(near))
			}
		})
	}
}

func TestEncodedBodiesThatCannotBeRead(t *testing.T) {
	limits := func(c *egress.InspectConfig) { c.MaxEncoded, c.MaxDecoded = 100_000, 10<<20 }
	for _, c := range []struct {
		name, header string
		body         []byte
		rule         string // "" passes
	}{
		{"exactly as much as is held", "gzip", gzippedTo(t, 100_000), ""},
		{"a byte more", "gzip", gzippedTo(t, 100_001), "egress/encoded-size"},
		{"exactly as much as may come out", "zstd", compressed(t, "zstd", zeros(8<<20)), ""},
		{"more, by ratio", "zstd", compressed(t, "zstd", zeros(9<<20)), "egress/decoded-size"},
		{"unknown", "compress", []byte("x"), "egress/content-encoding"},
		{"one of them unknown", "gzip, aes128gcm", gzipped(t, "x"), "egress/content-encoding"},
		{"too many", "gzip, gzip, gzip, gzip", gzipped(t, "x"), "egress/content-encoding"},
		{"not gzip", "gzip", []byte("plain text"), "egress/encoded-body"},
		{"empty", "gzip", []byte{}, ""},
		{"cut", "gzip", gzipped(t, "some text")[:15], "egress/encoded-body"},
		{"wrong sum", "gzip", append(gzipped(t, "x")[:len(gzipped(t, "x"))-8], make([]byte, 8)...), "egress/encoded-body"},
		{"text behind gzip", "gzip", append(gzipped(t, "x"), "behind"...), "egress/encoded-body"},
		{"text behind zlib", "deflate", append(compressed(t, "zlib", strings.NewReader("x")), "behind"...), "egress/encoded-body"},
		{"text behind deflate", "deflate", append(compressed(t, "flate", strings.NewReader("x")), "behind"...), "egress/encoded-body"},
		{"text behind brotli", "br", append(compressed(t, "br", strings.NewReader("x")), "behind"...), "egress/encoded-body"},
		{"much text behind brotli", "br", append(compressed(t, "br", strings.NewReader("x")), make([]byte, 90_000)...), "egress/encoded-body"},
		{"text behind zstd", "zstd", append(compressed(t, "zstd", strings.NewReader("x")), "behind"...), "egress/encoded-body"},
		{"a zstd window that is too large", "zstd", []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00}, "egress/encoded-body"},
	} {
		t.Run(c.name, func(t *testing.T) {
			arrived := &reached{}
			l := newLook(t, newSite(t, thirdParty, true, arrived), limits)
			send := func() *http.Response {
				t.Helper()
				r := request("POST", base, bytes.NewReader(c.body))
				r.Header.Set("Content-Encoding", c.header)
				reply, err := l.client(true).Do(r)
				if err != nil {
					t.Fatal(err)
				}
				return reply
			}
			reply := send()
			if c.rule == "" {
				if read(t, reply); reply.StatusCode != 200 || arrived.text() != string(c.body) {
					t.Errorf("%d, and %d of %d bytes arrive", reply.StatusCode, len(arrived.text()), len(c.body))
				}
				return
			}
			if got := rule(t, reply); got != c.rule || arrived.requests != 0 {
				t.Errorf("rule %q, want %q; %d arrived", got, c.rule, arrived.requests)
			}
			l.report = true
			reply = send()
			if read(t, reply); reply.StatusCode != 200 || arrived.text() != string(c.body) {
				t.Errorf("in report mode: %d, and %d of %d bytes arrive", reply.StatusCode, len(arrived.text()), len(c.body))
			}
			if !slices.ContainsFunc(l.entries(), func(e auditShown) bool { return e.Facts["unsearched"] == c.rule }) {
				t.Error("in report mode the log does not say that it was not searched")
			}
		})
	}
}

// gzippedTo is a body of gzip of exactly n bytes: stored, not compressed.
func gzippedTo(t testing.TB, n int) []byte {
	t.Helper()
	for size := n - 18; size > n-100; size-- {
		var b bytes.Buffer
		w := must(gzip.NewWriterLevel(&b, gzip.NoCompression))
		if _, err := w.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if b.Len() == n {
			return b.Bytes()
		}
	}
	t.Fatalf("no body of %d bytes", n)
	return nil
}

// heap samples the largest heap while f runs, over what there is before.
func heap(f func()) uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before, most := m.HeapAlloc, m.HeapAlloc
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
		}
	}()
	f()
	close(stop)
	<-done
	return most - before
}

// Bombs: a few kilobytes that become hundreds of megabytes. What is decoded is thrown away, and
// the decoders' windows are bounded.
func TestBombsStayWithinMemory(t *testing.T) {
	const size = 256 << 20
	for name, c := range map[string]struct {
		header string
		body   []byte
	}{
		"gzip":    {"deflate", compressed(t, "zlib", zeros(size))},
		"brotli":  {"br", compressed(t, "br", zeros(size))},
		"zstd":    {"zstd", compressed(t, "zstd", zeros(size))},
		"in gzip": {"zstd, gzip", gzipped(t, string(compressed(t, "zstd", zeros(size))))},
	} {
		arrived := &reached{}
		l := newLook(t, newSite(t, thirdParty, true, arrived), nil)
		client := l.client(true)
		used := heap(func() {
			r := request("POST", base, bytes.NewReader(c.body))
			r.Header.Set("Content-Encoding", c.header)
			reply, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			if got := rule(t, reply); got != "egress/decoded-size" || arrived.requests != 0 {
				t.Errorf("%s: rule %q, %d arrived", name, got, arrived.requests)
			}
		})
		t.Logf("%s: %d bytes that become %d need %.1f MiB of heap", name, len(c.body), size, float64(used)/(1<<20))
		if used > 64<<20 {
			t.Errorf("%s: %.1f MiB of heap", name, float64(used)/(1<<20))
		}
	}
}

// A large upload to a destination that reads slowly is held by nobody.
func TestSlowReadersDoNotFillMemory(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http2 bool) {
		const size = 64 << 20
		l := newLook(t, newSite(t, thirdParty, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// Reads on only when nothing more comes through by itself.
			buffer := make([]byte, 4096)
			var total int64
			for {
				n, err := r.Body.Read(buffer)
				total += int64(n)
				if total%(16<<20) < 4096 {
					runtime.Gosched()
				}
				if err != nil {
					break
				}
			}
			if total != size {
				t.Errorf("%d bytes arrive", total)
			}
		})), nil)
		client := l.client(http2)
		used := heap(func() {
			r := request("POST", base, zeros(size))
			r.ContentLength = size
			reply, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			read(t, reply)
		})
		t.Logf("%d MiB pass with %.1f MiB of heap, app and destination included", size>>20, float64(used)/(1<<20))
		if used > 32<<20 {
			t.Errorf("%.1f MiB of heap", float64(used)/(1<<20))
		}
	})
}

// All the compressed bodies at once have one bound, and those of one service half of it:
// what one has under way, which may come as slowly as it likes, refuses nobody else.
func TestHeldBodiesAreBoundedTogether(t *testing.T) {
	l := newLook(t, newSite(t, thirdParty, true, http.HandlerFunc(echo)), func(c *egress.InspectConfig) { c.MaxHeld = 256 << 10 })
	send := func(c *http.Client, body io.Reader) *http.Response {
		t.Helper()
		r := request("POST", base, body)
		r.Header.Set("Content-Encoding", "gzip")
		reply, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	refused := func(c *http.Client, size int) {
		t.Helper()
		reply := send(c, bytes.NewReader(gzippedTo(t, size)))
		if got := rule(t, reply); reply.StatusCode != http.StatusTooManyRequests || got != "egress/held" {
			t.Errorf("%d bytes: %d, rule %q", size, reply.StatusCode, got)
		}
	}
	passes := func(c *http.Client, size int) {
		t.Helper()
		if reply := send(c, bytes.NewReader(gzippedTo(t, size))); reply.StatusCode != 200 {
			t.Errorf("%d bytes: %d", size, reply.StatusCode)
		} else {
			read(t, reply)
		}
	}
	shop, other := l.client(true), l.client(true)
	refused(shop, 129<<10)
	for range 5 { // what was held is given back
		passes(shop, 127<<10)
	}

	// A body of which half came, and stays.
	body, rest := io.Pipe()
	whole := gzippedTo(t, 96<<10)
	done := make(chan *http.Response, 1)
	go func() { done <- send(shop, body) }()
	if _, err := rest.Write(whole[:64<<10]); err != nil {
		t.Fatal(err)
	}
	for { // until it has arrived
		reply := send(shop, bytes.NewReader(gzippedTo(t, 100<<10)))
		if reply.StatusCode == http.StatusTooManyRequests {
			reply.Body.Close()
			break
		}
		read(t, reply)
	}
	l.as("other")
	passes(other, 120<<10)
	if _, err := rest.Write(whole[64<<10:]); err != nil {
		t.Fatal(err)
	}
	rest.Close()
	read(t, <-done)
}
