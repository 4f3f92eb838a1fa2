package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/internal/config"
)

// Which change of the inspected hosts means what for those who trust the authority.
func TestAuthorityChange(t *testing.T) {
	with := func(hosts ...string) *config.Config {
		c := &config.Config{ThirdParty: map[string]config.ThirdParty{"plain.example": {}}}
		for _, h := range hosts {
			c.ThirdParty[h] = config.ThirdParty{Inspect: true}
		}
		return c
	}
	for _, c := range []struct {
		from, to *config.Config
		want     string
	}{
		{with("a.example"), with("a.example"), ""},
		{with(), with(), ""},
		{with("a.example"), with("a.example", "b.example"), "within two weeks"},
		{with("a.example", "b.example"), with("a.example"), "at once"},
		{with("a.example"), with("b.example"), "at once"},
		{with("a.example"), with(), "need not trust"},
		{with(), with("a.example"), "have to trust"},
	} {
		got := authorityChange(c.from, c.to)
		if got != c.want && (c.want == "" || !strings.Contains(got, c.want)) {
			t.Errorf("from %v to %v: %q, want %q", inspectedHosts(c.from), inspectedHosts(c.to), got, c.want)
		}
	}
}

// config check says it, before the change is made.
func TestConfigCheckSaysWhatClientsNeed(t *testing.T) {
	h := newHouse(t)
	before := filepath.Join(filepath.Dir(h.config), "before.yaml") // the secrets are beside it
	text, err := os.ReadFile(h.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(before, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := h.must("config", "check", "--against", before); strings.Contains(out, "act:") || !strings.Contains(out, "no change") {
		t.Errorf("without a change: %s", out)
	}
	party := newStranger(t, "new.example", false)
	h.edit(widen(party.declare("")))
	if out := h.must("config", "check", "--against", before); !strings.Contains(out, "act:") || !strings.Contains(out, "egress ca --pem") {
		t.Errorf("with a new host: %s", out)
	}
}
