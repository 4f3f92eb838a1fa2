package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"gatehouse"
	"gatehouse/internal/api"
	"gatehouse/internal/cases"
	"gatehouse/internal/connect"
	"gatehouse/internal/notice"
	"gatehouse/internal/outbox"
	"gatehouse/internal/public"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

// This file binds what must happen to a person's data to the parts that hold it.

// openDuties puts the register of duties and the taker of notices together.
func (p *parts) openDuties() error {
	var err error
	p.cases, err = cases.New(cases.Config{
		Store: p.db.Cases(), Log: p.log, Logger: p.logger, Deadline: p.deadline,
		Steps: cases.Steps{Revoke: p.revokePerson, Ask: p.askApp, Heard: p.appHeard, Shred: p.shredPerson},
	})
	if err != nil {
		return err
	}
	p.notices, err = notice.New(notice.Config{
		Store: p.db.Notices(), Connections: p.connect, Cases: p.cases, Log: p.log,
		Forward: p.forward, Recheck: p.connect.CheckSoon,
		StatusURL: func(code string) string { return p.connect.PublicURL() + public.DeletionPath + code },
	})
	return err
}

// deadline is how long a duty of a platform may take by the configuration.
func (p *parts) deadline(platform gatehouse.Platform) time.Duration {
	switch platform {
	case gatehouse.X:
		return p.cfg.Duties.X
	case gatehouse.Facebook, gatehouse.Instagram, gatehouse.Threads:
		return p.cfg.Duties.Meta
	}
	return p.cfg.Duties.Other
}

// dutyReasons say in a connection's row why it ended.
var dutyReasons = map[cases.Kind]string{
	cases.Deauthorized:      "the person removed the app at the platform",
	cases.DeletionRequested: "the person asked for the deletion of their data",
	cases.Erasure:           "the person is being erased",
}

func (p *parts) revokePerson(ctx context.Context, d cases.Duty) (bool, error) {
	return p.connect.EndPerson(ctx, d.Person, dutyReasons[d.Kind])
}

// eraseEvent is the event that asks the app to delete its own copy. It names the
// person in every way that the app may know them by.
type eraseEvent struct {
	Duty        string                   `json:"duty"`
	Kind        cases.Kind               `json:"kind"`
	Deadline    time.Time                `json:"deadline"`
	Subjects    []gatehouse.Subject      `json:"subjects"`
	Accounts    []eraseAccount           `json:"accounts"`
	Connections []gatehouse.ConnectionID `json:"connections"`
}

type eraseAccount struct {
	App      gatehouse.AppName  `json:"app"`
	Platform gatehouse.Platform `json:"platform"`
	User     string             `json:"platform_user"`
}

func (p *parts) askApp(ctx context.Context, d cases.Duty) error {
	known, err := p.connect.Known(ctx, d.Person)
	if err != nil {
		return err
	}
	e := eraseEvent{
		Duty: d.ID, Kind: d.Kind, Deadline: d.Deadline.UTC(), Subjects: known.Subjects(), Accounts: []eraseAccount{},
		Connections: []gatehouse.ConnectionID{},
	}
	if e.Subjects == nil {
		e.Subjects = []gatehouse.Subject{}
	}
	for _, c := range known.Connections {
		e.Connections = append(e.Connections, c.ID)
		if account := (eraseAccount{c.App, c.Platform, c.PlatformUser}); c.PlatformUser != "" && !slices.Contains(e.Accounts, account) {
			e.Accounts = append(e.Accounts, account)
		}
	}
	err = p.tell(ctx, outbox.Event{ID: eraseEventID(d), Type: "person.erase", App: d.App, Person: d.Person, Stream: string(d.Person)}, e)
	if errors.Is(err, vault.ErrErased) {
		// The key went before this could be noted: by this duty, after it had asked,
		// or by another one. Nobody can be named any more, and the duty must go on.
		return nil
	}
	return err
}

func eraseEventID(d cases.Duty) string { return "erase-" + d.ID }

// tell puts an event with its content before the app.
func (p *parts) tell(ctx context.Context, e outbox.Event, content any) error {
	data, err := json.Marshal(content)
	if err != nil {
		return err
	}
	e.Data = data
	return p.outbox.Put(ctx, e)
}

