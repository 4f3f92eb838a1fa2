package records_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/records"
	"gatehouse/internal/store/storetest"
)

func (w *world) put(item records.Item) records.Entry {
	w.t.Helper()
	e, _, err := w.records.Put(w.t.Context(), "scheduler", item)
	if err != nil {
		w.t.Fatalf("Put: %v", err)
	}
	return e
}

func (w *world) get(subject string, purpose gatehouse.PurposeName, label string) (string, error) {
	w.t.Helper()
	v, _, err := w.records.Get(w.t.Context(), "scheduler", of(subject), purpose, label)
	return string(v.Data), err
}

func TestARecordIsKeptReplacedAndDeleted(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		first, created, err := w.records.Put(t.Context(), "scheduler", email("user-7", canary))
		if err != nil || !created || first.Size != len(canary) || first.Label != "email" || !first.Expires.IsZero() {
			t.Fatalf("Put = %+v, %t, %v", first, created, err)
		}
		item := email("user-7", `{"a":1}`)
		item.Values[0].JSON, item.Life = true, time.Hour
		second, created, err := w.records.Put(t.Context(), "scheduler", item)
		if err != nil || created || !second.Created.Equal(first.Created) || !second.Updated.After(first.Updated) || second.Expires.IsZero() {
			t.Errorf("Put again = %+v, %t, %v", second, created, err)
		}
		v, e, err := w.records.Get(t.Context(), "analytics", of("user-7"), "notify", "email")
		if err != nil || string(v.Data) != `{"a":1}` || !v.JSON || e != second {
			t.Errorf("Get = %+v, %+v, %v; want %+v", v, e, err, second)
		}
		support := email("user-7", "other")
		support.Purpose = "support"
		w.put(support)
		w.put(email("user-8", "another"))

		list, last, more, err := w.records.List(t.Context(), "scheduler", of("user-7"), records.Key{}, 1)
		if err != nil || len(list) != 1 || list[0] != second || !more {
			t.Errorf("the first page is %+v, %t, %v", list, more, err)
		}
		list, _, more, err = w.records.List(t.Context(), "scheduler", of("user-7"), last, 2)
		if err != nil || len(list) != 1 || list[0].Purpose != "support" || more {
			t.Errorf("the second page is %+v, %t, %v", list, more, err)
		}
		if list, _, _, err = w.records.List(t.Context(), "stranger", of("user-7"), records.Key{}, 10); err != nil || len(list) != 0 {
			t.Errorf("a service without the purposes sees %+v, %v", list, err)
		}
		if list, _, _, err = w.records.List(t.Context(), "scheduler", of("nobody"), records.Key{}, 10); err != nil || len(list) != 0 {
			t.Errorf("a subject without records has %+v, %v", list, err)
		}

		for name, try := range map[string]func(string) error{
			"Get": func(s string) error {
				_, _, err := w.records.Get(t.Context(), "scheduler", of(s), "notify", "email")
				return err
			},
			"Delete": func(s string) error { return w.records.Delete(t.Context(), "scheduler", of(s), "notify", "email") },
		} {
			wantRule(t, name+" for nobody", "records/unknown-record", try("nobody"))
		}
		wantRule(t, "Delete by a stranger", "records/purpose", w.records.Delete(t.Context(), "stranger", of("user-7"), "notify", "email"))
		if err := w.records.Delete(t.Context(), "scheduler", of("user-7"), "notify", "email"); err != nil {
			t.Fatal(err)
		}
		_, err = w.get("user-7", "notify", "email")
		wantRule(t, "Get after Delete", "records/unknown-record", err)
		if got, err := w.get("user-7", "support", "email"); err != nil || got != "other" {
			t.Errorf("the near miss gives %q, %v", got, err)
		}
		for action, want := range map[string]int{"record.put": 8, "record.get": 4 + 2, "record.delete": 2 + 2} {
			if got := len(w.entries(action)); got != want {
				t.Errorf("%d entries of %s, want %d", got, action, want)
			}
		}
	})
}

// An intruder who can write to the database moves ciphertexts between rows and
// lengthens lives.
func TestARowOfAnotherPlaceDoesNotOpen(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		raw := storetest.OpenRaw(t, w.DSN)
		phone, support := email("user-7", "phone"), email("user-7", "support")
		phone.Values[0].Label, support.Purpose = "phone", "support"
		w.put(email("user-7", canary))
		w.put(phone)
		w.put(support)
		w.put(email("user-8", "bob"))
		swap := func(from string) {
			t.Helper()
			if n := raw.Exec("UPDATE records SET sealed = (SELECT sealed FROM records WHERE "+from+") WHERE person = $1 AND purpose = 'notify' AND label = 'email'", string(w.person("user-7"))); n != 1 {
				t.Fatalf("%d rows changed", n)
			}
		}
		ada, bob := "person = '"+string(w.person("user-7"))+"'", "person = '"+string(w.person("user-8"))+"'"
		for _, from := range []string{ada + " AND label = 'phone'", ada + " AND purpose = 'support'", bob} {
			swap(from)
			_, err := w.get("user-7", "notify", "email")
			wantRule(t, from, "records/unreadable", err)
		}
		w.put(email("user-7", canary))
		raw.Exec("UPDATE records SET json = 1 WHERE label = 'email'")
		_, err := w.get("user-7", "notify", "email")
		wantRule(t, "another form", "records/unreadable", err)
		// A text of the app's is no record, and a record no text.
		text := w.seal(email("user-7", canary))[0].Values[0].Data
		sealed, err := records.HookTestOnlyParseText(text)
		if err != nil {
			t.Fatal(err)
		}
		raw.Exec("UPDATE records SET json = 0, sealed = $1 WHERE "+ada+" AND purpose = 'notify' AND label = 'email'", sealed)
		_, err = w.get("user-7", "notify", "email")
		wantRule(t, "a text as a record", "records/unreadable", err)

		short := email("user-7", canary)
		short.Life = time.Microsecond
		w.put(short)
		raw.Exec("UPDATE records SET expires = 0 WHERE label = 'email'")
		_, err = w.get("user-7", "notify", "email")
		wantRule(t, "a life that was lengthened", "records/expired", err)
		w.put(email("user-7", canary))
		if got, err := w.get("user-7", "notify", "email"); err != nil || got != canary {
			t.Errorf("as it was put: %q, %v", got, err)
		}
	})
}

