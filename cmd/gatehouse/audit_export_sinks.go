package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/config"
	"gatehouse/internal/export"

	"github.com/spf13/cobra"
)

func sinkNames(cfg *config.Config) []string {
	names := make([]string, len(cfg.Audit.Export))
	for i, s := range cfg.Audit.Export {
		names[i] = s.Name
	}
	return names
}

func auditExportStatus(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Say how far each sink has got, and what went wrong",
		Long: `Says of each sink under audit.export how it is doing, how many entries it has not
accepted yet and for how long the first of them has been waiting, and what went wrong
last. States: new (nothing was sent yet), ok, retrying, stuck (behind for longer than
stuck_after; the log says so), unserved (behind, and no process serves it), removed
(not in the configuration any more).

Exit status 1 means that a sink is stuck, retrying or unserved.`,
		Example: "  gatehouse audit export status --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			ctx := c.Context()
			cfg, err := configToVerify(o)
			if err != nil {
				return err
			}
			verifier, err := readVerifier(beside(cfg, logKeyFile))
			if err != nil {
				return err
			}
			db, err := openStore(ctx, cfg)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, db.Close()) }()
			logs, err := logsOf(ctx, db, verifier.Name(), "")
			if err != nil {
				return err
			}
			reports, err := export.Status(ctx, db.Export(), sinkNames(cfg), logs, time.Now())
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(c.OutOrStdout(), reports)
			} else {
				err = printSinks(c.OutOrStdout(), reports)
			}
			if err == nil && slices.ContainsFunc(reports, func(r export.Report) bool {
				return r.State == export.StateStuck || r.State == export.StateRetrying || r.State == export.StateUnserved
			}) {
				return &wantingError{}
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printSinks(w io.Writer, reports []export.Report) error {
	var rows [][]string
	for _, r := range reports {
		var last time.Time
		if r.Succeeded != nil {
			last = *r.Succeeded
		}
		for _, l := range r.Logs {
			rows = append(rows, []string{r.Sink, r.State, strconv.FormatInt(l.Next, 10), strconv.FormatInt(l.Lag, 10),
				(time.Duration(l.LagSeconds) * time.Second).String(), when(last), strconv.FormatInt(r.Rejected, 10), l.Origin, r.Error})
		}
	}
	return table(w, "No sink is configured (audit.export).", []string{"SINK", "STATE", "NEXT", "BEHIND", "FOR", "LAST SUCCESS", "REJECTED", "LOG", "ERROR"}, rows)
}

func auditExportMove(o *options) *cobra.Command {
	var to int64
	var origin string
	c := &cobra.Command{
		Use:   "move SINK --to INDEX",
		Short: "Send a sink older entries again, or pass over some",
		Long: `Puts a sink's cursor on an entry: that one is sent next, and all after it. Use it when a
sink has lost what it had accepted, when it will never take an entry, or after a restore.
The log says who was moved from where to where.`,
		Example:           `  gatehouse audit export move siem --to 0`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: fromConfig(o, sinkNames),
		RunE: func(c *cobra.Command, args []string) error {
			if to < 0 {
				return usagef("say with --to which entry is sent next, counted from 0")
			}
			ctx := c.Context()
			return with(ctx, o, func(p *parts) error {
				sink := args[0]
				if !slices.Contains(sinkNames(p.cfg), sink) {
					return fmt.Errorf("no sink under audit.export has this name; 'gatehouse audit export status' lists them: %w", gatehouse.ErrNotFound)
				}
				logs, err := logsOf(ctx, p.db, p.signer.Name(), "")
				if err != nil {
					return err
				}
				at := slices.IndexFunc(logs, func(l export.Log) bool { return l.Origin == origin || origin == "" && len(logs) == 1 })
				if at < 0 {
					origins := make([]string, len(logs))
					for i, l := range logs {
						origins[i] = l.Origin
					}
					return usagef("say with --log which log it is about: %s", strings.Join(origins, ", "))
				}
				log := logs[at]
				size, err := log.Store.Size(ctx)
				if err != nil {
					return err
				}
				if to > size {
					return usagef("the log has %d entries: --to is at most that", size)
				}
				cursors, err := p.db.Export().Cursors(ctx)
				if err != nil {
					return err
				}
				from := "none"
				for _, cursor := range cursors {
					if cursor.Sink == sink && cursor.Log == log.Number {
						from = strconv.FormatInt(cursor.Next, 10)
					}
				}
				if _, err := p.log.Record(ctx, audit.Entry{Action: "log.export.move", Verdict: "done", Facts: map[string]string{
					"sink": sink, "origin": log.Origin, "from": from, "to": strconv.FormatInt(to, 10),
				}}); err != nil {
					return err
				}
				now := time.Now()
				if err := p.db.Export().Move(ctx, export.Cursor{Sink: sink, Log: log.Number, Next: to, Since: now, Moved: now}); err != nil {
					return err
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "%s gets entry %d of %s next (before: %s).\n", sink, to, log.Origin, from)
				return err
			})
		},
	}
	c.Flags().Int64Var(&to, "to", -1, "index of the entry that is sent next")
	c.Flags().StringVar(&origin, "log", "", "origin of the log, if there are several")
	return c
}
