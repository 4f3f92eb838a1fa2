package audit

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gatehouse"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// TileWidth is how many entries a full tile of level 0 covers: the least that is pruned
// at once.
const TileWidth = tileWidth

// A Pruning is where a log's pruning stands.
type Pruning struct {
	// Start is the first entry that is stored.
	Start int64
	// Since is the size of the log when a pruning was begun that has not ended; -1 if
	// there is none.
	Since int64
}

// An ArchiveFile is the archive of a segment that was pruned.
type ArchiveFile struct {
	Segment         int64
	FirstID, LastID string
	// File is the archive's name without its directory; empty if none was made.
	File string
}

// PruneStore is what a Pruner changes. A claim is one holder's until its time is over or
// it is released; every method but the first is ErrConflict for anybody else. All are
// durable when they return nil.
type PruneStore interface {
	ClaimPruning(ctx context.Context, holder string, now, until time.Time) (Pruning, error)
	MarkPruning(ctx context.Context, holder string, since int64, until time.Time) error
	// Prune deletes the entries from from, where the log begins, to to-1, what they are
	// found by and their tiles of level 0, and has the log begin at to as entry says:
	// all of it or nothing.
	Prune(ctx context.Context, holder string, from, to, entry int64, until time.Time) error
	ReleasePruning(ctx context.Context, holder string) error
	NoteArchive(ctx context.Context, f ArchiveFile) error
}

// PruneLog is a log's store as a Pruner needs it.
type PruneLog interface {
	PruneStore
	VerifyStore
	TileStore
	// Find returns the index of the entry with the id, or ErrNotFound.
	Find(ctx context.Context, id string) (int64, error)
}

// PruneConfig is what a Pruner needs.
type PruneConfig struct {
	Log   *Log
	Store PruneLog
	// Signer is the log's.
	Signer note.Signer
	// Others are the logs beside this one; nil if there are none. What the pruned entries
	// say of them is said again before it goes.
	Others *Others
	// Entered, if not nil, is told the entry of log 0 that names the log with a number
	// from now on.
	Entered func(ctx context.Context, number int64, entry string) error
	// Keep is how long entries are kept; the zero keeps them for good.
	Keep time.Duration
	// Wanted, if not nil, returns the first entry of the log that something else has not
	// got yet; ok is false if nothing waits. A segment with it or with what comes behind
	// it is kept for Wait longer, and then goes.
	Wanted func(ctx context.Context) (first int64, ok bool, err error)
	Wait   time.Duration
	// Dir is where archives go; empty makes none.
	Dir string
	// Logger receives what the daily job cannot do; the zero discards it.
	Logger *slog.Logger
	// Progress, if not nil, is called now and then, for each segment anew.
	Progress func(done, total int64)
}

// A Pruner deletes whole segments of a log that are older than entries are kept: only
// from the beginning, after they were archived, and after the log says so.
type Pruner struct {
	config   PruneConfig
	verifier note.Verifier
	holder   string
}

// NewPruner returns a Pruner.
func NewPruner(c PruneConfig) (*Pruner, error) {
	if c.Log == nil || c.Store == nil || c.Signer == nil || c.Keep < 0 || c.Wait < 0 {
		return nil, errors.New("audit: a pruner needs a log, its store and its key")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Pruner{config: c, verifier: again{c.Signer}, holder: rand.Text()}, nil
}

// again verifies what a signer has signed by signing again: signatures of Ed25519 are
// deterministic.
type again struct{ note.Signer }

func (a again) Verify(msg, signature []byte) bool {
	want, err := a.Sign(msg)
	return err == nil && bytes.Equal(want, signature)
}

const (
	// pruneBatch is how many entries one transaction deletes, so that appends do not
	// wait for it.
	pruneBatch = 4 * tileWidth
	// pruneClaim is how long a claim lasts without a word. Whoever loses it, because an
	// archive took longer, gets no further.
	pruneClaim = 10 * time.Minute
	// pruneDoubt is how old an intent without an outcome has to be before its segment
	// goes: until then the outcome may come.
	pruneDoubt = 24 * time.Hour
	// pruneEvery is how often Run looks.
	pruneEvery = 24 * time.Hour
	// prunePlan bounds how long after a pruning was begun its intent may stand.
	prunePlan = time.Hour
)

// A PrunedSegment is one that was pruned, or would be.
type PrunedSegment struct {
	First int64     `json:"first"`
	Last  int64     `json:"last"`
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	// Archive is its file's name, and SHA256 that file's; empty without one.
	Archive string `json:"archive,omitempty"`
	SHA256  string `json:"sha256,omitempty"`
}

// Run prunes what there is to prune, once a day, until ctx ends.
func (p *Pruner) Run(ctx context.Context) error {
	for p.config.Keep > 0 {
		if _, err := p.Prune(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, errClaimed) {
			p.config.Logger.LogAttrs(ctx, slog.LevelError, "old segments of the audit log could not be pruned; it is tried again tomorrow", slog.String("error", err.Error()))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pruneEvery):
		}
	}
	<-ctx.Done()
	return nil
}

