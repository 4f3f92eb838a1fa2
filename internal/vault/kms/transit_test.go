package kms_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"
	"gatehouse/internal/vault"
	"gatehouse/internal/vault/kms"
	"gatehouse/internal/vault/kms/kmstest"
)

// transitWith returns a fake and a root key on it that logs in as auth says.
func transitWith(t *testing.T, auth func(f *kmstest.Transit) kms.TransitAuth) (*kmstest.Transit, *kms.Transit) {
	t.Helper()
	f, _ := kmstest.NewTransit(true)
	t.Cleanup(f.Close)
	f.AddKey("root")
	return f, must[*kms.Transit](t)(kms.NewTransit(kms.TransitConfig{Key: f.URL + "/transit/keys/root", Auth: auth(f), Network: local(t, f.CA())}))
}

func wrap(root vault.RootKey, t *testing.T) error {
	t.Helper()
	_, err := root.Wrap(t.Context(), []byte("m"), []byte("p"))
	return err
}

func TestTransitLogsInRenewsAndLogsInAgain(t *testing.T) {
	for name, auth := range map[string]func(f *kmstest.Transit) kms.TransitAuth{
		"approle": func(f *kmstest.Transit) kms.TransitAuth {
			return kms.TransitAuth{RoleID: f.RoleID, SecretID: source(f.SecretID)}
		},
		"kubernetes": func(f *kmstest.Transit) kms.TransitAuth { return kms.TransitAuth{Role: f.Role, JWT: source(f.JWT)} },
	} {
		t.Run(name, func(t *testing.T) {
			f, root := transitWith(t, auth)
			f.TTL = time.Hour
			for range 3 {
				if err := wrap(root, t); err != nil {
					t.Fatal(err)
				}
			}
			if n := f.Logins(); n != 1 {
				t.Errorf("%d logins for three requests, want 1", n)
			}
			// All tokens end: the next request is refused, and a login gives another.
			f.Revoke("")
			if err := wrap(root, t); err != nil || f.Logins() != 2 {
				t.Errorf("after its token was revoked: %v, %d logins, want another", err, f.Logins())
			}
			f.Deny(true)
			if err := wrap(root, t); !errors.Is(err, gatehouse.ErrDenied) || f.Logins() != 3 {
				t.Errorf("denied: %v, %d logins: want ErrDenied after one more", err, f.Logins())
			}
		})
	}
}

// A token is renewed when half of its life is over, so that one which a human made
// does not end while it is used.
func TestTransitTokensAreRenewed(t *testing.T) {
	f, root := transitWith(t, func(f *kmstest.Transit) kms.TransitAuth {
		f.TTL = time.Hour
		return kms.TransitAuth{Token: source(f.AddToken(f.TTL, true))}
	})
	// Seven times 20 minutes are more than its life, and each is less than half of it.
	for i := range 7 {
		if err := wrap(root, t); err != nil {
			t.Fatalf("after %d minutes: %v", 20*i, err)
		}
		f.Pass(20 * time.Minute)
		root.HookTestOnlyPass(20 * time.Minute)
	}
	// One that cannot be renewed serves to its end, and is then refused.
	f, root = transitWith(t, func(f *kmstest.Transit) kms.TransitAuth {
		return kms.TransitAuth{Token: source(f.AddToken(time.Hour, false))}
	})
	for i, want := range []error{nil, nil, gatehouse.ErrDenied} {
		if err := wrap(root, t); !errors.Is(err, want) {
			t.Errorf("a token that cannot be renewed, after %d minutes: %v, want %v", 40*i, err, want)
		}
		f.Pass(40 * time.Minute)
		root.HookTestOnlyPass(40 * time.Minute)
	}
}

func TestTransitTokensThatAreReplacedInTheirFileAreFound(t *testing.T) {
	var token string
	f, root := transitWith(t, func(f *kmstest.Transit) kms.TransitAuth {
		token = f.AddToken(0, false)
		return kms.TransitAuth{Token: func() (secret.Text, error) { return secret.New(token), nil }}
	})
	if err := wrap(root, t); err != nil {
		t.Fatal(err)
	}
	f.Revoke(token)
	err := wrap(root, t)
	if !errors.Is(err, gatehouse.ErrDenied) || !strings.Contains(err.Error(), "transit/encrypt/root") || strings.Contains(err.Error(), token) {
		t.Errorf("an ended token: %v, want ErrDenied that names what to grant", err)
	}
	token = f.AddToken(0, false)
	if err := wrap(root, t); err != nil {
		t.Errorf("the next one in the file: %v", err)
	}
	token = "two\r\nlines"
	f.Revoke("")
	if err := wrap(root, t); !errors.Is(err, gatehouse.ErrInvalid) || strings.Contains(err.Error(), "lines") {
		t.Errorf("a token that cannot stand in a header: %v, want ErrInvalid", err)
	}
}

func TestTransitKeysAreRotatedByTheirServer(t *testing.T) {
	f, root := transitWith(t, func(f *kmstest.Transit) kms.TransitAuth { return kms.TransitAuth{Role: f.Role, JWT: source(f.JWT)} })
	first, err := root.Wrap(t.Context(), []byte("m"), []byte("p"))
	if err != nil || !strings.Contains(root.Detail(), "version 1") {
		t.Fatalf("%v, %q", err, root.Detail())
	}
	f.AddKey("root")
	second, err := root.Wrap(t.Context(), []byte("m"), []byte("p"))
	if err != nil || !strings.Contains(root.Detail(), "version 2") {
		t.Fatalf("%v, %q", err, root.Detail())
	}
	for _, w := range [][]byte{first, second} {
		if got, err := root.Unwrap(t.Context(), w, []byte("p")); err != nil || string(got) != "m" {
			t.Errorf("%s: %q, %v", w[:9], got, err)
		}
	}
	// The version is no part of what is authenticated by our server's cipher: a text
	// that names another one must still not open.
	exchanged := "vault:v2:" + strings.TrimPrefix(string(first), "vault:v1:")
	if _, err := root.Unwrap(t.Context(), []byte(exchanged), []byte("p")); !errors.Is(err, vault.ErrMisfit) {
		t.Errorf("another version: %v, want ErrMisfit", err)
	}
}

