package gateway

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/internal/platform"
)

// Whatever connect put on a request is known, so that no reply can repeat it.
func TestCarried(t *testing.T) {
	for name, c := range map[string]struct {
		authorization, query, handle string
		want                         []platform.Known
	}{
		"bearer":  {"Bearer EAAB", "fields=id", "gth", []platform.Known{{Value: "EAAB", Replacement: "gth"}}},
		"no text": {"Bearer EAAB", "", "", []platform.Known{{Value: "EAAB", Replacement: "[token]"}}},
		"proof": {"Bearer EAAB", "a=b&appsecret_proof=f00d&appsecret_time=1", "gth",
			[]platform.Known{{Value: "EAAB", Replacement: "gth"}, {Value: "f00d", Replacement: "[proof]"}}},
		"oauth1": {`OAuth oauth_consumer_key="k", oauth_nonce="n", oauth_signature="s", oauth_signature_method="HMAC-SHA1", oauth_timestamp="1", oauth_token="1-abc"`,
			"", "", []platform.Known{{Value: "1-abc", Replacement: "[token]"}}},
	} {
		if diff := cmp.Diff(c.want, carried(c.authorization, c.query, c.handle)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// The short way past the rewriter is taken only by replies in which it would
// change nothing, whatever names a platform has for credentials.
func TestHarmless(t *testing.T) {
	sent := []platform.Known{{Value: "EAABwzLixnjYBO", Replacement: "x"}}
	for text, want := range map[string]bool{
		`{"data":{"id":"1","username":"ada"}}`:       true,
		`{"meta":{"next_token":"b26v89c19zqg8o3f"}}`: false,
		`{"paging":{"next":"https://x.example/"}}`:   false,
		`{"acc\u0065ss_t\u006fken":"EAA"}`:           false,
		`{"text":"you sent EAABwzLixnjYBO"}`:         false,
		`{"accessToken":"0123456789abcdef"}`:         false,
		`{"Access-To_ken":"0123456789abcdef"}`:       false,
		`{"url":"https://x.example/?%74oken=1"}`:     false,
		`{"text":"you sent EAAB"}`:                   false,
	} {
		if got := harmless([]byte(text), sent); got != want {
			t.Errorf("harmless(%s) = %t", text, got)
		}
	}
	for _, member := range platform.CredentialMembers() {
		text := []byte(`{"` + member + `":"0123456789abcdef"}`)
		if harmless(text, nil) {
			t.Errorf("a reply with %s passes as harmless", member)
		}
	}
}
