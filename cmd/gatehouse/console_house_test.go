package main

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"gatehouse/internal/console"
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
	if err := os.Remove(beside(p.cfg, caFile)); err != nil {
		t.Fatal(err)
	}
	if second := look()[1]; second.Name != "Local certificates" && second.Name != "Backup" {
		t.Errorf("a CA that is gone: %+v", look())
	}
}
