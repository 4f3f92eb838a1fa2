package review_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/identity/factor/factortest"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/review"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"

	"golang.org/x/mod/sumdb/note"
)

const day = 24 * time.Hour

// world is Reviews on a real store, with a real vault, log and directories.
type world struct {
	t         testing.TB
	db        *store.DB
	vault     *vault.Vault
	log       *audit.Log
	signer    note.Signer
	verifier  note.Verifier
	operators *operator.Directory
	services  *identity.Directory
	reviews   *review.Reviews
	ahead     time.Duration

	mu sync.Mutex // guards what follows
	// used is when operators did something last, and configured what the configuration
	// gives.
	used       map[operator.AccountID]time.Time
	configured []review.Right
	told       []review.Reminder
	tellErr    error
}

func newWorld(t testing.TB, dsn string) *world {
	t.Helper()
	w := &world{t: t, db: storetest.Open(t, dsn), used: map[operator.AccountID]time.Time{}}
	path := filepath.Join(t.TempDir(), "root.key")
	if err := vault.CreateRootKeyFile(path); err != nil {
		t.Fatal(err)
	}
	root, err := vault.NewFileRootKey(path)
	if err != nil {
		t.Fatal(err)
	}
	vc := vault.Config{Root: root, Store: w.db.Vault(), Environment: "production"}
	if err := vault.Init(t.Context(), vc); err != nil {
		t.Fatal(err)
	}
	if w.vault, err = vault.Open(t.Context(), vc); err != nil {
		t.Fatal(err)
	}
	w.openLog()
	passwords, err := factor.NewPasswords(factor.PasswordConfig{})
	if err != nil {
		t.Fatal(err)
	}
	passkeys, err := factor.NewPasskeys(factor.PasskeyConfig{Origin: origin, Name: "Gatehouse", Discoverable: true})
	if err != nil {
		t.Fatal(err)
	}
	if w.operators, err = operator.New(operator.Config{
		Store: w.db.Operators(), Log: w.log, Derive: w.vault.Derive, Passwords: passwords, Environment: "production", Now: w.now, Fresh: 100 * 365 * day,
		Passkeys: passkeys, Idle: 1000 * day, MaxSession: 1000 * day,
	}); err != nil {
		t.Fatal(err)
	}
	if w.services, err = identity.New(identity.Config{
		Store: w.db.Identity(), Log: w.log, Derive: w.vault.Derive, Environment: "production", KeyTTL: 10 * 365 * day, MaxHandleTTL: 10 * 365 * day,
	}); err != nil {
		t.Fatal(err)
	}
	if err := w.services.EnsureServices(t.Context(), []gatehouse.ServiceName{"scheduler", "old"}); err != nil {
		t.Fatal(err)
	}
	w.reviews = w.open(w.config(w.db.Reviews()))
	return w
}

func (w *world) openLog() {
	w.t.Helper()
	private, public, err := note.GenerateKey(rand.Reader, "gatehouse/test")
	if err != nil {
		w.t.Fatal(err)
	}
	if w.signer, err = note.NewSigner(private); err != nil {
		w.t.Fatal(err)
	}
	if w.verifier, err = note.NewVerifier(public); err != nil {
		w.t.Fatal(err)
	}
	w.log, err = audit.Open(w.t.Context(), audit.Config{
		LookEvery: time.Hour, Store: w.db.Audit(), Signer: w.signer, Environment: "production", Seal: w.vault.SealPersonal,
		Log: slog.New(slog.DiscardHandler), OnFault: func(err error) { w.t.Logf("log: %v", err) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.log.Run(ctx) }()
	w.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			w.t.Errorf("running the log: %v", err)
		}
	})
}

func (w *world) now() time.Time { return time.Now().Add(w.ahead) }

func (w *world) config(s review.Store) review.Config {
	source := audit.NewSource(w.db.Audit())
	return review.Config{
		Store: s, Log: w.log, Operators: w.operators, Services: w.services, Environment: "production", Signer: w.signer, Now: w.now,
		Checkpoint: func(ctx context.Context) (string, error) {
			b, err := source(ctx, audit.CheckpointPath)
			return string(b), err
		},
		OperatorUsed: func(_ context.Context, id operator.AccountID, _ time.Time) (time.Time, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.used[id], nil
		},
		Configured: func(context.Context, time.Time) ([]review.Right, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return slices.Clone(w.configured), nil
		},
		Tell: func(_ context.Context, r review.Reminder) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.told = append(w.told, r)
			return w.tellErr
		},
	}
}

