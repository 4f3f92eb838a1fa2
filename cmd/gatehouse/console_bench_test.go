package main

import (
	"context"
	cryptorand "crypto/rand"
	"errors"
	goflag "flag"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/console"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
)

// What pages of the console are measured with.
var (
	benchConnections = goflag.Int("console.connections", 20_000, "connections to measure pages of the console with")
	benchEntries     = goflag.Int("console.entries", 50_000, "entries of the log to measure pages of the console with")
	benchKeep        = goflag.String("console.keep", "", "a directory to keep what is measured in, or to find it in")
	benchDatabase    = goflag.String("console.database", "", "a PostgreSQL to measure pages of the console on: the address of a database that is empty or that -console.keep filled, or 'postgres' for one that is started; without it SQLite")
)

// errMeasured ends a server that was started to be measured.
var errMeasured = errors.New("measured")

// BenchmarkConsole measures pages of the console, from request to last byte, in a store
// of -console.connections and a log of -console.entries: the 95th percentile, and what a
// page weighs (without style, script and icon, which browsers keep). Any page is to take
// less than 100 ms at the 95th percentile with a million connections, and to weigh less
// than 150 kB with all that it loads. Last it measures calls beside the console's pages. The store is
// SQLite, or what -console.database says.
func BenchmarkConsole(b *testing.B) {
	kept := newKept(b)
	o := houseOptions(kept.dir)
	box, err := o.startSandbox(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = box.Close() })
	cfg, err := o.configure(box)
	if err != nil {
		b.Fatal(err)
	}
	if cfg, err = unhurried(cfg.Path(), kept.store(b)); err != nil {
		b.Fatal(err)
	}
	if err := initialise(b.Context(), cfg, io.Discard); err != nil {
		b.Fatal(err)
	}
	err = serve(b.Context(), cfg, slog.New(slog.DiscardHandler), func(s *server) error {
		c := kept.crowd(b, s.parts)
		lengthen(b, s.parts)
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
	password := secret.New(strings.ToLower(cryptorand.Text()))
	link, _, err := s.operators.Invite(ctx, operator.Host(), operator.Invitation{Name: "Bench " + cryptorand.Text()[:8], Email: strings.ToLower(cryptorand.Text()) + "@example.com", Role: operator.Owner})
	if err != nil {
		b.Fatal(err)
	}
	browser := demoBrowser(secret.New(cryptorand.Text()), "bench")
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
func pick[T ~string](list []T) string { return string(list[rand.IntN(len(list))]) }

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
		{"Connection", func() string { return "/connections/" + pick(c.Connections) }},
		{"People", always("/people")},
		{"Person", func() string { return "/people/" + pick(c.People) }},
		{"Duty", always("/people/duties/" + c.Duty)},
		{"Flows", func() string { return "/flows?days=" + pick([]string{"7", "30", "90", "0"}) }},
		{"Log", always("/log")},
		{"LogService", always("/log?service=demo")},
		{"LogRule", always("/log?rule=refuse/undeclared-call")},
		{"LogOperator", always("/log?operator=" + l.account)},
		{"LogPerson", func() string { return "/log?person=" + pick(c.People) }},
		{"LogInDoubt", func() string { return "/log/in-doubt?hours=" + pick([]string{"1", "24", "168"}) }},
		{"LogState", always("/log/state")},
		{"LogEntry", func() string { return "/log/" + pick(c.Entries) }},
		{"Keys", always("/keys")},
		{"KeyTokens", always("/keys/tokens@1")},
		{"KeyPersonal", always("/keys/personal@1")},
		{"Services", always("/services")},
		{"Service", always("/services/demo")},
		{"ServiceKey", always("/services/demo/keys/" + c.Key)},
		{"Configuration", always("/configuration")},
		{"Purposes", always("/purposes")},
		{"Purpose", always("/purposes/publish")},
		{"ThirdParties", always("/destinations")},
		{"ThirdParty", always("/destinations/" + demoParty)},
		{"Operators", always("/operators")},
		{"Operator", always("/operators/" + l.account)},
		{"Approvals", always("/operators/approvals")},
		{"Reviews", always("/reviews")},
		{"Review", always("/reviews/" + c.Review)},
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
			var took, worked []time.Duration
			weight := 0
			for b.Loop() {
				path := page.path()
				begun, before := time.Now(), processorTime()
				w := l.look(b.Context(), path)
				took, worked = append(took, time.Since(begun)), append(worked, processorTime()-before)
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
			slices.Sort(worked)
			b.ReportMetric(float64(worked[(len(worked)*95-1)/100].Microseconds())/1000, "p95-cpu-ms")
			b.ReportMetric(float64(took[(len(took)-1)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[(len(took)*95-1)/100].Microseconds())/1000, "p95-ms")
			b.ReportMetric(float64(weight)/1000, "kB")
		})
	}
}
