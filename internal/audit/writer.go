package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gatehouse"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// writer is the state of the goroutine of Run; nobody else touches it.
type writer struct {
	log    *Log
	store  Store
	signer note.Signer

	head Head
	tree *tree
	// kept is when a checkpoint was last kept for good.
	kept time.Time

	// pending are entries whose group failed and whose callers do not know:
	// they are written first as soon as the log can be written.
	pending []entryRow
	// doubtful says that the last failed write may have been stored after all.
	// Then pending still holds all of its entries, those of callers who were
	// refused included, until the store can be asked.
	doubtful bool

	// drawn is how many bytes of entries were written into the space that had been
	// held back, since it was released.
	drawn int64
	watch watch
	cross crossing
}

const (
	// keepEvery is how often a checkpoint is kept for good.
	keepEvery = time.Second
	// appendTimeout bounds one write; closeTimeout bounds the last ones.
	appendTimeout = 30 * time.Second
	closeTimeout  = 10 * time.Second
	// maxConflicts is how often a write lost to other processes is repeated at
	// once before it counts as failed.
	maxConflicts = 200
)

// retry pauses after a failed write, doubling between these.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = time.Second
)

// Run writes what is recorded until ctx is done; then it writes what is left,
// keeps a last checkpoint and closes the log. It returns an error if something
// could not be written by then.
func (l *Log) Run(ctx context.Context) error {
	if !l.running.CompareAndSwap(false, true) {
		return errors.New("audit: Run was called twice")
	}
	w := &l.writer
	base := context.WithoutCancel(ctx)
	if l.fault.Load() == nil {
		// A checkpoint at every start makes the state that was found comparable.
		w.attempt(base, nil, true)
	}
	for pause := firstPause; ; {
		if o := l.fault.Load(); o != nil {
			// Only what is pending is tried again; the queue keeps the rest and
			// so bounds what an outage can pile up.
			l.queue.refuse(o.cause)
			l.queue.asked()()
			select {
			case <-ctx.Done():
				return w.finish(base)
			case <-time.After(pause):
			}
			pause = min(2*pause, lastPause)
			w.recover(base, o)
			continue
		}
		pause = firstPause
		g := l.queue.next(ctx, w.due())
		switch {
		case g != nil:
			w.attempt(base, g, false)
		case ctx.Err() != nil:
			if l.queue.close(errClosed) {
				return w.finish(base)
			}
			continue
		}
		// Under load, too, it is looked around each second.
		if l.queue.isNudged() || w.due() == 0 {
			answer := l.queue.asked()
			w.tick(base)
			answer()
		}
	}
}

// recover tries whether an outage is over.
func (w *writer) recover(ctx context.Context, o *outage) {
	l := w.log
	switch o.condition {
	case Tampered:
		// What is stored is believed again only when an operator has said so.
		if l.aside == "" || l.aside.alerted() || errors.Is(o.cause, ErrReplaced) || errors.Is(o.cause, ErrDamaged) {
			return // of the last two, a restart shows whether what is there now is a log
		}
		if err := w.load(ctx); err != nil {
			w.sound(err)
			return
		}
		w.watch = watch{last: w.watch.last}
		w.loadCrossing() // accepted: what was recorded of the others before does not count any more
	case Full:
		if err := w.draw(ctx); err != nil {
			l.gates(err)
			return
		}
		if err := w.hold(); err != nil {
			return
		}
		w.drawn = 0
	}
	err := w.try(ctx, nil, false)
	if err == nil {
		err = w.look(ctx)
	}
	if err == nil {
		err = w.clearUp(ctx)
	}
	w.sound(err)
	l.gates(err)
}

// draw writes into the space that was held back: what takes access away, and at
// first also how things ended that had begun before.
func (w *writer) draw(ctx context.Context) error {
	rows := w.log.queue.urgent(w.drawn < w.log.config.Reserve/4)
	for _, r := range rows {
		w.drawn += int64(len(r.Leaf) + len(r.Personal))
	}
	if len(rows)+len(w.pending) > 0 {
		// Not more often: also an empty write takes space.
		if err := w.try(ctx, &group{rows: rows, done: make(chan struct{})}, false); err != nil {
			return err
		}
	}
	return w.clearUp(ctx)
}

