package connect_test

import (
	"context"
	"fmt"
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

// wave makes n connections of a purpose and makes them all due.
func wave(t *testing.T, w *connecttest.World, purpose gatehouse.PurposeName, n int) (ids []gatehouse.ConnectionID) {
	t.Helper()
	for i := range n {
		ids = append(ids, w.Connect(fmt.Sprintf("user-%d", i), purpose, connecttest.Person(i)).ID)
	}
	age(t, w, makeDue)
	return ids
}

// due counts those of the connections that are not renewed yet.
func due(t *testing.T, w *connecttest.World, ids []gatehouse.ConnectionID) (n int) {
	t.Helper()
	for _, id := range ids {
		rec, err := w.DB.Connect().Connection(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if rec.RenewAt.Before(time.Now()) {
			n++
		}
	}
	return n
}

// onToken is a platform that calls f at each request of its endpoints for tokens,
// once armed: connecting goes through the same ones.
func onToken(armed *atomic.Bool, f func()) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/2/oauth2/") && armed.Load() {
				f()
			}
			next.ServeHTTP(w, r)
		})
	}
}

// More is due than one look at the store brings: the work goes on, each token is
// refreshed once, and never are more answers waited for than there is room for.
func TestWaveIsWorkedOff(t *testing.T) {
	t.Parallel()
	const room = 3
	var armed atomic.Bool
	var asked, answered, most atomic.Int64
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{Platform: onToken(&armed, func() {
		n := asked.Add(1)
		// The first few wait for each other, so that there are as many as may be.
		for deadline := time.Now().Add(time.Minute); asked.Load() < room && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		most.Store(max(most.Load(), n-answered.Load()))
		answered.Add(1)
	})})
	w.Connections.Pace(4, room, 1000)
	ids := wave(t, w, "publish", 11)
	armed.Store(true)
	if err := w.Connections.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := due(t, w, ids); left != 0 || asked.Load() != int64(len(ids)) {
		t.Errorf("one round left %d of %d, X was asked %d times", left, len(ids), asked.Load())
	}
	if most.Load() != room {
		t.Errorf("%d answers were waited for at once, and there is room for %d", most.Load(), room)
	}
}

// A platform that refuses everything is not tried faster because much is due.
func TestWaveAgainstAPlatformThatIsDown(t *testing.T) {
	t.Parallel()
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	w.Connections.Pace(2, 2, 1000)
	ids := wave(t, w, "publish", 8)
	fault(t, w, world.Fault{Times: -1, Status: 503})
	before := refreshes(w)
	if err := w.Connections.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := refreshes(w) - before; n < 2 || n > 4 {
		t.Errorf("X was asked %d times in one round, and fails each time", n)
	}
	w.Faults.Clear()
	age(t, w, makeDue+", updated = 1000000")
	if err := w.Connections.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := due(t, w, ids); left != 0 {
		t.Errorf("%d are left when X is back", left)
	}
}

// However much is due, renewals begin evenly, one after the other: they and calls
// stand in the same queue for the disk.
func TestWaveKeepsItsPace(t *testing.T) {
	t.Parallel()
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	w.Connections.Pace(4, 4, 20)
	var mu sync.Mutex
	var begun []time.Time
	w.Connections.OnStep(func(step string) {
		if step == "begin" {
			mu.Lock()
			defer mu.Unlock()
			begun = append(begun, time.Now())
		}
	})
	ids := wave(t, w, "publish", 6)
	if err := w.Connections.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A slow machine makes it longer, and never shorter.
	if took := begun[len(begun)-1].Sub(begun[0]); len(begun) != len(ids) || took < 200*time.Millisecond {
		t.Errorf("%d were begun within %s, at 20 a second", len(begun), took)
	}
}

