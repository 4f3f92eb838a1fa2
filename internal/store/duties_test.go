package store_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/cases"
	"gatehouse/internal/connect"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
)

func duty(id string) cases.Duty {
	return cases.Duty{
		ID: id, Kind: cases.Deauthorized, Origin: cases.FromPlatform, App: "main-x", Platform: gatehouse.X, Person: gatehouse.PersonID("person-" + id),
		Key: "key-" + id, Code: "code-" + id, Opened: moment(0), Deadline: moment(time.Hour), LookAt: moment(time.Minute),
	}
}

func eachCases(t *testing.T, f func(t *testing.T, s cases.Store)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, dsn string) { f(t, storetest.Open(t, dsn).Cases()) })
}

func TestDutiesAreKept(t *testing.T) {
	eachCases(t, func(t *testing.T, s cases.Store) {
		ctx, d := t.Context(), duty("dty1")
		if got, err := s.OpenDuty(ctx, d); err != nil || got.ID != d.ID {
			t.Fatalf("opening gives %v, %v", got.ID, err)
		}
		d.Version = 1
		if got, err := s.Duty(ctx, "dty1"); err != nil || !cmp.Equal(got, d) {
			t.Errorf("read back with %v: %s", err, cmp.Diff(d, got))
		}
		if got, err := s.DutyByCode(ctx, "code-dty1"); err != nil || got.ID != "dty1" {
			t.Errorf("by its code: %v, %v", got.ID, err)
		}
		d.Kind, d.Revoked, d.Asked, d.Answered, d.AnsweredBy = cases.DeletionRequested, moment(1), moment(2), moment(3), "scheduler"
		d.Deadline, d.Shredded, d.Noted, d.LookAt, d.Proof = moment(4), moment(5), moment(6), moment(7), "proof"
		for _, at := range []*time.Time{&d.Revoked, &d.Asked, &d.Answered, &d.Deadline, &d.Shredded, &d.Noted, &d.LookAt} {
			*at = at.Truncate(time.Microsecond)
		}
		if err := s.SaveDuty(ctx, d); err != nil {
			t.Fatal(err)
		}
		conflict(t, "saving an older version", s.SaveDuty(ctx, d))
		d.Version = 2
		if got, err := s.Duty(ctx, "dty1"); err != nil || !cmp.Equal(got, d) {
			t.Errorf("read back with %v: %s", err, cmp.Diff(d, got))
		}
		for _, missing := range []error{second(s.Duty(ctx, "dty2")), second(s.DutyByCode(ctx, "code"))} {
			if !errors.Is(missing, gatehouse.ErrNotFound) {
				t.Errorf("a missing duty gives %v", missing)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

// Asking twice is one duty, and a person has one that is open.
func TestDutyIsOpenedOnce(t *testing.T) {
	eachCases(t, func(t *testing.T, s cases.Store) {
		ctx, first := t.Context(), duty("dty1")
		if _, err := s.OpenDuty(ctx, first); err != nil {
			t.Fatal(err)
		}
		sameKey, samePerson, other := duty("dty2"), duty("dty3"), duty("dty4")
		sameKey.Key, samePerson.Person = first.Key, first.Person
		for _, d := range []cases.Duty{sameKey, samePerson} {
			if got, err := s.OpenDuty(ctx, d); err != nil || got.ID != "dty1" {
				t.Errorf("%s joins %q, %v", d.ID, got.ID, err)
			}
		}
		if got, err := s.OpenDuty(ctx, other); err != nil || got.ID != "dty4" {
			t.Errorf("another person's joins %q, %v", got.ID, err)
		}
		// Once it is closed, the person can have another; the same request cannot.
		first.Version, first.Closed, first.LookAt = 1, moment(time.Hour), time.Time{}
		if err := s.SaveDuty(ctx, first); err != nil {
			t.Fatal(err)
		}
		if got, err := s.OpenDuty(ctx, samePerson); err != nil || got.ID != "dty3" {
			t.Errorf("after the first is closed: %q, %v", got.ID, err)
		}
		if got, err := s.OpenDuty(ctx, sameKey); err != nil || got.ID != "dty1" {
			t.Errorf("the same request again: %q, %v", got.ID, err)
		}
		// Duties about nobody do not stand in each other's way.
		for i := range 2 {
			d := duty(fmt.Sprint("nobody", i))
			d.Person = ""
			if got, err := s.OpenDuty(ctx, d); err != nil || got.ID != d.ID {
				t.Errorf("%s joins %q, %v", d.ID, got.ID, err)
			}
		}
	})
}

func TestDutyIsOpenedOnceByManyAtOnce(t *testing.T) {
	eachCases(t, func(t *testing.T, s cases.Store) {
		ids := make(chan string, 8)
		var all sync.WaitGroup
		for i := range cap(ids) {
			all.Go(func() {
				d := duty(fmt.Sprint("dty", i))
				d.Person = "one"
				got, err := s.OpenDuty(t.Context(), d)
				if err != nil {
					t.Error(err)
				}
				ids <- got.ID
			})
		}
		all.Wait()
		close(ids)
		first := <-ids
		for id := range ids {
			if id != first {
				t.Errorf("%s and %s are both open for one person", first, id)
			}
		}
	})
}

func TestDutiesAreListed(t *testing.T) {
	eachCases(t, func(t *testing.T, s cases.Store) {
		ctx := t.Context()
		for i, edit := range []func(*cases.Duty){
			func(*cases.Duty) {}, // open
			func(d *cases.Duty) { d.Deadline = moment(-time.Hour) },             // overdue
			func(d *cases.Duty) { d.Closed, d.LookAt = moment(0), time.Time{} }, // done
			func(d *cases.Duty) { d.Closed, d.LookAt, d.Justification = moment(0), time.Time{}, "a court's order" },
			func(d *cases.Duty) { d.App, d.LookAt = "pages", moment(2*time.Minute) },
		} {
			d := duty(fmt.Sprint("dty", i))
			d.Opened = moment(time.Duration(i) * time.Second)
			edit(&d)
			if _, err := s.OpenDuty(ctx, d); err != nil {
				t.Fatal(err)
			}
		}
		for _, test := range []struct {
			f    cases.Filter
			want string
		}{
			{cases.Filter{}, "[dty0 dty1 dty2 dty3 dty4]"},
			{cases.Filter{State: cases.Open}, "[dty0 dty4]"},
			{cases.Filter{State: cases.Overdue}, "[dty1]"},
			{cases.Filter{State: cases.Done}, "[dty2]"},
			{cases.Filter{State: cases.Refused}, "[dty3]"},
			{cases.Filter{App: "pages"}, "[dty4]"},
			{cases.Filter{Person: "person-dty2"}, "[dty2]"},
			{cases.Filter{After: "dty2"}, "[dty3 dty4]"},
			{cases.Filter{After: "dty0", State: cases.Open}, "[dty4]"},
			{cases.Filter{Limit: 2}, "[dty0 dty1]"},
		} {
			test.f.Now = moment(0)
			if test.f.Limit == 0 {
				test.f.Limit = 100
			}
			list, err := s.Duties(ctx, test.f)
			if got := fmt.Sprint(ids(list)); err != nil || got != test.want {
				t.Errorf("%+v lists %s, %v; want %s", test.f, got, err, test.want)
			}
		}
		if _, err := s.Duties(ctx, cases.Filter{After: "unknown", Now: moment(0), Limit: 1}); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("an unknown beginning gives %v", err)
		}
		for at, want := range map[time.Duration]string{0: "[]", time.Minute: "[dty0 dty1]", 2 * time.Minute: "[dty0 dty1 dty4]"} {
			due, err := s.DutiesToLookAt(ctx, moment(at), 10)
			if got := fmt.Sprint(ids(due)); err != nil || got != want {
				t.Errorf("after %v there are %s to look at, %v; want %s", at, got, err, want)
			}
		}
	})
}

func ids(list []cases.Duty) []string {
	out := []string{}
	for _, d := range list {
		out = append(out, d.ID)
	}
	return out
}

func TestNoticesAreRemembered(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		s := storetest.Open(t, dsn).Notices()
		ctx := t.Context()
		taken := func(id string) bool {
			ok, err := s.NoticeTaken(ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			return ok
		}
		if taken("n1") {
			t.Error("an unknown notice was taken")
		}
		for range 2 { // again is no error
			if err := s.TakeNotice(ctx, "n1", moment(0)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.TakeNotice(ctx, "n2", moment(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if err := s.SweepNotices(ctx, moment(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if taken("n1") || !taken("n2") {
			t.Error("sweeping forgot the wrong one")
		}
	})
}

// A person who is ended is found among the ended, and somebody new takes the place;
// one who is erased leaves nothing that leads to them.
func TestPeopleAreEndedAndErased(t *testing.T) {
	eachConnect(t, func(t *testing.T, s connect.Store) {
		ctx := t.Context()
		if _, err := s.PersonOf(ctx, "uh-con1", "person"); err != nil {
			t.Fatal(err)
		}
		a := attempt("att1")
		a.Connection = "con1"
		if _, err := s.SaveAttempt(ctx, a); err != nil {
			t.Fatal(err)
		}
		other := record("con2")
		other.Person, other.UserHash = "other", "uh-con1"
		if err := s.SaveConnections(ctx, record("con1")); err != nil {
			t.Fatal(err)
		}
		for range 2 { // again is no error
			if err := s.EndPerson(ctx, "person"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.PersonOf(ctx, "uh-con1", ""); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("an ended person is found: %v", err)
		}
		if ended, err := s.EndedPeople(ctx, "uh-con1"); err != nil || fmt.Sprint(ended) != "[person]" {
			t.Errorf("ended are %v, %v", ended, err)
		}
		if p, err := s.PersonOf(ctx, "uh-con1", "other"); err != nil || p != "other" {
			t.Errorf("who comes back is %v, %v", p, err)
		}
		// The same grant, as the index sees it, but for the person.
		if err := s.SaveConnections(ctx, other); err != nil {
			t.Errorf("whoever comes back cannot connect: %v", err)
		}
		for range 2 {
			if err := s.ErasePerson(ctx, "person", moment(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.Connection(ctx, "con1")
		if err != nil {
			t.Fatal(err)
		}
		if got.Status != connect.Erased || got.UserSealed != nil || got.NameSealed != nil || got.SubjSealed != nil || got.Access != nil ||
			got.Refresh != nil || got.UserHash != "" || got.SubjectHash != "" || got.Reason != "" || !got.RenewAt.IsZero() {
			t.Errorf("an erased connection is %+v", got)
		}
		if kept, err := s.Connection(ctx, "con2"); err != nil || kept.Status != connect.Healthy || kept.UserHash != "uh-con1" {
			t.Errorf("the other one's is %+v, %v", kept, err)
		}
		if _, err := s.Attempt(ctx, "att1"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("the attempt is still there: %v", err)
		}
		if ended, err := s.EndedPeople(ctx, "uh-con1"); err != nil || len(ended) > 0 {
			t.Errorf("ended are still %v, %v", ended, err)
		}
		if p, err := s.PersonOf(ctx, "uh-con1", ""); err != nil || p != "other" {
			t.Errorf("the other one is %v, %v", p, err)
		}
	})
}
