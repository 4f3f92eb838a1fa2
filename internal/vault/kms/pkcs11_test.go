//go:build pkcs11

package kms_test

// A software token (SoftHSM2) is held to the contract. `make test-pkcs11` installs it
// and builds with cgo.

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/vault"
	"gatehouse/internal/vault/kms"
)

const pin = "648219"

// softHSM makes a token with two keys and returns the module's path.
func softHSM(t *testing.T) string {
	t.Helper()
	module := ""
	for _, pattern := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/*/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/opt/homebrew/lib/softhsm/libsofthsm2.so"} {
		if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
			module = found[0]
		}
	}
	if module == "" {
		t.Fatal("SoftHSM2 is not installed: scripts/setup pkcs11")
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	if err := os.WriteFile(conf, []byte("directories.tokendir = "+dir+"\nobjectstore.backend = file\nlog.level = ERROR\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
	}
	run("softhsm2-util", "--init-token", "--free", "--label", "gatehouse", "--pin", pin, "--so-pin", "12345678")
	for i, key := range []string{"one", "two", "twice", "twice"} {
		run("pkcs11-tool", "--module", module, "--token-label", "gatehouse", "--login", "--pin", pin, "--keygen", "--key-type", "AES:32", "--label", key, "--id", "0"+string(rune('1'+i)))
	}
	return module
}

func TestPKCS11(t *testing.T) {
	module := softHSM(t)
	open := func(object, pin string) (vault.RootKey, error) {
		return kms.NewPKCS11(kms.PKCS11Config{Key: "token=gatehouse;object=" + object + "?module-path=" + module, PIN: source(pin)})
	}
	for object, kind := range map[string]error{"none": gatehouse.ErrNotFound, "twice": gatehouse.ErrConflict} {
		if _, err := open(object, pin); !errors.Is(err, kind) {
			t.Errorf("object %s: %v, want %v", object, err, kind)
		}
	}
	if _, err := open("one", "111111"); !errors.Is(err, gatehouse.ErrDenied) || strings.Contains(err.Error(), "111111") {
		t.Errorf("a wrong PIN: %v, want ErrDenied", err)
	}
	if _, err := kms.NewPKCS11(kms.PKCS11Config{Key: "token=other;object=one?module-path=" + module, PIN: source(pin)}); !errors.Is(err, gatehouse.ErrUnavailable) {
		t.Errorf("no such token: %v, want ErrUnavailable", err)
	}
	one, err := open("one", pin)
	if err != nil {
		t.Fatal(err)
	}
	contract(t, one, must[vault.RootKey](t)(open("two", pin)))
}
