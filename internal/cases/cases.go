// Package cases owns what must be done by a deadline: the duties that platforms,
// people, the app or an operator bring about, each with its clock and its proof.
//
// It promises that a duty is durable before whoever asked is answered; that every
// step is taken again until it has succeeded, whenever the process dies; that a
// duty which the app has not answered is overdue and never done; that asking twice
// is one duty; and that closing one leaves an entry in the log. What the steps do
// is bound from outside: it knows no token, no key and no platform.
//
// It must never keep what names a human, and never close a duty because time has
// passed.
package cases

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"
)

// Steps are what has to happen for a duty. Each may be called any number of times
// for one duty, also after it has succeeded, and by several processes at once.
type Steps struct {
	// Revoke cuts the person off here and has the platforms end their grants. It
	// reports whether every platform has confirmed; if not, it is asked again.
	Revoke func(ctx context.Context, d Duty) (confirmed bool, err error)
	// Ask makes the event durable that asks the app to delete its copy. It is
	// called for duties about people only: for content, whoever opens the duty has
	// what the event says.
	Ask func(ctx context.Context, d Duty) error
	// Heard reports whether the app has received that event.
	Heard func(ctx context.Context, d Duty) (bool, error)
	// Shred destroys what is held here about the person.
	Shred func(ctx context.Context, d Duty) error
}

// Config is what New needs.
type Config struct {
	Store Store
	Log   *audit.Log
	Steps Steps
	// Deadline returns how long a duty of a platform may take. Zero or a nil
	// function means DefaultDeadline.
	Deadline func(gatehouse.Platform) time.Duration
	// Logger receives what background work could not do; nil means nothing.
	Logger *slog.Logger
}

// DefaultDeadline is how long a duty may take by the rules of its platform. X
// demands that content goes within 24 hours of a request (Developer Policy,
// "Content compliance"). Meta names no number of days for a deletion request; a
// month is what the GDPR (Article 12(3)) allows, and our choice.
func DefaultDeadline(p gatehouse.Platform) time.Duration {
	if p == gatehouse.X {
		return 24 * time.Hour
	}
	return 30 * 24 * time.Hour
}

// Cases is the register of duties. It is safe for concurrent use.
type Cases struct {
	store    Store
	log      *audit.Log
	steps    Steps
	deadline func(gatehouse.Platform) time.Duration
	logger   *slog.Logger
	wake     chan struct{} // holds one when there is something to look at now
}

// New checks the configuration and returns the register.
func New(c Config) (*Cases, error) {
	if c.Store == nil || c.Log == nil || c.Steps.Revoke == nil || c.Steps.Ask == nil || c.Steps.Heard == nil || c.Steps.Shred == nil {
		return nil, errors.New("cases: Config lacks a store, a log or a step")
	}
	k := &Cases{store: c.Store, log: c.Log, steps: c.Steps, logger: c.Logger, wake: make(chan struct{}, 1)}
	if k.logger == nil {
		k.logger = slog.New(slog.DiscardHandler)
	}
	k.deadline = func(p gatehouse.Platform) time.Duration {
		if c.Deadline != nil {
			if own := c.Deadline(p); own > 0 {
				return own
			}
		}
		return DefaultDeadline(p)
	}
	return k, nil
}

// Request is what a new duty is about.
type Request struct {
	Kind     Kind
	Origin   Origin
	App      gatehouse.AppName
	Platform gatehouse.Platform
	Person   gatehouse.PersonID
	// Key, if not "", makes a second request with the same key the same duty.
	Key string
	// Since is when the clock began to run; zero means now.
	Since time.Time
}

