package cases

import (
	"context"
	"time"
)

// Store keeps duties. Every write is one transaction that is durable when it
// returns nil. A missing row is gatehouse.ErrNotFound, a lost race
// gatehouse.ErrConflict.
type Store interface {
	// OpenDuty stores a new duty and returns it; or, if there is one with the same
	// Key, or an open one about the same person, it stores nothing and returns that
	// one. Of two that race one is stored.
	OpenDuty(ctx context.Context, d Duty) (Duty, error)
	// SaveDuty replaces a duty if it still has the version of d.
	SaveDuty(ctx context.Context, d Duty) error
	// Duty returns the duty with that id.
	Duty(ctx context.Context, id string) (Duty, error)
	// DutyByCode returns the duty with that confirmation code.
	DutyByCode(ctx context.Context, code string) (Duty, error)
	// Duties returns the duties that match f, in the order in which they were opened.
	Duties(ctx context.Context, f Filter) ([]Duty, error)
	// DutiesToLookAt returns up to limit open duties whose LookAt is not after now.
	DutiesToLookAt(ctx context.Context, now time.Time, limit int) ([]Duty, error)
}
