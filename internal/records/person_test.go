package records_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/records"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"
)

// brokenLog is a log's store that can fail.
type brokenLog struct {
	audit.Store
	broken atomic.Bool
}

func (l *brokenLog) Append(ctx context.Context, expect audit.Head, b audit.Batch) error {
	if l.broken.Load() {
		return errInjected
	}
	return l.Store.Append(ctx, expect, b)
}

// An erasure as the code that does it goes about it: find the persons, destroy
// their keys, forget them.
func TestAnErasedPersonIsGone(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		sealed := w.seal(email("user-7", canary), email("user-8", canary))
		w.put(email("user-7", canary))
		w.put(email("user-8", canary))
		ada := w.person("user-7")
		if err := w.records.Forget(t.Context(), ada); !errors.Is(err, gatehouse.ErrConflict) {
			t.Errorf("Forget before the key is destroyed: %v, want ErrConflict", err)
		}
		w.opens(sealed[0], canary)

		if err := w.Vault.DestroyPerson(t.Context(), ada); err != nil {
			t.Fatal(err)
		}
		w.refused("records/erased", sealed[0])
		_, err := w.get("user-7", "notify", "email")
		wantRule(t, "Get", "records/erased", err)
		_, _, err = w.records.Put(t.Context(), "scheduler", email("user-7", canary))
		wantRule(t, "Put", "records/erased", err)
		if got := wire.StatusOf(err); got != 410 {
			t.Errorf("the status is %d", got)
		}
		v, err := w.records.Seal(t.Context(), "scheduler", []records.Item{email("user-7", canary)})
		if err != nil {
			t.Fatal(err)
		}
		wantRule(t, "Seal", "records/erased", v[0].Err)

		for range 2 { // repeating it is no error
			if err := w.records.Forget(t.Context(), ada); err != nil {
				t.Fatal(err)
			}
		}
		w.refused("records/erased", sealed[0])
		_, err = w.get("user-7", "notify", "email")
		wantRule(t, "Get", "records/unknown-record", err)
		if people, err := w.records.PersonsOfSubject(t.Context(), "user-7"); err != nil || len(people) != 0 {
			t.Errorf("PersonsOfSubject = %v, %v", people, err)
		}
		raw := storetest.OpenRaw(t, w.DSN)
		for _, table := range []string{"records", "record_subjects"} {
			if _, rows := raw.Query("SELECT 1 FROM "+table+" WHERE person = $1", string(ada)); len(rows) != 0 {
				t.Errorf("%s has %d rows of the person", table, len(rows))
			}
		}
		// The subject may come back as somebody new, for whom the old text is nothing.
		w.opens(w.seal(email("user-7", "new"))[0], "new")
		w.refused("records/unreadable", sealed[0])
		// The near miss.
		w.opens(sealed[1], canary)
		if got, err := w.get("user-8", "notify", "email"); err != nil || got != canary {
			t.Errorf("the other person's record: %q, %v", got, err)
		}
	})
}

// A record of somebody whose key is gone can still be deleted.
func TestARecordOfAnErasedPersonIsDeleted(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), connecttest.Options{})
	w.put(email("user-7", canary))
	if err := w.Vault.DestroyPerson(t.Context(), w.person("user-7")); err != nil {
		t.Fatal(err)
	}
	if err := w.records.Delete(t.Context(), "scheduler", of("user-7"), "notify", "email"); err != nil {
		t.Error(err)
	}
}

// An erasure while a record is being put leaves no record, in whatever order the
// two act.
func TestARecordPutDuringAnErasureIsNotLeft(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.seal(email("user-7", "x"))
		ada := w.person("user-7")
		s := &faulty{Store: w.DB.Records()}
		s.then = func() {
			s.then = nil
			// The erasure had deleted the records just before this one came.
			if err := w.Vault.DestroyPerson(t.Context(), ada); err != nil {
				t.Error(err)
			}
		}
		_, _, err := w.open(s).Put(t.Context(), "scheduler", email("user-7", canary))
		wantRule(t, "Put", "records/erased", err)
		if _, err := w.DB.Records().Record(t.Context(), records.Key{Person: ada, Purpose: "notify", Label: "email"}); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("the record is there: %v", err)
		}
	})
}