// Open makes a duty durable and returns it. A person has one open duty: another
// request joins it, under the stronger word and the earlier deadline. A request
// about nobody who is known here is closed at once: there is nothing to delete,
// and whoever asked can still look it up.
func (c *Cases) Open(ctx context.Context, r Request) (Duty, error) {
	if err := r.validate(); err != nil {
		return Duty{}, err
	}
	now := time.Now()
	since := r.Since
	if since.IsZero() || since.After(now) {
		since = now
	}
	d := Duty{
		ID: "dty" + strings.ToLower(rand.Text()), Kind: r.Kind, Origin: r.Origin, App: r.App, Platform: r.Platform, Person: r.Person,
		Key: r.Key, Code: rand.Text(), Opened: now, Deadline: since.Add(c.deadline(r.Platform)), LookAt: now,
	}
	if d.Key == "" {
		d.Key = d.ID
	}
	if r.Kind != ContentRemoved && r.Person == "" {
		d.Closed, d.LookAt = now, time.Time{}
	}
	if refused, err := c.refusedBefore(ctx, r); err != nil || refused.ID != "" {
		return refused, err
	}
	for try := 1; ; try++ {
		known, err := c.store.OpenDuty(ctx, d)
		if errors.Is(err, gatehouse.ErrConflict) && try < 5 {
			continue // the one to join was closed before it could be read
		}
		if err != nil {
			return Duty{}, fmt.Errorf("opening a duty: %w", err)
		}
		if known.ID == d.ID {
			break
		}
		joined, err := c.join(ctx, known, d)
		if !errors.Is(err, gatehouse.ErrConflict) {
			return joined, err
		}
	}
	d.Version = 1
	// The row is what the duty consists in; an entry that is lost with this process
	// is made up for when it is closed.
	if _, err := c.record(ctx, "duty.open", d, "done"); err != nil {
		return Duty{}, err
	}
	c.Wake()
	return d, nil
}

// refusedBefore returns the duty about the same person that an operator has refused,
// if a platform asks again for the same or less: platforms repeat their notices, and
// what must be kept must not go because of one. The app and operators may still ask.
func (c *Cases) refusedBefore(ctx context.Context, r Request) (Duty, error) {
	if r.Person == "" || r.Origin != FromPlatform {
		return Duty{}, nil
	}
	refused, err := c.List(ctx, Filter{Person: r.Person, State: Refused})
	if err != nil {
		return Duty{}, fmt.Errorf("looking for refused duties: %w", err)
	}
	for _, d := range refused {
		if !r.Kind.outranks(d.Kind) {
			return d, nil
		}
	}
	return Duty{}, nil
}

// join lets a request join the duty that is there already.
func (c *Cases) join(ctx context.Context, known, request Duty) (Duty, error) {
	if !known.Closed.IsZero() || (!request.Kind.outranks(known.Kind) && !request.Deadline.Before(known.Deadline)) {
		return known, nil
	}
	if request.Kind.outranks(known.Kind) {
		known.Kind = request.Kind
	}
	if request.Deadline.Before(known.Deadline) {
		known.Deadline, known.LookAt = request.Deadline, time.Now()
	}
	if err := c.store.SaveDuty(ctx, known); err != nil {
		return Duty{}, err
	}
	known.Version++
	_, err := c.record(ctx, "duty.open", known, "done")
	return known, err
}

func (r Request) validate() error {
	invalid := func(what string) error { return fmt.Errorf("opening a duty: %s: %w", what, gatehouse.ErrInvalid) }
	switch {
	case rank[r.Kind] == 0 && r.Kind != ContentRemoved:
		return invalid("its kind is not known")
	case r.Origin == "":
		return invalid("it has no origin")
	case len(r.Key) > 200:
		return invalid("its key is too long")
	}
	return nil
}

// Wake has Run look at what is due at once.
func (c *Cases) Wake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Get returns a duty.
func (c *Cases) Get(ctx context.Context, id string) (Duty, error) {
	return known(c.store.Duty(ctx, id))
}

// ByCode returns the duty with a confirmation code.
func (c *Cases) ByCode(ctx context.Context, code string) (Duty, error) {
	return known(c.store.DutyByCode(ctx, code))
}

func known(d Duty, err error) (Duty, error) {
	if errors.Is(err, gatehouse.ErrNotFound) {
		return Duty{}, wire.Refuse(gatehouse.ErrNotFound, "duty/unknown", "There is no such duty.")
	}
	return d, err
}

