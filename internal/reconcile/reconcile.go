// Package reconcile compares what the log says with figures that Gatehouse does not
// make: what the platforms count of each token's calls, and what the database holds.
// Whoever uses a token elsewhere, or changes the database beside the log, appears as a
// difference.
//
// It promises that a difference is reported only if nothing that is known here can
// explain it: every figure is a pair of bounds, and whatever may have counted (a call
// that was refused on the way, one without an answer, one that was sent twice, one of
// another process) counts as ours. A difference is an entry of the log before it is
// remembered as reported, so that a process that dies in between reports it again. It
// must never hold up a call, and never keep a credential or a value of a person.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
)

const (
	// lookEvery is how often windows are judged, and all is every allEvery.
	lookEvery, allEvery = 15 * time.Minute, 24 * time.Hour
	// mostTime bounds one comparison.
	mostTime = 30 * time.Minute
	// keepWindows is how long the figures of a window that is over are kept.
	keepWindows = 24 * time.Hour
	// mostWindows bounds how many windows one look judges; the rest waits for the next.
	mostWindows = 1000
)

// Recorder is what of the log is written to.
type Recorder interface {
	Record(ctx context.Context, e audit.Entry) (string, error)
}

// A Log is one log that is read.
type Log struct {
	// Number is the log's; the log that every installation has is number 0.
	Number  int64
	List    audit.ListStore
	Entries audit.VerifyStore
}

// Config says what a Reconciler works with. It is copied and never changed.
type Config struct {
	Store Store    // required
	Log   Recorder // required
	// Logs returns all logs of the database: a node may have come. Required.
	Logs  func(context.Context) ([]Log, error)
	Meter *Meter // of this process, stored before a look; nil: none
	// Index is the keyed hash that the logs' entries are found by. Required.
	Index audit.IndexHash
	// Person tells whose a connection is, so that an entry about it is sealed for them.
	// ErrNotFound or "" leaves the connection out. Required.
	Person func(context.Context, gatehouse.ConnectionID) (gatehouse.PersonID, error)
	// Usage are the apps whose posts X counts, and FetchUsage asks X for its answer to
	// GET /2/usage/tweets in the name of one of them. nil: not asked.
	Usage      []UsageApp
	FetchUsage func(context.Context, gatehouse.AppName) ([]byte, error)
	// Lease is how long after a process has died another may compare; while it lives, it
	// says three times as often that it does. 0 means a minute.
	Lease time.Duration
	// Logger gets each difference, and what could not be done. nil drops it.
	Logger *slog.Logger
}

// Reconciler compares. It is safe for concurrent use, also in several processes.
type Reconciler struct{ config Config }

