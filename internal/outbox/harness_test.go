package outbox_test

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/outbox"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"golang.org/x/mod/sumdb/note"
)

// delivery is a request as the app got it.
type delivery struct {
	ID      string          `json:"id"`
	Type    string          `json:"type"`
	App     string          `json:"app"`
	Created time.Time       `json:"created_at"`
	Attempt int             `json:"attempt"`
	Data    json.RawMessage `json:"data"`

	header http.Header
	body   []byte
}

// app is an endpoint over real HTTP. It closes each connection, so that nothing
// of it lives on in a synctest bubble.
type app struct {
	*httptest.Server
	mu   sync.Mutex
	got  []delivery
	news chan struct{} // something was got; never used inside a bubble
	// answer decides what is said to the nth delivery of an event, from 1; nil is
	// always 200.
	answer func(w http.ResponseWriter, d delivery, n int)
}

func newApp(t *testing.T, answer func(w http.ResponseWriter, d delivery, n int)) *app {
	t.Helper()
	a := &app{answer: answer, news: make(chan struct{}, 1)}
	a.Server = httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(a.Close)
	return a
}

func (a *app) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var d delivery
	if err != nil || json.Unmarshal(body, &d) != nil || r.Method != http.MethodPost || r.URL.Path != "/events" {
		http.Error(w, "not a delivery", http.StatusTeapot)
		return
	}
	d.header, d.body = r.Header.Clone(), body
	a.mu.Lock()
	a.got = append(a.got, d)
	n := 0
	for _, earlier := range a.got {
		if earlier.ID == d.ID {
			n++
		}
	}
	answer := a.answer
	a.mu.Unlock()
	select {
	case a.news <- struct{}{}:
	default:
	}
	w.Header().Set("Connection", "close")
	if answer != nil {
		answer(w, d, n)
	}
}

// deliveries returns what was got so far.
func (a *app) deliveries() []delivery {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.got)
}

// ids returns the events in the order in which they came.
func (a *app) ids() []string {
	var ids []string
	for _, d := range a.deliveries() {
		ids = append(ids, d.ID)
	}
	return ids
}

func status(code int) func(http.ResponseWriter, delivery, int) {
	return func(w http.ResponseWriter, _ delivery, _ int) { w.WriteHeader(code) }
}

// world is an outbox and what it stands on. Nothing of it uses the network but
// its deliveries, so that it can live in a synctest bubble.
type world struct {
	*outbox.Outbox
	t         *testing.T
	dsn       string
	db        *store.DB
	vault     *vault.Vault
	log       *audit.Log
	lines     *lines
	rootKey   string
	signerKey string
}

// lines collects the program's log.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// newWorld opens an outbox that delivers to url on the database of dsn.
func newWorld(t *testing.T, dsn, url string, change ...func(*outbox.Config)) *world {
	t.Helper()
	return newWorldOnLog(t, dsn, url, func(s audit.Store) audit.Store { return s }, change...)
}

