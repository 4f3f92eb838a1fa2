package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"time"

	"gatehouse"
	"gatehouse/internal/backup"
	"gatehouse/internal/config"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"
)

func newBackup(o *options) *cobra.Command {
	var to string
	var asJSON bool
	c := &cobra.Command{
		Use:   "backup",
		Short: "Take a sealed backup; verify, list and destroy backups",
		Long: `Takes a backup of the database, of one moment, while Gatehouse runs. It is sealed
under a key of its own, which the key of the day wraps (backup.epoch_keys), which
the root key wraps: nobody opens it without both. When backup.keep has passed since
the day began, 'run' or 'gatehouse backup prune' destroys the key of the day, and no
copy of the backup opens any more, wherever it is.

Whether a byte of it has changed can be told with the log's public key alone:
'gatehouse backup verify'. Keep copies of the root key and of log.pub elsewhere:
without them nothing can be restored.`,
		Example: "  gatehouse backup --to /mnt/backups",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			return withBackups(c.Context(), o, func(p *parts) error {
				var progress func(int64)
				if onTerminal(c.ErrOrStderr()) {
					progress = countRows(c.ErrOrStderr())
				}
				made, err := p.backups.Create(c.Context(), to, progress)
				if progress != nil {
					fmt.Fprint(c.ErrOrStderr(), "\x1b[K")
				}
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), made)
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "made  %s  (%d bytes, %d connections; opens until %s)\n", made.Path, made.Bytes, made.Manifest.Connections,
					when(opensUntil(p.cfg, made.Manifest.Epoch)))
				return err
			})
		},
	}
	c.Flags().StringVar(&to, "to", "", "directory (default: backup.to of the configuration)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.AddCommand(backupVerify(o), backupList(o), backupPrune(o), backupLedger(o))
	return c
}

// countRows returns a function that shows how many rows were written.
func countRows(w io.Writer) func(int64) {
	return func(rows int64) { fmt.Fprintf(w, "\rtaking a backup: %d rows\x1b[K\r", rows) }
}

// errNoBackup is said where there is nothing to work with.
var errNoBackup = fmt.Errorf("the configuration has no backup section: name backup.to and backup.epoch_keys ('gatehouse config example' shows them): %w", gatehouse.ErrInvalid)

// withBackups opens everything for a command that needs backups.
func withBackups(ctx context.Context, o *options, f func(*parts) error) error {
	cfg, err := readConfig(o)
	if err != nil {
		return err
	}
	if cfg.Backup.IsZero() {
		return errNoBackup
	}
	p, err := assemble(ctx, cfg, quiet())
	if err != nil {
		return err
	}
	return errors.Join(f(p), p.Close())
}

// openBackups puts the ledger and, if they are configured, backups together.
func (p *parts) openBackups() error {
	c := p.cfg.Backup
	var dirs []string
	if !c.IsZero() {
		dirs = append(dirs, c.To.Path())
		for _, dir := range c.LedgerCopies {
			dirs = append(dirs, dir.Path())
		}
	}
	p.ledger = backup.NewLedger(p.db.Backup(), p.signer, p.cfg.Environment, dirs)
	if c.IsZero() {
		return nil
	}
	if err := checkPlaces(p.cfg); err != nil {
		return err
	}
	var err error
	p.backups, err = backup.New(backup.Config{
		Source: p.db.Backup(), Work: p.db.Backup(), Ledger: p.ledger, Log: p.log, Root: p.root, Daily: p.vault.WrappedDailyKey, Signer: p.signer,
		Environment: p.cfg.Environment, Program: version, To: c.To.Path(), EpochKeys: c.EpochKeys.Path(),
		Every: c.Every, Keep: c.Keep, Logger: p.logger,
	})
	return err
}

// checkPlaces refuses epoch keys that lie with what they protect.
func checkPlaces(cfg *config.Config) error {
	data := []string{filepath.Dir(cfg.Path())}
	if path := cfg.RootKey.Path(); path != "" {
		data = append(data, filepath.Dir(path))
	}
	if file := storeFile(cfg); file != "" {
		data = append(data, filepath.Dir(file))
	}
	return backup.CheckPlaces(cfg.Backup.EpochKeys.Path(), cfg.Backup.To.Path(), data, cfg.Backup.EpochKeysBesideData)
}

// keepOf is how long a backup is kept by the configuration.
func keepOf(cfg *config.Config) time.Duration {
	if cfg.Backup.Keep == 0 {
		return backup.DefaultKeep
	}
	return cfg.Backup.Keep
}

// opensUntil is when the key of an epoch is destroyed.
func opensUntil(cfg *config.Config, epoch string) time.Time {
	return backup.EpochDay(epoch).Add(keepOf(cfg))
}

func backupVerify(o *options) *cobra.Command {
	var keyFile string
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check that a backup is complete and unaltered",
		Long: `Compares every byte of a backup with its manifest, and the manifest with the log's
signature. It needs the log's public key and no other key, so that whoever keeps the
copies can do it. It does not show that the keys to open it are at hand: for that,
'gatehouse restore --drill'.`,
		Args: one("FILE"),
		RunE: func(c *cobra.Command, args []string) (err error) {
			verifier, err := verifierOf(o, keyFile)
			if err != nil {
				return err
			}
			f, err := backup.OpenFile(args[0], verifier)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			var shown func(done, total int64)
			if onTerminal(c.ErrOrStderr()) {
				shown = progress(c.ErrOrStderr(), "verifying")
			}
			if err := f.Verify(c.Context(), shown); err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), f.Manifest)
			}
			m := f.Manifest
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s is complete and unaltered: environment %s, of %s, schema %d, %d connections, %d erasures, key of %s\n",
				args[0], m.Environment, when(m.Created), m.Schema, m.Connections, m.Ledger.Seq, m.Epoch)
			return err
		},
	}
	c.Flags().StringVar(&keyFile, "key", "", "the log's public key (default: log.pub beside the configuration)")
	c.Flags().BoolVar(&asJSON, "json", false, "print the manifest as JSON")
	return c
}

