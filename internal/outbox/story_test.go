package outbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/outbox"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"
)

// An event is put, sent, signed and taken: what the app sees of it, and what is
// left of it here.
func TestDelivered(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		a := newApp(t, nil)
		w := newWorld(t, dsn, a.URL+"/events")
		person := must(w.vault.NewPerson(t.Context()))(t)
		e := outbox.Event{
			ID: "health-1", Type: "connection.health", App: "main-x", Person: person, Stream: string(person),
			Data: json.RawMessage(`{"status": "reconnect_needed", "big": 12345678901234567890}`), Created: time.Date(2026, 5, 4, 3, 2, 1, 500000000, time.UTC),
		}
		for range 2 { // the same id is the same event
			if err := w.Put(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		if d := w.state("health-1"); d.State != outbox.Waiting || d.Attempts != 0 || d.Next.IsZero() || !d.HasContent {
			t.Errorf("before: %+v", d)
		}
		if len(w.actions("event.deliver")) != 0 {
			t.Error("it was sent before Run")
		}
		w.run()
		eventually(t, a, "it is delivered", func() bool { return w.state("health-1").State == outbox.Delivered })
		if err := w.Put(t.Context(), e); err != nil { // also after its delivery
			t.Fatal(err)
		}
		w.put("after", "")
		eventually(t, a, "the next is delivered", func() bool { return w.state("after").State == outbox.Delivered })
		got := a.deliveries()
		if len(got) != 2 {
			t.Fatalf("the app got %d deliveries, want 2", len(got))
		}
		d := got[0]
		want := `{"id":"health-1","type":"connection.health","app":"main-x","created_at":"2026-05-04T03:02:01.5Z","attempt":1,"data":{"status":"reconnect_needed","big":12345678901234567890}}`
		if string(d.body) != want || d.header.Get("Content-Type") != "application/json" || d.header.Get("webhook-id") != "health-1" {
			t.Errorf("the app got %s\nwith %v\nwant %s", d.body, d.header, want)
		}
		if err := verify(t, d, w.secret(), false); err != nil {
			t.Errorf("the signature: %v", err)
		}
		changed := d
		changed.body = []byte(strings.Replace(string(d.body), "main-x", "main-y", 1))
		if err := verify(t, changed, w.secret(), false); err == nil {
			t.Error("a changed body verifies")
		}
		if s := w.state("health-1"); s.Attempts != 1 || s.Class != "" || s.HasContent || !s.Next.IsZero() {
			t.Errorf("after: %+v", s)
		}
		entries := w.actions("event.deliver")
		if len(entries) != 4 || entries[0].Kind != audit.KindIntent || entries[0].Facts["type"] != "connection.health" || entries[0].Facts["attempt"] != "1" {
			t.Errorf("the log has %+v", entries)
		}
		text, _ := json.Marshal(entries)
		if strings.Contains(string(text), "health-1") || strings.Contains(string(text), string(person)) {
			t.Errorf("a leaf names the event or the person: %s", text)
		}
	})
}

// bubble runs f in virtual time with an app outside of it.
func bubble(t *testing.T, answer func(http.ResponseWriter, delivery, int), f func(t *testing.T, w *world, a *app), change ...func(*outbox.Config)) {
	t.Helper()
	a := newApp(t, answer)
	synctest.Test(t, func(t *testing.T) {
		f(t, newWorld(t, storetest.SQLite(t), a.URL+"/events", change...), a)
	})
}

