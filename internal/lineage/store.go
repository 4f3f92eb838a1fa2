package lineage

import (
	"context"
	"time"

	"gatehouse"
	"gatehouse/internal/fingerprint"
)

// What the index of fingerprints calls people and values, this package does, too.
type (
	// Owner is a person's number.
	Owner = fingerprint.Owner
	// Print is the fingerprint of a value.
	Print = fingerprint.Print
)

// Store keeps the flows, the people's numbers and the fingerprints. Every write is
// one transaction that is durable when it returns nil, and may be repeated. All of
// it may be called concurrently, by several processes.
type Store interface {
	FlowStore
	PrintStore
	QuestionStore
}

// FlowStore takes in what happened, and its end.
type FlowStore interface {
	// Note enters people who have no number yet, flows and fingerprints, and adds to
	// those that are there. A person who was erased is somebody new. It returns the
	// numbers of what the batch names.
	Note(ctx context.Context, b *Batch) (Noted, error)
	// Count adds to flows that are there, or takes from them; one that is not is left
	// out. A flow of which none are left is no answer to any question.
	Count(ctx context.Context, counts []Count) error
	// Erase makes tombstones of the people with these hashes and deletes their
	// fingerprints; other processes learn of it from Prints until the given time. It
	// returns their numbers, and how many fingerprints were deleted.
	Erase(ctx context.Context, hashes []string, at, until time.Time) ([]Owner, int64, error)
	// ExpireFlows deletes flows of days before the given one, at most limit, and
	// returns how many there were.
	ExpireFlows(ctx context.Context, before Day, limit int) (int64, error)
	// ExpirePeople deletes people of whom nothing is left, among the next limit after
	// a number; it returns the last number that it looked at, zero at the end.
	ExpirePeople(ctx context.Context, after Owner, limit int) (Owner, error)
}

// PrintStore keeps the fingerprints, from which a process fills its index.
type PrintStore interface {
	// Prints returns fingerprints in the order of their numbers.
	Prints(ctx context.Context, after int64, limit int) ([]StoredPrint, error)
	// ExpirePrints deletes fingerprints whose time is over, at most limit.
	ExpirePrints(ctx context.Context, now time.Time, limit int) (int64, error)
	// EvictPrints deletes the fingerprints that expire next, at most limit. It reports
	// whether this is to be said: no process has said it in the last hour.
	EvictPrints(ctx context.Context, now time.Time, limit int) (n int64, say bool, err error)
	// Held counts the fingerprints, and tells what became of others.
	Held(ctx context.Context) (Held, error)
	// Loading notes how far a process has come in reading the fingerprints.
	Loading(ctx context.Context, p Progress) error
}

// QuestionStore answers.
type QuestionStore interface {
	// Owners returns the numbers that belong to hashes, in no order, without those
	// that nobody has.
	Owners(ctx context.Context, hashes []string) ([]Owner, error)
	// People returns the people with these numbers, candidates resolved, in no order.
	People(ctx context.Context, owners []Owner) ([]PersonRow, error)
	// Sets returns the sets to which a person belongs.
	Sets(ctx context.Context, owner Owner) ([]Owner, error)
	// Origins returns, for each key, the newest delivery of a kind of data of a person
	// since a day, to the service if there is one, or else to any; a zero Edge if there
	// is none.
	Origins(ctx context.Context, keys []OriginKey, since Day) ([]Edge, error)
	// Flows returns flows that match, newest day first.
	Flows(ctx context.Context, s Selection) ([]FlowRow, error)
	// Reached returns, in their order, the numbers after s.After.Owner of the people whose
	// flows match, also flows of which none are left.
	Reached(ctx context.Context, s Selection) ([]Owner, error)
	// Totals returns what went each way in a time.
	Totals(ctx context.Context, since, until Day) ([]Total, error)
}

// Day counts days, in UTC, since 1970.
type Day int64

const dayLength = 24 * time.Hour

func dayOf(t time.Time) Day { return Day(t.Unix() / int64(dayLength/time.Second)) }

// Time is when the day begins.
func (d Day) Time() time.Time { return time.Unix(int64(d)*int64(dayLength/time.Second), 0).UTC() }

// OriginKey asks where somebody's data of a kind came from, and who it is that has it.
type OriginKey struct {
	Owner   Owner
	Class   gatehouse.DataClass
	Service gatehouse.ServiceName
}

// Kind says where data went.
type Kind string

const (
	// Delivery is from a platform to a service of the app.
	Delivery Kind = "delivery"
	// Sending is from a service to somebody else.
	Sending Kind = "transfer"
)

// Verdict says what became of a transfer.
type Verdict string

