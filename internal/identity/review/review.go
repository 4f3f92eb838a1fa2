// Package review owns access reviews: every right of every operator and service, and
// of whoever an imported list names, is asked for from time to time, with when it was
// last used; what nobody confirms in time ends.
//
// It promises that nobody decides about their own right, unless nobody else could; that
// a right that was not confirmed by the due date is ended, or, where it is not
// Gatehouse's to end, stays an open item until a list or the configuration shows that it
// is gone; that the last owner stays; that a process may die at any point of closing a
// review, and the next one comes to the same end; that the finished review is one signed
// document, which anybody can check with the log's public key alone.
//
// It must never say that something is removed that is not, never act on a list of
// another system, and never put a name of such a list into the log or an error.
package review

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/wire"

	"golang.org/x/mod/sumdb/note"
)

// What holds where the configuration says nothing.
const (
	DefaultDue    = 14 * 24 * time.Hour
	DefaultUnused = 90 * 24 * time.Hour
)

// LeastDue is the shortest time in which a review may be due: everybody whose rights
// are asked about has that long to notice.
const LeastDue = 24 * time.Hour

// DefaultShortest is the shortest time in which one may be due that no owner begins.
const DefaultShortest = 7 * 24 * time.Hour

// The bounds of what is taken in.
const (
	maxItems  = 50_000 // rights of one review
	maxReason = 500    // bytes of a reviewer's reason
)

// Config says what Reviews work with. It is copied and never changed.
type Config struct {
	// Store keeps reviews, lists and open items. Required.
	Store Store
	// Log records what is decided and done. Required.
	Log *audit.Log
	// Operators and Services are whose rights are reviewed, and where they end.
	// Required.
	Operators *operator.Directory
	Services  *identity.Directory
	// Environment stands in the evidence. Required.
	Environment gatehouse.Environment
	// Signer signs the evidence with the log's key. Required.
	Signer note.Signer
	// Checkpoint returns the newest signed checkpoint of the log, which covers what is
	// in the log by now. Required.
	Checkpoint func(context.Context) (string, error)
	// OperatorUsed returns when an operator did something last, by the log, since a
	// time; zero for nothing. Required.
	OperatorUsed func(ctx context.Context, id operator.AccountID, since time.Time) (time.Time, error)
	// RoleUsed returns when, by the log since a time, an operator last did what takes one
	// of some permissions, and when they were given the role; zero for not in that time.
	// Nil means that a role is used when its operator does anything.
	RoleUsed func(ctx context.Context, id operator.AccountID, g operator.Grant, of []operator.Permission, since time.Time) (used, given time.Time, err error)
	// Configured returns the rights that the configuration in force gives, with when
	// each was last used since a time; at zero, uses are not looked for. Required.
	Configured func(ctx context.Context, since time.Time) ([]Right, error)
	// Tell reminds of rights that wait to be decided; it is called again with the same
	// Reminder if what it did could not be noted. Nil tells nobody.
	Tell func(context.Context, Reminder) error
	// Every is how often a review begins by itself. Zero means never.
	Every time.Duration
	// Due is how long a review takes. Zero means DefaultDue.
	Due time.Duration
	// Shortest is how soon a review may be due that no owner begins: others' rights lapse
	// with it. Zero means DefaultShortest, or Due if that is sooner.
	Shortest time.Duration
	// Unused is how long a right may be unused before its removal is proposed. Zero
	// means DefaultUnused.
	Unused time.Duration
	// MaxEvidence bounds the evidence of a review, in bytes. Zero means the package's
	// MaxEvidence, which is what can be verified.
	MaxEvidence int
	// Reviewers are the roles that decide, among those that may. Empty means all.
	Reviewers []operator.Role
	// Logger gets what Run could not do. Nil drops it.
	Logger *slog.Logger
	// Now is the time. Nil means the machine's clock.
	Now func() time.Time
}