// A renewal is begun the faster, the more of its time has passed; what gives up a
// grant, or has no time, never waits.
func TestPaceOfARenewal(t *testing.T) {
	t.Parallel()
	due := time.Now()
	record := func(window time.Duration, change func(*connect.Record)) connect.Record {
		rec := connect.Record{Status: connect.Healthy, AccessExpires: due.Add(window), RenewAt: due}
		if change != nil {
			change(&rec)
		}
		return rec
	}
	for _, c := range []struct {
		name string
		rec  connect.Record
		late time.Duration
		want float64
	}{
		{"just due", record(30*time.Minute, nil), 0, 32},
		{"an eighth of the first third", record(24*time.Minute, nil), time.Minute, 32},
		{"half of the first third", record(24*time.Minute, nil), 4 * time.Minute, 128},
		{"all of the first third", record(24*time.Minute, nil), 8 * time.Minute, 256},
		{"nearly at its end", record(24*time.Minute, nil), 23 * time.Minute, 256},
		{"long dead", record(24*time.Minute, nil), time.Hour, 256},
		{"sixty days, a day late", record(20*24*time.Hour, nil), 24 * time.Hour, 38.4},
		{"due before the clock was set back", record(30*time.Minute, nil), -time.Hour, 32},
		{"due when it has ended", record(-time.Second, nil), 0, 256},
		{"of two seconds, half of one late", record(2*time.Second, nil), 500 * time.Millisecond, 192},
		{"without an end", record(0, func(r *connect.Record) { r.AccessExpires = time.Time{} }), 0, 256},
		{"to be given back", record(30*time.Minute, func(r *connect.Record) { r.RevokeOutstanding = true }), 0, 256},
		{"never redeemed", record(30*time.Minute, func(r *connect.Record) { r.Status = connect.Pending }), 0, 256},
	} {
		if got := connect.PaceOf(c.rec, due.Add(c.late)); got < c.want-0.01 || got > c.want+0.01 {
			t.Errorf("%s: %.2f a second, want %.2f", c.name, got, c.want)
		}
	}
}

// A wave that has all its time ahead of it is worked off at an eighth of the pace.
func TestEarlyWaveIsCalm(t *testing.T) {
	t.Parallel()
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	w.Connections.Pace(4, 4, 160)
	ids := wave(t, w, "publish", 6)
	age(t, w, fmt.Sprintf("UPDATE connections SET renew_at = %d", time.Now().UnixMicro()))
	start := time.Now()
	if err := w.Connections.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); due(t, w, ids) != 0 || took < 200*time.Millisecond {
		t.Errorf("of six renewals at 20 a second %d are left after %s", due(t, w, ids), took)
	}
}

// X has much due and does not answer: another app's renewals, and what is due of
// its other kinds, do not wait for it.
func TestSlowPlatformKeepsNobodyElseWaiting(t *testing.T) {
	t.Parallel()
	var armed atomic.Bool
	answer := make(chan struct{})
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{Platform: onToken(&armed, func() { <-answer })})
	w.Connections.Pace(2, 2, 1000)
	slow := wave(t, w, "publish", 6)
	others := wave(t, w, "pages", 5) // the last that became due
	age(t, w, "UPDATE connections SET renew_at = 2000000 WHERE platform = 'facebook'")
	armed.Store(true)
	done := make(chan error, 1)
	go func() { done <- w.Connections.Tend(t.Context()) }()
	for deadline := time.Now().Add(time.Minute); due(t, w, others) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("%d of Facebook's wait for X", due(t, w, others))
			break
		}
	}
	if due(t, w, slow) != len(slow) {
		t.Error("X has answered")
	}
	close(answer)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// An app that left the configuration: what is due of it is moved, nothing is asked
