package atrest_test

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"gatehouse/internal/atrest"
)

// mixture returns n letters and digits that look random and are always the same.
func mixture(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	source := rand.New(rand.NewPCG(7, uint64(n)))
	b := []byte("a1B")
	for len(b) < n {
		b = append(b, letters[source.IntN(len(letters))])
	}
	return string(b)
}

func xToken(kind string) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%s:1700000000123:1:1:%s:1", mixture(45), kind))
}

// Each shape has a text that has it and near misses that do not.
func TestShapes(t *testing.T) {
	const body = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgMIGHAgEAMBMGByqG"
	for _, c := range []struct {
		name, text string
		what       atrest.What
	}{
		{"X access token", "Bearer " + xToken("at") + "\n", atrest.ShapeX},
		{"X refresh token", `{"refresh_token":"` + xToken("rt") + `"}`, atrest.ShapeX},
		{"X code in an address", "/callback?code=" + xToken("ac") + "&state=x", atrest.ShapeX},
		{"X token behind a joint", "x-" + xToken("at"), atrest.ShapeX},
		{"X client id", base64.RawURLEncoding.EncodeToString([]byte(mixture(20) + ":1:ci")), ""},
		{"another kind in X's place", xToken("zz"), ""},
		{"base64 of prose", base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("prose and more prose ", 6))), ""},

		{"X bearer", "AAAAAAAAAAAAAAAAAAAAA" + mixture(12) + "AAAAAAA" + mixture(20) + "%2B" + mixture(8) + "%3D" + mixture(50), atrest.ShapeXBearer},
		{"long X bearer", "AAAAAAAAAAAAAAAAAAAAA" + mixture(90), atrest.ShapeXBearer},
		{"zeros in base64", strings.Repeat("A", 120), ""},
		{"zeros and little more in base64", strings.Repeat("A", 40) + "Bg", ""},

		{"OAuth 1.0a token", "oauth_token=1234567890-" + mixture(40) + "&", atrest.ShapeXOAuth1},
		{"commit in a version", "v0.0.0-20261126-0123456789abcdef0123456789abcdef01234567", ""},
		{"OAuth 1.0a token of a short id", "12345-" + mixture(40), atrest.ShapeXOAuth1},
		{"a hash in base64url that begins like one", "42-" + mixture(40), ""},
		{"OAuth 1.0a token cut", "1234567890-" + mixture(39), ""},

		{"Facebook", "access_token=EAAB" + mixture(120), atrest.ShapeMeta},
		{"Instagram", `"IGAA` + mixture(120) + `"`, atrest.ShapeMeta},
		{"Instagram, older", `"IGQV` + mixture(120) + `"`, atrest.ShapeMeta},
		{"Threads", "THAA" + mixture(120), atrest.ShapeMeta},
		{"Threads, short-lived", "THQW" + mixture(120), atrest.ShapeMeta},
		{"Meta behind a joint", "fb_EAAB" + mixture(120), atrest.ShapeMeta},
		{"Meta cut", "EAAB" + mixture(30), ""},
		{"Meta in a word", "xEAAB" + mixture(120), ""},
		{"Meta on a line", "\nEAAB" + mixture(71) + "\n", atrest.ShapeMeta},
		{"a line of base64", "\nEAAB" + mixture(72) + "\n", ""},
		{"a piece of base64", "EAAB" + mixture(72) + "/xyz", ""},
		{"a long constant", "EAAB" + strings.Repeat("a1B", 40), ""},
		{"longer than a token", "EAAB" + strings.Repeat(mixture(500), 4), ""},

		{"handle", "gth_hnd_" + mixture(22) + "_" + mixture(49), atrest.ShapeGatehouse},
		{"service key in a word", "KEYgth_svc_" + mixture(22) + "_" + mixture(49) + "x", atrest.ShapeGatehouse},
		{"a handle's id", "gth_hnd_" + mixture(22) + "_" + mixture(20), ""},
		{"another prefix", "gth_abc_" + mixture(22) + "_" + mixture(49), ""},

		{"PEM", "-----BEGIN PRIVATE KEY-----\n" + body + "\n", atrest.ShapePEM},
		{"PEM in JSON", `"-----BEGIN EC PRIVATE KEY-----\n` + body + `\n"`, atrest.ShapePEM},
		{"PEM, encrypted", "-----BEGIN ENCRYPTED PRIVATE KEY-----\n" + body + "\n", ""},
		{"PEM's words in a program", `"-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"`, ""},
		{"a certificate", "-----BEGIN CERTIFICATE-----\n" + body + "\n", ""},
	} {
		s := searchFor(atrest.AccessToken, "something that stands nowhere")
		for _, before := range []int{0, 5, 17, 256<<10 - 40, 256<<10 + 1500} {
			got := search(s, []byte(strings.Repeat(" ", before)+c.text+" "))
			switch {
			case c.what == "" && len(got) > 0:
				t.Errorf("%s at %d: found %+v, want nothing", c.name, before, got)
			case c.what != "" && (len(got) != 1 || got[0].What != c.what):
				t.Errorf("%s at %d: found %+v, want %s", c.name, before, got, c.what)
			}
		}
	}
}
