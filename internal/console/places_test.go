package console

import (
	"context"
	"net/http"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/internal/identity/operator"
)

// within reports whether there is a place at once, or after a wait of at most d.
func within(t *testing.T, p *places, d time.Duration) bool {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	return p.take(ctx)
}

// Pages that follow each other without a pause wait once the burst is used up, and for no
// longer than what they took asks for.
func TestPlacesPayBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces(2, 0.1/float64(runtime.GOMAXPROCS(0)))
		page := func(took time.Duration) {
			t.Helper()
			if !within(t, p, time.Millisecond) {
				t.Fatal("no place while there is time left")
			}
			p.leave(took)
		}
		for range 40 {
			page(100 * time.Millisecond)
		}
		page(100 * time.Millisecond) // exactly the burst is owed
		if within(t, p, 999*time.Millisecond) {
			t.Error("a page began before the last was paid back")
		}
		if !within(t, p, 2*time.Millisecond) {
			t.Error("no place after the last page was paid back")
		}
		p.leave(0)
		time.Sleep(time.Hour)
		for range 40 {
			page(100 * time.Millisecond)
		}
		page(time.Hour)
		if within(t, p, maxWait-2*time.Millisecond) {
			t.Error("after a long page nobody waited")
		}
		if !within(t, p, 3*time.Millisecond) {
			t.Error("a long page keeps others waiting for longer than the bound")
		}
		// A clock that was set back is not a reason to wait for ever, or to panic.
		p.leave(-time.Hour)
		page(0)
		// Nor does it pay for what another page took.
		for range 2 {
			if !within(t, p, time.Hour) {
				t.Fatal("no place while there is time left")
			}
		}
		p.leave(time.Hour)
		p.leave(-time.Hour)
		if within(t, p, time.Millisecond) {
			t.Error("a clock that was set back paid for a long page")
		}
	})
}

// TestStrangersHaveHalfTheShare: those who may be anybody get half as much of the
// processors as those who are signed in.
func TestStrangersHaveHalfTheShare(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.Limits.Share = 12 })
	if own, all := h.console.places.share, h.console.strangers.share; own != 0.12*float64(runtime.GOMAXPROCS(0)) || all != own/2 {
		t.Errorf("operators get %v of a processor, strangers %v", own, all)
	}
}

// What a page took is owed by those whom it was made for.
func TestPagesAreOwed(t *testing.T) {
	h := newHouse(t, nil, Health(health{}))
	d := h.join("Ada", operator.Auditor)
	owed := func() (own, all time.Duration) {
		h.console.places.owed, h.console.strangers.owed, own, all = 0, 0, h.console.places.owed, h.console.strangers.owed
		return own, all
	}
	owed()
	d.get("/health")
	if own, all := owed(); own == 0 || all != 0 {
		t.Errorf("after an operator's page they owe %v, strangers %v", own, all)
	}
	h.stranger().get("/sign-in")
	if own, all := owed(); own != 0 || all == 0 {
		t.Errorf("after a stranger's page operators owe %v, strangers %v", own, all)
	}
}

// As many pages are made at once as there are places, and who gave up waiting has none.
func TestPlacesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces(2, 1)
		for range 2 {
			if !within(t, p, time.Second) {
				t.Fatal("no place at the beginning")
			}
		}
		if within(t, p, time.Hour) {
			t.Fatal("a third place of two")
		}
		p.leave(time.Hour)
		for range 3 { // each gives up while it waits for what is owed
			if within(t, p, time.Millisecond) {
				t.Fatal("a page began although too much is owed")
			}
		}
		if !within(t, p, maxWait) {
			t.Error("who gave up kept a place")
		}
	})
}

// TestStrangersHaveTheirOwnPlaces: whoever asks for the page to sign in without an end
// keeps other strangers waiting, and no operator; nor do operators keep anybody from
// signing in.
func TestStrangersHaveTheirOwnPlaces(t *testing.T) {
	inside, leave := make(chan bool), make(chan bool)
	slow := func(v *visit) error {
		inside <- true
		<-leave
		return v.redirect("/")
	}
	page := Page{routes: []route{get("/slow", anyone, slow), get("/slow/own", healthRead, slow)}}
	h := newHouse(t, func(c *Config) { c.Limits.Requests = 1 }, page, Health(health{}))
	d := h.join("Ada", operator.Auditor)
	done := make(chan reply)
	for _, held := range []struct {
		by             *desk
		path           string
		operators, all int
	}{
		{h.stranger(), "/slow", http.StatusOK, http.StatusTooManyRequests},
		{d.again(), "/slow/own", http.StatusTooManyRequests, http.StatusOK},
	} {
		h.console.limits.Time = time.Minute
		go func() { done <- held.by.get(held.path) }()
		<-inside
		h.console.limits.Time = 100 * time.Millisecond
		if r := d.get("/health"); r.status != held.operators {
			t.Errorf("an operator's page beside %s: %d", held.path, r.status)
		}
		if r := h.stranger().get("/sign-in"); r.status != held.all {
			t.Errorf("the page to sign in beside %s: %d", held.path, r.status)
		}
		leave <- true
		<-done
	}
}

// Who is there is looked up for few at a time, so that cookies that nobody gave out do not
// keep the database busy; who waits for too long is told so.
func TestFewAreLookedUpAtOnce(t *testing.T) {
	h := newHouse(t, nil, Health(health{}))
	d := h.join("Ada", operator.Auditor)
	h.console.limits.Time = 100 * time.Millisecond
	for n := range cap(h.console.asking) {
		if r := d.get("/health"); r.status != http.StatusOK {
			t.Fatalf("with %d others: %d", n, r.status)
		}
		h.console.asking <- struct{}{} // somebody is being looked up
	}
	if r := d.get("/health"); r.status != http.StatusTooManyRequests {
		t.Errorf("one more: %d", r.status)
	}
	<-h.console.asking
	if r := d.get("/health"); r.status != http.StatusOK {
		t.Errorf("when one is done: %d", r.status)
	}
}
