package operator_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/identity/factor/factortest"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"

	"golang.org/x/mod/sumdb/note"
)

const (
	production gatehouse.Environment = "production"
	origin     string                = "https://gatehouse.example"
	password   string                = "correct horse battery staple"
)

// world is a directory on a real store, with a real vault and a real log.
type world struct {
	t         testing.TB
	dsn       string
	db        *store.DB
	vault     *vault.Vault
	log       *audit.Log
	passwords *factor.Passwords
	hashed    atomic.Int64 // passwords that were hashed
	passkeys  *factor.Passkeys
	d         *operator.Directory
	raw       *storetest.Raw
	// ahead is by how much the directory's clock is ahead of the machine's.
	ahead atomic.Int64
}

// faults are what a world's parts may fail by.
type faults struct {
	audit func(audit.Store) audit.Store
	store func(operator.Store) operator.Store
	aside string
}

func newWorld(t testing.TB, dsn string) *world {
	t.Helper()
	return newFaultyWorld(t, dsn, faults{})
}

func newFaultyWorld(t testing.TB, dsn string, f faults) *world {
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
	entries := audit.Store(w.db.Audit())
	if f.audit != nil {
		entries = f.audit(entries)
	}
	w.log = openLog(t, entries, w.vault, f.aside)
	if w.passwords, err = factor.NewPasswords(factor.PasswordConfig{}); err != nil {
		t.Fatal(err)
	}
	if w.passkeys, err = factor.NewPasskeys(factor.PasskeyConfig{Origin: origin, Name: "Gatehouse", Discoverable: true}); err != nil {
		t.Fatal(err)
	}
	c := w.config()
	if f.store != nil {
		c.Store = f.store(c.Store)
	}
	w.d = w.directory(c)
	w.raw = storetest.OpenRaw(t, dsn)
	return w
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

func (w *world) pass(d time.Duration) { w.ahead.Add(int64(d)) }

func (w *world) config() operator.Config {
	return operator.Config{
		Store: w.db.Operators(), Log: w.log, Derive: w.vault.Derive, Passwords: &counting{w.passwords, &w.hashed}, Passkeys: w.passkeys, Environment: production, Now: w.now,
	}
}

// counting counts how often a password is hashed, whatever comes of it.
type counting struct {
	*factor.Passwords
	n *atomic.Int64
}

func (c *counting) Verify(ctx context.Context, hash factor.PasswordHash, password secret.Text) (bool, error) {
	c.n.Add(1)
	return c.Passwords.Verify(ctx, hash, password)
}

func (c *counting) Waste(ctx context.Context, password secret.Text) error {
	c.n.Add(1)
	return c.Passwords.Waste(ctx, password)
}

// directory is another process on the same database.
func (w *world) directory(c operator.Config) *operator.Directory {
	w.t.Helper()
	d, err := operator.New(c)
	if err != nil {
		w.t.Fatalf("New: %v", err)
	}
	return d
}

func openLog(t testing.TB, entries audit.Store, v *vault.Vault, aside string) *audit.Log {
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
		Store:     entries, Signer: signer, Environment: production, Seal: v.SealPersonal, Aside: aside,
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

// browser returns a browser of its own at an address.
func browser(address string) operator.Browser {
	return operator.Browser{Source: netip.MustParseAddr(address), Agent: "Browser/1.0", Binding: secret.New(rand.Text())}
}

// member is an operator with a browser, an authenticator and an app.
type member struct {
	w       *world
	id      operator.AccountID
	email   string
	browser operator.Browser
	keys    *factortest.Authenticator
	seed    string
	codes   []secret.Text
	token   secret.Text
	session operator.Session
}

// by is the member as who does something.
func (m *member) by() operator.Actor { return operator.By(m.session) }

// self is the member as who changes their factors.
func (m *member) self() operator.EnrolmentOrSession {
	return operator.EnrolmentOrSession{Browser: m.browser, Session: m.token}
}

// join invites somebody, who enrols with a passkey and is signed in.
func (w *world) join(name string, role operator.Role) *member {
	w.t.Helper()
	m, e := w.invite(name, role)
	m.addPasskey(e)
	m.enrol(e)
	return m
}

// joinWithCodes is join with a password and one-time codes instead.
func (w *world) joinWithCodes(name string, role operator.Role) *member {
	w.t.Helper()
	m, e := w.invite(name, role)
	m.addCodes(e)
	m.enrol(e)
	return m
}

func (w *world) invite(name string, role operator.Role) (*member, operator.EnrolmentOrSession) {
	w.t.Helper()
	m := &member{w: w, email: name + "@example.com", browser: browser("192.0.2.1"), keys: factortest.New(w.t, origin)}
	m.keys.Step = 1
	link, account, err := w.d.Invite(w.t.Context(), operator.Host(), operator.Invitation{Name: name, Email: m.email, Role: role})
	if err != nil {
		w.t.Fatalf("inviting %s: %v", name, err)
	}
	m.id = account.ID
	return m, operator.EnrolmentOrSession{Browser: m.browser, Enrolment: link}
}

func (m *member) addPasskey(e operator.EnrolmentOrSession) {
	m.w.t.Helper()
	options, ceremony, err := m.w.d.BeginPasskey(m.w.t.Context(), e)
	if err != nil {
		m.w.t.Fatalf("BeginPasskey: %v", err)
	}
	if err := m.w.d.FinishPasskey(m.w.t.Context(), e, ceremony, m.keys.Register(options)); err != nil {
		m.w.t.Fatalf("FinishPasskey: %v", err)
	}
}

func (m *member) addCodes(e operator.EnrolmentOrSession) {
	m.w.t.Helper()
	ctx := m.w.t.Context()
	if err := m.w.d.SetPassword(ctx, e, secret.New(password)); err != nil {
		m.w.t.Fatalf("SetPassword: %v", err)
	}
	totp, err := m.w.d.BeginTOTP(ctx, e)
	if err != nil {
		m.w.t.Fatalf("BeginTOTP: %v", err)
	}
	m.seed = totp.Seed.Reveal()
	if err := m.w.d.FinishTOTP(ctx, e, m.code()); err != nil {
		m.w.t.Fatalf("FinishTOTP: %v", err)
	}
}

func (m *member) enrol(e operator.EnrolmentOrSession) {
	m.w.t.Helper()
	var err error
	if m.codes, m.token, m.session, err = m.w.d.Enrol(m.w.t.Context(), e.Browser, e.Enrolment); err != nil {
		m.w.t.Fatalf("Enrol: %v", err)
	}
}

// code is what the member's app shows now.
func (m *member) code() string { return factortest.Code(m.w.t, m.seed, m.w.now()) }

// next is code after half a minute, so that it is none that was taken.
func (m *member) next() string {
	m.w.pass(factor.TOTPStep)
	return m.code()
}

// signIn signs in with the passkey in a browser.
func (m *member) signIn(b operator.Browser) (secret.Text, operator.Session, error) {
	m.w.t.Helper()
	options, ceremony, err := m.w.d.SignInPasskeyBegin(m.w.t.Context(), b)
	if err != nil {
		m.w.t.Fatalf("SignInPasskeyBegin: %v", err)
	}
	return m.w.d.SignInPasskeyFinish(m.w.t.Context(), b, ceremony, m.keys.Sign(options))
}

// signInWithCode signs in with the password and a code in a browser.
func (m *member) signInWithCode(b operator.Browser, code string) (secret.Text, operator.Session, error) {
	m.w.t.Helper()
	half, err := m.w.d.SignInPassword(m.w.t.Context(), b, m.email, secret.New(password))
	if err != nil {
		m.w.t.Fatalf("SignInPassword: %v", err)
	}
	return m.w.d.SignInCode(m.w.t.Context(), b, half, code)
}

// again makes the member's session as good as new.
func (m *member) again() {
	m.w.t.Helper()
	var err error
	if m.token, m.session, err = m.signIn(m.browser); err != nil {
		m.w.t.Fatalf("signing in again: %v", err)
	}
}

// alive checks that a session works, or does not.
func (m *member) alive(what string, token secret.Text, want bool) {
	m.w.t.Helper()
	_, _, err := m.w.d.Session(m.w.t.Context(), m.browser, token)
	if want && err != nil || !want && !errors.Is(err, operator.ErrSession) {
		m.w.t.Errorf("%s: Session: %v, want it to work: %t", what, err, want)
	}
}

// is checks an error against the refusal that it should be.
func is(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// refused checks the rule of a refusal.
func refused(t testing.TB, what string, err error, rule string) {
	t.Helper()
	if err == nil || wire.RuleOf(err) != rule {
		t.Errorf("%s: %v (rule %q), want rule %q", what, err, wire.RuleOf(err), rule)
	}
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

// text is a value of a column as text.
func text(v any) string {
	switch v := v.(type) {
	case []byte:
		return string(v)
	case string:
		return v
	}
	return ""
}

// contains reports whether a text holds a secret, or the part of a token that is one.
func contains(text string, s secret.Text) bool {
	whole := s.Reveal()
	_, random, _ := strings.Cut(whole, ".")
	return strings.Contains(text, whole) || random != "" && strings.Contains(text, random)
}

// authenticator is a new one, whose passkeys count.
func (w *world) authenticator() *factortest.Authenticator {
	a := factortest.New(w.t, origin)
	a.Step = 1
	return a
}
