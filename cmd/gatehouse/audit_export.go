package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"gatehouse/internal/audit"

	"github.com/spf13/cobra"
)

func auditExport(o *options) *cobra.Command {
	var dir string
	var l logFlags
	var asJSON bool
	var lines lineOptions
	c := &cobra.Command{
		Use:   "export --tiles DIR | --jsonl FILE",
		Short: "Copy the log into files, and look after the sinks that get it",
		Long: `With --tiles it writes the log's entries, tiles and newest checkpoint into a directory in
the form of C2SP tlog-tiles, which any web server can serve as it is, and which public
tools read. Run it again to go on where it stopped; the checkpoint is written last, and
never one that the exported log has not grown to by appending alone.

With --jsonl it writes one line of JSON for each entry into a new file, or with - to
standard output; --follow goes on with what comes until it is interrupted.

Both need the database and the log's public key, and hold nothing that belongs to a
person. Sinks that get every entry while Gatehouse runs stand in the configuration,
under audit.export.`,
		Example: `  gatehouse audit export --tiles /srv/log
  gatehouse audit export --jsonl - --since 24h | jq .leaf.action
  gatehouse audit export --jsonl january.jsonl --since 2026-01-01 --until 2026-02-01`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if (dir == "") == (lines.file == "") {
				return usagef("say with --tiles or with --jsonl where to write")
			}
			if dir != "" && (lines.since != "" || lines.until != "" || lines.follow) {
				return usagef("--since, --until and --follow go with --jsonl")
			}
			ctx := c.Context()
			cfg, err := configToVerify(o)
			if err != nil {
				return err
			}
			db, err := openStore(ctx, cfg)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, db.Close()) }()
			log, verifier, err := l.stored(ctx, cfg, db)
			if err != nil {
				return err
			}
			if lines.file != "" {
				logs, err := logsOf(ctx, db, verifier.Name(), l.node)
				if err != nil {
					return err
				}
				lines.json = asJSON
				return lines.export(ctx, c.OutOrStdout(), logs)
			}
			x := audit.Exporter{
				Source: audit.NewSource(log), Verifier: verifier, Have: directorySource(dir), Put: putInto(ctx, dir),
			}
			if x.Start, err = audit.Begin(ctx, log); err != nil {
				return err
			}
			if onTerminal(c.ErrOrStderr()) {
				x.Progress = progress(c.ErrOrStderr(), "exporting")
			}
			view, err := x.Export(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), map[string]any{"origin": verifier.Name(), "size": view.Size, "root": view.Root.String(), "tiles": dir})
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s holds the log %s of %d entries, root %s.\n", dir, verifier.Name(), view.Size, view.Root)
			return err
		},
	}
	c.Flags().StringVar(&dir, "tiles", "", "directory to write to")
	c.Flags().StringVar(&l.keyFile, "key", "", "the log's public key (default: log.pub, or log-NODE.pub, beside the configuration)")
	c.Flags().StringVar(&l.node, "node", "", "the log of the node of this name (default: that of nodes without one)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringVar(&lines.file, "jsonl", "", "new file to write JSON lines to, or - for standard output")
	c.Flags().StringVar(&lines.since, "since", "", "with --jsonl: none before this: 24h (ago), 2026-05-04 or 2026-05-04T12:00:00Z")
	c.Flags().StringVar(&lines.until, "until", "", "with --jsonl: only before this: 1h (ago), a day or a time")
	c.Flags().BoolVar(&lines.follow, "follow", false, "with --jsonl: go on with what comes")
	c.AddCommand(auditExportStatus(o), auditExportMove(o))
	return c
}

// putInto writes resources below a directory.
func putInto(ctx context.Context, dir string) func(string, []byte) error {
	return func(path string, content []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil { //nolint:gosec // a web server reads it; nothing in it is secret
			return err
		}
		return writeFileSync(name, content, 0o644)
	}
}
