package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/config"
	"gatehouse/internal/connect"
	"gatehouse/internal/fingerprint"
	"gatehouse/internal/lineage"
)

// inside runs f with the parts of a house that is not running.
func (h *house) inside(f func(p *parts)) {
	h.t.Helper()
	p, err := assemble(h.t.Context(), h.load(), slog.New(slog.DiscardHandler))
	if err != nil {
		h.t.Fatal(err)
	}
	f(p)
	if err := p.Close(); err != nil {
		h.t.Fatal(err)
	}
}

// Whose data went where can be asked in every form, also about somebody who merely
// appeared; an erasure takes the name, and not the flow.
func TestLineageCommands(t *testing.T) {
	h := newHouse(t)
	h.edit(func(text string) string { return text + "\nlineage: {services: [demo], brands: [x:900]}\n" })
	h.start()
	grant := h.connectPerson(demoX, "ada", h.box.People()[0])
	h.stop()
	var user, person, handle string
	h.inside(func(p *parts) {
		ctx := t.Context()
		people, err := p.connect.People(ctx, connect.Who{Subject: "ada"})
		if err != nil || len(people) != 1 {
			t.Fatal(people, err)
		}
		known, err := p.connect.Known(ctx, people[0])
		if err != nil {
			t.Fatal(err)
		}
		user, person = known.Connections[0].PlatformUser, string(people[0])
		app := known.Connections[0].App
		handle = "hnd-unknown"
		email := func(s string) []fingerprint.Value {
			return []fingerprint.Value{{Class: gatehouse.EmailAddress, Text: s}}
		}
		if err := p.lineage.Deliver(ctx, lineage.Source{
			Platform: gatehouse.X, App: app, Operation: "GET /2/users/me", Purpose: "publish", Service: "demo", Handle: gatehouse.HandleID(handle),
		}, []lineage.Delivered{{ID: user, Values: email("ada@example.com")}, {ID: "4711", Values: email("other@example.com")}}); err != nil {
			t.Fatal(err)
		}
		s := p.lineage.Search(lineage.Transfer{Service: "demo", Purpose: "publish", Destination: "api.example.net", Report: true})
		_, _ = s.Write([]byte("mail=ada@example.com other@example.com"))
		if err := s.End(ctx); err != nil {
			t.Fatal(err)
		}
		s.Close()
	})
	_ = grant

	for _, name := range []string{"x:" + user, "subject:ada"} {
		var answer struct{ Flows []lineage.Flow }
		if err := json.Unmarshal([]byte(h.must("lineage", "person", name, "--json")), &answer); err != nil {
			t.Fatal(err)
		}
		// Her id and name, which the API showed when she connected, among them.
		if len(answer.Flows) != 4 || string(answer.Flows[0].Person.Person) != person {
			t.Errorf("%s: %+v", name, answer.Flows)
		}
	}
	for _, c := range []struct {
		args []string
		want string
		not  string
	}{
		{[]string{"person", "x:4711"}, "api.example.net", "ada"},
		{[]string{"person", "x:4712"}, "No flow is on record.", ""},
		{[]string{"person", "x:4711", "--since", "1d"}, "api.example.net", ""},
		{[]string{"person", "x:4711", "--until", "2000-01-01"}, "No flow is on record.", ""},
		{[]string{"destination", "api.example.net"}, person, "@"},
		{[]string{"destination", "api.example.net", "--json"}, `"reported"`, "@"},
		{[]string{"service", "demo"}, "GET /2/users/me", "@"},
		{[]string{"handle", handle}, "This handle is not known any more", "api.example.net"},
		{[]string{"handle", "hnd-never"}, "No handle of this id is known", "any more"},
		{[]string{"purpose", "publish"}, person, "@"},
		{[]string{"flows"}, "api.example.net", "@"},
		{[]string{"flows", "--openlineage"}, `"schemaURL":"https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"`, person},
		{[]string{"diagram"}, "demo → api.example.net", person},
		{[]string{"diagram", "--svg", "-"}, "</svg>", person},
		{[]string{"status"}, " of at most 10000000", ""},
	} {
		out := h.must(append([]string{"lineage"}, c.args...)...)
		if !strings.Contains(out, c.want) || c.not != "" && strings.Contains(out, c.not) {
			t.Errorf("lineage %v prints %s, want %q and not %q", c.args, out, c.want, c.not)
		}
	}
	rows, err := csv.NewReader(strings.NewReader(h.must("lineage", "flows", "--csv"))).ReadAll()
	if err != nil || len(rows) != 7 {
		t.Errorf("the table has %d rows, %v", len(rows), err)
	}
	picture := filepath.Join(t.TempDir(), "flows.svg")
	h.must("lineage", "diagram", "--svg", picture)
	if b, err := os.ReadFile(picture); err != nil || !strings.HasPrefix(string(b), "<svg") {
		t.Errorf("the picture: %.20q, %v", b, err)
	}
	for _, args := range [][]string{
		{"person", "ada"}, {"person", "threads:1"}, {"person", "number:0"}, {"flows", "--since", "soon"}, {"flows", "--since", "2026-05-02", "--until", "2026-05-01"},
		{"flows", "--json", "--csv"}, {"diagram", "--svg", "a", "--text"}, {"destination"},
	} {
		if _, errOut, code := h.gatehouse(append([]string{"lineage"}, args...)...); code != exitUsage {
			t.Errorf("lineage %v ends with %d: %s", args, code, errOut)
		}
	}

	held := func() (n int64) {
		var status lineage.StatusView
		if err := json.Unmarshal([]byte(h.must("lineage", "status", "--json")), &status); err != nil {
			t.Fatal(err)
		}
		return status.Fingerprints
	}
	// The running program reads the fingerprints, and its API answers the service.
	h.start()
	eventually(t, "the index is loaded", func() bool {
		return strings.Contains(h.must("lineage", "status", "--json"), `"state": "ready"`)
	})
	// Two addresses; ada's id and name; the secrets of two apps, of which Facebook makes one more; ada's
	// tokens, and the same before it was known whose they are; six of these in small letters, too.
	eventually(t, "everything is told", func() bool { return held() == 18 })
	var status lineage.StatusView
	if err := h.api().do(t.Context(), "GET", "/gatehouse/v1/lineage/status", nil, &status); err != nil || status.Fingerprints != 18 {
		t.Errorf("the API's status is %+v, %v", status, err)
	}
	h.stop()

	h.inside(func(p *parts) {
		for range 2 {
			if err := p.destroyPerson(t.Context(), gatehouse.PersonID(person)); err != nil {
				t.Fatal(err)
			}
		}
	})
	if out := h.must("lineage", "person", "x:"+user); !strings.Contains(out, "No flow is on record.") {
		t.Errorf("after the erasure: %s", out)
	}
	if out := h.must("lineage", "service", "demo"); strings.Count(out, "erased") != 4 || strings.Contains(out, person) {
		t.Errorf("after the erasure: %s", out)
	}
	// Ada's address, id, name and two tokens in both spellings have gone, and the word to other processes has come.
	if n := held(); n != 12 {
		t.Errorf("after the erasure there are %d fingerprints", n)
	}
	if out := h.must("audit", "verify"); !strings.Contains(out, "verif") {
		t.Errorf("the log: %s", out)
	}
}

