package main

import (
	"context"
	"crypto/rand"
	"errors"
	goflag "flag"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/connect"
	"gatehouse/internal/console"
	"gatehouse/internal/fingerprint"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/lineage"
	"gatehouse/internal/secret"
)

// What pages of the console are measured with.
var (
	benchConnections = goflag.Int("console.connections", 20_000, "connections to measure pages of the console with")
	benchEntries     = goflag.Int("console.entries", 50_000, "entries of the log to measure pages of the console with")
)

// errMeasured ends a server that was started to be measured.
var errMeasured = errors.New("measured")

// BenchmarkConsole measures pages of the console, from request to last byte, in a store
// of -console.connections and a log of -console.entries: the 95th percentile, and what a
// page weighs (without style, script and icon, which browsers keep). Any page is to take
// less than 100 ms at the 95th percentile with a million connections, and to weigh less
// than 150 kB with all that it loads. Last it measures calls beside the console's pages.
func BenchmarkConsole(b *testing.B) {
	o := houseOptions(b.TempDir())
	box, err := o.startSandbox(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = box.Close() })
	cfg, err := o.configure(box)
	if err != nil {
		b.Fatal(err)
	}
	if cfg, err = unhurried(cfg.Path()); err != nil {
		b.Fatal(err)
	}
	if err := initialise(b.Context(), cfg, io.Discard); err != nil {
		b.Fatal(err)
	}
	err = serve(b.Context(), cfg, slog.New(slog.DiscardHandler), func(s *server) error {
		c := seedConsole(b, s.parts)
		s.metrics.Look(b.Context())
		l := newLooker(b, s)
		measurePages(b, l, c)
		measureGates(b, s, box, l, c)
		return errMeasured
	})
	if !errors.Is(err, errMeasured) {
		b.Fatal(err)
	}
}

// crowd is what was put into a store to be looked at.
type crowd struct {
	connections []gatehouse.ConnectionID
	people      []gatehouse.PersonID
	entries     []string // some, by id
}

// looker looks at pages of a console as an owner who is signed in.
type looker struct {
	s       *server
	handler http.Handler
	at      *url.URL
	cookies []*http.Cookie
	account string // the owner's id
}

func newLooker(b *testing.B, s *server) *looker {
	b.Helper()
	ctx := b.Context()
	password := secret.New(strings.ToLower(rand.Text()))
	link, _, err := s.operators.Invite(ctx, operator.Host(), operator.Invitation{Name: "Bench", Email: "bench@example.com", Role: operator.Owner})
	if err != nil {
		b.Fatal(err)
	}
	browser := demoBrowser(secret.New(rand.Text()), "bench")
	_, token, err := enrolDemo(ctx, s.operators, browser, link, password)
	if err != nil {
		b.Fatal(err)
	}
	accounts, err := s.operators.Accounts(ctx)
	if err != nil || len(accounts) == 0 {
		b.Fatal("no account of an operator", err)
	}
	l := &looker{s: s, account: string(accounts[0].ID)}
	if l.at, err = url.Parse(s.cfg.ConsoleURL()); err != nil {
		b.Fatal(err)
	}
	session, binding := console.CookieNames(l.at, s.cfg.Environment)
	for name, value := range map[string]secret.Text{session: token, binding: browser.Binding} {
		l.cookies = append(l.cookies, &http.Cookie{Name: name, Value: value.Reveal()})
	}
	l.bind(b)
	return l
}

// bind makes the console anew, with the limits that the configuration has now.
func (l *looker) bind(b *testing.B) {
	b.Helper()
	pages, err := l.s.newConsole()
	if err != nil {
		b.Fatal(err)
	}
	l.handler = pages.Handler()
}

func (l *looker) look(ctx context.Context, path string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, l.at.String()+path, nil)
	r.Host, r.RemoteAddr = l.at.Host, "127.0.0.1:1"
	r.Header.Set("User-Agent", "bench")
	for _, c := range l.cookies {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	l.handler.ServeHTTP(w, r)
	return w
}

// benchPage is a page to be measured, with the path of the next look at it.
type benchPage struct {
	name string
	path func() string
}

// pick returns any of a list.
func pick[T ~string](list []T) string { return string(list[mathrand.IntN(len(list))]) }