// later lets virtual time pass.
func later(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// A stream keeps its order while its first event fails, and holds up nobody else.
func TestOrderUnderFailures(t *testing.T) {
	bubble(t, func(w http.ResponseWriter, d delivery, n int) {
		if d.ID == "a1" && n <= 3 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}, func(t *testing.T, w *world, a *app) {
		for i := 1; i <= 3; i++ {
			for _, stream := range []string{"a", "b"} {
				w.put(fmt.Sprint(stream, i), stream)
			}
			w.put(fmt.Sprint("free", i), "")
		}
		w.run()
		later(time.Second)
		got := a.ids()
		for _, id := range []string{"b1", "b2", "b3", "free1", "free2", "free3"} {
			if !slices.Contains(got, id) {
				t.Errorf("%s waits behind a1; after a second the app has %v", id, got)
			}
		}
		if slices.Contains(got, "a2") {
			t.Errorf("a2 came before a1 was taken: %v", got)
		}
		if d := w.state("a2"); !d.Next.IsZero() || d.Attempts != 0 {
			t.Errorf("a2 is %+v, and should wait for its turn", d)
		}
		later(2 * time.Minute)
		var order []string
		for _, id := range a.ids() {
			if strings.HasPrefix(id, "a") || strings.HasPrefix(id, "b") {
				order = append(order, id)
			}
		}
		for stream, want := range map[string][]string{"a": {"a1", "a1", "a1", "a1", "a2", "a3"}, "b": {"b1", "b2", "b3"}} {
			got := slices.DeleteFunc(slices.Clone(order), func(id string) bool { return !strings.HasPrefix(id, stream) })
			if !slices.Equal(got, want) {
				t.Errorf("stream %s came as %v, want %v", stream, got, want)
			}
		}
		for _, d := range a.deliveries() {
			if err := verify(t, d, w.secret(), true); err != nil {
				t.Errorf("attempt %d of %s: %v", d.Attempt, d.ID, err)
			}
		}
		if regexp.MustCompile(`\ba1\b`).MatchString(w.lines.String()) {
			t.Errorf("the program's log names an event:\n%s", w.lines)
		}
	})
}

// The endpoint fails for three days: the distances grow to an hour, and the event
// ends as a dead letter; what came behind it has its turn then, and ends too.
func TestScheduleToTheEnd(t *testing.T) {
	bubble(t, status(http.StatusInternalServerError), func(t *testing.T, w *world, a *app) {
		began := time.Now()
		w.put("first", "s")
		w.put("second", "s")
		w.run()
		later(71*time.Hour + 59*time.Minute)
		if d := w.state("first"); d.State != outbox.Waiting || d.Class != "status/500" {
			t.Errorf("after 72 hours less a minute: %+v", d)
		}
		later(2 * time.Minute)
		d := w.state("first")
		if d.State != outbox.Dead || d.Class != "status/500" || !d.HasContent || d.Updated.Sub(began) < 72*time.Hour {
			t.Errorf("after 72 hours: %+v", d)
		}
		if s := w.state("second"); s.State != outbox.Dead || s.Attempts != 1 {
			t.Errorf("what waited behind it: %+v", s)
		}
		var at []time.Time
		for i, d := range a.deliveries() {
			if d.ID != "first" {
				continue
			}
			if d.Attempt != i+1 {
				t.Errorf("delivery %d is attempt %d", i+1, d.Attempt)
			}
			at = append(at, time.Unix(must(strconv.ParseInt(d.header.Get("webhook-timestamp"), 10, 64))(t), 0))
		}
		checkSchedule(t, at)
		if n := len(w.actions("event.deliver")); n != 2*(d.Attempts+1) {
			t.Errorf("%d log entries of %d attempts", n, d.Attempts+1)
		}
	})
}

func checkSchedule(t *testing.T, at []time.Time) {
	t.Helper()
	if len(at) < 60 || len(at) > 110 {
		t.Errorf("%d attempts in 72 hours", len(at))
	}
	want := 5 * time.Second
	for i := 1; i < len(at)-1; i++ { // the last one is when time is up
		got := at[i].Sub(at[i-1])
		if got < want*3/4-2*time.Second || got > want*5/4+2*time.Second {
			t.Errorf("between attempts %d and %d lie %s, want about %s", i, i+1, got, want)
		}
		want = min(3*want, time.Hour)
	}
}

func TestWait(t *testing.T) {
	for attempt, want := range map[int]time.Duration{
		1: 5 * time.Second, 2: 15 * time.Second, 3: 45 * time.Second, 6: 1215 * time.Second, 7: time.Hour, 1000000: time.Hour,
	} {
		different := map[time.Duration]bool{}
		for range 100 {
			got := outbox.Wait(attempt, 0)
			if got < want*3/4 || got > want*5/4 {
				t.Errorf("after attempt %d: %s, want about %s", attempt, got, want)
			}
			different[got] = true
		}
		if len(different) < 50 {
			t.Errorf("after attempt %d there is no jitter", attempt)
		}
	}
	for asked, want := range map[time.Duration]time.Duration{time.Millisecond: time.Second, 2 * time.Minute: 2 * time.Minute, 1000 * time.Hour: outbox.MaxWait} {
		if got := outbox.Wait(1, asked); got != want {
			t.Errorf("asked for %s: %s, want %s", asked, got, want)
		}
	}
}

// What the endpoint asks for counts in place of the schedule, within bounds.
func TestRetryAfter(t *testing.T) {
	var header atomic.Value
	header.Store("")
	bubble(t, func(w http.ResponseWriter, _ delivery, _ int) {
		w.Header().Set("Retry-After", header.Load().(string))
		w.WriteHeader(http.StatusConflict)
	}, func(t *testing.T, w *world, _ *app) {
		w.run()
		for i, test := range []struct {
			value    string
			min, max time.Duration
		}{
			{"120", 120 * time.Second, 120 * time.Second},
			{"0", 3750 * time.Millisecond, 6250 * time.Millisecond},
			{"99999999", time.Hour, time.Hour},
			{time.Now().Add(10 * time.Minute).UTC().Format(http.TimeFormat), 9 * time.Minute, 10 * time.Minute},
			{"Thu, 01 Jan 1970 00:00:00 GMT", 3750 * time.Millisecond, 6250 * time.Millisecond},
			{"soon", 3750 * time.Millisecond, 6250 * time.Millisecond},
		} {
			header.Store(test.value)
			id := fmt.Sprint("e", i)
			w.put(id, "")
			later(time.Second)
			d := w.state(id)
			if got := d.Next.Sub(d.Updated); got < test.min || got > test.max || d.Class != "status/409" {
				t.Errorf("Retry-After: %s: the next attempt comes after %s (%s), want %s to %s", test.value, got, d.Class, test.min, test.max)
			}
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "120", "-1", "Fri, 31 Dec 1999 23:59:59 GMT", "99999999999999999999", " 5 "} {
		f.Add(s)
	}
	now := time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		if d := outbox.RetryAfter(s, now); d < 0 {
			t.Errorf("%q gives %s", s, d)
		}
		if d := outbox.Wait(1, outbox.RetryAfter(s, now)); d < time.Second || d > outbox.MaxWait {
			t.Errorf("%q has the next attempt after %s", s, d)
		}
	})
}

// Gone means never; near misses are tried again. A dead letter lets its stream go
// on.
func TestGone(t *testing.T) {
	bubble(t, func(w http.ResponseWriter, d delivery, _ int) {
		switch d.ID {
		case "gone":
			w.WriteHeader(http.StatusGone)
		case "missing":
			w.WriteHeader(http.StatusNotFound)
		}
	}, func(t *testing.T, w *world, a *app) {
		w.put("gone", "s")
		w.put("next", "s")
		w.put("missing", "")
		w.run()
		later(time.Second)
		if d := w.state("gone"); d.State != outbox.Dead || d.Attempts != 1 || d.Class != "status/410" || !d.HasContent {
			t.Errorf("410: %+v", d)
		}
		if d := w.state("missing"); d.State != outbox.Waiting || d.Class != "status/404" {
			t.Errorf("404: %+v", d)
		}
		if d := w.state("next"); d.State != outbox.Delivered {
			t.Errorf("behind the dead letter: %+v", d)
		}
		later(time.Hour)
		if n := len(slices.DeleteFunc(a.ids(), func(id string) bool { return id != "gone" })); n != 1 {
			t.Errorf("a dead letter was sent %d times", n)
		}
		if !strings.Contains(w.lines.String(), "dead letter") {
			t.Errorf("the operator is not told:\n%s", w.lines)
		}
	})
}

// A redirect is an answer like any other failure: nothing is sent to where it
// leads.
func TestRedirectIsNotFollowed(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(other.Close)
	bubble(t, func(w http.ResponseWriter, d delivery, _ int) {
		w.Header().Set("Location", map[string]string{"away": other.URL, "home": "/events"}[d.ID])
		w.WriteHeader(http.StatusTemporaryRedirect)
	}, func(t *testing.T, w *world, a *app) {
		w.put("away", "")
		w.put("home", "")
		w.run()
		later(time.Second)
		for _, id := range []string{"away", "home"} {
			if d := w.state(id); d.State != outbox.Waiting || d.Class != "status/307" {
				t.Errorf("%s: %+v", id, d)
			}
		}
		if n := elsewhere.Load(); n != 0 || len(a.ids()) != 2 {
			t.Errorf("elsewhere got %d, the app %v", n, a.ids())
		}
	})
}

// The app crashes in the middle of its answer, and is away for a moment.
func TestAppCrashes(t *testing.T) {
	bubble(t, func(_ http.ResponseWriter, _ delivery, n int) {
		if n <= 2 {
			panic(http.ErrAbortHandler)
		}
	}, func(t *testing.T, w *world, a *app) {
		w.put("e", "s")
		w.put("f", "s")
		w.run()
		later(time.Second)
		if d := w.state("e"); d.State != outbox.Waiting || d.Class != "upstream/connection" {
			t.Errorf("after the crash: %+v", d)
		}
		later(5 * time.Minute)
		if got := a.ids(); !slices.Equal(got, []string{"e", "e", "e", "f", "f", "f"}) {
			t.Errorf("the app got %v", got)
		}
	})
}

// An app that is down for hours is asked a little, however much waits, and gets
// everything soon after it is back.
func TestEndpointThatIsDown(t *testing.T) {
	var down atomic.Bool
	down.Store(true)
	bubble(t, func(w http.ResponseWriter, _ delivery, _ int) {
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}, func(t *testing.T, w *world, a *app) {
		for i := range 100 {
			w.put(fmt.Sprint("e", i), "")
		}
		w.run()
		later(3 * time.Hour)
		attempts := len(a.ids())
		if attempts > 200 {
			t.Errorf("in three hours %d attempts were made", attempts)
		}
		down.Store(false)
		later(2 * time.Minute)
		delivered := must(w.List(t.Context(), outbox.Selection{State: outbox.Delivered}))(t)
		if len(delivered) < 50 {
			t.Errorf("two minutes after its return the app has %d of 100", len(delivered))
		}
		later(time.Hour + 20*time.Minute)
		if left := must(w.List(t.Context(), outbox.Selection{State: outbox.Waiting}))(t); len(left) != 0 {
			t.Errorf("%d still wait: %+v", len(left), left[0])
		}
	})
}

// One event makes the endpoint hang: the others are not held up meanwhile.
func TestSlowEndpoint(t *testing.T) {
	release := make(chan struct{})
	a := newApp(t, func(_ http.ResponseWriter, d delivery, _ int) {
		if d.ID == "slow" {
			<-release
		}
	})
	t.Cleanup(func() { close(release) })
	w := newWorld(t, storetest.SQLite(t), a.URL+"/events", func(c *outbox.Config) { c.Timeout = 20 * time.Second })
	w.put("slow", "s")
	w.put("behind", "s")
	for i := range 20 {
		w.put(fmt.Sprint("e", i), fmt.Sprint("s", i%4))
	}
	w.run()
	eventually(t, a, "the others are delivered", func() bool {
		return len(must(w.List(t.Context(), outbox.Selection{State: outbox.Delivered}))(t)) == 20
	})
	if d := w.state("slow"); d.Class != outbox.ClassInterrupted {
		t.Errorf("the others took as long as the slow one: %+v", d)
	}
	if d := w.state("behind"); d.Attempts != 0 {
		t.Errorf("behind the slow one: %+v", d)
	}
}

// What makes the endpoint hang is given up after its time.
func TestSlowEndpointIsGivenUp(t *testing.T) {
	release := make(chan struct{})
	a := newApp(t, func(http.ResponseWriter, delivery, int) { <-release })
	t.Cleanup(func() { close(release) })
	w := newWorld(t, storetest.SQLite(t), a.URL+"/events", func(c *outbox.Config) { c.Timeout = time.Second })
	w.put("slow", "s")
	w.put("behind", "s")
	w.run()
	eventually(t, a, "the slow one is given up", func() bool { return w.state("slow").Class == "upstream/timeout" })
	if d := w.state("behind"); d.Attempts != 0 {
		t.Errorf("behind the slow one: %+v", d)
	}
}

// A body without an end is not read to its end, and nothing of it is kept.
func TestAnswerIsNotRead(t *testing.T) {
	const most = 200 << 20
	written := make(chan int, 1)
	a := newApp(t, func(w http.ResponseWriter, _ delivery, _ int) {
		n, part := 0, []byte(strings.Repeat("canary ", 10000))
		for n < most {
			if _, err := w.Write(part); err != nil {
				break
			}
			n += len(part)
		}
		written <- n
	})
	w := newWorld(t, storetest.SQLite(t), a.URL+"/events")
	w.put("e", "")
	w.run()
	eventually(t, a, "it is delivered", func() bool { return w.state("e").State == outbox.Delivered })
	if n := <-written; n >= most/2 {
		t.Errorf("%d bytes of the answer were read", n)
	}
	if strings.Contains(w.lines.String(), "canary") {
		t.Error("the log repeats the answer")
	}
}

func TestEndpointPauses(t *testing.T) {
	var e outbox.Endpoint
	now := time.Now()
	for range 2 {
		e.Noticed(now, true)
	}
	if n := e.Allowed(now, 8, 3); n != 5 {
		t.Errorf("after two silent attempts %d more may begin, want 5", n)
	}
	e.Noticed(now, true)
	for pause := time.Second; pause < 5*time.Minute; pause *= 2 {
		wait := min(pause, time.Minute)
		if n := e.Allowed(now.Add(wait-1), 8, 0); n != 0 {
			t.Errorf("within the pause of %s, %d may begin", wait, n)
		}
		now = now.Add(wait)
		if n := e.Allowed(now, 8, 0); n != 1 {
			t.Errorf("after the pause of %s, %d may begin, want 1", wait, n)
		}
		if n := e.Allowed(now, 8, 1); n != 0 {
			t.Errorf("beside the one attempt, %d may begin", n)
		}
		e.Noticed(now, true)
		e.Noticed(now, true) // one that was under way does not lengthen the pause
	}
	e.Noticed(now, false)
	if n := e.Allowed(now, 8, 0); n != 8 {
		t.Errorf("after an answer %d may begin, want 8", n)
	}
	e.Noticed(now, true)
	if n := e.Allowed(now, 8, 0); n != 8 {
		t.Errorf("after one silent attempt %d may begin, want 8", n)
	}
}

// Who was held up so long that another may have the event does not send it.
func TestOwnerThatIsHeldUp(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world, a *app) {
		held := 0
		w.OnStep(func(step string) {
			if step == "opened" && held == 0 {
				held++
				time.Sleep(outbox.Lease/2 + time.Second)
			}
		})
		w.put("e", "")
		w.run()
		later(outbox.Lease/2 + 2*time.Second)
		if d := w.state("e"); len(a.ids()) != 0 || d.State != outbox.Waiting || d.Class != outbox.ClassInterrupted {
			t.Errorf("the app got %v; %+v", a.ids(), d)
		}
		later(time.Minute)
		if got := a.ids(); len(got) != 1 || w.state("e").State != outbox.Delivered {
			t.Errorf("afterwards the app got %v", got)
		}
	})
}

