package audit_test

import (
	"errors"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
)

func TestListAndShow(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		db := storetest.Open(t, dsn)
		private, _ := newKey(t)
		log, stop := run(t, config(t, db.Audit(), private))
		start := time.Now()
		first, err := log.Intent(t.Context(), call())
		if err != nil {
			t.Fatal(err)
		}
		other := call()
		other.Service, other.Search, other.Operation = "mailer", "connection-2", "POST /2/tweets"
		other.Personal = map[string]string{"connection": "connection-2", "handle": "handle-2"}
		second, err := log.Intent(t.Context(), other)
		if err != nil {
			t.Fatal(err)
		}
		log.Outcome(first, audit.Entry{Verdict: "done", Status: 200, Bytes: 10})
		refusal := log.Refusal(audit.Entry{Action: "call", Service: "mailer", Rule: "publish/undeclared"})
		if err := log.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		all, err := audit.List(t.Context(), db.Audit(), audit.Filter{})
		if err != nil || len(all) != 4 {
			t.Fatalf("%d entries, %v; want 4", len(all), err)
		}
		outcome := all[2].ID
		for name, c := range map[string]struct {
			filter audit.Filter
			want   []string
		}{
			"all, the oldest first":    {audit.Filter{}, []string{first.ID(), second.ID(), outcome, refusal}},
			"the last two":             {audit.Filter{Last: 2}, []string{outcome, refusal}},
			"since then":               {audit.Filter{Since: start.Add(-time.Second)}, []string{first.ID(), second.ID(), outcome, refusal}},
			"since later":              {audit.Filter{Since: time.Now().Add(time.Second)}, nil},
			"of a service":             {audit.Filter{Service: "mailer"}, []string{second.ID(), refusal}},
			"the last of a service":    {audit.Filter{Service: "mailer", Last: 1}, []string{refusal}},
			"of an operation":          {audit.Filter{Operation: "POST /2/tweets"}, []string{second.ID()}},
			"of a connection":          {audit.Filter{Found: connection("person-1", "connection-1")}, []string{first.ID(), outcome}},
			"of another connection":    {audit.Filter{Found: connection("person-1", "connection-2")}, []string{second.ID()}},
			"of a handle":              {audit.Filter{Found: audit.Found{Hash: index, Person: "person-1", Kind: "handle", Value: "handle-2"}}, []string{second.ID()}},
			"of a person":              {audit.Filter{Found: audit.Found{Hash: index, Person: "person-1"}}, []string{first.ID(), second.ID(), outcome}},
			"the last of a person":     {audit.Filter{Last: 1, Found: audit.Found{Hash: index, Person: "person-1"}}, []string{outcome}},
			"of a person unheard":      {audit.Filter{Found: audit.Found{Hash: index, Person: "person-2"}}, nil},
			"of a connection unheard":  {audit.Filter{Found: connection("person-1", "connection-3")}, nil},
			"of nobody's connection":   {audit.Filter{Found: audit.Found{Hash: index, Connection: "connection-1"}}, nil},
			"of a verdict and service": {audit.Filter{Verdict: "refuse", Service: "scheduler"}, nil},
		} {
			got, err := audit.List(t.Context(), db.Audit(), c.filter)
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, e := range got {
				ids = append(ids, e.ID)
			}
			if diff := cmp.Diff(c.want, ids); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		pair, err := audit.Show(t.Context(), db.Audit(), first.ID())
		if err != nil || len(pair) != 2 || pair[1].ID != outcome || pair[1].Status != 200 || len(pair[0].Sealed) == 0 {
			t.Errorf("showing an intent: %+v, %v; want it with its outcome", pair, err)
		}
		intent := pair[0]
		for most, want := range map[int64]int{0: 0, pair[1].Seq - intent.Seq - 1: 0, pair[1].Seq - intent.Seq: 1, 1 << 30: 1} {
			outcome, more, err := audit.OutcomeOf(t.Context(), db.Audit(), &intent, most)
			if err != nil || len(outcome) != want || more != (want == 0) || want == 1 && outcome[0].ID != pair[1].ID {
				t.Errorf("among %d entries: %+v, %v, %v", most, outcome, more, err)
			}
		}
		lone := intent
		lone.ID = "nobody's"
		if outcome, more, err := audit.OutcomeOf(t.Context(), db.Audit(), &lone, 1<<30); err != nil || len(outcome) != 0 || more {
			t.Errorf("an intent without an outcome: %+v, %v, %v", outcome, more, err)
		}
		if alone, err := audit.Show(t.Context(), db.Audit(), refusal); err != nil || len(alone) != 1 {
			t.Errorf("showing a refusal: %+v, %v", alone, err)
		}
		if _, err := audit.Show(t.Context(), db.Audit(), "nothing"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("showing what is not there: %v", err)
		}
		if _, err := audit.List(t.Context(), db.Audit(), audit.Filter{Last: -1}); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("listing -1 entries: %v", err)
		}
	})
}
