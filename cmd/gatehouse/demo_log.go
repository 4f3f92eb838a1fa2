package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"time"

	"gatehouse/internal/audit"
)

// followPause is how often the demo looks for new entries.
const followPause = 200 * time.Millisecond

// follow shows each call as it appears in the log, with whom it was for. It reads
// the log like anybody else could, so what is shown is what was written.
func follow(ctx context.Context, w io.Writer, p *parts) error {
	f := follower{parts: p, w: w, color: onTerminal(w), who: map[string]string{}, intents: map[string]audit.Shown{}}
	rows, err := p.db.Audit().Before(ctx, math.MaxInt64, 1)
	if err != nil {
		return err
	}
	if len(rows) > 0 {
		f.seen = rows[0].Seq
	}
	tick := time.NewTicker(followPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := f.look(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

type follower struct {
	*parts
	w       io.Writer
	color   bool
	seen    int64
	who     map[string]string      // hash of the person → subject
	intents map[string]audit.Shown // that have no outcome yet
}

// look prints what came since the last time.
func (f *follower) look(ctx context.Context) error {
	entries, err := audit.List(ctx, f.db.Audit(), audit.Filter{Last: 200, Since: time.Now().Add(-5 * time.Second)})
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Seq <= f.seen {
			continue
		}
		f.seen = e.Seq
		if e.Action != "call" && e.Action != "egress.call" && e.Action != "egress.tunnel" {
			continue
		}
		switch e.Kind {
		case audit.KindIntent:
			f.intents[e.ID] = e
		case audit.KindOutcome:
			intent := f.intents[e.Intent]
			delete(f.intents, e.Intent)
			err = f.line(ctx, e, intent, e.When.Sub(intent.When))
		case audit.KindEvent:
			err = f.line(ctx, e, e, 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// line prints one call: time, verdict, purpose, person, operation, result.
func (f *follower) line(ctx context.Context, e, intent audit.Shown, took time.Duration) error {
	verdict, paint, plain := "allow", "\x1b[32m", "\x1b[0m"
	result := fmt.Sprintf("%d in %s", e.Status, took.Round(100*time.Microsecond))
	if e.Verdict == "refuse" {
		verdict, paint, result = "refuse", "\x1b[31m", e.Rule
	} else if e.Verdict != "done" {
		verdict, paint = e.Verdict, "\x1b[33m"
	}
	if !f.color {
		paint, plain = "", ""
	}
	_, err := fmt.Fprintf(f.w, "  %s  %s%-7s%s %-8s %-8s %-9s %-27s %s\n",
		e.When.Local().Format("15:04:05"), paint, verdict, plain, e.Purpose, f.subject(ctx, intent), e.Platform, e.Operation, result)
	return err
}

// subject names the person of an entry.
func (f *follower) subject(ctx context.Context, e audit.Shown) string {
	if len(e.Sealed) == 0 {
		return "-"
	}
	owner, err := f.db.Audit().OwnerOf(ctx, e.Seq)
	if err != nil {
		return "?"
	}
	if known, ok := f.who[string(owner)]; ok {
		return known
	}
	owners, err := f.owners(ctx, []audit.Shown{e})
	if err != nil {
		return "?"
	}
	known, err := f.connect.Known(ctx, owners[string(owner)])
	if err != nil || len(known.Subjects()) == 0 {
		return "?"
	}
	f.who[string(owner)] = string(known.Subjects()[0])
	return f.who[string(owner)]
}