// New returns a Reconciler.
func New(c Config) (*Reconciler, error) {
	if c.Store == nil || c.Log == nil || c.Logs == nil || c.Index == nil || c.Person == nil {
		return nil, fmt.Errorf("reconcile: Config lacks Store, Log, Logs, Index or Person: %w", gatehouse.ErrInvalid)
	}
	if c.Lease <= 0 {
		c.Lease = time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Reconciler{c}, nil
}

// A Report is what one reconciliation found.
type Report struct {
	At time.Time `json:"at"`
	// Windows is how many windows of platforms were looked at closely, and Unjudged how
	// many of them nothing can be said about.
	Windows  int `json:"windows"`
	Unjudged int `json:"unjudged"`
	// Posts is how X's count of posts compares; UsageFailed and UsageUnjudged are for how
	// many apps it could not be had, and of how many of their days nothing can be said.
	Posts         []PostsCount `json:"posts"`
	UsageFailed   int          `json:"usage_failed"`
	UsageUnjudged int          `json:"usage_unjudged"`
	// Handles is how many handles' counters were compared, and HandlesUnjudged of how
	// many nothing can be said.
	Handles         int `json:"handles"`
	HandlesUnjudged int `json:"handles_unjudged"`
	// Counts are the equations between log and database.
	Counts []Count `json:"counts"`
	// Baseline says why the counts begin anew instead of being compared; "" if they
	// were compared.
	Baseline string `json:"baseline,omitempty"`
	// Differences are what was found and not reported before.
	Differences []Difference `json:"differences"`
}

// A Difference is one thing that the log does not explain.
type Difference struct {
	// Check is the name of what was compared: docs/reconciliation.md has one heading
	// for each.
	Check     string              `json:"check"`
	Platform  gatehouse.Platform  `json:"platform,omitempty"`
	App       gatehouse.AppName   `json:"app,omitempty"`
	Operation gatehouse.Operation `json:"operation,omitempty"`
	// Connection is one whose token the figures are about.
	Connection gatehouse.ConnectionID `json:"connection,omitempty"`
	// Counted is what the other side says, Logged the most that the log explains, or
	// the least that it demands if that is what Counted is below. Excess is what lies
	// between, negative if something is missing.
	Counted int64 `json:"counted"`
	Logged  int64 `json:"logged"`
	Excess  int64 `json:"excess"`
	// From and Until are the time that the figures are about.
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
	// Entry is the log's entry that reports it.
	Entry string `json:"entry"`
}

// ActionDifference is the action of the entry about a difference.
const ActionDifference = "reconcile.difference"

// ReadDifference returns what an entry about a difference says in clear.
func ReadDifference(l *audit.Leaf) Difference {
	count := func(name string) int64 {
		n, _ := strconv.ParseInt(l.Facts[name], 10, 64) // nothing is made of a fact that we did not write
		return n
	}
	at := func(name string) time.Time {
		t, _ := time.Parse(time.RFC3339, l.Facts[name])
		return t
	}
	return Difference{
		Check: l.Facts["check"], Platform: l.Platform, App: l.App, Operation: l.Operation,
		Counted: count("counted"), Logged: count("logged"), Excess: count("excess"), From: at("from"), Until: at("until"), Entry: l.ID,
	}
}

// Rules of the entries.
const (
	ruleElsewhere = "reconcile/used-elsewhere"
	ruleRows      = "reconcile/rows"
)

// Run judges what the platforms count every quarter of an hour, and compares
// everything once a day, until ctx ends.
func (r *Reconciler) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if err := r.due(ctx); err != nil && ctx.Err() == nil {
			r.config.Logger.ErrorContext(ctx, "comparing the log with other figures", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// due does what is due, if no other process does.
func (r *Reconciler) due(ctx context.Context) error {
	done, err := r.config.Store.ReconcileDone(ctx)
	if err != nil {
		return err
	}
	if time.Since(done) < allEvery {
		_, err := r.once(ctx, r.windows)
		return ignoreBusy(err)
	}
	_, err = r.All(ctx)
	return ignoreBusy(err)
}

// All compares everything now, and records in the log that it did.
func (r *Reconciler) All(ctx context.Context) (*Report, error) {
	return r.once(ctx, func(ctx context.Context, report *Report) error {
		if err := errors.Join(r.windows(ctx, report), r.usages(ctx, report), r.counts(ctx, report), r.handles(ctx, report)); err != nil {
			return err
		}
		facts := map[string]string{
			"windows": strconv.Itoa(report.Windows), "unjudged": strconv.Itoa(report.Unjudged), "differences": strconv.Itoa(len(report.Differences)),
			"counts": strconv.Itoa(len(report.Counts)), "handles": strconv.Itoa(report.Handles), "handles_unjudged": strconv.Itoa(report.HandlesUnjudged),
		}
		if len(r.config.Usage) > 0 {
			facts["posts"], facts["usage_failed"], facts["usage_unjudged"] = strconv.Itoa(len(report.Posts)), strconv.Itoa(report.UsageFailed), strconv.Itoa(report.UsageUnjudged)
		}
		if report.Baseline != "" {
			facts["baseline"] = report.Baseline
		}
		if _, err := r.config.Log.Record(ctx, audit.Entry{Action: "reconcile.done", Verdict: "done", Facts: facts}); err != nil {
			return err
		}
		return r.config.Store.SetReconcileDone(ctx, report.At)
	})
}

// record makes a difference an entry of the log.
func (r *Reconciler) record(ctx context.Context, report *Report, rule string, d Difference) error {
	e := audit.Entry{
		Action: ActionDifference, Platform: d.Platform, App: d.App, Operation: d.Operation, Rule: rule,
		Facts: map[string]string{
			"check": d.Check, "counted": number(d.Counted), "logged": number(d.Logged), "excess": number(d.Excess),
			"from": d.From.Format(time.RFC3339), "until": d.Until.Format(time.RFC3339),
		},
	}
	if d.Connection != "" {
		person, err := r.config.Person(ctx, d.Connection)
		if err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
			return err
		}
		if person != "" {
			e.Person, e.Personal, e.Search = person, map[string]string{"connection": string(d.Connection)}, string(d.Connection)
		}
	}
	var err error
	if d.Entry, err = r.config.Log.Record(ctx, e); err != nil {
		return err
	}
	report.Differences = append(report.Differences, d)
	r.config.Logger.ErrorContext(ctx, "the log does not explain what was counted elsewhere; `gatehouse audit show --id` and docs/reconciliation.md say more",
		slog.String("check", d.Check), slog.String("app", string(d.App)), slog.String("operation", string(d.Operation)),
		slog.Int64("excess", d.Excess), slog.String("entry", d.Entry))
	return nil
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
