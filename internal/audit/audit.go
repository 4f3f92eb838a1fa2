// Package audit owns the log: what was intended, what was refused and how it
// ended, in a Merkle tree (RFC 6962 hashing) whose root is signed.
//
// It promises that an entry whose method returned without error is on disk,
// that a change, removal, insertion or reordering of anything stored is found
// by Verify and named, and that when entries can no longer be written, intents
// are refused rather than lost. It must never put into a leaf what belongs to a
// person or what joins two of their entries (such fields are sealed with the
// person's key, outside the tree, and the leaf holds salted commitments), and never
// open what it has sealed.
package audit

import (
	"fmt"
	"time"

	"gatehouse"
)

// An Entry is what a caller says about one thing that is about to happen,
// happened or was refused.
type Entry struct {
	// Action is a name of the registry; see Actions.
	Action string

	Service  gatehouse.ServiceName
	Purpose  gatehouse.PurposeName
	Platform gatehouse.Platform
	App      gatehouse.AppName
	// Operation stands in clear, so it is the platform's pattern
	// ("GET /2/users/{id}"), never the path that was asked for.
	Operation gatehouse.Operation

	// Verdict is allow or report for an intent, refuse for a refusal, and done,
	// failed or aborted for an outcome. An intent's is allow when empty, a
	// refusal's refuse.
	Verdict string
	// Rule is the policy rule or the refusal's id.
	Rule string
	// Status and Bytes describe an outcome.
	Status int
	Bytes  int64
	// Facts are non-personal details in clear: an error's class, an attempt's
	// number, counts. Names are lower-case words. Never the id of a person, a
	// connection or a handle, and nothing that a caller chose freely.
	Facts map[string]string

	// Person's key seals Personal. It is not itself recorded; a keyed hash of it
	// outside the tree finds the entry until the person is erased.
	Person gatehouse.PersonID
	// Personal are the details that belong to a person: connection, handle,
	// platform's user id, subject. Names are lower-case words.
	Personal map[string]string
	// Search is the id of the connection by which the entry is found, where Personal
	// does not hold it. Nothing but a keyed hash of it is kept, outside the tree.
	Search string
}

// A Receipt proves that an intent is durable. The zero Receipt is not valid.
type Receipt struct{ *receipt }

type receipt struct {
	id     string
	action string
	// index is what the intent is found by.
	index Index
	// volatile says that the intent is in memory only: it takes an outcome and
	// proves nothing.
	volatile bool
	// ended guards against a second outcome for one intent.
	ended chan struct{}
}

// ID returns the id of the intent's entry.
func (r Receipt) ID() string {
	if r.receipt == nil {
		return ""
	}
	return r.id
}

// Valid reports whether a durable intent stands behind r.
func (r Receipt) Valid() bool { return r.receipt != nil && !r.volatile }

// Kinds of entries.
const (
	// KindIntent is written before the thing is done.
	KindIntent = "intent"
	// KindOutcome says how the thing ended that an intent announced.
	KindOutcome = "outcome"
	// KindEvent stands for itself: a refusal, or something that happened.
	KindEvent = "event"
)

// Limits of an entry. A leaf has to fit the entry bundles of C2SP tlog-tiles,
// whose lengths are two bytes.
const (
	maxLeaf     = 65535
	maxPersonal = 64 << 10
	maxSearch   = 256
)

// verdicts by kind; an event may have any.
var verdicts = map[string][]string{
	KindIntent:  {"allow", "report"},
	KindOutcome: {"done", "failed", "aborted"},
	KindEvent:   {"", "allow", "report", "refuse", "done", "failed", "aborted"},
}

func (e *Entry) validate(kind string) error {
	if _, known := actions[e.Action]; !known {
		return fmt.Errorf("audit: action %q is not registered: %w", e.Action, gatehouse.ErrInvalid)
	}
	if len(e.Search) > maxSearch {
		return fmt.Errorf("audit: the search key of a %s entry is longer than %d bytes: %w", e.Action, maxSearch, gatehouse.ErrInvalid)
	}
	for name := range e.Personal {
		if !validField(name) {
			return fmt.Errorf("audit: a personal field of a %s entry has a name that is no lower-case word of up to %d letters: %w", e.Action, maxField, gatehouse.ErrInvalid)
		}
	}
	for _, v := range verdicts[kind] {
		if v == e.Verdict {
			return nil
		}
	}
	return fmt.Errorf("audit: verdict %q does not suit the %s of %s: %w", e.Verdict, kind, e.Action, gatehouse.ErrInvalid)
}

// microseconds is the form of times in leaves; rounding happens here only.
func microseconds(t time.Time) int64 { return t.UnixMicro() }