const (
	// Passed is what the destination may have; every delivery is.
	Passed Verdict = "passed"
	// Reported is what it may not have, and was let through all the same: report
	// mode, a value that many share, a brand.
	Reported Verdict = "reported"
	// Stopped never left.
	Stopped Verdict = "stopped"
	// Unknown was let go before the rest of its request was stopped: the destination
	// may have it.
	Unknown Verdict = "unknown"
)

// Edge is a way that data takes.
type Edge struct {
	Kind    Kind
	Verdict Verdict
	// Platform, App, Operation and Purpose are where the data came from: of a
	// transfer, by the newest delivery of the same kind of data of the same person.
	// They are empty where that is not known.
	Platform  gatehouse.Platform
	App       gatehouse.AppName
	Class     gatehouse.DataClass
	Operation gatehouse.Operation
	Purpose   gatehouse.PurposeName
	// Service received it or sent it on.
	Service gatehouse.ServiceName
	// Destination is the host of a transfer; empty in a delivery.
	Destination string
	// SentFor is the purpose of a transfer.
	SentFor gatehouse.PurposeName
	// Part is where in a transfer it stood: url, header or body. Addresses and headers
	// end up in other people's logs.
	Part string
}

// Batch is what one write takes in.
type Batch struct {
	Now time.Time
	// Expires is when the fingerprints end. One that is there already, and ends at
	// Fresh or later, is left as it is.
	Expires, Fresh time.Time
	People         []BatchPerson
	Flows          []BatchFlow
	Prints         []BatchPrint
}

// BatchPerson is somebody by the hash.
type BatchPerson struct {
	Hash     string
	Platform gatehouse.Platform
	// Candidates make it a set of people.
	Candidates []Owner
}

// BatchFlow is a flow of Batch.People[Person], or if Person is negative, of Owner.
type BatchFlow struct {
	Person int
	Owner  Owner
	Edge   Edge
	// EdgeID is the edge's number, zero if it is not known.
	EdgeID      int64
	Handle      gatehouse.HandleID
	Day         Day
	First, Last time.Time
	Seen        int64
}

// BatchPrint is a fingerprint of Batch.People[Person]; a negative Person is nobody.
type BatchPrint struct {
	Person int
	Print  Print
	Class  gatehouse.DataClass
	// Entered says that the person is not known to be one of their own.
	Entered bool
}

// Noted are the numbers of a batch's people, edges and handles, in its order.
type Noted struct {
	Owners  []Owner
	Edges   []int64
	Handles []int64
}

// FlowKey names a flow.
type FlowKey struct {
	Owner  Owner
	Day    Day
	Edge   int64
	Handle int64
}

// Count is what is added to a flow.
type Count struct {
	FlowKey
	Seen int64
	Last time.Time
}

// StoredPrint is a fingerprint of the table. One without a class says that the
// owner is to be forgotten.
type StoredPrint struct {
	Seq int64
	fingerprint.Entry
}

// Progress is how far a process has come in reading the fingerprints.
type Progress struct {
	Loaded, ToLoad int64
	// Began and Done are when it started and ended; Done is zero until then.
	Began, Done time.Time
}

// Held is what the table of fingerprints holds.
type Held struct {
	Prints int64
	// Last is the greatest number.
	Last int64
	// NextExpiry is when the oldest ends; zero if there is none.
	NextExpiry time.Time
	// Expired and Evicted count those that are gone because their time was over, and
	// for room. EvictedAt is when that was last.
	Expired, Evicted int64
	EvictedAt        time.Time
	// Progress is of the process that started last.
	Progress Progress
}

// PersonRow is somebody, or a set of people.
type PersonRow struct {
	Owner    Owner
	Hash     string
	Platform gatehouse.Platform
	// Person is set for somebody whose grant is held.
	Person gatehouse.PersonID
	Erased time.Time
	// Candidates are the members of a set.
	Candidates []Owner
}

// Selection says which flows. One of its subjects is used, in this order: Owner,
// Handle, Destination, Service, Purpose; none selects all.
type Selection struct {
	Owner       Owner
	Handle      gatehouse.HandleID
	Destination string
	Service     gatehouse.ServiceName
	// Purpose selects what came for it and what was sent for it.
	Purpose gatehouse.PurposeName
	// Since and Until bound the days, both included.
	Since, Until Day
	// After is where the page before ended; the zero value begins.
	After FlowKey
	// Limit bounds the page.
	Limit int
}

// FlowRow is a flow as it is stored.
type FlowRow struct {
	FlowKey
	Way         Edge
	HandleID    gatehouse.HandleID
	First, Last time.Time
	Seen        int64
}

// Total is what went one way.
type Total struct {
	Way         Edge
	EdgeID      int64
	People      int64
	Seen        int64
	First, Last time.Time
}
