package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"

	"github.com/jackc/pgx/v5"
)

// keysInOrder is a database on PostgreSQL with two people under keyring key 1, whose
// bucket's key is 2 by now, and a person under key 3 of another bucket.
type keysInOrder struct {
	t     *testing.T
	vault *store.Vault
	other *pgx.Conn // another process
	watch *pgx.Conn
}

func newKeysInOrder(t *testing.T) *keysInOrder {
	t.Helper()
	dsn := storetest.Postgres(t)
	connect := func() *pgx.Conn {
		c, err := pgx.Connect(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close(context.Background()) })
		return c
	}
	k := &keysInOrder{t: t, vault: storetest.Open(t, dsn).Vault(), other: connect(), watch: connect()}
	k.must("AddDailyKey", k.vault.AddDailyKey(t.Context(), vault.DailyKey{Version: 1, DomainVersion: 1, Wrapped: []byte("daily"), Created: time.Now()}))
	k.must("AddKeyringKey", k.vault.AddKeyringKey(t.Context(), keyringKey(1, 7, 1), 0))
	k.must("AddKeyringKey", k.vault.AddKeyringKey(t.Context(), keyringKey(3, 8, 1), 0))
	for person, keyring := range map[gatehouse.PersonID]vault.KeyringID{"ada": 1, "grace": 1, "linus": 3} {
		k.must("AddPersonKey", k.vault.AddPersonKey(t.Context(), personKey(person, keyring)))
	}
	k.must("AddKeyringKey", k.vault.AddKeyringKey(t.Context(), keyringKey(2, 7, 1), 1))
	return k
}

func keyringKey(id vault.KeyringID, bucket int, daily uint32) vault.KeyringKey {
	return vault.KeyringKey{ID: id, Bucket: bucket, State: vault.Active, Daily: daily, Wrapped: []byte("keyring"), Created: time.Now()}
}

func personKey(person gatehouse.PersonID, keyring vault.KeyringID) vault.PersonKey {
	return vault.PersonKey{Person: person, Version: 1, State: vault.Active, Keyring: keyring, Wrapped: []byte("person"), Created: time.Now()}
}

func (k *keysInOrder) must(what string, err error) {
	k.t.Helper()
	if err != nil {
		k.t.Fatalf("%s: %v", what, err)
	}
}

