package identity_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"

	"golang.org/x/mod/sumdb/note"
)

const production gatehouse.Environment = "production"

// world is a directory on a real store, with a real vault and a real log.
type world struct {
	t         testing.TB
	dsn       string
	db        *store.DB
	vault     *vault.Vault
	log       *audit.Log
	directory *identity.Directory
	raw       *storetest.Raw
}

func newWorld(t testing.TB, dsn string) *world {
	t.Helper()
	return newWorldBeside(t, dsn, "")
}

// newWorldBeside is newWorld with a directory for what is kept beside the log.
func newWorldBeside(t testing.TB, dsn, aside string) *world {
	t.Helper()
	w := &world{t: t, dsn: dsn, db: storetest.Open(t, dsn)}
	path := filepath.Join(t.TempDir(), "root.key")
	if err := vault.CreateRootKeyFile(path); err != nil {
		t.Fatal(err)
	}
	root, err := vault.NewFileRootKey(path)
	if err != nil {
		t.Fatal(err)
	}
	config := vault.Config{Root: root, Store: w.db.Vault(), Environment: production}
	if err := vault.Init(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if w.vault, err = vault.Open(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	w.log = openLog(t, w.db, w.vault, aside)
	w.directory = w.newDirectory(w.db.Identity())
	if err := w.directory.EnsureServices(t.Context(), []gatehouse.ServiceName{"scheduler", "analytics"}); err != nil {
		t.Fatalf("EnsureServices: %v", err)
	}
	w.raw = storetest.OpenRaw(t, dsn)
	return w
}

func (w *world) config(s identity.Store) identity.Config {
	return identity.Config{Store: s, Log: w.log, Derive: w.vault.Derive, Environment: production}
}

// newDirectory is another process on the same database.
func (w *world) newDirectory(s identity.Store) *identity.Directory {
	w.t.Helper()
	d, err := identity.New(w.config(s))
	if err != nil {
		w.t.Fatalf("New: %v", err)
	}
	return d
}

func openLog(t testing.TB, db *store.DB, v *vault.Vault, aside string) *audit.Log {
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
		Store:     db.Audit(), Signer: signer, Environment: production, Seal: v.SealPersonal, Aside: aside,
		Log: slog.New(slog.DiscardHandler), OnFault: func(err error) { t.Logf("log: %v", err) },
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

func (w *world) person() gatehouse.PersonID {
	w.t.Helper()
	person, err := w.vault.NewPerson(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return person
}

// request is for a handle of the service "scheduler".
func (w *world) request(connection gatehouse.ConnectionID) identity.HandleRequest {
	return identity.HandleRequest{
		Service: "scheduler", Connection: connection, Person: w.person(), Purpose: "publish", Platform: gatehouse.X, App: "main-x",
	}
}

func (w *world) handle(connection gatehouse.ConnectionID) (identity.Handle, secret.Text) {
	w.t.Helper()
	handle, text, err := w.directory.NewHandle(w.t.Context(), w.request(connection))
	if err != nil {
		w.t.Fatalf("NewHandle: %v", err)
	}
	return handle, text
}

// entries returns the leaves of the log as text, oldest first, if they contain all the
// words.
func (w *world) entries(words ...string) []string {
	w.t.Helper()
	if err := w.log.Flush(w.t.Context()); err != nil {
		w.t.Fatalf("flushing the log: %v", err)
	}
	return w.raw.Leaves(words...)
}

// logged counts the entries that contain all the words.
func (w *world) logged(words ...string) int {
	w.t.Helper()
	return len(w.entries(words...))
}

// refused checks that err is a refusal with status 401 and the given rule, and
// that it repeats none of the secrets.
func refused(t testing.TB, what string, err error, rule string, secrets ...string) {
	t.Helper()
	if err == nil || wire.RuleOf(err) != rule || wire.StatusOf(err) != 401 || !errors.Is(err, gatehouse.ErrDenied) {
		t.Errorf("%s: %v (rule %q, status %d), want rule %q with 401", what, err, wire.RuleOf(err), wire.StatusOf(err), rule)
		return
	}
	for _, s := range secrets {
		for start := 8; start+12 <= len(s); start += 6 {
			if strings.Contains(err.Error(), s[start:start+12]) {
				t.Errorf("%s: the error repeats what was presented: %v", what, err)
				return
			}
		}
	}
}

// faultyStore fails writes, before or after they took effect.
type faultyStore struct {
	identity.Store
	before, after bool
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

func (s *faultyStore) AddServiceKey(ctx context.Context, record identity.ServiceKeyRecord) error {
	return s.write(func() error { return s.Store.AddServiceKey(ctx, record) })
}

func (s *faultyStore) RevokeServiceKey(ctx context.Context, id identity.ServiceKeyID, at time.Time) error {
	return s.write(func() error { return s.Store.RevokeServiceKey(ctx, id, at) })
}

func (s *faultyStore) AddHandle(ctx context.Context, record identity.HandleRecord) error {
	return s.write(func() error { return s.Store.AddHandle(ctx, record) })
}

func (s *faultyStore) RevokeHandle(ctx context.Context, id gatehouse.HandleID, at time.Time) error {
	return s.write(func() error { return s.Store.RevokeHandle(ctx, id, at) })
}

func (s *faultyStore) RevokeConnection(ctx context.Context, id gatehouse.ConnectionID, at time.Time) (n int, err error) {
	err = s.write(func() error { n, err = s.Store.RevokeConnection(ctx, id, at); return err })
	return n, err
}

func (s *faultyStore) UseNonce(ctx context.Context, use identity.NonceUse) error {
	return s.write(func() error { return s.Store.UseNonce(ctx, use) })
}

func (s *faultyStore) ReplaceServiceKey(ctx context.Context, record identity.ServiceKeyRecord, other, expected identity.ServiceKeyID, end time.Time) error {
	return s.write(func() error { return s.Store.ReplaceServiceKey(ctx, record, other, expected, end) })
}

func (s *faultyStore) AddKeyUses(ctx context.Context, uses map[identity.ServiceKeyID]identity.KeyUse) error {
	return s.write(func() error { return s.Store.AddKeyUses(ctx, uses) })
}