// errClaimed says that there is nothing to do here, because another process is at it.
var errClaimed = errors.New("the log is being pruned, or was until ten minutes ago")

// Due returns the segments that Prune would prune now.
func (p *Pruner) Due(ctx context.Context) (due []PrunedSegment, err error) {
	start, err := Begin(ctx, p.config.Store)
	if err != nil {
		return nil, err
	}
	// Of a segment that is half pruned the rest is not looked at; the log has said
	// already that it goes.
	for first := (start + Segment - 1) / Segment * Segment; ; first += Segment {
		s, old, err := p.old(ctx, first)
		if err != nil || !old {
			return due, err
		}
		due = append(due, s)
	}
}

// Prune prunes all segments that are due and returns those it did. What an earlier run
// has left half done is ended first. The error is ErrConflict while another process is
// at it, and ErrTampered if a segment is not as it was signed: that one is left as it
// is, for 'audit verify'.
func (p *Pruner) Prune(ctx context.Context) (done []PrunedSegment, err error) {
	s := p.config.Store
	now := time.Now()
	state, err := s.ClaimPruning(ctx, p.holder, now, now.Add(pruneClaim))
	if errors.Is(err, gatehouse.ErrConflict) {
		err = fmt.Errorf("%w: %w", errClaimed, err)
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.ReleasePruning(context.WithoutCancel(ctx), p.holder)) }()
	start := state.Start
	if state.Since >= 0 {
		if start, err = p.resume(ctx, state); err != nil {
			return nil, err
		}
	}
	for p.config.Keep > 0 {
		if start%Segment != 0 {
			return done, fmt.Errorf("the log begins at entry %d, within a segment, and does not say that it was being pruned; 'gatehouse audit verify' says more: %w", start, ErrTampered)
		}
		segment, old, err := p.old(ctx, start)
		if err != nil || !old {
			return done, err
		}
		if err := p.segment(ctx, &segment); err != nil {
			return done, fmt.Errorf("pruning entries %d to %d: %w", segment.First, segment.Last, err)
		}
		done = append(done, segment)
		start += Segment
	}
	return done, nil
}

// old reports whether the segment that begins at an entry is complete, covered by the
// newest checkpoint, older than entries are kept, by its last entry, and not waited for. That every
// other one is as old is checked when it is read.
func (p *Pruner) old(ctx context.Context, first int64) (s PrunedSegment, old bool, err error) {
	if p.config.Keep == 0 {
		return s, false, nil
	}
	head, err := p.config.Store.Head(ctx)
	if err != nil || head.Size < first+Segment {
		return s, false, err
	}
	s.First, s.Last = first, first+Segment-1
	for _, end := range []struct {
		index int64
		time  *time.Time
	}{{s.First, &s.From}, {s.Last, &s.To}} {
		leaves, err := p.config.Store.Leaves(ctx, end.index, end.index+1)
		if err != nil {
			return s, false, err
		}
		if len(leaves) == 0 {
			return s, false, fmt.Errorf("entry %d is missing: %w", end.index, ErrTampered)
		}
		l, err := DecodeLeaf(leaves[0])
		if err != nil {
			return s, false, fmt.Errorf("reading entry %d: %w: %w", end.index, ErrTampered, err)
		}
		*end.time = l.When()
	}
	over := time.Since(s.To) - p.config.Keep
	if over <= 0 || over > p.config.Wait || p.config.Wanted == nil {
		return s, over > 0, nil
	}
	wanted, waits, err := p.config.Wanted(ctx)
	if err != nil {
		return s, false, fmt.Errorf("asking who has not got entries %d to %d yet: %w", s.First, s.Last, err)
	}
	return s, !waits || wanted > s.Last, nil
}

// segment archives and prunes one segment.
func (p *Pruner) segment(ctx context.Context, s *PrunedSegment) error {
	r := pruneRecord{first: s.First, last: s.Last}
	view, err := Newest(ctx, NewSource(p.config.Store), p.verifier)
	if err != nil {
		return err
	}
	root, err := view.hashes.ReadHashes([]int64{tlog.StoredHashIndex(2*tileHeight, s.First/Segment)})
	if err != nil {
		return fmt.Errorf("reading the segment's root: %w", broken(err))
	}
	r.root = root[0]
	said := newCarried()
	if r.file, r.sum, err = p.seal(ctx, s, r.root, said); err != nil {
		return err
	}
	if err := p.carry(ctx, said, s.Last+1); err != nil {
		return fmt.Errorf("saying again what they say of other logs: %w", err)
	}
	s.Archive, s.SHA256 = r.file, r.sum
	// If the process ends between the next two lines, whoever looks for the intent
	// finds that there is none.
	if err := p.config.Store.MarkPruning(ctx, p.holder, view.Size, time.Now().Add(pruneClaim)); err != nil {
		return err
	}
	receipt, err := p.config.Log.Intent(ctx, Entry{Action: PruneAction, Facts: r.facts()})
	if err != nil {
		return err
	}
	return p.remove(ctx, r, s.First, receipt)
}