func newWorldOnLog(t *testing.T, dsn, url string, logStore func(audit.Store) audit.Store, change ...func(*outbox.Config)) *world {
	t.Helper()
	w := &world{t: t, dsn: dsn, db: storetest.Open(t, dsn), lines: &lines{}}
	w.rootKey = filepath.Join(t.TempDir(), "root.key")
	if err := vault.CreateRootKeyFile(w.rootKey); err != nil {
		t.Fatal(err)
	}
	config := vault.Config{Root: must(vault.NewFileRootKey(w.rootKey))(t), Store: w.db.Vault(), Environment: "development"}
	if err := vault.Init(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	w.vault = must(vault.Open(t.Context(), config))(t)
	t.Cleanup(w.vault.Close)
	key, _, err := note.GenerateKey(rand.Reader, "gatehouse/test")
	if err != nil {
		t.Fatal(err)
	}
	w.signerKey = key
	w.log = must(audit.Open(t.Context(), audit.Config{
		LookEvery: time.Hour,
		Store:     logStore(w.db.Audit()), Signer: must(note.NewSigner(key))(t), Environment: "development", Seal: w.vault.SealPersonal,
		Log: slog.New(slog.DiscardHandler),
	}))(t)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.log.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	w.Outbox = w.open(url, change...)
	return w
}

// open opens another outbox on the world's database.
func (w *world) open(url string, change ...func(*outbox.Config)) *outbox.Outbox {
	w.t.Helper()
	c := outbox.Config{
		Store: w.db.Outbox(), Log: w.log, Vault: w.vault, URL: url,
		Logger: slog.New(slog.NewTextHandler(w.lines, nil)),
	}
	if url != "" {
		c.Egress = egressTo(w.t, url)
	}
	for _, f := range change {
		f(&c)
	}
	return must(outbox.New(c))(w.t)
}

func egressTo(t *testing.T, url string) *wire.Egress {
	t.Helper()
	host, _, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
	e := must(wire.NewEgress(wire.EgressConfig{Hosts: []string{host}, AllowLoopback: true, AllowPlainLoopback: true}))(t)
	t.Cleanup(e.CloseIdle)
	return e
}

// run delivers until the test ends or the returned function is called.
func (w *world) run() (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				w.t.Errorf("Run: %v", err)
			}
		})
	}
	w.t.Cleanup(stop)
	return stop
}

// put puts an event of nobody.
func (w *world) put(id, stream string) {
	w.t.Helper()
	if err := w.Put(w.t.Context(), event(id, stream)); err != nil {
		w.t.Fatalf("putting %s: %v", id, err)
	}
}

func event(id, stream string) outbox.Event {
	return outbox.Event{ID: id, Type: "test.event", App: "main-x", Stream: stream, Data: json.RawMessage(`{"n":1}`)}
}

func (w *world) state(id string) outbox.Delivery {
	w.t.Helper()
	d, err := w.State(w.t.Context(), id)
	if err != nil {
		w.t.Fatalf("state of %s: %v", id, err)
	}
	return d
}

// secret returns the signing secret in force.
func (w *world) secret() string {
	w.t.Helper()
	text, _, err := w.Secret(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return text.Reveal()
}

// actions returns the log's entries of an action, oldest first.
func (w *world) actions(action string) []audit.Leaf {
	w.t.Helper()
	if err := w.log.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	var found []audit.Leaf
	if err := w.db.Audit().Snapshot(w.t.Context(), func(r audit.Reader) error {
		rows, err := r.Entries(w.t.Context(), 0, 10000)
		for _, row := range rows {
			var leaf audit.Leaf
			if err := json.Unmarshal(row.Leaf, &leaf); err != nil {
				return err
			}
			if leaf.Action == action {
				found = append(found, leaf)
			}
		}
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	return found
}

// eventually waits, in real time, until a condition holds; it looks again
// whenever the app gets something, and every few milliseconds.
func eventually(t *testing.T, a *app, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for !cond() {
		select {
		case <-a.news:
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			t.Fatalf("it never came about that %s", what)
		}
	}
}

// verify checks a delivery's signature twice: with the library that apps use,
// and with the few lines that docs/events.md describes.
func verify(t *testing.T, d delivery, secret string, virtual bool) error {
	t.Helper()
	library := must(standardwebhooks.NewWebhook(secret))(t)
	check := library.Verify
	if virtual { // the library looks at the machine's clock
		check = library.VerifyIgnoringTimestamp
	}
	byLibrary := check(d.body, d.header)
	if byHand := verifyByHand(d, secret); (byHand == nil) != (byLibrary == nil) {
		t.Errorf("the library says %v, and our own check %v", byLibrary, byHand)
	}
	return byLibrary
}

func verifyByHand(d delivery, secret string) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || !strings.HasPrefix(secret, "whsec_") || len(key) < 24 || len(key) > 64 {
		return fmt.Errorf("the secret has %d bytes: %w", len(key), errors.Join(err, gatehouse.ErrInvalid))
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", d.header.Get("webhook-id"), d.header.Get("webhook-timestamp"), d.body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	if !slices.Contains(strings.Split(d.header.Get("webhook-signature"), " "), want) {
		return errors.New("no signature matches")
	}
	return nil
}
