package audit

import (
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"
)

// A claim is a checkpoint that one log holds of another. Of size 0, it says only that
// the log is there.
type claim struct {
	size int64
	root tlog.Hash
	// by is the number of the log that says it, in its entry seq.
	by, seq int64
}

type claimant struct {
	by int64
	of string
}

// maxClaims bounds what is kept of what is said of one log: a year of minutes. Beyond
// it, every second one is left out.
const maxClaims = 1 << 19

// said takes what an entry says of logs.
func (v *logsVerification) said(by int64, r *Row) {
	leaf, err := DecodeLeaf(r.Leaf)
	if err != nil {
		return // it is reported where entries are
	}
	switch leaf.Action {
	case "log.node":
		if by == 0 {
			v.named[leaf.Facts["origin"]] = leaf.Facts["key"]
			v.claim(leaf.Facts["origin"], claim{by: by, seq: r.Seq})
		}
	case "log.cross":
		size, err := strconv.ParseInt(leaf.Facts["size"], 10, 64)
		root, err2 := tlog.ParseHash(leaf.Facts["root"])
		if err == nil && err2 == nil {
			v.claim(leaf.Facts["origin"], claim{size, root, by, r.Seq})
		}
	case "log.accept":
		// An operator has said that the logs go on as they were then.
		for origin, all := range v.claims {
			v.claims[origin] = slices.DeleteFunc(all, func(c claim) bool { return c.by == by })
			delete(v.newest, claimant{by, origin})
		}
	}
}

func (v *logsVerification) claim(origin string, c claim) {
	who := claimant{c.by, origin}
	v.newest[who] = max(c.size, v.newest[who])
	all := append(v.claims[origin], c)
	if len(all) > maxClaims {
		half := all[:0]
		for i := 1; i < len(all); i += 2 {
			half = append(half, all[i])
		}
		all = half
	}
	v.claims[origin] = all
}

// entry names the entry that says something.
func (v *logsVerification) entry(c claim) string {
	for _, l := range v.all {
		if l.Number == c.by {
			return fmt.Sprintf("entry %d of the log %s", c.seq, l.Origin)
		}
	}
	return fmt.Sprintf("entry %d of log %d", c.seq, c.by)
}
