package connect_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/sandbox/world"
	"gatehouse/internal/store/storetest"
)

const (
	makeDue     = "UPDATE connections SET renew_at = 1000000"
	makeExpired = "UPDATE connections SET access_expires = 1000000, renew_at = 1000000, updated = 1000000"
)

// state returns a connection's status and reason, and checks that its tokens are
// still there.
func state(t *testing.T, w *connecttest.World, id gatehouse.ConnectionID) (connect.Status, string) {
	t.Helper()
	rec, err := w.DB.Connect().Connection(t.Context(), id)
	if err != nil || rec.Access == nil {
		t.Fatalf("tokens are gone: %v", err)
	}
	return rec.Status, rec.Reason
}

// What the platform's answer, or the lack of one, leaves behind: a doubt only
// where it may have rotated the tokens. As long as the access token is good calls
// go on with it, and the refresh token is not tried again; afterwards the
// platform decides, and what it never did costs nothing.
func TestStateAfterEachKindOfAnswer(t *testing.T) {
	t.Parallel()
	html := "text/html"
	for name, c := range map[string]struct {
		fault world.Fault
		want  connect.Status
		spent bool // the platform did rotate
	}{
		"slow":             {world.Fault{DelayMS: 2500}, connect.InDoubt, true},
		"slow reply":       {world.Fault{DelayReplyMS: 2500}, connect.InDoubt, true},
		"lost":             {world.Fault{LoseReply: true}, connect.InDoubt, true},
		"cut":              {world.Fault{CutBody: true}, connect.InDoubt, true},
		"lying length":     {world.Fault{LieLength: true}, connect.InDoubt, true},
		"never":            {world.Fault{Hang: true}, connect.InDoubt, false},
		"no JSON":          {world.Fault{Status: 200, Body: "<html>", ContentType: html}, connect.InDoubt, false},
		"no token":         {world.Fault{Status: 200, Body: "{}", ContentType: "application/json"}, connect.InDoubt, false},
		"error":            {world.Fault{Status: 500}, connect.InDoubt, false},
		"bad gateway":      {world.Fault{Status: 502, Body: "<html>", ContentType: html}, connect.InDoubt, false},
		"gateway timeout":  {world.Fault{Status: 504}, connect.InDoubt, false},
		"unavailable":      {world.Fault{Status: 503}, connect.Healthy, false},
		"too many":         {world.Fault{Status: 429}, connect.Healthy, false},
		"not found":        {world.Fault{Status: 404}, connect.Healthy, false},
		"redirect":         {world.Fault{Redirect: "http://127.0.0.1:1/"}, connect.Healthy, false},
		"a little slow":    {world.Fault{DelayReplyMS: 500}, connect.Healthy, false},
		"sent twice":       {world.Fault{Repeat: true}, connect.ReconnectNeeded, true},
		"sent twice, lost": {world.Fault{Repeat: true, LoseReply: true}, connect.InDoubt, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
			if f := c.fault; f.DelayMS > 2000 || f.DelayReplyMS > 2000 || f.Hang {
				w.Connections.Hurry(10) // two seconds to ask
			}
			id := w.Connect("user-7", "publish", connecttest.Person(1)).ID
			issued := len(w.Tokens())
			fault(t, w, c.fault)
			age(t, w, makeDue)
			_ = w.Connections.Tend(t.Context())
			status, reason := state(t, w, id)
			if status != c.want || (reason == "") != (name == "a little slow") {
				t.Fatalf("the connection is %s (%s), want %s", status, reason, c.want)
			}
			if status == connect.ReconnectNeeded {
				return // the first of two rotated, and only the second was heard
			}
			rec, err := w.DB.Connect().Connection(t.Context(), id)
			if err != nil || (status == connect.InDoubt && rec.RenewAt.Before(rec.AccessExpires)) {
				t.Errorf("tried again at %s, before the end of the access token at %s, %v", rec.RenewAt, rec.AccessExpires, err)
			}
			call(t, w, id)
			tended := w.Connections.Tend(t.Context())
			if after, err := w.DB.Connect().Connection(t.Context(), id); err != nil || tended != nil || after.Version != rec.Version {
				t.Errorf("tried again while the token is good: %v, %v", err, tended)
			}
			// Until X has done what it was slow to do.
			for until := time.Now().Add(time.Minute); c.spent && len(w.Tokens()) == issued && time.Now().Before(until); {
				time.Sleep(10 * time.Millisecond)
			}
			age(t, w, makeExpired)
			_, err = w.Connections.Credential(t.Context(), w.Receipt(), id)
			if !c.spent && err != nil {
				t.Errorf("what the platform never did cost the grant: %v", err)
			}
			if c.spent {
				refused(t, err, "connect/reconnect-needed")
			}
			if _, reason := state(t, w, id); c.spent && !strings.Contains(reason, "never became durable") {
				t.Errorf("the reason is %q", reason)
			}
		})
	}
}

