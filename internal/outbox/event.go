package outbox

import (
	"encoding/json"
	"regexp"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/wire"
)

// Event is one thing that the app is told.
type Event struct {
	// ID is the idempotency key that its producer chose: 1 to 128 letters, digits,
	// "_", "-" and ":". (A dot would make the signed text ambiguous, see Standard
	// Webhooks, "Signature scheme".) It stands in the store in plain and may
	// hold nothing personal: hash what a platform calls somebody.
	ID string
	// Type is a lower-case dotted word, such as "connection.health". What it
	// means, and the form of its Data, stand in docs/events.md.
	Type string
	// App is the app registration that it concerns, by its configured name; it
	// may be empty.
	App gatehouse.AppName
	// Person is whose key seals Data at rest. Empty means that it concerns nobody,
	// or nobody whose key is held: it is sealed under a domain key.
	Person gatehouse.PersonID
	// Stream is the order key, at most 128 bytes like ID: events of one stream are
	// delivered in the order in which they were put, one at a time. Empty means
	// that its order does not matter. It stands in the store in plain; a PersonID
	// or a ConnectionID is a good one.
	Stream string
	// Data is the event's content for the app: one JSON value of at most 4 MiB,
	// which is what the largest platforms' webhooks have.
	// Empty means null.
	Data json.RawMessage
	// Created is when it happened. The zero time means now.
	Created time.Time
}

const (
	maxData = 4 << 20
	maxType = 64
)

var (
	keyForm  = regexp.MustCompile(`^[A-Za-z0-9_:-]{1,128}$`)
	typeForm = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$`)
)

func (e *Event) validate() error {
	invalid := func(rule, detail string) error { return wire.Refuse(gatehouse.ErrInvalid, rule, detail) }
	switch {
	case !keyForm.MatchString(e.ID):
		return invalid("events/id", "an event's id is 1 to 128 letters, digits, _, - and :")
	case len(e.Type) > maxType || !typeForm.MatchString(e.Type):
		return invalid("events/type", "an event's type is a lower-case dotted word of at most 64 bytes, such as connection.health")
	case strings.Contains(string(e.App), "/") || len(e.App) > 64:
		return invalid("events/app", "an event's app is the name of a registration in the configuration")
	case e.Stream != "" && !keyForm.MatchString(e.Stream):
		return invalid("events/stream", "an event's stream is at most 128 letters, digits, _, - and :")
	case len(e.Data) > maxData:
		return invalid("events/size", "an event's data is larger than 4 MiB")
	case len(e.Data) > 0 && !json.Valid(e.Data):
		return invalid("events/data", "an event's data is not one JSON value")
	}
	return nil
}

// State is where an event is.
type State string

// The states of an event.
const (
	// Waiting events have not been taken by the app yet.
	Waiting State = "waiting"
	// Delivered events were answered with success, or acknowledged. Their content
	// is gone.
	Delivered State = "delivered"
	// Dead events are not sent any more: dead letters. An operator can replay them.
	Dead State = "dead"
)

// Reasons for which an event is dead or waits, beside the rules of package wire
// ("upstream/timeout") and the endpoint's own status ("status/503").
const (
	// ClassErased: the person was erased, and the content with them.
	ClassErased = "erased"
	// ClassUnfetched: there is no endpoint, and no service fetched it in time.
	ClassUnfetched = "unfetched"
	// ClassUnreadable: what is stored does not open.
	ClassUnreadable = "unreadable"
	// ClassInterrupted: the attempt was begun, and its end is not known.
	ClassInterrupted = "interrupted"
)

// Delivery is what is known about an event and its way to the app. It holds
// nothing of the content.
type Delivery struct {
	Seq    int64 // the order in which events were put
	ID     string
	Type   string
	App    gatehouse.AppName
	Person gatehouse.PersonID
	Stream string
	State  State
	// Attempts counts those begun since it was put or replayed.
	Attempts int
	// Class is how the last attempt failed, "" if none did.
	Class   string
	Created time.Time
	// Next is when the next attempt may be made; zero for one that waits for an
	// earlier event of its stream, and for one that does not wait.
	Next time.Time
	// Updated is when an attempt last began or ended.
	Updated time.Time
	// HasContent reports whether there is anything left to deliver.
	HasContent bool
}

func viewOf(r Record) Delivery {
	d := Delivery{
		Seq: r.Seq, ID: r.ID, Type: r.Type, App: r.App, Person: r.Person, Stream: r.Stream, State: r.State, Attempts: r.Attempts,
		Class: r.Class, Created: r.Created, Updated: r.Updated, HasContent: r.Data != nil,
	}
	if r.State == Waiting {
		d.Next = r.Due
	}
	return d
}
