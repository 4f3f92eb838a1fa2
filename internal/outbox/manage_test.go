package outbox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/outbox"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

// A dead letter that is replayed is sent with the same id, and comes late in its
// stream; an event that waits for its next attempt is tried at once.
func TestReplay(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	bubble(t, func(w http.ResponseWriter, d delivery, _ int) {
		switch {
		case !broken.Load():
		case d.ID == "first":
			w.WriteHeader(http.StatusGone)
		case d.ID == "busy":
			w.WriteHeader(http.StatusInternalServerError)
		}
	}, func(t *testing.T, w *world, a *app) {
		for _, id := range []string{"first", "second", "third"} {
			w.put(id, "s")
		}
		w.put("busy", "")
		w.put("queue1", "q")
		w.run()
		later(10 * time.Minute)
		if d := w.state("first"); d.State != outbox.Dead {
			t.Fatalf("first is %+v", d)
		}
		broken.Store(false)
		attempts := w.state("busy").Attempts
		if err := w.Replay(t.Context(), "busy"); err != nil {
			t.Fatal(err)
		}
		if err := w.Replay(t.Context(), "first"); err != nil {
			t.Fatal(err)
		}
		later(time.Second)
		if d := w.state("busy"); d.State != outbox.Delivered || d.Attempts != attempts+1 {
			t.Errorf("one that waited, tried at once: %+v", d)
		}
		if d := w.state("first"); d.State != outbox.Delivered || d.Attempts != 1 {
			t.Errorf("the replayed one: %+v", d)
		}
		var stream []string
		for _, d := range a.deliveries() {
			if d.ID != "busy" && d.ID != "queue1" {
				stream = append(stream, d.ID)
			}
		}
		if want := []string{"first", "second", "third", "first"}; !slices.Equal(stream, want) {
			t.Errorf("the stream came as %v, want %v", stream, want)
		}
		entries := w.actions("event.replay")
		if len(entries) != 4 || entries[0].Facts["class"] == "" {
			t.Errorf("the log has %+v", entries)
		}
		for id, want := range map[string]string{"first": "events/delivered", "unknown": "events/unknown-event"} {
			if err := w.Replay(t.Context(), id); wire.RuleOf(err) != want {
				t.Errorf("replaying %s: %v, want %s", id, err, want)
			}
		}
	})
}

// A dead letter that is replayed while its stream is stuck waits for its turn: of
// one stream, one event is under way.
func TestReplayIntoAStuckStream(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	bubble(t, func(w http.ResponseWriter, d delivery, n int) {
		switch {
		case d.ID == "first" && n == 1:
			w.WriteHeader(http.StatusGone)
		case d.ID == "second" && broken.Load():
			w.WriteHeader(http.StatusInternalServerError)
		}
	}, func(t *testing.T, w *world, a *app) {
		for _, id := range []string{"first", "second", "third"} {
			w.put(id, "s")
		}
		w.run()
		later(time.Minute)
		if err := w.Replay(t.Context(), "first"); err != nil {
			t.Fatal(err)
		}
		later(time.Hour)
		if d := w.state("first"); d.State != outbox.Waiting || d.Attempts != 0 || !d.Next.IsZero() {
			t.Errorf("before its turn: %+v", d)
		}
		broken.Store(false)
		later(2 * time.Hour)
		if got := slices.Compact(a.ids()); !slices.Equal(got, []string{"first", "second", "first", "third"}) {
			t.Errorf("the stream came as %v", got)
		}
	})
}

