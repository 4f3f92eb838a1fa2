package cases_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/cases"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"
)

type world struct {
	*connecttest.World
	t     *testing.T
	cases *cases.Cases
	app   *connecttest.App
}

func newWorld(t *testing.T, dsn string, deadline time.Duration) *world {
	t.Helper()
	w := &world{World: connecttest.New(t, dsn, connecttest.Options{}), t: t}
	w.cases, _, w.app = w.Duties(deadline)
	return w
}

// open opens a duty to erase the person of a connection.
func (w *world) open(c connect.Connection, kind cases.Kind) cases.Duty {
	w.t.Helper()
	d, err := w.cases.Open(w.t.Context(), cases.Request{Kind: kind, Origin: cases.FromOperator, App: c.App, Platform: c.Platform, Person: c.Person})
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) advance(id string) cases.Duty {
	w.t.Helper()
	d, err := w.cases.Advance(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// actions returns what the log says of duties, in order.
func (w *world) actions() []string {
	w.t.Helper()
	shown, err := audit.List(w.t.Context(), w.DB.Audit(), audit.Filter{Last: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	var list []string
	for _, s := range shown {
		if strings.HasPrefix(s.Action, "duty.") || s.Action == "person.erase" {
			list = append(list, s.Action)
		}
	}
	return list
}

// An erasure reaches every platform of the person, and both databases.
func TestErasure(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn, 0)
		c := w.Connect("user-7", "publish", connecttest.Person(1))
		d := w.advance(w.open(c, cases.Erasure).ID)
		if d.Revoked.IsZero() || d.Asked.IsZero() || !d.Shredded.IsZero() || d.State(time.Now()) != cases.Open {
			t.Fatalf("after the first steps: %+v", d)
		}
		if got := d.Waiting(); len(got) != 2 {
			t.Errorf("it waits for %v", got)
		}
		if _, err := w.Call(c.ID, "GET", w.XURL+"/2/users/me"); !errors.Is(err, gatehouse.ErrDenied) {
			t.Errorf("a call of the person gives %v", err)
		}
		if d, err := w.cases.Answer(t.Context(), d.ID, "scheduler"); err != nil || d.AnsweredBy != "scheduler" {
			t.Fatalf("answering gives %+v, %v", d, err)
		}
		d = w.advance(d.ID)
		if d.State(time.Now()) != cases.Done || d.Proof == "" || len(d.Waiting()) > 0 {
			t.Fatalf("at the end: %+v", d)
		}
		got, err := w.Connections.Get(t.Context(), c.ID)
		if err != nil || got.Status != connect.Erased || got.PlatformUser != "" || got.Subject != "" || got.Name != "" {
			t.Errorf("the connection is %+v, %v", got, err)
		}
		if list, err := w.Connections.List(t.Context(), connect.Selection{Subject: "user-7"}); err != nil || len(list) > 0 {
			t.Errorf("the subject still leads to %v, %v", list, err)
		}
		want := []string{"duty.open", "duty.answer", "person.erase", "duty.done"}
		if actions := w.actions(); !slices.Equal(actions, want) {
			t.Errorf("the log says %v, want %v", actions, want)
		}
		// Nothing of it can be repeated into something else.
		if d, err := w.cases.Answer(t.Context(), d.ID, "analytics"); err != nil || d.AnsweredBy != "scheduler" {
			t.Errorf("answering again gives %+v, %v", d, err)
		}
		if again := w.advance(d.ID); again.Version != d.Version || again.Proof != d.Proof {
			t.Errorf("advancing again gives %+v", again)
		}
	})
}

// A duty that the app does not answer is overdue, never done. What is held here
// goes at the deadline, once the app has been told whose data it is about.
func TestSilenceIsOverdue(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), time.Millisecond)
	c := w.Connect("user-7", "publish", connecttest.Person(1))
	w.app.Deaf = true
	d := w.open(c, cases.Erasure)
	time.Sleep(2 * time.Millisecond)
	for range 2 {
		d = w.advance(d.ID)
		if d.State(time.Now()) != cases.Overdue || !d.Shredded.IsZero() || d.Noted.IsZero() {
			t.Fatalf("unheard: %+v", d)
		}
	}
	w.app.Deaf = false
	for range 2 {
		d = w.advance(d.ID)
		if d.State(time.Now()) != cases.Overdue || d.Shredded.IsZero() {
			t.Fatalf("heard and not answered: %+v", d)
		}
	}
	if got := d.Waiting(); len(got) != 1 {
		t.Errorf("it waits for %v", got)
	}
	if _, err := w.cases.Answer(t.Context(), d.ID, "operator"); err != nil {
		t.Fatal(err)
	}
	if d = w.advance(d.ID); d.State(time.Now()) != cases.Done {
		t.Errorf("answered at last: %+v", d)
	}
	want := []string{"duty.open", "duty.overdue", "person.erase", "duty.answer", "duty.done"}
	if actions := w.actions(); !slices.Equal(actions, want) {
		t.Errorf("the log says %v, want %v", actions, want)
	}
}

