package platform

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrSignature means that a signature is missing or wrong.
var ErrSignature = errors.New("wrong signature")

func hmacSHA256(key string, message []byte) []byte {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(message)
	return mac.Sum(nil)
}

// PKCEChallenge returns the S256 code challenge of a verifier (RFC 7636).
func PKCEChallenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// AppSecretProof returns Meta's appsecret_proof for a token.
func AppSecretProof(appSecret, token string) string {
	return hex.EncodeToString(hmacSHA256(appSecret, []byte(token)))
}

// TimedAppSecretProof returns the proof that Meta accepts for five minutes around
// t, and the appsecret_time that must go with it.
func TimedAppSecretProof(appSecret, token string, t time.Time) (proof, unix string) {
	unix = strconv.FormatInt(t.Unix(), 10)
	return AppSecretProof(appSecret, token+"|"+unix), unix
}

// SignedRequest is the payload of Meta's signed_request, which deauthorize and
// data-deletion callbacks carry. It has no nonce: judge IssuedAt, and act so that
// a second arrival does no harm.
type SignedRequest struct {
	UserID   string // app-scoped
	IssuedAt time.Time
	Expires  time.Time // zero if absent
}

// ParseSignedRequest verifies raw with the app's secret and returns its payload.
// Nothing is parsed before the signature has been found right.
func ParseSignedRequest(raw, appSecret string) (SignedRequest, error) {
	if len(raw) > 64<<10 {
		return SignedRequest{}, fmt.Errorf("signed request: %w", ErrTooLarge)
	}
	sig, payload, ok := strings.Cut(raw, ".")
	got, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimRight(sig, "="))
	if !ok || err != nil || appSecret == "" {
		return SignedRequest{}, fmt.Errorf("signed request: %w", ErrSignature)
	}
	if !hmac.Equal(got, hmacSHA256(appSecret, []byte(payload))) {
		return SignedRequest{}, fmt.Errorf("signed request: %w", ErrSignature)
	}
	decoded, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(payload, "="))
	if err != nil {
		return SignedRequest{}, fmt.Errorf("signed request: %w: payload is not base64url", ErrSyntax)
	}
	var body struct {
		Algorithm string          `json:"algorithm"`
		UserID    json.RawMessage `json:"user_id"`
		IssuedAt  int64           `json:"issued_at"`
		Expires   int64           `json:"expires"`
	}
	if err := json.Unmarshal(decoded, &body); err != nil {
		return SignedRequest{}, fmt.Errorf("signed request: %w: payload is not JSON", ErrSyntax)
	}
	if !strings.EqualFold(body.Algorithm, "HMAC-SHA256") {
		return SignedRequest{}, fmt.Errorf("signed request: %w: unknown algorithm", ErrSignature)
	}
	out := SignedRequest{UserID: strings.Trim(string(body.UserID), `"`), IssuedAt: time.Unix(body.IssuedAt, 0).UTC()}
	if !digits(out.UserID, 40) {
		return SignedRequest{}, fmt.Errorf("signed request: %w: user_id is not a number", ErrSyntax)
	}
	if body.Expires > 0 {
		out.Expires = time.Unix(body.Expires, 0).UTC()
	}
	return out, nil
}

// VerifyHubSignature reports whether an X-Hub-Signature-256 header signs the
// body. The body must be the bytes that arrived: Meta signs its own escapes, so
// that JSON written again does not match.
func VerifyHubSignature(appSecret string, body []byte, header string) bool {
	digest, ok := strings.CutPrefix(header, "sha256=")
	got, err := hex.DecodeString(digest)
	return ok && err == nil && appSecret != "" && hmac.Equal(got, hmacSHA256(appSecret, body))
}

// VerifyXWebhook reports whether an x-twitter-webhooks-signature header signs the
// body with the app's consumer secret.
func VerifyXWebhook(consumerSecret string, body []byte, header string) bool {
	digest, ok := strings.CutPrefix(header, "sha256=")
	got, err := base64.StdEncoding.DecodeString(digest)
	return ok && err == nil && consumerSecret != "" && hmac.Equal(got, hmacSHA256(consumerSecret, body))
}

// maxCRCToken bounds what X's check may ask to have signed.
const maxCRCToken = 200

// XCRCAnswer returns the response_token for X's challenge. The answer is made
// with the key and the construction that sign events, so whoever chooses the
// token freely could have a forged event signed: only short opaque tokens, which
// no JSON body can be, get an answer.
func XCRCAnswer(consumerSecret, crcToken string) (string, error) {
	opaque := len(crcToken) <= maxCRCToken && each(crcToken, func(c byte) bool {
		return alphanumeric(c) || strings.IndexByte("-_.=+/", c) >= 0
	})
	if !opaque || consumerSecret == "" {
		return "", fmt.Errorf("crc token: %w: not a short opaque token", ErrSyntax)
	}
	return "sha256=" + base64.StdEncoding.EncodeToString(hmacSHA256(consumerSecret, []byte(crcToken))), nil
}
