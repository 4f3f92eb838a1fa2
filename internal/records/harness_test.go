package records_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/records"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"
)

const canary = "canary-5b1f0c7a-ada@example.com"

// world is a store of records on a real vault and log.
type world struct {
	*connecttest.World
	t       testing.TB
	records *records.Records
	// keeps are the declared purposes; every service may use them but "stranger".
	keeps map[gatehouse.PurposeName]time.Duration
}

func newWorld(t testing.TB, dsn string, o connecttest.Options) *world {
	t.Helper()
	w := &world{World: connecttest.New(t, dsn, o), t: t}
	w.keeps = map[gatehouse.PurposeName]time.Duration{"notify": 0, "support": 720 * time.Hour}
	w.records = w.open(w.DB.Records())
	return w
}

// open opens the records on a store, as another process would.
func (w *world) open(s records.Store) *records.Records {
	w.t.Helper()
	r, err := records.New(records.Config{
		Store: s, Vault: w.Vault, Log: w.Log,
		May: func(s gatehouse.ServiceName, p gatehouse.PurposeName) bool {
			_, declared := w.keeps[p]
			return declared && s != "stranger"
		},
		Keeps: func() map[gatehouse.PurposeName]time.Duration { return w.keeps },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func of(subject string) records.Owner { return records.Owner{Subject: gatehouse.Subject(subject)} }

// email is an item of one value for purpose notify.
func email(subject, data string) records.Item {
	return records.Item{Owner: of(subject), Purpose: "notify", Values: []records.Value{{Label: "email", Data: []byte(data)}}}
}

// seal seals items and wants every one to succeed; it returns them with the texts
// in the place of the data.
func (w *world) seal(items ...records.Item) []records.Item {
	w.t.Helper()
	verdicts, err := w.records.Seal(w.t.Context(), "scheduler", items)
	if err != nil {
		w.t.Fatalf("Seal: %v", err)
	}
	sealed := make([]records.Item, len(items))
	for i, v := range verdicts {
		if v.Err != nil {
			w.t.Fatalf("item %d: %v", i, v.Err)
		}
		sealed[i] = items[i]
		sealed[i].Values = v.Values
	}
	return sealed
}

// opens wants an item to open to the given data.
func (w *world) opens(item records.Item, want ...string) {
	w.t.Helper()
	verdicts, err := w.records.Open(w.t.Context(), "scheduler", []records.Item{item})
	if err != nil || verdicts[0].Err != nil {
		w.t.Fatalf("Open: %v, %+v", err, verdicts)
	}
	for i, v := range verdicts[0].Values {
		if string(v.Data) != want[i] || v.Label != item.Values[i].Label {
			w.t.Errorf("value %d is %s %q, want %q", i, v.Label, v.Data, want[i])
		}
	}
}

// refused wants an item not to open, by a rule, and nothing to come out.
func (w *world) refused(rule string, item records.Item) {
	w.t.Helper()
	verdicts, err := w.records.Open(w.t.Context(), "scheduler", []records.Item{item})
	if err != nil {
		w.t.Fatalf("Open: %v, want a refusal by %s", err, rule)
	}
	if got := wire.RuleOf(verdicts[0].Err); got != rule || verdicts[0].Values != nil {
		w.t.Errorf("Open = %+v, want a refusal by %s", verdicts[0], rule)
	}
}

// entries returns the log's entries of an action, oldest first.
func (w *world) entries(action string) []audit.Shown {
	w.t.Helper()
	if err := w.Log.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	list, err := audit.List(w.t.Context(), w.DB.Audit(), audit.Filter{Action: action, Last: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// person returns the one person of a subject.
func (w *world) person(subject string) gatehouse.PersonID {
	w.t.Helper()
	people, err := w.records.PersonsOfSubject(w.t.Context(), gatehouse.Subject(subject))
	if err != nil || len(people) != 1 {
		w.t.Fatalf("PersonsOfSubject = %v, %v", people, err)
	}
	return people[0]
}

func wantRule(t testing.TB, what, rule string, err error) {
	t.Helper()
	if got := wire.RuleOf(err); got != rule {
		t.Errorf("%s: %v, want a refusal by %s", what, err, rule)
	}
}

func both(t *testing.T, f func(t *testing.T, w *world)) {
	storetest.Each(t, func(t *testing.T, dsn string) { f(t, newWorld(t, dsn, connecttest.Options{})) })
}

// faulty fails writes before or after they took effect, and lets a test act in
// between.
type faulty struct {
	records.Store
	before, after bool
	then          func()
}

var errInjected = errors.New("injected fault")

func (s *faulty) write(do func() error) error {
	if s.before {
		return errInjected
	}
	if err := do(); err != nil {
		return err
	}
	if s.then != nil {
		s.then()
	}
	if s.after {
		return errInjected
	}
	return nil
}

func (s *faulty) SubjectPerson(ctx context.Context, hash string, candidate gatehouse.PersonID) (p gatehouse.PersonID, err error) {
	if candidate == "" {
		return s.Store.SubjectPerson(ctx, hash, "")
	}
	err = s.write(func() error { p, err = s.Store.SubjectPerson(ctx, hash, candidate); return err })
	return p, err
}

func (s *faulty) PutRecord(ctx context.Context, r *records.Record) (created bool, err error) {
	err = s.write(func() error { created, err = s.Store.PutRecord(ctx, r); return err })
	return created, err
}

func (s *faulty) ForgetPerson(ctx context.Context, p gatehouse.PersonID) (n int64, err error) {
	err = s.write(func() error { n, err = s.Store.ForgetPerson(ctx, p); return err })
	return n, err
}

func (s *faulty) DeleteRecords(ctx context.Context, list []records.Record) (n int64, err error) {
	err = s.write(func() error { n, err = s.Store.DeleteRecords(ctx, list); return err })
	return n, err
}