// benchPages are all pages; after is where the list of a filter goes on.
func benchPages(l *looker, c crowd, after map[string]string) []benchPage {
	always := func(path string) func() string { return func() string { return path } }
	return []benchPage{
		{"Overview", always("/")},
		{"Calls", always("/calls")},
		{"CallsRefused", always("/calls?outcome=refuse")},
		{"Connections", func() string { return "/connections?after=" + after[""] }},
		{"ConnectionsReconnect", func() string { return "/connections?state=reconnect_needed&after=" + after["state=reconnect_needed"] }},
		{"ConnectionsRarePurpose", func() string { return "/connections?purpose=pages&after=" + after["purpose=pages"] }},
		{"Connection", func() string { return "/connections/" + pick(c.connections) }},
		{"People", always("/people")},
		{"Person", func() string { return "/people/" + pick(c.people) }},
		{"Flows", func() string { return "/flows?days=" + pick([]string{"7", "30", "90", "0"}) }},
		{"Log", always("/log")},
		{"LogService", always("/log?service=demo")},
		{"LogRule", always("/log?rule=refuse/undeclared-call")},
		{"LogOperator", always("/log?operator=" + l.account)},
		{"LogPerson", func() string { return "/log?person=" + pick(c.people) }},
		{"LogInDoubt", func() string { return "/log/in-doubt?hours=" + pick([]string{"1", "24", "168"}) }},
		{"LogState", always("/log/state")},
		{"LogEntry", func() string { return "/log/" + pick(c.entries) }},
		{"Keys", always("/keys")},
		{"KeyTokens", always("/keys/tokens@1")},
		{"KeyPersonal", always("/keys/personal@1")},
		{"Services", always("/services")},
		{"Service", always("/services/demo")},
		{"Configuration", always("/configuration")},
		{"Purposes", always("/purposes")},
		{"Purpose", always("/purposes/publish")},
		{"ThirdParties", always("/destinations")},
		{"ThirdParty", always("/destinations/" + demoParty)},
		{"Operators", always("/operators")},
		{"Operator", always("/operators/" + l.account)},
		{"Approvals", always("/operators/approvals")},
		{"Reviews", always("/reviews")},
		{"ReviewsOpen", always("/reviews/open")},
		{"Health", always("/health")},
		{"Account", always("/account")},
	}
}

// measurePages looks at one page after the other without a pause; what the console gives
// to the gates would be measured with it, so it keeps all to itself.
func measurePages(b *testing.B, l *looker, c crowd) {
	limits := l.s.cfg.Console
	defer func() { l.s.cfg.Console = limits }()
	l.s.cfg.Console.Share = 100
	l.bind(b)
	after := map[string]string{}
	for _, page := range benchPages(l, c, after) {
		b.Run(page.name, func(b *testing.B) {
			var took []time.Duration
			weight := 0
			for b.Loop() {
				path := page.path()
				begun := time.Now()
				w := l.look(b.Context(), path)
				took = append(took, time.Since(begun))
				weight = max(weight, w.Body.Len())
				if w.Code != http.StatusOK {
					b.Fatalf("%s: status %d\n%.500s", path, w.Code, w.Body)
				}
				// The next look goes on behind this page, so that none is the same.
				if query, cut := strings.CutPrefix(path, "/connections?"); cut {
					filter, _, _ := strings.Cut(query, "after=")
					_, rest, _ := strings.Cut(w.Body.String(), `after=`)
					next, _, _ := strings.Cut(rest, `"`)
					next, _, _ = strings.Cut(next, "&")
					after[strings.TrimSuffix(filter, "&")] = next
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[(len(took)*95-1)/100].Microseconds())/1000, "p95-ms")
			b.ReportMetric(float64(weight)/1000, "kB")
		})
	}
}

