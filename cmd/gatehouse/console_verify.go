package main

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/console"
)

const (
	// verifyEvery is how soon all logs are verified again: whoever may read the log may
	// ask for it, and each time reads all of it.
	verifyEvery = 5 * time.Minute
	// verifyRests is how many times as long as a batch took is rested after it, so that
	// a verification takes a quarter of a core.
	verifyRests = 3
	// longestRest bounds one rest, after a batch that waited for something else.
	longestRest = time.Second
)

// ruleUnfinished is the rule of a verification that came to no result.
const ruleUnfinished = "log/unfinished"

// verifyOrder is who has the log verified.
type verifyOrder struct {
	actor string
	// receipt is of the intent; recorded is false when the log could not be written,
	// which is when one most wants to know how it is.
	receipt  audit.Receipt
	recorded bool
}

func (l *logChecker) Verify(ctx context.Context, actor string) (string, error) {
	l.mu.Lock()
	before, now := l.last, time.Now().UTC()
	switch {
	case !before.Began.IsZero() && before.Ended.IsZero():
		l.mu.Unlock()
		return "It is being verified already; there is one at a time.", nil
	case before.Failed == "" && now.Before(before.Ended.Add(verifyEvery)):
		l.mu.Unlock()
		return "It was verified a moment ago, as you see here. It can be again from " + before.Ended.Add(verifyEvery).Format("15:04:05 UTC") + " on.", nil
	}
	// While none is under way nothing waits in asked: whoever takes from it ends last.
	l.last = console.Verification{Began: now}
	l.mu.Unlock()
	order := verifyOrder{actor: actor, recorded: true}
	var err error
	if order.receipt, err = l.log.Intent(audit.By(ctx, actor), audit.Entry{Action: "log.verify", Verdict: "allow"}); err != nil {
		order.recorded = false
		l.logger.ErrorContext(ctx, "that the log is verified could not be recorded", slog.Any("error", err))
	}
	l.asked <- order
	if !order.recorded {
		return "It has begun. The log cannot be written now, so that you asked is not in it.", nil
	}
	return "It has begun. You need not wait here.", nil
}

// run verifies the log each time that it is asked for, until ctx ends.
func (l *logChecker) run(ctx context.Context) error {
	if err := l.recall(ctx); err != nil && ctx.Err() == nil {
		l.logger.WarnContext(ctx, "what came of the last verification is not known", slog.Any("error", err))
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case order := <-l.asked:
			l.once(ctx, order)
		}
	}
}

// once verifies the log, and records and keeps what came of it.
func (l *logChecker) once(ctx context.Context, order verifyOrder) {
	report, err := l.verify(ctx)
	l.mu.Lock()
	l.last.Ended = time.Now().UTC()
	if err != nil {
		l.last.Failed = unfinished
	} else {
		l.last.Entries, l.last.Count = report.CountEntries(), report.CountProblems()
		for _, r := range append([]audit.Report{report.Report}, report.Others...) {
			for _, problem := range r.Problems {
				if len(l.last.Problems) < maxProblems {
					l.last.Problems = append(l.last.Problems, problem.Where+": "+problem.What)
				}
			}
		}
	}
	last := l.last
	l.mu.Unlock()
	outcome := audit.Entry{Action: "log.verify", Verdict: "done", Facts: map[string]string{
		"operator": order.actor, "entries": strconv.FormatInt(last.Entries, 10), "problems": strconv.FormatInt(last.Count, 10),
		"seconds": strconv.FormatInt(int64(last.Ended.Sub(last.Began).Seconds()), 10),
	}}
	switch {
	case err != nil:
		outcome.Verdict, outcome.Rule = "failed", ruleUnfinished
		l.logger.ErrorContext(ctx, "the log could not be verified", slog.Any("error", err))
	case last.Count > 0:
		outcome.Verdict, outcome.Rule = "failed", "log/altered"
		l.logger.ErrorContext(ctx, "the log is not as it was written", slog.Int64("problems", last.Count))
	}
	if order.recorded {
		l.log.Outcome(order.receipt, outcome)
	}
}

// unfinished is what is said of a verification without a result.
const unfinished = "It could not be finished; the program's log says why. The log may be as it was written or not."

// recall reads from the log what came of the last verification, which an earlier
// process may have made.
func (l *logChecker) recall(ctx context.Context) error {
	searcher, err := l.searcher(ctx)
	if err != nil {
		return err
	}
	page, err := searcher.Search(ctx, audit.Query{Action: "log.verify", Kind: "outcome"}, "", 1)
	if err != nil || len(page.Entries) == 0 {
		return err
	}
	e := &page.Entries[0]
	number := func(name string) int64 {
		n, err := strconv.ParseInt(e.Facts[name], 10, 64)
		if err != nil || n < 0 {
			return 0
		}
		return n
	}
	v := console.Verification{Ended: e.When, Entries: number("entries"), Count: number("problems")}
	v.Began = v.Ended.Add(-time.Duration(min(number("seconds"), 1<<20)) * time.Second)
	switch {
	case e.Rule == ruleUnfinished:
		v.Failed = unfinished
	case v.Count > 0:
		v.Problems = []string{"The list is not kept; verify again to see it."}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last.Began.IsZero() {
		l.last = v
	}
	return nil
}

// pacer lets work in batches rest after each, so that it takes a share of a core only.
type pacer struct {
	began time.Time
	now   func() time.Time
	pause func(ctx context.Context, d time.Duration)
}

func newPacer() *pacer {
	return &pacer{began: time.Now(), now: time.Now, pause: func(ctx context.Context, d time.Duration) {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}}
}

// rest is called after each batch.
func (p *pacer) rest(ctx context.Context) {
	p.pause(ctx, min(verifyRests*p.now().Sub(p.began), longestRest))
	p.began = p.now()
}
