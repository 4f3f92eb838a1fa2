package platform_test

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/internal/platform"
)

func TestScopes(t *testing.T) {
	if d := cmp.Diff([]string{"tweet.read", "tweet.write", "users.read"}, platform.Scopes(platform.X, "POST /2/tweets")); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, op := range []string{"GET /2/nothing", "POST", "", "POST 2/tweets", "DELETE /2/tweets"} {
		if got := platform.Scopes(platform.X, op); len(got) > 0 {
			t.Errorf("%q: %v", op, got)
		}
	}
	if got := platform.Scopes(platform.Facebook, "GET /me"); got != nil {
		t.Errorf("Meta documents no scopes by operation, got %v", got)
	}
	known := platform.KnownScopes(platform.X)
	if !slices.IsSorted(known) || platform.KnownScopes(platform.Facebook) != nil {
		t.Errorf("known scopes: %v", known)
	}
	for _, op := range platform.Operations(platform.X) {
		for _, s := range platform.Scopes(platform.X, op) {
			if !slices.Contains(known, s) {
				t.Errorf("%s demands %s, which is not known", op, s)
			}
		}
	}
}

// The form of a segment decides between a node and a word that we do not know:
// what looks like a word must not pass for a node.
func TestGraphNodeForms(t *testing.T) {
	for segment, want := range map[string]string{
		"1": "GET /{id}", "1_2_3": "GET /{id}", "act_9": "GET /{id}", "t_1234567": "GET /{id}", "m_abcDEF-1": "GET /{id}",
		"mid.$cAAE1": "GET /{id}", "aWdfZAG1faXRlbToxOklHTWVzc2FnZAUlEOjE3": "GET /{id}", "wamid.HBgLMTY1MDM4Nzk0MzkVAgARGA%3D%3D": "GET /{id}",
		"cocacola": "GET /{username}", "Coca.Cola": "GET /{username}", "page2": "GET /{username}",
		"act_": "GET unknown", "act_x": "GET unknown", "abcd": "GET unknown", "brand_new_endpoint": "GET unknown", "1__2": "GET unknown",
		"abc%40example.com": "GET unknown", "new-endpoint": "GET unknown", strings.Repeat("9", 600): "GET unknown",
	} {
		call, err := platform.Classify(platform.Facebook, "GET", "/v25.0/"+segment, nil)
		if err != nil || call.Operation != want {
			t.Errorf("%s: %q, %v; want %q", segment, call.Operation, err, want)
		}
	}
	for path, want := range map[string]string{
		"/upload:MTphdHRhY2htZW50OjE": "GET /upload:{session}", "/1/insights/page_fans/day": "GET /{id}/insights/{metric}/{period}",
		"/1/insights/page-fans": "GET unknown", "/1/accounts/test-users": "GET /{id}/accounts/test-users", "/1/feed/2": "GET unknown",
		"/video-upload/v25.0/1": "GET /video-upload/{id}", "/video-upload/v25.0/x": "GET unknown",
	} {
		call, err := platform.Classify(platform.Facebook, "GET", path, nil)
		if err != nil || call.Operation != want {
			t.Errorf("%s: %q, %v; want %q", path, call.Operation, err, want)
		}
	}
	call, err := platform.Classify(platform.Facebook, "GET", "/wamid.HBg1HBg1HBg1%3D", nil)
	if err != nil || call.Param("id") != "wamid.HBg1HBg1HBg1=" || call.Param("other") != "" {
		t.Errorf("a parameter is its decoded value: %+v, %v", call.Params, err)
	}
}

func TestGraphIDsRefusals(t *testing.T) {
	many := strings.TrimSuffix(strings.Repeat("1,", 201), ",")
	for q, want := range map[string]error{"ids=": platform.ErrSyntax, "ids=1,,2": platform.ErrSyntax, "ids=" + many: platform.ErrTooLarge} {
		if _, err := platform.Classify(platform.Facebook, "GET", "/", query(t, q)); !errors.Is(err, want) {
			t.Errorf("%.20s: %v, want %v", q, err, want)
		}
	}
	call, err := platform.Classify(platform.Facebook, "GET", "/", query(t, "ids=1,%202"))
	if err != nil || call.Operation != "GET /{id}" || len(call.Params) != 2 || call.Params[1].Value != "2" {
		t.Errorf("spaces between ids: %+v, %v", call, err)
	}
	// An id beside a node in the path is an ordinary parameter.
	call, err = platform.Classify(platform.Facebook, "GET", "/1/feed", query(t, "id=2"))
	if err != nil || call.Operation != "GET /{id}/feed" {
		t.Errorf("id beside a node: %q, %v", call.Operation, err)
	}
}

func TestNormalizeGraphRefuses(t *testing.T) {
	for _, call := range []string{"GET /", "DELETE /", "GET /12/feed", "GET /v25.0/123", "PUT /{id}", "GET /{id}/insights/{a}/{b}/{c}", "GET /{id}/no_edge"} {
		if got, err := platform.NormalizeCall(platform.Facebook, call); !errors.Is(err, platform.ErrUnknownOperation) {
			t.Errorf("%s = %q, %v", call, got, err)
		}
	}
	if _, err := platform.NormalizeCall(platform.Threads, "POST /{id}"); err == nil {
		t.Error("Threads has no POST on a node")
	}
	if _, err := platform.NormalizeCall(platform.X, "GET /"+strings.Repeat("x", 300)); err == nil || strings.Contains(err.Error(), "did you mean") {
		t.Errorf("nothing is near: %v", err)
	}
}