// or lost, and it is found behind whatever the others have due.
func TestDueOfAnAppThatLeft(t *testing.T) {
	t.Parallel()
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	ids := wave(t, w, "mobile", 3)
	before := refreshes(w)
	left := w.Open(connecttest.Options{Apps: func(apps []connect.App) (rest []connect.App) {
		for _, a := range apps {
			if a.Name != "public-x" {
				rest = append(rest, a)
			}
		}
		return rest
	}})
	left.Pace(2, 2, 1000)
	for range 2 {
		if err := left.Tend(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := due(t, w, ids); n != 0 || refreshes(w) != before {
		t.Errorf("%d are still due, X was asked %d times", n, refreshes(w)-before)
	}
	age(t, w, makeDue)
	if err := w.Connections.Tend(t.Context()); err != nil || due(t, w, ids) != 0 || refreshes(w) != before+3 {
		t.Errorf("back in the configuration: %v, X was asked %d times", err, refreshes(w)-before)
	}
}

// Tokens that were obtained in one moment come due over the whole time that there
// is, evenly, and none so late that a call would meet an expired one.
func TestWaveIsSpread(t *testing.T) {
	t.Parallel()
	const n, minutes = 30_000, 15
	var perMinute [minutes]int
	for range n {
		age := connect.RenewAfter(gatehouse.X, 2*time.Hour) - 90*time.Minute
		if age < 0 || age > minutes*time.Minute {
			t.Fatalf("renewed %s after one and a half hours", age)
		}
		perMinute[min(int(age/time.Minute), minutes-1)]++
	}
	for minute, count := range perMinute {
		if count < n/minutes*8/10 || count > n/minutes*12/10 {
			t.Errorf("minute %d has %d of %d", minute, count, n)
		}
	}
	for platform, bounds := range map[gatehouse.Platform][2]time.Duration{
		gatehouse.Facebook:  {60 * 24 * time.Hour * 19 / 24, 60 * 24 * time.Hour * 20 / 24},
		gatehouse.Instagram: {60 * 24 * time.Hour * 3 / 8, 60 * 24 * time.Hour / 2},
	} {
		for range 1000 {
			if age := connect.RenewAfter(platform, 60*24*time.Hour); age < bounds[0] || age > bounds[1] {
				t.Fatalf("%s is renewed at the age of %s", platform, age)
			}
		}
	}
}

// dueCounter is a store that counts how often somebody looks for what is due of X.
type dueCounter struct {
	connect.Store
	looks *atomic.Int64
}

func (s dueCounter) Due(ctx context.Context, app gatehouse.AppName, now, pendingBefore time.Time, limit int) ([]connect.Record, error) {
	if app == "main-x" {
		s.looks.Add(1)
	}
	return s.Store.Due(ctx, app, now, pendingBefore, limit)
}

// Revocations stay due until X has confirmed them. While all that are found wait
// for it, the store is not asked again and again.
func TestWhatIsUnderwayIsNotLookedFor(t *testing.T) {
	t.Parallel()
	var armed atomic.Bool
	var looks, asked atomic.Int64
	answer := make(chan struct{})
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{
		Platform: onToken(&armed, func() { asked.Add(1); <-answer }),
		Store:    func(real connect.Store) connect.Store { return dueCounter{real, &looks} },
	})
	w.Connections.Pace(2, 2, 1000)
	ids := wave(t, w, "publish", 2)
	age(t, w, "UPDATE connections SET status = 'revoked', revoke_outstanding = 1, renew_at = 0")
	armed.Store(true)
	done, start := make(chan error, 1), time.Now()
	go func() { done <- w.Connections.Tend(t.Context()) }()
	for deadline := time.Now().Add(time.Minute); asked.Load() < 2 && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond) // in which many looks would fit
	}
	time.Sleep(100 * time.Millisecond)
	close(answer)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if most := 4 + int64(time.Since(start)/(50*time.Millisecond)); looks.Load() > most {
		t.Errorf("the store was asked %d times for the same two, and %d would do", looks.Load(), most)
	}
	for _, id := range ids {
		if rec, err := w.DB.Connect().Connection(t.Context(), id); err != nil || rec.RevokeOutstanding {
			t.Errorf("not confirmed: %v", err)
		}
	}
}
