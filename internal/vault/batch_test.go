package vault_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"testing"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"
)

func placeOf(person gatehouse.PersonID) vault.Place {
	return vault.Place{Person: person, Parts: []string{"text", "notify", "email"}}
}

func (w *world) sealDatum(p vault.Place, plaintext string) []byte {
	w.t.Helper()
	sealed, err := w.vault.Batch().Seal(w.t.Context(), nil, p, []byte(plaintext))
	if err != nil {
		w.t.Fatalf("Batch.Seal: %v", err)
	}
	return sealed
}

func TestADatumOpensInItsPlaceOnly(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ada, bob := w.person(), w.person()
		sealed := w.sealDatum(placeOf(ada), token)
		if len(sealed) != vault.SealedSize(len(token)) {
			t.Errorf("%d bytes seal to %d, SealedSize says %d", len(token), len(sealed), vault.SealedSize(len(token)))
		}
		other, receipt := w.open(), w.receipt()
		got, err := other.Batch().Open(t.Context(), receipt, []byte("before "), placeOf(ada), sealed)
		if err != nil || string(got) != "before "+token {
			t.Fatalf("Open = %q, %v; want it appended", got, err)
		}
		for name, place := range map[string]vault.Place{
			"another part":    {Person: ada, Parts: []string{"text", "notify", "phone"}},
			"a part more":     {Person: ada, Parts: []string{"text", "notify", "email", ""}},
			"a part less":     {Person: ada, Parts: []string{"text", "notify"}},
			"shifted borders": {Person: ada, Parts: []string{"text", "notifye", "mail"}},
			"another person":  placeOf(bob),
			"unknown person":  placeOf("nobody"),
		} {
			if got, err := w.vault.Batch().Open(t.Context(), receipt, nil, place, sealed); !errors.Is(err, vault.ErrUnreadable) || got != nil {
				t.Errorf("%s: Open = %q, %v; want ErrUnreadable and nothing", name, got, err)
			}
		}
	})
}

// The associated data is that of any place: environment first, then the person.
func TestADatumIsBoundToItsEnvironment(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	b := w.vault.Batch()
	b.HookTestOnlyBind(placeOf("somebody with a longer name")) // its memory is used again
	want := vault.HookTestOnlyPlace("gatehouse/datum/1", string(production), "ada", "text", "notify", "email")
	if got := b.HookTestOnlyBind(placeOf("ada")); !bytes.Equal(got, want) {
		t.Errorf("a datum is bound to %q, want %q", got, want)
	}
}

// What the app's data is opened by must not open a token, nor the other way
// round: tokens leave the vault as secret.Text only.
func TestADatumAndATokenOpenEachTheirOwn(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	ada, receipt := w.person(), w.receipt()
	ref := refOf(ada)
	parts := vault.Place{Person: ada, Parts: []string{ref.Table, ref.Row, ref.Column}}
	if got, err := w.vault.Batch().Open(t.Context(), receipt, nil, parts, w.seal(ref, token)); !errors.Is(err, vault.ErrUnreadable) {
		t.Errorf("a batch opens a token: %q, %v", got, err)
	}
	if got, err := w.vault.Open(t.Context(), receipt, ref, w.sealDatum(parts, token)); !errors.Is(err, vault.ErrUnreadable) {
		t.Errorf("Open opens a datum: %v, %v", got, err)
	}
	field, err := w.vault.SealPersonal(t.Context(), ada, "connections", []byte(token))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := w.vault.Batch().Open(t.Context(), receipt, nil, vault.Place{Person: ada, Parts: []string{"connections"}}, field); !errors.Is(err, vault.ErrUnreadable) {
		t.Errorf("a batch opens a field of the log: %q, %v", got, err)
	}
}

func TestABatchRefuses(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	ada := w.person()
	sealed := w.sealDatum(placeOf(ada), token)
	b := w.vault.Batch()
	if got, err := b.Open(t.Context(), audit.Receipt{}, nil, placeOf(ada), sealed); !errors.Is(err, gatehouse.ErrDenied) || got != nil {
		t.Errorf("without a receipt: %q, %v; want ErrDenied", got, err)
	}
	for _, place := range []vault.Place{{Person: ada}, {Parts: []string{"text"}}} {
		if _, err := b.Seal(t.Context(), nil, place, nil); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("Seal at %+v: %v, want ErrInvalid", place, err)
		}
		if _, err := b.Open(t.Context(), w.receipt(), nil, place, sealed); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("Open at %+v: %v, want ErrInvalid", place, err)
		}
	}
	if err := b.Ready(t.Context(), "nobody"); !errors.Is(err, gatehouse.ErrNotFound) || errors.Is(err, vault.ErrErased) {
		t.Errorf("Ready for nobody: %v, want ErrNotFound", err)
	}
	if err := b.Ready(t.Context(), ada); err != nil {
		t.Errorf("Ready: %v", err)
	}
	if err := w.vault.DestroyPerson(t.Context(), ada); err != nil {
		t.Fatal(err)
	}
	after := w.vault.Batch()
	if err := after.Ready(t.Context(), ada); !errors.Is(err, vault.ErrErased) {
		t.Errorf("Ready after the key was destroyed: %v, want ErrErased", err)
	}
	if _, err := after.Open(t.Context(), w.receipt(), nil, placeOf(ada), sealed); !errors.Is(err, vault.ErrErased) {
		t.Errorf("Open after the key was destroyed: %v, want ErrErased", err)
	}
}

