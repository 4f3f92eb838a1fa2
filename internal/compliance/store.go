package compliance

import (
	"context"
	"time"

	"gatehouse"
)

// Store keeps the index, the state of the jobs and the findings that nobody has
// taken over yet. Every method is one transaction that is durable when it returns
// nil. A missing row is gatehouse.ErrNotFound, a lost race gatehouse.ErrConflict.
type Store interface {
	IndexStore
	TaskStore
	FindingStore
}

// IndexStore keeps which identifiers were delivered.
type IndexStore interface {
	// RecordIDs notes deliveries: unknown identifiers are inserted, known ones get
	// the given time as their last delivery and the new expiry. One about which
	// the app was told meanwhile begins anew with this delivery.
	RecordIDs(ctx context.Context, app gatehouse.AppName, now, expires time.Time, ids []ID) error
	// IDs returns up to limit identifiers whose hash is greater than after, in the
	// order of their hashes.
	IDs(ctx context.Context, app gatehouse.AppName, kind Kind, after []byte, limit int) ([]ID, error)
	// IDOf returns the identifier with that hash.
	IDOf(ctx context.Context, app gatehouse.AppName, kind Kind, hash []byte) (ID, error)
	// Expire deletes up to limit identifiers that expired before now, and says how
	// many.
	Expire(ctx context.Context, app gatehouse.AppName, kind Kind, now time.Time, limit int) (int64, error)
	// Evict deletes up to limit identifiers, those first whose last delivery is
	// the oldest, notes it in the task's Evicted, and says how many.
	Evict(ctx context.Context, app gatehouse.AppName, kind Kind, now time.Time, limit int) (int64, error)
	// Held counts the identifiers of a list.
	Held(ctx context.Context, app gatehouse.AppName, kind Kind) (Held, error)
}

// ID is one delivered identifier as it is stored.
type ID struct {
	Kind Kind
	// Hash is keyed by app and kind; Sealed holds the identifier.
	Hash, Sealed []byte
	// First and Last are its first and last noted delivery.
	First, Last time.Time
	// Told is when the app was told something that leaves it in the index, such as
	// that its location was removed, and Reason what; zero when nothing.
	Told   time.Time
	Reason string
}

// Held says how many identifiers a list has, and the oldest last delivery.
type Held struct {
	IDs    int64
	Oldest time.Time
}

// TaskStore keeps the state of each list's jobs.
type TaskStore interface {
	// EnsureTask inserts the idle task of a list if there is none, and makes an
	// idle one due no later than the given time.
	EnsureTask(ctx context.Context, app gatehouse.AppName, kind Kind, due time.Time) error
	// Tasks returns all of them, in the order of app and kind.
	Tasks(ctx context.Context) ([]Task, error)
	// SaveTask replaces a task if it still has its version, and returns the new
	// one. Epoch, Evicted and EvictedAt are left as they are.
	SaveTask(ctx context.Context, t Task) (int64, error)
	// Epoch returns a number that grows with every AddFindings of an app.
	Epoch(ctx context.Context, app gatehouse.AppName) (int64, error)
}

// FindingStore keeps findings until they are taken over.
type FindingStore interface {
	// AddFindings stores what is not stored yet, and moves the app's epoch.
	AddFindings(ctx context.Context, findings []StoredFinding) error
	// Findings returns up to limit findings that are due, oldest first.
	Findings(ctx context.Context, now time.Time, limit int) ([]StoredFinding, error)
	// DelayFinding makes a finding due at another time and counts a try, if it is
	// still due when it was read; otherwise another process has it (ErrConflict).
	DelayFinding(ctx context.Context, f StoredFinding, due time.Time) error
	// SettleFinding deletes a finding. With forget the identifier leaves the index,
	// unless it was delivered after the finding was ready: then it begins anew with
	// that delivery. Without forget it stays, and is noted as told.
	SettleFinding(ctx context.Context, f StoredFinding, forget bool, now time.Time) error
	// Waiting counts the findings of a list that nobody has taken over.
	Waiting(ctx context.Context, app gatehouse.AppName, kind Kind) (int64, error)
}

// State is where a list's job is.
type State string

// The states, in the order in which a run passes through them; the three in the
// middle repeat until the whole list was asked about.
const (
	Idle        State = "idle"
	Submitting  State = "submitting"  // a job is to be made at X
	Uploading   State = "uploading"   // X made it and waits for the list
	Running     State = "running"     // X is at work
	Downloading State = "downloading" // the answer is ready
)

// Task is a list's job as it is stored. A run asks about the whole list, in jobs
// of bounded size, one after the other as X demands: each covers the hashes
// greater than Cursor up to and with Upto.
type Task struct {
	App   gatehouse.AppName
	Kind  Kind
	State State
	// Due is when there is something to do, LeaseUntil until when a process is at
	// it.
	Due, LeaseUntil time.Time
	// Started and Ended are of the newest run; Ended is zero while it goes on.
	Started, Ended time.Time

	Cursor, Upto []byte
	// Name is what the job is called at X, by which one that was made and not
	// noted is found again; Job is X's identifier.
	Name, Job string
	// UploadURL and DownloadURL are sealed: who has them needs nothing else.
	UploadURL, DownloadURL []byte
	// Expires is until when the list can be uploaded.
	Expires time.Time
	// Asked is how many identifiers the job has, AskedAt when they were chosen.
	Asked   int64
	AskedAt time.Time
	// Polls counts how often X was asked for the job's status, Tries the failures
	// since something last succeeded; Reason is the newest one's rule.
	Polls, Tries int
	Reason       string

	// What the newest run has done.
	Jobs, Sent, Found, Ignored, Malformed int64

	// Epoch moves when answers come in. Evicted counts what was dropped for room
	// since the beginning.
	Epoch, Evicted int64
	EvictedAt      time.Time

	Version int64
}

// forgetJob makes a task begin its job anew.
func (t *Task) forgetJob() {
	t.State, t.Name, t.Job, t.Upto, t.UploadURL, t.DownloadURL = Submitting, "", "", nil, nil, nil
	t.Asked, t.Polls, t.AskedAt, t.Expires = 0, 0, time.Time{}, time.Time{}
}

// StoredFinding is one line of an answer that concerns an identifier of the index.
type StoredFinding struct {
	App  gatehouse.AppName
	Kind Kind
	Hash []byte
	// Sealed is the index's own, so that it opens when that row is gone.
	Sealed         []byte
	Action, Reason string
	At             time.Time
	// First is the first delivery, which tells a later life of the same identifier
	// apart.
	First time.Time
	// Ready is when it may be handed over for the first time; Due when it is to be
	// next.
	Ready, Due time.Time
	Tries      int
}