// A day is given as such, or as a time that has passed.
func TestParseDay(t *testing.T) {
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{"2026-05-01": "2026-05-01", "3d": "2026-05-01", "36h": "2026-05-03", "0d": "2026-05-04"} {
		if got, err := parseDay("--since", text, now); err != nil || got.Format(time.DateOnly) != want {
			t.Errorf("%q is %v, %v; want %s", text, got, err, want)
		}
	}
	var usage *usageError
	for _, text := range []string{"soon", "-3d", "-1h", "2026-13-01", "3", "99999d"} {
		if got, err := parseDay("--since", text, now); !errors.As(err, &usage) {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
}

// Who may ask is what a reload changes.
func TestWhoMayAskIsLive(t *testing.T) {
	for change, want := range map[string]bool{"lineage.services gains web": true, "lineage.keep is set to 24h": false} {
		if live(change) != want {
			t.Errorf("%q is live: %t", change, !want)
		}
	}
	p := assembled(t, sealingConfig)
	if p.asksLineage("web") {
		t.Error("a service may ask that is not named")
	}
	cfg := *p.cfg
	cfg.Lineage = config.Lineage{Services: []gatehouse.ServiceName{"web"}}
	p.inForce.Store(&rules{&cfg, p.inForce.Load().policy})
	if !p.asksLineage("web") {
		t.Error("a service may not ask that is named")
	}
}

// What the configuration says is the app's own is recognised as nobody's.
func TestOursAreNobodys(t *testing.T) {
	h := newHouse(t)
	h.edit(func(text string) string { return text + "\nlineage: {ours: [support@example.com]}\n" })
	h.start()
	h.stop()
	h.inside(func(p *parts) {
		ctx := t.Context()
		values := []fingerprint.Value{{Class: gatehouse.EmailAddress, Text: "support@example.com"}, {Class: gatehouse.EmailAddress, Text: "ada@example.com"}}
		if err := p.lineage.Deliver(ctx, lineage.Source{Platform: gatehouse.X, App: demoX, Operation: "GET /2/users/me", Purpose: "publish", Service: "demo"},
			[]lineage.Delivered{{ID: "4711", Values: values}}); err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			s := p.lineage.Search(lineage.Transfer{Service: "demo", Purpose: "publish", Destination: v.Text[:3] + ".example", Report: true})
			_, _ = s.Write([]byte(v.Text))
			if err := s.End(ctx); err != nil {
				t.Fatal(err)
			}
			s.Close()
		}
	})
	if out := h.must("lineage", "flows"); !strings.Contains(out, "ada.example") || strings.Contains(out, "sup.example") {
		t.Errorf("the flows are %s", out)
	}
}
