package lineage_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/fingerprint"
	"gatehouse/internal/lineage"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"

	"github.com/google/go-cmp/cmp"
)

// world is a lineage on a real store, vault and log.
type world struct {
	*connecttest.World
	t *testing.T
	l *lineage.Lineage
	// wrap changes the configuration of the next open.
	wrap func(*lineage.Config)
}

func each(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, dsn string) { f(t, newWorld(t, dsn, nil)) })
}

func newWorld(t *testing.T, dsn string, wrap func(*lineage.Config)) *world {
	t.Helper()
	w := &world{World: connecttest.New(t, dsn, connecttest.Options{}), t: t, wrap: wrap}
	w.l = w.open()
	return w
}

// open is another process on the same database, whose index is loaded.
func (w *world) open() *lineage.Lineage {
	w.t.Helper()
	l := w.start()
	if err := l.Load(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return l
}

// start is a process whose index is not loaded yet.
func (w *world) start() *lineage.Lineage {
	w.t.Helper()
	index, err := fingerprint.New(fingerprint.Config{Key: fingerprint.Key{1}, Capacity: 100_000})
	if err != nil {
		w.t.Fatal(err)
	}
	c := lineage.Config{
		Store: w.DB.Lineage(), Log: w.Log, Key: w.Connections.UserKey, Keys: w.Connections.UserKeys,
		Index: index,
		Brands: func(ctx context.Context) ([]string, error) {
			key, err := w.Connections.UserKey(ctx, "main-x", "900900900900")
			return []string{key}, err
		},
	}
	if w.wrap != nil {
		w.wrap(&c)
	}
	l, err := lineage.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

// fresh is a world on SQLite.
func fresh(t *testing.T, wrap func(*lineage.Config)) *world {
	t.Helper()
	return newWorld(t, storetest.SQLite(t), wrap)
}

var source = lineage.Source{
	Platform: gatehouse.X, App: "main-x", Operation: "GET /2/users/{id}", Purpose: "insights", Service: "web", Handle: "handle-1",
}

// person is somebody with an id and an address.
func person(id string, more ...fingerprint.Value) lineage.Delivered {
	return lineage.Delivered{ID: id, Values: append([]fingerprint.Value{
		{Class: gatehouse.PseudonymousID, Text: id}, {Class: gatehouse.EmailAddress, Text: "mail" + id + "@example.com"},
	}, more...)}
}

func mail(id string) string { return "mail" + id + "@example.com" }

func (w *world) deliver(l *lineage.Lineage, s lineage.Source, people ...lineage.Delivered) {
	w.t.Helper()
	if err := l.Deliver(w.t.Context(), s, people); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) keys(ids ...string) []string {
	w.t.Helper()
	keys := []string{}
	for _, id := range ids {
		key, err := w.Connections.UserKey(w.t.Context(), "main-x", id)
		if err != nil {
			w.t.Fatal(err)
		}
		keys = append(keys, key)
	}
	return keys
}

// ask returns "kind class went-to verdict×count" of every flow of a subject.
func (w *world) ask(l *lineage.Lineage, about lineage.Subject) []string {
	w.t.Helper()
	out := []string{}
	for _, f := range w.flows(l, about) {
		to := f.Destination
		if to == "" {
			to = string(f.Service)
		}
		out = append(out, fmt.Sprintf("%s %s %s %s×%d", f.Kind, f.Class, to, f.Verdict, f.Count))
	}
	slices.Sort(out)
	return out
}

func (w *world) flows(l *lineage.Lineage, about lineage.Subject) []lineage.Flow {
	w.t.Helper()
	if err := l.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	var all []lineage.Flow
	if _, err := l.EachFlow(w.t.Context(), lineage.Question{About: about}, func(page []lineage.Flow) error {
		all = append(all, page...)
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	return all
}

func (w *world) of(l *lineage.Lineage, id string) []string {
	w.t.Helper()
	return w.ask(l, lineage.Subject{Keys: w.keys(id)})
}

func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if want == nil {
		want = []string{}
	}
	if !cmp.Equal(got, want) {
		t.Errorf("%s: %s", what, cmp.Diff(want, got))
	}
}

func to(host string, may ...gatehouse.DataClass) lineage.Transfer {
	return lineage.Transfer{Service: "web", Purpose: "analytics", Destination: host, May: may}
}

// send puts a body through a search and returns what stopped it.
func (w *world) send(l *lineage.Lineage, tr lineage.Transfer, body string) error {
	w.t.Helper()
	s := l.Search(tr)
	defer s.Close()
	_, _ = s.Write([]byte(body))
	if n, err := s.Judge(w.t.Context()); err != nil {
		if n != 0 {
			w.t.Errorf("stopped, and %d bytes may go", n)
		}
		return err
	}
	return s.End(w.t.Context())
}

func rule(err error) string {
	if err == nil {
		return "passed"
	}
	return wire.RuleOf(err)
}

// faulty is a store that fails when it is told to.
type faulty struct {
	lineage.Store
	// fail is consulted at each write; before says that it fails instead of storing,
	// after that it fails although it stored.
	before, after atomic.Bool
	notes         atomic.Int32
}

var errDisk = errors.New("the disk is full")

func (f *faulty) Note(ctx context.Context, b *lineage.Batch) (lineage.Noted, error) {
	f.notes.Add(1)
	if f.before.Load() {
		return lineage.Noted{}, errDisk
	}
	n, err := f.Store.Note(ctx, b)
	if err == nil && f.after.Load() {
		return lineage.Noted{}, errDisk
	}
	return n, err
}

func (f *faulty) Erase(ctx context.Context, hashes []string, at, until time.Time) ([]lineage.Owner, int64, error) {
	if f.before.Load() {
		return nil, 0, errDisk
	}
	owners, n, err := f.Store.Erase(ctx, hashes, at, until)
	if err == nil && f.after.Load() {
		return nil, 0, errDisk
	}
	return owners, n, err
}

func (f *faulty) Count(ctx context.Context, c []lineage.Count) error {
	if f.before.Load() {
		return errDisk
	}
	return f.Store.Count(ctx, c)
}

// withFaulty makes a world whose store can be made to fail.
func withFaulty(t *testing.T) (*world, *faulty) {
	t.Helper()
	f := &faulty{}
	w := newWorld(t, storetest.SQLite(t), func(c *lineage.Config) {
		f.Store = c.Store
		c.Store = f
	})
	return w, f
}

// actions are the log's entries, "action verdict facts".
func (w *world) actions(action string) []string {
	w.t.Helper()
	if err := w.Log.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	rows, err := audit.List(w.t.Context(), w.DB.Audit(), audit.Filter{Last: 1000, Action: action})
	if err != nil {
		w.t.Fatal(err)
	}
	out := []string{}
	for _, r := range rows {
		out = append(out, fmt.Sprintf("%+v", r))
	}
	return out
}

// everything is every byte that the database's files hold.
func everything(t *testing.T, dsn string) string {
	t.Helper()
	var all strings.Builder
	path := strings.TrimPrefix(dsn, "sqlite:")
	for _, suffix := range []string{"", "-wal"} {
		f, err := os.Open(path + suffix)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(&all, f); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	return all.String()
}
