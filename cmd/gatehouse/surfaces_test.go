package main

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/api"
	"gatehouse/internal/audit"
	"gatehouse/internal/config"
	"gatehouse/internal/gateway"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
)

// What was built at the start is not changed by a reload, and must not be
// reported as applied.
func TestReloadSaysWhatNeedsARestart(t *testing.T) {
	for change, want := range map[string]bool{
		"purposes.publish.calls gains {call: GET /2/dm_events}": true,
		"services.web.rate changes from 5/s to 6/s":             true,
		"mode changes from enforce to report":                   true,
		"third_parties.api.segment.io is added":                 true,
		"audit.readers gains auditor":                           true,
		"audit.export is empty":                                 true,
		"audit.retention changes from 1h to 2h":                 false,
		"listen.app changes from 127.0.0.1:1 to 127.0.0.1:2":    false,
		"returns gains https://app.example.com/back":            false,
		"limits.calls changes from 1 to 2":                      false,
	} {
		if got := live(change); got != want {
			t.Errorf("live(%q) = %v, want %v", change, got, want)
		}
	}
}

// reportConfig is in report mode for the day on which the clock of synctest
// begins, and the day after.
const reportConfig = `environment: development
public_url: http://127.0.0.1:8103
listen: {app: 127.0.0.1:8100}
store: sqlite:gatehouse.db
root_key: file:root.key
mode: report
until: 2000-01-02
apps: {pages: {platform: facebook, client_id: "1", client_secret: file:secret}}
purposes: {read: {why: Show people their own name, app: pages, calls: [{call: GET /me}]}}
services: {web: {purposes: [read]}}
`

// Report mode ends with its last day in a process that nobody touches.
func TestReportModeEndsByItself(t *testing.T) {
	// The runtime's own goroutine for signals must not belong to the bubble.
	early := make(chan os.Signal, 1)
	signal.Notify(early, syscall.SIGHUP)
	defer signal.Stop(early)

	dir := t.TempDir()
	for name, content := range map[string]string{"gatehouse.yaml": reportConfig, "secret": "app-secret"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		// Nothing runs before the last evening: each second of an open log is a look at
		// the disk, and two days of them are a hundred thousand.
		time.Sleep(time.Until(time.Date(2000, 1, 2, 23, 56, 0, 0, time.UTC)))
		cfg, _, err := config.Load(filepath.Join(dir, "gatehouse.yaml"), resolver())
		if err != nil {
			t.Fatal(err)
		}
		if err := initialise(t.Context(), cfg, io.Discard); err != nil {
			t.Fatal(err)
		}
		p, err := assemble(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		}()
		s := &server{parts: p, hup: make(chan os.Signal, 1)}
		own, err := api.New(apiConfig(p, nil))
		if err != nil {
			t.Fatal(err)
		}
		if s.gateway, err = gateway.New(gatewayConfig(p, own)); err != nil {
			t.Fatal(err)
		}
		go func() { _ = s.reload(t.Context()) }()

		if err := p.identity.EnsureServices(t.Context(), serviceNames(cfg)); err != nil {
			t.Fatal(err)
		}
		_, handle, err := p.identity.NewHandle(t.Context(), identity.HandleRequest{
			Service: "web", Connection: "con1", Purpose: "read", Platform: gatehouse.Facebook, App: "pages", TTL: 72 * time.Hour,
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, day := range []struct {
			at      time.Time
			refused bool
		}{
			{time.Date(2000, 1, 2, 23, 58, 0, 0, time.UTC), false},
			{time.Date(2000, 1, 3, 0, 2, 0, 0, time.UTC), true},
		} {
			time.Sleep(time.Until(day.at))
			synctest.Wait()
			undeclared := httptest.NewRequest(http.MethodDelete, "/meta/v25.0/12345", nil)
			undeclared.Header.Set("Authorization", "Bearer "+handle.Reveal())
			reply := httptest.NewRecorder()
			s.gateway.Handler().ServeHTTP(reply, undeclared)
			// Without a connection the call fails either way; the rule tells why.
			if refused := strings.Contains(reply.Body.String(), policy.RuleUndeclaredCall); refused != day.refused {
				t.Errorf("at %s an undeclared call is refused as such: %v, want %v (%s)", day.at, refused, day.refused, reply.Body)
			}
		}
		// The log says since when.
		entries, err := audit.List(t.Context(), p.db.Audit(), audit.Filter{Action: "config.apply"})
		if err != nil || len(entries) != 1 || entries[0].Facts["mode"] != "enforce" || entries[0].Facts["sha256"] != cfg.Hash() {
			t.Errorf("the log's word about it: %+v, %v", entries, err)
		}
	})
}
