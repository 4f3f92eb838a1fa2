package main

import (
	"errors"
	"fmt"
	"log/slog"

	"gatehouse/internal/audit"

	"github.com/spf13/cobra"
)

// reindexed is what 'audit reindex --json' prints.
type reindexed struct {
	// Entries is how many the log has, and Indexed how many of them are in complete
	// segments.
	Entries int64 `json:"entries"`
	Indexed int64 `json:"indexed"`
}

func auditReindex(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "reindex",
		Short: "Make the log's search index anew",
		Long: `Throws away what the log is searched by and makes it anew from the entries. Nothing
depends on it: while it is made, searches read the log through. A Gatehouse that runs
keeps the index itself; this is for one that was found damaged, or to have it at once
after an upgrade. It needs the database and no key.`,
		Example: "  gatehouse audit reindex",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			cfg, err := configToVerify(o)
			if err != nil {
				return err
			}
			db, err := openStore(c.Context(), cfg)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, db.Close()) }()
			var done reindexed
			show := func(int64, int64) {}
			if onTerminal(c.ErrOrStderr()) {
				show = progress(c.ErrOrStderr(), "indexing")
			}
			logs, err := db.AuditLogs(c.Context())
			if err != nil {
				return err
			}
			stores := make([]audit.SegmentStore, len(logs))
			for i, l := range logs {
				stores[i] = db.AuditLog(l.Number)
			}
			indexer := audit.NewIndexer(slog.New(slog.DiscardHandler), stores...)
			err = indexer.Rebuild(c.Context(), func(n, total int64) {
				done.Indexed = n
				show(n, total)
			})
			if err != nil {
				return err
			}
			for _, s := range stores {
				head, err := s.Head(c.Context())
				if err != nil {
					return err
				}
				done.Entries += head.Size
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), done)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "indexed: %d of %d entries; the rest is read through until there are enough\n", done.Indexed, done.Entries)
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
