package egress_test

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// What was let go of a request that is then stopped is taken back: it has not left, or
// may have. The record of one that passes stays as it is.
func TestWhatWasLetGoIsTakenBack(t *testing.T) {
	l := newLook(t, newSite(t, thirdParty, true, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // what it fails with does not concern it
	})), nil)
	client := l.client(true)
	long := strings.Repeat("nothing of anybody's ", 10_000)
	for _, c := range []struct {
		name, encoding, media, body string
		want                        []bool
	}{
		{name: "passes", body: long},
		{name: "small, and passes", body: "nothing"},
		{name: "small", body: adasAddress, want: []bool{false}},
		{name: "as it came", body: long + adasAddress, want: []bool{true}},
		// One inspection is of the compressed bytes.
		{name: "compressed, and passes", encoding: "gzip", body: long},
		{name: "compressed", encoding: "gzip", body: strings.Repeat(long, 10) + adasAddress, want: []bool{false, false}},
		// The header's, and the second message's; the first message had left.
		{name: "messages", media: "application/grpc", body: "\x00\x00\x00\x00\x02ok\x00\x00\x00\x00\x14" + adasAddress, want: []bool{true, true}},
		{name: "a key of ours", body: long + "gth_svc_0123456789abcdefghij" + long, want: []bool{true}},
	} {
		body := io.Reader(strings.NewReader(c.body))
		if len(c.body) == len(long)+len(adasAddress) {
			body = io.MultiReader(body)
		}
		if c.encoding != "" {
			body = bytes.NewReader([]byte(gzipped(t, c.body)))
		}
		r := request("POST", base, body)
		if c.encoding != "" {
			r.Header.Set("Content-Encoding", c.encoding)
		}
		if c.media != "" {
			r.Header.Set("Content-Type", c.media)
		}
		if reply, err := client.Do(r); err == nil {
			_, _ = io.Copy(io.Discard, reply.Body)
			reply.Body.Close()
		}
		l.entries()
		if got := l.finder.takenBack(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
