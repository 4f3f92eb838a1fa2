package stepup

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/wire"
)

// This file is for whoever runs Gatehouse: who has second factors, what is open, and
// taking factors away from somebody who has lost them.

// Holder is a person for whom a step-up was asked, as operators see them: how many
// factors there are, never one of them.
type Holder struct {
	Person gatehouse.PersonID
	// Subject is the app's own name of the person; "" in a list, and if it is not noted
	// yet, since the app has asked for nothing since names are noted.
	Subject gatehouse.Subject
	// Passkeys and TOTP count, RecoveryLeft are recovery codes; Blocked are passkeys
	// that seem to have been copied, and open nothing.
	Passkeys, TOTP, Blocked, RecoveryLeft int
	// Asked is when the app last asked for a step-up, Proved when a factor was last
	// proved.
	Asked, Proved time.Time
	// Open is how many step-ups have neither ended nor expired.
	Open int
}

// Factors is how many factors there are, with those that are blocked.
func (h Holder) Factors() int { return h.Passkeys + h.TOTP + h.Blocked }

// Open is a step-up that has neither ended nor expired. What it is for is the person's
// and the app's.
type Open struct {
	ID      string
	Person  gatehouse.PersonID
	Service gatehouse.ServiceName
	Stage   Stage
	// Enrolled is the kind of factor that was set up and does not count yet.
	Enrolled         Method
	Wrong            int
	Created, Expires time.Time
}

// Sums are figures about all people. Each stops at the bound that it was counted up to.
type Sums struct{ Open, Blocked int }

// Place is where a list of holders goes on.
type Place struct {
	Asked  time.Time
	Person gatehouse.PersonID
}

// IsZero reports whether it is the list's beginning.
func (p Place) IsZero() bool { return p.Person == "" }

// String returns the place as ParsePlace reads it, "" for the beginning.
func (p Place) String() string {
	if p.IsZero() {
		return ""
	}
	return strconv.FormatInt(p.Asked.UnixMicro(), 36) + "-" + string(p.Person)
}

// ParsePlace reads a place. What cannot be read is gatehouse.ErrInvalid.
func ParsePlace(text string) (Place, error) {
	if text == "" {
		return Place{}, nil
	}
	at, person, cut := strings.Cut(text, "-")
	micros, err := strconv.ParseInt(at, 36, 64)
	if err != nil || !cut || micros < 0 || !plainText(person, 1, 100) {
		return Place{}, wire.Refuse(gatehouse.ErrInvalid, "stepup/place", "This is no place in the list: begin at its first page.")
	}
	return Place{time.UnixMicro(micros).UTC(), gatehouse.PersonID(person)}, nil
}

// StoredHolder is a holder as the store knows them.
type StoredHolder struct {
	Holder
	// SubjectSealed is the sealed subject, nil if it is not noted.
	SubjectSealed []byte
}

// HolderStore answers about many people. now decides what has expired.
type HolderStore interface {
	// Holders returns the people for whom a step-up was asked, whoever was last first,
	// from behind a place on, at most limit.
	Holders(ctx context.Context, behind Place, limit int, now time.Time) ([]StoredHolder, error)
	// Holder returns one; gatehouse.ErrNotFound if there is none.
	Holder(ctx context.Context, person gatehouse.PersonID, now time.Time) (StoredHolder, error)
	// Opens returns the step-ups that are open, the newest first: a person's, or
	// everybody's if person is empty.
	Opens(ctx context.Context, person gatehouse.PersonID, limit int, now time.Time) ([]Open, error)
	// Sums counts up to a bound.
	Sums(ctx context.Context, most int, now time.Time) (Sums, error)
}

// Holders lists the people for whom a step-up was asked, whoever was last first, and
// where the list goes on: the zero place at its end. Whom the app calls them is not
// opened for a list.
func (s *Stepups) Holders(ctx context.Context, behind Place, limit int) ([]Holder, Place, error) {
	stored, err := s.c.Store.Holders(ctx, behind, limit+1, time.Now())
	if err != nil {
		return nil, Place{}, err
	}
	next := Place{}
	if len(stored) > limit {
		stored = stored[:limit]
		next = Place{stored[limit-1].Asked, stored[limit-1].Person}
	}
	out := make([]Holder, 0, len(stored))
	for _, one := range stored {
		out = append(out, one.Holder)
	}
	return out, next, nil
}

