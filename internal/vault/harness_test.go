package vault_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"

	"golang.org/x/mod/sumdb/note"
)

const production gatehouse.Environment = "production"

// world is a prepared vault with the log whose receipts open it.
type world struct {
	t     testing.TB
	dsn   string
	db    *store.DB
	root  vault.RootKey
	vault *vault.Vault
	log   *audit.Log

	keyringFile string // "" keeps the daily key in the database
}

func newWorld(t testing.TB, dsn string) *world {
	t.Helper()
	w := &world{t: t, dsn: dsn, db: storetest.Open(t, dsn), root: newRoot(t)}
	if err := vault.Init(t.Context(), w.config()); err != nil {
		t.Fatalf("Init: %v", err)
	}
	w.vault = w.open()
	w.log = openLog(t, w.db, w.vault)
	return w
}

func (w *world) config() vault.Config {
	return vault.Config{Root: w.root, Store: w.db.Vault(), Environment: production, KeyringFile: w.keyringFile}
}

// open opens a vault on the same store, as another process would.
func (w *world) open() *vault.Vault {
	w.t.Helper()
	v, err := vault.Open(w.t.Context(), w.config())
	if err != nil {
		w.t.Fatalf("Open: %v", err)
	}
	return v
}

func (w *world) person() gatehouse.PersonID {
	w.t.Helper()
	person, err := w.vault.NewPerson(w.t.Context())
	if err != nil {
		w.t.Fatalf("NewPerson: %v", err)
	}
	return person
}

func (w *world) seal(ref vault.Ref, plaintext string) []byte {
	w.t.Helper()
	sealed, err := w.vault.Seal(w.t.Context(), ref, secret.New(plaintext))
	if err != nil {
		w.t.Fatalf("Seal: %v", err)
	}
	return sealed
}

func (w *world) receipt() audit.Receipt {
	w.t.Helper()
	receipt, err := w.log.Intent(w.t.Context(), audit.Entry{Action: "call", Verdict: "allow"})
	if err != nil {
		w.t.Fatalf("recording an intent: %v", err)
	}
	return receipt
}

func newRoot(t testing.TB) vault.RootKey {
	t.Helper()
	path := filepath.Join(t.TempDir(), "root.key")
	if err := vault.CreateRootKeyFile(path); err != nil {
		t.Fatalf("CreateRootKeyFile: %v", err)
	}
	root, err := vault.NewFileRootKey(path)
	if err != nil {
		t.Fatalf("NewFileRootKey: %v", err)
	}
	return root
}

func openLog(t testing.TB, db *store.DB, v *vault.Vault) *audit.Log {
	t.Helper()
	key, _, err := note.GenerateKey(rand.Reader, "gatehouse/test")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(t.Context(), audit.Config{
		LookEvery: time.Hour,
		Store:     db.Audit(), Signer: signer, Environment: production, Seal: v.SealPersonal,
		Log: slog.New(slog.DiscardHandler), OnFault: func(err error) { t.Errorf("log: %v", err) },
	})
	if err != nil {
		t.Fatalf("opening the log: %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- log.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("running the log: %v", err)
		}
	})
	return log
}

// countingRoot counts what is asked of a root key, and can fail.
type countingRoot struct {
	vault.RootKey
	unwraps atomic.Int32
	fails   atomic.Pointer[error]
	asked   func() // called when it is asked, if set
}

func (r *countingRoot) Unwrap(ctx context.Context, ciphertext, context []byte) ([]byte, error) {
	r.unwraps.Add(1)
	if r.asked != nil {
		r.asked()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := r.fails.Load(); err != nil {
		return nil, *err
	}
	return r.RootKey.Unwrap(ctx, ciphertext, context)
}

func (r *countingRoot) fail(err error) {
	if err == nil {
		r.fails.Store(nil)
		return
	}
	r.fails.Store(&err)
}

// faultyStore fails writes, before or after they took effect.
type faultyStore struct {
	vault.Store
	before, after bool
	unreadable    bool
}

func (s *faultyStore) DomainKeys(ctx context.Context) ([]vault.DomainKey, error) {
	if s.unreadable {
		return nil, errInjected
	}
	return s.Store.DomainKeys(ctx)
}

var errInjected = errors.New("injected fault")

func (s *faultyStore) write(do func() error) error {
	if s.before {
		return errInjected
	}
	if err := do(); err != nil {
		return err
	}
	if s.after {
		return errInjected
	}
	return nil
}

func (s *faultyStore) AddDomainKeys(ctx context.Context, keys []vault.DomainKey) error {
	return s.write(func() error { return s.Store.AddDomainKeys(ctx, keys) })
}

func (s *faultyStore) AddPersonKey(ctx context.Context, key vault.PersonKey) error {
	return s.write(func() error { return s.Store.AddPersonKey(ctx, key) })
}

func (s *faultyStore) DestroyPersonKeys(ctx context.Context, person gatehouse.PersonID, at time.Time) error {
	return s.write(func() error { return s.Store.DestroyPersonKeys(ctx, person, at) })
}

func (s *faultyStore) SwapSystemRecord(ctx context.Context, from []byte, record vault.SystemRecord) error {
	return s.write(func() error { return s.Store.SwapSystemRecord(ctx, from, record) })
}

func (s *faultyStore) PutSystemRecord(ctx context.Context, record vault.SystemRecord) error {
	return s.write(func() error { return s.Store.PutSystemRecord(ctx, record) })
}
