package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"gatehouse"

	"golang.org/x/mod/sumdb/note"
)

// Config is what a Log needs.
type Config struct {
	// Store is where the log lies. Several processes may write to one store.
	Store Store
	// Signer signs checkpoints; its name is the log's origin. Its signatures
	// must be deterministic, as Ed25519's are.
	Signer note.Signer
	// Environment stands in every leaf.
	Environment gatehouse.Environment
	// Seal seals a personal field's text with the person's key; the text cannot
	// be opened with another context. Without it entries with personal fields
	// are refused.
	Seal func(ctx context.Context, person gatehouse.PersonID, context string, plaintext []byte) ([]byte, error)
	// Index hashes what entries are found by: people, connections, handles. Without
	// it entries are found by their leaves only.
	Index IndexHash
	// Log receives faults; the zero discards them.
	Log *slog.Logger
	// OnFault is told, once for each outage, why the log cannot be written.
	OnFault func(error)
	// OnRecover is told when it can be written again.
	OnRecover func()
	// Entered is told of each entry that this process adds: of one whose caller waits when
	// it is on disk, with how long that took, of any other when it is on its way. It is
	// called from many goroutines, must not wait, and keeps nothing of the entry. nil
	// costs nothing.
	Entered func(kind string, e Entry, took time.Duration)
	// Aside is a directory on this machine, of this log's own, for what is kept
	// where the log is not: space that is held back, entries that it could not take,
	// the newest checkpoint. Empty keeps none of it.
	Aside string
	// Reserve is how many bytes Prepare holds back there; the zero holds none. It
	// serves if the store lies on the same disk.
	Reserve int64
	// Patience is how long callers wait for one write before they are refused; the
	// zero means 10 s.
	Patience time.Duration
	// LookEvery is how often what is stored is compared with what is known; the zero
	// means every second, and a test of weeks wants less.
	LookEvery time.Duration
	// Others, if not nil, are the logs of the database that this one is one of.
	Others *Others
	// CrossEvery is how often the newest checkpoints of the others are recorded; the zero
	// means every minute.
	CrossEvery time.Duration
	// Queue bounds how many entries may wait to be written; the zero means
	// 65536. When it is reached, intents are refused and refusals wait.
	Queue int
}

// A Log writes entries. It is safe for concurrent use; Run must be running, or
// nothing gets written. Everything about the state of the tree belongs to the
// goroutine of Run.
type Log struct {
	config Config
	queue  *queue
	// base is the context of what must not end with a caller's request.
	base context.Context
	// fault is why the gates are closed; nil while they are open. Only the writer
	// changes it.
	fault atomic.Pointer[outage]
	// stall is set while a write takes longer than callers wait.
	stall atomic.Pointer[outage]
	// busy is set while a write, or a look at what is stored, is under way.
	busy atomic.Bool
	// redo does what was deferred; nil until Redo was called.
	redo    atomic.Pointer[func(context.Context, Deed) error]
	aside   aside
	reserve *reserve
	spool   *spool
	running atomic.Bool
	writer  writer
}

// errClosed is the state after Run has ended.
var errClosed = fmt.Errorf("the log is closed: %w", gatehouse.ErrUnavailable)

