package reconcile

import (
	"context"
	"time"

	"gatehouse"
)

// Store keeps figures between looks. Every write is one transaction, durable when it
// returns nil; all may be called concurrently, from several processes. What took effect
// in spite of an error may be repeated, but for AddWindows, after whose repetition a
// window looks better explained than it is.
type Store interface {
	MeterStore
	CountStore
	HandleStore
	WorkStore
}

// MeterStore is what a Meter stores in.
type MeterStore interface {
	WindowStore
	PostStore
}

// WindowStore keeps what the platforms said of their windows.
type WindowStore interface {
	// AddWindows joins windows with what other processes, or earlier calls, stored of
	// the same ones: the First of whichever was heard first, the Last with less left,
	// the sum of Replies. Of what is new, Told and Judged are as at the beginning.
	AddWindows(ctx context.Context, windows []Window) error
	// OpenWindows returns up to limit windows in which the platform counted more than
	// their Replies explain, and has counted more since they were last judged.
	OpenWindows(ctx context.Context, limit int) ([]Window, error)
	// JudgeWindow stores that a window was judged with that Last, and how many calls too
	// many were reported of it.
	JudgeWindow(ctx context.Context, w Window, told int64) error
	// AddRepeat stores that a call was sent once more.
	AddRepeat(ctx context.Context, r Repeat) error
	// Repeats returns how many calls of a window's owner and operation, with whichever
	// app, were sent once more after from and not after until.
	Repeats(ctx context.Context, w Window, from, until time.Time) (int64, error)
	// SweepWindows deletes windows of which nothing new was heard since then, and
	// repeats that were before.
	SweepWindows(ctx context.Context, before time.Time) error
}

// PostStore keeps how many posts went through, and what X counts of them.
type PostStore interface {
	// AddPosts adds to what is stored for the same app and hour.
	AddPosts(ctx context.Context, list []Posts) error
	// PostsOf returns the sum of an app's hours that begin at from or later and before
	// until; its Hour is zero.
	PostsOf(ctx context.Context, app gatehouse.AppName, from, until time.Time) (Posts, error)
	// PostsTold returns how many posts of each day need no explanation any more, by the
	// app's id at X, or ErrNotFound if that app was never looked at.
	PostsTold(ctx context.Context, client string) (map[time.Time]int64, error)
	// TellPosts stores that, of the days given, and that the app was looked at.
	TellPosts(ctx context.Context, client string, told map[time.Time]int64) error
	// SweepPosts deletes what is about hours and days that began before then.
	SweepPosts(ctx context.Context, before time.Time) error
}

// CountStore keeps what counts are compared with.
type CountStore interface {
	// Moment returns what the database holds at one moment: the counts by the names of
	// [Equations], and the size of each log.
	Moment(ctx context.Context) (Moment, error)
	// Baseline returns what SaveBaseline stored, or ErrNotFound.
	Baseline(ctx context.Context) (Moment, error)
	// SaveBaseline replaces it.
	SaveBaseline(ctx context.Context, m Moment) error
}

// HandleStore keeps how handles' counters compare.
type HandleStore interface {
	// UsedHandles returns up to limit handles that were used since they were last
	// compared, those first that were compared longest ago, and none of erased people.
	UsedHandles(ctx context.Context, limit int) ([]UsedHandle, error)
	// CompareHandle stores that a handle was compared up to so many uses, at a time.
	CompareHandle(ctx context.Context, id gatehouse.HandleID, uses int64, at time.Time) error
}

// WorkStore sees to it that one process compares at a time.
type WorkStore interface {
	// TakeReconcile takes the work until a time, unless somebody has it now: held is
	// until when, as far as they have said. When it has passed, the work is free.
	TakeReconcile(ctx context.Context, now, until time.Time) (taken bool, held time.Time, err error)
	// ExtendReconcile keeps the work, taken until was, until a later time, unless
	// somebody else has taken it.
	ExtendReconcile(ctx context.Context, was, until time.Time) (bool, error)
	// FreeReconcile gives the work back that was taken until then, and no other.
	FreeReconcile(ctx context.Context, until time.Time) error
	// ReconcileDone returns when everything was compared last; zero if never.
	ReconcileDone(ctx context.Context) (time.Time, error)
	SetReconcileDone(ctx context.Context, at time.Time) error
}
