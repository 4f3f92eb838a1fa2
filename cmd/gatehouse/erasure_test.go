package main

import (
	"io"
	"log/slog"
	"testing"

	"gatehouse"
	"gatehouse/internal/cases"
	"gatehouse/internal/config"
	"gatehouse/internal/connect"
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
	cfg, _, err := config.Parse(t.TempDir()+"/gatehouse.yaml", []byte(sealingConfig), resolver())
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
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	item := func(subject, data string) records.Item {
		return records.Item{Owner: records.Owner{Subject: gatehouse.Subject(subject)}, Purpose: "support", Values: []records.Value{{Label: "note", Data: []byte(data)}}}
	}
	items := []records.Item{item("user-7", "ada"), item("user-8", "bob")}
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
	people, err := p.people(t.Context(), connect.Who{Subject: "user-7"})
	if err != nil || len(people) != 1 {
		t.Fatalf("the people of the subject are %v, %v", people, err)
	}
	for range 2 { // a shredding that was interrupted is repeated
		if err := p.shredPerson(t.Context(), cases.Duty{Person: people[0]}); err != nil {
			t.Fatal(err)
		}
	}
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