// Open opens the log in the store, or an empty one, and checks that its newest
// checkpoint carries this signer's signature and matches the stored hashes.
func Open(ctx context.Context, c Config) (*Log, error) {
	if c.Store == nil || c.Signer == nil || c.Environment == "" {
		return nil, errors.New("audit: a log needs a store, a signer and an environment")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.OnFault == nil {
		c.OnFault = func(error) {}
	}
	if c.OnRecover == nil {
		c.OnRecover = func() {}
	}
	if c.Queue == 0 {
		c.Queue = 65536
	}
	if c.Patience == 0 {
		c.Patience = 10 * time.Second
	}
	if c.LookEvery == 0 {
		c.LookEvery = time.Second
	}
	if c.CrossEvery == 0 {
		c.CrossEvery = time.Minute
	}
	l := &Log{
		config: c, queue: newQueue(c.Queue), base: context.WithoutCancel(ctx),
		aside: aside(c.Aside), reserve: newReserve(c.Aside, c.Reserve), spool: newSpool(c.Aside, c.Signer),
	}
	l.writer = writer{log: l, store: c.Store, signer: c.Signer}
	if err := l.aside.make(); err != nil {
		// What lies there is a second line. Without it the log works, and State and
		// the operator's log say what is missing.
		l.config.Log.LogAttrs(ctx, slog.LevelWarn, "nothing can be kept beside the audit log", slog.String("error", err.Error()))
		l.aside, l.spool = "", newSpool("", c.Signer)
	}
	if err := l.writer.load(ctx); err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	l.writer.loadCrossing()
	if l.aside.alerted() {
		l.alerted()
		return l, nil
	}
	switch err := l.writer.compare(ctx); {
	case err == nil:
	case conditionOf(err) == Tampered:
		l.writer.sound(err)
		l.gates(err)
	default:
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	return l, nil
}

// Prepare makes what is to be there when the disk is full: the space that is held
// back, and a spool. It is for processes that serve; without it, a spool is made
// when it is needed, if there is room.
func (l *Log) Prepare() error {
	if l.config.Aside == "" {
		return nil
	}
	return errors.Join(l.reserve.hold(), l.spool.prepare())
}

// Intent records what is about to be done. When it returns, the entry is on
// disk; when it cannot be, the error is ErrUnavailable and the thing must not
// be done.
func (l *Log) Intent(ctx context.Context, e Entry) (Receipt, error) {
	if e.Verdict == "" {
		e.Verdict = "allow"
	}
	row, err := l.write(ctx, KindIntent, "", e)
	if err != nil {
		return Receipt{}, err
	}
	return Receipt{&receipt{id: row.ID, action: e.Action, index: row.Index, ended: make(chan struct{}, 1)}}, nil
}

// Record records one thing that stands for itself. When it returns, the entry
// is on disk.
func (l *Log) Record(ctx context.Context, e Entry) (id string, err error) {
	row, err := l.write(ctx, KindEvent, "", e)
	return row.ID, err
}

// write builds an entry and waits until it is on disk.
func (l *Log) write(ctx context.Context, kind, intent string, e Entry) (Row, error) {
	e = attributed(ctx, e)
	if err := e.validate(kind); err != nil {
		return Row{}, err
	}
	if err := l.open(); err != nil {
		return Row{}, err
	}
	began := time.Now()
	row, err := l.build(ctx, kind, intent, &e)
	if err != nil {
		return Row{}, err
	}
	g, err := l.queue.wait(row)
	if err != nil {
		return Row{}, err
	}
	patience := time.NewTimer(l.config.Patience)
	defer patience.Stop()
	select {
	case <-g.done:
		if g.err != nil {
			return Row{}, refusal(conditionOf(g.err), g.err)
		}
		l.entered(kind, &e, time.Since(began))
		return row, nil
	case <-patience.C:
		l.stalled() // As below: it may still be written.
		return Row{}, refusal(Slow, errSlow)
	case <-ctx.Done():
		// It may still be written; then it is an intent without an outcome,
		// which is what happened.
		return Row{}, fmt.Errorf("waiting for the log: %w: %w", ctx.Err(), gatehouse.ErrUnavailable)
	}
}

// Refusal records that something was refused, and returns the entry's id
// without waiting for the disk: the entry joins the next group. It waits while
// the queue is full.
func (l *Log) Refusal(e Entry) (id string) {
	if e.Verdict == "" {
		e.Verdict = "refuse"
	}
	row := l.must(KindEvent, "", e)
	if err := l.queue.put(row, true, false); err != nil {
		l.lost(err)
	}
	l.entered(KindEvent, &e, 0)
	return row.ID
}

// entered tells of an entry. It is handed over by value, so that no caller's escapes.
func (l *Log) entered(kind string, e *Entry, took time.Duration) {
	if l.config.Entered != nil {
		l.config.Entered(kind, *e, took)
	}
}

// Outcome records how the thing ended that the receipt's intent announced,
// without waiting: the entry joins the next group. A second outcome of one
// intent is dropped and reported as a fault, as is one without a receipt.
func (l *Log) Outcome(r Receipt, e Entry) {
	if r.receipt == nil {
		l.lost(errors.New("an outcome came without a receipt"))
		return
	}
	select {
	case r.ended <- struct{}{}:
	default:
		l.lost(fmt.Errorf("a second outcome came for one intent of action %q", r.action))
		return
	}
	if e.Action == "" {
		e.Action = r.action
	}
	if e.Verdict == "" {
		e.Verdict = "done"
	}
	row := l.must(KindOutcome, r.id, e)
	if e.Person == "" && r.index.Person != nil {
		// What the intent is found by finds its outcome, too.
		row.Index = r.index
	}
	// Never bounded: an outcome follows an admitted intent, and those are.
	if err := l.queue.put(row, false, false); err != nil {
		l.lost(err)
	}
	l.entered(KindOutcome, &e, 0)
}

// must builds an entry that has to be written whatever is wrong with it: what
// was done or refused is on record even if a part of the record is missing.
func (l *Log) must(kind, intent string, e Entry) Row {
	if err := e.validate(kind); err != nil {
		l.lost(err)
		if _, known := actions[e.Action]; !known {
			e.Action = "audit.unregistered"
		}
		if !slices.Contains(verdicts[kind], e.Verdict) {
			e.Verdict = "failed"
		}
		if len(e.Search) > maxSearch {
			e.Search = ""
		}
		valid := make(map[string]string, len(e.Personal))
		for name, value := range e.Personal {
			if validField(name) {
				valid[name] = value
			}
		}
		e.Personal = valid
	}
	ctx, cancel := context.WithTimeout(l.base, sealTimeout)
	defer cancel()
	row, err := l.build(ctx, kind, intent, &e)
	if errors.Is(err, gatehouse.ErrNotFound) {
		// The person was erased since the thing was begun: what would be sealed has
		// no key any more, and the rest is on record as it should be.
		e.Person, e.Personal, e.Search = "", nil, ""
		facts := map[string]string{"details": "erased"}
		maps.Copy(facts, e.Facts)
		e.Facts = facts
		row, err = l.build(ctx, kind, intent, &e)
	}
	if err == nil {
		return row
	}
	l.lost(err)
	bare := Entry{
		Action: e.Action, Service: e.Service, Purpose: e.Purpose, Platform: e.Platform, App: e.App,
		Verdict: e.Verdict, Status: e.Status, Bytes: e.Bytes,
		Facts: map[string]string{"details": "lost"},
	}
	if row, err = l.build(ctx, kind, intent, &bare); err != nil {
		panic("audit: an entry without details cannot be built: " + err.Error())
	}
	return row
}

// sealTimeout bounds the sealing of what no caller waits for.
const sealTimeout = 5 * time.Second

// lost reports what could not be recorded as it should have been.
func (l *Log) lost(err error) {
	l.config.Log.LogAttrs(l.base, slog.LevelError, "audit entry incomplete", slog.String("error", err.Error()))
	l.config.OnFault(err)
}

// build makes the row of an entry: it seals what is personal, encodes the leaf
// and hashes it, all in the caller's goroutine. The index is given by the writer.
func (l *Log) build(ctx context.Context, kind, intent string, e *Entry) (Row, error) {
	now := time.Now()
	row := Row{ID: newID(now), Index: l.index(e)}
	leaf := Leaf{
		Version: leafVersion, ID: row.ID, Kind: kind, Time: microseconds(now), Environment: l.config.Environment,
		Action: e.Action, Service: e.Service, Purpose: e.Purpose, Platform: e.Platform, App: e.App,
		Operation: e.Operation, Verdict: e.Verdict, Rule: e.Rule, Status: e.Status, Bytes: e.Bytes,
		Facts: e.Facts, Intent: intent,
	}
	if len(e.Personal) > 0 {
		var err error
		if leaf.Personal, row.Personal, err = l.seal(ctx, row.ID, e); err != nil {
			return Row{}, err
		}
		leaf.SealedHash = sealedHash(row.Personal)
	}
	row.Leaf = leaf.appendJSON(make([]byte, 0, 512))
	if len(row.Leaf) > maxLeaf {
		return Row{}, fmt.Errorf("audit: an entry of action %s has %d bytes, more than %d: %w", e.Action, len(row.Leaf), maxLeaf, gatehouse.ErrInvalid)
	}
	h := LeafHash(row.Leaf)
	row.Hash = h[:]
	return row, nil
}

// SealContext is the context that an entry's personal fields are sealed with;
// whoever opens them needs it.
func SealContext(id string) string { return "audit/" + id }

// seal commits to the personal fields and seals what opens the commitments.
func (l *Log) seal(ctx context.Context, id string, e *Entry) (commitments map[string]string, sealed []byte, err error) {
	if l.config.Seal == nil {
		return nil, nil, fmt.Errorf("audit: an entry of action %s has personal fields and this log cannot seal: %w", e.Action, gatehouse.ErrUnavailable)
	}
	commitments, text := commit(e.Personal)
	if len(text) > maxPersonal {
		return nil, nil, fmt.Errorf("audit: the personal fields of an entry of action %s have more than %d bytes: %w", e.Action, maxPersonal, gatehouse.ErrInvalid)
	}
	if sealed, err = l.config.Seal(ctx, e.Person, SealContext(id), text); err != nil {
		return nil, nil, fmt.Errorf("sealing an entry's personal fields: %w", err)
	}
	return commitments, sealed, nil
}

// Flush returns when all entries that were handed over before are on disk, or
// with ErrUnavailable when they cannot be written now.
func (l *Log) Flush(ctx context.Context) error {
	g, err := l.queue.flush()
	if err != nil {
		return err
	}
	select {
	case <-g.done:
		if g.err != nil {
			return refusal(conditionOf(g.err), g.err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the log: %w: %w", ctx.Err(), gatehouse.ErrUnavailable)
	}
}
