package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/config"
	"gatehouse/internal/store"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"
)

func newAudit(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "audit",
		Short: "The log: verify it, look at it, prove what stands in it",
	}
	c.AddCommand(auditVerify(o), auditShow(o), auditSearch(o), auditInDoubt(o), auditReindex(o), auditProve(o), auditCheckProof(), auditConsistency(o), auditExport(o), auditWatch(), auditKeygen(), auditAccept(o), auditReconcile(o), auditArchive(o), auditPrune(o))
	return c
}

func auditVerify(o *options) *cobra.Command {
	var keyFile, archive string
	var known, since []string
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify",
		Short: "Check that the log is complete and unaltered",
		Long: `Recomputes every hash of the log from its entries, checks every signed checkpoint,
and names what was changed, removed, inserted or reordered. It needs the database
and the log's public key, and no other key. It may run while Gatehouse does.

Where nodes have names, each has a log of its own: all of them are verified, and that
none is missing or was rolled back behind what the others have recorded of it.

Intents without an outcome are listed: the process died in between, or the call is
under way. They are no sign of tampering.

Checkpoints that you keep elsewhere ('gatehouse audit show --checkpoint') show
whether the log was rolled back as a whole: give them with --checkpoint. With --since
only what came after such a checkpoint is looked at entry by entry, and that the log
up to there is still the same is checked by its hashes.`,
		Example: `  gatehouse audit verify
  gatehouse audit verify --key /elsewhere/log.pub --json
  gatehouse audit verify --since checkpoint-of-monday`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			ctx := c.Context()
			cfg, err := configToVerify(o)
			if err != nil {
				return err
			}
			if keyFile == "" {
				keyFile = beside(cfg, logKeyFile)
			}
			verifier, err := readVerifier(keyFile)
			if err != nil {
				return err
			}
			var options audit.LogsOptions
			if options.Known, err = readAll(known); err != nil {
				return err
			}
			if options.Since, err = readAll(since); err != nil {
				return err
			}
			if onTerminal(c.ErrOrStderr()) {
				options.Progress = progress(c.ErrOrStderr(), "verifying")
			}
			db, err := openStore(ctx, cfg)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, db.Close()) }()
			if options.Keys, err = keptKeys(ctx, cfg, db); err != nil {
				return err
			}
			if archive != "" {
				if err := useArchive(ctx, cfg, db, verifier, archive, &options); err != nil {
					return err
				}
			}
			report, err := audit.VerifyLogs(ctx, db, verifier, options)
			if err != nil {
				return err
			}
			if asJSON {
				if err := printJSON(c.OutOrStdout(), report); err != nil {
					return err
				}
			} else {
				report.Print(c.OutOrStdout())
			}
			if !report.OK() {
				return &wantingError{}
			}
			return nil
		},
	}
	c.Flags().StringVar(&keyFile, "key", "", "the log's public key (default: log.pub beside the configuration)")
	c.Flags().StringSliceVar(&known, "checkpoint", nil, "file with a checkpoint that was kept elsewhere; may be repeated")
	c.Flags().StringSliceVar(&since, "since", nil, "file with a checkpoint up to which its log was verified before; may be given once for each log")
	c.Flags().StringVar(&archive, "archive", "", "archive of pruned entries in which a --checkpoint ends")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// readAll reads files whole.
func readAll(paths []string) ([][]byte, error) {
	var all [][]byte
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

// useArchive has the log that an archive is of verified with it; first is the key of log 0.
func useArchive(ctx context.Context, cfg *config.Config, db *store.DB, first note.Verifier, file string, o *audit.LogsOptions) error {
	list, err := db.AuditLogs(ctx)
	if err != nil {
		return err
	}
	keys := []note.Verifier{first}
	for _, l := range list {
		key := o.Keys[l.Node]
		if l.Number != 0 && key == nil {
			if key, err = verifierOfNode(cfg, l); err != nil {
				return err
			}
		}
		if key != nil {
			keys = append(keys, key)
		}
	}
	key, err := archiveKey(file, keys)
	if err != nil {
		return err
	}
	o.ArchiveOf = key.Name()
	o.Archive, err = knownTiles(ctx, file, o.Known, key)
	return err
}

// maxCrossTiles is how many tiles of an archive are kept to compare checkpoints that other
// logs hold: 32 MiB, of 16 segments.
const maxCrossTiles = 4096

// knownTiles returns, out of an archive, what it takes to compare checkpoints.
func knownTiles(ctx context.Context, file string, known [][]byte, verifier note.Verifier) (audit.Source, error) {
	tiles := map[int64]bool{}
	for _, signed := range known {
		// One that is no checkpoint is reported by the verification.
		if point, err := audit.OpenCheckpoint(signed, verifier); err == nil {
			tiles[point.Size/audit.TileWidth] = true
		}
	}
	return archiveTiles(ctx, file, tiles, maxCrossTiles, verifier)
}

// unset stands for a reference that leads nowhere on this machine.
const unset = "unset-reference"

// configToVerify reads the configuration for a verifier, who needs the database
// and no credential of any platform: those may lead nowhere.
func configToVerify(o *options) (*config.Config, error) {
	cfg, strict := readConfig(o)
	if strict == nil {
		return cfg, nil
	}
	cfg, _, err := config.Load(o.config, config.Resolver{
		LookupEnv: func(name string) (string, bool) {
			if v, ok := os.LookupEnv(name); ok {
				return v, true
			}
			return unset, true
		},
		ReadFile: func(path string) ([]byte, error) {
			if b, err := os.ReadFile(path); err == nil {
				return b, nil
			}
			return []byte(unset), nil
		},
	})
	if err != nil || cfg.Store.Text().Reveal() == unset {
		return nil, strict
	}
	return cfg, nil
}

// readVerifier reads the log's public key.
func readVerifier(path string) (note.Verifier, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the log's public key: %w", err)
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, fmt.Errorf("%s does not hold a log's public key: %w", path, gatehouse.ErrInvalid)
	}
	return verifier, nil
}

// progress returns a function that shows how far long work is, on one line.
func progress(w io.Writer, what string) func(done, total int64) {
	return func(done, total int64) {
		percent := 100.0
		if total > 0 {
			percent = 100 * float64(done) / float64(total)
		}
		end := ""
		if done >= total {
			end = "\r\x1b[K"
		}
		fmt.Fprintf(w, "\r%s %3.0f %% (%d of %d)%s", what, percent, done, total, end)
	}
}
