package kmstest

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Transit plays a Vault or OpenBao server with a transit engine at transit/, an
// AppRole method at auth/approle and a Kubernetes method at auth/kubernetes.
type Transit struct {
	server
	// Namespace is the only one in which anything is. Set before use.
	Namespace string
	// RoleID and SecretID log in by AppRole, Role and JWT by the Kubernetes method.
	RoleID, SecretID, Role, JWT string
	// TTL is the life of the tokens that a login gives, in the fake's own time.
	TTL time.Duration
	// IgnoreAAD plays a server from before associated data: it does not look at what
	// it does not know.
	IgnoreAAD bool

	keys    map[string][]key // versions, guarded by server.mu
	tokens  map[string]*transitToken
	elapsed time.Duration
	denied  bool
	logins  int
}

type transitToken struct {
	ends      time.Duration // 0: never
	renewable bool
}

// NewTransit starts a server without keys and with one token that never ends.
func NewTransit(tls bool) (t *Transit, rootToken string) {
	t = &Transit{
		RoleID: "role-" + rand.Text(), SecretID: "secret-" + rand.Text(), Role: "gatehouse", JWT: "jwt-" + rand.Text(), TTL: time.Hour,
		keys: map[string][]key{}, tokens: map[string]*transitToken{},
	}
	rootToken = t.AddToken(0, false)
	t.serve(http.HandlerFunc(t.answer), tls)
	return t, rootToken
}

// AddKey makes a key, or a further version of it.
func (t *Transit) AddKey(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keys[name] = append(t.keys[name], newKey())
}

// AddToken makes a token that lives for a while; 0 is for ever.
func (t *Transit) AddToken(life time.Duration, renewable bool) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.issue(life, renewable)
}

func (t *Transit) issue(life time.Duration, renewable bool) string {
	token := "hvs." + rand.Text()
	tt := &transitToken{renewable: renewable}
	if life > 0 {
		tt.ends = t.elapsed + life
	}
	t.tokens[token] = tt
	return token
}

// Revoke ends a token; "" ends all.
func (t *Transit) Revoke(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if token == "" {
		clear(t.tokens)
	}
	delete(t.tokens, token)
}

// Deny takes the policy away, or gives it back.
func (t *Transit) Deny(denied bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.denied = denied
}

// Pass lets time pass for tokens.
func (t *Transit) Pass(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.elapsed += d
}

// Logins returns how often somebody logged in.
func (t *Transit) Logins() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.logins
}

var transitCiphertext = regexp.MustCompile(`^vault:v(\d+):(.*)$`)

func vaultErrors(w http.ResponseWriter, status int, text string) {
	reply(w, status, map[string]any{"errors": []string{text}})
}

func (t *Transit) answer(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/")
	if !ok || r.Header.Get("X-Vault-Namespace") != t.Namespace {
		vaultErrors(w, http.StatusNotFound, "no handler for route")
		return
	}
	switch {
	case path == "auth/approle/login" && r.Method == http.MethodPost:
		var in struct {
			RoleID   string `json:"role_id"`
			SecretID string `json:"secret_id"`
		}
		if strict(r, &in) != nil || in.RoleID != t.RoleID || in.SecretID != t.SecretID {
			vaultErrors(w, http.StatusBadRequest, "invalid role or secret ID")
			return
		}
		t.login(w)
	case path == "auth/kubernetes/login" && r.Method == http.MethodPost:
		var in struct {
			Role string `json:"role"`
			JWT  string `json:"jwt"`
		}
		if strict(r, &in) != nil || in.Role != t.Role || in.JWT != t.JWT {
			vaultErrors(w, http.StatusForbidden, "permission denied")
			return
		}
		t.login(w)
	default:
		t.authenticated(w, r, path)
	}
}

func (t *Transit) login(w http.ResponseWriter) {
	t.logins++
	reply(w, http.StatusOK, map[string]any{"auth": map[string]any{
		"client_token": t.issue(t.TTL, true), "lease_duration": int(t.TTL.Seconds()), "renewable": true,
	}})
}

