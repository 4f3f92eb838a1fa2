package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"gatehouse"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Others are the logs of the database that a log is one of. Each records the newest
// checkpoints of the others, so that none can disappear or be rolled back as a whole
// without the others knowing it.
type Others struct {
	Store LogsStore
	// Number is the log's own number.
	Number int64
	// Key is the public key of log 0, which the list of logs does not hold.
	Key string
}

// crossFile, beside the log, holds what was recorded last of the other logs.
const crossFile = "others"

// maxCrossOnly is up to how many entries are looked at to see whether a log has grown
// by nothing but cross-references: two idle logs would otherwise record each other's
// records for ever.
const maxCrossOnly = 16

// A crossed is what was recorded last of another log.
type crossed struct {
	Number int64  `json:"number"`
	Origin string `json:"origin"`
	Key    string `json:"key"`
	// Note is the signed checkpoint.
	Note  []byte `json:"note"`
	Point `json:"-"`
}

// crossing is what the writer knows of the other logs.
type crossing struct {
	// last is when their checkpoints were looked at in order to be recorded.
	last time.Time
	// here says that this process did so.
	here  bool
	known map[int64]crossed
	// seen is the newest head of each that any look found.
	seen map[int64]Head
	// pruned is where each begins, as far as it says so itself.
	pruned map[int64]int64
}

// loadCrossing reads what is kept beside the log. What cannot be read, or is not what
// the other log's key signed, is left out: the next look records it anew.
func (w *writer) loadCrossing() {
	c := crossing{known: map[int64]crossed{}, seen: map[int64]Head{}, pruned: map[int64]int64{}}
	if w.log.aside != "" {
		var kept []crossed
		path := w.log.aside.path(crossFile)
		content, err := readFile(path, 16<<20)
		if err == nil {
			err = json.Unmarshal(content, &kept)
		}
		if info, stat := os.Stat(path); err == nil && stat == nil {
			c.last = info.ModTime()
		}
		for _, k := range kept {
			verifier, err := note.NewVerifier(k.Key)
			if err != nil || verifier.Name() != k.Origin {
				continue
			}
			size, root, err := ParseCheckpoint(k.Note, verifier)
			if err != nil {
				continue
			}
			k.Point = Point{size, root}
			c.known[k.Number] = k
		}
	}
	w.cross = c
}

// crossDue reports whether the other logs' checkpoints are to be recorded.
func (w *writer) crossDue() bool {
	since := time.Since(w.cross.last)
	return since >= w.log.config.CrossEvery || since < 0
}

// around looks at the other logs and, if that is due, records their newest checkpoints.
func (w *writer) around(ctx context.Context, record bool) error {
	o := w.log.config.Others
	if o == nil || !record && len(w.cross.known) == 0 {
		return nil
	}
	var rows []entryRow
	next := maps.Clone(w.cross.known)
	err := o.Store.LookLogs(ctx, func(r LogsReader) error {
		list, err := r.Logs(ctx)
		if err != nil {
			return err
		}
		heads, err := r.Heads(ctx)
		if err != nil {
			return err
		}
		registered := make(map[int64]Registration, len(list))
		for _, l := range list {
			if l.Number == 0 {
				if l, err = firstLog(o.Key); err != nil {
					return err
				}
			}
			registered[l.Number] = l
		}
		if err := w.still(registered, heads); err != nil {
			return err
		}
		if !record {
			return nil
		}
		for _, number := range slices.Sorted(maps.Keys(registered)) {
			head := heads[number]
			if number == o.Number || head.Size == 0 {
				continue
			}
			now, changed, err := w.compareOther(ctx, r.Log(number), registered[number], head)
			if err != nil {
				return err
			}
			if changed {
				rows = append(rows, entryRow{Row: w.log.must(KindEvent, "", Entry{Action: "log.cross", Facts: map[string]string{
					"origin": now.Origin, "size": strconv.FormatInt(now.Size, 10), "root": now.Root.String(),
				}})})
				next[number] = now
			}
		}
		return nil
	})
	if err != nil || !record {
		return err
	}
	if len(rows) > 0 {
		if err := w.try(ctx, &group{rows: rows, done: make(chan struct{})}, false); err != nil {
			return err
		}
	}
	w.cross.known, w.cross.last, w.cross.here = next, time.Now(), true
	w.keepCrossing()
	return nil
}

// firstLog is the registration of log 0.
func firstLog(key string) (Registration, error) {
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return Registration{}, fmt.Errorf("the public key of log 0 cannot be read: %w", err)
	}
	return Registration{Origin: verifier.Name(), Key: key}, nil
}

// still compares what is stored of the other logs with what was recorded of them, and
// with the last look.
func (w *writer) still(registered map[int64]Registration, heads map[int64]Head) error {
	for number, k := range w.cross.known {
		l, ok := registered[number]
		if !ok {
			return tampered("the log %s is gone from the list of logs", k.Origin)
		}
		if l.Origin != k.Origin || l.Key != k.Key {
			return tampered("the list of logs names another log, or another key, for the log %s", k.Origin)
		}
		head, ok := heads[number]
		if !ok {
			return tampered("the log %s, which had %d entries, is gone", k.Origin, k.Size)
		}
		if err := notBack(k.Origin, Head{Size: k.Size, Note: k.Note}, head); err != nil {
			return err
		}
	}
	for number, seen := range w.cross.seen {
		if l, ok := registered[number]; ok && heads[number].Size < seen.Size {
			return notBack(l.Origin, seen, heads[number])
		}
	}
	own := w.log.config.Others.Number
	for number, head := range heads {
		if number != own {
			w.cross.seen[number] = head
		}
	}
	return nil
}

