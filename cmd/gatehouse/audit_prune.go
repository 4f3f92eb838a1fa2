package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"

	"github.com/spf13/cobra"
)

// newPruner returns what prunes a log as the configuration says.
func (p *parts) newPruner(l nodeLog) (*audit.Pruner, error) {
	c := audit.PruneConfig{
		Log: l.log, Store: p.db.AuditLog(l.Number), Signer: l.signer, Keep: p.cfg.Audit.Keep(), Dir: p.cfg.Audit.Archive.Path(), Logger: p.logger,
		Others: &audit.Others{Store: p.db, Number: l.Number, Key: p.firstKey}, Entered: p.db.EnteredLog,
	}
	if c.Dir != "" {
		if info, err := os.Stat(c.Dir); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("audit.archive: %s is no directory: %w", c.Dir, errors.Join(gatehouse.ErrInvalid, err))
		}
	}
	return audit.NewPruner(c)
}

// pruneFirst prunes log 0 for a node that has a log of its own, once a day until ctx
// ends: what was written before the nodes had names is kept no longer than the rest,
// and perhaps no process of log 0 is left.
func (p *parts) pruneFirst(ctx context.Context) error {
	for p.cfg.Audit.Keep() > 0 {
		if err := p.pruneFirstNow(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, gatehouse.ErrConflict) {
			p.logger.LogAttrs(ctx, slog.LevelError, "old segments of the audit log of nodes without a name could not be pruned; it is tried again tomorrow", slog.String("error", err.Error()))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(24 * time.Hour):
		}
	}
	<-ctx.Done()
	return nil
}

// pruneFirstNow prunes what is due of log 0. It opens the log only then: to open it
// leaves entries in it.
func (p *parts) pruneFirstNow(ctx context.Context) error {
	start, err := audit.Begin(ctx, p.db.Audit())
	if err != nil {
		return err
	}
	look, err := p.newPruner(nodeLog{signer: p.signer, log: p.log})
	if err != nil {
		return err
	}
	due, err := look.Due(ctx)
	if err != nil || len(due) == 0 && start%audit.Segment == 0 {
		return err
	}
	return p.withFirst(ctx, func(l nodeLog) error {
		pruner, err := p.newPruner(l)
		if err != nil {
			return err
		}
		_, err = pruner.Prune(ctx)
		return err
	})
}

func auditPrune(o *options) *cobra.Command {
	var node string
	var dryRun, asJSON bool
	c := &cobra.Command{
		Use:   "prune",
		Short: "Delete the segments of the log that are older than it is kept",
		Long: `Does at once what 'gatehouse run' does each day: segments of 65,536 entries of which
every entry is older than audit.retention are deleted from the beginning of the log,
after they were archived (audit.archive), and after the log says so. Each is checked
first; one that is not as it was signed stays. The rest of the log still verifies, and
so do proofs and checkpoints from before.

What an earlier run has left half done is ended. --dry-run says what would go.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c.Context(), o, func(p *parts) error {
				verb := "pruned"
				var segments []audit.PrunedSegment
				err := p.withLog(c.Context(), node, func(l nodeLog) error {
					pruner, err := p.newPruner(l)
					if err != nil {
						return err
					}
					do := pruner.Prune
					if dryRun {
						do, verb = pruner.Due, "would be pruned"
					}
					segments, err = do(c.Context())
					return err
				})
				if asJSON {
					if segments == nil {
						segments = []audit.PrunedSegment{}
					}
					return errors.Join(err, printJSON(c.OutOrStdout(), segments))
				}
				for _, s := range segments {
					fmt.Fprintf(c.OutOrStdout(), "Entries %d to %d, from %s to %s, %s", s.First, s.Last, stamp(s.From), stamp(s.To), verb)
					if s.Archive != "" {
						fmt.Fprintf(c.OutOrStdout(), "; they are in %s, SHA-256 %s", s.Archive, s.SHA256)
					}
					fmt.Fprintln(c.OutOrStdout(), ".")
				}
				if err == nil && len(segments) == 0 {
					fmt.Fprintln(c.OutOrStdout(), "No segment is older than the log is kept.")
				}
				return err
			})
		},
	}
	c.Flags().StringVar(&node, "node", "", "the log of the node of this name (default: that of the configuration)")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be pruned")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// whereEntry says what became of an entry that no log holds, if it may have been pruned:
// of each log, it may be in one.
func (p *parts) whereEntry(ctx context.Context, id string) error {
	list, err := p.db.AuditLogs(ctx)
	if err != nil {
		return err
	}
	var files []string
	pruned := false
	for _, l := range list {
		archives, err := p.db.AuditLog(l.Number).Archives(ctx, id)
		if err != nil {
			return err
		}
		if len(archives) > 0 {
			pruned = true
			if archives[0].File != "" {
				files = append(files, archives[0].File)
			}
		}
	}
	switch {
	case !pruned:
		return fmt.Errorf("there is no entry %s: %w", id, gatehouse.ErrNotFound)
	case len(files) == 0:
		return fmt.Errorf("there is no entry %s; if there ever was, it was pruned, and no archive of that time was made: %w", id, gatehouse.ErrNotFound)
	}
	return fmt.Errorf("there is no entry %s; if there ever was, it was pruned and is in the archive %s (--archive FILE): %w", id, strings.Join(files, " or "), gatehouse.ErrNotFound)
}