func (c *Config) validate() error {
	missing := ""
	switch {
	case c.Store == nil:
		missing = "Store"
	case c.Log == nil:
		missing = "Log"
	case c.Operators == nil:
		missing = "Operators"
	case c.Services == nil:
		missing = "Services"
	case c.Environment == "":
		missing = "Environment"
	case c.Signer == nil:
		missing = "Signer"
	case c.Checkpoint == nil:
		missing = "Checkpoint"
	case c.OperatorUsed == nil:
		missing = "OperatorUsed"
	case c.Configured == nil:
		missing = "Configured"
	}
	if missing != "" {
		return fmt.Errorf("review: Config.%s is missing: %w", missing, gatehouse.ErrInvalid)
	}
	if c.Due == 0 {
		c.Due = DefaultDue
	}
	if c.Unused == 0 {
		c.Unused = DefaultUnused
	}
	if c.Shortest == 0 {
		c.Shortest = min(DefaultShortest, c.Due)
	}
	if c.Shortest < LeastDue || c.Shortest > c.Due {
		return fmt.Errorf("review: Config.Shortest is from %s to Due: %w", LeastDue, gatehouse.ErrInvalid)
	}
	if c.MaxEvidence == 0 {
		c.MaxEvidence = MaxEvidence
	}
	if c.Due < LeastDue || c.Unused < 0 || c.Every < 0 || c.Every > 0 && c.Every <= c.Due {
		return fmt.Errorf("review: a review takes at least %s and ends before the next one begins: %w", LeastDue, gatehouse.ErrInvalid)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

// Reviews are the reviews of an installation. It is safe for concurrent use, also by
// several processes on one database: it keeps nothing in memory.
type Reviews struct{ config Config }

// New returns Reviews.
func New(config Config) (*Reviews, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	return &Reviews{config}, nil
}

func (r *Reviews) now() time.Time { return r.config.Now().UTC().Truncate(time.Microsecond) }

// ID is the random identifier of a review.
type ID string

// A State is how far a review has come.
type State string

// The states.
const (
	// Open is a review in which is decided.
	Open State = "open"
	// Closing is one whose decisions stand and are being carried out.
	Closing State = "closing"
	// Finished is one whose evidence is signed.
	Finished State = "finished"
)

// Review is one review.
type Review struct {
	ID    ID
	State State
	// Begun is when its rights were listed, By who asked for it: an account, "host", or
	// "gatehouse" for the schedule.
	Begun time.Time
	By    string
	// Due is when what was not confirmed lapses.
	Due time.Time
	// Since is the time before which a use does not count.
	Since time.Time
	// Closed is when its decisions stood, Finished when its evidence was signed; zero
	// before.
	Closed, Finished time.Time
	// Reminded counts the reminders.
	Reminded int
	// Lists is how many imported lists it was begun with.
	Lists  int
	Counts Counts
	// MAC is over what is decided when it begins and when it closes.
	MAC string
}

// Counts are how many rights a review has, by what became of them.
type Counts struct {
	Items     int `json:"items"`
	Proposed  int `json:"proposed_for_removal"`
	Undecided int `json:"undecided"`
	Confirmed int `json:"confirmed"`
	Removed   int `json:"removed"`
	Lapsed    int `json:"lapsed"`
	// Exceptions are rights that were to end and stay, each for a named reason.
	Exceptions int `json:"exceptions"`
	// OpenItems are those that have to be removed where Gatehouse does not, and were not
	// seen gone yet.
	OpenItems int `json:"open_items"`
}

// A Decision is what becomes of a right.
type Decision string

// The decisions. A right without one is undecided.
const (
	Confirmed Decision = "confirmed"
	Removed   Decision = "removed"
	// Lapsed is a right that nobody decided about.
	Lapsed Decision = "lapsed"
)

// An Effect is what was done about a right that is to end.
type Effect string

// The effects. An undecided or confirmed right has none.
const (
	// Ended: Gatehouse took it away.
	Ended Effect = "ended"
	// Gone: it was not there any more.
	Gone Effect = "gone"
	// LastOwner: it is the last owner's, who stays.
	LastOwner Effect = "last-owner"
	// InConfiguration: somebody has to take it out of the configuration.
	InConfiguration Effect = "configuration"
	// Outside: somebody has to take it away in the other system.
	Outside Effect = "outside"
)

// Item is one right in a review.
type Item struct {
	Review ID
	Number int // from 1, in the review's order
	Right
	// Proposed says that its removal is proposed, and Why.
	Proposed bool
	Why      string
	// Decision, and who made it when. By is as in Review. Own says that it was the
	// holder's own, since nobody else could decide. Entry is the log's.
	Decision Decision
	By       string
	Own      bool
	At       time.Time
	Reason   string
	Entry    string
	// Effect is what was done about it, and Done when; Resolved is when an open item
	// was seen gone.
	Effect         Effect
	Done, Resolved time.Time
	// MAC is over all of it but Resolved.
	MAC string
}

// The refusals.
var (
	ErrOpen    = wire.Refuse(gatehouse.ErrConflict, "review/open", "A review is under way. It has to be finished before the next one begins.")
	errUnknown = wire.Refuse(gatehouse.ErrNotFound, "review/unknown", "There is no such review.")
	errItem    = wire.Refuse(gatehouse.ErrNotFound, "review/item", "The review has no right of this number.")
	errClosed  = wire.Refuse(gatehouse.ErrConflict, "review/closed", "The review is closed: its decisions stand.")
	// ErrOwn means that somebody decided about their own right.
	ErrOwn         = wire.Refuse(gatehouse.ErrDenied, "review/own", "This is your own right. Another reviewer has to decide about it.")
	errReviewer    = wire.Refuse(gatehouse.ErrDenied, "review/reviewer", "The configuration leaves reviews to other roles than yours.")
	ErrUndecided   = wire.Refuse(gatehouse.ErrConflict, "review/undecided", "Some rights are undecided. Decide about them, or wait until the review is due: then they lapse.")
	errGuarded     = wire.Refuse(gatehouse.ErrConflict, "review/guarded", "A role that decides approvals is to end. That happens when the review is due, not before, so that its holders have time to object.")
	errNotFinished = wire.Refuse(gatehouse.ErrNotFound, "review/not-finished", "The review is not finished: there is no evidence yet.")
)

// Begin lists all rights and opens a review of them that is due after a time; zero is
// the configuration's. unused is as in Config, zero the configuration's.
func (r *Reviews) Begin(ctx context.Context, by operator.Actor, due, unused time.Duration) (Review, error) {
	if err := r.authorise(ctx, by); err != nil {
		return Review{}, err
	}
	if due == 0 {
		due = r.config.Due
	}
	if due < LeastDue || due > 366*24*time.Hour {
		return Review{}, fmt.Errorf("a review is due after a day to a year: %w", gatehouse.ErrInvalid)
	}
	if due < r.config.Shortest {
		switch err := r.config.Operators.Authorise(ctx, by, operator.OwnerChange); {
		case errors.Is(err, operator.ErrMay):
			return Review{}, wire.Refuse(gatehouse.ErrDenied, "review/short",
				"Only an owner begins a review that is due so soon. The configuration says how soon others' may be: reviews.shortest.")
		case err != nil:
			return Review{}, err
		}
	}
	return r.begin(ctx, by.Name(), due, unused)
}

func (r *Reviews) begin(ctx context.Context, by string, due, unused time.Duration) (Review, error) {
	if unused == 0 {
		unused = r.config.Unused
	}
	if unused < 0 {
		return Review{}, fmt.Errorf("the time without a use must be positive: %w", gatehouse.ErrInvalid)
	}
	at := r.now()
	review := Review{ID: ID(strings.ToLower(rand.Text())), State: Open, Begun: at, By: by, Due: at.Add(due), Since: at.Add(-unused).Truncate(time.Microsecond)}
	rights, lists, err := r.rights(ctx, at, review.Since)
	if err != nil {
		return Review{}, err
	}
	if len(rights) > maxItems {
		return Review{}, fmt.Errorf("there are %d rights, and a review has at most %d: %w", len(rights), maxItems, gatehouse.ErrLimited)
	}
	items := make([]Item, len(rights))
	proposed := 0
	for i, right := range rights {
		items[i] = Item{Review: review.ID, Number: i + 1, Right: right}
		if items[i].Why = right.unused(review.Since, at); items[i].Why != "" {
			items[i].Proposed = true
			proposed++
		}
		if err := r.sealItem(ctx, &items[i]); err != nil {
			return Review{}, err
		}
	}
	if size := evidenceBound(items); size > r.config.MaxEvidence-r.config.MaxEvidence/reasonsShare {
		return Review{}, wire.Refuse(gatehouse.ErrLimited, "review/large",
			"All rights together are too long for one signed document. Shorten the imported lists, or leave one out.")
	}
	reviewed, err := r.sealLists(ctx, review.ID, lists)
	if err != nil {
		return Review{}, err
	}
	review.Counts.Items, review.Lists = len(items), len(lists)
	if err := r.seal(ctx, &review); err != nil {
		return Review{}, err
	}
	if err := r.discard(ctx, by); err != nil {
		return Review{}, err
	}
	if err := r.config.Store.Begin(ctx, review, items, reviewed); errors.Is(err, gatehouse.ErrConflict) {
		return Review{}, ErrOpen
	} else if err != nil {
		return Review{}, fmt.Errorf("storing a review: %w", err)
	}
	// After it is stored: a review that did not come about is not in the log, and one
	// that died here is in its evidence.
	e := r.entry("review.start", review.ID, by)
	e.Facts["rights"], e.Facts["unused"], e.Facts["due"] = fmt.Sprint(len(items)), fmt.Sprint(proposed), review.Due.Format(time.RFC3339)
	if _, err := r.config.Log.Record(ctx, e); err != nil {
		return Review{}, fmt.Errorf("recording a review: %w", err)
	}
	return r.Review(ctx, review.ID)
}

// itself is Gatehouse, as who does something.
const itself = "gatehouse"

// entry is the beginning of an entry of the log.
func (r *Reviews) entry(action string, id ID, by string) audit.Entry {
	return audit.Entry{Action: action, Verdict: "done", Facts: map[string]string{"review": string(id), "operator": by}}
}

// Review returns a review with its counts.
func (r *Reviews) Review(ctx context.Context, id ID) (Review, error) {
	review, err := r.config.Store.Review(ctx, id)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return Review{}, errUnknown
	}
	if err != nil {
		return Review{}, fmt.Errorf("reading a review: %w", err)
	}
	ok, err := r.holds(ctx, review)
	if err == nil && !ok {
		err = ErrAltered
	}
	return review, err
}

// Reviews returns all reviews, newest first. One whose own row is altered has that
// state.
func (r *Reviews) Reviews(ctx context.Context) ([]Review, error) {
	list, err := r.config.Store.Reviews(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing reviews: %w", err)
	}
	for i, review := range list {
		ok, err := r.holds(ctx, review)
		if err != nil {
			return nil, err
		}
		if !ok {
			list[i].State = Altered
		}
	}
	return list, nil
}

// Items returns the rights of a review in their order.
func (r *Reviews) Items(ctx context.Context, id ID) ([]Item, error) {
	review, err := r.Review(ctx, id)
	if err != nil {
		return nil, err
	}
	return r.checked(ctx, review)
}

// OpenItems returns what is left to be done where Gatehouse does not, oldest first.
func (r *Reviews) OpenItems(ctx context.Context) ([]Item, error) {
	items, err := r.config.Store.OpenItems(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading open items: %w", err)
	}
	return items, nil
}
