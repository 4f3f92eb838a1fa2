package world_test

import (
	"regexp"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"gatehouse/internal/sandbox/world"
)

func TestPeopleAreDistinctAndFitX(t *testing.T) {
	valid := regexp.MustCompile(`^[A-Za-z0-9_]{3,15}$`)
	seen := map[string]bool{}
	people := world.People()
	if len(people) < 300 {
		t.Fatalf("%d people, want at least 300", len(people))
	}
	for i, p := range people {
		if p.Index != i {
			t.Errorf("person %d has index %d", i, p.Index)
		}
		if !valid.MatchString(p.Username) {
			t.Errorf("user name %q is not one that X would accept", p.Username)
		}
		if seen[p.Username] {
			t.Errorf("user name %q twice", p.Username)
		}
		seen[p.Username] = true
		if !utf8.ValidString(p.Name+p.Bio) || p.Name == "" || p.Bio == "" || p.Email == "" {
			t.Errorf("person %d is incomplete: %+v", i, p)
		}
		if p.Joined.After(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("person %d joined in the future: %v", i, p.Joined)
		}
	}
}

func TestPeopleAreTheSameEachTimeAndOwnedByTheCaller(t *testing.T) {
	first := world.People()
	first[0].Name = "changed"
	if world.People()[0].Name == "changed" {
		t.Error("changing the result changed the world")
	}
}

func TestTextsAreDistinctAndFitAPost(t *testing.T) {
	seen := map[string]bool{}
	texts := world.Texts()
	if len(texts) < 300 {
		t.Fatalf("%d texts, want some hundred", len(texts))
	}
	for _, text := range texts {
		if seen[text] {
			t.Errorf("text twice: %q", text)
		}
		seen[text] = true
		if !utf8.ValidString(text) || len(utf16.Encode([]rune(text))) > 140 {
			t.Errorf("text too long or invalid: %q", text)
		}
	}
}

func TestClockSkew(t *testing.T) {
	var clock world.Clock
	if d := time.Since(clock.Now()); d.Abs() > time.Minute {
		t.Errorf("the zero clock is off by %v", d)
	}
	clock.SetSkew(-3 * time.Hour)
	if d := time.Since(clock.Now()) - 3*time.Hour; d.Abs() > time.Minute {
		t.Errorf("skewed clock is off by %v", d)
	}
	if clock.Skew() != -3*time.Hour {
		t.Errorf("Skew() = %v", clock.Skew())
	}
}

func TestLedgerKeepsOrderAndForgetsNothing(t *testing.T) {
	var ledger world.Ledger
	ledger.Add("a", "one")
	ledger.Add("b", "two")
	ledger.Add("a", "one")
	ledger.Add("a", "")
	got := ledger.All()
	if len(got) != 2 || got[0].Value != "one" || got[1].Value != "two" {
		t.Errorf("ledger holds %v", got)
	}
}
