package vault_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"
)

const token = "canary-platform-token-5b1f0c7a"

func refOf(person gatehouse.PersonID) vault.Ref {
	return vault.Ref{Table: "connections", Row: "c1", Column: "access_token", Person: person}
}

func TestSealedTokenOpensInItsPlaceOnly(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ada, bob := w.person(), w.person()
		home := refOf(ada)
		sealed := w.seal(home, token)

		// Another process opens it too.
		got, err := w.open().Open(t.Context(), w.receipt(), home, sealed)
		if err != nil || got.Reveal() != token {
			t.Fatalf("Open = %q, %v; want the token", got.Reveal(), err)
		}
		for name, ref := range map[string]vault.Ref{
			"another table":  {Table: "imports", Row: "c1", Column: "access_token", Person: ada},
			"another row":    {Table: "connections", Row: "c2", Column: "access_token", Person: ada},
			"another column": {Table: "connections", Row: "c1", Column: "refresh_token", Person: ada},
			"another person": refOf(bob),
			"no person":      refOf(""),
			"shifted border": {Table: "connectionsc", Row: "1", Column: "access_token", Person: ada},
			"unknown person": refOf("nobody"),
		} {
			if got, err := w.vault.Open(t.Context(), w.receipt(), ref, sealed); !errors.Is(err, vault.ErrUnreadable) || !got.IsZero() {
				t.Errorf("moved to %s: Open = %v, want ErrUnreadable and nothing", name, err)
			}
		}
	})
}

func TestNothingOpensWithoutAReceipt(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	ref := refOf(w.person())
	sealed := w.seal(ref, token)
	got, err := w.vault.Open(t.Context(), audit.Receipt{}, ref, sealed)
	if !errors.Is(err, gatehouse.ErrDenied) || !got.IsZero() {
		t.Errorf("Open without a receipt = %v, want ErrDenied and nothing", err)
	}
}

func TestRefsMustNameAPlace(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	for _, ref := range []vault.Ref{{Row: "r", Column: "c"}, {Table: "t", Column: "c"}, {Table: "t", Row: "r"}} {
		if _, err := w.vault.Seal(t.Context(), ref, secret.New(token)); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("Seal at %+v: %v, want ErrInvalid", ref, err)
		}
		if _, err := w.vault.Open(t.Context(), w.receipt(), ref, nil); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("Open at %+v: %v, want ErrInvalid", ref, err)
		}
	}
}

func TestEveryFlippedBitAndEveryCutIsNoticed(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	for name, ref := range map[string]vault.Ref{"person": refOf(w.person()), "no person": refOf("")} {
		sealed, receipt := w.seal(ref, token), w.receipt()
		for bit := range len(sealed) * 8 {
			changed := append([]byte(nil), sealed...)
			changed[bit/8] ^= 1 << (bit % 8)
			if _, err := w.vault.Open(t.Context(), receipt, ref, changed); !errors.Is(err, vault.ErrUnreadable) {
				t.Fatalf("%s: bit %d flipped: %v, want ErrUnreadable", name, bit, err)
			}
		}
		for length := range len(sealed) {
			if _, err := w.vault.Open(t.Context(), receipt, ref, sealed[:length]); !errors.Is(err, vault.ErrUnreadable) {
				t.Fatalf("%s: cut to %d bytes: %v, want ErrUnreadable", name, length, err)
			}
		}
		if _, err := w.vault.Open(t.Context(), receipt, ref, append(sealed, 0)); !errors.Is(err, vault.ErrUnreadable) {
			t.Errorf("%s: one byte added: %v, want ErrUnreadable", name, err)
		}
		if got, err := w.vault.Open(t.Context(), receipt, ref, sealed); err != nil || got.Reveal() != token {
			t.Errorf("%s: unchanged: %v", name, err)
		}
	}
}

func TestSealingTwiceShowsNoEquality(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	ref := refOf(w.person())
	first, second := w.seal(ref, token), w.seal(ref, token)
	if string(first) == string(second) {
		t.Error("the same token sealed twice gives the same bytes")
	}
}

func TestEmptyAndLargeSecrets(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	ref := refOf(w.person())
	for _, size := range []int{0, 1, 1 << 10, 1 << 20} {
		plaintext := strings.Repeat("x", size)
		got, err := w.vault.Open(t.Context(), w.receipt(), ref, w.seal(ref, plaintext))
		if err != nil || got.Reveal() != plaintext {
			t.Errorf("%d bytes: Open gives %d bytes, %v", size, len(got.Reveal()), err)
		}
	}
}

func TestPersonalFieldsAndTokensOpenEachTheirOwn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		for _, person := range []gatehouse.PersonID{w.person(), ""} {
			sealed, err := w.vault.SealPersonal(t.Context(), person, "entry/1", []byte("connection c1"))
			if err != nil {
				t.Fatalf("SealPersonal: %v", err)
			}
			got, err := w.vault.OpenPersonal(t.Context(), person, "entry/1", sealed)
			if err != nil || string(got) != "connection c1" {
				t.Errorf("OpenPersonal = %q, %v", got, err)
			}
			if _, err := w.vault.OpenPersonal(t.Context(), person, "entry/2", sealed); !errors.Is(err, vault.ErrUnreadable) {
				t.Errorf("in another entry: %v, want ErrUnreadable", err)
			}
			// The unaudited way must not be a way to a token.
			if _, err := w.vault.OpenPersonal(t.Context(), person, "c1", w.seal(refOf(person), token)); !errors.Is(err, vault.ErrUnreadable) {
				t.Errorf("OpenPersonal of a token: %v, want ErrUnreadable", err)
			}
			if _, err := w.vault.Open(t.Context(), w.receipt(), refOf(person), sealed); !errors.Is(err, vault.ErrUnreadable) {
				t.Errorf("Open of a log field: %v, want ErrUnreadable", err)
			}
		}
	})
}