// Filter selects duties. A zero field selects everything.
type Filter struct {
	App gatehouse.AppName
	// Person selects duties about one person.
	Person gatehouse.PersonID
	// State selects by State at Now; Now zero means the present.
	State State
	Now   time.Time
	// After is the id of the last duty of the page before.
	After string
	Limit int // zero means 100
}

// List returns duties, oldest first.
func (c *Cases) List(ctx context.Context, f Filter) ([]Duty, error) {
	if f.Now.IsZero() {
		f.Now = time.Now()
	}
	if f.Limit <= 0 {
		f.Limit = 100
	}
	return c.store.Duties(ctx, f)
}

// Answer takes the app's word, or an operator's for it, that its own copy is
// deleted. Repeating it is no error.
func (c *Cases) Answer(ctx context.Context, id, by string) (Duty, error) {
	return c.change(ctx, id, "duty.answer", func(d *Duty) (bool, error) {
		if !d.Closed.IsZero() || !d.Answered.IsZero() {
			return false, nil
		}
		now := time.Now()
		d.Answered, d.AnsweredBy, d.LookAt = now, by, now
		return true, nil
	})
}

// Refuse closes a duty without erasing anything, with a justification that the
// person who asked may read.
func (c *Cases) Refuse(ctx context.Context, id, justification string) (Duty, error) {
	if justification = strings.TrimSpace(justification); justification == "" || len(justification) > 500 || !utf8.ValidString(justification) {
		return Duty{}, wire.Refuse(gatehouse.ErrInvalid, "duty/justification", "A refusal needs a justification of at most 500 bytes, which the person may read.")
	}
	return c.change(ctx, id, "duty.refuse", func(d *Duty) (bool, error) {
		switch {
		case d.Justification == justification:
			return false, nil
		case !d.Closed.IsZero():
			return false, wire.Refuse(gatehouse.ErrConflict, "duty/closed", "This duty is closed already.")
		case !d.Shredded.IsZero():
			return false, wire.Refuse(gatehouse.ErrConflict, "duty/shredded", "What was held is destroyed already: there is nothing left to refuse.")
		}
		d.Justification, d.Closed, d.LookAt = justification, time.Now(), time.Time{}
		return true, nil
	})
}

// change applies an edit to a duty whatever else happens to it meanwhile, and
// records it.
func (c *Cases) change(ctx context.Context, id, action string, edit func(*Duty) (bool, error)) (Duty, error) {
	for {
		d, err := c.Get(ctx, id)
		if err != nil {
			return Duty{}, err
		}
		changed, err := edit(&d)
		if err != nil || !changed {
			return d, err
		}
		entry, err := c.record(ctx, action, d, "done")
		if err != nil {
			return Duty{}, err
		}
		if !d.Closed.IsZero() {
			d.Proof = entry
		}
		err = c.store.SaveDuty(ctx, d)
		if errors.Is(err, gatehouse.ErrConflict) {
			continue
		}
		if err != nil {
			return Duty{}, err
		}
		d.Version++
		c.Wake()
		return d, nil
	}
}

// record writes what the log says of a duty. Its id belongs to the person while there
// is one: the row of the duty leads to them. Once they are erased nothing can be sealed
// any more, and what is left is the kind, and the entry's id in the duty's row.
func (c *Cases) record(ctx context.Context, action string, d Duty, verdict string) (id string, err error) {
	e := audit.Entry{
		Action: action, Platform: d.Platform, App: d.App, Verdict: verdict,
		Facts: map[string]string{"kind": string(d.Kind), "origin": string(d.Origin)},
	}
	if d.Person == "" {
		e.Facts["duty"] = d.ID
		return c.log.Record(ctx, e)
	}
	if d.Shredded.IsZero() {
		e.Person, e.Personal = d.Person, map[string]string{"duty": d.ID}
		if id, err = c.log.Record(ctx, e); !errors.Is(err, gatehouse.ErrNotFound) {
			return id, err
		}
		e.Person, e.Personal = "", nil
	}
	return c.log.Record(ctx, e)
}