// seedConsole fills a store: connections of realistic size whose sealed fields are noise,
// a hundred of real people, and calls in the log, as a gateway writes them.
func seedConsole(b *testing.B, p *parts) crowd {
	b.Helper()
	ctx := b.Context()
	var c crowd
	noise := func(n int) []byte {
		out := make([]byte, n)
		_, _ = rand.Read(out)
		return out
	}
	begun := time.Now()
	for range 100 {
		person, err := p.vault.NewPerson(ctx)
		if err != nil {
			b.Fatal(err)
		}
		c.people = append(c.people, person)
	}
	states := []connect.Status{connect.Healthy, connect.Healthy, connect.Healthy, connect.Healthy, connect.Revoked, connect.ReconnectNeeded}
	total := max(1000, *benchConnections)
	for n := 0; n < total; {
		now := time.Now().UTC()
		records := make([]connect.Record, min(1000, total-n))
		for i := range records {
			r := connect.Record{
				ID: gatehouse.ConnectionID("con" + strings.ToLower(rand.Text())), App: demoX, Platform: gatehouse.X, Kind: connect.KindUser, Service: "demo",
				Person: gatehouse.PersonID(rand.Text()), UserHash: fmt.Sprintf("%064x", n+i), SubjectHash: rand.Text(), Status: states[mathrand.IntN(len(states))],
				Scopes: []string{"tweet.read", "users.read", "offline.access"}, Purposes: []gatehouse.PurposeName{"publish"},
				UserSealed: noise(90), NameSealed: noise(90), SubjSealed: noise(100), Access: noise(180), Refresh: noise(180),
				Redeemed: now, Created: now.Add(-time.Duration(mathrand.Int64N(int64(365 * 24 * time.Hour)))), Updated: now, Obtained: now, AccessExpires: now.Add(24 * time.Hour),
			}
			if i%4 == 3 {
				r.App, r.Platform, r.Purposes = demoFacebook, gatehouse.Facebook, []gatehouse.PurposeName{"other"}
				if i%400 == 3 {
					r.Purposes = []gatehouse.PurposeName{"pages"}
				}
			}
			if i < 5 && len(c.connections) < 500 {
				r.Person, r.UserSealed, r.NameSealed, r.SubjSealed = c.people[len(c.connections)%len(c.people)], nil, nil, nil
				c.connections = append(c.connections, r.ID)
			}
			records[i] = r
		}
		if err := p.db.Connect().SaveConnections(ctx, records...); err != nil {
			b.Fatal(err)
		}
		n += len(records)
	}
	b.Logf("%d connections in %v", total, time.Since(begun).Round(time.Second))
	begun = time.Now()
	c.enter(b, p)
	page, err := (callsSource{p}).Calls(ctx, console.CallsQuery{}, 50)
	if err != nil || len(page.Calls) == 0 {
		b.Fatal("no calls in the log", err)
	}
	for _, e := range page.Calls {
		c.entries = append(c.entries, e.ID)
	}
	b.Logf("%d entries in %v", *benchEntries, time.Since(begun).Round(time.Second))
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
	b.Logf("indexed in %v", time.Since(begun).Round(time.Second))
	for i, person := range c.people {
		source := lineage.Source{Platform: gatehouse.X, App: demoX, Operation: "GET /2/users/me", Purpose: "publish", Service: "demo", Call: fmt.Sprint(i)}
		if err := p.lineage.Deliver(ctx, source, []lineage.Delivered{{ID: "id-" + string(person), Values: []fingerprint.Value{{Class: gatehouse.PersonName, Text: "Somebody " + string(person)}}}}); err != nil {
			b.Fatal(err)
		}
	}
	return c
}

// enter writes calls into the log: one in fifty of somebody who is looked at.
func (c *crowd) enter(b *testing.B, p *parts) {
	var writers sync.WaitGroup
	const at = 128
	for w := range at {
		writers.Go(func() {
			for i := w; i < *benchEntries/2; i += at {
				e := audit.Entry{
					Action: "call", Service: "demo", Purpose: "publish", Platform: gatehouse.X, App: demoX, Operation: gatehouse.Operation(fmt.Sprint("GET /2/", i%40)), Rule: "purpose/publish",
				}
				if i%50 == 0 {
					k := i / 50 % len(c.connections)
					e.Person, e.Search = c.people[k%len(c.people)], string(c.connections[k])
					e.Personal = map[string]string{"connection": string(c.connections[k])}
				}
				if i%100 == 99 {
					e.Rule = "refuse/undeclared-call"
					p.log.Refusal(e)
					continue
				}
				receipt, err := p.log.Intent(context.WithoutCancel(b.Context()), e)
				if err != nil {
					b.Error(err)
					return
				}
				e.Person, e.Personal, e.Verdict, e.Status, e.Bytes = "", nil, "done", 200, int64(i%50_000)
				p.log.Outcome(receipt, e)
			}
		})
	}
	writers.Wait()
	if err := p.log.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
}
