package factor_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"gatehouse"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/secret"

	"golang.org/x/crypto/argon2"
)

func passwords(t *testing.T, c factor.PasswordConfig) *factor.Passwords {
	t.Helper()
	p, err := factor.NewPasswords(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPasswordIsTheOneThatWasSet(t *testing.T) {
	p := passwords(t, factor.PasswordConfig{})
	good := secret.New("correct horse é battery")
	hash, err := p.Hash(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	if other, err := p.Hash(t.Context(), good); err != nil || other == hash {
		t.Errorf("two hashes of one password are equal: %v", err)
	}
	if !strings.HasPrefix(string(hash), "$argon2id$v=19$m=47104,t=1,p=1$") || strings.Contains(string(hash), "horse") {
		t.Error("the hash is not a PHC string of the parameters we promise")
	}
	for name, typed := range map[string]string{
		"itself": "correct horse é battery", "decomposed": "correct horse e\u0301 battery", "another space": "correct\u00a0horse é\u2003battery",
	} {
		if stale, err := p.Verify(t.Context(), hash, secret.New(typed)); err != nil || stale {
			t.Errorf("%s: stale %v, %v", name, stale, err)
		}
	}
	for name, typed := range map[string]string{
		"nothing": "", "a letter less": "correct horse é batter", "another case": "Correct horse é battery", "one more": "correct horse é battery ",
		"not UTF-8": "correct horse \xe9 battery", "too long": strings.Repeat("x", factor.MaxPassword+1),
	} {
		if _, err := p.Verify(t.Context(), hash, secret.New(typed)); !errors.Is(err, factor.ErrWrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := p.Waste(t.Context(), good); !errors.Is(err, factor.ErrWrong) {
		t.Errorf("the password of nobody: %v", err)
	}
}

// A second opinion on the PHC string: its parts, and the library called with them.
func TestHashIsWhatItSays(t *testing.T) {
	hash, err := passwords(t, factor.PasswordConfig{}).Hash(t.Context(), secret.New("correct horse battery"))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(hash), "$")
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	key, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err := errors.Join(err1, err2); err != nil || len(salt) != 16 || len(key) != 32 {
		t.Fatalf("salt of %d bytes, key of %d, %v", len(salt), len(key), err)
	}
	if want := argon2.IDKey([]byte("correct horse battery"), salt, 1, 46<<10, 1, 32); string(want) != string(key) {
		t.Error("the key is another")
	}
}

func TestPasswordsThatMayNotBeSet(t *testing.T) {
	p := passwords(t, factor.PasswordConfig{})
	for name, test := range map[string]struct{ bad, near string }{
		"short":             {"elevenchars", "twelve chars"},
		"short in letters":  {"éééééüüüüüü", "éééééüüüüüüü"},
		"long":              {strings.Repeat("ab", factor.MaxPassword/2) + "c", strings.Repeat("ab", factor.MaxPassword/2)},
		"one letter":        {strings.Repeat("a", 20), strings.Repeat("a", 19) + "b"},
		"not UTF-8":         {"twelve chars \xff", "twelve chars ÿ"},
		"control character": {"twelve chars \x00", "twelve chars 0"},
		"new line":          {"twelve chars\n", "twelve chars "},
		"short when made NFC": {
			strings.Repeat("e\u0301", 11), strings.Repeat("e\u0301", 11) + "x",
		},
	} {
		var refusal *factor.PasswordError
		if err := p.Acceptable(secret.New(test.bad)); !errors.As(err, &refusal) || !errors.Is(err, gatehouse.ErrInvalid) || strings.Contains(err.Error(), test.bad) {
			t.Errorf("%s: %v", name, err)
		}
		if hash, err := p.Hash(t.Context(), secret.New(test.bad)); err == nil || hash != "" {
			t.Errorf("%s is hashed", name)
		}
		if err := p.Acceptable(secret.New(test.near)); err != nil {
			t.Errorf("near miss of %s: %v", name, err)
		}
	}
}

func TestStoredHashesOutOfBounds(t *testing.T) {
	p := passwords(t, factor.PasswordConfig{})
	salt, key := base64.RawStdEncoding.EncodeToString(make([]byte, 16)), base64.RawStdEncoding.EncodeToString(make([]byte, 32))
	form := func(parameters string) string {
		return fmt.Sprintf("$argon2id$v=19$%s$%s$%s", parameters, salt, key)
	}
	for _, hash := range []string{
		"", "x", "$2a$10$abcdefghijklmnopqrstuv", strings.Replace(form("m=64,t=1,p=1"), "argon2id", "argon2i", 1), strings.Replace(form("m=64,t=1,p=1"), "v=19", "v=16", 1),
		form("m=1000000,t=1,p=1"), form("m=64,t=1000,p=1"), form("m=64,t=1,p=255"), form("m=0,t=1,p=1"), form("m=64,t=0,p=1"), form("m=064,t=1,p=1"), form("m=64,t=1"),
		form("t=1,m=64,p=1"), form("m=64,t=1,p=1,x=1"), form("m=7,t=1,p=1"), form("m=64,t=1,p=1") + "$", strings.Replace(form("m=64,t=1,p=1"), salt, "AAAA", 1),
		strings.Replace(form("m=64,t=1,p=1"), key, "AAAA", 1), form("m=64,t=1,p=1") + "=", strings.Replace(form("m=64,t=1,p=1"), key, strings.Repeat("A", 200), 1),
	} {
		if _, err := p.Verify(t.Context(), factor.PasswordHash(hash), secret.New("twelve chars")); err == nil || gatehouse.Kind(err) != nil {
			t.Errorf("%q: %v; want an error of our own making", hash, err)
		}
	}
	if stale, err := p.Verify(t.Context(), factor.PasswordHash(form("m=64,t=1,p=1")), secret.New("twelve chars")); stale || !errors.Is(err, factor.ErrWrong) {
		t.Errorf("near miss: %v", err)
	}
}

func TestWeakHashIsStale(t *testing.T) {
	p := passwords(t, factor.PasswordConfig{})
	salt := make([]byte, 16)
	for parameters, m := range map[string]uint32{"m=1024,t=1,p=1": 1024, "m=47104,t=1,p=1": 47104} {
		key := argon2.IDKey([]byte("twelve chars"), salt, 1, m, 1, 32)
		hash := fmt.Sprintf("$argon2id$v=19$%s$%s$%s", parameters, base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
		stale, err := p.Verify(t.Context(), factor.PasswordHash(hash), secret.New("twelve chars"))
		if err != nil || stale != (m < 47104) {
			t.Errorf("%s: stale %v, %v", parameters, stale, err)
		}
	}
}

func TestOnlySoManyHashesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := passwords(t, factor.PasswordConfig{Hashes: 1})
		release := factor.HoldTurn(p)
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		outcomes := make(chan error, 64)
		const places = 16 // one turn, held above, and sixteen that wait
		for range places {
			group.Go(func() { outcomes <- p.Waste(ctx, secret.New("twelve chars")) })
		}
		synctest.Wait()
		if err := p.Waste(ctx, secret.New("twelve chars")); !errors.Is(err, factor.ErrBusy) || !errors.Is(err, gatehouse.ErrLimited) {
			t.Errorf("one more than there is room for: %v", err)
		}
		cancel()
		group.Wait()
		for range places {
			if err := <-outcomes; !errors.Is(err, context.Canceled) {
				t.Errorf("who waited and left: %v", err)
			}
		}
		release()
		if err := p.Waste(ctx, secret.New("twelve chars")); !errors.Is(err, context.Canceled) {
			t.Errorf("who left before: %v", err)
		}
		if err := p.Waste(t.Context(), secret.New("twelve chars")); !errors.Is(err, factor.ErrWrong) {
			t.Errorf("when there is room again: %v", err)
		}
	})
}

func FuzzStoredHash(f *testing.F) {
	p, err := factor.NewPasswords(factor.PasswordConfig{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$argon2id$v=19$m=,t=,p=$$")
	f.Fuzz(func(t *testing.T, hash string) {
		if strings.Count(hash, "m=") == 1 && !strings.Contains(hash, "m=8,") {
			return // not one that takes long
		}
		if _, err := p.Verify(t.Context(), factor.PasswordHash(hash), secret.New("twelve chars")); err == nil {
			t.Errorf("%q is the hash of a password that was never set", hash)
		}
	})
}
