package vault_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/secret"
	"gatehouse/internal/vault"
)

var (
	words = secret.New("correct horse battery staple")
	// cheap stretches a passphrase in no time.
	cheap = vault.PassphraseCost{Time: 1, MemoryKiB: 64, Threads: 1}
)

func newPassphraseFile(t testing.TB) (path string, content []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "root.pass")
	if err := vault.CreatePassphraseFile(path, words, cheap); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, content
}

func TestPassphraseFileIsMadeOnceAndForItsOwner(t *testing.T) {
	path, before := newPassphraseFile(t)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if err := vault.CreatePassphraseFile(path, words, cheap); !errors.Is(err, gatehouse.ErrConflict) {
		t.Errorf("second time: %v, want ErrConflict", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the second time changed the file")
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := vault.ReadPassphraseFile(path); !errors.Is(err, gatehouse.ErrDenied) || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("mode 0640: %v, want ErrDenied that says what to do", err)
	}
}

func TestPassphrasesThatAreTooShortOrWrong(t *testing.T) {
	fresh := filepath.Join(t.TempDir(), "root.pass")
	for _, bad := range []string{"", "eleven char", strings.Repeat("x", 1025)} {
		if err := vault.CreatePassphraseFile(fresh, secret.New(bad), cheap); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("a passphrase of %d bytes: %v, want ErrInvalid", len(bad), err)
		}
	}
	// Characters, not bytes, are counted.
	if err := vault.CreatePassphraseFile(fresh, secret.New("zwölf Zeichn"), cheap); err != nil {
		t.Errorf("twelve characters: %v", err)
	}
	path, _ := newPassphraseFile(t)
	sealed, err := vault.ReadPassphraseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "correct horse battery stapl", "correct horse battery staple ", strings.Repeat("x", 1025)} {
		if _, err := sealed.Open(secret.New(bad)); !errors.Is(err, vault.ErrPassphrase) || !errors.Is(err, gatehouse.ErrDenied) {
			t.Errorf("a wrong passphrase: %v, want ErrPassphrase", err)
		}
	}
	root, err := sealed.Open(words)
	if err != nil || root.ID() != sealed.ID() || !strings.HasPrefix(root.ID(), "pass-") {
		t.Fatalf("Open: %v, %v", root, err)
	}
}

// Whoever can write the file must not be able to make a start take all memory, to
// lower what a guess costs unnoticed, or to exchange the key.
func TestPassphraseFilesThatWereChanged(t *testing.T) {
	path, good := newPassphraseFile(t)
	field := func(n int, value string) string {
		header, rest, _ := strings.Cut(string(good), "\n")
		fields := strings.Split(header, " ")
		fields[n] = value
		return strings.Join(fields, " ") + "\n" + rest
	}
	read := func(content string) (*vault.SealedRoot, error) {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return vault.ReadPassphraseFile(path)
	}
	for name, content := range map[string]string{
		"empty": "", "another word": field(0, "gatehouse-passphrase-key-2"), "bad id": field(1, "../x"), "another function": field(2, "scrypt"),
		"no passes": field(3, "0"), "passes for ever": field(3, "65"), "all memory": field(4, "1048577"), "more than fits": field(4, "99999999999"),
		"no memory": field(4, "7"), "many lanes": field(5, "17"), "no lanes": field(5, "0"), "negative": field(3, "-1"),
		"much work":  strings.Replace(field(3, "64"), " 64 64 ", " 64 1048576 ", 1),
		"short salt": field(6, "AAAA"), "salt that is none": field(6, "****"), "no second line": strings.SplitAfter(string(good), "\n")[0],
		"a root key file": "gatehouse-root-key-1 file-x\nAAAA\n", "too long": string(good) + strings.Repeat("A", 5000),
	} {
		if _, err := read(content); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	// What is within bounds is bound into the seal: each bit of the file counts.
	for bit := range 8 * len(bytes.TrimRight(good, "\n")) {
		flipped := bytes.Clone(good)
		flipped[bit/8] ^= 1 << (bit % 8)
		sealed, err := read(string(flipped))
		if err != nil {
			continue
		}
		if _, err := sealed.Open(words); err == nil {
			t.Errorf("bit %d of the file does not count", bit)
		}
	}
}

func TestProbeFindsARootKeyThatDoesNotServe(t *testing.T) {
	root := newRoot(t)
	if detail, err := vault.Probe(t.Context(), root); err != nil || !strings.Contains(detail, "root.key") {
		t.Errorf("%q, %v", detail, err)
	}
	counting := &countingRoot{RootKey: root}
	counting.fail(errAway)
	if _, err := vault.Probe(t.Context(), counting); !errors.Is(err, gatehouse.ErrUnavailable) {
		t.Errorf("out of reach: %v, want ErrUnavailable", err)
	}
	if _, err := vault.Probe(t.Context(), unbound{root}); !errors.Is(err, gatehouse.ErrConflict) {
		t.Errorf("one that binds nothing: %v, want ErrConflict", err)
	}
	if _, err := vault.Probe(t.Context(), changing{root}); !errors.Is(err, gatehouse.ErrConflict) {
		t.Errorf("one that unwraps something else: %v, want ErrConflict", err)
	}
}

// unbound is a root key that ignores what it should bind to.
type unbound struct{ vault.RootKey }

func (u unbound) Wrap(ctx context.Context, plaintext, _ []byte) ([]byte, error) {
	return u.RootKey.Wrap(ctx, plaintext, nil)
}

func (u unbound) Unwrap(ctx context.Context, ciphertext, _ []byte) ([]byte, error) {
	return u.RootKey.Unwrap(ctx, ciphertext, nil)
}

// changing is a root key that unwraps something else than it wrapped.
type changing struct{ vault.RootKey }

func (changing) Unwrap(context.Context, []byte, []byte) ([]byte, error) { return []byte("x"), nil }

func FuzzPassphraseFile(f *testing.F) {
	_, good := newPassphraseFile(f)
	f.Add(good)
	f.Add([]byte("gatehouse-passphrase-key-1 pass-x argon2id 3 65536 4 AAAAAAAAAAAAAAAAAAAAAA==\nAAAA\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		sealed, err := vault.HookTestOnlyParsePassphrase(content)
		if (sealed == nil) == (err == nil) {
			t.Fatalf("%v and error %v", sealed, err)
		}
		if err != nil && !errors.Is(err, gatehouse.ErrInvalid) {
			t.Fatalf("error %v has no kind", err)
		}
	})
}