// Writes that fail, before or after they took effect, are repeated by asking
// again.
func TestWritesThatFailCanBeRepeated(t *testing.T) {
	for _, after := range []bool{false, true} {
		both(t, func(t *testing.T, w *world) {
			s := &faulty{Store: w.DB.Records(), before: !after, after: after}
			broken := w.open(s)
			item := email("user-7", canary)
			fails := func(what string, err error) {
				t.Helper()
				if !errors.Is(err, errInjected) {
					t.Errorf("%s: %v, want the fault", what, err)
				}
			}
			_, err := broken.Seal(t.Context(), "scheduler", []records.Item{item})
			fails("Seal", err)
			sealed := w.seal(item)[0]
			_, _, err = broken.Put(t.Context(), "scheduler", item)
			fails("Put", err)
			w.put(item)
			fails("Delete", broken.Delete(t.Context(), "scheduler", of("user-7"), "notify", "email"))
			if err := w.records.Delete(t.Context(), "scheduler", of("user-7"), "notify", "email"); after != (wire.RuleOf(err) == "records/unknown-record") {
				t.Errorf("Delete again: %v", err)
			}
			w.opens(sealed, canary)
			w.put(item)
			ada := w.person("user-7")
			if err := w.Vault.DestroyPerson(t.Context(), ada); err != nil {
				t.Fatal(err)
			}
			fails("Forget", broken.Forget(t.Context(), ada))
			if err := w.records.Forget(t.Context(), ada); err != nil {
				t.Error(err)
			}
			w.refused("records/erased", sealed)
			for _, e := range w.entries("record.put") {
				if e.Kind == audit.KindOutcome && e.Verdict != "failed" && e.Verdict != "done" {
					t.Errorf("an outcome is %s", e.Verdict)
				}
			}
		})
	}
}

// Neither data nor subjects stand in the raw database, its write-ahead log or an
// error.
func TestNoPlaintextInStoreOrErrors(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), connecttest.Options{})
	const subject = "canary-subject-77"
	fields := email(subject, `"`+canary+`"`)
	fields.Values[0].JSON = true
	sealed := w.seal(email(subject, canary), fields)
	w.put(email(subject, canary))
	w.opens(sealed[0], canary)
	if _, err := w.get(subject, "notify", "email"); err != nil {
		t.Fatal(err)
	}
	wrong := sealed[0]
	wrong.Values = []records.Value{{Label: "email", Data: []byte("gth_sealed_1_" + canary + strings.Repeat("A", 100))}}
	v, err := w.records.Open(t.Context(), "scheduler", []records.Item{wrong, {Owner: of(subject + "\x00"), Purpose: "notify", Values: sealed[0].Values}})
	if err != nil {
		t.Fatal(err)
	}
	search := func(where string, text []byte) {
		t.Helper()
		for _, needle := range []string{canary, subject} {
			if bytes.Contains(text, []byte(needle)) {
				t.Errorf("%s holds %s", where, needle)
			}
		}
	}
	for i, verdict := range v {
		if verdict.Err == nil {
			t.Errorf("item %d is not refused", i)
		}
		search("an error", fmt.Appendf(nil, "%v %+v", verdict.Err, wire.ProblemOf(verdict.Err)))
	}
	if err := w.Log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(strings.TrimPrefix(w.DSN, "sqlite:") + "*")
	if err != nil || len(files) < 2 {
		t.Fatalf("files of the store: %v, %v", files, err)
	}
	found := false
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		search(filepath.Base(file), content)
		found = found || bytes.Contains(content, []byte("notify"))
	}
	if !found {
		t.Error("the files do not even hold the purpose: this test looks in the wrong place")
	}
}
