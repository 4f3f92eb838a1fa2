package x

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strconv"
	"time"
)

// alphabet is what the random parts of X's secrets are made of. Its 64 letters
// take six bits each, so no letter is likelier than another.
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// letters returns n random URL-safe characters.
func letters(n int) string {
	random := make([]byte, n)
	_, _ = rand.Read(random) // never fails
	for i, b := range random {
		random[i] = alphabet[b&63]
	}
	return string(random)
}

// alphanumeric returns n random letters and digits.
func alphanumeric(n int) string {
	out := make([]byte, 0, n)
	for len(out) < n {
		for _, c := range []byte(letters(n)) {
			if c != '-' && c != '_' && len(out) < n {
				out = append(out, c)
			}
		}
	}
	return string(out)
}

// newOAuth2Secret makes an access token ("at"), refresh token ("rt") or
// authorization code ("ac") in the shape that X's documentation shows: base64url
// of colon-separated text.
func newOAuth2Secret(kind string, at time.Time) string {
	text := fmt.Sprintf("%s:%d:1:1:%s:1", letters(45), at.UnixMilli(), kind)
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

// newClientID makes an OAuth 2.0 client id in X's shape.
func newClientID() string {
	return base64.RawURLEncoding.EncodeToString([]byte(letters(20) + ":1:ci"))
}

// newAppBearer makes an app-only bearer in X's shape, percent-encoded bytes
// included: clients must send it as it came.
func newAppBearer() string {
	return "AAAAAAAAAAAAAAAAAAAAA" + alphanumeric(12) + "AAAAAAA" + alphanumeric(20) + "%2B" + alphanumeric(8) + "%3D" + alphanumeric(50)
}

// snowflakeEpoch is the first millisecond that X's identifiers can hold.
const snowflakeEpoch = 1288834974657

// snowflake makes an identifier that carries a time, as X's do; sequence keeps
// identifiers of the same millisecond apart.
func snowflake(at time.Time, sequence int) string {
	return strconv.FormatInt((at.UnixMilli()-snowflakeEpoch)<<22|int64(sequence&0x3fffff), 10)
}

// timestamp is how X writes times in JSON.
func timestamp(at time.Time) string {
	return at.UTC().Format("2006-01-02T15:04:05.000Z")
}

// olderID reports whether the identifier a was made before b. Identifiers are
// decimal numbers without leading zeros.
func olderID(a, b string) bool {
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return a < b
}

// validID reports whether s could be an identifier: 1 to 19 digits.
func validID(s string) bool {
	if len(s) == 0 || len(s) > 19 {
		return false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
