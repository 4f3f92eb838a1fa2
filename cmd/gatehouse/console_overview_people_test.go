package main

import (
	"crypto/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/console"
	"gatehouse/internal/identity"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/review"
	"gatehouse/internal/metrics"
	"gatehouse/internal/secret"
)

func TestReviewNeed(t *testing.T) {
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	open := review.Review{ID: "r1", State: review.Open, Due: now.Add(49 * time.Hour), Counts: review.Counts{Undecided: 2}}
	need, has := reviewNeed(open, now)
	if !has || need.Tone != console.Bad || need.Href != "/reviews/r1" || need.Text != "a review is due in 2 d: 2 rights that nobody has confirmed end then" {
		t.Errorf("%+v, %v", need, has)
	}
	over := open
	over.Due, over.Counts.Undecided = now.Add(-time.Minute), 1
	if need, has := reviewNeed(over, now); !has || need.Text != "a review is due now: 1 right that nobody has confirmed ends then" {
		t.Errorf("%+v, %v", need, has)
	}
	far, decided, closed := open, open, open
	far.Due, decided.Counts.Undecided, closed.State = now.Add(dueSoon+time.Minute), 0, review.Finished
	for what, r := range map[string]review.Review{"one that is due later": far, "one that is decided": decided, "one that is finished": closed} {
		if need, has := reviewNeed(r, now); has {
			t.Errorf("%s: %+v", what, need)
		}
	}
}

// TestPeopleNeeds: what waits or ends is something to do, and what does not is not.
func TestPeopleNeeds(t *testing.T) {
	_, p := consoleParts(t)
	ctx, o, now := t.Context(), newOverviewSource(p), time.Now()
	m := p.metrics.Overview(now)
	look := func(at time.Time) []string {
		t.Helper()
		ending, _, err := o.serviceKeys(ctx, at)
		if err != nil {
			t.Fatal(err)
		}
		needs, err := o.peopleNeeds(ctx, &m, ending, at)
		if err != nil {
			t.Fatal(err)
		}
		var hrefs []string
		for _, n := range needs {
			hrefs = append(hrefs, n.Href)
		}
		return hrefs
	}
	if got := look(now); len(got) != 0 {
		t.Errorf("in a new house: %q", got)
	}
	if _, _, err := p.identity.MakeServiceKey(ctx, identity.KeyRequest{Service: "demo", Life: 100 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	if got := look(now.Add(80 * time.Hour)); len(got) != 0 {
		t.Errorf("before a key's last tenth: %q", got)
	}
	if got := look(now.Add(95 * time.Hour)); !slices.Equal(got, []string{"/services"}) {
		t.Errorf("in a key's last tenth: %q", got)
	}

	link, _, err := p.operators.Invite(ctx, operator.Host(), operator.Invitation{Name: "ada", Email: "ada@example.com", Role: operator.Security})
	if err != nil {
		t.Fatal(err)
	}
	browser := demoBrowser(secret.New(rand.Text()), "test")
	_, token, err := enrolDemo(ctx, p.operators, browser, link, secret.New(rand.Text()))
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := p.operators.Session(ctx, browser, token)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.operators.Propose(ctx, operator.By(s), operator.ProposalToRestore("b", "aa")); err != nil {
		t.Fatal(err)
	}
	if got := look(now); !slices.Equal(got, []string{"/operators/approvals"}) {
		t.Errorf("with an act that waits: %q", got)
	}
	if got := look(now.Add(25 * time.Hour)); len(got) != 0 {
		t.Errorf("when its time is over: %q", got)
	}

	if got := look(now.Add(25 * time.Hour)); len(got) != 0 {
		t.Errorf("with no sign-in refused: %q", got)
	}
	m.SignInsRefused.Level = metrics.Warning
	if got := look(now.Add(25 * time.Hour)); len(got) != 1 || !strings.HasPrefix(got[0], "/log?action=operator.refuse") {
		t.Errorf("with sign-ins refused: %q", got)
	}
}
