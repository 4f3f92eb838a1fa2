package console

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
)

// cutter is a source of the page that cuts everything off.
type cutter struct {
	allow func(ctx context.Context, by operator.Actor, p operator.Proposal) error
	state CuttingOff
	done  []string
}

func (c *cutter) Everything(_ context.Context, s EverythingScope) (EverythingView, error) {
	if s.App == "nothing" {
		return EverythingView{}, errNoSuch("app")
	}
	return EverythingView{Apps: []string{"main-x"}, Platforms: []string{"x"}, Connections: 1200, Services: []string{"web"}}, nil
}

func (c *cutter) CutOff(ctx context.Context, by operator.Actor, s EverythingScope, reason string) error {
	if err := c.allow(ctx, by, s.Proposal(reason)); err != nil {
		return err
	}
	c.done = append(c.done, s.words()+", "+reason)
	return nil
}

func (c *cutter) CuttingOff() CuttingOff { return c.state }

// TestEverythingTakesTwo: with another who may decide nothing ends until they agree, to
// this scope and no other.
func TestEverythingTakesTwo(t *testing.T) {
	const page, form = "/connections/everything", "/connections/everything/revoke"
	from := &cutter{}
	d := newDesk(t, operator.Owner, Everything(from), Operators(), Connections(&traffic{}))
	from.allow = func(ctx context.Context, by operator.Actor, p operator.Proposal) error {
		return d.house.directory.Allow(ctx, by, p)
	}
	d.get("/connections").shows(t, `href="/connections/everything"`)
	d.get(page).shows(t, "Cut off every connection", "1\u202f200", "connections work now", "web", "<kbd>everything</kbd>", "!This takes two", "!Cutting off")
	d.get(page+"?app=main-x&platform=x").shows(t, "every connection of app main-x at x", "<kbd>main-x x</kbd>", `name="app" value="main-x"`)
	if r := d.get(page + "?app=nothing"); r.status != 404 {
		t.Errorf("an app that is not there: status %d", r.status)
	}
	for what, fields := range map[string][]string{
		"another word":            {"app", "", "platform", "", "reason", "laptop stolen", "typed", "revoke"},
		"the word of all":         {"app", "main-x", "platform", "", "reason", "laptop stolen", "typed", "everything"},
		"the word of another":     {"app", "", "platform", "", "reason", "laptop stolen", "typed", "main-x"},
		"no reason":               {"app", "", "platform", "", "reason", " ", "typed", "everything"},
		"a reason nobody can see": {"app", "", "platform", "", "reason", "a\u200bb", "typed", "everything"},
		"a long reason":           {"app", "", "platform", "", "reason", strings.Repeat("a", maxReason+1), "typed", "everything"},
	} {
		if r := d.post(form, fields...); r.status != 400 || len(from.done) != 0 {
			t.Errorf("%s: status %d, done %q", what, r.status, from.done)
		}
	}
	all := []string{"app", "", "platform", "", "reason", "laptop stolen", "typed", "everything"}
	one := []string{"app", "main-x", "platform", "", "reason", "laptop stolen", "typed", "main-x"}
	d.post(form, all...).goesTo(t, page)

	other := d.house.join("Grace", operator.Security)
	d.get(page).shows(t, "This takes two")
	d.post(form, one...).goesTo(t, "/operators/approvals")
	other.get("/operators/approvals").shows(t, "every connection of app main-x, because: laptop stolen")
	waiting, err := d.house.directory.Approvals(t.Context())
	must(t, err)
	must(t, d.house.directory.Approve(t.Context(), operator.By(sessionOf(t, other)), waiting[0].ID))
	d.post(form, all...).goesTo(t, "/operators/approvals") // more than was agreed to
	d.post(form, one...).goesTo(t, page)
	d.post(form, one...).goesTo(t, "/operators/approvals") // once
	if want := []string{"every connection, laptop stolen", "every connection of app main-x, laptop stolen"}; !slices.Equal(from.done, want) {
		t.Errorf("done %q, want %q", from.done, want)
	}

	keeper := d.house.join("Olga", operator.Operator)
	keeper.get("/connections").shows(t, "!/connections/everything")
	if r := keeper.get(page); r.status != 403 {
		t.Errorf("an operator: status %d", r.status)
	}
	if r := keeper.post(form, all...); r.status != 403 {
		t.Errorf("an operator: status %d", r.status)
	}
	d.house.ahead.Store(int64(11 * time.Minute))
	if r := d.post(form, all...); !strings.HasPrefix(r.header.Get("Location"), "/prove") || len(from.done) != 2 {
		t.Errorf("without a recent proof: status %d, done %q", r.status, from.done)
	}
}

// TestEverythingProgress: how far it is, and what came of it, is told.
func TestEverythingProgress(t *testing.T) {
	now := time.Now()
	from := &cutter{state: CuttingOff{Began: now, Done: 3, Total: 12}, allow: func(context.Context, operator.Actor, operator.Proposal) error { return errors.New("not asked") }}
	d := newDesk(t, operator.Owner, Everything(from), Operators())
	d.get("/connections/everything").shows(t, "under way", "25 %", "!Cut off every connection")
	from.state.Ended, from.state.Connections, from.state.People = now, 12, 1
	d.get("/connections/everything").shows(t, "12 connections of 1 person ended", "Cut off every connection", "!not confirmed", "!cannot end")
	from.state.Outstanding, from.state.NotOffered = 1, 2
	d.get("/connections/everything").shows(t, "1 is not confirmed", "2 are of platforms")
	from.state.Failed = "Not all of it."
	d.get("/connections/everything").shows(t, "not finished", "Not all of it.", "!12 connections")
}
