package cases

import (
	"time"

	"gatehouse"
)

// Kind says what a duty is about.
type Kind string

// The kinds of duty. The first three are about a person, the last about content.
const (
	// Deauthorized: the person took the app's access away at the platform.
	Deauthorized Kind = "deauthorized"
	// DeletionRequested: the person asked the platform to have the app delete
	// what it holds about them.
	DeletionRequested Kind = "deletion_requested"
	// Erasure: the app, an operator or a platform's compliance answer asks for
	// everything about a person to go.
	Erasure Kind = "erasure"
	// ContentRemoved: a post or profile that was delivered to the app is gone at
	// the platform, or no longer public there.
	ContentRemoved Kind = "content_removed"
)

// Kinds lists the kinds of duty.
var Kinds = []Kind{Deauthorized, DeletionRequested, Erasure, ContentRemoved}

// outranks reports whether k says more than o about the same person. A person who
// removes the app and then asks for deletion has one duty, under the stronger word.
func (k Kind) outranks(o Kind) bool { return rank[k] > rank[o] }

var rank = map[Kind]int{Deauthorized: 1, Erasure: 2, DeletionRequested: 3}

// Origin says who brought a duty about.
type Origin string

// The origins of duties.
const (
	FromPlatform   Origin = "platform"   // a signed notice of the platform's
	FromCompliance Origin = "compliance" // the answer to a compliance job
	FromApp        Origin = "app"        // the app's own request
	FromOperator   Origin = "operator"   // a command
)

// State is how a duty stands.
type State string

// The states of a duty. Open and Overdue are told apart by the clock.
const (
	Open    State = "open"
	Overdue State = "overdue"
	Done    State = "done"
	// Refused: an operator closed it with a justification and nothing was erased.
	Refused State = "refused"
)

// Duty is something that must be done by a deadline. A time that is zero means
// that the step was not taken yet. It names nobody but by Person, an identifier
// that means nothing outside Gatehouse.
type Duty struct {
	ID       string
	Kind     Kind
	Origin   Origin
	App      gatehouse.AppName
	Platform gatehouse.Platform
	// Person is whose data it concerns; "" for content of people who are not
	// known here, and for a request about somebody of whom nothing is held.
	Person gatehouse.PersonID
	// Key makes asking twice one duty: a digest of what was asked, never the id of
	// a person.
	Key string
	// Code is what the platform and the person are given to look the duty up by.
	Code string

	Opened, Deadline time.Time
	// Revoked is when every grant of the person was confirmed to have ended.
	Revoked time.Time
	// Asked is when the event that asks the app to delete its copy was durable.
	Asked time.Time
	// Answered is when the app, or an operator for it, said that it has deleted its
	// copy; AnsweredBy is the service's name, or "operator".
	Answered   time.Time
	AnsweredBy string
	// Shredded is when the person's key and everything under it was destroyed.
	Shredded time.Time
	Closed   time.Time
	// Justification is why an operator refused; it is shown to the person.
	Justification string
	// Noted is when it was recorded that the deadline passed.
	Noted time.Time
	// LookAt is when the next step may be possible; zero once it is closed.
	LookAt time.Time
	// Proof is the id of the log entry that closed it.
	Proof   string
	Version int64
}

// About reports whether the duty concerns a person's data as a whole.
func (d Duty) About() bool { return d.Kind != ContentRemoved && d.Person != "" }

// State returns how the duty stands at a time.
func (d Duty) State(now time.Time) State {
	switch {
	case d.Justification != "":
		return Refused
	case !d.Closed.IsZero():
		return Done
	case now.After(d.Deadline):
		return Overdue
	}
	return Open
}

// Waiting says in words what an open duty still lacks, for operators and for the
// person's status page alike; nothing when it is closed.
func (d Duty) Waiting() []string {
	if !d.Closed.IsZero() {
		return nil
	}
	var list []string
	if d.About() && d.Revoked.IsZero() {
		list = append(list, "the platform's confirmation that the app's access has ended")
	}
	if d.Answered.IsZero() {
		list = append(list, "the app's word that it has deleted its own copy")
	}
	if d.About() && d.Shredded.IsZero() {
		list = append(list, "the destruction of what is held here")
	}
	return list
}