// Facebook's old token lives on when it is exchanged: after a lost reply, or the
// death of an owner, it is exchanged again, without waiting for its end.
func TestFacebookExchangesAgain(t *testing.T) {
	t.Parallel()
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	id := w.Connect("user-7", "pages", connecttest.Person(1)).ID
	if err := w.Faults.Add(world.Fault{Match: world.FaultMatch{Path: "/v25.0/oauth/access_token"}, CutBody: true}); err != nil {
		t.Fatal(err)
	}
	age(t, w, makeDue)
	_ = w.Connections.Tend(t.Context())
	if status, reason := state(t, w, id); status != connect.InDoubt || reason == "" {
		t.Fatalf("the connection is %s (%s)", status, reason)
	}
	if rec, err := w.DB.Connect().Connection(t.Context(), id); err != nil || time.Until(rec.RenewAt) > time.Minute {
		t.Errorf("tried again at %s, %v", rec.RenewAt, err)
	}
	for _, left := range []string{makeDue, makeDue + ", status = 'renewing', lease_until = 1000000"} {
		age(t, w, left)
		_ = w.Connections.Tend(t.Context())
		if status, reason := state(t, w, id); status != connect.Healthy || reason != "" {
			t.Errorf("the connection is %s (%s)", status, reason)
		}
	}
}

// A connection in doubt meets a platform that is down: it stays in doubt, and
// only an answer ends that.
func TestDoubtOutlastsAnOutage(t *testing.T) {
	t.Parallel()
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	id := w.Connect("user-7", "publish", connecttest.Person(1)).ID
	fault(t, w, world.Fault{LoseReply: true})
	fault(t, w, world.Fault{Status: 503})
	age(t, w, makeDue)
	_ = w.Connections.Tend(t.Context())
	for _, want := range []connect.Status{connect.InDoubt, connect.ReconnectNeeded} {
		age(t, w, makeExpired)
		_ = w.Connections.Tend(t.Context())
		if status, reason := state(t, w, id); status != want {
			t.Errorf("the connection is %s (%s), want %s", status, reason, want)
		}
	}
}

// The token endpoint is down for an hour: it is asked ever less often, by no
// regular beat, and when it is back nothing is lost.
func TestTokenEndpointDownForAnHour(t *testing.T) {
	t.Parallel()
	asked, differ := 0, false
	for passed := time.Duration(0); passed < time.Hour; asked++ {
		timer, callers := connect.Pauses(int64(asked + 1))
		again, _ := connect.Pauses(int64(asked + 1))
		differ = differ || timer != again
		if timer > 38*time.Minute || callers > 30*time.Second {
			t.Fatalf("after %d failures the pauses are %s and %s", asked+1, timer, callers)
		}
		passed += timer
	}
	if asked > 12 || !differ {
		t.Errorf("asked %d times in an hour; pauses differ: %t", asked, differ)
	}
	const hurry = 2000 // an hour takes 1.8 seconds
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	w.Connections.HurryPauses(hurry)
	id := w.Connect("user-7", "publish", connecttest.Person(1)).ID
	fault(t, w, world.Fault{Times: -1, Status: 503})
	age(t, w, makeExpired)
	start := time.Now()
	for passed := time.Duration(0); passed < time.Hour/hurry || refreshes(w) < 3 && passed < time.Minute; passed = time.Since(start) {
		_ = w.Connections.Tend(t.Context())
		time.Sleep(5 * time.Millisecond)
	}
	// Fifteen in the hour, and what the longest pauses allow in the time that a slow
	// machine takes beyond.
	most := 15 + int((time.Since(start)-time.Hour/hurry)/(20*time.Minute/hurry))
	if n := refreshes(w); n < 3 || n > most {
		t.Errorf("asked %d times, want 3 to %d", n, most)
	}
	w.Faults.Clear()
	age(t, w, makeExpired)
	w.Connections = w.Open(connecttest.Options{})
	call(t, w, id)
}

// The platform cannot even be reached: nothing was sent, so nothing is in doubt.
func TestUnsentRenewalLeavesNoDoubt(t *testing.T) {
	t.Parallel()
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	id := w.Connect("user-7", "publish", connecttest.Person(1)).ID
	w.Egress.CloseIdle()
	w.StopX()
	age(t, w, makeDue)
	_ = w.Connections.Tend(t.Context())
	if status, reason := state(t, w, id); status != connect.Healthy || reason == "" {
		t.Errorf("the connection is %s (%s)", status, reason)
	}
}

