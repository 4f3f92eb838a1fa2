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
	"gatehouse/internal/export"

	"github.com/spf13/cobra"
)

// newPruner returns what prunes a log as the configuration says.
func (p *parts) newPruner(l nodeLog) (*audit.Pruner, error) {
	c := audit.PruneConfig{
		Log: l.log, Store: p.db.AuditLog(l.Number), Signer: l.signer, Keep: p.cfg.Audit.Keep(), Dir: p.cfg.Audit.Archive.Path(), Logger: p.logger,
		Others: &audit.Others{Store: p.db, Number: l.Number, Key: p.firstKey}, Entered: p.db.EnteredLog,
		Wait: p.cfg.Audit.WaitForSinks(),
		Wanted: func(ctx context.Context) (int64, bool, error) {
			sinks := map[string]bool{}
			for _, s := range p.inForce.Load().cfg.Audit.Export {
				sinks[s.Name] = s.FromNow
			}
			return export.Held(ctx, p.db.Export(), sinks, l.Number)
		},
	}
	if c.Dir != "" {
		if info, err := os.Stat(c.Dir); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("audit.archive: %s is no directory: %w", c.Dir, errors.Join(gatehouse.ErrInvalid, err))
		}
	}
	return audit.NewPruner(c)
}

// goneAfter is how long a log is without any entry before its node is taken to be gone,
// and the other nodes prune it. It is no loss if it is not: it would do the same.
const goneAfter = 7 * 24 * time.Hour

// pruneOthers prunes, once a day until ctx ends, the logs that perhaps no process is left
// to prune: log 0, for a node that has a log of its own, and those of nodes that are gone.
// What they wrote is kept no longer than the rest.
func (p *parts) pruneOthers(ctx context.Context) error {
	for p.cfg.Audit.Keep() > 0 {
		if err := p.pruneOthersNow(ctx, time.Now()); err != nil && ctx.Err() == nil {
			p.logger.LogAttrs(ctx, slog.LevelError, "old segments of other nodes' audit logs could not be pruned; it is tried again tomorrow", slog.String("error", err.Error()))
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

// pruneOthersNow prunes what is due of the logs of pruneOthers at a time. One that cannot
// be pruned does not keep it from the next.
func (p *parts) pruneOthersNow(ctx context.Context, now time.Time) error {
	list, err := p.db.AuditLogs(ctx)
	if err != nil {
		return err
	}
	var failed []error
	for _, l := range list {
		if l.Node == p.cfg.Node {
			continue
		}
		// Another process that is at it will end it.
		if err := p.pruneOther(ctx, l, now); err != nil && !errors.Is(err, gatehouse.ErrConflict) {
			failed = append(failed, fmt.Errorf("the log of node %q: %w", l.Node, err))
		}
	}
	return errors.Join(failed...)
}

// pruneOther prunes what is due of another log. It opens the log only then: to open it
// leaves entries in it.
func (p *parts) pruneOther(ctx context.Context, l audit.Registration, now time.Time) error {
	start, err := audit.Begin(ctx, p.db.AuditLog(l.Number))
	if err != nil {
		return err
	}
	// What is half done was begun by these rules; the entries that say so are young.
	if half := start%audit.Segment != 0; !half {
		if gone, err := p.gone(ctx, l, now); err != nil || !gone {
			return err
		}
		look, err := p.newPruner(nodeLog{Registration: l, signer: p.signer, log: p.log})
		if err != nil {
			return err
		}
		if due, err := look.Due(ctx); err != nil || len(due) == 0 {
			return err
		}
	}
	prune := func(l nodeLog) error {
		pruner, err := p.newPruner(l)
		if err != nil {
			return err
		}
		_, err = pruner.Prune(ctx)
		return err
	}
	if l.Number == 0 {
		return p.withFirst(ctx, prune)
	}
	return p.withLog(ctx, l.Node, prune)
}

// gone reports whether nobody writes a log any more. Log 0 belongs to all nodes.
func (p *parts) gone(ctx context.Context, l audit.Registration, now time.Time) (bool, error) {
	if l.Number == 0 {
		return true, nil
	}
	log := p.db.AuditLog(l.Number)
	head, err := log.Head(ctx)
	if err != nil || head.Size == 0 {
		return false, err
	}
	leaves, err := log.Leaves(ctx, head.Size-1, head.Size)
	if err != nil || len(leaves) == 0 {
		return false, err // a last entry that is missing is for verification to find
	}
	newest, err := audit.DecodeLeaf(leaves[0])
	if err != nil {
		return false, err
	}
	return now.Sub(newest.When()) > goneAfter, nil
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
