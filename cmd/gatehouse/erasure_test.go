package main

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/cases"
	"gatehouse/internal/config"
	"gatehouse/internal/connect"
	"gatehouse/internal/outbox"
	"gatehouse/internal/records"
	"gatehouse/internal/wire"
)

const sealingConfig = `environment: development
public_url: http://127.0.0.1:8103
listen: {app: "127.0.0.1:0", public: "127.0.0.1:0"}
store: sqlite:gatehouse.db
root_key: file:root.key
purposes:
  support: {why: Answer people who write to us, keep: 720h}
services:
  web: {purposes: [support]}
`

// Who is erased by subject loses what was sealed for that subject, although there
// never was a connection.
func TestAnErasureReachesWhatWasSealedForASubject(t *testing.T) {
	p := assembled(t, sealingConfig)
	item := func(subject, data string) records.Item {
		return records.Item{Owner: records.Owner{Subject: gatehouse.Subject(subject)}, Purpose: "support", Values: []records.Value{{Label: "note", Data: []byte(data)}}}
	}
	items := []records.Item{item("user-7", "ada"), item("user-8", "bob")}
	// The rows that all of this leaves are those that the log explains.
	explained := func(records int64) {
		t.Helper()
		if err := p.log.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		report, err := p.reconcile.All(t.Context())
		if err != nil || len(report.Differences) > 0 {
			t.Errorf("reconciling: %+v, %v", report, err)
		}
		for _, c := range report.Counts {
			if c.Name == "records" && (c.Added != records || c.Least > records) {
				t.Errorf("the log says of records: %+v, want %d more", c, records)
			}
		}
	}
	explained(0)
	sealed, err := p.records.Seal(t.Context(), "web", items)
	if err != nil {
		t.Fatal(err)
	}
	for i := range items {
		items[i].Values = sealed[i].Values
		if _, _, err := p.records.Put(t.Context(), "web", item(string(items[i].Owner.Subject), "kept")); err != nil {
			t.Fatal(err)
		}
	}
	explained(2)
	people, err := p.people(t.Context(), connect.Who{Subject: "user-7"})
	if err != nil || len(people) != 1 {
		t.Fatalf("the people of the subject are %v, %v", people, err)
	}
	for range 2 { // a shredding that was interrupted is repeated
		if err := p.shredPerson(t.Context(), cases.Duty{Person: people[0]}); err != nil {
			t.Fatal(err)
		}
	}
	explained(-1)
	opened, err := p.records.Open(t.Context(), "web", items)
	if err != nil {
		t.Fatal(err)
	}
	if rule := wire.RuleOf(opened[0].Err); rule != "records/erased" || opened[1].Err != nil {
		t.Errorf("opening gives %v and %v, want the first erased and the second open", opened[0].Err, opened[1].Err)
	}
	for subject, want := range map[gatehouse.Subject]int{"user-7": 0, "user-8": 1} {
		list, _, _, err := p.records.List(t.Context(), "web", records.Owner{Subject: subject}, records.Key{}, 10)
		if err != nil || len(list) != want {
			t.Errorf("%s has %v, %v; want %d records", subject, list, err, want)
		}
	}
}

// assembled puts the parts of a configuration together until the test ends.
func assembled(t *testing.T, yaml string) *parts {
	t.Helper()
	cfg, _, err := config.Parse(t.TempDir()+"/gatehouse.yaml", []byte(yaml), resolver())
	if err != nil {
		t.Fatal(err)
	}
	if err := initialise(t.Context(), cfg, io.Discard); err != nil {
		t.Fatal(err)
	}
	p, err := assemble(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// sealedFor has something sealed for a subject and returns the person whose key it was.
func sealedFor(t *testing.T, p *parts, subject gatehouse.Subject) gatehouse.PersonID {
	t.Helper()
	item := records.Item{Owner: records.Owner{Subject: subject}, Purpose: "support", Values: []records.Value{{Label: "note", Data: []byte("ada")}}}
	if _, err := p.records.Seal(t.Context(), "web", []records.Item{item}); err != nil {
		t.Fatal(err)
	}
	people, err := p.people(t.Context(), connect.Who{Subject: subject})
	if err != nil || len(people) != 1 {
		t.Fatalf("the people of the subject are %v, %v", people, err)
	}
	return people[0]
}

// The person goes while a duty about them is being opened, or the process dies
// between destroying the key and noting anything: the duty can still be closed.
func TestADutyAboutSomebodyWhoIsGoneCanBeClosed(t *testing.T) {
	p := assembled(t, sealingConfig)
	person := sealedFor(t, p, "user-7")
	d, err := p.cases.Open(t.Context(), cases.Request{Kind: cases.Erasure, Origin: cases.FromApp, Person: person})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.shredPerson(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if _, err := p.cases.Answer(t.Context(), d.ID, "web"); err != nil {
		t.Fatal(err)
	}
	if d, err = p.cases.Advance(t.Context(), d.ID); err != nil || d.State(time.Now()) != cases.Done {
		t.Errorf("the duty is %+v, %v", d, err)
	}
}

// What was sealed for a subject can be erased by the services that answer for what
// belongs to no app, and by no others.
func TestOnlyWhoAnswersErasesWhatBelongsToNoApp(t *testing.T) {
	p := assembled(t, sealingConfig+"  batch: {purposes: [support]}\nevents: {services: [web]}\n")
	sealedFor(t, p, "user-7")
	who := connect.Who{Subject: "user-7"}
	if opened, err := p.eraseFor(t.Context(), "batch", who); wire.RuleOf(err) != "api/erase-app" || len(opened) > 0 {
		t.Errorf("a service that does not answer: %v, %v", opened, err)
	}
	if opened, err := p.eraseFor(t.Context(), "web", who); err != nil || len(opened) != 1 {
		t.Errorf("one that does: %v, %v", opened, err)
	}
}

// An event that is not there any more was delivered, unless it has been so long that
// it may have been a dead letter: then the app is asked anew, and nothing of the
// person is destroyed before it has heard whose data it is about.
func TestAnEventThatWasForgottenIsNotTakenForHeard(t *testing.T) {
	p := assembled(t, sealingConfig)
	person := sealedFor(t, p, "user-7")
	d := cases.Duty{ID: "dtytest", Kind: cases.Erasure, Person: person, Asked: time.Now().Add(-29 * 24 * time.Hour)}
	if heard, err := p.appHeard(t.Context(), d); err != nil || !heard {
		t.Errorf("after 29 days: %v, %v", heard, err)
	}
	d.Asked = d.Asked.Add(-2 * 24 * time.Hour)
	if heard, err := p.appHeard(t.Context(), d); err != nil || heard {
		t.Errorf("after 31 days: %v, %v", heard, err)
	}
	if again, err := p.outbox.State(t.Context(), eraseEventID(d)); err != nil || again.State != outbox.Waiting {
		t.Errorf("the event: %+v, %v", again, err)
	}
}
