package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/gateway"
	"gatehouse/internal/reconcile"

	"github.com/spf13/cobra"
)

// openReconcile puts together what compares the log with other figures.
func (p *parts) openReconcile() (err error) {
	p.meter = reconcile.NewMeter(reconcile.MeterConfig{Store: p.db.Reconcile(), Index: p.logIndex, Posts: countedApps(p.cfg), Logger: p.logger})
	p.reconcile, err = reconcile.New(reconcile.Config{
		Store: p.db.Reconcile(), Log: p.log, Logs: p.reconciledLogs, Meter: p.meter, Index: p.logIndex,
		Person: func(ctx context.Context, id gatehouse.ConnectionID) (gatehouse.PersonID, error) {
			con, err := p.db.Connect().Connection(ctx, id)
			return con.Person, err
		},
		Usage: usageApps(p.cfg), FetchUsage: p.fetchUsage, Logger: p.logger,
	})
	return err
}

// reconciledLogs returns the logs of all nodes.
func (p *parts) reconciledLogs(ctx context.Context) ([]reconcile.Log, error) {
	list, err := p.db.AuditLogs(ctx)
	if err != nil {
		return nil, err
	}
	logs := make([]reconcile.Log, len(list))
	for i, l := range list {
		log := p.db.AuditLog(l.Number)
		logs[i] = reconcile.Log{Number: l.Number, List: log, Entries: log}
	}
	return logs, nil
}

// heard hands what the gateway heard to who counts it.
func heard(h gateway.Heard) reconcile.Heard {
	return reconcile.Heard{
		Platform: h.Platform, App: h.App, Operation: h.Operation, Person: h.Person, Connection: h.Connection,
		Began: h.Began, Header: h.Header,
	}
}

func auditReconcile(o *options) *cobra.Command {
	var asJSON bool
	var since time.Duration
	c := &cobra.Command{
		Use:   "reconcile",
		Short: "Compare the log with figures that Gatehouse does not make",
		Long: `Compares the log with what X counts of each token's calls and with what the
database holds, now instead of at the next of the daily times at which 'gatehouse
run' does it. What the log does not explain is a difference: it becomes an entry of
the log, and is printed. Exit status 1 means that there is one.

The first run only notes what the database holds. What a running Gatehouse has heard
in the last five seconds is left for the next time.

With --since nothing is compared: the differences of that time are printed that the
log has.`,
		Example: `  gatehouse audit reconcile
  gatehouse audit reconcile --since 168h --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if c.Flags().Changed("since") && since <= 0 {
				return usagef("--since %s: give a time that has passed, such as 24h", since)
			}
			return with(c.Context(), o, func(p *parts) error {
				report := &reconcile.Report{At: time.Now().UTC(), Posts: []reconcile.PostsCount{}, Counts: []reconcile.Count{}}
				var err error
				if since > 0 {
					report.Differences, err = p.differences(c.Context(), time.Now().Add(-since))
				} else {
					report, err = p.reconcile.All(c.Context())
				}
				if err != nil {
					return err
				}
				if asJSON {
					err = printJSON(c.OutOrStdout(), report)
				} else {
					err = printReport(c.OutOrStdout(), report, since > 0)
				}
				if err == nil && len(report.Differences) > 0 {
					err = &wantingError{}
				}
				return err
			})
		},
	}
	c.Flags().DurationVar(&since, "since", 0, "print the differences that the log has since so long ago, and compare nothing")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// printReport prints what was found for a person.
func printReport(out io.Writer, report *reconcile.Report, listed bool) error {
	if !listed {
		fmt.Fprintf(out, "windows of X looked at closely: %d", report.Windows)
		if report.Unjudged > 0 {
			fmt.Fprintf(out, ", of which nothing can be said about %d", report.Unjudged)
		}
		fmt.Fprintln(out)
		for _, c := range report.Posts {
			fmt.Fprintf(out, "posts of %s on %s: X counts %d, the log allows %d (%d seen in replies)\n", c.App, c.Day, c.Used, c.Most, c.Read)
		}
		if report.UsageFailed+report.UsageUnjudged > 0 {
			fmt.Fprintf(out, "X's count of posts: not had for %d apps, nothing can be said about %d days\n", report.UsageFailed, report.UsageUnjudged)
		}
		if report.Baseline != "" {
			fmt.Fprintf(out, "counts begin anew (%s): they are compared from the next time on\n", report.Baseline)
		}
		for _, n := range report.Counts {
			fmt.Fprintf(out, "%s: %d more, the log allows %d to %d\n", n.Name, n.Added, n.Least, n.Most)
		}
	}
	rows := make([][]string, 0, len(report.Differences))
	for _, d := range report.Differences {
		rows = append(rows, []string{
			when(d.Until), d.Check, dash(string(d.App)), dash(string(d.Operation)), dash(string(d.Connection)),
			fmt.Sprint(d.Counted), fmt.Sprint(d.Logged), fmt.Sprint(d.Excess), d.Entry,
		})
	}
	return table(out, "No difference.", []string{"UNTIL", "CHECK", "APP", "OPERATION", "CONNECTION", "COUNTED", "LOGGED", "EXCESS", "ENTRY"}, rows)
}

// mostDifferences bounds a listing.
const mostDifferences = 1000

// differences are those that the log has since a time, with the connections that can
// still be opened.
func (p *parts) differences(ctx context.Context, since time.Time) ([]reconcile.Difference, error) {
	found, err := p.listLogs(ctx, audit.Filter{Last: mostDifferences, Since: since, Action: reconcile.ActionDifference})
	if err != nil {
		return nil, err
	}
	owners, err := p.owners(ctx, found)
	if err != nil {
		return nil, err
	}
	list := make([]reconcile.Difference, 0, len(found))
	for _, e := range found {
		d := reconcile.ReadDifference(&e.Leaf)
		people, err := p.open(ctx, e, owners)
		if err != nil {
			return nil, fmt.Errorf("opening what entry %s says of a person: %w", e.ID, err)
		}
		d.Connection = gatehouse.ConnectionID(people["connection"])
		list = append(list, d)
	}
	return list, nil
}

// checkReconciled says when the log was compared, and whether there were differences
// in the last week.
func checkReconciled(ctx context.Context, p *parts) (string, error) {
	done, err := p.db.Reconcile().ReconcileDone(ctx)
	if err != nil {
		return "", err
	}
	if done.IsZero() {
		return "not compared yet; 'gatehouse run' does it at its first start", nil
	}
	found, err := p.listLogs(ctx, audit.Filter{Last: mostDifferences, Since: time.Now().Add(-7 * 24 * time.Hour), Action: reconcile.ActionDifference})
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		return "", fmt.Errorf("%d differences in the last week, the newest in entry %s", len(found), found[len(found)-1].ID)
	}
	if late := time.Since(done); late > 48*time.Hour {
		return "", errors.New("the log was last compared at " + when(done) + ": 'gatehouse run' does it once a day")
	}
	return "no difference in the last week, compared at " + when(done), nil
}
