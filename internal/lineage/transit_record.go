package lineage

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// counted is a flow of a transfer, with whose it is: nobody's, somebody's, or that of
// several who may be meant.
type counted struct {
	flow BatchFlow
	set  []Owner
}

// record makes the hits' flows durable.
func (t *Transit) record(ctx context.Context, sights []sight) error {
	j := joining{l: t.lineage, now: time.Now()}
	n := &t.lineage.noted
	n.mu.Lock()
	n.turn(t.lineage, j.now)
	for i := range sights {
		s := &sights[i]
		c := counted{flow: BatchFlow{Person: -1, Day: dayOf(j.now), Edge: s.way(&t.transfer)}}
		switch len(s.hit.Owners) {
		case 0:
		case 1:
			c.flow.Owner = s.hit.Owners[0]
		default:
			c.set = slices.Sorted(slices.Values(s.hit.Owners))
		}
		if t.count(&j, c) && t.lineage.config.Recognised != nil {
			t.lineage.config.Recognised(c.flow.Edge.Class, c.flow.Edge.Verdict, t.transfer.Destination)
		}
	}
	n.mu.Unlock()
	return j.wait(ctx)
}

// key names a flow in the memory.
func (c *counted) key(h *hasher) sum {
	e := &c.flow.Edge
	return h.of(sum{}, 5+int64(c.flow.Day), string(e.Verdict)+fmt.Sprint(c.flow.Owner, c.set), string(e.Class), string(e.Operation), string(e.Purpose),
		string(e.App), string(e.Service), e.Destination, string(e.SentFor), e.Part)
}

// of returns the flow as a group takes it in. j.l.noted.mu is held.
func (c *counted) of(j *joining) BatchFlow {
	f := c.flow
	if c.set != nil {
		hash := setHash(c.set)
		f.Person = j.into().person(j.l.hash.of(sum{}, 6, hash), pending{BatchPerson: BatchPerson{Hash: hash, Candidates: c.set}})
	}
	return f
}

// count counts this transfer in a flow, once, and reports whether it did. notes.mu is
// held.
func (t *Transit) count(j *joining, c counted) bool {
	key := c.key(&t.lineage.hash)
	if _, known := t.counted[key]; known {
		return false
	}
	if len(t.counted) < maxJudged {
		t.counted[key] = c
	}
	j.flow(key, sum{}, func() BatchFlow { return c.of(j) })
	return true
}

// TakeBack says that the transfer was stopped after some of it had been let go. What
// is on record as passed or reported becomes Stopped when nothing of the transfer had
// left, and Unknown when some may have: whoever it was for may have it, or may have
// thrown it away with the half of a request that came. When it returns nil, that is
// durable; an error leaves it as it was.
func (t *Transit) TakeBack(ctx context.Context, left bool) error {
	became := Stopped
	if left {
		became = Unknown
	}
	j := joining{l: t.lineage, now: time.Now()}
	n := &t.lineage.noted
	n.mu.Lock()
	n.turn(t.lineage, j.now)
	for key, c := range t.counted {
		if v := c.flow.Edge.Verdict; v != Passed && v != Reported {
			continue
		}
		delete(t.counted, key)
		j.uncount(key, func() BatchFlow { return c.of(&j) })
		c.flow.Edge.Verdict = became
		t.count(&j, c)
	}
	n.mu.Unlock()
	return j.wait(ctx)
}

// way is the way of a hit. Where several may be meant, it says what they have in
// common.
func (s *sight) way(t *Transfer) Edge {
	e := s.ways[0]
	for _, other := range s.ways[1:] {
		if other.Platform != e.Platform {
			e.Platform = ""
		}
		if other.App != e.App {
			e.App = ""
		}
		if other.Operation != e.Operation {
			e.Operation = ""
		}
		if other.Purpose != e.Purpose {
			e.Purpose = ""
		}
	}
	return Edge{
		Kind: Sending, Verdict: s.verdict, Platform: e.Platform, App: e.App, Class: s.hit.Class, Operation: e.Operation, Purpose: e.Purpose,
		Service: t.Service, Destination: t.Destination, SentFor: t.Purpose, Part: s.hit.part,
	}
}

// setHash names a set of people: by their numbers, which are no secret.
func setHash(set []Owner) string {
	b := make([]byte, 0, 4*len(set))
	for _, o := range set {
		b = binary.BigEndian.AppendUint32(b, uint32(o))
	}
	digest := sha256.Sum256(b)
	return "set:" + base64.RawURLEncoding.EncodeToString(digest[:])
}