// Before its deadline nothing is destroyed for want of an answer.
func TestNothingGoesBeforeTheAnswer(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), time.Hour)
	d := w.advance(w.open(w.Connect("user-7", "publish", connecttest.Person(1)), cases.Erasure).ID)
	if !d.Shredded.IsZero() || d.State(time.Now()) != cases.Open || !d.Noted.IsZero() {
		t.Errorf("before the deadline: %+v", d)
	}
}

// While a platform has not confirmed, the person's key stays, so that it can be
// asked again; at the deadline it goes all the same.
func TestPlatformThatDoesNotConfirm(t *testing.T) {
	for name, test := range map[string]struct {
		deadline time.Duration
		shredded bool
	}{"in time": {time.Hour, false}, "past the deadline": {time.Millisecond, true}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, storetest.SQLite(t), test.deadline)
			c := w.Connect("user-7", "publish", connecttest.Person(1))
			w.StopX()
			d := w.open(c, cases.Erasure)
			if _, err := w.cases.Answer(t.Context(), d.ID, "scheduler"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Millisecond)
			d = w.advance(d.ID)
			if !d.Revoked.IsZero() || d.Shredded.IsZero() == test.shredded || !d.Closed.IsZero() {
				t.Errorf("it stands at %+v", d)
			}
		})
	}
}

// Each step may fail or the process may die after it: the duty goes on.
func TestDutyThatIsInterrupted(t *testing.T) {
	for _, step := range []string{"revoke", "ask", "shred"} {
		t.Run(step, func(t *testing.T) {
			w := newWorld(t, storetest.SQLite(t), 0)
			c := w.Connect("user-7", "publish", connecttest.Person(1))
			d := w.open(c, cases.Erasure)
			if _, err := w.cases.Answer(t.Context(), d.ID, "scheduler"); err != nil {
				t.Fatal(err)
			}
			broken := errors.New("the power went")
			w.app.Fail = func(s string) error {
				if s == step {
					return broken
				}
				return nil
			}
			if _, err := w.cases.Advance(t.Context(), d.ID); !errors.Is(err, broken) {
				t.Fatalf("the failure of %s is %v", step, err)
			}
			if d, err := w.cases.Get(t.Context(), d.ID); err != nil || !d.Closed.IsZero() {
				t.Fatalf("it was closed without %s: %+v, %v", step, d, err)
			}
			w.app.Fail = nil
			if d = w.advance(d.ID); d.State(time.Now()) != cases.Done {
				t.Errorf("afterwards: %+v", d)
			}
		})
	}
	// Destroyed, and not noted: the steps are taken again on what is left.
	w := newWorld(t, storetest.SQLite(t), 0)
	c := w.Connect("user-7", "publish", connecttest.Person(1))
	d := w.advance(w.open(c, cases.Erasure).ID)
	if err := w.Connections.ErasePerson(t.Context(), c.Person); err != nil {
		t.Fatal(err)
	}
	if _, err := w.cases.Answer(t.Context(), d.ID, "scheduler"); err == nil {
		if d = w.advance(d.ID); d.State(time.Now()) != cases.Done {
			t.Errorf("after a death between shredding and noting: %+v", d)
		}
	} else {
		t.Errorf("answering after it was shredded: %v", err)
	}
}