// If the log cannot be written, nothing is opened and nothing sent; and nothing
// dies of it.
func TestWithoutTheLogNothingIsSent(t *testing.T) {
	a := newApp(t, nil)
	synctest.Test(t, func(t *testing.T) {
		broken := &brokenLog{}
		w := newWorldOnLog(t, storetest.SQLite(t), a.URL+"/events", func(s audit.Store) audit.Store {
			broken.Store = s
			return broken
		}, func(c *outbox.Config) { c.GiveUpAfter = 2 * time.Hour })
		broken.broken.Store(true)
		w.put("e", "")
		w.run()
		later(4 * time.Hour)
		if d := w.state("e"); len(a.ids()) != 0 || d.State != outbox.Waiting || !d.HasContent {
			t.Errorf("the app got %v; %+v", a.ids(), d)
		}
		broken.broken.Store(false)
		later(2 * time.Hour)
		if d := w.state("e"); d.State != outbox.Delivered {
			t.Errorf("after the log is back: %+v", d)
		}
	})
}

// brokenLog is a log's store on a full disk.
type brokenLog struct {
	audit.Store
	broken atomic.Bool
}

func (b *brokenLog) Append(ctx context.Context, expect audit.Head, batch audit.Batch) error {
	if b.broken.Load() {
		return fmt.Errorf("the disk is full: %w", gatehouse.ErrUnavailable)
	}
	return b.Store.Append(ctx, expect, batch)
}

