package budget_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/budget"
	"gatehouse/internal/platform"
)

// strict is a platform with strict windows: what is beyond is refused, and counted
// as an overshoot.
type strict struct {
	limit, used int
	reset       time.Time
	over        int
}

func (p *strict) call(now time.Time) (int, http.Header) {
	if !now.Before(p.reset) {
		p.used, p.reset = 0, now.Add(15*time.Minute)
	}
	if p.used >= p.limit {
		p.over++
		return 429, window(p.limit, 0, p.reset)
	}
	p.used++
	return 200, window(p.limit, p.limit-p.used, p.reset)
}

// flight is a call between its admission and its settlement.
type flight struct {
	ticket *budget.Ticket
	call   budget.Call
	status int
	header http.Header // nil: has not arrived at the platform
}

// A platform whose headers have been seen is never overshot, whatever the order in
// which calls arrive and replies come back, over many windows; calls that are admitted
// and not sent make no difference. Of replies that are lost, nobody knows whether the
// call was counted: finding out costs one call for each at most.
func TestNeverOvershot(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		r := newRig(t, budget.Config{})
		p := &strict{limit: 1 + random.IntN(40)}
		c := but(xCall, func(c *budget.Call) { c.Operation = "GET /2/users/me" })
		// The headers are seen before the burst.
		ticket := r.admitted(c)
		ticket.Sent()
		status, header := p.call(r.now)
		ticket.Learn(&c, status, header)
		ticket.Settle()
		var under []*flight
		made, lost, loses := 0, 0, seed%2 == 1
		for range 3000 {
			switch n := random.IntN(10); {
			case n < 5 && len(under) < 64:
				c := by(c, gatehouse.ServiceName(fmt.Sprint(random.IntN(3))))
				if c.Background = random.IntN(10) == 0; c.Background {
					c.Service = ""
				}
				if ticket, err := r.Admit(c); err == nil {
					under = append(under, &flight{ticket: ticket, call: c})
				}
			case n < 9 && len(under) > 0:
				i := random.IntN(len(under))
				f := under[i]
				switch {
				case f.header == nil && random.IntN(20) == 0:
					f.ticket.Settle() // never sent
					under = append(under[:i], under[i+1:]...)
				case f.header == nil:
					f.ticket.Sent()
					f.status, f.header = p.call(r.now)
					made++
				default:
					if loses && random.IntN(20) == 0 {
						lost++
					} else {
						f.ticket.Learn(&f.call, f.status, f.header)
					}
					f.ticket.Settle()
					under = append(under[:i], under[i+1:]...)
				}
			default:
				r.pass(time.Duration(random.IntN(20000)) * time.Millisecond)
			}
		}
		if p.over > lost {
			t.Fatalf("seed %d: %d calls beyond a limit of %d, of %d, with %d replies lost", seed, p.over, p.limit, made, lost)
		}
		if made < 3*p.limit {
			t.Errorf("seed %d: with a limit of %d only %d calls were made", seed, p.limit, made)
		}
	}
}

// The same with goroutines, for the race detector's sake: 64 callers of one pool.
func TestNeverOvershotConcurrently(t *testing.T) {
	r := newRig(t, budget.Config{})
	p := &strict{limit: 500}
	var mu sync.Mutex
	call := func() (int, http.Header) {
		mu.Lock()
		defer mu.Unlock()
		return p.call(r.now)
	}
	ticket := r.admitted(xCall)
	ticket.Sent()
	status, header := call()
	ticket.Learn(&xCall, status, header)
	ticket.Settle()
	var callers sync.WaitGroup
	for i := range 64 {
		callers.Go(func() {
			c := by(xCall, gatehouse.ServiceName(fmt.Sprint(i%3)))
			for range 200 {
				ticket, err := r.Admit(c)
				if err != nil {
					continue
				}
				ticket.Sent()
				status, header := call()
				ticket.Learn(&c, status, header)
				ticket.Settle()
				_ = r.For(c.Service, []gatehouse.AppName{c.App})
			}
		})
	}
	callers.Wait()
	if p.over > 0 || p.used < 300 { // those that have done early keep their part for the period
		t.Errorf("%d calls beyond the limit, %d of 500 used", p.over, p.used)
	}
}