// appHeard reports whether the app has received the event that asks it.
func (p *parts) appHeard(ctx context.Context, d cases.Duty) (bool, error) {
	delivery, err := p.outbox.State(ctx, eraseEventID(d))
	if errors.Is(err, gatehouse.ErrNotFound) {
		// Forgotten since: as delivered, if it was too early to forget a dead letter.
		// If not, it may be one, and asking twice is better than never.
		if d.Asked.IsZero() || time.Since(d.Asked) < outbox.DefaultKeepDead {
			return !d.Asked.IsZero(), nil
		}
		return false, p.askApp(ctx, d)
	}
	return delivery.State == outbox.Delivered, err
}

// people returns the people whom who names: those of connections, and for a subject
// the one whose key seals what the app has about it beside them.
func (p *parts) people(ctx context.Context, who connect.Who) ([]gatehouse.PersonID, error) {
	people, err := p.connect.People(ctx, who)
	if err != nil || who.Subject == "" {
		return people, err
	}
	sealed, err := p.records.PersonsOfSubject(ctx, who.Subject)
	return append(people, sealed...), err
}

// shredPerson destroys what is held of a person, and has the ledger of erasures
// say so wherever it is kept. It is written down first, so that no backup holds the
// person without a restore knowing; the destruction does not wait for directories
// that cannot be reached, but the duty does, since until then a restore elsewhere
// would not know.
func (p *parts) shredPerson(ctx context.Context, d cases.Duty) error {
	if err := p.ledger.Add(ctx, d.Person); err != nil {
		return err
	}
	// While the duty waits for a directory, it comes back every half minute: once
	// in a process is enough, and each time leaves an entry in the log.
	if _, done := p.destroyed.Load(d.Person); !done {
		if err := p.destroyPerson(ctx, d.Person); err != nil {
			return err
		}
		p.destroyed.Store(d.Person, true)
	}
	if err := p.ledger.Ship(ctx); err != nil {
		return err
	}
	p.destroyed.Delete(d.Person)
	return nil
}

// destroyPerson destroys what is held of a person: what waits to be sent first, what
// leads from flows to the person, then the key and everything under it, then the
// factors and records that it sealed, and what entries of the log are found by. It may be repeated.
func (p *parts) destroyPerson(ctx context.Context, person gatehouse.PersonID) error {
	if err := p.outbox.Forget(ctx, person); err != nil {
		return err
	}
	// While what leads from the person to their hashes is still there.
	if err := p.lineage.Erase(ctx, person); err != nil {
		return err
	}
	if err := p.connect.ErasePerson(ctx, person); err != nil {
		return err
	}
	if err := p.stepup.Forget(ctx, person); err != nil {
		return err
	}
	if err := p.records.Forget(ctx, person); err != nil {
		return err
	}
	// The rows of connections say whose they were also after they are erased.
	known, err := p.connect.ConnectionsOf(ctx, person)
	if err != nil {
		return err
	}
	return p.log.ForgetPerson(ctx, person, known...)
}

// forward puts a platform's notice before the app.
func (p *parts) forward(ctx context.Context, f notice.Forwarded) error {
	return p.outbox.Put(ctx, outbox.Event{ID: f.ID, Type: "platform.event", App: f.App, Person: f.Person, Stream: f.Stream, Data: f.Data})
}

// healthEvent tells the app of a change of a connection's state.
type healthEvent struct {
	Connection  gatehouse.ConnectionID  `json:"connection"`
	App         gatehouse.AppName       `json:"app"`
	Platform    gatehouse.Platform      `json:"platform"`
	Kind        connect.Kind            `json:"kind"`
	Subject     gatehouse.Subject       `json:"subject,omitempty"`
	Status      connect.Status          `json:"status"`
	Previous    connect.Status          `json:"previous,omitempty"`
	Cause       connect.Cause           `json:"cause,omitempty"`
	Reason      string                  `json:"reason,omitempty"`
	Next        string                  `json:"next_step,omitempty"`
	Purposes    []gatehouse.PurposeName `json:"purposes"`
	Declined    []string                `json:"declined,omitempty"`
	DataExpires time.Time               `json:"data_access_expires_at,omitzero"`
}