// A server from before associated data does not look at it, and would let keys be
// exchanged unnoticed.
func TestAServerThatIgnoresThePlaceIsFound(t *testing.T) {
	f, root := transitWith(t, func(f *kmstest.Transit) kms.TransitAuth { return kms.TransitAuth{Role: f.Role, JWT: source(f.JWT)} })
	if _, err := vault.Probe(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	f.IgnoreAAD = true
	if _, err := vault.Probe(t.Context(), root); !errors.Is(err, gatehouse.ErrConflict) || !strings.Contains(err.Error(), "aes256-gcm96") {
		t.Errorf("Probe: %v, want ErrConflict that says which key to use", err)
	}
}

func TestTransitAnswersThatAreNotItsOwn(t *testing.T) {
	f, root := transitWith(t, func(f *kmstest.Transit) kms.TransitAuth { return kms.TransitAuth{Token: source("t")} })
	for _, body := range []string{
		`{"data":{"ciphertext":"vault:v1:%s","key_version":2}}`, `{"data":{"ciphertext":"vault:v0:%s"}}`, `{"data":{"ciphertext":"%s"}}`,
		`{"data":{}}`, `{}`, `{"data":{"ciphertext":"vault:v1:%s*"}}`,
	} {
		if strings.Contains(body, "%s") {
			body = fmt.Sprintf(body, base64.StdEncoding.EncodeToString([]byte("ciphertext")))
		}
		f.Break(says(200, body))
		if err := wrap(root, t); !errors.Is(err, gatehouse.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", body, err)
		}
	}
	f.Break(says(200, `{"data":{}}`))
	if _, err := root.Unwrap(t.Context(), []byte("vault:v1:QUFBQQ=="), []byte("p")); !errors.Is(err, gatehouse.ErrUnavailable) {
		t.Errorf("no plaintext: %v, want ErrUnavailable", err)
	}
}

func TestTransitConfigurationsThatAreRefused(t *testing.T) {
	good := kms.TransitConfig{Key: "https://vault.example.com:8200/transit/keys/root", Auth: kms.TransitAuth{Token: source("t")}}
	root, err := kms.NewTransit(good)
	if err != nil || root.ID() != "transit:transit/keys/root" {
		t.Fatalf("%v, %v", root, err)
	}
	for name, change := range map[string]func(c *kms.TransitConfig){
		"no host":         func(c *kms.TransitConfig) { c.Key = "/transit/keys/root" },
		"plain http":      func(c *kms.TransitConfig) { c.Key = "http://vault.example.com/transit/keys/root" },
		"no keys":         func(c *kms.TransitConfig) { c.Key = "https://vault.example.com/transit/root" },
		"no name":         func(c *kms.TransitConfig) { c.Key = "https://vault.example.com/transit/keys/" },
		"a path in name":  func(c *kms.TransitConfig) { c.Key = "https://vault.example.com/transit/keys/a/../b" },
		"dots in mount":   func(c *kms.TransitConfig) { c.Key = "https://vault.example.com/a/../sys/keys/b" },
		"a query":         func(c *kms.TransitConfig) { c.Key += "?x=y" },
		"a user":          func(c *kms.TransitConfig) { c.Key = "https://u:p@vault.example.com/transit/keys/root" },
		"bad namespace":   func(c *kms.TransitConfig) { c.Namespace = "a\r\nb" },
		"no login":        func(c *kms.TransitConfig) { c.Auth = kms.TransitAuth{} },
		"two logins":      func(c *kms.TransitConfig) { c.Auth.JWT, c.Auth.Role = source("j"), "r" },
		"no role":         func(c *kms.TransitConfig) { c.Auth = kms.TransitAuth{JWT: source("j")} },
		"no role id":      func(c *kms.TransitConfig) { c.Auth = kms.TransitAuth{SecretID: source("j")} },
		"mount elsewhere": func(c *kms.TransitConfig) { c.Auth.Mount = "../sys" },
	} {
		c := good
		change(&c)
		if _, err := kms.NewTransit(c); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	spaced := good
	spaced.Namespace, spaced.Key = "team/one/", "https://10.0.0.1/deep/mount/keys/root.v2"
	if root, err := kms.NewTransit(spaced); err != nil || root.ID() != "transit:team/one/deep/mount/keys/root.v2" && root.ID() != "transit:team/one//deep/mount/keys/root.v2" {
		t.Errorf("%v, %v", root.ID(), err)
	}
}

func FuzzTransitCiphertext(f *testing.F) {
	f.Add([]byte("vault:v1:QUFBQQ=="))
	f.Add([]byte("vault:v0:QUFBQQ=="))
	f.Add([]byte("vault:v1:QUFBQR=="))
	f.Add([]byte("vault:v1:QUFB\nQQ=="))
	f.Fuzz(func(t *testing.T, b []byte) {
		version, ok := kms.HookTestOnlyParseTransit(b)
		if !ok {
			return
		}
		// There is one spelling of each ciphertext.
		_, encoded, _ := strings.Cut(string(b[len("vault:v"):]), ":")
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || fmt.Sprintf("vault:v%d:%s", version, base64.StdEncoding.EncodeToString(raw)) != string(b) {
			t.Errorf("%q is taken and is not what a server writes", b)
		}
	})
}