func TestStrings(t *testing.T) {
	seen := map[string]bool{}
	for e := platform.None; e <= platform.AccessToken; e++ {
		seen[e.String()] = true
	}
	if len(seen) != int(platform.AccessToken)+1 {
		t.Errorf("endpoints share names: %v", seen)
	}
	if platform.RoleUpload.String() != "upload" || platform.OutcomeTokenDead.String() != "token-dead" {
		t.Error("names of roles and outcomes")
	}
}

// OAuth 1.0a leaves the default port out of the base string, and no other.
func TestBaseStringHosts(t *testing.T) {
	for in, want := range map[string]string{
		"https://Gate.Example:443/a":   "https://gate.example/a",
		"http://gate.example:80":       "http://gate.example/",
		"http://gate.example:443/":     "http://gate.example:443/",
		"https://[2001:DB8::1]:443/a":  "https://[2001:db8::1]/a",
		"https://[2001:db8::1]:8443/a": "https://[2001:db8::1]:8443/a",
		"https://gate.example/a%2Cb":   "https://gate.example/a%2Cb",
	} {
		u, err := url.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := platform.BaseString("get", u, nil); got != "GET&"+platform.PercentEncode(want)+"&" {
			t.Errorf("%s: %s", in, got)
		}
	}
	u := &url.URL{Scheme: "https", Host: "h", RawQuery: "a=%zz"}
	if _, err := platform.SignOAuth1(platform.OAuth1Credentials{}, "GET", u, nil, "n", "1"); !errors.Is(err, platform.ErrSyntax) {
		t.Errorf("a malformed query was signed: %v", err)
	}
}

// Decoding and encoding of strings inside a batch's body.
func TestRewriteReplyEscapes(t *testing.T) {
	named := platform.Rewriter{Token: func(t platform.ReplyToken) (string, error) { return "<" + t.Name + ">", nil }}
	for _, test := range []struct{ in, want string }{
		{`{"name":"\b\f\n\r\t\/\"\\","access_token":"A"}`, `{"name":"\b\f\n\r\t\/\"\\","access_token":"<\u0008\u000c\u000a\u000d\u0009/\"\\>"}`},
		{`{"name":"\ud83d\ude00","access_token":"A"}`, `{"name":"\ud83d\ude00","access_token":"<😀>"}`},
		{`{"name":"\ud83dx\uzz","access_token":"A"}`, `{"name":"\ud83dx\uzz","access_token":"<` + "\ufffd" + `x\\uzz>"}`},
		{`[{"body":"{\"name\":\"\\u00e9\",\"access_token\":\"A\"}"}]`, `[{"body":"{\"name\":\"\\u00e9\",\"access_token\":\"<é>\"}"}]`},
		{`{"name":"` + strings.Repeat("n", 300) + `","access_token":"A"}`, `{"name":"` + strings.Repeat("n", 300) + `","access_token":"<` + strings.Repeat("n", 256) + `>"}`},
		{`"access_token" }`, `"access_token" }`},
		{`{"url":"https://graph.facebook.com/token/?a=1&b"}`, `{"url":"https://graph.facebook.com/token/?a=1&b"}`},
		{`{"url":"https://graph.facebook.com/token/without/query"}`, `{"url":"https://graph.facebook.com/token/without/query"}`},
		{`{"paging":{"next":"no link"}}`, `{"paging":{"next":"no link"}}`},
	} {
		if got := rewrite(t, named, test.in); got != test.want {
			t.Errorf("%s\n got %s\nwant %s", test.in, got, test.want)
		}
	}
}

// broken fails after some bytes.
type broken struct{ left int }

func (b *broken) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

// A caller who hangs up ends the copying wherever it is.
func TestRewriteReplyCallerHangsUp(t *testing.T) {
	in := `{"a":1,"access_token":"EAABtoken","id":"1"} x EAABknown "cut`
	f := handles(nil)
	f.Known = []platform.Known{{Value: "EAABknown", Replacement: "k"}}
	for n := range len(in) - 4 {
		if err := platform.RewriteReply(strings.NewReader(in), &broken{left: n}, f); n < 40 && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	if err := platform.RewriteReply(strings.NewReader(`{"a":1}`), &broken{left: 3}, f); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a whole object: %v", err)
	}
}

// A token that stays is left in its own spelling.
func TestRewriteReplyKeepsSpelling(t *testing.T) {
	same := platform.Rewriter{Token: func(t platform.ReplyToken) (string, error) { return t.Value, nil }}
	in := `{"access_token":"A\/\u0042","x":[{"body":"{\"access_token\":\"\\\/\"}"}]}`
	if got := rewrite(t, same, in); got != in {
		t.Errorf("got %s\nwant %s", got, in)
	}
}

// Each batch item that fails is an error of the whole reply.
func TestRewriteReplyBodyErrors(t *testing.T) {
	full := errors.New("full")
	f := platform.Rewriter{Token: func(platform.ReplyToken) (string, error) { return "", full }}
	for _, in := range []string{`[{"body":"{\"access_token\":\"A\"}"}]`, `[{"body":"{\"access_token\":\"A\""}]`, `{"access_token":"A"`} {
		if err := platform.RewriteReply(strings.NewReader(in), io.Discard, f); !errors.Is(err, full) {
			t.Errorf("%s: %v", in, err)
		}
	}
	deep := fmt.Sprintf(`[{"body":"%s"}]`, strings.Repeat("[", 300))
	if err := platform.RewriteReply(strings.NewReader(deep), io.Discard, f); !errors.Is(err, platform.ErrTooLarge) {
		t.Errorf("depth inside a body: %v", err)
	}
}