// Two processes at one duty do its steps, and close it once.
func TestTwoProcesses(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn, 0)
		other, _, _ := w.Duties(0)
		c := w.Connect("user-7", "publish", connecttest.Person(1))
		d := w.open(c, cases.Erasure)
		if _, err := other.Answer(t.Context(), d.ID, "scheduler"); err != nil {
			t.Fatal(err)
		}
		var both sync.WaitGroup
		for _, k := range []*cases.Cases{w.cases, other} {
			both.Go(func() {
				for range 5 {
					if _, err := k.Advance(t.Context(), d.ID); err != nil && !errors.Is(err, gatehouse.ErrConflict) && gatehouse.Kind(err) == nil {
						t.Error(err)
					}
				}
			})
		}
		both.Wait()
		if d = w.advance(d.ID); d.State(time.Now()) != cases.Done {
			t.Errorf("the duty is %+v", d)
		}
	})
}

// An operator may refuse, with a reason that the person reads; nothing is erased.
func TestRefusal(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), 0)
	c := w.Connect("user-7", "publish", connecttest.Person(1))
	d := w.open(c, cases.DeletionRequested)
	for _, bad := range []string{"", "  ", strings.Repeat("x", 501), "\xff"} {
		if _, err := w.cases.Refuse(t.Context(), d.ID, bad); wire.RuleOf(err) != "duty/justification" {
			t.Errorf("the justification %.10q gives %v", bad, err)
		}
	}
	d, err := w.cases.Refuse(t.Context(), d.ID, "a court has ordered us to keep it")
	if err != nil || d.State(time.Now()) != cases.Refused || d.Proof == "" {
		t.Fatalf("refusing gives %+v, %v", d, err)
	}
	if again := w.advance(d.ID); !again.Shredded.IsZero() {
		t.Errorf("a refused duty went on: %+v", again)
	}
	if _, err := w.cases.Refuse(t.Context(), d.ID, "another reason"); wire.RuleOf(err) != "duty/closed" {
		t.Errorf("refusing it otherwise gives %v", err)
	}
	// A platform that repeats its notice does not undo it; more than was refused, and
	// the app's own wish, are new.
	ask := func(kind cases.Kind, origin cases.Origin) cases.Duty {
		t.Helper()
		got, err := w.cases.Open(t.Context(), cases.Request{Kind: kind, Origin: origin, App: c.App, Platform: c.Platform, Person: c.Person})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, kind := range []cases.Kind{cases.DeletionRequested, cases.Deauthorized} {
		if again := ask(kind, cases.FromPlatform); again.ID != d.ID {
			t.Errorf("asked again for %s: %+v", kind, again)
		}
	}
	if again := ask(cases.Erasure, cases.FromApp); again.ID == d.ID || again.State(time.Now()) != cases.Open {
		t.Errorf("the app's own wish: %+v", again)
	}
	less := w.open(w.Connect("user-9", "publish", connecttest.Person(3)), cases.Deauthorized)
	if _, err := w.cases.Refuse(t.Context(), less.ID, "a law"); err != nil {
		t.Fatal(err)
	}
	if more, err := w.cases.Open(t.Context(), cases.Request{Kind: cases.DeletionRequested, Origin: cases.FromPlatform, Person: less.Person}); err != nil || more.ID == less.ID {
		t.Errorf("more than was refused: %+v, %v", more, err)
	}
	done := w.open(w.Connect("user-8", "publish", connecttest.Person(2)), cases.Erasure)
	if _, err := w.cases.Answer(t.Context(), done.ID, "scheduler"); err != nil {
		t.Fatal(err)
	}
	w.advance(done.ID)
	if _, err := w.cases.Refuse(t.Context(), done.ID, "too late"); wire.RuleOf(err) != "duty/closed" {
		t.Errorf("refusing what is done gives %v", err)
	}
}