// during runs do while another process's transaction has done the statements and is
// not committed. It fails if do does not wait for that.
func (k *keysInOrder) during(do func() error, statements ...string) error {
	k.t.Helper()
	theirs, err := k.other.Begin(k.t.Context())
	k.must("BEGIN", err)
	for _, s := range statements {
		changed, err := theirs.Exec(k.t.Context(), s)
		k.must(s, err)
		if changed.RowsAffected() == 0 {
			k.t.Fatalf("%s: changed nothing", s)
		}
	}
	done := make(chan error, 1)
	go func() { done <- do() }()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		var waiting int
		k.must("pg_stat_activity", k.watch.QueryRow(k.t.Context(),
			`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting))
		if waiting > 0 {
			break
		}
		select {
		case err := <-done:
			k.t.Errorf("it did not wait for the other process: %v", err)
			k.must("COMMIT", theirs.Commit(k.t.Context()))
			return err
		default:
		}
		if time.Now().After(deadline) {
			k.t.Fatal("it neither waits nor ends")
		}
	}
	k.must("COMMIT", theirs.Commit(k.t.Context()))
	return <-done
}

func (k *keysInOrder) keyring(id vault.KeyringID) vault.KeyringKey {
	k.t.Helper()
	key, err := k.vault.KeyringKey(k.t.Context(), id)
	k.must("KeyringKey", err)
	return key
}

// Whoever is erased while a walk moves their key from one keyring key to another is
// erased from the one where it ends: that one is made anew.
func TestErasureDuringAMove(t *testing.T) {
	k := newKeysInOrder(t)
	err := k.during(func() error { return k.vault.DestroyPersonKeys(t.Context(), "ada", time.Now()) },
		`UPDATE vault_person_keys SET keyring = 2, wrapped = 'moved' WHERE person = 'ada'`)
	k.must("DestroyPersonKeys", err)
	if k.keyring(2).Erased.IsZero() {
		t.Error("nobody was erased from the keyring key that wrapped the person's key at the end")
	}
	for _, id := range []vault.KeyringID{1, 3} {
		if !k.keyring(id).Erased.IsZero() {
			t.Errorf("somebody was erased from keyring key %d", id)
		}
	}
	key, err := k.vault.PersonKey(t.Context(), "ada", 1)
	k.must("PersonKey", err)
	if key.State != vault.Destroyed || len(key.Wrapped) > 0 || key.Keyring != 0 {
		t.Errorf("the person's key is %+v", key)
	}
}

// Nothing is put under a key that another process is taking out of use.
func TestNothingGoesUnderAKeyThatGoes(t *testing.T) {
	const (
		keyringGoes = `UPDATE vault_keyring_keys SET state = 'decrypt-only' WHERE id = 2`
		dailyGoes   = `UPDATE vault_daily_keys SET state = 'decrypt-only' WHERE version = 1`
	)
	for name, c := range map[string]struct {
		do   func(*keysInOrder) error
		goes string
	}{
		"a new person": {func(k *keysInOrder) error {
			return k.vault.AddPersonKey(t.Context(), personKey("edsger", 2))
		}, keyringGoes},
		"a person who is moved": {func(k *keysInOrder) error {
			to := personKey("ada", 2)
			to.Wrapped = []byte("moved")
			_, err := k.vault.RewrapPersonKeys(t.Context(), []vault.PersonKey{personKey("ada", 1)}, []vault.PersonKey{to})
			return err
		}, keyringGoes},
		"a new keyring key": {func(k *keysInOrder) error {
			return k.vault.AddKeyringKey(t.Context(), keyringKey(4, 9, 1), 0)
		}, dailyGoes},
		"a keyring key that is moved": {func(k *keysInOrder) error {
			_, err := k.vault.RewrapKeyringKeys(t.Context(), []vault.KeyringKey{keyringKey(3, 8, 1)}, []vault.KeyringKey{keyringKey(3, 8, 1)})
			return err
		}, dailyGoes},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKeysInOrder(t)
			if err := k.during(func() error { return c.do(k) }, c.goes); !errors.Is(err, gatehouse.ErrConflict) {
				t.Errorf("%v, want ErrConflict", err)
			}
			if _, err := k.vault.PersonKey(t.Context(), "edsger", 1); !errors.Is(err, gatehouse.ErrNotFound) {
				t.Errorf("the new person: %v, want ErrNotFound", err)
			}
			if key, err := k.vault.PersonKey(t.Context(), "ada", 1); err != nil || key.Keyring != 1 {
				t.Errorf("ada: %+v, %v", key, err)
			}
		})
	}
	// The near miss: what another process only holds stays in use.
	k := newKeysInOrder(t)
	k.must("AddPersonKey", k.during(func() error { return k.vault.AddPersonKey(t.Context(), personKey("edsger", 2)) },
		`UPDATE vault_keyring_keys SET state = state WHERE id = 2`))
	k.must("AddKeyringKey", k.during(func() error { return k.vault.AddKeyringKey(t.Context(), keyringKey(4, 9, 1), 0) },
		`UPDATE vault_daily_keys SET state = state WHERE version = 1`))
}

// A key is not ended while another process puts something under it.
func TestAKeyThatIsHeldDoesNotEnd(t *testing.T) {
	k := newKeysInOrder(t)
	k.must("RewrapPersonKeys", func() error {
		from := []vault.PersonKey{personKey("ada", 1), personKey("grace", 1)}
		n, err := k.vault.RewrapPersonKeys(t.Context(), from, []vault.PersonKey{personKey("ada", 2), personKey("grace", 2)})
		if n != 2 {
			t.Errorf("moved %d people, want 2", n)
		}
		return err
	}())
	err := k.during(func() error { return k.vault.EndKeyringKey(t.Context(), 1) },
		`UPDATE vault_person_keys SET keyring = 1 WHERE person = 'ada'`, `UPDATE vault_keyring_keys SET state = state WHERE id = 1`)
	if !errors.Is(err, gatehouse.ErrConflict) || k.keyring(1).ID != 1 {
		t.Errorf("ending a key that wraps somebody's: %v, want ErrConflict and the key", err)
	}
	k.must("RewrapPersonKeys", func() error {
		_, err := k.vault.RewrapPersonKeys(t.Context(), []vault.PersonKey{personKey("ada", 1)}, []vault.PersonKey{personKey("ada", 2)})
		return err
	}())
	k.must("EndKeyringKey", k.vault.EndKeyringKey(t.Context(), 1))
	if _, err := k.vault.KeyringKey(t.Context(), 1); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("the ended key: %v, want ErrNotFound", err)
	}

	k.must("AddDailyKey", k.vault.AddDailyKey(t.Context(), vault.DailyKey{Version: 2, DomainVersion: 1, Wrapped: []byte("daily"), Created: time.Now()}))
	from, to := []vault.KeyringKey{keyringKey(2, 7, 1), keyringKey(3, 8, 1)}, []vault.KeyringKey{keyringKey(2, 7, 2), keyringKey(3, 8, 2)}
	if n, err := k.vault.RewrapKeyringKeys(t.Context(), from, to); err != nil || n != 2 {
		t.Fatalf("RewrapKeyringKeys: %d, %v", n, err)
	}
	err = k.during(func() error { return k.vault.EndDailyKey(t.Context(), 1, time.Now()) },
		`UPDATE vault_keyring_keys SET daily = 1 WHERE id = 3`, `UPDATE vault_daily_keys SET state = state WHERE version = 1`)
	if !errors.Is(err, gatehouse.ErrConflict) {
		t.Errorf("ending a daily key that wraps a keyring key: %v, want ErrConflict", err)
	}
	if n, err := k.vault.RewrapKeyringKeys(t.Context(), from[1:], to[1:]); err != nil || n != 1 {
		t.Fatalf("RewrapKeyringKeys: %d, %v", n, err)
	}
	k.must("EndDailyKey", k.vault.EndDailyKey(t.Context(), 1, time.Now()))
}
