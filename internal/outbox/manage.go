package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"
)

// Selection selects events for List. A zero field selects everything.
type Selection struct {
	State State
	App   gatehouse.AppName
	Type  string
	// After is the Seq of the last event of the page before.
	After int64
	Limit int // zero means 100, at most 1000
}

// State returns what became of an event: ErrNotFound when it is not known, or
// not any more.
func (o *Outbox) State(ctx context.Context, id string) (Delivery, error) {
	rec, err := o.event(ctx, id)
	return viewOf(rec), err
}

func (o *Outbox) event(ctx context.Context, id string) (Record, error) {
	rec, err := o.config.Store.Event(ctx, id)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return Record{}, wire.Refuse(gatehouse.ErrNotFound, "events/unknown-event", "there is no such event, or it was delivered days ago")
	}
	if err != nil {
		return Record{}, fmt.Errorf("reading an event: %w", err)
	}
	return rec, nil
}

// List returns events in the order in which they were put.
func (o *Outbox) List(ctx context.Context, s Selection) ([]Delivery, error) {
	if s.Limit <= 0 {
		s.Limit = 100
	}
	records, err := o.config.Store.Events(ctx, Filter{State: s.State, App: s.App, Type: s.Type, After: s.After, Limit: min(s.Limit, 1000)})
	if err != nil {
		return nil, fmt.Errorf("listing events: %w", err)
	}
	list := make([]Delivery, len(records))
	for i, rec := range records {
		list[i] = viewOf(rec)
	}
	return list, nil
}

// Replay returns a dead letter to the waiting events, as if it had been put now:
// it is tried at once, or as the next of its stream, which has gone on
// meanwhile. An event that waits is tried at once. A delivered one, or one
// without content, is ErrConflict.
func (o *Outbox) Replay(ctx context.Context, id string) error {
	rec, err := o.event(ctx, id)
	if err != nil {
		return err
	}
	switch {
	case rec.State == Delivered:
		return wire.Refuse(gatehouse.ErrConflict, "events/delivered", "the event was delivered, and its content is gone")
	case rec.Data == nil:
		return wire.Refuse(gatehouse.ErrConflict, "events/erased", "the event's content was erased with the person; there is nothing to send")
	case rec.State == Waiting && rec.Class == ClassInterrupted && rec.Due.After(time.Now()):
		return wire.Refuse(gatehouse.ErrConflict, "events/under-way", "an attempt is under way; look again in a moment")
	case rec.State == Waiting && rec.Due.IsZero():
		return wire.Refuse(gatehouse.ErrConflict, "events/not-its-turn", "an earlier event of its stream waits; replay that one")
	}
	receipt, err := o.config.Log.Intent(ctx, audit.Entry{
		Action: "event.replay", App: rec.App, Person: rec.Person, Personal: named(rec),
		Facts: map[string]string{"type": rec.Type, "attempts": fmt.Sprint(rec.Attempts), "class": rec.Class},
	})
	if err != nil {
		return err
	}
	now := time.Now()
	rec.Updated = now
	if rec.State == Dead {
		rec.Since, rec.Attempts = now, 0
	}
	// A dead letter of a stream gets its turn from the store.
	if rec.State == Waiting || rec.Stream == "" {
		rec.Due = now
	}
	rec.State = Waiting
	err = o.config.Store.SaveEvent(ctx, rec, now)
	o.config.Log.Outcome(receipt, outcome(err))
	if err != nil {
		return fmt.Errorf("replaying an event: %w", err)
	}
	o.look()
	return nil
}

// Forget takes the content of all events of a person away. Those that were not
// delivered never will be; a row without content and without a name of the
// person stays until it is swept. It needs no log entry, as it gives nothing
// away; erasing a person is recorded by who does it. Repeating it changes
// nothing.
func (o *Outbox) Forget(ctx context.Context, person gatehouse.PersonID) error {
	if person == "" {
		return fmt.Errorf("forgetting a person's events: no person is named: %w", gatehouse.ErrInvalid)
	}
	if _, err := o.config.Store.ForgetPerson(ctx, person, ClassErased, time.Now()); err != nil {
		return fmt.Errorf("forgetting a person's events: %w", err)
	}
	o.look()
	return nil
}
