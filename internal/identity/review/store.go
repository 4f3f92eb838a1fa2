package review

import (
	"context"
	"time"
)

// Store keeps everything of this package, in four parts. Every write is atomic and
// durable when it returns nil; all may be called concurrently, from several processes
// on one database.
type Store interface {
	ReviewStore
	EvidenceStore
	ItemStore
	ListStore
}

// ReviewStore keeps reviews.
type ReviewStore interface {
	// Begin stores a review with its items and the lists that they come from. If one is
	// not finished, it is ErrConflict.
	Begin(ctx context.Context, review Review, items []Item, lists []ReviewedList) error
	// Review returns one with its counts, or ErrNotFound; Reviews all, newest first.
	Review(ctx context.Context, id ID) (Review, error)
	Reviews(ctx context.Context) ([]Review, error)
	// Close makes an open review whose MAC was this closing, and its undecided items
	// lapsed, in one. Any other stays as it is.
	Close(ctx context.Context, was string, review Review) error
	// Discard removes a review that is not finished, with all that belongs to it.
	Discard(ctx context.Context, id ID) error
	// Remind counts the reminders of an open review.
	Remind(ctx context.Context, id ID, n int) error
}

// EvidenceStore keeps what is signed of reviews.
type EvidenceStore interface {
	// Sign keeps the evidence of a closing review; one that has some keeps that.
	Sign(ctx context.Context, id ID, evidence []byte) error
	// Evidence returns it, or ErrNotFound if there is none.
	Evidence(ctx context.Context, id ID) ([]byte, error)
	// Finish makes a closing review with evidence finished. One that is finished stays
	// as it is; any other is ErrConflict.
	Finish(ctx context.Context, id ID, at time.Time) error
}

// ItemStore keeps the rights of reviews.
type ItemStore interface {
	// Items returns those of a review in their order.
	Items(ctx context.Context, id ID) ([]Item, error)
	// Decide stores an item's decision in the place of that whose entry of the log was
	// this, empty for none: else it is ErrMeanwhile. In a review that is not open it is
	// ErrConflict.
	Decide(ctx context.Context, item Item, before string) error
	// Effect stores what was done about an item, unless it has an effect.
	Effect(ctx context.Context, item Item) error
	// OpenItems returns what is left to be done elsewhere, oldest first.
	OpenItems(ctx context.Context) ([]Item, error)
	// Resolve notes that an open item was seen gone.
	Resolve(ctx context.Context, id ID, number int, at time.Time) error
}

// ListStore keeps imported lists.
type ListStore interface {
	// PutList stores a list in the place of the system's one before.
	PutList(ctx context.Context, list List, access []Access) error
	// Lists returns what is imported, by system.
	Lists(ctx context.Context) ([]List, error)
	// Access returns a system's rights.
	Access(ctx context.Context, system string) ([]Access, error)
	// ReviewedLists returns the lists that a review was begun with, by system.
	ReviewedLists(ctx context.Context, id ID) ([]ReviewedList, error)
}
