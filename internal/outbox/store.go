package outbox

import (
	"context"
	"time"

	"gatehouse"
)

// Record is a stored event.
type Record struct {
	Seq    int64 // given by the store, in the order of insertion
	ID     string
	Type   string
	App    gatehouse.AppName
	Person gatehouse.PersonID
	Stream string
	// Data is the sealed content; nil once it is gone.
	Data    []byte
	State   State
	Created time.Time
	// Since is when it was put or last replayed: giving up counts from here.
	Since time.Time
	// Due is when it may next be taken for an attempt, which is also the end of
	// the lease of one under way. Zero while an earlier event of its stream waits,
	// and when it does not wait itself.
	Due      time.Time
	Attempts int
	Class    string
	Updated  time.Time
	// Version counts changes. It is the fence: who took an event saves what
	// became of it only if nobody took it since.
	Version int64
}

// Filter selects events, in the order of Seq. A zero field selects everything.
type Filter struct {
	State State
	App   gatehouse.AppName
	Type  string
	After int64 // Seq of the last event of the page before
	Limit int
}

// Store keeps events. Every method is one transaction that is durable when it
// returns nil; all may be called concurrently, from several processes. A missing
// row is gatehouse.ErrNotFound, a lost race gatehouse.ErrConflict.
//
// It keeps this invariant in every transaction: of the waiting events of one
// stream, exactly one has a Due, its head. The head is the earliest (least Seq)
// at the moment when the one before left; it stays the head until it leaves too,
// even if an earlier one is replayed meanwhile. Events without a stream always
// have a Due while they wait.
type Store interface {
	// AddEvent inserts an event, unless its id is there: then nothing changes.
	AddEvent(ctx context.Context, r Record) error
	// Event returns the event with that id.
	Event(ctx context.Context, id string) (Record, error)
	// Events returns those that f selects.
	Events(ctx context.Context, f Filter) ([]Record, error)
	// DueEvents returns up to limit events whose Due has come, the longest due
	// first.
	DueEvents(ctx context.Context, now time.Time, limit int) ([]Record, error)
	// SaveEvent replaces the row if it still has r's version; otherwise it is
	// ErrConflict. If the event's stream has no head then, it gets one, due at the
	// given time. A dead letter that is replayed in a stream is saved without a
	// Due, so that it does not become a second head.
	SaveEvent(ctx context.Context, r Record, now time.Time) error
	// ForgetPerson takes the content of a person's events away, and what leads
	// to the person (Person, Stream); those not delivered are dead, with that
	// class. It returns how many lost their content.
	ForgetPerson(ctx context.Context, person gatehouse.PersonID, class string, now time.Time) (int, error)
	// SweepEvents deletes up to limit delivered and dead events that have not
	// changed since the given times, and returns how many.
	SweepEvents(ctx context.Context, deliveredBefore, deadBefore time.Time, limit int) (int, error)

	SigningStore
}

// Signing is which version of the signing secret is in force.
type Signing struct {
	// Version counts from 1.
	Version int64
	// Overlap is until when the version before signs too; zero if it does not.
	Overlap time.Time
}

// SigningStore keeps the version of the signing secret, not the secret.
type SigningStore interface {
	// Signing returns the state, {1, never} before the first rotation.
	Signing(ctx context.Context) (Signing, error)
	// RotateSigning moves to the next version if the one in force is from;
	// otherwise it is ErrConflict.
	RotateSigning(ctx context.Context, from int64, overlap time.Time) error
}
