package scim_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/identity/factor/factortest"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/scim"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"

	"golang.org/x/mod/sumdb/note"
)

const production gatehouse.Environment = "production"

// world is a provider's side of a Gatehouse, over HTTP, on a real store, vault and log.
type world struct {
	t      testing.TB
	db     *store.DB
	vault  *vault.Vault
	log    *audit.Log
	d      *operator.Directory
	tokens *scim.Tokens
	server *httptest.Server
	raw    *storetest.Raw
	token  secret.Text
	id     scim.TokenID
	ahead  atomic.Int64
	lines  lines
}

// lines are those of the access log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// written is the access log, once nothing is asked any more.
func (w *world) written() string {
	w.server.Close()
	w.lines.mu.Lock()
	defer w.lines.mu.Unlock()
	return w.lines.text.String()
}

// options are what differs between worlds.
type options struct {
	groups  map[string]operator.Role
	store   func(operator.Store) operator.Store
	audit   func(audit.Store) audit.Store
	sources []netip.Prefix
	limits  scim.Limits
}

func newWorld(t testing.TB, dsn string, o options) *world {
	t.Helper()
	w := &world{t: t, db: storetest.Open(t, dsn)}
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "root.key")
	fail(vault.CreateRootKeyFile(path))
	root, err := vault.NewFileRootKey(path)
	fail(err)
	config := vault.Config{Root: root, Store: w.db.Vault(), Environment: production}
	fail(vault.Init(t.Context(), config))
	w.vault, err = vault.Open(t.Context(), config)
	fail(err)
	key, _, err := note.GenerateKey(rand.Reader, "gatehouse/test")
	fail(err)
	signer, err := note.NewSigner(key)
	fail(err)
	entries := audit.Store(w.db.Audit())
	if o.audit != nil {
		entries = o.audit(entries)
	}
	w.log, err = audit.Open(t.Context(), audit.Config{
		LookEvery: time.Hour, Store: entries, Signer: signer, Environment: production, Seal: w.vault.SealPersonal, Aside: t.TempDir(),
		Log: slog.New(slog.DiscardHandler), OnFault: func(err error) { t.Logf("log: %v", err) },
	})
	fail(err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.log.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("running the log: %v", err)
		}
	})
	passwords, err := factor.NewPasswords(factor.PasswordConfig{})
	fail(err)
	accounts := operator.Store(w.db.Operators())
	if o.store != nil {
		accounts = o.store(accounts)
	}
	w.d, err = operator.New(operator.Config{
		Store: accounts, Log: w.log, Derive: w.vault.Derive, Passwords: passwords, Environment: production, Now: w.now, Groups: o.groups,
	})
	fail(err)
	w.tokens, err = scim.NewTokens(scim.TokensConfig{Store: w.db.ScimTokens(), Log: w.log, Derive: w.vault.Derive, Now: w.now})
	fail(err)
	w.serve(o)
	text, k, err := w.tokens.Create(t.Context(), operator.Host(), 0, -1)
	fail(err)
	w.token, w.id = text, k.ID
	w.raw = storetest.OpenRaw(t, dsn)
	return w
}

// serve listens, and is the address that resources get.
func (w *world) serve(o options) {
	w.t.Helper()
	var handler http.Handler
	w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { handler.ServeHTTP(rw, r) }))
	w.t.Cleanup(w.server.Close)
	at, err := url.Parse(w.server.URL)
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := scim.New(scim.Config{
		URL: at, Directory: w.d, Tokens: w.tokens, Log: w.log, Sources: o.sources, Limits: o.limits,
		Logger: slog.New(slog.NewTextHandler(&w.lines, nil)),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	handler = s.Handler()
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

// answer is what a provider gets.
type answer struct {
	t      testing.TB
	asked  string
	status int
	header http.Header
	raw    string
	body   map[string]any
}

// do sends what a provider sends, with its token.
func (w *world) do(method, path, body string) answer {
	w.t.Helper()
	return w.send(method, path, body, http.Header{"Authorization": {"Bearer " + w.token.Reveal()}, "Content-Type": {"application/scim+json"}})
}

func (w *world) send(method, path, body string, header http.Header) answer {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header = header
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	a := answer{t: w.t, asked: method + " " + path, status: resp.StatusCode, header: resp.Header, raw: string(raw)}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &a.body); err != nil {
			w.t.Fatalf("%s: the answer is no JSON: %v\n%s", a.asked, err, raw)
		}
	}
	return a
}

// is demands a status and returns the answer.
func (a answer) is(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: got %d, want %d\n%s", a.asked, a.status, status, a.raw)
	}
	return a
}

