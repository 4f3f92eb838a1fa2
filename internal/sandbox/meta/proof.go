package meta

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// proofWindow is how long a timed proof is good for.
const proofWindow = 5 * time.Minute

// appSecretProof is the proof that a caller who has the token has the app's
// secret too. With a time it is bound to that second.
func appSecretProof(secret, token, unix string) string {
	message := token
	if unix != "" {
		message += "|" + unix
	}
	return hex.EncodeToString(mac(secret, message))
}

func mac(secret, message string) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(message))
	return h.Sum(nil)
}

func equal(a, b string) bool { return hmac.Equal([]byte(a), []byte(b)) }

// checkProof judges a call's appsecret_proof. Documentation shows the timed form
// and Meta's SDKs send the plain one, so both are accepted. App tokens contain
// the secret and need no proof.
func (p *Platform) checkProof(t *token, proof, unix string) *failure {
	refuse := func(message string) *failure {
		return &failure{status: http.StatusBadRequest, kind: methodException, code: 100, message: message}
	}
	if proof == "" {
		if p.proof && t.kind != appToken && t.app.product == facebook {
			return refuse("API calls from the server require an appsecret_proof argument")
		}
		return nil
	}
	const wrong = "Invalid appsecret_proof provided in the API argument"
	if unix != "" {
		seconds, err := strconv.ParseInt(unix, 10, 64)
		if err != nil {
			return refuse(wrong)
		}
		if age := p.now().Sub(time.Unix(seconds, 0)); age > proofWindow || age < -proofWindow {
			return refuse(wrong)
		}
	}
	if !equal(strings.ToLower(proof), appSecretProof(t.app.AppSecret, t.value, unix)) {
		return refuse(wrong)
	}
	return nil
}

// signRequest makes a signed_request: the signature over the encoded payload, a
// dot, the payload; base64url without padding.
func signRequest(secret string, payload []byte) string {
	encoded := base64.RawURLEncoding.EncodeToString(payload)
	return base64.RawURLEncoding.EncodeToString(mac(secret, encoded)) + "." + encoded
}

// parseSignedRequest verifies before it parses. The sandbox uses it on what a
// caller hands back, and its tests on what the sandbox sends.
func parseSignedRequest(secret, text string) (map[string]any, error) {
	signature, payload, ok := strings.Cut(text, ".")
	if !ok {
		return nil, errors.New("a signed request has two parts")
	}
	given, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		return nil, errors.New("the signature is not base64url")
	}
	if !hmac.Equal(given, mac(secret, payload)) {
		return nil, errors.New("the signature does not match")
	}
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return nil, errors.New("the payload is not base64url")
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, fmt.Errorf("reading the payload: %w", err)
	}
	if algorithm, _ := fields["algorithm"].(string); !strings.EqualFold(algorithm, "HMAC-SHA256") {
		return nil, errors.New("the algorithm is not HMAC-SHA256")
	}
	return fields, nil
}
