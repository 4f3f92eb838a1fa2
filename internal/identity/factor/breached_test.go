package factor_test

import (
	"crypto/sha1" //nolint:gosec // the form of the lists
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/secret"
)

func list(t *testing.T, text string) (*factor.Breached, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := factor.OpenBreached(path)
	if err == nil {
		t.Cleanup(func() { _ = b.Close() })
	}
	return b, err
}

func TestEveryLineOfAListIsFound(t *testing.T) {
	var words, upper, lower []string
	for i := range 700 {
		word := fmt.Sprintf("word number %d %s", i*i*7919%1000003, strings.Repeat("x", i%50))
		sum := sha1.Sum([]byte(word)) //nolint:gosec // see the import
		words = append(words, word)
		lower = append(lower, hex.EncodeToString(sum[:]))
		upper = append(upper, strings.ToUpper(hex.EncodeToString(sum[:]))+fmt.Sprintf(":%d", i))
	}
	all := slices.Clone(words)
	for _, l := range [][]string{words, upper, lower} {
		slices.Sort(l)
	}
	for name, text := range map[string]string{
		"words": strings.Join(words, "\n") + "\n", "words without a last end": strings.Join(words, "\n"), "words of Windows": strings.Join(words, "\r\n") + "\r\n",
		"hashes": strings.Join(upper, "\n") + "\n", "hashes in lower case": strings.Join(lower, "\n"), "hashes of Windows": strings.Join(upper, "\r\n"),
		"an empty line first": "\n" + strings.Join(words, "\n"),
	} {
		b, err := list(t, text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, word := range all {
			if found, err := b.Holds(word); err != nil || !found {
				t.Fatalf("%s: %q is not found, %v", name, word, err)
			}
			for _, near := range []string{word + "y", word[:len(word)-1], "!" + word, "~" + word} {
				if found, err := b.Holds(near); err != nil || found && !slices.Contains(all, near) {
					t.Fatalf("%s: %q is found, %v", name, near, err)
				}
			}
		}
		if found, err := b.Holds(strings.ToUpper(all[0])); err != nil || !found {
			t.Errorf("%s: in capitals, found %v, %v", name, found, err)
		}
	}
}

func TestPasswordsOfTheListAreRefused(t *testing.T) {
	b, err := list(t, "correct horse battery\npassword1234\n")
	if err != nil {
		t.Fatal(err)
	}
	p := passwords(t, factor.PasswordConfig{Breached: b})
	var refusal *factor.PasswordError
	if _, err := p.Hash(t.Context(), secret.New("Password1234")); !errors.As(err, &refusal) || !strings.Contains(err.Error(), "others know") {
		t.Errorf("a password that others know: %v", err)
	}
	if err := p.Acceptable(secret.New("password12345")); err != nil {
		t.Errorf("near miss: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	// A list that is gone does not let everything through.
	if err := p.Acceptable(secret.New("password12345")); err == nil || gatehouse.Kind(err) != nil {
		t.Errorf("without the list: %v", err)
	}
}

func TestListsThatAreRefused(t *testing.T) {
	one, two := strings.Repeat("0", 40), strings.Repeat("1", 40)
	for name, test := range map[string]struct{ bad, near string }{
		"empty":              {"", "a"},
		"not in order":       {"b\na\n", "a\nb\n"},
		"hashes, not sorted": {two + ":9\n" + one + ":3\n", one + ":3\n" + two + ":9\n"},
		"hashes, then words": {one + "\nzebra\n", one + "\n" + two + "\n"},
		"an endless line":    {strings.Repeat("a", 1025) + "\nb\n", strings.Repeat("a", 1023) + "\nb\n"},
	} {
		if b, err := list(t, test.bad); err == nil {
			t.Errorf("%s: opened", name)
			_ = b.Close()
		}
		if _, err := list(t, test.near); err != nil {
			t.Errorf("near miss of %s: %v", name, err)
		}
	}
	if _, err := factor.OpenBreached(t.TempDir()); err == nil {
		t.Error("a directory is opened as a list")
	}
	if _, err := factor.OpenBreached(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a list that does not exist is opened")
	}
}
