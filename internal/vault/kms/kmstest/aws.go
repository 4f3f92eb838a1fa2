package kmstest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// AWS plays AWS KMS: Encrypt and Decrypt of one region, signed with Signature
// Version 4, which is computed here again from AWS's description of it.
type AWS struct {
	server
	// Region is where it stands.
	Region string
	// AccessKeyID and SecretAccessKey sign; SessionToken, if set, must come along.
	AccessKeyID, SecretAccessKey, SessionToken string

	keys     map[string]*awsKey // by ARN, guarded by server.mu
	denied   bool
	expired  bool
	pretends string // the KeyId that replies name instead of the true one
}

type awsKey struct {
	key
	tag      [8]byte // begins its ciphertexts
	disabled bool
}

// NewAWS starts a KMS without keys.
func NewAWS(tls bool) *AWS {
	a := &AWS{Region: "eu-central-1", AccessKeyID: "AKIA" + rand.Text()[:16], SecretAccessKey: rand.Text() + rand.Text(), keys: map[string]*awsKey{}}
	a.serve(http.HandlerFunc(a.answer), tls)
	return a
}

// AddKey makes a key and returns its ARN.
func (a *AWS) AddKey() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	arn := "arn:aws:kms:" + a.Region + ":111122223333:key/" + strings.ToLower(rand.Text()[:8]) + "-12ab-34cd-56ef-1234567890ab"
	k := &awsKey{key: newKey()}
	_, _ = rand.Read(k.tag[:])
	a.keys[arn] = k
	return arn
}

// Disable disables a key, or enables it again.
func (a *AWS) Disable(arn string, disabled bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys[arn].disabled = disabled
}

// Deny takes the permission away, or gives it back.
func (a *AWS) Deny(denied bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.denied = denied
}

// Expire ends the session token, or gives it life again.
func (a *AWS) Expire(expired bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expired = expired
}

// Pretend makes replies name another key; "" ends it.
func (a *AWS) Pretend(arn string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pretends = arn
}

func awsError(w http.ResponseWriter, name string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": name, "message": "no (and nobody may repeat this text)"})
}

func (a *AWS) answer(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		awsError(w, "KMSInternalException")
		return
	}
	if name := a.verify(r, body); name != "" {
		awsError(w, name)
		return
	}
	operation, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	if !ok || r.Header.Get("Content-Type") != "application/x-amz-json-1.1" || r.Method != http.MethodPost || r.URL.Path != "/" {
		awsError(w, "UnknownOperationException")
		return
	}
	var in struct {
		KeyID             string            `json:"KeyId"`
		Plaintext         []byte            `json:"Plaintext"`
		CiphertextBlob    []byte            `json:"CiphertextBlob"`
		EncryptionContext map[string]string `json:"EncryptionContext"`
	}
	if strictJSON(body, &in) != nil || len(in.EncryptionContext) == 0 {
		awsError(w, "ValidationException")
		return
	}
	k := a.keys[in.KeyID]
	switch {
	case a.expired:
		awsError(w, "ExpiredTokenException")
		return
	case a.denied:
		awsError(w, "AccessDeniedException")
		return
	case k == nil:
		awsError(w, "NotFoundException")
		return
	case k.disabled:
		awsError(w, "DisabledException")
		return
	}
	named := in.KeyID
	if a.pretends != "" {
		named = a.pretends
	}
	bound, _ := json.Marshal(in.EncryptionContext) // maps marshal in order
	switch {
	case operation == "Encrypt" && in.CiphertextBlob == nil && len(in.Plaintext) > 0 && len(in.Plaintext) <= 4096:
		blob := append(k.tag[:], k.seal(in.Plaintext, bound)...)
		reply(w, http.StatusOK, map[string]any{"KeyId": named, "CiphertextBlob": blob, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"})
	case operation == "Decrypt" && in.Plaintext == nil:
		a.decrypt(w, in.CiphertextBlob, bound, k, named)
	default:
		awsError(w, "ValidationException")
	}
}

func (a *AWS) decrypt(w http.ResponseWriter, blob, bound []byte, k *awsKey, named string) {
	if len(blob) < 8 {
		awsError(w, "InvalidCiphertextException")
		return
	}
	if [8]byte(blob[:8]) != k.tag {
		for _, other := range a.keys {
			if [8]byte(blob[:8]) == other.tag {
				awsError(w, "IncorrectKeyException")
				return
			}
		}
		awsError(w, "InvalidCiphertextException")
		return
	}
	plaintext, err := k.open(blob[8:], bound)
	if err != nil {
		awsError(w, "com.amazonaws.kms#InvalidCiphertextException")
		return
	}
	reply(w, http.StatusOK, map[string]any{"KeyId": named, "Plaintext": plaintext, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"})
}

// verify recomputes the signature and returns the name of the error, or "".
func (a *AWS) verify(r *http.Request, body []byte) string {
	rest, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if !ok {
		return "MissingAuthenticationTokenException"
	}
	part := map[string]string{}
	for field := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		part[name] = value
	}
	date := r.Header.Get("X-Amz-Date")
	at, err := time.Parse("20060102T150405Z", date)
	if err != nil || time.Since(at).Abs() > 5*time.Minute {
		return "InvalidSignatureException"
	}
	scope := date[:8] + "/" + a.Region + "/kms/aws4_request"
	id, given, _ := strings.Cut(part["Credential"], "/")
	if id != a.AccessKeyID || r.Header.Get("X-Amz-Security-Token") != a.SessionToken {
		return "UnrecognizedClientException"
	}
	if given != scope {
		return "InvalidSignatureException"
	}
	signed := strings.Split(part["SignedHeaders"], ";")
	must := []string{"host", "x-amz-date", "x-amz-target", "content-type"}
	if a.SessionToken != "" {
		must = append(must, "x-amz-security-token")
	}
	for _, name := range must {
		if !slices.Contains(signed, name) {
			return "IncompleteSignatureException"
		}
	}
	if !slices.IsSorted(signed) {
		return "InvalidSignatureException"
	}
	var canonical strings.Builder
	canonical.WriteString(r.Method + "\n" + r.URL.EscapedPath() + "\n" + r.URL.RawQuery + "\n")
	for _, name := range signed {
		value := strings.TrimSpace(r.Header.Get(name))
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = r.Header.Get("Content-Length")
			if value == "" {
				value = itoa(r.ContentLength)
			}
		}
		canonical.WriteString(name + ":" + value + "\n")
	}
	sum := sha256.Sum256(body)
	canonical.WriteString("\n" + strings.Join(signed, ";") + "\n" + hex.EncodeToString(sum[:]))
	hashed := sha256.Sum256([]byte(canonical.String()))
	k := []byte("AWS4" + a.SecretAccessKey)
	for _, step := range []string{date[:8], a.Region, "kms", "aws4_request", "AWS4-HMAC-SHA256\n" + date + "\n" + scope + "\n" + hex.EncodeToString(hashed[:])} {
		mac := hmac.New(sha256.New, k)
		mac.Write([]byte(step))
		k = mac.Sum(nil)
	}
	if !hmac.Equal([]byte(hex.EncodeToString(k)), []byte(part["Signature"])) {
		return "InvalidSignatureException"
	}
	return ""
}

func itoa(n int64) string {
	b, _ := json.Marshal(n)
	return string(b)
}