// Give-up counts from the replay, not from the first put.
func TestReplayedHasItsWholeTime(t *testing.T) {
	bubble(t, status(http.StatusInternalServerError), func(t *testing.T, w *world, _ *app) {
		w.put("e", "s")
		w.put("behind", "s")
		w.run()
		later(4 * time.Hour)
		if err := w.Replay(t.Context(), "e"); err != nil {
			t.Fatal(err)
		}
		later(2 * time.Hour)
		if d := w.state("e"); d.State != outbox.Waiting {
			t.Errorf("two hours after the replay: %+v", d)
		}
		w.put("young", "s")
		if err := w.Replay(t.Context(), "young"); wire.RuleOf(err) != "events/not-its-turn" {
			t.Errorf("one whose turn has not come: %v", err)
		}
		later(2 * time.Hour)
		if d := w.state("e"); d.State != outbox.Dead {
			t.Errorf("four hours after the replay: %+v", d)
		}
	}, func(c *outbox.Config) { c.GiveUpAfter = 3 * time.Hour })
}

// An erased person's events are gone, wherever they stand: nothing is sent, the
// stream goes on, nothing can be replayed or put.
func TestForget(t *testing.T) {
	bubble(t, func(w http.ResponseWriter, d delivery, _ int) {
		if d.ID == "dead" {
			w.WriteHeader(http.StatusGone)
		}
	}, func(t *testing.T, w *world, a *app) {
		person := must(w.vault.NewPerson(t.Context()))(t)
		other := must(w.vault.NewPerson(t.Context()))(t)
		stop := w.run()
		put := func(id, stream string, who gatehouse.PersonID) error {
			e := event(id, stream)
			e.Person = who
			return w.Put(t.Context(), e)
		}
		if err := errors.Join(put("sent", "", person), put("dead", "", person)); err != nil {
			t.Fatal(err)
		}
		later(time.Second)
		stop()
		if err := errors.Join(put("waiting1", "s", person), put("others", "s", other), put("waiting2", "", person)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := w.Forget(t.Context(), person); err != nil {
				t.Fatal(err)
			}
		}
		w.run()
		later(time.Minute)
		if got := a.ids(); len(got) != 3 || got[2] != "others" {
			t.Errorf("the app got %v, want sent, dead and others", got)
		}
		for _, id := range []string{"dead", "waiting1", "waiting2"} {
			if d := w.state(id); d.State != outbox.Dead || d.HasContent || d.Person != "" || d.Class != outbox.ClassErased {
				t.Errorf("%s: %+v", id, d)
			}
			if err := w.Replay(t.Context(), id); wire.RuleOf(err) != "events/erased" {
				t.Errorf("replaying %s: %v", id, err)
			}
		}
		if d := w.state("sent"); d.State != outbox.Delivered || d.Person != "" {
			t.Errorf("the delivered one: %+v", d)
		}
		if err := w.Forget(t.Context(), ""); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("forgetting nobody: %v", err)
		}
	})
}

