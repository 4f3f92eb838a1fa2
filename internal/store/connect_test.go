package store_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// moment is a time as the store keeps it.
func moment(offset time.Duration) time.Time {
	return time.Date(2026, 5, 4, 3, 2, 1, 123456000, time.UTC).Add(offset)
}

func attempt(id string) connect.Attempt {
	return connect.Attempt{
		ID: id, Service: "scheduler", App: "main-x", OAuth1: true, Purposes: []gatehouse.PurposeName{"publish", "read"},
		Scopes: []string{"a.b", "c d"}, ReturnTo: "https://app.example.com/", AppState: "state \u2603", SubjectHash: "sh",
		SubjSealed: []byte{0, 1}, Stage: connect.Asked, Expires: moment(time.Minute), Created: moment(0),
	}
}

func record(id gatehouse.ConnectionID) connect.Record {
	return connect.Record{
		ID: id, App: "main-x", Platform: gatehouse.X, Kind: connect.KindUser, Service: "scheduler", Person: "person",
		UserHash: "uh-" + string(id), UserSealed: []byte{1}, NameSealed: []byte{2}, SubjectHash: "sh", SubjSealed: []byte{3},
		Status: connect.Healthy, Reason: "why", Scopes: []string{"a"}, Declined: []string{"b"},
		Purposes: []gatehouse.PurposeName{"publish"}, Access: []byte{4}, Refresh: []byte{5}, AccessExpires: moment(time.Hour),
		RefreshExpires: moment(2 * time.Hour), RenewAt: moment(30 * time.Minute), LeaseUntil: moment(time.Minute),
		Redeemed: moment(0), Created: moment(0), Updated: moment(0), Cause: "cause", CheckAt: moment(4 * time.Hour),
		DataAccessExpires: moment(5 * time.Hour),
	}
}

func conflict(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, gatehouse.ErrConflict) {
		t.Errorf("%s gives %v, want a conflict", what, err)
	}
}

// eachConnect runs f on the connect.Store of both engines.
func eachConnect(t *testing.T, f func(t *testing.T, s connect.Store)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, dsn string) { f(t, storetest.Open(t, dsn).Connect()) })
}

