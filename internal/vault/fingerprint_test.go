package vault_test

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"gatehouse/internal/atrest"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"

	"github.com/tink-crypto/tink-go/v2/keyset"
)

// found returns what a search sees in a text.
func found(s *atrest.Search, text []byte) []atrest.What {
	var all []atrest.What
	scanner := s.Scanner(func(m atrest.Match) { all = append(all, m.What) })
	_, _ = scanner.Write(text)
	_ = scanner.Close()
	return all
}

// The root key is found where it may not be: its file's line, its keyset, and the
// raw key as Tink itself says it is. The file's first line alone, or another root
// key, is not found.
func TestRootKeyIsFoundInPlain(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "root.key"), filepath.Join(dir, "other.key")
	for _, p := range []string{path, other} {
		if err := vault.CreateRootKeyFile(p); err != nil {
			t.Fatal(err)
		}
	}
	patterns := atrest.NewPatterns()
	if err := vault.AddRootKeyFile(path, patterns); err != nil {
		t.Fatal(err)
	}
	s := patterns.Search(true)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	header, line, _ := bytes.Cut(content, []byte("\n"))
	material, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(line)))
	if err != nil {
		t.Fatal(err)
	}
	set, err := keyset.NewBinaryReader(bytes.NewReader(material)).Read()
	if err != nil {
		t.Fatal(err)
	}
	value := set.GetKey()[0].GetKeyData().GetValue() // AesGcmKey: field 3, 32 bytes
	if want := []byte{0x1a, 32}; !bytes.Equal(value[:2], want) || len(value) != 34 {
		t.Fatalf("the serialised key begins with %x and has %d bytes", value[:2], len(value))
	}
	for name, text := range map[string][]byte{"the file": content, "its line": line, "the keyset": material, "the key": value[2:]} {
		if got := found(s, text); !slices.Equal(got, []atrest.What{atrest.KeyMaterial}) {
			t.Errorf("%s: found %v, want the key once", name, got)
		}
	}
	another, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"the first line": header, "another root key": another} {
		if got := found(s, text); len(got) != 0 {
			t.Errorf("%s: found %v", name, got)
		}
	}
	for name, content := range map[string]string{"empty": "", "no keyset": string(header) + "\nAAAA\n", "damaged": string(header) + "\n!\n"} {
		bad := filepath.Join(dir, "bad")
		if err := os.WriteFile(bad, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := vault.AddRootKeyFile(bad, atrest.NewPatterns()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Every domain key is found in plain, and none in the rows that hold them wrapped.
func TestDomainKeysAreFoundInPlain(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	patterns := atrest.NewPatterns()
	if err := w.vault.AddKeys(t.Context(), patterns); err != nil {
		t.Fatal(err)
	}
	rows, err := w.db.Vault().DomainKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if patterns.Len() != len(rows) || len(rows) != 4 {
		t.Errorf("%d keys are looked for, want those of %d rows", patterns.Len(), len(rows))
	}
	s := patterns.Search(true)
	for _, row := range rows {
		material, err := w.root.Unwrap(t.Context(), row.Wrapped, vault.HookTestOnlyPlace("gatehouse/domain-key/1", string(row.Environment), string(row.Domain), "\x00\x00\x00\x01"))
		if err != nil {
			t.Fatal(err)
		}
		if got := found(s, material); len(got) != 1 {
			t.Errorf("domain key %s: found %v in plain, want it once", row.Domain, got)
		}
		if got := found(s, row.Wrapped); len(got) != 0 {
			t.Errorf("domain key %s: found %v although it is wrapped", row.Domain, got)
		}
	}
}