// The app answers a request to delete its copy before it has taken the event, and the
// person is erased at once: the event was delivered, and is no dead letter.
func TestForgottenWhileItIsDelivered(t *testing.T) {
	answer := http.StatusOK
	bubble(t, func(w http.ResponseWriter, _ delivery, _ int) { w.WriteHeader(answer) }, func(t *testing.T, w *world, _ *app) {
		w.OnStep(func(step string) {
			if step != "answered" {
				return
			}
			for _, d := range must(w.List(t.Context(), outbox.Selection{State: outbox.Waiting}))(t) {
				if err := w.Forget(t.Context(), d.Person); err != nil {
					t.Error(err)
				}
			}
		})
		put := func(id string) {
			e := event(id, "s")
			e.Person = must(w.vault.NewPerson(t.Context()))(t)
			if err := w.Put(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		w.run()
		put("heard")
		later(time.Minute)
		if d := w.state("heard"); d.State != outbox.Delivered || d.Class != "" || d.HasContent || d.Person != "" {
			t.Errorf("heard: %+v", d)
		}
		answer = http.StatusInternalServerError
		put("unheard")
		later(time.Minute)
		if d := w.state("unheard"); d.State != outbox.Dead || d.Class != outbox.ClassErased || d.HasContent {
			t.Errorf("unheard: %+v", d)
		}
	})
}

// A person's key is destroyed while events of theirs wait, and before anybody
// says Forget: nothing is sent, and nothing is stuck behind it.
func TestKeyOfThePersonIsDestroyed(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world, a *app) {
		person := must(w.vault.NewPerson(t.Context()))(t)
		e := event("theirs", "s")
		e.Person = person
		if err := w.Put(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		w.put("behind", "s")
		if err := w.vault.DestroyPerson(t.Context(), person); err != nil {
			t.Fatal(err)
		}
		e.ID = "late"
		if err := w.Put(t.Context(), e); !errors.Is(err, vault.ErrErased) {
			t.Errorf("putting an event of somebody erased: %v", err)
		}
		w.run()
		later(time.Minute)
		if got := a.ids(); !slices.Equal(got, []string{"behind"}) {
			t.Errorf("the app got %v", got)
		}
		if d := w.state("theirs"); d.State != outbox.Dead || d.Class != outbox.ClassErased || d.HasContent || d.Person != "" {
			t.Errorf("theirs: %+v", d)
		}
	})
}

// Content that was moved to another row, or given another meaning, does not open,
// and is a dead letter.
func TestTamperedEventsAreNotSent(t *testing.T) {
	a := newApp(t, nil)
	dsn := storetest.SQLite(t)
	w := newWorld(t, dsn, a.URL+"/events")
	raw := storetest.OpenRaw(t, dsn)
	tampered := map[string]string{
		"data":    "(SELECT data FROM outbox_events WHERE id = 'good')",
		"type":    "'person.erase'",
		"app":     "'other'",
		"created": "created + 1",
		"person":  "'somebody'",
	}
	w.put("good", "")
	for column, value := range tampered {
		w.put(column, "")
		raw.ExecUncounted("UPDATE outbox_events SET "+column+" = "+value+" WHERE id = $1", column)
	}
	w.run()
	for column := range tampered {
		eventually(t, a, column+" is dead", func() bool { return w.state(column).State == outbox.Dead })
		if d := w.state(column); d.Class != outbox.ClassUnreadable {
			t.Errorf("%s: %+v", column, d)
		}
	}
	eventually(t, a, "the good one is delivered", func() bool { return w.state("good").State == outbox.Delivered })
	if !slices.Equal(a.ids(), []string{"good"}) {
		t.Errorf("the app got %v", a.ids())
	}
}

// While a secret is replaced, both sign; afterwards the new one alone. A leaked
// one ends at once.
func TestSecretIsRotated(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world, a *app) {
		w.run()
		sent := 0
		check := func(when string, want map[string]bool) {
			t.Helper()
			sent++
			w.put(fmt.Sprint("e", sent), "")
			later(time.Second)
			got := a.deliveries()
			if len(got) != sent {
				t.Fatalf("%s: %d deliveries, want %d", when, len(got), sent)
			}
			for secret, valid := range want {
				if err := verify(t, got[sent-1], secret, true); (err == nil) != valid {
					t.Errorf("%s: %.12s… verifies: %v, want %v", when, secret, err, valid)
				}
			}
		}
		rotate := func(overlap time.Duration) string {
			t.Helper()
			if err := w.RotateSecret(t.Context(), overlap); err != nil {
				t.Fatal(err)
			}
			return w.secret()
		}
		first := w.secret()
		if again := w.secret(); again != first {
			t.Error("the secret differs when it is shown again")
		}
		check("at first", map[string]bool{first: true})
		second := rotate(24 * time.Hour)
		check("while both are valid", map[string]bool{first: true, second: true})
		later(24 * time.Hour)
		check("afterwards", map[string]bool{first: false, second: true})
		third := rotate(0)
		check("at once", map[string]bool{first: false, second: false, third: true})
		fourth := rotate(time.Hour)
		fifth := rotate(time.Hour)
		check("two at once", map[string]bool{third: false, fourth: true, fifth: true})
		for _, overlap := range []time.Duration{-1, outbox.MaxOverlap + 1} {
			if err := w.RotateSecret(t.Context(), overlap); wire.RuleOf(err) != "events/overlap" {
				t.Errorf("an overlap of %s: %v", overlap, err)
			}
		}
		if n := len(w.actions("event.secret.rotate")); n != 8 {
			t.Errorf("the log has %d entries of 4 rotations", n)
		}
		if shown := w.actions("event.secret.show"); len(shown) != 6 || shown[5].Facts["version"] != "5" {
			t.Errorf("the log has %+v", shown)
		}
	})
}

