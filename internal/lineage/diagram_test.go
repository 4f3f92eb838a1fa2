package lineage_test

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/lineage"
)

var update = flag.Bool("update", false, "write the golden files")

// totals are of an app that publishes and reports, and of three who get some of it.
func totals() []lineage.Total {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	total := func(e lineage.Edge, people, seen int64) lineage.Total {
		return lineage.Total{Way: e, People: people, Seen: seen, First: at, Last: at}
	}
	came := func(p gatehouse.Platform, app gatehouse.AppName, purpose gatehouse.PurposeName, service gatehouse.ServiceName, class gatehouse.DataClass) lineage.Edge {
		return lineage.Edge{Kind: lineage.Delivery, Verdict: lineage.Passed, Platform: p, App: app, Class: class, Purpose: purpose, Service: service}
	}
	went := func(host string, service gatehouse.ServiceName, class gatehouse.DataClass, v lineage.Verdict) lineage.Edge {
		return lineage.Edge{Kind: lineage.Sending, Verdict: v, Class: class, Service: service, Destination: host, SentFor: "analytics"}
	}
	return []lineage.Total{
		total(came("x", "main-x", "publish", "scheduler", gatehouse.PseudonymousID), 120, 4512),
		total(came("x", "main-x", "publish", "scheduler", gatehouse.Username), 120, 4400),
		total(came("x", "main-x", "publish", "scheduler", gatehouse.PostID), 90, 12345678),
		total(came("facebook", "pages", "page-insights", "reports", gatehouse.PersonName), 40, 900),
		total(came("facebook", "pages", "page-insights", "reports", gatehouse.PseudonymousID), 40, 910),
		total(came("x", "main-x", "insights", "reports", gatehouse.PseudonymousID), 12, 34),
		total(went("api.segment.io", "reports", gatehouse.PseudonymousID, lineage.Passed), 40, 800),
		total(went("api.segment.io", "reports", gatehouse.PersonName, lineage.Stopped), 3, 7),
		total(went("hooks.slack.com", "scheduler", gatehouse.Username, lineage.Reported), 5, 61),
		total(went("a-very-long-host-name.of-somebody.example.com", "scheduler", gatehouse.Credential, lineage.Stopped), 1, 1),
	}
}

// golden compares with a file, or writes it.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != got {
		t.Errorf("%s is not what is drawn (%v); look at it, and run with -update", path, err)
	}
}

func TestDiagram(t *testing.T) {
	d := lineage.NewDiagram("production", time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC), time.Time{}, totals())
	var svg, text strings.Builder
	if err := errors.Join(d.SVG(&svg), d.Text(&text)); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/diagram.svg", svg.String())
	golden(t, "testdata/diagram.txt", text.String())
	for _, must := range []string{"<title id=\"t\">", "<desc id=\"d\">", "role=\"img\"", "prefers-color-scheme", "(stopped)", "stopped\" stroke-width"} {
		if !strings.Contains(svg.String(), must) {
			t.Errorf("the picture lacks %q", must)
		}
	}
}

// The picture is well-formed whatever the names are, and when there is nothing.
func TestDiagramIsWellFormed(t *testing.T) {
	for name, list := range map[string][]lineage.Total{"nothing": nil, "hostile": {{
		Way: lineage.Edge{Kind: lineage.Sending, Verdict: lineage.Stopped, Class: "<b>&\"", Service: "</svg><script>", Destination: "\x00\x1b]]>"}, People: 1, Seen: 1,
	}}} {
		var svg strings.Builder
		if err := lineage.NewDiagram("production", time.Time{}, time.Time{}, list).SVG(&svg); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(svg.String(), "<script") {
			t.Errorf("%s: a name became markup", name)
		}
		for d := xml.NewDecoder(strings.NewReader(svg.String())); ; {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

// The diagram of a time is made of what was observed in it, and that it was made is
// in the log.
func TestDiagramOfWhatWasObserved(t *testing.T) {
	w := fresh(t, nil)
	w.deliver(w.l, source, person("111222333444"))
	_ = w.send(w.l, to("a.example"), mail("111222333444"))
	for since, want := range map[time.Time]bool{{}: true, time.Now().AddDate(0, 0, 2): false} {
		d, err := w.l.Diagram(t.Context(), "production", since, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		if err := d.Text(&text); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(text.String(), "x: main-x → insights") && strings.Contains(text.String(), "web → a.example\n      email × 1 (stopped)"); got != want {
			t.Errorf("since %v: %s", since, text.String())
		}
	}
	if n := len(w.actions("lineage.ask")); n != 2 {
		t.Errorf("%d entries", n)
	}
}
