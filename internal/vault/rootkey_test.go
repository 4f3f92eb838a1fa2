package vault_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/vault"
)

func TestRootKeyFileIsMadeOnceAndForItsOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	if _, err := vault.NewFileRootKey(path); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("without a file: %v, want ErrNotFound", err)
	}
	if err := vault.CreateRootKeyFile(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	before, _ := os.ReadFile(path)
	if err := vault.CreateRootKeyFile(path); !errors.Is(err, gatehouse.ErrConflict) {
		t.Errorf("second time: %v, want ErrConflict", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the second time changed the file")
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o601, 0o660, 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := vault.NewFileRootKey(path); !errors.Is(err, gatehouse.ErrDenied) || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %04o: %v, want ErrDenied that says what to do", mode, err)
		}
	}
	for _, mode := range []os.FileMode{0o400, 0o600} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := vault.NewFileRootKey(path); err != nil {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	if _, err := vault.NewFileRootKey(t.TempDir()); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("a directory: %v, want ErrInvalid", err)
	}
	if err := vault.CreateRootKeyFile(filepath.Join(t.TempDir(), "missing", "root.key")); err == nil {
		t.Error("a key was made in a directory that does not exist")
	}
}

// Whoever looks while a root key is made, such as an init after one that was
// killed, sees no file or all of it.
func TestRootKeyFileAppearsWhole(t *testing.T) {
	dir := t.TempDir()
	for i := range 50 {
		path := filepath.Join(dir, strconv.Itoa(i))
		made := make(chan error, 1)
		go func() { made <- vault.CreateRootKeyFile(path) }()
		for waiting := true; waiting; {
			select {
			case err := <-made:
				if err != nil {
					t.Fatal(err)
				}
				waiting = false
			default:
			}
			if _, err := vault.NewFileRootKey(path); err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
				t.Fatalf("while it is made: %v", err)
			}
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); len(left) != 0 || err != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestRootKeyOfAnotherUserIsNotTrusted(t *testing.T) {
	for _, c := range []struct {
		owner uint32
		euid  int
		want  bool
	}{{1000, 1000, true}, {0, 1000, true}, {0, 0, true}, {1001, 1000, false}, {1000, 0, false}} {
		if got := vault.HookTestOnlyOwnerTrusted(c.owner, c.euid); got != c.want {
			t.Errorf("file of user %d, process of user %d: %v, want %v", c.owner, c.euid, got, c.want)
		}
	}
}

func TestDamagedRootKeyFilesAreNamedAndNotRepeated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	if err := vault.CreateRootKeyFile(path); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	header, material, _ := strings.Cut(strings.TrimSpace(string(good)), "\n")
	for name, content := range map[string]string{
		"empty":            "",
		"no header":        material,
		"another header":   "gatehouse-root-key-9 file-x\n" + material,
		"no id":            "gatehouse-root-key-1\n" + material,
		"bad id":           "gatehouse-root-key-1 a b\n" + material,
		"no material":      header + "\n",
		"cut material":     header + "\n" + material[:len(material)/2-1],
		"not base64":       header + "\n" + "*" + material[1:],
		"not a keyset":     header + "\nAAAA" + material[4:],
		"half a keyset":    header + "\n" + material[:len(material)/8*4],
		"something behind": header + "\n" + material + "\n" + material,
		"too long":         header + "\n" + strings.Repeat(material, 100),
	} {
		damaged := filepath.Join(t.TempDir(), "damaged.key")
		if err := os.WriteFile(damaged, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := vault.NewFileRootKey(damaged)
		if !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
			continue
		}
		for start := 0; start+12 <= len(material); start += 4 {
			if strings.Contains(err.Error(), material[start:start+12]) {
				t.Errorf("%s: the error repeats material", name)
			}
		}
	}
}

func TestRootKeyUnwrapsOnlyItsOwn(t *testing.T) {
	one, two := newRoot(t), newRoot(t)
	if one.ID() == two.ID() {
		t.Errorf("two root keys have the same name %q", one.ID())
	}
	wrapped, err := one.Wrap(t.Context(), []byte("material"), []byte("place"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := one.Unwrap(t.Context(), wrapped, []byte("place")); err != nil || string(got) != "material" {
		t.Errorf("Unwrap = %q, %v", got, err)
	}
	wrapped[len(wrapped)-1] ^= 1
	if _, err := one.Unwrap(t.Context(), wrapped, []byte("place")); err == nil {
		t.Error("a changed ciphertext unwraps")
	}
	wrapped[len(wrapped)-1] ^= 1
	if _, err := one.Unwrap(t.Context(), wrapped, []byte("elsewhere")); err == nil {
		t.Error("another context unwraps")
	}
	if _, err := two.Unwrap(t.Context(), wrapped, []byte("place")); err == nil {
		t.Error("another root key unwraps")
	}
}

func FuzzRootKeyFile(f *testing.F) {
	path := filepath.Join(f.TempDir(), "root.key")
	if err := vault.CreateRootKeyFile(path); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("gatehouse-root-key-1 file-x\nAAAA\n"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		key, err := vault.HookTestOnlyParseRootKey(content)
		if (key == nil) == (err == nil) {
			t.Fatalf("key %v and error %v", key, err)
		}
		if err != nil && !errors.Is(err, gatehouse.ErrInvalid) {
			t.Fatalf("error %v has no kind", err)
		}
	})
}