// What is delivered is forgotten after its time, a dead letter after a longer one.
func TestSweep(t *testing.T) {
	a := newApp(t, func(w http.ResponseWriter, d delivery, _ int) {
		if d.ID == "dead" {
			w.WriteHeader(http.StatusGone)
		}
	})
	if delivered, dead := newWorld(t, storetest.SQLite(t), "").Keeps(); delivered != 7*24*time.Hour || dead != 30*24*time.Hour {
		t.Errorf("by default they are kept for %s and %s", delivered, dead)
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, storetest.SQLite(t), a.URL+"/events", func(c *outbox.Config) { c.KeepDelivered, c.KeepDead = time.Hour, 3*time.Hour })
		w.put("delivered", "")
		w.put("dead", "")
		w.run()
		later(time.Hour - time.Minute)
		w.state("delivered")
		later(3 * time.Minute)
		if _, err := w.State(t.Context(), "delivered"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("after an hour: %v", err)
		}
		later(2*time.Hour - 3*time.Minute)
		if d := w.state("dead"); !d.HasContent {
			t.Errorf("the dead letter: %+v", d)
		}
		later(5 * time.Minute)
		if _, err := w.State(t.Context(), "dead"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("after three hours: %v", err)
		}
	})
}

func envelopes(t *testing.T, p outbox.Page) []delivery {
	t.Helper()
	var list []delivery
	for _, raw := range p.Events {
		var d delivery
		if err := json.Unmarshal(raw, &d); err != nil {
			t.Fatal(err)
		}
		list = append(list, d)
	}
	return list
}

// An app without an endpoint fetches page by page and acknowledges.
func TestFetchAndAcknowledge(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn, "")
		w.run()
		person := must(w.vault.NewPerson(t.Context()))(t)
		for i := range 5 {
			e := event(fmt.Sprint("e", i), "s")
			e.Person = person
			if err := w.Put(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		var after int64
		for {
			p := must(w.Fetch(t.Context(), "scheduler", after, 2))(t)
			for _, d := range envelopes(t, p) {
				got = append(got, d.ID)
				if string(d.Data) != `{"n":1}` || d.Type != "test.event" || d.App != "main-x" || d.Attempt != 0 {
					t.Errorf("fetched %+v", d)
				}
			}
			if after = p.Next; after == 0 {
				break
			}
		}
		if !slices.Equal(got, []string{"e0", "e1", "e2", "e3", "e4"}) {
			t.Errorf("fetched %v", got)
		}
		for range 2 {
			if err := w.Acknowledge(t.Context(), "scheduler", "e1"); err != nil {
				t.Fatal(err)
			}
		}
		if d := w.state("e1"); d.State != outbox.Delivered || d.HasContent {
			t.Errorf("acknowledged: %+v", d)
		}
		left := envelopes(t, must(w.Fetch(t.Context(), "scheduler", 0, 0))(t))
		if len(left) != 4 || left[0].ID != "e0" || left[1].ID != "e2" {
			t.Errorf("left are %+v", left)
		}
		if err := w.Acknowledge(t.Context(), "scheduler", "unknown"); wire.RuleOf(err) != "events/unknown-event" {
			t.Errorf("acknowledging what is not there: %v", err)
		}
		fetches, acks := w.actions("event.fetch"), w.actions("event.ack")
		if len(fetches) != 2*(5+4) || fetches[0].Service != "scheduler" || len(acks) != 1 || acks[0].Service != "scheduler" {
			t.Errorf("the log has %d entries of 9 fetches and %d of acknowledgements", len(fetches), len(acks))
		}
		// Their key is destroyed: nothing is handed over, and nothing stays in the way.
		if err := w.vault.DestroyPerson(t.Context(), person); err != nil {
			t.Fatal(err)
		}
		w.put("anybody", "")
		p := envelopes(t, must(w.Fetch(t.Context(), "scheduler", 0, 0))(t))
		if len(p) != 1 || p[0].ID != "anybody" || w.state("e0").Class != outbox.ClassErased {
			t.Errorf("after the erasure: %+v; %+v", p, w.state("e0"))
		}
	})
}

