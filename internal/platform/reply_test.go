package platform_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"gatehouse/internal/platform"
)

// handles replaces every token by a name made from its object, and every link by
// one that leads to the gateway.
func handles(seen *[]platform.ReplyToken) platform.Rewriter {
	return platform.Rewriter{
		Token: func(t platform.ReplyToken) (string, error) {
			if seen != nil {
				*seen = append(*seen, t)
			}
			return "H(" + t.ID + ")", nil
		},
		Link: func(link string) string {
			return strings.Replace(platform.StripLink(platform.Facebook, link), "https://graph.facebook.com", "https://gate", 1)
		},
	}
}

func rewrite(t testing.TB, f platform.Rewriter, in string) string {
	t.Helper()
	var out bytes.Buffer
	if err := platform.RewriteReply(strings.NewReader(in), &out, f); err != nil {
		t.Fatalf("rewriting %q: %v", in, err)
	}
	var slow bytes.Buffer
	if err := platform.RewriteReply(iotest.OneByteReader(strings.NewReader(in)), &slow, f); err != nil || slow.String() != out.String() {
		t.Errorf("byte by byte: %v, %q; at once %q", err, slow.String(), out.String())
	}
	return out.String()
}

func TestRewriteReply(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"nothing to do", `{"data" : [1.50, "é\u00e9\/", {"a":"b"}] }`, `{"data" : [1.50, "é\u00e9\/", {"a":"b"}] }`},
		{"id after the token", `{"access_token":"EAAB1","id":"99"}`, `{"access_token":"H(99)","id":"99"}`},
		{"id before the token", `{"id":"99", "access_token" : "EAAB1"}`, `{"id":"99", "access_token" : "H(99)"}`},
		{"a numeric id", `{"access_token":"IGAA1","user_id":17,"id":42}`, `{"access_token":"H(42)","user_id":17,"id":42}`},
		{"a list", `{"data":[{"access_token":"A1","id":"1"},{"id":"2","access_token":"A2"}]}`, `{"data":[{"access_token":"H(1)","id":"1"},{"id":"2","access_token":"H(2)"}]}`},
		{"nested objects keep their ids apart", `{"id":"1","owner":{"id":"2"},"access_token":"A"}`, `{"id":"1","owner":{"id":"2"},"access_token":"H(1)"}`},
		{"a token in a list", `{"id":"5","access_token":["A","B"]}`, `{"id":"5","access_token":["H(5)","H(5)"]}`},
		{"an escaped name", `{"access\u005ftoken":"A","id":"3"}`, `{"access\u005ftoken":"H(3)","id":"3"}`},
		{"an escaped value", `{"access_token":"A\"\\B","id":"3"}`, `{"access_token":"H(3)","id":"3"}`},
		{"a member given twice", `{"access_token":"A","access_token":"B","id":"3"}`, `{"access_token":"H(3)","access_token":"H(3)","id":"3"}`},
		{"no string", `{"access_token":null,"refresh_token":12,"oauth_token":""}`, `{"access_token":null,"refresh_token":12,"oauth_token":""}`},
		{"other tokens are data", `{"next_token":"b26v","meta":{"next_token":"x"},"token_type":"bearer"}`, `{"next_token":"b26v","meta":{"next_token":"x"},"token_type":"bearer"}`},
		{"refresh pair", `{"access_token":"A","refresh_token":"R","expires_in":7200}`, `{"access_token":"H()","refresh_token":"H()","expires_in":7200}`},
		{"other members that hold tokens", `{"facebook_boost_post_access_token":"A","id":"8"}`, `{"facebook_boost_post_access_token":"H(8)","id":"8"}`},
		{"paging", `{"paging":{"cursors":{"after":"x"},"next":"https:\/\/graph.facebook.com\/v25.0\/1\/feed?access_token=EAAB1&after=x"}}`, `{"paging":{"cursors":{"after":"x"},"next":"https://gate/v25.0/1/feed?after=x"}}`},
		{"paging without a token", `{"paging":{"previous":"https://graph.facebook.com/v25.0/1/feed?before=x"}}`, `{"paging":{"previous":"https://gate/v25.0/1/feed?before=x"}}`},
		{"next is data elsewhere", `{"next":"https://graph.facebook.com/x"}`, `{"next":"https://graph.facebook.com/x"}`},
		{"a link with a token elsewhere", `{"url":"https://graph.facebook.com/1/picture?width=2&access_token=EAAB1"}`, `{"url":"https://gate/1/picture?width=2"}`},
		{"a batch", `[{"code":200,"body":"{\"id\":\"7\",\"name\":\"caf\\u00e9 \\\/\",\"access_token\":\"EAAB1\"}"},null]`, `[{"code":200,"body":"{\"id\":\"7\",\"name\":\"caf\\u00e9 \\\/\",\"access_token\":\"H(7)\"}"},null]`},
		{"paging in a batch", `[{"body":"{\"paging\":{\"next\":\"https:\\\/\\\/graph.facebook.com\\\/1?access_token=E\"}}"}]`, `[{"body":"{\"paging\":{\"next\":\"https://gate/1\"}}"}]`},
		{"what people write is no credential", `{"message":"{\"access_token\":\"planted\",\"id\":\"1\"}"}`, `{"message":"{\"access_token\":\"planted\",\"id\":\"1\"}"}`},
		{"a body that is no batch", `{"data":[{"body":"{\"access_token\":\"planted\"}"}]}`, `{"data":[{"body":"{\"access_token\":\"planted\"}"}]}`},
		{"a stream with heartbeats", "{\"id\":\"1\"}\r\n\r\n{\"access_token\":\"A\",\"id\":\"2\"}\r\n", "{\"id\":\"1\"}\r\n\r\n{\"access_token\":\"H(2)\",\"id\":\"2\"}\r\n"},
		{"JSONP", `/**/ cb({"access_token":"A","id":"4"});`, `/**/ cb({"access_token":"H(4)","id":"4"});`},
		{"no JSON at all", `<html>"quote`, `<html>"quote`},
		{"empty", ``, ``},
	} {
		t.Run(test.name, func(t *testing.T) {
			if d := cmp.Diff(test.want, rewrite(t, handles(nil), test.in)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestRewriteReplyTellsWhoseTokenItIs(t *testing.T) {
	var seen []platform.ReplyToken
	var out bytes.Buffer
	in := `{"accounts":{"data":[{"category":"Caf\u00e9","access_token":"EAAB1","name":"Page","id":"9","user_id":3,"expires_in":60}]},"id":"1","x":{"id":"1","id":"2","access_token":"B"}}`
	if err := platform.RewriteReply(strings.NewReader(in), &out, handles(&seen)); err != nil {
		t.Fatal(err)
	}
	want := []platform.ReplyToken{
		{Value: "EAAB1", Member: "access_token", Path: "accounts/data", ID: "9", Name: "Page", Category: "Café", UserID: "3", ExpiresIn: 60},
		{Value: "B", Member: "access_token", Path: "x", ID: "2", Ambiguous: true},
	}
	if d := cmp.Diff(want, seen); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// The token that was sent is taken out wherever it stands: in an error message,
// in a page that is not JSON, in pieces, escaped or in a URL.
func TestRewriteReplyScrubsKnownTokens(t *testing.T) {
	f := platform.Rewriter{Known: []platform.Known{{Value: "EAABsecret/token|1", Replacement: "gth"}, {Value: "short", Replacement: "x"}}}
	in := `{"error":{"message":"Malformed access token EAABsecret/token|1 EAABsecret\/token|1"}} EAABsecret%2Ftoken%7C1 short EAABsec`
	if got, want := rewrite(t, f, in), `{"error":{"message":"Malformed access token gth gth"}} gth short EAABsec`; got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	cut := rewrite(t, f, `EAABsecret/token|`)
	if cut != "" {
		t.Errorf("a token cut off at the end came through: %q", cut)
	}
}

func TestRewriteReplyWithholdsWhatWasCutOff(t *testing.T) {
	for _, in := range []string{`{"id":"1","access_token":"EAABsec`, `{"paging":{"next":"https://graph.facebook.com/?access_token=EAABsec`, `[{"body":"{\"access_token\":\"EAABsec`} {
		var out bytes.Buffer
		err := platform.RewriteReply(strings.NewReader(in), &out, handles(nil))
		if !errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(out.String(), "EAAB") {
			t.Errorf("%q: %v, wrote %q", in, err, out.String())
		}
	}
	var out bytes.Buffer
	inner := `[{"body":"{\"access_token\":\"EAABsec"}]`
	if err := platform.RewriteReply(strings.NewReader(inner), &out, handles(nil)); err != nil || strings.Contains(out.String(), "EAAB") {
		t.Errorf("cut inside a batch body: %v, %q", err, out.String())
	}
}

func TestRewriteReplyStopsOnAnError(t *testing.T) {
	broken := errors.New("vault is full")
	var out bytes.Buffer
	err := platform.RewriteReply(strings.NewReader(`{"access_token":"EAAB1"}`), &out, platform.Rewriter{Token: func(platform.ReplyToken) (string, error) { return "", broken }})
	if !errors.Is(err, broken) || strings.Contains(out.String(), "EAAB1") {
		t.Errorf("%v, wrote %q", err, out.String())
	}
	err = platform.RewriteReply(io.MultiReader(strings.NewReader(`{"access_token":"EAAB1","x":`), iotest.ErrReader(broken)), &out, handles(nil))
	if !errors.Is(err, broken) || strings.Contains(out.String(), "EAAB1") {
		t.Errorf("cut upstream: %v, wrote %q", err, out.String())
	}
	err = platform.RewriteReply(strings.NewReader(strings.Repeat("[", 300)), io.Discard, platform.Rewriter{})
	if !errors.Is(err, platform.ErrTooLarge) {
		t.Errorf("depth: %v", err)
	}
	if got := rewrite(t, platform.Rewriter{}, `{"access_token":"EAAB1"}`); got != `{"access_token":""}` {
		t.Errorf("without a Token function: %q", got)
	}
}

// A stream's heartbeat and each complete object are written before the next read.
func TestRewriteReplyDoesNotWait(t *testing.T) {
	r, feed := io.Pipe()
	got, w := io.Pipe()
	go func() { w.CloseWithError(platform.RewriteReply(r, w, handles(nil))) }()
	for _, line := range []string{"\r\n", "{\"id\":\"1\",\"access_token\":\"A\"}\r\n"} {
		if _, err := feed.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
		want := strings.Replace(line, `"A"`, `"H(1)"`, 1)
		buf := make([]byte, len(want))
		if _, err := io.ReadFull(got, buf); err != nil || string(buf) != want {
			t.Fatalf("got %q, %v; want %q", buf, err, want)
		}
	}
	feed.Close()
	if rest, err := io.ReadAll(got); err != nil || len(rest) > 0 {
		t.Errorf("rest %q, %v", rest, err)
	}
}

// An object too large to hold back is let go, without its token.
func TestRewriteReplyBoundsWhatItHolds(t *testing.T) {
	in := `{"access_token":"EAAB1","data":[` + strings.Repeat(`"0123456789",`, 500_000) + `0],"id":"9"}`
	var out bytes.Buffer
	if err := platform.RewriteReply(strings.NewReader(in), &out, handles(nil)); err != nil {
		t.Fatal(err)
	}
	if want := strings.Replace(in, "EAAB1", "H()", 1); out.String() != want {
		t.Errorf("got %d bytes beginning %.60q", out.Len(), out.String())
	}
}

// tokensOf collects the values of credential members, with the standard library.
func tokensOf(v any) []string {
	var out []string
	switch v := v.(type) {
	case map[string]any:
		for k, m := range v {
			if s, ok := m.(string); ok && strings.HasSuffix(k, "access_token") && len(k) <= 64 && s != "" {
				out = append(out, s)
			}
			out = append(out, tokensOf(m)...)
		}
	case []any:
		for _, m := range v {
			out = append(out, tokensOf(m)...)
		}
	}
	return out
}

func FuzzRewriteReply(f *testing.F) {
	for _, s := range []string{`{"access_token":"EAAB1","id":"9"}`, `[{"body":"{\"access_token\":\"A\"}"}]`, `{"paging":{"next":"https://graph.facebook.com/?access_token=E"}}`, `{"a":"\ud83d\ude00\\","b":[1,-2e3,null]}`, "{}\r\n{}", `{"access_token":["\"`} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, in []byte, chunk int) {
		same := platform.Rewriter{
			Token: func(t platform.ReplyToken) (string, error) { return t.Value, nil },
			Link:  func(l string) string { return l },
		}
		var out bytes.Buffer
		err := platform.RewriteReply(&chunks{in, 1 + chunk&15}, &out, same)
		if err == nil && !bytes.Equal(out.Bytes(), in) {
			if json.Valid(in) || !strings.Contains(string(in), "body") {
				t.Fatalf("unchanged reply changed:\n%q\n%q", in, out.Bytes())
			}
		}
		var v any
		if json.Unmarshal(in, &v) != nil {
			return
		}
		if err != nil && !errors.Is(err, platform.ErrTooLarge) && !strings.Contains(err.Error(), "a credential is no string") {
			t.Fatalf("valid JSON is an error: %v", err)
		}
		out.Reset()
		gone := platform.Rewriter{Token: func(platform.ReplyToken) (string, error) { return "§", nil }}
		if platform.RewriteReply(bytes.NewReader(in), &out, gone) != nil {
			return
		}
		var after any
		if err := json.Unmarshal(out.Bytes(), &after); err != nil {
			t.Fatalf("%q became invalid: %q", in, out.Bytes())
		}
		for _, token := range tokensOf(after) {
			if token != "§" {
				t.Fatalf("%q still holds %q: %q", in, token, out.Bytes())
			}
		}
	})
}

// chunks reads n bytes at a time.
type chunks struct {
	b []byte
	n int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(c.n, len(p))], c.b)
	c.b = c.b[n:]
	return n, nil
}

func BenchmarkRewriteReply(b *testing.B) {
	var reply bytes.Buffer
	reply.WriteString(`{"data":[`)
	for i := range 1000 {
		fmt.Fprintf(&reply, `{"id":"%d","text":"The quick brown fox jumps over the lazy dog #%d","author_id":"2244994945","public_metrics":{"like_count":%d,"reply_count":2}},`, 1_000_000+i, i, i)
	}
	reply.WriteString(`{}],"meta":{"result_count":1000,"next_token":"b26v89c19zqg8o3f"}}`)
	for _, c := range []struct {
		name  string
		known []platform.Known
	}{{"plain", nil}, {"known", []platform.Known{{Value: "EAABsbCS1iHgBAKZCZAkPZC", Replacement: "h"}}}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(reply.Len()))
			b.ReportAllocs()
			f := handles(nil)
			f.Known = c.known
			for b.Loop() {
				if err := platform.RewriteReply(bytes.NewReader(reply.Bytes()), io.Discard, f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