// tellHealth puts a change of a connection's state before the app.
func (p *parts) tellHealth(ctx context.Context, change connect.HealthChange) error {
	v := change.Connection
	e := outbox.Event{ID: "health-" + change.ID, Type: "connection.health", App: v.App, Person: v.Person, Stream: string(v.ID)}
	if v.Status == connect.Erased {
		e.Person = "" // the key that would seal it is gone, and so is what it would seal
	}
	return p.tell(ctx, e, healthEvent{
		Connection: v.ID, App: v.App, Platform: v.Platform, Kind: v.Kind, Subject: v.Subject, Status: v.Status, Previous: change.Previous,
		Cause: v.Cause, Reason: v.Reason, Next: v.Next, Purposes: v.Purposes, Declined: v.Declined, DataExpires: v.DataAccessExpires,
	})
}

// mayAnswer reports whether a service may see and answer the duties of an app: one
// that is declared to receive events, or where none is, one of whose purposes uses
// the app. What belongs to no app is for those who receive events.
func (p *parts) mayAnswer(service gatehouse.ServiceName, app gatehouse.AppName) bool {
	cfg := p.inForce.Load().cfg
	if len(cfg.Events.Services) > 0 {
		return slices.Contains(cfg.Events.Services, service)
	}
	return slices.ContainsFunc(p.purposesOf(service), func(purpose api.Purpose) bool { return purpose.App == app })
}

// eraseFor opens a duty for each person whom a service names.
func (p *parts) eraseFor(ctx context.Context, service gatehouse.ServiceName, who connect.Who) ([]cases.Duty, error) {
	return p.erase(ctx, cases.FromApp, who, func(app gatehouse.AppName) error {
		if p.mayAnswer(service, app) {
			return nil
		}
		return wire.Refuse(gatehouse.ErrDenied, "api/erase-app", "This person has a grant of an app for whose duties this service does not answer: let a service that does ask.")
	})
}

// erase opens a duty for each person whom who names; see eraseAll.
func (p *parts) erase(ctx context.Context, origin cases.Origin, who connect.Who, may func(gatehouse.AppName) error) ([]cases.Duty, error) {
	people, err := p.people(ctx, who)
	if err != nil {
		return nil, err
	}
	return p.eraseAll(ctx, origin, people, may)
}

// eraseAll opens a duty for each of the people, and cuts them off. may is asked about
// every app of every person before anything is opened, and about none ("") for one
// who has no connection. Of a person who is erased already the duties are returned
// that did it.
func (p *parts) eraseAll(ctx context.Context, origin cases.Origin, people []gatehouse.PersonID, may func(gatehouse.AppName) error) ([]cases.Duty, error) {
	var opened []cases.Duty
	requests := make([]cases.Request, 0, len(people))
	for _, person := range people {
		known, err := p.connect.Known(ctx, person)
		if err != nil {
			return nil, err
		}
		if len(known.Connections) == 0 { // what was sealed for a subject belongs to no app
			if err := may(""); err != nil {
				return nil, err
			}
		}
		gone := len(known.Connections) > 0
		r := cases.Request{Kind: cases.Erasure, Origin: origin, Person: person}
		for i, c := range known.Connections {
			if err := may(c.App); err != nil {
				return nil, err
			}
			// The platform with the shortest deadline decides.
			if i == 0 || c.Platform == gatehouse.X {
				r.App, r.Platform = c.App, c.Platform
			}
			gone = gone && c.Status == connect.Erased
		}
		if gone {
			// Asked again: nothing is left that a new duty could be about, and nobody
			// could be told whom it means. What it came to is the answer.
			earlier, err := p.cases.List(ctx, cases.Filter{Person: person})
			if err != nil {
				return nil, err
			}
			opened = append(opened, earlier...)
			continue
		}
		requests = append(requests, r)
	}
	for _, r := range requests {
		d, err := p.cases.Open(ctx, r)
		if err != nil {
			return opened, fmt.Errorf("opening the duty of one person: %w", err)
		}
		// What a platform does not confirm at once is asked again by 'run'.
		if advanced, err := p.cases.Advance(ctx, d.ID); err == nil {
			d = advanced
		} else if gatehouse.Kind(err) == nil {
			return opened, err
		}
		opened = append(opened, d)
	}
	return opened, nil
}