// Where an endpoint is configured too, what is acknowledged is not sent any
// more, and the stream goes on.
func TestAcknowledgedWhileItIsRetried(t *testing.T) {
	bubble(t, func(w http.ResponseWriter, d delivery, _ int) {
		if d.ID == "stuck" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}, func(t *testing.T, w *world, a *app) {
		w.put("stuck", "s")
		w.put("behind", "s")
		w.run()
		later(time.Minute)
		before := len(a.ids())
		if err := w.Acknowledge(t.Context(), "scheduler", "stuck"); err != nil {
			t.Fatal(err)
		}
		later(2 * time.Hour)
		if got := a.ids()[before:]; !slices.Equal(got, []string{"behind"}) {
			t.Errorf("afterwards the app got %v", got)
		}
	})
}

// The row changes between looking and saving, as it does when an attempt begins.
func TestAcknowledgedWhileAnAttemptBegins(t *testing.T) {
	dsn := storetest.SQLite(t)
	w := newWorld(t, dsn, "")
	raw := storetest.OpenRaw(t, dsn)
	w.put("e", "")
	changes := 0
	w.OnStep(func(step string) {
		if changes++; step == "acknowledging" && changes <= 2 {
			raw.ExecUncounted("UPDATE outbox_events SET version = version + 1, attempts = attempts + 1")
		}
	})
	if err := w.Acknowledge(t.Context(), "scheduler", "e"); err != nil {
		t.Fatal(err)
	}
	if d := w.state("e"); d.State != outbox.Delivered || d.Attempts != 2 {
		t.Errorf("%+v", d)
	}
	if n := len(w.actions("event.ack")); n != 1 {
		t.Errorf("the log has %d entries of one acknowledgement", n)
	}
}

// Without an endpoint an event waits a month for somebody to fetch it, then it is
// a dead letter for a month.
func TestNobodyFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, storetest.SQLite(t), "")
		w.put("e1", "s")
		w.put("e2", "s")
		w.run()
		later(29 * 24 * time.Hour)
		w.put("e3", "s")
		later(25 * time.Hour)
		for id, want := range map[string]outbox.State{"e1": outbox.Dead, "e2": outbox.Dead, "e3": outbox.Waiting} {
			if d := w.state(id); d.State != want {
				t.Errorf("after 30 days: %+v", d)
			}
		}
		if d := w.state("e1"); d.Class != outbox.ClassUnfetched {
			t.Errorf("e1: %+v", d)
		}
		if err := w.Replay(t.Context(), "e1"); err != nil {
			t.Fatal(err)
		}
		if p := envelopes(t, must(w.Fetch(t.Context(), "scheduler", 0, 0))(t)); len(p) != 2 || p[0].ID != "e1" {
			t.Errorf("after a replay: %+v", p)
		}
	})
}

