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
