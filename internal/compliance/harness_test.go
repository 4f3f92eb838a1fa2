package compliance_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/compliance"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/platform"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"
)

// desk is an index with its jobs, joined over HTTP to the sandbox's X.
type desk struct {
	t *testing.T
	*connecttest.World
	k     *compliance.Compliance
	app   compliance.App
	bound compliance.Bounds
	lines *logLines
	// wrap changes the configuration of the next open.
	wrap func(*compliance.Config)

	mu     sync.Mutex
	found  []compliance.Finding
	refuse error // what Found answers
}

// logLines keeps what was logged.
type logLines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// quick are bounds under which everything is due at once.
var quick = compliance.Bounds{Retry: time.Millisecond, Slow: time.Hour, PerJob: 1000, Page: 100, Remember: 1000}

func newDesk(t *testing.T, dsn string, change ...func(*desk, *connecttest.Options)) *desk {
	t.Helper()
	d := &desk{t: t, bound: quick, lines: &logLines{}, app: compliance.App{Name: "main-x", Keep: 24 * time.Hour, Every: time.Hour}}
	var o connecttest.Options
	for _, f := range change {
		f(d, &o)
	}
	d.World = connecttest.New(t, dsn, o)
	d.app.API = d.XURL
	d.k = d.openAgain()
	return d
}

// openAgain is another process on the same database.
func (d *desk) openAgain() *compliance.Compliance {
	d.t.Helper()
	storage, err := wire.NewEgress(wire.EgressConfig{
		Hosts: []string{strings.TrimPrefix(d.XURL, "http://")}, AnyPublicHost: true, AllowLoopback: true, AllowPlainLoopback: true, MaxReplyBytes: 1 << 20,
	})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(storage.CloseIdle)
	c := compliance.Config{
		Store: d.DB.Compliance(), Log: d.Log, Vault: d.Vault, Connections: d.Connections, API: d.Egress, Storage: storage,
		Apps: []compliance.App{d.app}, Found: d.take, Logger: slog.New(slog.NewTextHandler(d.lines, nil)),
	}
	if d.wrap != nil {
		d.wrap(&c)
	}
	k, err := compliance.New(c)
	if err != nil {
		d.t.Fatal(err)
	}
	k.Bound(d.bound)
	return k
}

func (d *desk) take(_ context.Context, f compliance.Finding) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refuse != nil {
		return d.refuse
	}
	d.found = append(d.found, f)
	return nil
}

// taken returns "kind id reason" of every finding that was taken over.
func (d *desk) taken() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := []string{}
	for _, f := range d.found {
		out = append(out, fmt.Sprintf("%s %s %s", f.Kind, f.ID, f.Reason))
	}
	return out
}

// deliver notes identifiers as the gateway would.
func (d *desk) deliver(k *compliance.Compliance, kind platform.ReferenceKind, ids ...string) {
	d.t.Helper()
	var all []platform.Reference
	for _, id := range ids {
		n, err := strconv.ParseUint(id, 10, 64)
		if err != nil {
			d.t.Fatal(err)
		}
		all = append(all, platform.Reference{Kind: kind, ID: n})
	}
	if err := k.Recorder("main-x")(d.t.Context(), all); err != nil {
		d.t.Fatal(err)
	}
}

// run starts a run and works until both lists are idle and nothing waits.
func (d *desk) run(k *compliance.Compliance) {
	d.t.Helper()
	if err := k.Start(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
	d.finish(k)
}

func (d *desk) finish(k *compliance.Compliance) {
	d.t.Helper()
	for range 300 {
		if err := errors.Join(k.Tend(d.t.Context()), k.HandOver(d.t.Context())); err != nil && d.refuse == nil {
			d.t.Fatal(err)
		}
		if d.idle(k) {
			return
		}
		time.Sleep(2 * time.Millisecond) // a pause of X's, or a lease
	}
	d.t.Fatalf("the run did not end: %+v\n%s", d.status(k), d.lines)
}

func (d *desk) status(k *compliance.Compliance) map[compliance.Kind]compliance.Status {
	d.t.Helper()
	all, err := k.Status(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	out := map[compliance.Kind]compliance.Status{}
	for _, s := range all {
		out[s.Kind] = s
	}
	return out
}

func (d *desk) idle(k *compliance.Compliance) bool {
	now := time.Now()
	for _, s := range d.status(k) {
		if s.State != compliance.Idle || !s.Next.After(now) || s.Waiting > 0 && d.refuse == nil {
			return false
		}
	}
	return true
}

// ask asks the sandbox's X as the app.
func (d *desk) ask(path string, into any) {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), http.MethodGet, d.XURL+path, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+d.X.AppBearer())
	reply, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer reply.Body.Close()
	if err := json.NewDecoder(reply.Body).Decode(into); err != nil {
		d.t.Fatalf("%s: %v", path, err)
	}
}

// user returns a person's identifier at the sandbox.
func (d *desk) user(person int) string {
	d.t.Helper()
	var reply struct{ Data struct{ ID string } }
	d.ask("/2/users/by/username/"+connecttest.Person(person), &reply)
	return reply.Data.ID
}

// posts returns identifiers of a person's posts at the sandbox, and of the next
// people's if those are too few.
func (d *desk) posts(person int, n int) []string {
	d.t.Helper()
	var all []string
	for ; len(all) < n; person++ {
		var reply struct{ Data []struct{ ID string } }
		d.ask("/2/users/"+d.user(person)+"/tweets?max_results=100", &reply)
		for _, p := range reply.Data {
			all = append(all, p.ID)
		}
	}
	return all[:n]
}

// arrived counts the requests that the sandbox's X got.
func (d *desk) arrived(method, pathPrefix string) int {
	n := 0
	for _, r := range d.Requests.Last(1000) {
		if r.Method == method && strings.HasPrefix(r.Path, pathPrefix) {
			n++
		}
	}
	return n
}

func each(t *testing.T, f func(t *testing.T, d *desk), change ...func(*desk, *connecttest.Options)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, dsn string) { f(t, newDesk(t, dsn, change...)) })
}

// between puts a handler before the sandbox's X.
func between(h func(w http.ResponseWriter, r *http.Request, next http.Handler)) func(*desk, *connecttest.Options) {
	return func(_ *desk, o *connecttest.Options) {
		o.Platform = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h(w, r, next) })
		}
	}
}