// remove deletes what is left of a segment, from an entry on, and has the log say that
// it is done.
func (p *Pruner) remove(ctx context.Context, r pruneRecord, from int64, receipt Receipt) error {
	s := p.config.Store
	entry, err := s.Find(ctx, receipt.ID())
	if err != nil {
		return fmt.Errorf("looking for the entry that says what is pruned: %w", err)
	}
	for end := r.last + 1; from < end; from += pruneBatch {
		if p.config.Progress != nil {
			p.config.Progress(from-r.first, Segment)
		}
		// It begins at a multiple of 256, not necessarily of pruneBatch.
		if err := s.Prune(ctx, p.holder, from, min(from+pruneBatch, end), entry, time.Now().Add(pruneClaim)); err != nil {
			return err // An intent without an outcome: the next run goes on.
		}
	}
	if p.config.Progress != nil {
		p.config.Progress(Segment, Segment)
	}
	// The claim is still held, so that nobody else says it.
	if err := s.MarkPruning(ctx, p.holder, entry, time.Now().Add(pruneClaim)); err != nil {
		return err
	}
	p.config.Log.Outcome(receipt, Entry{Verdict: "done"})
	if err := p.config.Log.Flush(ctx); err != nil {
		return err
	}
	return s.MarkPruning(ctx, p.holder, -1, time.Now().Add(pruneClaim))
}

// resume ends what a process has left half done, and returns where the log begins then.
func (p *Pruner) resume(ctx context.Context, state Pruning) (int64, error) {
	r, receipt, err := p.announced(ctx, state)
	if err != nil {
		return state.Start, err
	}
	if receipt.receipt == nil {
		// Nothing was announced, or it is all said and done.
		return state.Start, p.config.Store.MarkPruning(ctx, p.holder, -1, time.Now().Add(pruneClaim))
	}
	if r.file != "" && state.Start <= r.last {
		if p.config.Dir == "" {
			return state.Start, fmt.Errorf("the log says that entries %d to %d are in %s, and no directory of archives is configured: %w", r.first, r.last, r.file, gatehouse.ErrInvalid)
		}
		sum, err := p.checked(ctx, r.file, r.first, r.root)
		if err != nil {
			return state.Start, err
		}
		if sum != r.sum {
			return state.Start, fmt.Errorf("the archive %s is another one than the log says: %w", r.file, ErrTampered)
		}
	}
	if err := p.remove(ctx, r, state.Start, receipt); err != nil {
		return state.Start, fmt.Errorf("pruning the rest of entries %d to %d: %w", r.first, r.last, err)
	}
	return r.last + 1, nil
}

// announced looks for the intent of a pruning that has not ended: it stands soon
// behind where the log ended when that began. The receipt is empty if there is none.
func (p *Pruner) announced(ctx context.Context, state Pruning) (r pruneRecord, receipt Receipt, err error) {
	var until time.Time
	for from := state.Since; ; from += readBatch {
		leaves, err := p.config.Store.Leaves(ctx, from, from+readBatch)
		if err != nil {
			return r, receipt, err
		}
		for _, leaf := range leaves {
			l, err := DecodeLeaf(leaf)
			if err != nil {
				return r, receipt, fmt.Errorf("looking for the entry that says what is pruned: %w: %w", ErrTampered, err)
			}
			if until.IsZero() {
				until = l.When().Add(prunePlan)
			}
			if record, err := parsePruneRecord(l); err == nil && record.first <= state.Start && state.Start <= record.last+1 {
				r, receipt = record, receiptOf(l)
			}
			if receipt.receipt != nil && l.Kind == KindOutcome && l.Intent == receipt.ID() {
				return pruneRecord{}, Receipt{}, nil
			}
			if receipt.receipt == nil && l.When().After(until) {
				return r, receipt, nil
			}
		}
		if len(leaves) < readBatch {
			return r, receipt, nil
		}
	}
}

// receiptOf returns the receipt of an intent that another process has written.
func receiptOf(l *Leaf) Receipt {
	return Receipt{&receipt{id: l.ID, action: l.Action, ended: make(chan struct{}, 1)}}
}