// notBack compares two heads of another log.
func notBack(origin string, was, now Head) error {
	switch {
	case now.Size < was.Size:
		return tampered("the log %s has shrunk from %d to %d entries", origin, was.Size, now.Size)
	case now.Size == was.Size && !bytes.Equal(now.Note, was.Note):
		// Signatures are deterministic: it is signed for another root.
		return tampered("the log %s of %d entries is another one than before", origin, now.Size)
	}
	return nil
}

// compareOther checks that another log has grown from what was recorded of it, and
// returns what is to be recorded now.
func (w *writer) compareOther(ctx context.Context, r LogReader, l Registration, head Head) (now crossed, changed bool, err error) {
	verifier, err := note.NewVerifier(l.Key)
	if err != nil || verifier.Name() != l.Origin {
		return now, false, tampered("the public key of the log %s in the list of logs was changed", l.Origin)
	}
	size, root, err := ParseCheckpoint(head.Note, verifier)
	if err != nil || size != head.Size {
		return now, false, tampered("the newest checkpoint of the log %s is not what its key signed", l.Origin)
	}
	now = crossed{Number: l.Number, Origin: l.Origin, Key: l.Key, Note: head.Note, Point: Point{size, root}}
	begins, err := w.otherPruned(ctx, r, now)
	if err != nil {
		return now, false, err
	}
	k, knew := w.cross.known[l.Number]
	if knew && k.Size == size {
		return now, false, nil
	}
	if knew && k.Size < (begins+Segment-1)/Segment*Segment {
		// This node was away for longer than the other keeps its entries.
		w.log.config.Log.LogAttrs(ctx, slog.LevelWarn, "what was recorded of another audit log was pruned there since, so that it cannot be compared", slog.String("log", l.Origin), slog.Int64("entries", k.Size))
		return now, true, nil
	}
	if knew {
		had, err := rebuild(ctx, r, k.Size)
		if err != nil {
			return now, false, err
		}
		if had.root() != k.Root {
			return now, false, tampered("the first %d entries of the log %s are others than before", k.Size, l.Origin)
		}
	}
	if knew && size-k.Size <= maxCrossOnly {
		rows, err := r.Entries(ctx, k.Size, int(size-k.Size))
		if err != nil {
			return now, false, err
		}
		only := true
		for _, row := range rows {
			leaf, err := DecodeLeaf(row.Leaf)
			only = only && err == nil && leaf.Action == "log.cross"
		}
		if only {
			return now, false, nil
		}
	}
	return now, true, nil
}

// otherPruned returns where another log begins, after it has said itself that it was
// pruned up to there.
func (w *writer) otherPruned(ctx context.Context, r LogReader, now crossed) (int64, error) {
	p, err := r.Pruned(ctx)
	if err != nil {
		return 0, err
	}
	had := w.cross.pruned[now.Number]
	if p.Start == had {
		return had, nil
	}
	if p.Start < had {
		return 0, tampered("the log %s was pruned up to entry %d, and is now said to begin at %d", now.Origin, had, p.Start)
	}
	err = p.justify(ctx, momentStore{r}, now.Point)
	switch {
	case errors.Is(err, errUnjustified), errors.Is(err, ErrTampered), errors.Is(err, gatehouse.ErrNotFound):
		return 0, tampered("entries of the log %s before %d were removed: %v", now.Origin, p.Start, err)
	case err != nil:
		return 0, err
	}
	w.cross.pruned[now.Number] = p.Start
	return p.Start, nil
}

// keepCrossing keeps beside the log what was recorded of the others.
func (w *writer) keepCrossing() {
	if w.log.aside == "" {
		return
	}
	kept := make([]crossed, 0, len(w.cross.known))
	for _, number := range slices.Sorted(maps.Keys(w.cross.known)) {
		kept = append(kept, w.cross.known[number])
	}
	content, err := json.Marshal(kept)
	if err == nil {
		err = w.log.aside.replace(crossFile, content, false)
	}
	if err != nil {
		w.log.config.Log.LogAttrs(w.log.base, slog.LevelWarn, "what was recorded of the other logs cannot be kept beside the log", slog.String("error", err.Error()))
	}
}

// A hashReader is what a tree is rebuilt from.
type hashReader interface {
	Hashes(ctx context.Context, from, to int64) ([][]byte, error)
	Tiles(ctx context.Context, level int, from int64, limit int) ([]Tile, error)
}

// rebuild makes the right edge of a tree of a size from tiles and leaf hashes.
func rebuild(ctx context.Context, m hashReader, size int64) (*tree, error) {
	var partial [][]byte
	for level := 0; ; level++ {
		complete := size >> (tileHeight * level)
		if complete == 0 {
			break
		}
		from := complete &^ (tileWidth - 1)
		var edge []byte
		if level == 0 {
			hashes, err := m.Hashes(ctx, from, complete)
			if err != nil {
				return nil, err
			}
			edge = bytes.Join(hashes, nil)
		} else {
			// Another process may have completed more of them since.
			tiles, err := m.Tiles(ctx, level-1, from, int(complete-from))
			if err != nil {
				return nil, err
			}
			for i, t := range tiles {
				if t.Index != from+int64(i) || len(t.Hashes) != tileWidth*tlog.HashSize {
					return nil, errBroken
				}
				h := tileRoot(t.Hashes)
				edge = append(edge, h[:]...)
			}
		}
		if int64(len(edge)) != (complete-from)*tlog.HashSize {
			return nil, errBroken
		}
		partial = append(partial, edge)
	}
	return restore(size, partial), nil
}
