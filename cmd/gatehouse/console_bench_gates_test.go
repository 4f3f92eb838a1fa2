package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/config"
	"gatehouse/internal/sandbox"
	"gatehouse/internal/wire"
)

// unhurried loads the demo's configuration without the rate that it allows its service,
// which would be measured instead of what the machine can do, and with another store
// if one is named.
func unhurried(path, dsn string) (*config.Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	changed := strings.Replace(string(text), ", rate: 200/s", ", rate: 100000/s", 1)
	if dsn != "" {
		changed = strings.Replace(changed, "store: sqlite:gatehouse.db", "store: "+strconv.Quote(dsn), 1)
	}
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		return nil, err
	}
	cfg, _, err := config.Load(path, resolver())
	return cfg, err
}

// What calls are measured beside.
const (
	gateCallers = 16
	gateLookers = 16
	gateTurn    = time.Second
	gateBefore  = 3 * time.Second
)

// measureGates measures how many calls pass the gates in a second while nobody looks at
// the console, and while 16 clients ask for one page after the other without a pause: in
// turns, so that what else the machine does meets both. The clients begin before their
// turn does, so that the pages that are made at once at first are not what is measured. The callers, the gates, the
// console and the platform share this process and its processors.
func measureGates(b *testing.B, s *server, box *sandbox.Server, l *looker, c crowd) {
	ctx, cancel := context.WithCancel(b.Context())
	var listeners sync.WaitGroup
	defer listeners.Wait()
	defer cancel()
	app, client := benchApp(b, s)
	for _, listener := range []*wire.Server{s.app, s.public, app.site} {
		listeners.Go(func() {
			if err := listener.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				b.Error(err)
			}
		})
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.Fatal(err)
	}
	browser := *client
	browser.Jar = jar
	if err := app.consentAs(ctx, &browser, demoX, "ada", box.People()[0]); err != nil {
		b.Fatal(err)
	}
	handle := app.granted(demoX)[0].Handle
	call := func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, app.api.base+"/x/2/users/me", nil)
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+handle)
		res, err := client.Do(r)
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return err
		}
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("a call was answered %s, with rule %q", res.Status, res.Header.Get("Gatehouse-Rule"))
		}
		return nil
	}
	var next atomic.Int64 // goes on over the turns, so that every page has its own
	pages := benchPages(l, c, map[string]string{})
	limits := s.cfg.Console
	defer func() { s.cfg.Console = limits }()
	for _, at := range []struct {
		name            string
		requests, share int
	}{{"default", 0, limits.Share}, {"share=25", 0, 25}, {"share=100", 0, 100}, {"requests=32,share=100", 32, 100}} {
		name := "CallsBesideConsole/" + at.name
		s.cfg.Console.Requests, s.cfg.Console.Share = at.requests, at.share
		l.bind(b)
		b.Run(name, func(b *testing.B) {
			var quiet, pressed, looks int64
			var inQuiet, inPressed time.Duration
			turn := 0
			for b.Loop() {
				for i := range 2 {
					if (turn+i)%2 == 0 {
						n, _, took := gateRound(b, call, nil)
						quiet, inQuiet = quiet+n, inQuiet+took
						continue
					}
					n, seen, took := gateRound(b, call, func(ctx context.Context) error {
						path := pages[next.Add(1)%int64(len(pages))].path()
						w := l.look(ctx, path)
						if w.Code != http.StatusOK && w.Code != http.StatusTooManyRequests && ctx.Err() == nil {
							return fmt.Errorf("%s: status %d", path, w.Code)
						}
						return nil
					})
					pressed, looks, inPressed = pressed+n, looks+seen, inPressed+took
				}
				turn++
			}
			without, with := float64(quiet)/inQuiet.Seconds(), float64(pressed)/inPressed.Seconds()
			b.ReportMetric(without, "calls/s")
			b.ReportMetric(with, "calls/s-pressed")
			b.ReportMetric(with/without, "ratio")
			b.ReportMetric(float64(looks)/inPressed.Seconds(), "pages/s")
		})
	}
}

// gateRound calls for one turn, beside lookers unless look is nil. It returns how many
// calls and pages were answered, and how long it took.
func gateRound(b *testing.B, call func(context.Context) error, look func(context.Context) error) (calls, looks int64, took time.Duration) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var made, seen atomic.Int64
	var callers, lookers sync.WaitGroup
	if look != nil {
		for range gateLookers {
			lookers.Go(func() {
				for ctx.Err() == nil {
					if err := look(ctx); err != nil {
						b.Error(err)
						return
					}
					seen.Add(1)
				}
			})
		}
	}
	if look != nil {
		time.Sleep(gateBefore)
		seen.Store(0)
	}
	begun := time.Now()
	for range gateCallers {
		callers.Go(func() {
			for time.Since(begun) < gateTurn {
				if err := call(b.Context()); err != nil {
					b.Error(err)
					return
				}
				made.Add(1)
			}
		})
	}
	callers.Wait()
	calls, looks, took = made.Load(), seen.Load(), time.Since(begun)
	cancel()
	lookers.Wait()
	return calls, looks, took
}

// benchSite is the demo's app, with its listener.
type benchSite struct {
	*demoApp
	site *wire.Server
}

// benchApp returns the demo's app and what it calls with.
func benchApp(b *testing.B, s *server) (benchSite, *http.Client) {
	b.Helper()
	key, err := s.identity.NewServiceKey(b.Context(), "demo")
	if err != nil {
		b.Fatal(err)
	}
	client, err := demoClient(s.cfg)
	if err != nil {
		b.Fatal(err)
	}
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = gateCallers
	app := &demoApp{
		api:      &apiClient{base: s.app.URL(), key: key.Reveal(), http: client},
		purposes: map[string]string{demoX: "publish", demoFacebook: "pages"}, sessions: map[string]string{}, stepups: map[string]demoStepup{}, duties: map[string]time.Time{},
	}
	address := strings.TrimPrefix(strings.TrimSuffix(s.cfg.Returns[0], "/connected"), "http://")
	site, err := wire.Listen(wire.ServerConfig{Addr: address, Handler: app.Handler()})
	if err != nil {
		b.Fatal(err)
	}
	app.self = site.URL()
	return benchSite{app, site}, client
}
