package main

import (
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"gatehouse/internal/console"
	"gatehouse/internal/vault"
)

// TestHealthSource: what is in order says so, and what is not says what to do, first.
func TestHealthSource(t *testing.T) {
	h := newHouse(t)
	p, err := assemble(t.Context(), h.load(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	look := func() []console.Check {
		t.Helper()
		v, err := healthSource{p, time.Now()}.Health(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range v.Checks {
			if c.Name == "" || c.State == "" || c.Says == "" || c.Tone == console.Bad && c.Next == "" {
				t.Errorf("a check that does not say enough: %+v", c)
			}
		}
		return v.Checks
	}
	tones := map[string]console.Tone{}
	for _, c := range look() {
		tones[c.Name] = c.Tone
	}
	for name, want := range map[string]console.Tone{
		"Root key": console.Good, "Log": console.Good, "Database": console.Good, "Duties": console.Good, "Events to the app": console.Good, "Enforcement": console.Good,
		"Backup": console.Warn, "Local certificates": "", "Files": "",
	} {
		if tones[name] != want {
			t.Errorf("%s is %q, want %q", name, tones[name], want)
		}
	}
	if err := os.Chmod(p.cfg.RootKey.Path(), 0o644); err != nil {
		t.Fatal(err)
	}
	if first := look()[0]; first.Name != "Files" || first.Tone != console.Bad {
		t.Errorf("a key that everybody can read: %+v", first)
	}
	// The overview says that it needs doing now, by the same line as this page.
	overview, err := newOverviewSource(p).Overview(t.Context(), true)
	if err != nil || !slices.ContainsFunc(overview.Needs, func(n console.Need) bool { return n.Text == "files: others can read them" && n.Tone == console.Bad }) ||
		slices.ContainsFunc(overview.Looks, func(n console.Need) bool { return n.Tone == console.Bad }) {
		t.Errorf("the overview needs %+v, and looks at %+v; %v", overview.Needs, overview.Looks, err)
	}
	if err := os.Remove(beside(p.cfg, caFile)); err != nil {
		t.Fatal(err)
	}
	if second := look()[1]; second.Name != "Local certificates" && second.Name != "Backup" {
		t.Errorf("a CA that is gone: %+v", look())
	}
}

func TestRootKeyCheck(t *testing.T) {
	until := time.Date(2026, 5, 4, 12, 30, 0, 0, time.UTC)
	for _, test := range []struct {
		root vault.RootStatus
		tone console.Tone
		says string
	}{
		{vault.RootStatus{State: vault.RootAnswers}, console.Good, "The key that wraps all others can be used."},
		{vault.RootStatus{State: vault.RootLost, Until: until}, console.Bad, "The system that holds the root key does not answer. What is unwrapped serves until 4 May 12:30 UTC."},
		{vault.RootStatus{State: vault.RootLost}, console.Bad, "The system that holds the root key does not answer."},
		{vault.RootStatus{State: vault.RootRefuses}, console.Bad, "Nothing in the store can be opened, and calls are refused."},
	} {
		if c := rootKeyCheck(test.root); c.Tone != test.tone || c.Says != test.says || (c.Next == "") != (test.tone == console.Good) {
			t.Errorf("%+v is %+v", test.root, c)
		}
	}
}
