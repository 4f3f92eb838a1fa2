package vault_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"
)

// blocks reads a file of "name: value" lines in blocks with empty lines between.
func blocks(t *testing.T, path string) []map[string]string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	var all []map[string]string
	block := map[string]string{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		name, value, found := strings.Cut(lines.Text(), ": ")
		if found {
			block[name] = value
		} else if strings.TrimSpace(lines.Text()) == "" && len(block) > 0 {
			all, block = append(all, block), map[string]string{}
		}
	}
	if len(block) > 0 {
		all = append(all, block)
	}
	return all
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The vectors were made by testdata/vectors.mjs, which shares nothing with this
// package.
func TestSealedRecordVectors(t *testing.T) {
	vectors := blocks(t, "testdata/sealed-record.txt")
	if len(vectors) < 20 {
		t.Fatalf("%d vectors, want all of them", len(vectors))
	}
	for _, vector := range vectors {
		t.Run(vector["name"], func(t *testing.T) {
			ref := vault.Ref{Table: vector["table"], Row: vector["row"], Column: vector["column"], Person: gatehouse.PersonID(vector["person"])}
			got, err := vault.HookTestOnlyOpenRecord(unhex(t, vector["key"]), gatehouse.Environment(vector["environment"]), ref, unhex(t, vector["sealed"]))
			switch vector["expect"] {
			case "opens":
				if want := unhex(t, vector["plaintext"]); err != nil || !bytes.Equal(got, want) {
					t.Errorf("opens to %q, %v; want %q", got, err, want)
				}
			case "unreadable":
				if !errors.Is(err, vault.ErrUnreadable) || got != nil {
					t.Errorf("opens to %q, %v; want ErrUnreadable", got, err)
				}
			default:
				t.Errorf("unknown expectation %q", vector["expect"])
			}
		})
	}
}

// A whole vault of an earlier day must open with today's code: root key file,
// domain keys, person's key, records.
func TestVaultOfAnEarlierDayOpens(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		db := storetest.Open(t, dsn)
		content, err := os.ReadFile("testdata/earlier-root.txt")
		if err != nil {
			t.Fatal(err)
		}
		root, err := vault.HookTestOnlyParseRootKey(content)
		if err != nil {
			t.Fatal(err)
		}
		var records []map[string]string
		for _, block := range blocks(t, "testdata/earlier-vault.txt") {
			switch block["kind"] {
			case "domain":
				err = db.Vault().AddDomainKeys(t.Context(), []vault.DomainKey{{
					Domain: vault.Domain(block["domain"]), Version: 1, State: vault.Active, Environment: production,
					Root: root.ID(), Wrapped: unhex(t, block["wrapped"]), Created: time.Now(),
				}})
			case "person":
				err = db.Vault().AddPersonKey(t.Context(), vault.PersonKey{
					Person: gatehouse.PersonID(block["person"]), Version: 1, State: vault.Active,
					DomainVersion: 1, Wrapped: unhex(t, block["wrapped"]), Created: time.Now(),
				})
			default:
				records = append(records, block)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		v, err := vault.Open(t.Context(), vault.Config{Root: root, Store: db.Vault(), Environment: production})
		if err != nil {
			t.Fatalf("Open: %v", err)
		}
		receipt := (&world{t: t, log: openLog(t, db, v)}).receipt()
		if len(records) != 5 {
			t.Fatalf("%d records, want 5", len(records))
		}
		for _, block := range records {
			person, sealed := gatehouse.PersonID(block["person"]), unhex(t, block["sealed"])
			var got string
			switch block["kind"] {
			case "record":
				text, openErr := v.Open(t.Context(), receipt, refOf(person), sealed)
				got, err = text.Reveal(), openErr
			case "field":
				text, openErr := v.OpenPersonal(t.Context(), person, "entry/1", sealed)
				got, err = string(text), openErr
			case "derived":
				text, deriveErr := v.Derive(t.Context(), "label", "part")
				got, err = text.Reveal(), deriveErr
			}
			if err != nil || got != block["plaintext"] {
				t.Errorf("%s of %q opens to %q, %v; want %q", block["kind"], person, got, err, block["plaintext"])
			}
		}
	})
}

func FuzzSealedRecord(f *testing.F) {
	key := bytes.Repeat([]byte{7}, 32)
	ref := refOf("ADA")
	good, err := vault.HookTestOnlySealRecord(key, production, ref, []byte(token))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:20])
	f.Add([]byte{1, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, sealed []byte) {
		got, err := vault.HookTestOnlyOpenRecord(key, production, ref, sealed)
		if err == nil && string(got) != token {
			t.Fatalf("a record that was never sealed opens to %q", got)
		}
		for _, format := range []byte{1, 2} {
			version, body, err := vault.HookTestOnlyParseSealed(sealed, format)
			if err == nil && (version == 0 || len(body) != len(sealed)-5) {
				t.Fatalf("parsed to version %d and %d bytes", version, len(body))
			}
		}
	})
}

func TestPlacesAreUnambiguous(t *testing.T) {
	seen := map[string][]string{}
	for _, parts := range [][]string{{}, {""}, {"", ""}, {"a"}, {"a", ""}, {"", "a"}, {"ab"}, {"a", "b"}, {"\x00\x00\x00\x01a"}, {"a", "\x00\x00\x00\x00"}} {
		for _, kind := range []string{"k", "k\x00\x00\x00\x00"} {
			encoded := string(vault.HookTestOnlyPlace(kind, parts...))
			if other, ok := seen[encoded]; ok {
				t.Errorf("%q and %q are encoded alike", other, parts)
			}
			seen[encoded] = parts
		}
	}
}