// opened is a holder with the subject that they go by.
func (s *Stepups) opened(ctx context.Context, h StoredHolder) (Holder, error) {
	if h.SubjectSealed == nil {
		return h.Holder, nil
	}
	plain, err := s.c.Keys.OpenPersonal(ctx, h.Person, subjectPlace, h.SubjectSealed)
	h.Subject = gatehouse.Subject(plain)
	return h.Holder, err
}

// Holder returns what one person has, their factors, the oldest first and without what
// they consist of, and the step-ups that are open. It is gatehouse.ErrNotFound for
// somebody for whom none was ever asked.
func (s *Stepups) Holder(ctx context.Context, person gatehouse.PersonID) (Holder, []Factor, []Open, error) {
	now := time.Now()
	stored, err := s.c.Store.Holder(ctx, person, now)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return Holder{}, nil, nil, errNoHolder
	}
	if err != nil {
		return Holder{}, nil, nil, err
	}
	h, err := s.opened(ctx, stored)
	if errors.Is(err, gatehouse.ErrNotFound) {
		err = errNoHolder
	}
	if err != nil {
		return Holder{}, nil, nil, err
	}
	factors, _, err := s.c.Store.Factors(ctx, person)
	if err != nil {
		return Holder{}, nil, nil, err
	}
	for i := range factors {
		factors[i].Sealed, factors[i].Step = nil, 0
	}
	open, err := s.c.Store.Opens(ctx, person, maxRequests, now)
	return h, factors, open, err
}

// Opens lists the step-ups that are open, the newest first.
func (s *Stepups) Opens(ctx context.Context, limit int) ([]Open, error) {
	return s.c.Store.Opens(ctx, "", limit, time.Now())
}

// Sums returns figures about all people, each at most most.
func (s *Stepups) Sums(ctx context.Context, most int) (Sums, error) {
	return s.c.Store.Sums(ctx, most, time.Now())
}

var (
	errNoHolder  = wire.Refuse(gatehouse.ErrNotFound, "stepup/no-holder", "No step-up was ever asked for this person: there is nothing to reset.")
	errNameless  = wire.Refuse(gatehouse.ErrConflict, "stepup/nameless", "Which of the app's users this is has not been noted yet, so the app could not be told. Name them: gatehouse stepup reset subject:NAME.")
	errNothing   = wire.Refuse(gatehouse.ErrConflict, "stepup/nothing", "This person has no factor and no step-up that is open: there is nothing to reset.")
	errNotTheirs = wire.Refuse(gatehouse.ErrConflict, "stepup/not-theirs", "This person is another of the app's users. Nothing was reset.")
)

// ResetHolder removes all that a person has, on an operator's order: for somebody who
// has lost it. Whether it is them who asks, the operator has to know. subject is the
// app's name of the person, whom the app is told about; empty means the one that is
// noted.
func (s *Stepups) ResetHolder(ctx context.Context, person gatehouse.PersonID, subject gatehouse.Subject) (int, error) {
	stored, err := s.c.Store.Holder(ctx, person, time.Now())
	if errors.Is(err, gatehouse.ErrNotFound) {
		return 0, errNoHolder
	}
	if err != nil {
		return 0, err
	}
	h, err := s.opened(ctx, stored)
	switch {
	case errors.Is(err, gatehouse.ErrNotFound):
		return 0, errNoHolder
	case err != nil:
		return 0, fmt.Errorf("opening who is meant: %w", err)
	case h.Factors()+h.RecoveryLeft+h.Open == 0:
		return 0, errNothing
	case subject == "":
		subject = h.Subject
	case h.Subject != "" && h.Subject != subject:
		return 0, errNotTheirs
	}
	if subject == "" {
		return 0, errNameless
	}
	return s.reset(ctx, "", person, subject)
}