// refused demands an error of SCIM's schema.
func (a answer) refused(status int, kind string) answer {
	a.t.Helper()
	a.is(status)
	if got := a.header.Get("Content-Type"); got != "application/scim+json" {
		a.t.Errorf("%s: the error has the type %s", a.asked, got)
	}
	got, _ := a.body["scimType"].(string)
	if a.body["status"] != fmt.Sprint(status) || got != kind || a.body["detail"] == "" || fmt.Sprint(a.body["schemas"]) != "[urn:ietf:params:scim:api:messages:2.0:Error]" {
		a.t.Errorf("%s: the error is not of SCIM's schema, or not %q\n%s", a.asked, kind, a.raw)
	}
	return a
}

// has demands what stands at a path of names of the answer: emails.0.value.
func (a answer) has(path string, want any) answer {
	a.t.Helper()
	if got := a.at(path); fmt.Sprint(got) != fmt.Sprint(want) {
		a.t.Fatalf("%s: %s is %v, want %v\n%s", a.asked, path, got, want, a.raw)
	}
	return a
}

func (a answer) at(path string) any {
	var v any = a.body
	for name := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[name]
		case []any:
			i := int(name[0] - '0')
			if i >= len(in) {
				return nil
			}
			v = in[i]
		default:
			return nil
		}
	}
	return v
}

func (a answer) id() string {
	a.t.Helper()
	id, _ := a.body["id"].(string)
	if id == "" {
		a.t.Fatalf("%s: there is no id\n%s", a.asked, a.raw)
	}
	return id
}

// account is what operators see of an account.
func (w *world) account(id string) operator.Account {
	w.t.Helper()
	a, err := w.d.Account(w.t.Context(), operator.AccountID(id))
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// state demands that an account is where it should be in its life.
func (w *world) state(id string, want operator.State, reason string) {
	w.t.Helper()
	if a := w.account(id); a.State != want || a.Reason != reason {
		w.t.Fatalf("the account is %s (%s), want %s (%s)", a.State, a.Reason, want, reason)
	}
}

func browser(cookie secret.Text) operator.Browser {
	return operator.Browser{Binding: cookie, Agent: "test", Source: netip.MustParseAddr("192.0.2.1")}
}

// signedIn enrols an account by a link, as its operator does, and returns the session.
func (w *world) signedIn(link secret.Text) (secret.Text, operator.Browser) {
	w.t.Helper()
	fail := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	b := browser(secret.New(rand.Text()))
	e := operator.EnrolmentOrSession{Browser: b, Enrolment: link}
	fail(w.d.SetPassword(w.t.Context(), e, secret.New(rand.Text())))
	app, err := w.d.BeginTOTP(w.t.Context(), e)
	fail(err)
	fail(w.d.FinishTOTP(w.t.Context(), e, factortest.Code(w.t, app.Seed.Reveal(), w.now())))
	_, token, _, err := w.d.Enrol(w.t.Context(), b, link)
	fail(err)
	return token, b
}

// operator makes an operator here, without any provider.
func (w *world) operator(email string, role operator.Role) operator.AccountID {
	w.t.Helper()
	link, a, err := w.d.Invite(w.t.Context(), operator.Host(), operator.Invitation{Name: email, Email: email, Role: role})
	if err != nil {
		w.t.Fatal(err)
	}
	w.signedIn(link)
	return a.ID
}

// enrol gives a provisioned account its link, as an owner does, and enrols it.
func (w *world) enrol(id string) (secret.Text, operator.Browser) {
	w.t.Helper()
	link, _, err := w.d.Reinvite(w.t.Context(), operator.Host(), operator.AccountID(id))
	if err != nil {
		w.t.Fatal(err)
	}
	return w.signedIn(link)
}

// opens reports whether a session works.
func (w *world) opens(token secret.Text, b operator.Browser) bool {
	w.t.Helper()
	_, _, err := w.d.Session(w.t.Context(), b, token)
	return err == nil
}

// roles are those that an account has.
func (w *world) roles(id string) string {
	w.t.Helper()
	var out []string
	for _, g := range w.account(id).Grants {
		out = append(out, string(g.Role))
	}
	return strings.Join(out, " ")
}

// entries are the log's leaves that hold all of some words.
func (w *world) entries(words ...string) []string {
	w.t.Helper()
	if err := w.log.Flush(context.WithoutCancel(w.t.Context())); err != nil {
		w.t.Fatal(err)
	}
	return w.raw.Leaves(words...)
}
