package main

import (
	"cmp"
	"context"
	cryptorand "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/cases"
	"gatehouse/internal/connect"
	"gatehouse/internal/console"
	"gatehouse/internal/fingerprint"
	"gatehouse/internal/identity"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/lineage"
	"gatehouse/internal/policy"
	"gatehouse/internal/store/storetest"
)

// crowd is what was put into a store to be looked at.
type crowd struct {
	Connections []gatehouse.ConnectionID `json:"connections"`
	People      []gatehouse.PersonID     `json:"people"`
	// Entries are some, by id.
	Entries []string `json:"entries"`
	Key     string   `json:"key"`
	Review  string   `json:"review"`
	Duty    string   `json:"duty"`
	// Of how many they are.
	Total   int `json:"total_connections"`
	Written int `json:"written_entries"`
	// Engine is what the store is on.
	Engine string `json:"engine"`
}

// kept is a directory with a store that was filled once, for more than one run.
type kept struct {
	dir  string
	file string // says what is there, once it is filled
	was  *crowd
}

func newKept(b *testing.B) *kept {
	b.Helper()
	if *benchKeep == "" {
		return &kept{dir: b.TempDir()}
	}
	dir, err := filepath.Abs(*benchKeep)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	k := &kept{dir: dir, file: filepath.Join(dir, "crowd.json")}
	text, err := os.ReadFile(k.file)
	if errors.Is(err, fs.ErrNotExist) {
		if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
			b.Fatalf("-console.keep: %s is not empty, and nothing says that it was filled to the end (%v)", dir, err)
		}
		return k
	}
	if err != nil {
		b.Fatal(err)
	}
	k.was = &crowd{}
	if err := json.Unmarshal(text, k.was); err != nil {
		b.Fatal(err)
	}
	if engine := cmp.Or(k.was.Engine, "sqlite"); engine != benchEngine() {
		b.Fatalf("-console.keep: %s was filled with a store on %s", dir, engine)
	}
	if k.was.Total != *benchConnections || k.was.Written != *benchEntries {
		b.Fatalf("-console.keep: %s has %d connections and %d entries", dir, k.was.Total, k.was.Written)
	}
	return k
}

// benchEngine is what the store is to be on.
func benchEngine() string {
	if *benchDatabase == "" {
		return "sqlite"
	}
	return "postgres"
}

// store returns the address of the store; empty for the configuration's own, which is
// a SQLite file in the directory.
func (k *kept) store(b *testing.B) string {
	b.Helper()
	if *benchDatabase != "postgres" {
		return *benchDatabase
	}
	if k.file != "" {
		b.Fatal("-console.keep: a PostgreSQL that is started for this run ends with it; name the address of one that stays")
	}
	return storetest.EmptyPostgres(b)
}

