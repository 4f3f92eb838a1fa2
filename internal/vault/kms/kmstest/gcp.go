package kmstest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"hash/crc32"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// GCP plays Google Cloud KMS and, at /token, Google's token endpoint.
type GCP struct {
	server

	email   string
	private *rsa.PrivateKey

	keys     map[string]key // by name, guarded by server.mu
	tokens   map[string]bool
	issued   int
	denied   bool
	disabled bool
	pretends string // the name that replies give instead of the true one
	lies     string // which checksum of a reply is wrong
	revoked  bool   // the service account's key
}

// NewGCP starts a KMS without keys and one service account.
func NewGCP(tls bool) *GCP {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	g := &GCP{email: "gatehouse@project.iam.gserviceaccount.com", private: private, keys: map[string]key{}, tokens: map[string]bool{}}
	g.serve(http.HandlerFunc(g.answer), tls)
	return g
}

// Credentials is the JSON key of the service account.
func (g *GCP) Credentials() string {
	der, err := x509.MarshalPKCS8PrivateKey(g.private)
	if err != nil {
		panic(err)
	}
	b, _ := json.MarshalIndent(map[string]string{
		"type": "service_account", "project_id": "project", "client_email": g.email, "private_key_id": "k1", "token_uri": g.URL + "/token",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}, "", "  ")
	return string(b)
}

// AddKey makes a key and returns its name.
func (g *GCP) AddKey() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	name := "projects/project/locations/europe-west3/keyRings/gatehouse/cryptoKeys/k" + rand.Text()[:8]
	g.keys[name] = newKey()
	return name
}

// Deny takes the permission away, or gives it back.
func (g *GCP) Deny(denied bool) { g.set(func() { g.denied = denied }) }

// Disable disables the keys' versions, or enables them again.
func (g *GCP) Disable(disabled bool) { g.set(func() { g.disabled = disabled }) }

// Pretend makes replies name another key; "" ends it.
func (g *GCP) Pretend(name string) { g.set(func() { g.pretends = name }) }

// Lie makes a checksum of replies wrong: "ciphertext", "plaintext", "verified" or
// "aad"; "" ends it.
func (g *GCP) Lie(about string) { g.set(func() { g.lies = about }) }

// RevokeTokens makes every access token invalid.
func (g *GCP) RevokeTokens() { g.set(func() { clear(g.tokens) }) }

// RevokeAccount deletes the service account's key, or brings it back.
func (g *GCP) RevokeAccount(revoked bool) { g.set(func() { g.revoked = revoked }) }

// Issued returns how many access tokens were given out.
func (g *GCP) Issued() (n int) {
	g.set(func() { n = g.issued })
	return n
}

func (g *GCP) set(do func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	do()
}

func googleError(w http.ResponseWriter, status int, name string) {
	reply(w, status, map[string]any{"error": map[string]any{"code": status, "status": name, "message": "no (and nobody may repeat this text)"}})
}

func (g *GCP) answer(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.URL.Path == "/token" {
		g.token(w, r)
		return
	}
	bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || !g.tokens[bearer] {
		googleError(w, http.StatusUnauthorized, "UNAUTHENTICATED")
		return
	}
	name, verb, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/"), ":")
	k, known := g.keys[name]
	switch {
	case r.Method != http.MethodPost || verb != "encrypt" && verb != "decrypt":
		googleError(w, http.StatusNotFound, "NOT_FOUND")
	case g.denied:
		googleError(w, http.StatusForbidden, "PERMISSION_DENIED")
	case !known:
		googleError(w, http.StatusNotFound, "NOT_FOUND")
	case g.disabled:
		googleError(w, http.StatusBadRequest, "FAILED_PRECONDITION")
	default:
		g.use(w, r, name, verb, k)
	}
}

func castagnoli(b []byte) string {
	return strconv.FormatUint(uint64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))), 10)
}

func (g *GCP) use(w http.ResponseWriter, r *http.Request, name, verb string, k key) {
	var in struct {
		Plaintext  []byte `json:"plaintext"`
		PlainSum   string `json:"plaintextCrc32c"`
		Ciphertext []byte `json:"ciphertext"`
		CipherSum  string `json:"ciphertextCrc32c"`
		AAD        []byte `json:"additionalAuthenticatedData"`
		AADSum     string `json:"additionalAuthenticatedDataCrc32c"`
	}
	if strict(r, &in) != nil || len(in.AAD) == 0 || in.AADSum != castagnoli(in.AAD) {
		googleError(w, http.StatusBadRequest, "INVALID_ARGUMENT")
		return
	}
	lie := func(about, sum string) string {
		if g.lies == about {
			return "1"
		}
		return sum
	}
	if verb == "encrypt" {
		if in.PlainSum != castagnoli(in.Plaintext) || in.Ciphertext != nil {
			googleError(w, http.StatusBadRequest, "INVALID_ARGUMENT")
			return
		}
		named := name
		if g.pretends != "" {
			named = g.pretends
		}
		sealed := k.seal(in.Plaintext, in.AAD)
		reply(w, http.StatusOK, map[string]any{
			"name": named + "/cryptoKeyVersions/1", "ciphertext": sealed, "ciphertextCrc32c": lie("ciphertext", castagnoli(sealed)),
			"verifiedPlaintextCrc32c": g.lies != "verified", "verifiedAdditionalAuthenticatedDataCrc32c": g.lies != "aad", "protectionLevel": "SOFTWARE",
		})
		return
	}
	plaintext, err := k.open(in.Ciphertext, in.AAD)
	if err != nil || in.CipherSum != castagnoli(in.Ciphertext) || in.Plaintext != nil {
		googleError(w, http.StatusBadRequest, "INVALID_ARGUMENT")
		return
	}
	reply(w, http.StatusOK, map[string]any{"plaintext": plaintext, "plaintextCrc32c": lie("plaintext", castagnoli(plaintext)), "usedPrimary": true})
}

// token exchanges an assertion (RFC 7523) for an access token.
func (g *GCP) token(w http.ResponseWriter, r *http.Request) {
	refuse := func() { reply(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"}) }
	if r.Method != http.MethodPost || r.ParseForm() != nil || r.PostForm.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || g.revoked {
		refuse()
		return
	}
	parts := strings.Split(r.PostForm.Get("assertion"), ".")
	if len(parts) != 3 {
		refuse()
		return
	}
	var header struct{ Alg, Kid string }
	var claims struct {
		Iss, Aud, Scope string
		Iat, Exp        int64
	}
	for i, to := range []any{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(text, to) != nil {
			refuse()
			return
		}
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	now := time.Now().Unix()
	if err != nil || rsa.VerifyPKCS1v15(&g.private.PublicKey, crypto.SHA256, sum[:], signature) != nil ||
		header.Alg != "RS256" || header.Kid != "k1" || claims.Iss != g.email || claims.Aud != g.URL+"/token" ||
		claims.Scope != "https://www.googleapis.com/auth/cloudkms" || claims.Exp <= now || claims.Exp-claims.Iat > 3600 || claims.Iat > now+10 {
		refuse()
		return
	}
	text := "ya29." + rand.Text()
	g.tokens[text] = true
	g.issued++
	reply(w, http.StatusOK, map[string]any{"access_token": text, "expires_in": 3599, "token_type": "Bearer"})
}