// What is written into headers and errors breaks nothing: no number leaves its range,
// and no pool stays closed for more than a day.
func FuzzLearn(f *testing.F) {
	f.Add("x", uint16(200), "100", "0", "1795694400", "", "", int64(0))
	f.Add("x", uint16(429), "-1", "99999999999999999999", "9223372036854775807", "", `{"errors":[{"code":88}]}`, int64(-5000))
	f.Add("facebook", uint16(400), "", "", "", `{"call_count":1e308,"total_time":-1}`, `{"error":{"code":80004}}`, int64(3600))
	f.Add("threads", uint16(403), "", "", "", `{"9":[{"type":"pages","call_count":100,"estimated_time_to_regain_access":1e300}]}`, `{"error":{"code":4}}`, int64(1))
	f.Fuzz(func(t *testing.T, p string, status uint16, limit, remaining, reset, usage, body string, moved int64) {
		r := newRig(t, budget.Config{Pools: 64})
		c := budget.Call{App: "a", Platform: gatehouse.Platform(p), Owner: "o", Service: "s", Operation: "GET /{id}", Node: usage}
		h := http.Header{"Retry-After": {limit}}
		for _, name := range []string{"X-Rate-Limit-", "X-App-Limit-24hour-", "X-User-Limit-24hour-"} {
			h[name+"Limit"], h[name+"Remaining"], h[name+"Reset"] = []string{limit}, []string{remaining}, []string{reset}
		}
		for _, name := range []string{"X-App-Usage", "X-Page-Usage", "X-Ad-Account-Usage", "X-Business-Use-Case-Usage"} {
			h[name] = []string{usage}
		}
		for range 3 {
			ticket, err := r.Admit(c, c)
			if err == nil {
				ticket.Sent()
				ticket.Learn(&c, int(status), h)
				ticket.Settle()
			}
			r.Refused(&c, platform.Interpret(platform.Name(p), int(status), h, []byte(body)))
			for _, s := range r.Snapshot() {
				if s.Limit >= 0 && (s.Remaining < 0 || s.Remaining > s.Limit) || s.Limit < 0 && !(s.Percent >= 0 && s.Percent <= 1000 || s.Pool == "throttled") {
					t.Fatalf("a pool is %+v", s)
				}
			}
			r.pass(time.Duration(moved%86400) * time.Second)
		}
		r.pass(26*time.Hour + 24*time.Hour)
		if _, err := r.Admit(c); err != nil {
			t.Fatalf("two days later: %v", err)
		}
	})
}

// What a service may see: its own connections' pools, and those of its apps.
func TestFor(t *testing.T) {
	r := newRig(t, budget.Config{})
	reset := r.now.Add(10 * time.Minute)
	r.answer(by(xCall, "mine"), 200, window(100, 40, reset))
	r.answer(by(but(xCall, func(c *budget.Call) { c.Owner = "bob" }), "theirs"), 200, window(100, 1, reset))
	app := but(xCall, func(c *budget.Call) { c.Owner = "" })
	r.answer(by(app, "theirs"), 200, window(450, 449, reset))
	r.answer(by(graphCall, "theirs"), 200, appUsage(20))
	r.Learn(&xCall, 200, xHeader("x-app-limit-24hour", 1000, 10, reset))
	held := by(graphCall, "mine")
	r.Refused(&held, throttled(t, 613))

	var got []string
	for _, s := range r.For("mine", []gatehouse.AppName{"main-x"}) {
		got = append(got, fmt.Sprintf("%s %s %q %d/%d %v", s.Pool, s.Operation, s.Connection, s.Remaining, s.Limit, s.Documented))
	}
	want := []string{
		`app-24h POST /2/tweets "" 10/1000 false`,
		`call POST /2/tweets "con of mine" 40/100 true`,
		`call POST /2/tweets "" 449/450 true`,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if list := r.For("mine", []gatehouse.AppName{"pages"}); len(list) != 1 || list[0].Pool != "app" || list[0].Percent != 20 {
		t.Errorf("of the pages: %+v", list)
	}
	if list := r.Snapshot(); len(list) != 6 {
		t.Errorf("all: %+v", list)
	}
	r.pass(11 * time.Minute)
	if list := r.For("mine", []gatehouse.AppName{"main-x"}); len(list) != 0 {
		t.Errorf("after the reset: %+v", list)
	}
}