// finish writes what is left, once, and says what could not be. Into a log that
// is not as it was written nothing goes.
func (w *writer) finish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	l := w.log
	left := l.queue.abandon(errClosed)
	if o := l.fault.Load(); o != nil && o.condition == Tampered {
		for _, g := range left {
			w.pending = append(w.pending, g.rows...)
			g.err = errClosed
			close(g.done)
		}
	} else {
		for _, g := range left {
			w.attempt(ctx, g, false)
		}
		if l.fault.Load() == nil && w.cross.here {
			if err := w.around(ctx, true); err != nil {
				w.sound(err)
				l.gates(err)
			}
		}
		w.attempt(ctx, nil, true)
		if len(w.pending) > 0 && l.fault.Load() == nil {
			w.attempt(ctx, nil, true) // that it can be written again
		}
	}
	fault := l.Fault()
	if fault == nil {
		w.see()
	}
	l.queue.asked()()
	l.fault.Store(&outage{condition: Stopped, cause: errClosed, since: time.Now()})
	kept := l.spool.close()
	if fault != nil {
		return errors.Join(fmt.Errorf("closing the log with %d entries unwritten: %w", len(w.pending), fault), kept)
	}
	return kept
}

// attempt writes a group (which may be nil) together with what is pending, and
// opens or closes the gates by how that went.
func (w *writer) attempt(ctx context.Context, g *group, keep bool) {
	w.log.gates(w.try(ctx, g, keep))
}

func (w *writer) try(ctx context.Context, g *group, keep bool) error {
	defer w.log.begin()()
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	err := w.settle(ctx)
	if err == nil {
		rows := w.pending
		if g != nil {
			rows = append(rows[:len(rows):len(rows)], g.rows...)
		}
		err = w.write(ctx, rows, keep)
	}
	if errors.Is(err, ErrFull) && w.log.reserve.release() {
		w.log.config.Log.LogAttrs(w.log.base, slog.LevelWarn, "the disk is full: the space that was held back is released, for what takes access away")
	}
	w.sound(err)
	if g != nil {
		if err != nil {
			w.pending = append(w.pending, g.rows...)
			if !w.doubtful {
				w.forget()
			}
			g.err = err
		}
		close(g.done)
	}
	return err
}

// settle asks the store whether a doubtful write was stored.
func (w *writer) settle(ctx context.Context) error {
	if !w.doubtful {
		return nil
	}
	stored, err := w.stored(ctx, w.pending)
	if err != nil {
		return err
	}
	w.doubtful = false
	if stored > 0 {
		w.found(w.pending[:stored])
		w.pending = w.pending[stored:]
	}
	w.forget()
	return nil
}

// stored returns how many of the rows, from the first on, are in the store. A
// failed write and groups that came after it may lie together in rows.
func (w *writer) stored(ctx context.Context, rows []entryRow) (int, error) {
	n := 0
	for _, r := range rows {
		switch _, err := w.store.Find(ctx, r.ID); {
		case errors.Is(err, gatehouse.ErrNotFound):
			return n, w.reload(ctx)
		case err != nil:
			return 0, err
		}
		n++
	}
	return n, w.reload(ctx)
}

// found notes that rows whose write was in doubt are in the log.
func (w *writer) found(rows []entryRow) {
	all := make([]Row, len(rows))
	for i, r := range rows {
		all[i] = r.Row
	}
	w.unspool(all)
}

// forget drops the pending entries of callers that were told of the failure.
func (w *writer) forget() {
	left := w.pending[:0]
	for _, r := range w.pending {
		if !r.awaited {
			left = append(left, r)
		}
	}
	w.pending = left
}