// listedBackup is one line of 'backup list'.
type listedBackup struct {
	Path        string `json:"path"`
	Bytes       int64  `json:"bytes"`
	Created     string `json:"created,omitempty"`
	Connections int64  `json:"connections"`
	OpensUntil  string `json:"opens_until,omitempty"`
	Problem     string `json:"problem,omitempty"`
}

func backupList(o *options) *cobra.Command {
	var dir string
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the backups and until when they open",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := configToVerify(o)
			if err != nil {
				return err
			}
			if dir == "" {
				dir = cfg.Backup.To.Path()
			}
			if dir == "" {
				return errNoBackup
			}
			verifier, err := readVerifier(beside(cfg, logKeyFile))
			if err != nil {
				return err
			}
			list, err := backup.List(dir, cfg.Environment, verifier)
			if err != nil {
				return err
			}
			out, rows := []listedBackup{}, [][]string{}
			for _, l := range list {
				v := listedBackup{Path: l.Path, Bytes: l.Bytes}
				row := []string{filepath.Base(l.Path), strconv.FormatInt(l.Bytes, 10), "-", "-", "-", ""}
				if l.Err != nil {
					v.Problem = l.Err.Error()
					row[5] = v.Problem
				} else {
					until := opensUntil(cfg, l.Manifest.Epoch)
					v.Created, v.Connections, v.OpensUntil = stamp(l.Manifest.Created), l.Manifest.Connections, stamp(until)
					copy(row[2:], []string{when(l.Manifest.Created), strconv.FormatInt(l.Manifest.Connections, 10), when(until)})
				}
				out, rows = append(out, v), append(rows, row)
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), out)
			}
			return table(c.OutOrStdout(), "no backups", []string{"FILE", "BYTES", "TAKEN", "CONNECTIONS", "OPENS UNTIL", "PROBLEM"}, rows)
		},
	}
	c.Flags().StringVar(&dir, "from", "", "directory (default: backup.to of the configuration)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func backupPrune(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "prune",
		Short: "Destroy the keys of days whose time is over, and delete their backups",
		Long: `Does at once what 'run' does every minute: for each day that began backup.keep ago
or earlier, destroys its key in backup.epoch_keys and deletes its backups from
backup.to. After that no copy of those backups opens any more.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return withBackups(c.Context(), o, func(p *parts) error {
				done, err := p.backups.Prune(c.Context(), time.Now())
				if asJSON {
					return errors.Join(err, printJSON(c.OutOrStdout(), append([]backup.Pruned{}, done...)))
				}
				for _, d := range done {
					fmt.Fprintf(c.OutOrStdout(), "destroyed  the key of %s, and %d backups\n", d.Day, d.Backups)
				}
				if len(done) == 0 && err == nil {
					fmt.Fprintln(c.OutOrStdout(), "nothing is past its time")
				}
				return err
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func backupLedger(o *options) *cobra.Command {
	var keyFile string
	c := &cobra.Command{
		Use:   "ledger FILE",
		Short: "Check a ledger of erasures from its first line to its last",
		Args:  one("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			verifier, err := verifierOf(o, keyFile)
			if err != nil {
				return err
			}
			head, err := backup.ReadLedgerFile(args[0], verifier)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s is unaltered and has %d erasures; its end is %s\n", args[0], head.Seq, head.Hash)
			return err
		},
	}
	c.Flags().StringVar(&keyFile, "key", "", "the log's public key (default: log.pub beside the configuration)")
	return c
}

// backupFindings is what the doctor says of backups.
func backupFindings(ctx context.Context, p *parts, now time.Time) []finding {
	if p.backups == nil {
		return []finding{{
			Check: "backup", OK: true, Text: "warning: none is configured: what is lost with this database is lost, and erasures stand in no ledger outside of it",
			Next: "name a place under backup in the configuration, as docs/backup.md says, and restart",
		}}
	}
	c := p.cfg.Backup
	every := c.Every
	if every == 0 {
		every = backup.DefaultEvery
	}
	f := finding{Check: "backup", Text: "the last one is of "}
	last, err := p.db.Backup().LastBackup(ctx)
	switch {
	case err != nil:
		f.Text = err.Error()
	case last.IsZero():
		f.OK, f.Text = true, "warning: 'run' has taken none yet; it does within a minute of its start"
	case now.Sub(last) > 2*every:
		f.Text, f.Next = f.Text+when(last)+", and one is due every "+every.String(), "see the error in the program's log; 'gatehouse backup' says it at once"
	default:
		f.OK, f.Text = true, f.Text+when(last)
	}
	out := []finding{f}
	ledger := finding{Check: "erasures", OK: true, Text: "every directory's ledger has every erasure"}
	if err := p.ledger.Check(ctx); err != nil && !last.IsZero() {
		ledger.OK, ledger.Text = false, err.Error()
		ledger.Next = "mount or make the directory; 'run' brings it up to date within a minute"
	}
	return append(out, ledger)
}

// verifierOf reads the log's public key from a file, or from the one beside the
// configuration. It needs no credential that the configuration refers to.
func verifierOf(o *options, keyFile string) (note.Verifier, error) {
	if keyFile == "" {
		cfg, err := configToVerify(o)
		if err != nil {
			return nil, err
		}
		keyFile = beside(cfg, logKeyFile)
	}
	return readVerifier(keyFile)
}