// Nothing of an event's content stands in the database, in the log or in an
// error, in whatever state it is.
func TestContentIsNowherePlain(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		const canary = "canary-5f2c"
		a := newApp(t, func(w http.ResponseWriter, d delivery, _ int) {
			if d.ID != "delivered" {
				w.WriteHeader(http.StatusInternalServerError)
			}
			_, _ = w.Write(d.body)
		})
		w := newWorld(t, dsn, a.URL+"/events")
		person := must(w.vault.NewPerson(t.Context()))(t)
		for id, who := range map[string]gatehouse.PersonID{"delivered": person, "retried": person, "nobodys": ""} {
			e := event(id, "")
			e.Person, e.Data = who, json.RawMessage(`{"text":"`+canary+`"}`)
			if err := w.Put(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		stop := w.run()
		eventually(t, a, "all have been tried", func() bool {
			return w.state("delivered").State == outbox.Delivered && w.state("retried").Class == "status/500" && w.state("nobodys").Class == "status/500"
		})
		stop()
		if p := must(w.Fetch(t.Context(), "scheduler", 0, 0))(t); len(p.Events) != 2 || !strings.Contains(string(p.Events[0]), canary) {
			t.Fatalf("fetched %s", p.Events)
		}
		signing := w.secret()
		if err := w.log.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		raw := storetest.OpenRaw(t, dsn)
		for _, table := range []string{"outbox_events", "outbox_signing", "audit_entries"} {
			_, rows := raw.Query("SELECT * FROM " + table)
			for _, row := range rows {
				text := fmt.Sprintf("%s", row)
				if strings.Contains(text, canary) || strings.Contains(text, strings.TrimPrefix(signing, "whsec_")) {
					t.Errorf("table %s holds content or the secret: %s", table, text)
				}
			}
			if len(rows) == 0 && table != "outbox_signing" {
				t.Errorf("table %s was not looked into", table)
			}
		}
		if strings.Contains(w.lines.String(), canary) || strings.Contains(w.lines.String(), string(person)) {
			t.Errorf("the program's log holds content or a person:\n%s", w.lines)
		}
		text, _, err := w.Secret(t.Context())
		if err != nil || strings.Contains(fmt.Sprint(text, secret.New("x")), "whsec_") {
			t.Errorf("the secret prints itself: %v", err)
		}
	})
}

// Two outboxes in one process on one database: each event once, streams in order.
func TestTwoRunOnOneDatabase(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		a := newApp(t, nil)
		w := newWorld(t, dsn, a.URL+"/events")
		second := *w
		second.Outbox = w.open(a.URL + "/events")
		w.run()
		second.run()
		var putting sync.WaitGroup
		for s := range 4 {
			putting.Go(func() {
				for i := range 12 {
					o := w.Outbox
					if i%2 == 1 {
						o = second.Outbox
					}
					if err := o.Put(t.Context(), event(fmt.Sprintf("s%d-%02d", s, i), fmt.Sprint("s", s))); err != nil {
						t.Error(err)
					}
				}
			})
		}
		putting.Wait()
		eventually(t, a, "all are delivered", func() bool {
			return len(must(w.List(t.Context(), outbox.Selection{State: outbox.Delivered, Limit: 1000}))(t)) == 48
		})
		inOrder(t, a, 48)
	})
}

// inOrder checks that each of the events came once, and those of a stream, whose
// name their ids begin with, in the order of their ids.
func inOrder(t *testing.T, a *app, want int) {
	t.Helper()
	ids := a.ids()
	if len(ids) != want {
		t.Errorf("the app got %d deliveries of %d events", len(ids), want)
	}
	streams := map[string][]string{}
	for _, id := range ids {
		stream, _, _ := strings.Cut(id, "-")
		streams[stream] = append(streams[stream], id)
	}
	for stream, list := range streams {
		if !slices.IsSorted(list) {
			t.Errorf("stream %s came as %v", stream, list)
		}
	}
}

// A page of large events ends early, so that one request does not take the memory of
// a hundred.
func TestLargeEventsAreFetchedInSmallerPages(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), "")
	large := json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`)
	for i := range 14 {
		e := event(fmt.Sprint("e", i), "s")
		e.Data = large
		if err := w.Put(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	first := must(w.Fetch(t.Context(), "scheduler", 0, 0))(t)
	if n := len(first.Events); n != 10 || first.Next == 0 {
		t.Fatalf("the first page has %d events and goes on at %d", n, first.Next)
	}
	second := must(w.Fetch(t.Context(), "scheduler", first.Next, 0))(t)
	if n := len(second.Events); n != 4 || second.Next != 0 {
		t.Errorf("the second page has %d events and goes on at %d", n, second.Next)
	}
}