func TestTheSweepDeletesWhatIsOver(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		lasting, over, aged := email("user-7", "stays"), email("user-8", "over"), email("user-7", "aged")
		over.Life, lasting.Life = time.Microsecond, time.Hour
		aged.Purpose = "support"
		w.put(lasting)
		w.put(over)
		w.put(aged)
		var log bytes.Buffer
		w.records.Logger = slog.New(slog.NewTextHandler(&log, nil))
		left := func(want ...string) {
			t.Helper()
			if err := w.records.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, subject := range []string{"user-7", "user-8"} {
				list, _, _, err := w.records.List(t.Context(), "scheduler", of(subject), records.Key{}, 10)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range list {
					got = append(got, subject+" "+string(e.Purpose))
				}
			}
			if strings.Join(got, ", ") != strings.Join(want, ", ") {
				t.Errorf("after the sweep there are %v, want %v", got, want)
			}
		}
		left("user-7 notify", "user-7 support")
		left("user-7 notify", "user-7 support") // and nothing is done twice
		w.keeps["support"] = time.Microsecond
		left("user-7 notify")
		var told []string
		for _, e := range w.entries("record.expire") {
			told = append(told, e.Kind+" "+string(e.Purpose)+" "+e.Facts["records"])
		}
		if got := strings.Join(told, ", "); got != "intent notify 1, outcome notify 1, intent support 1, outcome support 1" {
			t.Errorf("the log has %s", got)
		}
		if log.Len() > 0 {
			t.Errorf("reported: %s", &log)
		}

		// A purpose that is gone: reported, kept, and not opened.
		delete(w.keeps, "notify")
		if err := w.records.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(log.String(), "not declared any more") || !strings.Contains(log.String(), "purpose=notify") {
			t.Errorf("reported: %s", &log)
		}
		if gone, err := w.records.Undeclared(t.Context()); err != nil || len(gone) != 1 || gone[0] != "notify" {
			t.Errorf("Undeclared = %v, %v", gone, err)
		}
		_, err := w.get("user-7", "notify", "email")
		wantRule(t, "an undeclared purpose", "records/purpose", err)
		w.keeps["notify"] = 0
		if got, err := w.get("user-7", "notify", "email"); err != nil || got != "stays" {
			t.Errorf("declared again: %q, %v", got, err)
		}
	})
}

// More than a page is deleted in one sweep, and Run sweeps as it starts.
func TestRunSweeps(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), connecttest.Options{})
	item := email("user-7", "x")
	item.Life = time.Microsecond
	w.put(item)
	ctx, stop := context.WithCancel(t.Context())
	s := &faulty{Store: w.DB.Records(), then: stop}
	if err := w.open(s).Run(ctx); err != nil {
		t.Errorf("Run = %v", err)
	}
	if purposes, err := w.DB.Records().RecordPurposes(t.Context()); err != nil || len(purposes) != 0 {
		t.Errorf("there are records for %v, %v", purposes, err)
	}
}

func TestNothingIsOpenedOrKeptWithoutTheLog(t *testing.T) {
	fault := &brokenLog{}
	w := newWorld(t, storetest.SQLite(t), connecttest.Options{Audit: func(s audit.Store) audit.Store { fault.Store = s; return fault }})
	sealed := w.seal(email("user-7", canary), email("user-8", canary))
	w.put(email("user-7", "kept"))
	fault.broken.Store(true)
	for name, try := range map[string]func() error{
		"Seal": func() error {
			v, err := w.records.Seal(t.Context(), "scheduler", []records.Item{email("user-7", "x")})
			if v != nil {
				t.Errorf("Seal gives %v", v)
			}
			return err
		},
		"Open": func() error {
			v, err := w.records.Open(t.Context(), "scheduler", sealed)
			if v != nil {
				t.Errorf("Open gives %v", v)
			}
			return err
		},
		"Put": func() error {
			_, _, err := w.records.Put(t.Context(), "scheduler", email("user-7", "other"))
			return err
		},
		"Get":    func() error { v, err := w.get("user-7", "notify", "email"); return errors.Join(err, none(v)) },
		"Delete": func() error { return w.records.Delete(t.Context(), "scheduler", of("user-7"), "notify", "email") },
	} {
		if err := try(); !errors.Is(err, gatehouse.ErrUnavailable) {
			t.Errorf("%s without a log: %v, want ErrUnavailable", name, err)
		}
	}
	rec, err := w.DB.Records().Record(t.Context(), records.Key{Person: w.person("user-7"), Purpose: "notify", Label: "email"})
	if err != nil || rec.Size != len("kept") {
		t.Errorf("the record is %+v, %v", rec, err)
	}
}

func none(s string) error {
	if s != "" {
		return errors.New("something came out")
	}
	return nil
}
