package main

import (
	"net/http"
	"strings"
	"testing"
)

// TestConsoleStepups is somebody on duty in a real browser whom a user calls who has
// lost their phone.
func TestConsoleStepups(t *testing.T) {
	s := startShowcase(t)
	b := s.owner()
	// Somebody of the demo has a factor, and is in the middle of a step-up.
	app := &demoApp{self: s.ready.DemoApp}
	setUpFactor(t, app, "tester")
	res, err := http.Get(s.ready.DemoApp + "/confirm?subject=tester")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()

	lookAt(t, b, "stepups", s.at("/stepups"))
	b.shows("Open now", "under way", "1 authenticator app", "Services that may ask")
	b.fill("subject", "nobody at all")
	b.button("Look up")
	b.shows("No step-up was ever asked for anybody of this name.")
	b.fill("subject", "tester")
	b.button("Look up")
	if strings.Contains(b.path(), "tester") {
		t.Errorf("a name stands in an address: %s", b.path())
	}
	b.shows("protected", "tester", "1 authenticator app", "under way", "stepup.redeem", "Reset second factors")
	lookAt(t, b, "stepup", "")
	at := b.path()

	// The person's page leads there too.
	b.button("All about this person")
	b.shows("1 authenticator app; recovery codes left: 10")
	b.button("Look, or reset them")
	if got := b.path(); got != at {
		t.Errorf("the person's page leads to %s, want %s", got, at)
	}

	b.allow("400")
	b.fill("typed", "erase")
	b.press(".dangerous button")
	b.shows("nothing was done")
	b.open(s.at(at))
	b.fill("typed", "reset")
	b.press(".dangerous button")
	b.shows("Factors that were removed: 1", "no second factor", "Nothing is open", "!Reset second factors", "stepup.reset")
	lookAt(t, b, "stepup-reset", "")
	setUpFactor(t, app, "tester") // the way back in
	b.open(s.at("/log?action=stepup.reset"))
	b.shows("stepup.reset")
	b.quiet()
}
