package connect

import (
	"context"
	"time"

	"gatehouse"
)

// Store keeps attempts, connections and the index of people. Every method is
// one transaction that is durable when it returns nil. A missing row is
// gatehouse.ErrNotFound, a lost race gatehouse.ErrConflict.
type Store interface {
	// SaveAttempt inserts an attempt whose Version is 0 and otherwise replaces
	// the row if it still has that version. It returns the new version.
	SaveAttempt(ctx context.Context, a Attempt) (int64, error)
	// Attempt returns the attempt with that id.
	Attempt(ctx context.Context, id string) (Attempt, error)
	// AttemptByState returns the attempt whose StateHash this is.
	AttemptByState(ctx context.Context, stateHash string) (Attempt, error)
	// SweepAttempts deletes the attempts that expired before the given time.
	SweepAttempts(ctx context.Context, before time.Time) error

	// PersonOf returns the person known by the keyed hash of a platform's id.
	// When there is none and candidate is not "", candidate becomes that
	// person; of two that race, both calls return the same one.
	PersonOf(ctx context.Context, userHash string, candidate gatehouse.PersonID) (gatehouse.PersonID, error)

	// SaveConnections inserts the records whose Version is 0 and replaces the
	// others if each still has its version: all of them or none. Two redeemed
	// connections never stand for the same grant (app, service, person, subject,
	// kind, parent, external id): the second insertion is ErrConflict.
	SaveConnections(ctx context.Context, records ...Record) error
	// Connection returns the record with that id.
	Connection(ctx context.Context, id gatehouse.ConnectionID) (Record, error)
	// Connections returns the records that match f, oldest first.
	Connections(ctx context.Context, f Filter) ([]Record, error)
	// Due returns an app's records ("" means every app's) that need work at the
	// given time: those whose token should be renewed, those whose revocation the
	// platform has not confirmed, and pending ones nobody redeemed since
	// pendingBefore. Up to limit of each kind, the longest due, so that none of
	// the kinds waits for another to be worked off.
	Due(ctx context.Context, app gatehouse.AppName, now, pendingBefore time.Time, limit int) ([]Record, error)

	ImportStore
	PeopleStore
	HealthStore
	BrowseStore
}

// HealthStore keeps what is planned for a connection's health, and what the app
// was told of it. What ScheduleCheck, HastenCheck and SaveTelling change is not
// part of a record's version: they disturb no renewal, and a renewal does not
// disturb them. A Record that was read before may therefore show an older CheckAt.
type HealthStore interface {
	// DueChecks returns up to limit redeemed records whose CheckAt has come, the
	// longest due first.
	DueChecks(ctx context.Context, now time.Time, limit int) ([]Record, error)
	// ScheduleCheck moves a connection's CheckAt if it is still what it was. Of
	// several who try, one is told true.
	ScheduleCheck(ctx context.Context, id gatehouse.ConnectionID, was, at time.Time) (bool, error)
	// HastenCheck brings a planned check forward.
	HastenCheck(ctx context.Context, id gatehouse.ConnectionID, at time.Time) error
	// Untold returns up to limit redeemed connections whose state (see Health) is
	// not the one that was told, or whose telling was begun and not finished,
	// unless they are to rest until after now; the longest due first.
	Untold(ctx context.Context, now time.Time, limit int) ([]Untold, error)
	// SaveTelling replaces what is told if it is still what it was. Of several
	// who try, one is told true.
	SaveTelling(ctx context.Context, id gatehouse.ConnectionID, was, is Telling) (bool, error)
}

// Untold is a connection and what the app was told of it.
type Untold struct {
	Record
	Telling Telling
}

// Telling is how far the app has been told of a connection's state. SaveConnections
// counts the state in which a connection becomes redeemed as told: it is the answer
// to the app's own call.
type Telling struct {
	Told string    // the state that was told last; "" is none
	Now  string    // the state that is being told; "" is none
	Seq  int64     // the number of the last change that was begun
	At   time.Time // nobody else takes it up before
}

// Health is a record's state and cause as one text, by which changes are known.
func (r Record) Health() string { return string(r.Status) + "/" + string(r.Cause) }

// Filter selects connections. A zero field selects everything.
type Filter struct {
	Service     gatehouse.ServiceName
	App         gatehouse.AppName
	Status      Status
	Person      gatehouse.PersonID
	UserHash    string
	SubjectHash string
	Parent      gatehouse.ConnectionID
	// ExternalHash selects among the children of Parent.
	ExternalHash string
	// WithPending also selects connections that were never redeemed.
	WithPending bool
	// After is the id after which a page begins, in the order of creation.
	After gatehouse.ConnectionID
	// Limit is the greatest number of records; zero means 100.
	Limit int
}