func (w *world) open(c review.Config) *review.Reviews {
	w.t.Helper()
	r, err := review.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// origin is where the operators' passkeys are made.
const origin = "https://gatehouse.example"

// join makes an active account with a session.
func (w *world) join(name string, role operator.Role) (operator.AccountID, operator.Actor) {
	w.t.Helper()
	ctx := w.t.Context()
	link, account, err := w.operators.Invite(ctx, operator.Host(), operator.Invitation{Name: name, Email: name + "@example.com", Role: role})
	if err != nil {
		w.t.Fatal(err)
	}
	e := operator.EnrolmentOrSession{Enrolment: link, Browser: operator.Browser{Source: netip.MustParseAddr("192.0.2.1"), Binding: secret.New(rand.Text())}}
	options, ceremony, err := w.operators.BeginPasskey(ctx, e)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.operators.FinishPasskey(ctx, e, ceremony, factortest.New(w.t, origin).Register(options)); err != nil {
		w.t.Fatal(err)
	}
	_, _, session, err := w.operators.Enrol(ctx, e.Browser, link)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.used[account.ID] = w.now()
	return account.ID, operator.By(session)
}

// has reports whether an account has a role.
func (w *world) has(id operator.AccountID, role operator.Role) bool {
	w.t.Helper()
	a, err := w.operators.Account(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return a.Is(role, w.now())
}

func (w *world) key(service gatehouse.ServiceName) identity.ServiceKey {
	w.t.Helper()
	k, _, err := w.services.MakeServiceKey(w.t.Context(), identity.KeyRequest{Service: service})
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

func (w *world) live(k identity.ServiceKey) bool {
	w.t.Helper()
	got, err := w.services.ServiceKey(w.t.Context(), k.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return got.Live(w.now())
}

func (w *world) handle(service gatehouse.ServiceName, purpose gatehouse.PurposeName) identity.Handle {
	w.t.Helper()
	person, err := w.vault.NewPerson(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	h, _, err := w.services.NewHandle(w.t.Context(), identity.HandleRequest{
		Service: service, Connection: "c1", Person: person, Purpose: purpose, Platform: gatehouse.X, App: "main-x", TTL: 365 * day,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

func (w *world) begin(by operator.Actor) review.Review {
	w.t.Helper()
	r, err := w.reviews.Begin(w.t.Context(), by, 0, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// item returns the right of a review that has these words.
func (w *world) item(id review.ID, kind review.Kind, holder, name string) review.Item {
	w.t.Helper()
	for _, i := range w.items(id) {
		if i.Kind == kind && i.Holder == holder && i.Name == name {
			return i
		}
	}
	w.t.Fatalf("the review has no %s of %s called %s", kind, holder, name)
	return review.Item{}
}

func (w *world) items(id review.ID) []review.Item {
	w.t.Helper()
	items, err := w.reviews.Items(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return items
}

func (w *world) decide(by operator.Actor, i review.Item, d review.Decision) error {
	return w.reviews.Decide(w.t.Context(), by, i.Review, review.Ruling{Decision: d, Items: []int{i.Number}})
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// refused checks that err is a refusal by a rule.
func (w *world) refused(what string, err error, rule string) {
	w.t.Helper()
	if err == nil || wire.RuleOf(err) != rule {
		w.t.Errorf("%s: %v (rule %q), want rule %q", what, err, wire.RuleOf(err), rule)
	}
}

// logged counts the entries of the log that hold all the words.
func (w *world) logged(words ...string) (n int) {
	w.t.Helper()
	if err := w.log.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	list, err := audit.List(w.t.Context(), w.db.Audit(), audit.Filter{Last: 10000})
	if err != nil {
		w.t.Fatal(err)
	}
entries:
	for _, e := range list {
		text := e.Action + " " + e.Verdict + " " + string(e.Service)
		for k, v := range e.Facts {
			text += " " + k + "=" + v
		}
		for _, word := range words {
			if !strings.Contains(text, word) {
				continue entries
			}
		}
		n++
	}
	return n
}

// strangersKey is a log's public key whose private half nobody has.
func strangersKey(t testing.TB) note.Verifier {
	t.Helper()
	_, public, err := note.GenerateKey(rand.Reader, "gatehouse/test")
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