// An owner is held up until its lease has passed, and another takes over.
// Before the platform is asked: the late one asks no more. After: its pair is the
// good one, and is kept, whatever the other has concluded from the old.
func TestOwnerThatIsHeldUp(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		step, age string
		asked     int
	}{
		"before asking":          {"taken", makeExpired, 1},
		"with the answer":        {"answered", makeDue, 1},
		"with the answer, late":  {"answered", makeExpired, 2},
		"before it is durable":   {"sealed", makeDue, 1},
		"durable, late to leave": {"saved", makeExpired, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
			other := w.Open(connecttest.Options{})
			if c.step == "taken" {
				w.Connections.Hurry(20_000) // a millisecond to ask, and two of lease
			}
			id := w.Connect("user-7", "publish", connecttest.Person(1)).ID
			held, release := holdAt(w, c.step)
			defer release()
			age(t, w, c.age)
			var renewing sync.WaitGroup
			renewing.Go(func() {
				if _, err := w.Connections.Credential(t.Context(), w.Receipt(), id); err != nil {
					t.Errorf("the late owner: %v", err)
				}
			})
			<-held
			age(t, w, "UPDATE connections SET lease_until = 1000000 WHERE status = 'renewing'")
			_, err := other.Credential(t.Context(), w.Receipt(), id)
			if late := c.asked == 2; late != (err != nil) {
				t.Errorf("the other owner: %v", err)
			}
			release()
			renewing.Wait()
			w.Connections = other // which has its time
			if status, reason := state(t, w, id); status != connect.Healthy || refreshes(w) != c.asked {
				t.Errorf("%s (%s), asked %d times", status, reason, refreshes(w))
			}
			call(t, w, id)
			age(t, w, makeExpired)
			call(t, w, id)
		})
	}
}

// stale is a store whose reads are those of a while ago.
type stale struct {
	connect.Store
	old  atomic.Pointer[connect.Record]
	left atomic.Int32
}

func (s *stale) Connection(ctx context.Context, id gatehouse.ConnectionID) (connect.Record, error) {
	if old := s.old.Load(); old != nil && s.left.Add(-1) >= 0 {
		return *old, nil
	}
	return s.Store.Connection(ctx, id)
}

