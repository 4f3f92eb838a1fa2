package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"
)

// carried is what the entries of a segment say of other logs, by their origins: that
// they belong to the database (in log 0), and the newest checkpoint of each.
type carried struct {
	nodes, crosses map[string]map[string]string
}

func newCarried() *carried {
	return &carried{map[string]map[string]string{}, map[string]map[string]string{}}
}

// take takes an entry. It has to be one that the tree proves: the list of logs is not
// signed, so that what is said again comes from the log itself.
func (c *carried) take(l *Leaf) {
	if l.Kind != KindEvent {
		return
	}
	switch l.Action {
	case "log.node":
		c.nodes[l.Facts["origin"]] = l.Facts
	case "log.cross":
		c.crosses[l.Facts["origin"]] = l.Facts
	case "log.accept":
		clear(c.crosses)
	}
}

// carry has the log say again what a segment says of other logs, before it is pruned:
// otherwise a log could be deleted as a whole, once nothing names it. from is the first
// entry behind the segment. What is not as it says, although an operator has accepted
// that since, is left out; without that it is said again, for verification to find.
func (p *Pruner) carry(ctx context.Context, c *carried, from int64) error {
	o := p.config.Others
	if o == nil {
		return nil
	}
	if o.Number != 0 {
		clear(c.nodes) // a node's own, which nothing is derived from
	}
	numbers := map[string]int64{}
	var entries []Entry
	accepted := func() (bool, error) { return p.acceptedSince(ctx, from) }
	err := o.Store.SnapshotLogs(ctx, func(r LogsReader) error {
		entries = nil
		list, err := r.Logs(ctx)
		if err != nil {
			return err
		}
		keys := map[string]string{}
		for _, l := range list {
			if l.Number == 0 {
				if l, err = firstLog(o.Key); err != nil {
					return err
				}
			}
			numbers[l.Origin], keys[l.Origin] = l.Number, l.Key
		}
		for _, origin := range slices.Sorted(maps.Keys(c.nodes)) {
			if keys[origin] != c.nodes[origin]["key"] {
				if gone, err := accepted(); err != nil {
					return err
				} else if gone {
					continue
				}
			}
			entries = append(entries, Entry{Action: "log.node", Verdict: "done", Facts: c.nodes[origin]})
		}
		for _, origin := range slices.Sorted(maps.Keys(c.crosses)) {
			number, listed := numbers[origin]
			same := false
			if listed {
				if same, err = holds(ctx, r.Log(number), c.crosses[origin]); err != nil {
					return err
				}
			}
			if !same {
				if gone, err := accepted(); err != nil {
					return err
				} else if gone {
					continue
				}
			}
			entries = append(entries, Entry{Action: "log.cross", Facts: c.crosses[origin]})
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, e := range entries {
		id, err := p.config.Log.Record(ctx, e)
		if err != nil {
			return err
		}
		if number, listed := numbers[e.Facts["origin"]]; listed && e.Action == "log.node" && p.config.Entered != nil {
			if err := p.config.Entered(ctx, number, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// holds reports whether a log begins with what a cross-reference says, as far as it can
// be seen.
func holds(ctx context.Context, r LogReader, facts map[string]string) (bool, error) {
	size, err := strconv.ParseInt(facts["size"], 10, 64)
	root, err2 := tlog.ParseHash(facts["root"])
	if errors.Join(err, err2) != nil {
		return false, nil
	}
	head, err := r.Head(ctx)
	if err != nil || size < 0 || size > head.Size {
		return false, err
	}
	t, err := rebuild(ctx, r, size)
	if errors.Is(err, errBroken) {
		// Of what was pruned there, too, only the size still says something.
		p, err := r.Pruned(ctx)
		return size < (p.Start+Segment-1)/Segment*Segment, err
	}
	return err == nil && t.root() == root, err
}

// acceptedSince reports whether an operator has accepted, in an entry from an index on,
// what was noticed of the logs. It reads all of them, which is rarely needed.
func (p *Pruner) acceptedSince(ctx context.Context, from int64) (bool, error) {
	for ; ; from += readBatch {
		leaves, err := p.config.Store.Leaves(ctx, from, from+readBatch)
		if err != nil {
			return false, err
		}
		for _, leaf := range leaves {
			l, err := DecodeLeaf(leaf)
			if err != nil {
				return false, fmt.Errorf("reading the log: %w: %w", ErrTampered, err)
			}
			if l.Kind == KindEvent && l.Action == "log.accept" {
				return true, nil
			}
		}
		if len(leaves) < readBatch {
			return false, nil
		}
	}
}
