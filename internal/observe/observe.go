// Package observe remembers what services really use of what they may: calls,
// parameters, body fields, reply fields and scopes, by name and shape, for each
// service and purpose. From it come the narrowest contract and the list of what
// is never used.
//
// It promises to keep names from the platform's documents and the measures of
// values (kind, length, size), never a value. What it keeps is a reviewer's help,
// not evidence: a crash may lose the last seconds of it.
package observe

import (
	"context"
	"math"
	"time"

	"gatehouse"
)

// Day is a day in UTC, counted from 1 January 1970.
type Day int64

// DayOf returns the day of a time.
func DayOf(t time.Time) Day { return Day(math.Floor(float64(t.Unix()) / 86400)) }

// Time returns the beginning of the day.
func (d Day) Time() time.Time { return time.Unix(int64(d)*86400, 0).UTC() }

// String returns the day as 2006-01-02.
func (d Day) String() string { return d.Time().Format(time.DateOnly) }

// Use is what was used: one operation, by one service, for one purpose.
type Use struct {
	Service   gatehouse.ServiceName
	Purpose   gatehouse.PurposeName
	Operation gatehouse.Operation
}

// Call is how often something was used. Counts of several processes add up.
type Call struct {
	Use
	App         gatehouse.AppName
	First, Last Day
	// Calls were made of it directly, Implied as part of another call.
	Calls, Implied int64
	// Reported were allowed by report mode alone.
	Reported int64
	// Params, Bodies and Replies count the calls whose query, body and answer were
	// read for their names; Files those that were answered with a file.
	Params, Bodies, Replies, Files int64
	// OtherParams, OtherBody and OtherReply count names that were not kept.
	OtherParams, OtherBody, OtherReply int64
}

// Place is where a name stood.
type Place string

// The places.
const (
	InParams Place = "param"
	InBody   Place = "body"
	InReply  Place = "reply"
	// Asked is a field that a request asked for: its path, and after a space the
	// other path that it may have meant.
	Asked Place = "asked"
	// Word is one of the documents' words as the value of a parameter: "exclude=replies".
	Word Place = "word"
)

// Most is how many names of one use are kept in a place.
func (p Place) Most() int {
	switch p {
	case InReply: // the platform's own names
		return 512
	case Word:
		return 1024
	}
	return 64
}

// Kinds is a set of what a name's values were.
type Kinds int64

// The kinds.
const (
	IsText Kinds = 1 << iota
	IsInteger
	IsNumber // with a fraction
	IsBoolean
	IsList
	IsObject
	IsFile
	IsNull
	// NoWord: the documents list words for it, and it was none of them.
	NoWord
	// Free: it was what the platform's paging links carry. Bound: it was not.
	Free
	Bound
	// JSON: it was no text of a query, form or path, whose type nobody says.
	JSON
	// Selects: it only chose fields of the reply.
	Selects
	// InPath: it was a part of the path.
	InPath
	// Empty: a field of a reply held nothing. Held: it held something.
	Empty
	Held
)

// Has reports whether any of o is in k.
func (k Kinds) Has(o Kinds) bool { return k&o != 0 }

// Field is one name: a parameter, a field of a body or of a reply, with the path
// to it, and the measures of its values.
type Field struct {
	Use
	Place       Place
	Name        string
	First, Last Day
	Seen        int64 // in how many calls
	Kinds       Kinds
	// Min and Max are those of its numbers; Min is greater when there was none.
	Min, Max int64
	// Length is the most characters of a text; Entries the most entries of a list,
	// or of a text when it is cut at commas, and Entry the longest of them.
	Length, Entries, Entry int64
	// Sure is set when a contract declares the name, so that it is kept however many
	// there are. It is not stored.
	Sure bool
}

// blank is a Field before anything was measured.
func blank(u Use, place Place, name string) Field {
	return Field{Use: u, Place: place, Name: name, Min: math.MaxInt64, Max: math.MinInt64}
}

// add takes up what another process or an earlier time measured.
func (f *Field) add(o Field) {
	f.First, f.Last = min(f.First, o.First), max(f.Last, o.Last)
	f.Seen += o.Seen
	f.Kinds |= o.Kinds
	f.Min, f.Max = min(f.Min, o.Min), max(f.Max, o.Max)
	f.Length, f.Entries, f.Entry = max(f.Length, o.Length), max(f.Entries, o.Entries), max(f.Entry, o.Entry)
	f.Sure = f.Sure || o.Sure
}

func (c *Call) add(o Call) {
	c.First, c.Last = min(c.First, o.First), max(c.Last, o.Last)
	c.Calls += o.Calls
	c.Implied += o.Implied
	c.Reported += o.Reported
	c.Params += o.Params
	c.Bodies += o.Bodies
	c.Replies += o.Replies
	c.Files += o.Files
	c.OtherParams += o.OtherParams
	c.OtherBody += o.OtherBody
	c.OtherReply += o.OtherReply
	if o.App != "" {
		c.App = o.App
	}
}

// Store keeps what was observed. Its methods may be called by several processes
// at once.
type Store interface {
	// AddUses adds counts and measures to what is there, in one transaction, durable
	// on return. Of the names of one Use in one Place no more than its Most are kept,
	// but for those that are Sure and those that are there already.
	AddUses(ctx context.Context, calls []Call, fields []Field) error
	// Uses returns everything, and since when there has been observing: the first
	// BeginUses. ErrNotFound means that there has not.
	Uses(ctx context.Context) (since time.Time, calls []Call, fields []Field, err error)
	// BeginUses notes that there is observing from now on, unless there was before.
	BeginUses(ctx context.Context, now time.Time) error
	// ForgetUses removes what was last seen before a day.
	ForgetUses(ctx context.Context, before Day) error
}