func TestDestroyedPersonIsUnreadableForGood(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ada, bob := w.person(), w.person()
		sealed, kept := w.seal(refOf(ada), token), w.seal(refOf(bob), token)
		field, err := w.vault.SealPersonal(t.Context(), ada, "entry/1", []byte("c1"))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // repeating it is no error
			if err := w.vault.DestroyPerson(t.Context(), ada); err != nil {
				t.Fatalf("DestroyPerson: %v", err)
			}
		}
		if _, err := w.vault.Open(t.Context(), w.receipt(), refOf(ada), sealed); !errors.Is(err, vault.ErrErased) {
			t.Errorf("Open: %v, want ErrErased", err)
		}
		if _, err := w.vault.OpenPersonal(t.Context(), ada, "entry/1", field); !errors.Is(err, vault.ErrErased) {
			t.Errorf("OpenPersonal: %v, want ErrErased", err)
		}
		if _, err := w.vault.Seal(t.Context(), refOf(ada), secret.New(token)); !errors.Is(err, vault.ErrErased) {
			t.Errorf("Seal: %v, want ErrErased", err)
		}
		if got, err := w.vault.Open(t.Context(), w.receipt(), refOf(bob), kept); err != nil || got.Reveal() != token {
			t.Errorf("another person's token: %v", err)
		}
		_, rows := storetest.OpenRaw(t, dsn).Query(
			"SELECT length(wrapped), destroyed FROM vault_person_keys WHERE person = $1", string(ada))
		if len(rows) != 1 || fmt.Sprint(rows[0][0]) != "0" || fmt.Sprint(rows[0][1]) == "0" {
			t.Errorf("row of the destroyed key = %v, want no material and a time", rows)
		}
		if err := w.vault.DestroyPerson(t.Context(), "nobody"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("destroying an unknown person: %v, want ErrNotFound", err)
		}
		if err := w.vault.DestroyPerson(t.Context(), ""); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("destroying no person: %v, want ErrInvalid", err)
		}
	})
}

func TestSealingForAPersonWithoutAKeyIsRefused(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	if _, err := w.vault.Seal(t.Context(), refOf("nobody"), secret.New(token)); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("Seal: %v, want ErrNotFound", err)
	}
}

func TestPersonKeysCannotBeExchanged(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ada, mallory := w.person(), w.person()
		sealed := w.seal(refOf(ada), token)
		// Whoever can write the database gives Mallory Ada's wrapped key.
		storetest.OpenRaw(t, dsn).Exec(`UPDATE vault_person_keys SET wrapped =
			(SELECT wrapped FROM vault_person_keys WHERE person = $1) WHERE person = $2`, string(ada), string(mallory))
		if _, err := w.vault.Open(t.Context(), w.receipt(), refOf(mallory), sealed); !errors.Is(err, vault.ErrUnreadable) {
			t.Errorf("Open with an exchanged key: %v, want ErrUnreadable", err)
		}
		if _, err := w.vault.Seal(t.Context(), refOf(mallory), secret.New(token)); !errors.Is(err, vault.ErrUnreadable) {
			t.Errorf("Seal with an exchanged key: %v, want ErrUnreadable", err)
		}
	})
}

func TestStateOfAPersonsKeyIsObeyed(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	ada := w.person()
	sealed := w.seal(refOf(ada), token)
	raw := storetest.OpenRaw(t, w.dsn)
	for _, step := range []struct {
		state vault.KeyState
		opens bool
	}{{vault.DecryptOnly, true}, {vault.Disabled, false}, {vault.Scheduled, false}} {
		raw.Exec("UPDATE vault_person_keys SET state = $1 WHERE person = $2", string(step.state), string(ada))
		if _, err := w.vault.Seal(t.Context(), refOf(ada), secret.New(token)); !errors.Is(err, gatehouse.ErrDenied) {
			t.Errorf("%s: Seal: %v, want ErrDenied", step.state, err)
		}
		_, err := w.vault.Open(t.Context(), w.receipt(), refOf(ada), sealed)
		if step.opens && err != nil || !step.opens && !errors.Is(err, gatehouse.ErrDenied) {
			t.Errorf("%s: Open: %v, want it to open: %v", step.state, err, step.opens)
		}
	}
}

func TestManyGoroutinesWhileKeysComeAndGo(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	config := w.config()
	config.HoldDomainKeys = time.Millisecond
	v, err := vault.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	ref, receipt := refOf(w.person()), w.receipt()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20 {
				sealed, err := v.Seal(t.Context(), ref, secret.New(token))
				if err != nil {
					t.Errorf("Seal: %v", err)
					return
				}
				if got, err := v.Open(t.Context(), receipt, ref, sealed); err != nil || got.Reveal() != token {
					t.Errorf("Open: %v", err)
				}
				v.Close()
			}
		})
	}
	group.Wait()
}
