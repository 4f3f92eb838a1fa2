package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"gatehouse"
	"gatehouse/internal/audit"

	"github.com/spf13/cobra"
)

// newPruner returns what prunes the log as the configuration says.
func (p *parts) newPruner() (*audit.Pruner, error) {
	c := audit.PruneConfig{
		Log: p.log, Store: p.db.Audit(), Signer: p.signer, Keep: p.cfg.Audit.Keep(), Dir: p.cfg.Audit.Archive.Path(), Logger: p.logger,
	}
	if c.Dir != "" {
		if info, err := os.Stat(c.Dir); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("audit.archive: %s is no directory: %w", c.Dir, errors.Join(gatehouse.ErrInvalid, err))
		}
	}
	return audit.NewPruner(c)
}

func auditPrune(o *options) *cobra.Command {
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
				pruner, err := p.newPruner()
				if err != nil {
					return err
				}
				do, verb := pruner.Prune, "pruned"
				if dryRun {
					do, verb = pruner.Due, "would be pruned"
				}
				segments, err := do(c.Context())
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
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be pruned")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// whereEntry says what became of an entry that the log does not hold, if it may have
// been pruned.
func (p *parts) whereEntry(ctx context.Context, id string) error {
	archives, err := p.db.Audit().Archives(ctx, id)
	switch {
	case err != nil:
		return err
	case len(archives) == 0:
		return fmt.Errorf("there is no entry %s: %w", id, gatehouse.ErrNotFound)
	case archives[0].File == "":
		return fmt.Errorf("there is no entry %s; if there ever was, it was pruned, and no archive of that time was made: %w", id, gatehouse.ErrNotFound)
	}
	return fmt.Errorf("there is no entry %s; if there ever was, it was pruned and is in the archive %s (--archive FILE): %w", id, archives[0].File, gatehouse.ErrNotFound)
}