func TestPutRefusals(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), "")
	good := event("A-z_0:9", "A-z_0:9")
	if err := w.Put(t.Context(), good); err != nil {
		t.Errorf("a near miss: %v", err)
	}
	for rule, list := range map[string][]func(*outbox.Event){
		"events/id": {
			func(e *outbox.Event) { e.ID = "" }, func(e *outbox.Event) { e.ID = "a.b" }, func(e *outbox.Event) { e.ID = "a b" },
			func(e *outbox.Event) { e.ID = strings.Repeat("x", 129) }, func(e *outbox.Event) { e.ID = "a/b" }, func(e *outbox.Event) { e.ID = "ü" },
		},
		"events/type": {
			func(e *outbox.Event) { e.Type = "" }, func(e *outbox.Event) { e.Type = "Person.erase" }, func(e *outbox.Event) { e.Type = "a..b" },
			func(e *outbox.Event) { e.Type = "a." }, func(e *outbox.Event) { e.Type = strings.Repeat("x", 65) },
		},
		"events/app":    {func(e *outbox.Event) { e.App = "a/b" }, func(e *outbox.Event) { e.App = gatehouse.AppName(strings.Repeat("x", 65)) }},
		"events/stream": {func(e *outbox.Event) { e.Stream = "a b" }, func(e *outbox.Event) { e.Stream = strings.Repeat("x", 129) }},
		"events/data":   {func(e *outbox.Event) { e.Data = json.RawMessage(`{"a":`) }, func(e *outbox.Event) { e.Data = json.RawMessage(`1 2`) }},
		"events/size":   {func(e *outbox.Event) { e.Data = json.RawMessage(`"` + strings.Repeat("x", 4<<20) + `"`) }},
	} {
		for i, change := range list {
			e := event("fresh", "")
			change(&e)
			if err := w.Put(t.Context(), e); !errors.Is(err, gatehouse.ErrInvalid) || wire.RuleOf(err) != rule {
				t.Errorf("%s %d: %v", rule, i, err)
			}
		}
	}
	long := event(strings.Repeat("x", 128), strings.Repeat("x", 128))
	long.Type, long.Data = strings.Repeat("x", 64), json.RawMessage(`"`+strings.Repeat("x", 4<<20-2)+`"`)
	if err := w.Put(t.Context(), long); err != nil {
		t.Errorf("the longest: %v", err)
	}
	if _, err := w.State(t.Context(), "unknown"); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("an unknown event: %v", err)
	}
}