// crowd fills the store, unless that was done before.
func (k *kept) crowd(b *testing.B, p *parts) crowd {
	b.Helper()
	if k.was != nil {
		return *k.was
	}
	c := seedConsole(b, p)
	if k.file != "" {
		text, err := json.Marshal(c)
		if err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(k.file, text, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return c
}

// say reports how far a long filling is.
func say(b *testing.B, format string, args ...any) {
	b.Helper()
	if *benchKeep == "" {
		b.Logf(format, args...)
		return
	}
	_, _ = fmt.Fprintf(os.Stderr, time.Now().UTC().Format("15:04:05 ")+format+"\n", args...)
}

// seedConsole fills a store: connections of realistic size whose sealed fields are noise,
// a hundred of real people, and calls in the log, as a gateway writes them.
func seedConsole(b *testing.B, p *parts) crowd {
	b.Helper()
	ctx := b.Context()
	c := crowd{Total: *benchConnections, Written: *benchEntries, Engine: benchEngine()}
	for range 100 {
		person, err := p.vault.NewPerson(ctx)
		if err != nil {
			b.Fatal(err)
		}
		c.People = append(c.People, person)
	}
	begun := time.Now()
	c.connect(b, p)
	say(b, "%d connections in %v", c.Total, time.Since(begun).Round(time.Second))
	begun = time.Now()
	c.enter(b, p)
	page, err := (callsSource{p}).Calls(ctx, console.CallsQuery{}, 50)
	if err != nil || len(page.Calls) == 0 {
		b.Fatal("no calls in the log", err)
	}
	for _, e := range page.Calls {
		c.Entries = append(c.Entries, e.ID)
	}
	say(b, "%d entries in %v", c.Written, time.Since(begun).Round(time.Second))
	begun = time.Now()
	logs, err := p.db.AuditLogs(ctx)
	if err != nil {
		b.Fatal(err)
	}
	for _, l := range logs {
		if err := audit.NewIndexer(slog.New(slog.DiscardHandler), p.db.AuditLog(l.Number)).CatchUp(ctx, false, nil); err != nil {
			b.Fatal(err)
		}
	}
	say(b, "indexed in %v", time.Since(begun).Round(time.Second))
	for i, person := range c.People {
		source := lineage.Source{Platform: gatehouse.X, App: demoX, Operation: "GET /2/users/me", Purpose: "publish", Service: "demo", Call: fmt.Sprint(i)}
		if err := p.lineage.Deliver(ctx, source, []lineage.Delivered{{ID: "id-" + string(person), Values: []fingerprint.Value{{Class: gatehouse.PersonName, Text: "Somebody " + string(person)}}}}); err != nil {
			b.Fatal(err)
		}
	}
	c.attend(b, p)
	return c
}

// connect makes the connections.
func (c *crowd) connect(b *testing.B, p *parts) {
	noise := func(n int) []byte {
		out := make([]byte, n)
		_, _ = cryptorand.Read(out)
		return out
	}
	states := []connect.Status{connect.Healthy, connect.Healthy, connect.Healthy, connect.Healthy, connect.Revoked, connect.ReconnectNeeded}
	total := max(1000, c.Total)
	for n := 0; n < total; {
		now := time.Now().UTC()
		records := make([]connect.Record, min(5000, total-n))
		for i := range records {
			r := connect.Record{
				ID: gatehouse.ConnectionID("con" + strings.ToLower(cryptorand.Text())), App: demoX, Platform: gatehouse.X, Kind: connect.KindUser, Service: "demo",
				Person: gatehouse.PersonID(cryptorand.Text()), UserHash: fmt.Sprintf("%064x", n+i), SubjectHash: cryptorand.Text(), Status: states[rand.IntN(len(states))],
				Scopes: []string{"tweet.read", "users.read", "offline.access"}, Purposes: []gatehouse.PurposeName{"publish"},
				UserSealed: noise(90), NameSealed: noise(90), SubjSealed: noise(100), Access: noise(180), Refresh: noise(180),
				Redeemed: now, Created: now.Add(-time.Duration(rand.Int64N(int64(365 * 24 * time.Hour)))), Updated: now, Obtained: now, AccessExpires: now.Add(24 * time.Hour),
			}
			if i%4 == 3 {
				r.App, r.Platform, r.Purposes = demoFacebook, gatehouse.Facebook, []gatehouse.PurposeName{"other"}
				if i%400 == 3 {
					r.Purposes = []gatehouse.PurposeName{"pages"}
				}
			}
			if i < 5 && len(c.Connections) < 500 {
				r.Person, r.UserSealed, r.NameSealed, r.SubjSealed = c.People[len(c.Connections)%len(c.People)], nil, nil, nil
				c.Connections = append(c.Connections, r.ID)
			}
			records[i] = r
		}
		if err := p.db.Connect().SaveConnections(b.Context(), records...); err != nil {
			b.Fatal(err)
		}
		if n += len(records); n%100_000 == 0 {
			say(b, "%d connections", n)
		}
	}
}

// enter writes calls into the log, through the log itself: it is a true one. One in fifty
// is of somebody who is looked at, one in five hundred a request to a host that is not
// declared, which stands sealed in the log, one in fifty thousand has no outcome. What went to the demo's third party went
// there at the beginning, so that looking for it leads through all of the log.
func (c *crowd) enter(b *testing.B, p *parts) {
	var writers sync.WaitGroup
	var done atomic.Int64
	// As many calls are under way at a time.
	const at = 256
	calls := c.Written * 250 / 497 // six in five hundred are refused, which is one entry; others are two
	for w := range at {
		writers.Go(func() {
			for i := w; i < calls; i += at {
				if err := c.one(context.WithoutCancel(b.Context()), p, i); err != nil {
					b.Error(err)
					return
				}
				if n := done.Add(1); n%500_000 == 0 {
					say(b, "%d entries", 2*n)
				}
			}
		})
	}
	writers.Wait()
	if err := p.log.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// lengthen writes so much that the end of the log, which no part of the index covers yet,
// is nearly as long as it becomes: whoever searches reads it through.
func lengthen(b *testing.B, p *parts) {
	b.Helper()
	ctx := b.Context()
	const span, most = 1024, 1000
	store := p.db.AuditLog(p.own.Number)
	head, err := store.Head(ctx)
	if err != nil {
		b.Fatal(err)
	}
	for range (most + span - head.Size%span) % span {
		p.log.Refusal(audit.Entry{Action: "call", Service: "demo", Purpose: "publish", Platform: gatehouse.X, App: demoX, Operation: "GET /2/users/me", Rule: "refuse/undeclared-call"})
	}
	if err := p.log.Flush(ctx); err != nil {
		b.Fatal(err)
	}
	if err := audit.NewIndexer(slog.New(slog.DiscardHandler), store).CatchUp(ctx, false, nil); err != nil {
		b.Fatal(err)
	}
}

// one writes the entries of the i-th call or request.
func (c *crowd) one(ctx context.Context, p *parts, i int) error {
	e := audit.Entry{
		Action: "call", Service: "demo", Purpose: "publish", Platform: gatehouse.X, App: demoX, Operation: gatehouse.Operation(fmt.Sprint("GET /2/", i%40)), Rule: "purpose/publish",
	}
	outcome := audit.Entry{Verdict: "done", Status: 200, Bytes: int64(i % 50_000)}
	switch {
	case i < 3000 && i%10 == 5:
		e = audit.Entry{Action: "egress.call", Service: "demo", Purpose: "publish", Operation: "POST " + demoParty + ":443", Verdict: "allow", Facts: map[string]string{"host": demoParty, "port": "443"}}
		outcome.Facts = map[string]string{"host": demoParty, "port": "443", "sent": strconv.Itoa(i), "received": "12", "took": "31ms"}
	case i%500 == 250:
		p.log.Refusal(audit.Entry{
			Action: "egress.tunnel", Service: "demo", Purpose: "publish", Operation: "CONNECT", Rule: policy.RuleUnknownDestination,
			Facts: map[string]string{"port": "443"}, Personal: map[string]string{"host": fmt.Sprintf("host-%d.example", i%1000)},
		})
		return nil
	case i%100 == 99:
		e.Rule = "refuse/undeclared-call"
		p.log.Refusal(e)
		return nil
	case i%50 == 0:
		k := i / 50 % len(c.Connections)
		e.Person, e.Search = c.People[k%len(c.People)], string(c.Connections[k])
		e.Personal = map[string]string{"connection": string(c.Connections[k])}
	}
	receipt, err := p.log.Intent(ctx, e)
	if err != nil {
		return err
	}
	if i%50_000 == 7 {
		return nil // the process died, as it were
	}
	outcome.Action, outcome.Service, outcome.Purpose, outcome.Platform, outcome.App, outcome.Operation, outcome.Rule = e.Action, e.Service, e.Purpose, e.Platform, e.App, e.Operation, e.Rule
	p.log.Outcome(receipt, outcome)
	return nil
}

// attend makes what an operator works at: a key of a service, a duty, and a review of the
// rights of a thousand accounts of another system.
func (c *crowd) attend(b *testing.B, p *parts) {
	ctx := b.Context()
	key, _, err := p.identity.MakeServiceKey(ctx, identity.KeyRequest{Service: "demo"})
	if err != nil {
		b.Fatal(err)
	}
	c.Key = string(key.ID)
	duty, err := p.cases.Open(ctx, cases.Request{Kind: cases.Deauthorized, Origin: cases.FromPlatform, App: demoX, Platform: gatehouse.X, Person: c.People[len(c.People)-1]})
	if err != nil {
		b.Fatal(err)
	}
	c.Duty = duty.ID
	list := strings.Builder{}
	list.WriteString("account,role,last_used\n")
	for i := range 1000 {
		_, _ = fmt.Fprintf(&list, "person%d@example.com,admin,2026-01-%02d\n", i, 1+i%28)
	}
	if _, err := p.reviews.Import(ctx, operator.Host(), "github", []byte(list.String())); err != nil {
		b.Fatal(err)
	}
	r, err := p.reviews.Begin(ctx, operator.Host(), 0, 0)
	if err != nil {
		b.Fatal(err)
	}
	c.Review = string(r.ID)
}