func TestEveryFlippedBitAndCutOfADatumIsNoticed(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	place, receipt, b := placeOf(w.person()), w.receipt(), w.vault.Batch()
	sealed := w.sealDatum(place, token)
	for bit := range len(sealed) * 8 {
		changed := bytes.Clone(sealed)
		changed[bit/8] ^= 1 << (bit % 8)
		if _, err := b.Open(t.Context(), receipt, nil, place, changed); !errors.Is(err, vault.ErrUnreadable) {
			t.Fatalf("bit %d flipped: %v, want ErrUnreadable", bit, err)
		}
	}
	for length := range len(sealed) {
		if _, err := b.Open(t.Context(), receipt, nil, place, sealed[:length]); !errors.Is(err, vault.ErrUnreadable) {
			t.Fatalf("cut to %d bytes: %v, want ErrUnreadable", length, err)
		}
	}
}

// countingStore counts how often a person's key is fetched.
type countingStore struct {
	vault.Store
	keys int
}

func (s *countingStore) PersonKey(ctx context.Context, person gatehouse.PersonID, version uint32) (vault.PersonKey, error) {
	s.keys++
	return s.Store.PersonKey(ctx, person, version)
}

func TestABatchFetchesEachKeyOnce(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	counted := &countingStore{Store: w.db.Vault()}
	config := w.config()
	config.Store = counted
	v, err := vault.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	people, receipt := []gatehouse.PersonID{w.person(), w.person()}, w.receipt()
	b := v.Batch()
	var sealed [][]byte
	for i := range 100 {
		s, err := b.Seal(t.Context(), nil, placeOf(people[i%2]), []byte(token))
		if err != nil {
			t.Fatal(err)
		}
		sealed = append(sealed, s)
	}
	for i, s := range sealed {
		if got, err := b.Open(t.Context(), receipt, nil, placeOf(people[i%2]), s); err != nil || string(got) != token {
			t.Fatalf("Open = %q, %v", got, err)
		}
	}
	if counted.keys != len(people) {
		t.Errorf("%d people's keys were fetched %d times", len(people), counted.keys)
	}
	again := v.Batch()
	for i, s := range sealed {
		if _, err := again.Open(t.Context(), receipt, nil, placeOf(people[i%2]), s); err != nil {
			t.Fatal(err)
		}
	}
	if counted.keys != 2*len(people) {
		t.Errorf("opening alone fetched %d people's keys %d times", len(people), counted.keys-len(people))
	}
}

// BenchmarkBatch seals and opens 100 data of one person, keys fetched anew for
// each batch, beside the bare cipher on the same data: "bare" has its cipher made
// beforehand, and the same associated data and way of making nonces.
func BenchmarkBatch(b *testing.B) {
	w := newWorld(b, storetest.SQLite(b))
	place, receipt := placeOf(w.person()), w.receipt()
	at := vault.HookTestOnlyPlace("gatehouse/datum/1", append([]string{string(production), string(place.Person)}, place.Parts...)...)
	block, err := aes.NewCipher(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		b.Fatal(err)
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		b.Fatal(err)
	}
	const n = 100
	for _, size := range sizes {
		plaintext := make([]byte, size)
		datum, err := w.vault.Batch().Seal(b.Context(), nil, place, plaintext)
		if err != nil {
			b.Fatal(err)
		}
		// One place for all results: making a new one for each costs both the same, and
		// is noise.
		dst := make([]byte, 0, vault.SealedSize(size))
		bare := gcm.Seal(nil, nil, plaintext, at)
		run := func(name string, batch func() error) {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				b.SetBytes(int64(n * size))
				b.ReportAllocs()
				for b.Loop() {
					if err := batch(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		each := func(f func() error) func() error {
			return func() error {
				for range n {
					if err := f(); err != nil {
						return err
					}
				}
				return nil
			}
		}
		run("seal/bare", each(func() error {
			gcm.Seal(dst, nil, plaintext, at)
			return nil
		}))
		run("seal/batch", func() error {
			batch := w.vault.Batch()
			return each(func() error {
				_, err := batch.Seal(b.Context(), dst, place, plaintext)
				return err
			})()
		})
		run("open/bare", each(func() error {
			_, err := gcm.Open(dst, nil, bare, at)
			return err
		}))
		run("open/batch", func() error {
			batch := w.vault.Batch()
			return each(func() error {
				_, err := batch.Open(b.Context(), receipt, dst, place, datum)
				return err
			})()
		})
	}
}