// write makes the rows durable. On success nothing is pending. An error leaves
// the tree as it was; doubtful says whether the rows may be stored.
func (w *writer) write(ctx context.Context, rows []entryRow, keep bool) error {
	for range maxConflicts {
		next, batch, err := w.batch(rows, keep)
		if err != nil {
			return err
		}
		if len(rows) == 0 && keep && w.head.Kept == w.head.Size && w.log.fault.Load() == nil {
			w.kept = time.Now()
			return nil // It is kept already.
		}
		err = w.store.Append(ctx, w.head, batch)
		switch {
		case err == nil:
			w.advance(next, batch)
			return nil
		case errors.Is(err, gatehouse.ErrConflict) && len(rows) == 0:
			if err := w.reload(ctx); err != nil {
				return err
			}
			continue
		case len(rows) == 0:
			return err
		}
		// Whatever the error says, the batch may have been stored. Ask; if the
		// store cannot say, ask later.
		n, asking := w.stored(ctx, rows)
		switch {
		case asking != nil:
			w.doubtful = true
			return err
		case n == len(rows):
			w.found(rows)
			w.pending = nil
			return nil
		case !errors.Is(err, gatehouse.ErrConflict):
			return err
		}
		// Another process appended first, and reload has followed it.
	}
	return fmt.Errorf("other processes were faster %d times: %w", maxConflicts, gatehouse.ErrUnavailable)
}

// batch computes what appending the rows means.
func (w *writer) batch(rows []entryRow, keep bool) (*tree, Batch, error) {
	next := w.tree.clone()
	o := w.log.fault.Load()
	b := Batch{Rows: make([]Row, len(rows)), Tight: o != nil && o.condition == Full, Keep: keep || time.Since(w.kept) >= keepEvery && len(rows) > 0}
	for i, r := range rows {
		b.Rows[i] = r.Row
		b.Rows[i].Seq = next.size
		next.push(tlog.Hash(r.Hash), func(t Tile) { b.Tiles = append(b.Tiles, t) })
	}
	var err error
	b.Note, err = signCheckpoint(w.signer, next.size, next.root())
	return next, b, err
}

// advance takes over the state that was just stored.
func (w *writer) advance(next *tree, b Batch) {
	w.tree = next
	w.head.Size, w.head.Note = next.size, b.Note
	if b.Keep {
		w.head.Kept = next.size
		w.head.Checkpoints++
		w.kept = time.Now()
	}
	w.pending = nil
	w.unspool(b.Rows)
}

// unspool removes from the spool what is in the log.
func (w *writer) unspool(rows []Row) {
	if err := w.log.spool.written(rows); err != nil {
		w.log.config.Log.LogAttrs(w.log.base, slog.LevelError, "the spool cannot be emptied", slog.String("error", err.Error()))
	}
}

// load reads the newest state.
func (w *writer) load(ctx context.Context) error {
	w.tree, w.head = &tree{}, Head{Kept: -1}
	return w.reload(ctx)
}

// reload follows the store to its newest state, from the state that is known,
// and checks that the hashes stored lead to the root that is signed.
func (w *writer) reload(ctx context.Context) error {
	head, err := w.store.Head(ctx)
	if err != nil {
		return err
	}
	t := w.tree
	switch {
	case head.Size < t.size:
		return shrunk(t.size, head.Size)
	case head.Size-t.size < 2*tileWidth:
		t = t.clone()
		hashes, err := w.store.Hashes(ctx, t.size, head.Size)
		if err != nil {
			return err
		}
		if t.size+int64(len(hashes)) != head.Size {
			return errBroken
		}
		for _, h := range hashes {
			if len(h) != tlog.HashSize {
				return errBroken
			}
			t.push(tlog.Hash(h), func(Tile) {})
		}
	default:
		if t, err = rebuild(ctx, w.store, head.Size); err != nil {
			return err
		}
	}
	if len(head.Note) > 0 {
		// Signatures are deterministic, so signing again shows both that the
		// key is the same and that the root is.
		want, err := signCheckpoint(w.signer, t.size, t.root())
		if err != nil {
			return err
		}
		if !bytes.Equal(want, head.Note) {
			return errBroken
		}
	} else if head.Size != 0 {
		return errBroken
	}
	w.tree, w.head = t, head
	return nil
}

var errBroken = tampered("the log's stored hashes do not lead to its signed checkpoint, or another key signed it")