// Reads may be a little old. From a row that another process has renewed since,
// nothing follows: no second use of the spent token, no verdict.
func TestStaleReadLeadsToNoVerdict(t *testing.T) {
	t.Parallel()
	s := &stale{}
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	late := w.Open(connecttest.Options{Store: func(real connect.Store) connect.Store { s.Store = real; return s }})
	id := w.Connect("user-7", "publish", connecttest.Person(1)).ID
	for name, ask := range map[string]func() error{
		"call":  func() error { _, err := late.Credential(t.Context(), w.Receipt(), id); return err },
		"timer": func() error { return late.Tend(t.Context()) },
	} {
		age(t, w, makeExpired)
		old, err := w.DB.Connect().Connection(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		call(t, w, id)
		before := refreshes(w)
		s.left.Store(3)
		s.old.Store(&old)
		if err := ask(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		s.old.Store(nil)
		if status, reason := state(t, w, id); status != connect.Healthy || refreshes(w) != before {
			t.Errorf("%s: %s (%s), asked %d times", name, status, reason, refreshes(w)-before)
		}
	}
}

// Instagram and Threads refresh a token from the age of 24 hours on: before, they
// are not asked, whatever the row says.
func TestYoungTokensAreNotRefreshed(t *testing.T) {
	t.Parallel()
	clock := &world.Clock{}
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{Clock: clock})
	asked := func() (n int) {
		for _, r := range w.Requests.Last(1000) {
			if strings.HasSuffix(r.Path, "/refresh_access_token") {
				n++
			}
		}
		return n
	}
	for i, purpose := range []gatehouse.PurposeName{"gallery", "threads"} {
		id := w.Connect("user-7", purpose, connecttest.Person(1)).ID
		age(t, w, makeDue)
		if err := w.Connections.Tend(t.Context()); err != nil || asked() != i {
			t.Errorf("%s was asked %d times, %v", purpose, asked()-i, err)
		}
		if rec, err := w.DB.Connect().Connection(t.Context(), id); err != nil || time.Until(rec.RenewAt) < 23*time.Hour {
			t.Errorf("%s: next at %s, %v", purpose, rec.RenewAt, err)
		}
		clock.SetSkew(clock.Skew() + 25*time.Hour)
		w.Connect("user-8", purpose, connecttest.Person(2)) // by which the time is learnt
		age(t, w, makeDue)
		if err := w.Connections.Tend(t.Context()); err != nil || asked() != i+1 {
			t.Errorf("%s was asked %d times a day later, %v", purpose, asked()-i, err)
		}
		if status, reason := state(t, w, id); status != connect.Healthy || reason != "" {
			t.Errorf("%s is %s (%s)", purpose, status, reason)
		}
		clock.SetSkew(0)
		w.Connect("user-9", purpose, connecttest.Person(3))
	}
}

// A Facebook token has expired by the row. A process that has not heard the
// platform's time does not say so on its own word: the platform decides. One that
// has does not ask in vain.
func TestExpiryByAnUnconfirmedClock(t *testing.T) {
	t.Parallel()
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	id := w.Connect("user-7", "pages", connecttest.Person(1)).ID
	age(t, w, makeExpired)
	if _, err := w.Open(connecttest.Options{}).Credential(t.Context(), w.Receipt(), id); err != nil {
		t.Errorf("a clock that nobody confirmed cost the grant: %v", err)
	}
	age(t, w, makeExpired)
	_, err := w.Connections.Credential(t.Context(), w.Receipt(), id)
	refused(t, err, "connect/reconnect-needed")
}

// The clocks differ by hours: expiry is a matter of the platform's, and one odd
// Date among many, as a cache gives it, moves nothing.
func TestClockOfThePlatform(t *testing.T) {
	t.Parallel()
	clock := &world.Clock{}
	var odd atomic.Bool
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{Clock: clock, Platform: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(oddDate{w, r.URL.Path == "/2/users/me" && odd.CompareAndSwap(true, false)}, r)
		})
	}})
	for _, skew := range []time.Duration{0, 5 * time.Hour, -5 * time.Hour} {
		clock.SetSkew(skew)
		c := w.Connect(subjectOf(skew), "publish", connecttest.Person(1))
		if got, ok := w.Connections.ClockSkew("main-x"); !ok || (got-skew).Abs() > 3*time.Second {
			t.Errorf("with %s the measured difference is %s, %t", skew, got, ok)
		}
		if left := time.Until(c.AccessExpires) - skew; (left - 2*time.Hour).Abs() > 5*time.Second {
			t.Errorf("with %s the token lives %s", skew, left)
		}
		before := refreshes(w)
		if call(t, w, c.ID); refreshes(w) != before {
			t.Errorf("with %s a fresh token was renewed", skew)
		}
		odd.Store(true)
		w.Connect("user-8", "publish", connecttest.Person(2))
		if got, _ := w.Connections.ClockSkew("main-x"); odd.Load() || (got-skew).Abs() > 3*time.Second {
			t.Errorf("one odd Date made it %s", got)
		}
	}
}

func subjectOf(d time.Duration) string { return "user" + d.String() }

// oddDate is a reply whose Date is a cache's, a day old.
type oddDate struct {
	http.ResponseWriter
	odd bool
}

func (o oddDate) WriteHeader(status int) {
	if o.odd {
		o.Header().Set("Date", time.Now().Add(-24*time.Hour).UTC().Format(http.TimeFormat))
	}
	o.ResponseWriter.WriteHeader(status)
}

// A token is refused that the connection has replaced meanwhile: that is no word
// about the new one.
func TestRefusalOfAReplacedToken(t *testing.T) {
	t.Parallel()
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	id := w.Connect("user-7", "publish", connecttest.Person(1)).ID
	old, err := w.Connections.Credential(t.Context(), w.Receipt(), id)
	if err != nil {
		t.Fatal(err)
	}
	age(t, w, makeDue)
	call(t, w, id)
	if err := w.Connections.TokenRefused(t.Context(), old, "invalid"); err != nil {
		t.Fatal(err)
	}
	fresh, err := w.Connections.Replace(t.Context(), w.Receipt(), old)
	if err != nil || fresh == nil || refreshes(w) != 1 {
		t.Errorf("%v, asked %d times", err, refreshes(w))
	}
	if status, _ := state(t, w, id); status != connect.Healthy {
		t.Errorf("the connection is %s", status)
	}
	// A connection that is cut off gets no other token.
	if err := w.Connections.Revoke(t.Context(), id, "asked by a test"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Connections.Replace(t.Context(), w.Receipt(), fresh); !errors.Is(err, gatehouse.ErrDenied) {
		t.Errorf("after a revocation: %v", err)
	}
}