// Content has no person here: the app's answer is all that is waited for.
func TestContent(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), 0)
	for range 2 {
		if _, err := w.cases.Open(t.Context(), cases.Request{Kind: cases.ContentRemoved, Origin: cases.FromCompliance, App: "main-x", Platform: gatehouse.X, Key: "job/1"}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := w.cases.List(t.Context(), cases.Filter{})
	if err != nil || len(list) != 1 {
		t.Fatalf("there are %+v, %v", list, err)
	}
	d := w.advance(list[0].ID)
	if d.State(time.Now()) != cases.Open || len(d.Waiting()) != 1 || d.Deadline.Sub(d.Opened) != 24*time.Hour {
		t.Errorf("it stands at %+v", d)
	}
	// There may be thousands: nobody looks at one before something can have changed.
	if d.LookAt.Before(d.Deadline) || d.LookAt.After(d.Deadline.Add(time.Second)) {
		t.Errorf("its deadline is %s, and it is looked at at %s", d.Deadline, d.LookAt)
	}
	// Who asks with an earlier deadline has it looked at anew.
	if d, err = w.cases.Open(t.Context(), cases.Request{Kind: cases.ContentRemoved, Origin: cases.FromCompliance, App: "main-x", Platform: gatehouse.X, Key: "job/1", Since: time.Now().Add(-time.Hour)}); err != nil || d.LookAt.After(time.Now()) {
		t.Errorf("joined by a request from before: %+v, %v", d, err)
	}
	if _, err := w.cases.Answer(t.Context(), d.ID, "scheduler"); err != nil {
		t.Fatal(err)
	}
	if d = w.advance(d.ID); d.State(time.Now()) != cases.Done {
		t.Errorf("answered: %+v", d)
	}
}

// overtaken is a store in which the duty that a request was to join is closed before
// it can be read.
type overtaken struct {
	cases.Store
	times int
}

func (s *overtaken) OpenDuty(ctx context.Context, d cases.Duty) (cases.Duty, error) {
	if s.times > 0 {
		s.times--
		return cases.Duty{}, gatehouse.ErrConflict
	}
	return s.Store.OpenDuty(ctx, d)
}

// A platform may send a notice once: that its duty was overtaken is no reason to
// turn it away.
func TestRequestThatIsOvertaken(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), 0)
	s := &overtaken{Store: w.DB.Cases(), times: 2}
	step := func(context.Context, cases.Duty) (bool, error) { return false, nil }
	nothing := func(context.Context, cases.Duty) error { return nil }
	k, err := cases.New(cases.Config{Store: s, Log: w.Log, Steps: cases.Steps{Revoke: step, Ask: nothing, Heard: step, Shred: nothing}})
	if err != nil {
		t.Fatal(err)
	}
	r := cases.Request{Kind: cases.Erasure, Origin: cases.FromPlatform, Person: w.Connect("user-7", "publish", connecttest.Person(1)).Person}
	if d, err := k.Open(t.Context(), r); err != nil || d.ID == "" {
		t.Errorf("overtaken twice: %+v, %v", d, err)
	}
	s.times = 100
	if _, err := k.Open(t.Context(), r); !errors.Is(err, gatehouse.ErrConflict) {
		t.Errorf("overtaken for ever: %v", err)
	}
}

// Run takes the steps by itself, at once after an answer in this process.
func TestRun(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), 0)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.cases.Run(ctx) }()
	d := w.open(w.Connect("user-7", "publish", connecttest.Person(1)), cases.Erasure)
	if _, err := w.cases.Answer(t.Context(), d.ID, "scheduler"); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		d, err := w.cases.Get(t.Context(), d.ID)
		if err == nil && d.State(time.Now()) == cases.Done {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("it stands at %+v, %v", d, err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestRequestsAreJudged(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), 0)
	for name, r := range map[string]cases.Request{
		"no kind": {Origin: cases.FromApp}, "unknown kind": {Kind: "x", Origin: cases.FromApp}, "no origin": {Kind: cases.Erasure},
		"a long key": {Kind: cases.Erasure, Origin: cases.FromApp, Key: strings.Repeat("k", 201)},
	} {
		if _, err := w.cases.Open(t.Context(), r); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.cases.Get(t.Context(), "dtyunknown"); wire.RuleOf(err) != "duty/unknown" {
		t.Errorf("an unknown duty gives %v", err)
	}
	if _, err := w.cases.Answer(t.Context(), "dtyunknown", "scheduler"); wire.RuleOf(err) != "duty/unknown" {
		t.Errorf("answering an unknown duty gives %v", err)
	}
}