func TestConnectAttempts(t *testing.T) {
	eachConnect(t, func(t *testing.T, s connect.Store) {
		ctx, a := t.Context(), attempt("att1")
		version, err := s.SaveAttempt(ctx, a)
		if err != nil || version != 1 {
			t.Fatalf("saving gives %d, %v", version, err)
		}
		a.Version = version
		if got, err := s.Attempt(ctx, "att1"); err != nil || !cmp.Equal(got, a, cmpopts.EquateEmpty()) {
			t.Errorf("read back with %v: %s", err, cmp.Diff(a, got))
		}
		_, err = s.SaveAttempt(ctx, attempt("att1"))
		conflict(t, "inserting it again", err)

		a.StateHash, a.BrowserHash, a.Verifier, a.CodeHash = "state", "browser", []byte{9}, "code"
		a.Connection, a.Stage, a.Expires = "con1", connect.Coded, moment(time.Hour)
		if a.Version, err = s.SaveAttempt(ctx, a); err != nil || a.Version != 2 {
			t.Fatalf("replacing gives %d, %v", a.Version, err)
		}
		if got, err := s.AttemptByState(ctx, "state"); err != nil || !cmp.Equal(got, a, cmpopts.EquateEmpty()) {
			t.Errorf("read back with %v: %s", err, cmp.Diff(a, got))
		}
		stale := a
		stale.Version = 1
		_, err = s.SaveAttempt(ctx, stale)
		conflict(t, "replacing an older version", err)

		other := attempt("att2")
		if other.Version, err = s.SaveAttempt(ctx, other); err != nil {
			t.Fatal(err)
		}
		for _, state := range []string{"", "unknown"} {
			if _, err := s.AttemptByState(ctx, state); !errors.Is(err, gatehouse.ErrNotFound) {
				t.Errorf("state %q gives %v", state, err)
			}
		}
		if err := s.SweepAttempts(ctx, moment(30*time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Attempt(ctx, "att2"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("a swept attempt gives %v", err)
		}
		if _, err := s.Attempt(ctx, "att1"); err != nil {
			t.Errorf("a living attempt was swept: %v", err)
		}
	})
}

// A state is taken up once, however many ask at the same time.
func TestConnectAttemptRace(t *testing.T) {
	eachConnect(t, func(t *testing.T, s connect.Store) {
		a := attempt("att1")
		var err error
		if a.Version, err = s.SaveAttempt(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		a.Stage = connect.Returned
		oneWins(t, func() error {
			_, err := s.SaveAttempt(t.Context(), a)
			return err
		})
	})
}

// oneWins has eight ask for the same at once: one gets it, the others conflict.
func oneWins(t *testing.T, take func() error) {
	t.Helper()
	won := make(chan bool, 8)
	var all sync.WaitGroup
	for range cap(won) {
		all.Go(func() {
			err := take()
			if err != nil && !errors.Is(err, gatehouse.ErrConflict) {
				t.Error(err)
			}
			won <- err == nil
		})
	}
	all.Wait()
	close(won)
	n := 0
	for w := range won {
		if w {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d took it", n)
	}
}

func TestConnectPeople(t *testing.T) {
	eachConnect(t, func(t *testing.T, s connect.Store) {
		ctx := t.Context()
		if _, err := s.PersonOf(ctx, "hash", ""); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("an unknown person gives %v", err)
		}
		found := make(chan gatehouse.PersonID, 8)
		var all sync.WaitGroup
		for i := range cap(found) {
			all.Go(func() {
				p, err := s.PersonOf(ctx, "hash", gatehouse.PersonID(fmt.Sprint("candidate", i)))
				if err != nil {
					t.Error(err)
				}
				found <- p
			})
		}
		all.Wait()
		close(found)
		settled, err := s.PersonOf(ctx, "hash", "")
		if err != nil || settled == "" {
			t.Fatalf("%q, %v", settled, err)
		}
		for p := range found {
			if p != settled {
				t.Errorf("one was told %q, and it is %q", p, settled)
			}
		}
	})
}

func TestConnectRecords(t *testing.T) {
	eachConnect(t, func(t *testing.T, s connect.Store) {
		ctx, r := t.Context(), record("con1")
		if err := s.SaveConnections(ctx, r); err != nil {
			t.Fatal(err)
		}
		r.Version = 1
		if got, err := s.Connection(ctx, "con1"); err != nil || !cmp.Equal(got, r, cmpopts.EquateEmpty()) {
			t.Errorf("read back with %v: %s", err, cmp.Diff(r, got))
		}
		changed := r
		changed.UserSealed, changed.NameSealed, changed.SubjSealed = []byte{11}, nil, []byte{13}
		changed.Status, changed.Reason, changed.Scopes, changed.Declined = connect.Revoked, "", nil, []string{"x", "y"}
		changed.Purposes, changed.Access, changed.Refresh = []gatehouse.PurposeName{"other"}, nil, []byte{15}
		changed.AccessExpires, changed.RefreshExpires, changed.RenewAt = time.Time{}, moment(3*time.Hour), time.Time{}
		changed.LeaseUntil, changed.Redeemed = time.Time{}, moment(time.Second)
		changed.RevokeOutstanding, changed.Updated = true, moment(time.Minute)
		changed.Cause, changed.CheckAt, changed.DataAccessExpires = "", time.Time{}, moment(6*time.Hour)
		if err := s.SaveConnections(ctx, changed); err != nil {
			t.Fatal(err)
		}
		changed.Version = 2
		if got, err := s.Connection(ctx, "con1"); err != nil || !cmp.Equal(got, changed, cmpopts.EquateEmpty()) {
			t.Errorf("read back with %v: %s", err, cmp.Diff(changed, got))
		}
		conflict(t, "replacing an older version", s.SaveConnections(ctx, r))
		// All or nothing: the first of the two would have been fine.
		conflict(t, "saving one good and one stale record", s.SaveConnections(ctx, record("con2"), r))
		if _, err := s.Connection(ctx, "con2"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("half of a failed save was kept: %v", err)
		}
	})
}

// One grant has one connection, unless it is pending or erased.
func TestConnectOneGrantOneConnection(t *testing.T) {
	eachConnect(t, func(t *testing.T, s connect.Store) {
		ctx, first := t.Context(), record("con1")
		same := func(id gatehouse.ConnectionID, change func(*connect.Record)) error {
			r := first
			r.ID = id
			change(&r)
			return s.SaveConnections(ctx, r)
		}
		if err := s.SaveConnections(ctx, first); err != nil {
			t.Fatal(err)
		}
		conflict(t, "a second one", same("con2", func(*connect.Record) {}))
		conflict(t, "a revoked one", same("con2", func(r *connect.Record) { r.Status = connect.Revoked }))
		for id, change := range map[gatehouse.ConnectionID]func(*connect.Record){
			"pending": func(r *connect.Record) { r.Redeemed, r.Status = time.Time{}, connect.Pending },
			"erased":  func(r *connect.Record) { r.Status = connect.Erased },
			"app":     func(r *connect.Record) { r.App = "other" },
			"service": func(r *connect.Record) { r.Service = "other" },
			"user":    func(r *connect.Record) { r.UserHash = "other" },
			"subject": func(r *connect.Record) { r.SubjectHash = "other" },
			"kind":    func(r *connect.Record) { r.Kind = connect.KindOAuth1 },
			"parent":  func(r *connect.Record) { r.Parent = "con1" },
			"child":   func(r *connect.Record) { r.Parent, r.ExternalHash = "con1", "other" },
		} {
			if err := same(id, change); err != nil {
				t.Errorf("another %s is refused: %v", id, err)
			}
		}
	})
}

func TestConnectListing(t *testing.T) {
	eachConnect(t, func(t *testing.T, s connect.Store) {
		ctx := t.Context()
		for i := range 5 {
			r := record(gatehouse.ConnectionID(fmt.Sprint("con", i)))
			r.Created = moment(time.Duration(i/2) * time.Second) // pairs of the same time
			switch i {
			case 1:
				r.Service, r.SubjectHash, r.Person = "analytics", "other", "somebody"
			case 2:
				r.App, r.Status, r.Parent, r.ExternalHash = "pages", connect.Revoked, "con0", "page"
			case 3:
				r.Redeemed, r.Status = time.Time{}, connect.Pending
			}
			if err := s.SaveConnections(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		for name, c := range map[string]struct {
			f    connect.Filter
			want []gatehouse.ConnectionID
		}{
			"all":       {connect.Filter{}, []gatehouse.ConnectionID{"con0", "con1", "con2", "con4"}},
			"pending":   {connect.Filter{WithPending: true}, []gatehouse.ConnectionID{"con0", "con1", "con2", "con3", "con4"}},
			"service":   {connect.Filter{Service: "analytics"}, []gatehouse.ConnectionID{"con1"}},
			"app":       {connect.Filter{App: "pages"}, []gatehouse.ConnectionID{"con2"}},
			"status":    {connect.Filter{Status: connect.Revoked}, []gatehouse.ConnectionID{"con2"}},
			"person":    {connect.Filter{Person: "somebody"}, []gatehouse.ConnectionID{"con1"}},
			"user":      {connect.Filter{UserHash: "uh-con4"}, []gatehouse.ConnectionID{"con4"}},
			"subject":   {connect.Filter{SubjectHash: "other"}, []gatehouse.ConnectionID{"con1"}},
			"parent":    {connect.Filter{Parent: "con0"}, []gatehouse.ConnectionID{"con2"}},
			"child":     {connect.Filter{Parent: "con0", ExternalHash: "page"}, []gatehouse.ConnectionID{"con2"}},
			"no child":  {connect.Filter{Parent: "con0", ExternalHash: "other"}, nil},
			"two":       {connect.Filter{Service: "scheduler", SubjectHash: "sh", App: "main-x"}, []gatehouse.ConnectionID{"con0", "con4"}},
			"page":      {connect.Filter{Limit: 2}, []gatehouse.ConnectionID{"con0", "con1"}},
			"next page": {connect.Filter{After: "con1", Limit: 2}, []gatehouse.ConnectionID{"con2", "con4"}},
			"last page": {connect.Filter{After: "con4"}, nil},
		} {
			list, err := s.Connections(ctx, c.f)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			var got []gatehouse.ConnectionID
			for _, r := range list {
				got = append(got, r.ID)
			}
			if !cmp.Equal(got, c.want) {
				t.Errorf("%s lists %v, want %v", name, got, c.want)
			}
		}
		if _, err := s.Connections(ctx, connect.Filter{After: "unknown"}); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("a page after nothing gives %v", err)
		}
	})
}

func TestConnectDue(t *testing.T) {
	eachConnect(t, func(t *testing.T, s connect.Store) {
		ctx, now := t.Context(), moment(time.Hour)
		for id, change := range map[gatehouse.ConnectionID]func(*connect.Record){
			"due":         func(*connect.Record) {},
			"later":       func(r *connect.Record) { r.RenewAt = now.Add(time.Second) },
			"never":       func(r *connect.Record) { r.RenewAt = time.Time{} },
			"leased":      func(r *connect.Record) { r.Status, r.LeaseUntil = connect.Renewing, now.Add(time.Second) },
			"abandoned":   func(r *connect.Record) { r.Status, r.LeaseUntil = connect.Renewing, now.Add(-time.Second) },
			"outstanding": func(r *connect.Record) { r.Status, r.RevokeOutstanding, r.RenewAt = connect.Revoked, true, time.Time{} },
			"asked again": func(r *connect.Record) {
				r.Status, r.RevokeOutstanding, r.RenewAt = connect.Revoked, true, moment(time.Minute)
			},
			"resting": func(r *connect.Record) {
				r.Status, r.RevokeOutstanding, r.RenewAt = connect.Revoked, true, now.Add(time.Second)
			},
			"forgotten": func(r *connect.Record) { r.Status, r.Redeemed = connect.Pending, time.Time{} },
			"fresh": func(r *connect.Record) {
				r.Status, r.Redeemed, r.Created = connect.Pending, time.Time{}, now
			},
		} {
			r := record(id)
			change(&r)
			if err := s.SaveConnections(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		due := func(app gatehouse.AppName, limit int) map[gatehouse.ConnectionID]bool {
			records, err := s.Due(ctx, app, now, now.Add(-30*time.Minute), limit)
			if err != nil {
				t.Fatal(err)
			}
			got := map[gatehouse.ConnectionID]bool{}
			for _, r := range records {
				got[r.ID] = true
			}
			return got
		}
		all := map[gatehouse.ConnectionID]bool{"due": true, "abandoned": true, "outstanding": true, "asked again": true, "forgotten": true}
		for app, want := range map[gatehouse.AppName]map[gatehouse.ConnectionID]bool{"": all, "main-x": all, "main": {}} {
			if got := due(app, 10); !cmp.Equal(got, want) {
				t.Errorf("of %q are due %v, want %v", app, got, want)
			}
		}
		// However much of one kind is due, the others have their share.
		for i := range 5 {
			r := record(gatehouse.ConnectionID(fmt.Sprint("older", i)))
			r.RenewAt, r.Updated = moment(0), moment(0)
			if err := s.SaveConnections(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		if got := due("main-x", 2); len(got) != 5 || !got["outstanding"] || !got["asked again"] || !got["forgotten"] || got["due"] {
			t.Errorf("a limit of 2 gives %v", got)
		}
	})
}
