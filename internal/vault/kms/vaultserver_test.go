//go:build vaultserver

package kms_test

// A real Vault server, built by `make test-vault`, is held to the same contract.

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"
	"gatehouse/internal/vault/kms"
)

// realVault is a Vault server in development mode, with a transit engine.
type realVault struct {
	t   testing.TB
	url string
}

const rootToken = "root-of-a-test"

func startVault(t testing.TB) *realVault {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	server := exec.Command(os.Getenv("GATEHOUSE_VAULT_SERVER"), "server", "-dev", "-dev-root-token-id="+rootToken, "-dev-listen-address="+addr, "-dev-no-store-token")
	var out bytes.Buffer
	server.Stdout, server.Stderr = &out, &out
	server.Env = append(os.Environ(), "HOME="+t.TempDir())
	if err := server.Start(); err != nil {
		t.Fatalf("starting Vault (make test-vault builds it): %v", err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		if t.Failed() {
			t.Log(out.String())
		}
	})
	v := &realVault{t, "http://" + addr}
	for range 300 {
		if reply, err := http.Get(v.url + "/v1/sys/health"); err == nil {
			reply.Body.Close()
			if reply.StatusCode == http.StatusOK {
				v.ask("POST", "sys/mounts/transit", `{"type":"transit"}`, nil)
				return v
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("Vault does not come up\n%s", out.String())
	return nil
}

// ask is the administrator's hand.
func (v *realVault) ask(method, path, body string, into any) {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), method, v.url+"/v1/"+path, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("X-Vault-Token", rootToken)
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer reply.Body.Close()
	b, err := io.ReadAll(reply.Body)
	if err != nil || reply.StatusCode >= 300 {
		v.t.Fatalf("%s %s: %d %s %v", method, path, reply.StatusCode, b, err)
	}
	if into != nil {
		if err := json.Unmarshal(b, into); err != nil {
			v.t.Fatal(err)
		}
	}
}

func (v *realVault) root(name string, auth kms.TransitAuth) *kms.Transit {
	v.t.Helper()
	return must[*kms.Transit](v.t)(kms.NewTransit(kms.TransitConfig{
		Key: v.url + "/transit/keys/" + name, Auth: auth,
	}))
}

// policy is what docs/keys.md tells operators to grant.
const policy = `{"policy":"path \"transit/encrypt/one\" { capabilities = [\"update\"] }\npath \"transit/decrypt/one\" { capabilities = [\"update\"] }"}`

func TestRealVault(t *testing.T) {
	v := startVault(t)
	admin := kms.TransitAuth{Token: source(rootToken)}
	for _, kind := range []string{"aes256-gcm96", "aes128-gcm96", "chacha20-poly1305"} {
		t.Run(kind, func(t *testing.T) {
			for _, name := range []string{"one-", "two-"} {
				v.ask("POST", "transit/keys/"+name+kind, `{"type":"`+kind+`"}`, nil)
			}
			contract(t, v.root("one-"+kind, admin), v.root("two-"+kind, admin))
		})
	}
	t.Run("keys that do not bind", func(t *testing.T) {
		v.ask("POST", "transit/keys/rsa", `{"type":"rsa-2048"}`, nil)
		v.ask("POST", "transit/keys/derived", `{"type":"aes256-gcm96","derived":true}`, nil)
		for _, name := range []string{"rsa", "derived"} {
			_, err := vault.Probe(t.Context(), v.root(name, admin))
			if err == nil || gatehouse.Kind(err) == gatehouse.ErrUnavailable {
				t.Errorf("%s: %v, want a refusal", name, err)
			}
			t.Logf("%s: %v", name, err)
		}
	})
	t.Run("least privilege by AppRole", func(t *testing.T) {
		v.ask("POST", "transit/keys/one", `{}`, nil)
		v.ask("POST", "transit/keys/two", `{}`, nil)
		v.ask("POST", "sys/policies/acl/gatehouse", policy, nil)
		v.ask("POST", "sys/auth/approle", `{"type":"approle"}`, nil)
		v.ask("POST", "auth/approle/role/gatehouse", `{"token_policies":["gatehouse"],"token_ttl":"2s","token_max_ttl":"10m"}`, nil)
		var role struct {
			Data struct {
				RoleID string `json:"role_id"`
			}
		}
		v.ask("GET", "auth/approle/role/gatehouse/role-id", "", &role)
		var id struct {
			Data struct {
				SecretID string `json:"secret_id"`
			}
		}
		v.ask("POST", "auth/approle/role/gatehouse/secret-id", `{}`, &id)
		auth := kms.TransitAuth{RoleID: role.Data.RoleID, SecretID: source(id.Data.SecretID)}
		root := v.root("one", auth)
		// Its tokens live for two seconds: this renews them and logs in again.
		for range 5 {
			if detail, err := vault.Probe(t.Context(), root); err != nil || !strings.Contains(detail, "version 1") {
				t.Fatal(detail, err)
			}
			time.Sleep(900 * time.Millisecond)
		}
		time.Sleep(3 * time.Second)
		if _, err := vault.Probe(t.Context(), root); err != nil {
			t.Errorf("after its token ended: %v", err)
		}
		refuses(t, "a key that the policy does not grant", wrap(v.root("two", auth), t), gatehouse.ErrDenied, "transit/encrypt/two")
		refuses(t, "a key that does not exist", wrap(v.root("three", auth), t), gatehouse.ErrDenied)
		refuses(t, "a secret id that does not exist", wrap(v.root("one", kms.TransitAuth{RoleID: role.Data.RoleID, SecretID: source("x")}), t), gatehouse.ErrDenied, "approle")
		refuses(t, "a token that does not exist", wrap(v.root("one", kms.TransitAuth{Token: source("hvs.x")}), t), gatehouse.ErrDenied)
		v.ask("POST", "transit/keys/one/rotate", ``, nil)
		if detail, err := vault.Probe(t.Context(), root); err != nil || !strings.Contains(detail, "version 2") {
			t.Error(detail, err)
		}
		v.ask("POST", "sys/seal", ``, nil)
		refuses(t, "a sealed server", wrap(root, t), gatehouse.ErrUnavailable, "sealed")
	})
}

// BenchmarkBesideTransit seals 100 values of 1 KiB in our vault, on a database, and in
// Vault's transit engine over loopback: in one request with a batch, which is how its
// users do it, and one by one.
func BenchmarkBesideTransit(b *testing.B) {
	const n, size = 100, 1 << 10
	path := filepath.Join(b.TempDir(), "root.key")
	if err := vault.CreateRootKeyFile(path); err != nil {
		b.Fatal(err)
	}
	db := storetest.Open(b, storetest.SQLite(b))
	config := vault.Config{Root: must[vault.RootKey](b)(vault.NewFileRootKey(path)), Store: db.Vault(), Environment: "development"}
	if err := vault.Init(b.Context(), config); err != nil {
		b.Fatal(err)
	}
	ours := must[*vault.Vault](b)(vault.Open(b.Context(), config))
	defer ours.Close()
	place := vault.Place{Person: must[gatehouse.PersonID](b)(ours.NewPerson(b.Context())), Parts: []string{"publish", "email"}}
	plain := bytes.Repeat([]byte{7}, size)
	b.Run("gatehouse", func(b *testing.B) {
		b.SetBytes(n * size)
		for b.Loop() {
			batch := ours.Batch()
			for range n {
				if _, err := batch.Seal(b.Context(), nil, place, plain); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	v := startVault(b)
	v.ask("POST", "transit/keys/bench", `{"type":"aes256-gcm96"}`, nil)
	item := `{"plaintext":"` + base64.StdEncoding.EncodeToString(plain) + `"}`
	b.Run("transit, one request", func(b *testing.B) {
		body := `{"batch_input":[` + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + `]}`
		b.SetBytes(n * size)
		for b.Loop() {
			v.ask("POST", "transit/encrypt/bench", body, nil)
		}
	})
	b.Run("transit, one by one", func(b *testing.B) {
		b.SetBytes(n * size)
		for b.Loop() {
			for range n {
				v.ask("POST", "transit/encrypt/bench", item, nil)
			}
		}
	})
}
