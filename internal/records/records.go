// Package records owns what the app entrusts to Gatehouse beside tokens: its own
// data about people, sealed as texts that the app keeps in its own database, or
// kept here as records.
//
// It promises that what was sealed for a person, a purpose and a label opens for
// these only, in this environment, until its time is over; that a service seals
// and opens for purposes that it may use now; that every opening has an intent
// in the log before it and an outcome behind it; and that with a person's key
// everything of that person is gone. Nothing that it returns, stores in clear or
// logs in clear leads from one sealed text to another of the same person. It must
// never put a value or a subject into an error, and never decide which service is
// asking.
package records

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

const (
	// MaxValues is how many values one request may hold, over all of its items.
	MaxValues = 100
	// MaxValue is the greatest size of one value in bytes.
	MaxValue = 1 << 20
	// DefaultSweep is how often Run looks for records whose time is over.
	DefaultSweep = 10 * time.Minute
	// maxLife bounds an expiry that is asked for, so that times stay in range.
	maxLife = 100 * 365 * 24 * time.Hour
)

// Config is what New needs.
type Config struct {
	// Store keeps the subjects' persons and the records. Required.
	Store Store
	// Vault holds the people's keys. Required.
	Vault *vault.Vault
	// Log gets an entry for each sealing and opening. Required.
	Log *audit.Log
	// May reports whether a service may use a purpose now; what the configuration
	// in force does not declare, nobody may. Required.
	May func(gatehouse.ServiceName, gatehouse.PurposeName) bool
	// Keeps returns the declared purposes and how long each keeps data; zero is no
	// bound. Required.
	Keeps func() map[gatehouse.PurposeName]time.Duration
	// Every is how often Run sweeps; zero means DefaultSweep.
	Every time.Duration
	// Logger gets what the sweep has to report; nil discards it.
	Logger *slog.Logger
}

// Records seals, opens and keeps. It is safe for concurrent use.
type Records struct{ Config }

// New returns the records of a store.
func New(c Config) (*Records, error) {
	if c.Store == nil || c.Vault == nil || c.Log == nil || c.May == nil || c.Keeps == nil {
		return nil, errors.New("records: Config lacks store, vault, log, may or keeps")
	}
	if c.Every == 0 {
		c.Every = DefaultSweep
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Records{c}, nil
}

// A Value is one piece of data with the label that it is bound to.
type Value struct {
	// Label names the kind of thing, such as email; it stands in clear beside a
	// record, so it must not be about the person.
	Label string
	// JSON says that the data is a JSON text rather than any bytes. What was sealed
	// as one does not open as the other.
	JSON bool
	// Data is the plaintext, or the sealed text where one is opened.
	Data []byte
}

// form is Value.JSON as a part of a place.
func (v Value) form() string {
	if v.JSON {
		return "json"
	}
	return "bytes"
}

// An Item is values of one person, for one purpose.
type Item struct {
	Owner   Owner
	Purpose gatehouse.PurposeName
	Values  []Value
	// Life is how long what is sealed may be opened; zero means as long as the
	// purpose keeps data. Opening does not use it.
	Life time.Duration
}

// A Verdict is what became of an Item: Err is the refusal, or else Values are in
// the item's order.
type Verdict struct {
	Values []Value
	// Expires is when what was sealed ends; the zero time is never.
	Expires time.Time
	Err     error
}

// What is refused.
var (
	errPurpose = wire.Refuse(gatehouse.ErrDenied, "records/purpose",
		"This service may not use that purpose; those it may use are in /gatehouse/v1/me.")
	errUnreadable = wire.Refuse(gatehouse.ErrInvalid, "records/unreadable",
		"This does not open: it was changed or cut, or it was sealed for another person, purpose, label or environment, or in the other form (data, fields).")
	errErased = gone("records/erased",
		"There is no key for this person: it was destroyed, or nothing was ever sealed for them. What was sealed under it cannot be read again.")
	errExpired  = gone("records/expired", "The time for which this was sealed, or for which its purpose keeps data, is over.")
	errUnusable = wire.Refuse(gatehouse.ErrDenied, "records/key-unusable",
		"The key of this person is out of use at the moment: it was disabled, or is waiting to be destroyed.")
	errChanged = wire.Refuse(gatehouse.ErrConflict, "records/changed", "The record was put again at this moment and was not deleted; ask again if it should be.")
	errUnknown = wire.Refuse(gatehouse.ErrNotFound, "records/unknown-record", "There is no such record of this person.")
)

// statusGone tells a caller that trying again will never help.
const statusGone = 410

func gone(rule, detail string) error {
	return wire.WithStatus(wire.Refuse(gatehouse.ErrNotFound, rule, detail), statusGone)
}

func invalid(rule, detail string) error { return wire.Refuse(gatehouse.ErrInvalid, rule, detail) }

// labelForm is short enough that a label in an error can hardly be a credential.
var labelForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$`)

// about names the value in a refusal that is not about the whole item.
func about(err error, item *Item, v Value) error {
	if err == nil || len(item.Values) == 1 {
		return err
	}
	return wire.Public(err, "The value labelled "+v.Label+": "+wire.ProblemOf(err).Detail)
}

// check refuses an item that is wrong whatever the store holds.
func (r *Records) check(service gatehouse.ServiceName, item *Item) error {
	if err := item.Owner.check(); err != nil {
		return err
	}
	if len(item.Values) == 0 {
		return invalid("records/empty", "There is no value here.")
	}
	seen := make(map[string]bool, len(item.Values))
	for _, v := range item.Values {
		switch {
		case !labelForm.MatchString(v.Label):
			return invalid("records/label", "A label is 1 to 32 letters, digits, dots, hyphens and underscores, and begins with a letter or digit: it names a kind of thing, such as email.")
		case seen[v.Label]:
			return invalid("records/label-twice", "The label "+v.Label+" is given twice in one item.")
		}
		seen[v.Label] = true
	}
	if !r.May(service, item.Purpose) {
		return errPurpose
	}
	return nil
}

// expiry is when something sealed now ends, for a purpose that keeps data that long.
func expiry(item *Item, keep time.Duration, now time.Time) (time.Time, error) {
	switch life := item.Life; {
	case life < 0 || life > maxLife:
		return time.Time{}, invalid("records/expires-in", "expires_in must be a number of seconds; 0 or absent means as long as the purpose keeps data.")
	case keep > 0 && life > keep:
		return time.Time{}, invalid("records/expires-in", fmt.Sprintf("The purpose keeps data for %s at most (keep in the configuration); expires_in may not be more.", keep))
	case life > 0:
		return now.Add(life), nil
	case keep > 0:
		return now.Add(keep), nil
	}
	return time.Time{}, nil
}

// refusal makes of a vault's error what the app may read. A refusal stays as it
// is.
func refusal(err error) error {
	switch {
	case wire.RuleOf(err) != "":
		return err
	case errors.Is(err, vault.ErrErased):
		return errErased
	case errors.Is(err, vault.ErrUnreadable):
		return errUnreadable
	case errors.Is(err, gatehouse.ErrNotFound):
		return errErased
	case errors.Is(err, gatehouse.ErrDenied):
		return errUnusable
	}
	return err
}
