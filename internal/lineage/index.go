package lineage

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/fingerprint"
)

const (
	// overlap is how long after it got its number a fingerprint may still become
	// visible: a write takes no longer, and others are numbered meanwhile.
	overlap = writeTimeout + 2*time.Second
	// inFlight is more than all processes' writes number at one time.
	inFlight = 10 * maxGroup
	pageSize = 10_000
	// sweepBatch bounds one deletion, so that others who write need not wait long.
	sweepBatch = 5_000
)

// loading is how far the index is filled.
type loading struct {
	// adding orders what is added behind what is forgotten: whoever was erased does
	// not come back by a row that was read before. It guards erased.
	adding sync.Mutex
	erased map[Owner]time.Time

	ready atomic.Bool

	// marks are the last numbers that were seen, with when. They belong to the
	// goroutine of Run that reads.
	marks []mark
	// swept is the last of the people who were looked at. It belongs to the goroutine
	// of Run that sweeps.
	swept Owner
}

type mark struct {
	at  time.Time
	seq int64
}

// Ready reports whether the index holds everything that the table did when this
// process started. Until then values are not recognised that were delivered before.
func (l *Lineage) Ready() bool { return l.index.ready.Load() }

// add puts fingerprints into the index, but none of an erased person.
func (l *Lineage) add(entries []fingerprint.Entry) {
	x := &l.index
	x.adding.Lock()
	defer x.adding.Unlock()
	if len(x.erased) > 0 {
		kept := entries[:0]
		for _, e := range entries {
			if _, gone := x.erased[e.Owner]; !gone {
				kept = append(kept, e)
			}
		}
		entries = kept
	}
	l.config.Index.Add(entries...)
}

// forget takes people out of the index and the memory for good.
func (l *Lineage) forget(owners ...Owner) {
	if len(owners) == 0 {
		return
	}
	now := time.Now()
	n := &l.noted
	n.mu.Lock()
	if n.gone == nil {
		n.gone = map[Owner]time.Time{}
	}
	for _, o := range owners {
		n.gone[o] = now
	}
	n.mu.Unlock()
	x := &l.index
	x.adding.Lock()
	defer x.adding.Unlock()
	if x.erased == nil {
		x.erased = map[Owner]time.Time{}
	}
	for o, at := range x.erased {
		// Whatever was read of them before is long added.
		if now.Sub(at) > 10*overlap {
			delete(x.erased, o)
		}
	}
	for _, o := range owners {
		if _, done := x.erased[o]; !done {
			x.erased[o] = now
			l.config.Index.Forget(o)
		}
	}
}