func (t *Transit) authenticated(w http.ResponseWriter, r *http.Request, path string) {
	name := r.Header.Get("X-Vault-Token")
	token := t.tokens[name]
	if token == nil || token.ends > 0 && t.elapsed >= token.ends {
		vaultErrors(w, http.StatusForbidden, "permission denied")
		return
	}
	left := 0
	if token.ends > 0 {
		left = int((token.ends - t.elapsed).Seconds())
	}
	switch verb, rest, _ := strings.Cut(strings.TrimPrefix(path, "transit/"), "/"); {
	case path == "auth/token/lookup-self" && r.Method == http.MethodGet:
		reply(w, http.StatusOK, map[string]any{"data": map[string]any{"ttl": left, "renewable": token.renewable}})
	case path == "auth/token/renew-self" && r.Method == http.MethodPost:
		if !token.renewable {
			vaultErrors(w, http.StatusBadRequest, "lease is not renewable")
			return
		}
		token.ends = t.elapsed + t.TTL
		reply(w, http.StatusOK, map[string]any{"auth": map[string]any{"client_token": name, "lease_duration": int(t.TTL.Seconds()), "renewable": true}})
	case !strings.HasPrefix(path, "transit/"):
		vaultErrors(w, http.StatusNotFound, "no handler for route")
	case t.denied || r.Method != http.MethodPost || verb != "encrypt" && verb != "decrypt":
		vaultErrors(w, http.StatusForbidden, "permission denied")
	case verb == "encrypt" && t.keys[rest] == nil:
		// It would make the key, which update alone does not allow.
		vaultErrors(w, http.StatusForbidden, "permission denied")
	case verb == "encrypt":
		t.encrypt(w, r, t.keys[rest])
	default:
		t.decrypt(w, r, t.keys[rest])
	}
}

func (t *Transit) encrypt(w http.ResponseWriter, r *http.Request, versions []key) {
	var in struct {
		Plaintext []byte `json:"plaintext"`
		AAD       []byte `json:"associated_data"`
	}
	if err := strict(r, &in); err != nil || in.Plaintext == nil {
		vaultErrors(w, http.StatusBadRequest, "invalid request")
		return
	}
	if t.IgnoreAAD {
		in.AAD = nil
	}
	version := len(versions)
	sealed := versions[version-1].seal(in.Plaintext, in.AAD)
	reply(w, http.StatusOK, map[string]any{"data": map[string]any{
		"ciphertext": fmt.Sprintf("vault:v%d:%s", version, base64.StdEncoding.EncodeToString(sealed)), "key_version": version,
	}})
}

func (t *Transit) decrypt(w http.ResponseWriter, r *http.Request, versions []key) {
	var in struct {
		Ciphertext string `json:"ciphertext"`
		AAD        []byte `json:"associated_data"`
	}
	if err := strict(r, &in); err != nil {
		vaultErrors(w, http.StatusBadRequest, "invalid request")
		return
	}
	if t.IgnoreAAD {
		in.AAD = nil
	}
	m := transitCiphertext.FindStringSubmatch(in.Ciphertext)
	if m == nil || versions == nil {
		vaultErrors(w, http.StatusBadRequest, "invalid ciphertext: no prefix, or encryption key not found")
		return
	}
	version, err := strconv.Atoi(m[1])
	if version == 0 {
		version = 1 // as the real one reads it
	}
	// The real one decodes leniently too.
	sealed, decodeErr := base64.StdEncoding.DecodeString(m[2])
	if err != nil || decodeErr != nil || version > len(versions) {
		vaultErrors(w, http.StatusBadRequest, "invalid ciphertext")
		return
	}
	plaintext, err := versions[version-1].open(sealed, in.AAD)
	if err != nil {
		vaultErrors(w, http.StatusBadRequest, "cipher: message authentication failed")
		return
	}
	reply(w, http.StatusOK, map[string]any{"data": map[string]any{"plaintext": base64.StdEncoding.EncodeToString(plaintext)}})
}