func TestNewRefusals(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), "")
	egress := egressTo(t, "http://127.0.0.1:1")
	base := outbox.Config{Store: w.db.Outbox(), Log: w.log, Vault: w.vault, Egress: egress}
	for _, url := range []string{"https://app.example.com/events", "http://127.0.0.1:1/e", "http://localhost:1/e", "http://[::1]:1/e", ""} {
		c := base
		c.URL = url
		if _, err := outbox.New(c); err != nil {
			t.Errorf("%q: %v", url, err)
		}
	}
	for _, url := range []string{
		"http://app.example.com/events", "http://10.0.0.1/e", "https://user:pw@app.example.com/", "https://app.example.com/?token=x",
		"https://app.example.com/#x", "ftp://127.0.0.1/", "app.example.com", "https:", "%",
	} {
		c := base
		c.URL = url
		if _, err := outbox.New(c); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%q is accepted: %v", url, err)
		}
	}
	for name, change := range map[string]func(*outbox.Config){
		"no store":      func(c *outbox.Config) { c.Store = nil },
		"no egress":     func(c *outbox.Config) { c.URL, c.Egress = "https://app.example.com/", nil },
		"long timeout":  func(c *outbox.Config) { c.Timeout = outbox.Lease/3 + 1 },
		"negative life": func(c *outbox.Config) { c.GiveUpAfter = -1 },
	} {
		c := base
		change(&c)
		if _, err := outbox.New(c); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
