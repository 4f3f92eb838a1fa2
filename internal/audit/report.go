package audit

import (
	"encoding/base64"
	"fmt"
	"io"
	"time"
)

// maxListed bounds how many problems and open intents a report lists; all are
// counted.
const maxListed = 200

// A Problem is one thing that is not as it was written.
type Problem struct {
	// Where names the row: "entry 17 (id)", "tile 0/3", "checkpoint 5", "head".
	Where string `json:"where"`
	What  string `json:"what"`
}

// An OpenIntent is an intent without an outcome: what it announced may or may
// not have happened. A crash leaves such; it is no sign of tampering.
type OpenIntent struct {
	Seq    int64     `json:"seq"`
	ID     string    `json:"id"`
	Action string    `json:"action"`
	Time   time.Time `json:"time"`
	// number is that of its log.
	number int64
}

// A Report is what Verify found.
type Report struct {
	// Node is the node whose log this is; empty for log 0.
	Node   string `json:"node,omitempty"`
	Origin string `json:"origin"`
	Size   int64  `json:"size"`
	Root   string `json:"root"`
	// Since is the first entry that was looked at.
	Since int64 `json:"since,omitempty"`
	// Pruned is how many entries are not stored any more, from the first on, as the log
	// itself says.
	Pruned int64 `json:"pruned,omitempty"`
	// Uncompared counts checkpoints that other logs hold of this one, and that end
	// within what was pruned, where nothing is left to compare them with.
	Uncompared int64 `json:"uncompared,omitempty"`
	// Unvouched says that the key that this log was verified with is only that of the list
	// of logs, which is not signed: log 0 was looked at from a checkpoint on, behind which
	// it does not name this log, and no key and no checkpoint of this log was given.
	Unvouched   bool  `json:"unvouched,omitempty"`
	Checkpoints int64 `json:"checkpoints"`
	Tiles       int64 `json:"tiles"`
	// Bytes is how many bytes of entries were hashed.
	Bytes int64 `json:"bytes"`
	// Erased counts entries of version 1 whose personal fields are gone, as an erasure
	// leaves them.
	Erased       int64        `json:"erased,omitempty"`
	Problems     []Problem    `json:"problems,omitempty"`
	ProblemCount int64        `json:"problem_count"`
	Open         []OpenIntent `json:"open,omitempty"`
	OpenCount    int64        `json:"open_count"`
}

// OK reports whether the log is as it was written.
func (r *Report) OK() bool { return r.ProblemCount == 0 }

func (r *Report) add(where, format string, args ...any) {
	r.ProblemCount++
	if len(r.Problems) < maxListed {
		r.Problems = append(r.Problems, Problem{where, fmt.Sprintf(format, args...)})
	}
}

// Print writes the report for a person.
func (r *Report) Print(w io.Writer) {
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	for _, problem := range r.Problems {
		p("%s: %s", problem.Where, problem.What)
	}
	if more := r.ProblemCount - int64(len(r.Problems)); more > 0 {
		p("… and %d more", more)
	}
	if !r.OK() {
		p("The log %s does NOT verify: %d problems in %d entries.", r.Origin, r.ProblemCount, r.Size)
		return
	}
	if r.Since > 0 {
		p("Up to entry %d the log is the one of the checkpoint given.", r.Since)
	}
	if r.Pruned > 0 {
		p("Entries 0 to %d were pruned, as the log says; what is left of them are the tiles that lead to the rest.", r.Pruned-1)
	}
	if r.Uncompared > 0 {
		p("%d checkpoints that other logs hold of it end among the pruned entries and were not compared.", r.Uncompared)
	}
	if r.Unvouched {
		p("Its key is only what the list of logs says: log 0 was not read back to where it names this log. Verify without --since, or keep the file log-%s.pub.", r.Node)
	}
	p("The log %s verifies: %d entries, %d checkpoints, %d tiles, root %s.", r.Origin, r.Size, r.Checkpoints, r.Tiles, r.Root)
	if r.Erased > 0 {
		p("%d entries of the first version have no personal fields any more: their people were erased.", r.Erased)
	}
	if r.OpenCount > 0 {
		p("%d intents have no outcome (a process ended in the middle, or still works on them):", r.OpenCount)
		for _, o := range r.Open {
			p("  entry %d (%s) %s at %s", o.Seq, o.ID, o.Action, o.Time.Format(time.RFC3339))
		}
	}
}

func encodeRoot(root [32]byte) string { return base64.StdEncoding.EncodeToString(root[:]) }
