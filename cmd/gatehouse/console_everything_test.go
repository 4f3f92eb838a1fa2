package main

import (
	"errors"
	"testing"

	"gatehouse"
	"gatehouse/internal/console"
	"gatehouse/internal/identity/operator"
)

// TestCutEverythingOff: what is ordered is on record before it begins, one at a time; it
// ends what is in scope and nothing else, and says what came of it.
func TestCutEverythingOff(t *testing.T) {
	_, p := consoleParts(t)
	ctx, e := t.Context(), newEverythingCutter(p)
	if _, err := p.identity.NewServiceKey(ctx, "demo"); err != nil {
		t.Fatal(err)
	}
	alive := func() (n int) {
		keys, err := p.identity.ServiceKeys(ctx, "demo")
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			if k.Revoked.IsZero() {
				n++
			}
		}
		return n
	}
	entries := func(verdict string) int {
		page, err := logSource{p}.Search(ctx, "acc1", console.LogQuery{Action: "connect.everything", Verdict: verdict}, "", 50)
		if err != nil {
			t.Fatal(err)
		}
		return len(page.Entries)
	}
	had := alive()
	for what, scope := range map[string]console.EverythingScope{"another app": {App: "nothing"}, "another platform": {Platform: "threads-no"}, "an app elsewhere": {App: demoX, Platform: "facebook"}} {
		if err := e.CutOff(ctx, operator.Host(), scope, "laptop stolen"); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := e.Everything(ctx, scope); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s is shown: %v", what, err)
		}
	}
	if err := e.CutOff(ctx, operator.Actor{}, console.EverythingScope{}, "laptop stolen"); !errors.Is(err, operator.ErrSession) || !e.CuttingOff().Began.IsZero() {
		t.Errorf("nobody: %v, %+v", err, e.CuttingOff())
	}
	if n := entries("allow"); n != 0 {
		t.Errorf("what was refused is in the log %d times", n)
	}
	view, err := e.Everything(ctx, console.EverythingScope{App: demoX, Platform: "x"})
	if err != nil || len(view.Services) == 0 || len(view.Apps) < 2 || view.Connections >= 0 {
		t.Errorf("%+v, %v", view, err)
	}

	if err := e.CutOff(ctx, operator.Host(), console.EverythingScope{Platform: "x"}, "laptop stolen"); err != nil {
		t.Fatal(err)
	}
	if n := entries("allow"); n != 1 || alive() != had {
		t.Errorf("before it begins: %d entries, %d keys of %d", n, alive(), had)
	}
	if err := e.CutOff(ctx, operator.Host(), console.EverythingScope{}, "laptop stolen"); !errors.Is(err, gatehouse.ErrConflict) {
		t.Errorf("a second one meanwhile: %v", err)
	}
	e.once(ctx, <-e.ordered)
	now := e.CuttingOff()
	if now.Ended.IsZero() || now.Failed != "" || now.Keys != int64(had) || alive() != 0 {
		t.Errorf("%+v; %d keys work", now, alive())
	}
	if err := p.log.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if n := entries("done"); n != 1 {
		t.Errorf("what came of it is in the log %d times", n)
	}
	if err := e.CutOff(ctx, operator.Host(), console.EverythingScope{}, "laptop stolen"); err != nil {
		t.Errorf("after it has ended: %v", err)
	}
	e.once(ctx, <-e.ordered)
}