// load fills the index from the table.
func (l *Lineage) load(ctx context.Context) error {
	held, err := l.store.Held(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	p := Progress{ToLoad: held.Prints, Began: began}
	told := time.Time{}
	tell := func() {
		if time.Since(told) >= time.Second || !p.Done.IsZero() {
			told = time.Now()
			l.try(ctx, "the progress of reading fingerprints could not be noted", func(ctx context.Context) error { return l.store.Loading(ctx, p) })
		}
	}
	marks := []mark{{began, max(0, held.Last-inFlight)}}
	for after := int64(0); ; {
		tell()
		next, n, err := l.take(ctx, after)
		if err != nil {
			return err
		}
		p.Loaded += int64(n)
		marks = append(marks, mark{time.Now(), max(0, next-inFlight)})
		if after = next; n < pageSize {
			break
		}
	}
	l.index.marks = newest(marks, time.Now())
	p.Done = time.Now()
	l.index.ready.Store(true)
	tell()
	l.logger.InfoContext(ctx, "the fingerprints are in memory", slog.Int64("count", p.Loaded), slog.Duration("took", p.Done.Sub(began)))
	return nil
}

// newest drops the marks that are not needed any more: the first that stays is
// older than the overlap.
func newest(marks []mark, now time.Time) []mark {
	for len(marks) > 1 && now.Sub(marks[1].at) >= overlap {
		marks = marks[1:]
	}
	return marks
}

// take reads one page of fingerprints behind a number into the index.
func (l *Lineage) take(ctx context.Context, after int64) (last int64, n int, err error) {
	page, err := l.store.Prints(ctx, after, pageSize)
	if err != nil {
		return after, 0, err
	}
	entries := make([]fingerprint.Entry, 0, len(page))
	var gone []Owner
	last = after
	for _, p := range page {
		last = p.Seq
		if p.Class == "" {
			gone = append(gone, p.Owner)
			continue
		}
		entries = append(entries, p.Entry)
	}
	// In this order: the rows of somebody who was erased are all older.
	l.add(entries)
	l.forget(gone...)
	return last, len(page), nil
}

// poll reads what other processes noted. It reads again what was numbered within
// the overlap, because a number may become visible behind greater ones.
func (l *Lineage) poll(ctx context.Context) error {
	marks := newest(l.index.marks, time.Now())
	began, after := time.Now(), marks[0].seq
	for {
		last, n, err := l.take(ctx, after)
		if err != nil {
			return err
		}
		if after = last; n < pageSize {
			break
		}
	}
	l.index.marks = append(marks, mark{began, after})
	return nil
}

// sweep ends what is over, and makes room.
func (l *Lineage) sweep(ctx context.Context) error {
	now := time.Now()
	l.config.Index.Expire(now)
	for {
		n, err := l.store.ExpirePrints(ctx, now, sweepBatch)
		if err != nil {
			return err
		}
		if n < sweepBatch {
			break
		}
	}
	if err := l.makeRoom(ctx, now); err != nil {
		return err
	}
	for before := dayOf(now.Add(-l.config.KeepFlows)); ; {
		n, err := l.store.ExpireFlows(ctx, before, sweepBatch)
		if err != nil {
			return err
		}
		if n < sweepBatch {
			break
		}
	}
	next, err := l.store.ExpirePeople(ctx, l.index.swept, sweepBatch)
	if err == nil {
		l.index.swept = next
	}
	return err
}

// makeRoom deletes the fingerprints that expire next when there are too many, and
// says so: values are not recognised any more that should be.
func (l *Lineage) makeRoom(ctx context.Context, now time.Time) error {
	held, err := l.store.Held(ctx)
	if err != nil {
		return err
	}
	for over := held.Prints - int64(l.config.MaxFingerprints); over > 0; {
		n, say, err := l.store.EvictPrints(ctx, now, int(min(over, sweepBatch)))
		if err != nil {
			return err
		}
		if over -= n; n == 0 {
			over = 0
		}
		if !say {
			continue
		}
		l.logger.WarnContext(ctx, "there are more fingerprints than lineage.max_fingerprints allows: the oldest are forgotten before their time",
			slog.Int("max_fingerprints", l.config.MaxFingerprints))
		if _, err := l.log.Record(ctx, audit.Entry{Action: "lineage.full", Verdict: "done", Facts: map[string]string{
			"max_fingerprints": strconv.Itoa(l.config.MaxFingerprints),
		}}); err != nil {
			return err
		}
	}
	return nil
}

// Status is how the index is.
type Status struct {
	// State is loading, until a process that started has read everything, or ready.
	State string
	// Percent is how far it has come.
	Percent int
	Held
	// MaxFingerprints is the configured bound.
	MaxFingerprints int
}

// Status returns what the table holds, and how far the process that started last
// has come in reading it.
func (l *Lineage) Status(ctx context.Context) (Status, error) {
	held, err := l.store.Held(ctx)
	if err != nil {
		return Status{}, err
	}
	s := Status{State: "ready", Percent: 100, Held: held, MaxFingerprints: l.config.MaxFingerprints}
	switch {
	case held.Progress.Began.IsZero():
		s.State, s.Percent = "never loaded", 0
	case held.Progress.Done.Before(held.Progress.Began):
		s.State, s.Percent = "loading", percent(held.Progress)
	}
	return s, nil
}

// percent of 100 is kept for what is done.
func percent(p Progress) int {
	if p.ToLoad <= 0 {
		return 0
	}
	return int(min(99, p.Loaded*100/p.ToLoad))
}

// note is what questions are told while the index is filled.
func (l *Lineage) note(ctx context.Context) (string, error) {
	s, err := l.Status(ctx)
	if err != nil || s.State != "loading" {
		return "", err
	}
	return "The index is loading (" + strconv.Itoa(s.Percent) + " %): transfers of this moment may be missing.", nil
}

// Erase ends what is known of a person whose grant is held: their number leads to
// nobody from then on, and their fingerprints are deleted, here and, within
// seconds, in other processes. Flows stay without them. It must come before what
// leads from the person to Config.Keys is deleted, and may be repeated.
func (l *Lineage) Erase(ctx context.Context, person gatehouse.PersonID) error {
	hashes, err := l.config.Keys(ctx, person)
	if err != nil {
		return err
	}
	return l.EraseKeys(ctx, hashes...)
}

// EraseKeys is Erase for people by their hashes, as Config.Key makes them; also for
// somebody who merely appeared.
func (l *Lineage) EraseKeys(ctx context.Context, hashes ...string) error {
	now := time.Now()
	// The counts that are not written belong to rows that stay.
	owners, prints, err := l.store.Erase(ctx, hashes, now, now.Add(l.config.Keep+l.touch()))
	if err != nil {
		return err
	}
	l.forget(owners...)
	if len(owners) > 0 {
		l.log.Reduction(audit.Entry{Action: "lineage.erase", Facts: map[string]string{
			"people": strconv.Itoa(len(owners)), "fingerprints": strconv.FormatInt(prints, 10),
		}})
	}
	return nil
}

// StatusView is a status for programs. Its keys are relied on from outside.
type StatusView struct {
	State           string    `json:"state"`
	Percent         int       `json:"percent"`
	Fingerprints    int64     `json:"fingerprints"`
	MaxFingerprints int       `json:"max_fingerprints"`
	NextExpiry      time.Time `json:"next_expiry_at,omitzero"`
	Expired         int64     `json:"expired"`
	Evicted         int64     `json:"evicted"`
	EvictedAt       time.Time `json:"evicted_at,omitzero"`
	LoadingAt       time.Time `json:"loading_at,omitzero"`
	LoadedAt        time.Time `json:"loaded_at,omitzero"`
}

// View returns the status for programs.
func (s Status) View() StatusView {
	return StatusView{
		State: s.State, Percent: s.Percent, Fingerprints: s.Prints, MaxFingerprints: s.MaxFingerprints, NextExpiry: s.NextExpiry,
		Expired: s.Expired, Evicted: s.Evicted, EvictedAt: s.EvictedAt, LoadingAt: s.Progress.Began, LoadedAt: s.Progress.Done,
	}
}
