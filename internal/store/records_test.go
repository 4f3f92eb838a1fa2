package store_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/records"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
)

func eachRecords(t *testing.T, f func(t *testing.T, s records.Store)) {
	storetest.Each(t, func(t *testing.T, dsn string) { f(t, storetest.Open(t, dsn).Records()) })
}

func keptRecord(person, purpose, label string) records.Record {
	return records.Record{
		Key:  records.Key{Person: gatehouse.PersonID(person), Purpose: gatehouse.PurposeName(purpose), Label: label},
		JSON: true, Sealed: []byte{0, 1, 0xff}, Size: 7, Created: moment(0), Updated: moment(0), Expires: moment(time.Hour),
	}
}

func TestRecordSubjects(t *testing.T) {
	eachRecords(t, func(t *testing.T, s records.Store) {
		ctx := t.Context()
		if _, err := s.SubjectPerson(ctx, "hash", ""); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("an unknown subject gives %v", err)
		}
		var wait sync.WaitGroup
		got := make([]gatehouse.PersonID, 4)
		for i := range got {
			wait.Go(func() {
				p, err := s.SubjectPerson(ctx, "hash", gatehouse.PersonID(fmt.Sprint("p", i)))
				if err != nil {
					t.Error(err)
				}
				got[i] = p
			})
		}
		wait.Wait()
		for _, p := range got {
			if p == "" || p != got[0] {
				t.Errorf("those that race get %v", got)
			}
		}
		if p, err := s.SubjectPerson(ctx, "hash", ""); err != nil || p != got[0] {
			t.Errorf("the subject's person is %q, %v", p, err)
		}
		if n, err := s.ForgetPerson(ctx, got[0]); err != nil || n != 0 {
			t.Errorf("forgetting gives %d, %v", n, err)
		}
		if p, err := s.SubjectPerson(ctx, "hash", ""); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("a forgotten subject gives %q, %v", p, err)
		}
	})
}

func TestRecordsAreStoredReplacedAndListed(t *testing.T) {
	eachRecords(t, func(t *testing.T, s records.Store) {
		ctx := t.Context()
		first := keptRecord("ada", "notify", "email")
		if _, err := s.Record(ctx, first.Key); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("an unknown record gives %v", err)
		}
		put := func(r records.Record, isNew bool) records.Record {
			t.Helper()
			if created, err := s.PutRecord(ctx, &r); err != nil || created != isNew {
				t.Fatalf("PutRecord = %t, %v", created, err)
			}
			return r
		}
		put(first, true)
		second := first
		second.JSON, second.Sealed, second.Size, second.Expires = false, []byte("other"), 5, time.Time{}
		second.Created, second.Updated = moment(time.Minute), moment(time.Minute)
		second = put(second, false)
		if !second.Created.Equal(first.Created) {
			t.Errorf("the replaced record was created %s, want %s", second.Created, first.Created)
		}
		if got, err := s.Record(ctx, first.Key); err != nil || !cmp.Equal(got, second) {
			t.Errorf("read back with %v: %s", err, cmp.Diff(second, got))
		}

		var want []records.Record
		for _, r := range []records.Record{keptRecord("ada", "a", "z"), second, keptRecord("ada", "notify", "phone"), keptRecord("ada", "z", "a")} {
			if r.Label != "email" {
				put(r, true)
			}
			r.Sealed = nil
			want = append(want, r)
		}
		put(keptRecord("bob", "notify", "email"), true)
		var got []records.Record
		for after := (records.Key{Person: "ada"}); ; {
			page, err := s.Records(ctx, after, 3)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, page...)
			if len(page) < 3 {
				break
			}
			after = page[2].Key
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the list (-want +got):\n%s", diff)
		}
		if purposes, err := s.RecordPurposes(ctx); err != nil || !cmp.Equal(purposes, []gatehouse.PurposeName{"a", "notify", "z"}) {
			t.Errorf("the purposes are %v, %v", purposes, err)
		}

		// Deleting spares what was put again since.
		stale := keptRecord("ada", "notify", "email")
		if n, err := s.DeleteRecords(ctx, []records.Record{stale, keptRecord("ada", "a", "z"), keptRecord("ada", "no", "such")}); err != nil || n != 1 {
			t.Errorf("DeleteRecords = %d, %v", n, err)
		}
		if _, err := s.Record(ctx, stale.Key); err != nil {
			t.Errorf("what was put again: %v", err)
		}
		if n, err := s.ForgetPerson(ctx, "ada"); err != nil || n != 3 {
			t.Errorf("ForgetPerson = %d, %v", n, err)
		}
		if left, err := s.Records(ctx, records.Key{Person: "ada"}, 10); err != nil || len(left) != 0 {
			t.Errorf("a forgotten person has %v, %v", left, err)
		}
		if _, err := s.Record(ctx, keptRecord("bob", "notify", "email").Key); err != nil {
			t.Errorf("another person's record: %v", err)
		}
	})
}

func TestExpiredRecords(t *testing.T) {
	eachRecords(t, func(t *testing.T, s records.Store) {
		ctx := t.Context()
		for i, r := range []records.Record{
			keptRecord("ada", "notify", "expires"), keptRecord("ada", "notify", "later"), keptRecord("ada", "notify", "never"), keptRecord("ada", "other", "expires"),
		} {
			r.Updated = moment(time.Duration(i) * time.Minute)
			r.Expires = []time.Time{moment(time.Hour), moment(time.Hour + time.Microsecond), {}, moment(time.Hour)}[i]
			if _, err := s.PutRecord(ctx, &r); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			now, updated time.Time
			want         []string
		}{
			{moment(time.Hour - time.Microsecond), time.Time{}, nil},
			{moment(time.Hour), time.Time{}, []string{"expires"}},
			{moment(2 * time.Hour), time.Time{}, []string{"expires", "later"}},
			{moment(0), moment(2*time.Minute - time.Microsecond), []string{"expires", "later"}},
			{moment(0), moment(2 * time.Minute), []string{"expires", "later", "never"}},
		} {
			list, err := s.ExpiredRecords(ctx, "notify", c.now, c.updated, 10)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range list {
				got = append(got, r.Label)
			}
			if !cmp.Equal(got, c.want) {
				t.Errorf("at %s, updated before %s: %v, want %v", c.now, c.updated, got, c.want)
			}
		}
		if list, err := s.ExpiredRecords(ctx, "notify", moment(2*time.Hour), time.Time{}, 1); err != nil || len(list) != 1 {
			t.Errorf("a page of one is %v, %v", list, err)
		}
	})
}
