package console

import (
	"context"
	"strconv"
	"time"
)

// LogChecker says how the log is, and verifies it in the background.
type LogChecker interface {
	State(ctx context.Context) (LogState, error)
	// InDoubt returns what was begun since a time and has no outcome.
	InDoubt(ctx context.Context, since time.Time) (DoubtView, error)
	// Verify begins to verify all logs, unless it is being done or was done a moment ago,
	// and returns what to say. Actor is the account of whoever asks, for the log.
	Verify(ctx context.Context, actor string) (string, error)
	// Verification is how far that is, or what came of it last.
	Verification() Verification
}

// DoubtView is what was begun and has no outcome, the newest first. Looked and From are
// zero if all entries were looked through that could be meant; otherwise these are of the
// newest Looked entries, which go back to From.
type DoubtView struct {
	Entries []EntryLine
	Looked  int64
	From    time.Time
}

// LogState is how the log is.
type LogState struct {
	Condition string
	Since     time.Time
	Cause     string
	Queued    int
	Owed      int
	Logs      []LogLine
}

// LogLine is the log of one node, or of all that have no name.
type LogLine struct {
	Node, Origin string
	Size         int64
	// Checkpoint is the newest that is signed, as it is kept; "" before the first.
	Checkpoint string
}

// Verification is how far it is, or what came of the last one. Ended is zero while it
// runs, and Began before the first.
type Verification struct {
	Began, Ended time.Time
	Done, Total  int64
	// Failed says why it came to no result; "" if it did.
	Failed   string
	Entries  int64
	Problems []string
	// Count is how many problems there are; not all are listed.
	Count int64
}

// logStateData is what the page about the log's state shows.
type logStateData struct {
	S     LogState
	Badge Badge
	Says  string
	Tiles []Tile
	V     verificationData
}

// verificationData is the part of that page which keeps itself up to date.
type verificationData struct {
	Verification
	Running  bool
	Progress Progress
	Badge    Badge
}

func verificationOf(x Verification) verificationData {
	d := verificationData{Verification: x, Running: !x.Began.IsZero() && x.Ended.IsZero()}
	d.Progress = Progress{Label: "Verifying", Done: x.Done, Total: x.Total}
	switch {
	case d.Running:
		d.Badge = Badge{Plain, "under way"}
	case x.Began.IsZero():
		d.Badge = Badge{Off, "not done yet"}
	case x.Failed != "":
		d.Badge = Badge{Warn, "no result"}
	case x.Count > 0:
		d.Badge = Badge{Bad, "altered"}
	default:
		d.Badge = Badge{Good, "complete and unaltered"}
	}
	return d
}

func (p logPage) state(v *visit) error {
	s, err := p.checks.State(v.context())
	if err != nil {
		return err
	}
	data := logStateData{S: s, Badge: Badge{Bad, s.Condition}, V: verificationOf(p.checks.Verification())}
	switch s.Condition {
	case "writable":
		data.Badge.Tone, data.Says = Good, "Every call is written down before anything is delivered."
	case "slow":
		data.Badge.Tone, data.Says = Warn, "A write takes longer than callers wait, so calls are refused until it is done."
	case "tampered":
		data.Says = "What is stored is not what was written. The gates are closed until an operator accepts that on the host: gatehouse audit accept."
	default:
		data.Says = "The log cannot be written, so the gates are closed. Taking access away still works. Look at the disk or the database that holds it."
	}
	var size int64
	for _, l := range s.Logs {
		size += l.Size
	}
	data.Tiles = []Tile{{Label: "Entries", Value: count(size), Href: "/log"}, {Label: "Waiting to be written", Value: count(int64(s.Queued))}}
	if len(s.Logs) > 1 {
		data.Tiles = append(data.Tiles, Tile{Label: "Logs", Value: count(int64(len(s.Logs))), Note: "one for each node"})
	}
	if s.Owed > 0 {
		data.Tiles = append(data.Tiles, Tile{Label: "Done and not yet written", Value: count(int64(s.Owed)), Tone: Bad})
	}
	return v.show("log-state.html", "State of the log", data)
}

// stateEvery is how often a verification that is watched is looked at.
const stateEvery = time.Second

func (p logPage) stateFeed(v *visit, to *feed) error {
	for last, first := (verificationData{}), true; ; first = false {
		now := verificationOf(p.checks.Verification())
		if first || now.Running || last.Running || !now.Began.Equal(last.Began) {
			if err := to.send("replace", "log-state.html", "verification", now); err != nil {
				return err
			}
		}
		last = now
		if err := to.wait(nil, stateEvery); err != nil {
			return err
		}
	}
}

func (p logPage) verify(v *visit, _ *nothing) (*outcome, error) {
	said, err := p.checks.Verify(v.context(), v.actor())
	if err != nil {
		return nil, err
	}
	return goTo("/log/state").saying(said), nil
}

// doubtTimes are how far back one looks for what has no outcome, in hours.
var doubtTimes = []int{1, 24, 7 * 24}

func (p logPage) inDoubt(v *visit) error {
	hours := doubtTimes[0]
	data := struct {
		Times []periodLink
		Table Table
		Part  DoubtView
	}{}
	if asked, err := v.number("hours", "Time in hours", doubtTimes); err != nil {
		return err
	} else if asked != nil {
		hours = *asked
	}
	for _, h := range doubtTimes {
		data.Times = append(data.Times, periodLink{span(time.Duration(h) * time.Hour), v.with("hours", strconv.Itoa(h)), h == hours})
	}
	found, err := p.checks.InDoubt(v.context(), v.now.Add(-time.Duration(hours)*time.Hour))
	if err != nil {
		return err
	}
	list := found.Entries
	data.Part = found
	more := len(list) > 4*maxLogRows
	data.Table = logTable(v, "What was begun, and of which nobody knows how it ended", list[:min(len(list), 4*maxLogRows)])
	data.Table.Empty = Empty{Title: "Nothing is in doubt", Text: "Everything that was begun in this time has an outcome. An intent without one is left when the process dies in between, or while a stream is open."}
	if found.Looked > 0 {
		data.Table.Empty = Empty{Title: "Nothing among these is in doubt", Text: "What is older was not looked through here."}
	}
	if more {
		data.Table.Pager.Text = "the newest of " + count(int64(len(list)))
	}
	return v.show("in-doubt.html", "In doubt", data)
}
