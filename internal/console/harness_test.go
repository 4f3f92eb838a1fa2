package console

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/identity/factor/factortest"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"

	"golang.org/x/mod/sumdb/note"
)

const (
	origin       = "http://localhost:8102"
	testPassword = "a heron stands in the reeds"
)

// house is a console on a real directory, vault, log and store.
type house struct {
	t         *testing.T
	directory *operator.Directory
	console   *Console
	handler   http.Handler
	config    operator.Config // of the directory
	db        *store.DB
	log       *audit.Log
	signer    note.Signer
	ahead     atomic.Int64 // by how much the directory's clock is ahead
}

func (h *house) now() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) }

// newHouse returns a console with pages beside its own. change may be nil.
func newHouse(t *testing.T, change func(*Config), pages ...Page) *house {
	t.Helper()
	h := &house{t: t}
	db := storetest.Open(t, storetest.SQLite(t))
	path := filepath.Join(t.TempDir(), "root.key")
	must(t, vault.CreateRootKeyFile(path))
	root, err := vault.NewFileRootKey(path)
	must(t, err)
	keys := vault.Config{Root: root, Store: db.Vault(), Environment: "development"}
	must(t, vault.Init(t.Context(), keys))
	v, err := vault.Open(t.Context(), keys)
	must(t, err)
	key, _, err := note.GenerateKey(rand.Reader, "gatehouse/test")
	must(t, err)
	signer, err := note.NewSigner(key)
	must(t, err)
	log, err := audit.Open(t.Context(), audit.Config{
		LookEvery: time.Hour, Store: db.Audit(), Signer: signer, Environment: "development", Seal: v.SealPersonal,
		Log: slog.New(slog.DiscardHandler), OnFault: func(err error) { t.Logf("log: %v", err) },
	})
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- log.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("running the log: %v", err)
		}
	})
	passwords, err := factor.NewPasswords(factor.PasswordConfig{})
	must(t, err)
	passkeys, err := factor.NewPasskeys(factor.PasskeyConfig{Origin: origin, Name: "Gatehouse", Discoverable: true})
	must(t, err)
	h.config = operator.Config{
		Store: db.Operators(), Log: log, Derive: v.Derive, Passwords: passwords, Passkeys: passkeys, Environment: "development", Now: h.now,
	}
	h.db, h.log, h.signer = db, log, signer
	h.directory, err = operator.New(h.config)
	must(t, err)
	h.build(change, pages...)
	return h
}

// build makes the console anew.
func (h *house) build(change func(*Config), pages ...Page) {
	h.t.Helper()
	c := Config{URL: mustURL(origin), Environment: "development", Directory: h.directory, Pages: pages}
	if change != nil {
		change(&c)
	}
	var err error
	h.console, err = New(c)
	must(h.t, err)
	h.t.Cleanup(h.console.Close)
	h.handler = h.console.Handler()
}

// reopen makes the directory anew, with another configuration, and the console.
func (h *house) reopen(change func(*operator.Config), pages ...Page) {
	h.t.Helper()
	change(&h.config)
	var err error
	h.directory, err = operator.New(h.config)
	must(h.t, err)
	h.build(nil, pages...)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}

// desk is an operator's browser in front of a console.
type desk struct {
	t       *testing.T
	house   *house
	keys    *factortest.Authenticator
	account operator.Account
	cookies map[string]string
}

// newDesk returns the browser of an operator who has a role and has just signed in,
// in front of a console with pages beside its own.
func newDesk(t *testing.T, role operator.Role, pages ...Page) *desk {
	t.Helper()
	return newHouse(t, nil, pages...).join("Ada", role)
}

// stranger returns a browser that nobody has signed in with.
func (h *house) stranger() *desk {
	return &desk{t: h.t, house: h, keys: factortest.New(h.t, origin), cookies: map[string]string{bindingCookie: rand.Text()}}
}

// again returns the same browser a second time, for requests at the same time.
func (d *desk) again() *desk {
	same := *d
	same.cookies = maps.Clone(d.cookies)
	return &same
}

func (d *desk) browser() operator.Browser {
	return operator.Browser{Source: netip.MustParseAddr("192.0.2.1"), Agent: "test", Binding: secret.New(d.cookies[bindingCookie])}
}

// join returns the browser of a new operator who enrolled with a passkey.
func (h *house) join(name string, role operator.Role) *desk {
	h.t.Helper()
	d := h.stranger()
	ctx := h.t.Context()
	link, account, err := h.directory.Invite(ctx, operator.Host(), operator.Invitation{Name: name, Email: strings.ToLower(name) + "@example.com", Role: role})
	must(h.t, err)
	d.account = account
	e := operator.EnrolmentOrSession{Browser: d.browser(), Enrolment: link}
	options, ceremony, err := h.directory.BeginPasskey(ctx, e)
	must(h.t, err)
	must(h.t, h.directory.FinishPasskey(ctx, e, ceremony, d.keys.Register(options)))
	_, token, _, err := h.directory.Enrol(ctx, d.browser(), link)
	must(h.t, err)
	d.cookies[sessionCookie] = token.Reveal()
	return d
}

// reply is what a browser got.
type reply struct {
	status int
	header http.Header
	body   string
}

// get asks for a page as the browser would.
func (d *desk) get(path string) reply { return d.do(http.MethodGet, path, nil, nil) }

// post sends a form of ours: pairs of name and value.
func (d *desk) post(path string, fields ...string) reply {
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	return d.do(http.MethodPost, path, form, map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": origin})
}

func (d *desk) do(method, path string, form url.Values, header map[string]string) reply {
	d.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r := httptest.NewRequestWithContext(d.t.Context(), method, origin+path, body)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range header {
		if name == "Host" {
			r.Host = value
		}
		r.Header.Set(name, value)
	}
	return d.send(r)
}

// newRequest is a request of a page of ours.
func newRequest(t *testing.T, method, path, body string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, origin+path, strings.NewReader(body))
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return r
}

// send sends a request with the browser's cookies, and keeps those that it gets.
func (d *desk) send(r *http.Request) reply {
	for name, value := range d.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	d.house.handler.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(d.cookies, c.Name)
		} else {
			d.cookies[c.Name] = c.Value
		}
	}
	return reply{w.Code, w.Header(), w.Body.String()}
}

// shows fails unless the page has every text and none of the others (which begin
// with "!").
func (r reply) shows(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		without := strings.TrimPrefix(text, "!")
		if strings.Contains(r.body, without) != (without == text) {
			t.Errorf("status %d: the page is wrong about %q:\n%s", r.status, text, r.body)
		}
	}
}

// goesTo fails unless the browser is sent to an address of ours.
func (r reply) goesTo(t *testing.T, to string) {
	t.Helper()
	if got := r.header.Get("Location"); r.status != http.StatusSeeOther || got != to {
		t.Errorf("status %d to %q, want 303 to %q\n%s", r.status, got, to, r.body)
	}
}
