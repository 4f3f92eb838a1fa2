package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/backup"
	"gatehouse/internal/config"
	"gatehouse/internal/store"
	"gatehouse/internal/vault"

	"github.com/spf13/cobra"
)

// restoreFlags are what 'restore' is told.
type restoreFlags struct {
	into, key, epochKeys, accept string
	approval, without            string
	ledgers                      []string
	drill, asJSON                bool
}

func newRestore(o *options) *cobra.Command {
	var f restoreFlags
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "Restore a backup into an empty database, or prove that it could be",
		Long: `Restores a backup into the database that the configuration names, or that --into
names, which must be empty. The root key, log.pub and the key of the backup's day
must be at hand. Before anything can be opened, everybody in the ledger of erasures
is erased again. The ledger is looked for in backup.to and backup.ledger_copies, where
it is kept up to date; give others with --ledger. If there is none, or the longest
ends before an erasure that is known of, it is refused.

Beside an installation that stands (--into another store than the configuration's), and
whose operators approve destructive acts, it takes an approval of exactly this backup:
the refusal says how one is made. --without-approval goes on without one, and both logs
say so. An installation that does not open asks nobody.

Until it has ended, nothing else opens the database. If it is interrupted, run it
again.

With --drill nothing is restored: the backup is loaded into a temporary database,
its log is verified, its keys are opened, its connections are counted, and all of
it is removed again; that it was done is recorded in the live log.`,
		Example: `  gatehouse restore /mnt/backups/gatehouse-production-20261126T045900Z-k3j5h2aa.backup
  gatehouse restore --drill /mnt/backups/gatehouse-production-20261126T045900Z-k3j5h2aa.backup`,
		Args: one("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := readConfig(o)
			if err != nil {
				return err
			}
			if !plainReason(f.without) {
				return usagef("--without-approval: the reason must be at most 200 bytes of printable text")
			}
			if f.drill {
				return drill(c, cfg, args[0], f)
			}
			return restore(c, cfg, args[0], f)
		},
	}
	c.Flags().BoolVar(&f.drill, "drill", false, "prove that the backup opens and verifies, and keep nothing")
	c.Flags().StringVar(&f.into, "into", "", "the store to restore into: sqlite:/path/file.db or postgres://… (default: store of the configuration)")
	c.Flags().StringVar(&f.key, "key", "", "the log's public key (default: log.pub beside the configuration)")
	c.Flags().StringVar(&f.epochKeys, "epoch-keys", "", "directory of the days' keys (default: backup.epoch_keys of the configuration)")
	c.Flags().StringSliceVar(&f.ledgers, "ledger", nil, "a ledger of erasures, such as a witness's; may be repeated")
	c.Flags().StringVar(&f.accept, "accept-missing-erasures", "", "restore although erasures are missing: the word that the refusal names")
	c.Flags().StringVar(&f.approval, "approval", "", "the approval of two operators, where it takes one")
	c.Flags().StringVar(&f.without, "without-approval", "", "restore although nobody agreed: the reason, for the log")
	c.MarkFlagsMutuallyExclusive("approval", "without-approval")
	c.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
	return c
}

// restoreConfig collects what is known of a backup.
func restoreConfig(cfg *config.Config, path string, f restoreFlags) (c backup.RestoreConfig, err error) {
	if f.key == "" {
		f.key = beside(cfg, logKeyFile)
	}
	if c.Verifier, err = readVerifier(f.key); err != nil {
		return c, err
	}
	if c.Root, err = openRootKey(cfg); err != nil {
		return c, err
	}
	if c.Previous, err = openPrevious(cfg); err != nil {
		return c, err
	}
	c.Environment, c.AcceptMissing = cfg.Environment, f.accept
	if c.EpochKeys = f.epochKeys; c.EpochKeys == "" {
		c.EpochKeys = cfg.Backup.EpochKeys.Path()
	}
	if c.EpochKeys == "" {
		return c, usagef("the configuration names no backup.epoch_keys: give --epoch-keys")
	}
	dirs := []string{filepath.Dir(path)}
	if !cfg.Backup.To.IsZero() {
		dirs = append(dirs, cfg.Backup.To.Path())
	}
	for _, dir := range dirs {
		// A directory that is not there knows nothing.
		list, err := backup.List(dir, cfg.Environment, c.Verifier)
		if err != nil {
			continue
		}
		for _, l := range list {
			if l.Err == nil {
				c.Others = append(c.Others, l.Manifest)
			}
		}
	}
	for _, given := range f.ledgers {
		if _, err := os.Stat(given); err != nil {
			return c, fmt.Errorf("--ledger: %w", err)
		}
	}
	c.Ledgers = f.ledgers
	// Only where it is kept up to date: one that was copied together with a backup is
	// as old as that, and nothing in it says so.
	kept := cfg.Backup.LedgerCopies
	if !cfg.Backup.To.IsZero() {
		kept = append([]config.Dir{cfg.Backup.To}, kept...)
	}
	for _, dir := range kept {
		c.Ledgers = append(c.Ledgers, filepath.Join(dir.Path(), backup.LedgerName(cfg.Environment)))
	}
	c.File, err = backup.OpenFile(path, c.Verifier)
	return c, err
}

// shownRows returns what shows how far a restore is, on a terminal.
func shownRows(w io.Writer, what string) func(done, total int64) {
	if !onTerminal(w) {
		return nil
	}
	return progress(w, what)
}

// restored is what 'restore' reports.
type restored struct {
	Backup      string `json:"backup"`
	Connections int64  `json:"connections"`
	Erased      int    `json:"erased_again"`
	// Missing is how many erasures were accepted to be missing, -1 for an unknown
	// number.
	Missing int64 `json:"missing_erasures"`
	// Ended is what may have been used since the backup, and works no more.
	Ended endedRow `json:"ended"`
}

// endedRow is store.Ended as it is printed.
type endedRow struct {
	Sessions  int64 `json:"operator_sessions"`
	Links     int64 `json:"enrolment_links"`
	Approvals int64 `json:"approvals"`
	Codes     int64 `json:"operator_recovery_codes"`
	AppCodes  int64 `json:"app_recovery_codes"`
	Stepups   int64 `json:"stepups"`
}

func restore(c *cobra.Command, cfg *config.Config, path string, f restoreFlags) (err error) {
	ctx := c.Context()
	rc, err := restoreConfig(cfg, path, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rc.File.Close()) }()
	r, err := backup.NewRestore(ctx, rc)
	if err != nil {
		return err
	}
	if err := rc.File.Verify(ctx, shownRows(c.ErrOrStderr(), "verifying")); err != nil {
		return err
	}
	if r.Missing != 0 {
		fmt.Fprintln(c.ErrOrStderr(), "WARNING: people who were erased will be in the restored database, because erasures are missing from the ledger and you accepted that. Erase them again.")
	}
	dsn := f.into
	if dsn == "" {
		dsn = cfg.Store.Text().Reveal()
	}
	agreed, err := agreedRestore(c, cfg, rc, dsn, f)
	if err != nil {
		return err
	}
	if err := makeStoreDir(dsn); err != nil {
		return err
	}
	db, err := store.Restoring(ctx, dsn, r.Manifest().Schema)
	if err != nil {
		return err
	}
	if err := r.Load(ctx, db.Backup(), shownRows(c.ErrOrStderr(), "restoring")); err != nil {
		return errors.Join(err, db.Close())
	}
	// The program that would serve, on a database that nothing else opens yet:
	// whoever is erased is erased in the one way that there is.
	aside := ""
	if dsn == cfg.Store.Text().Reveal() {
		// What this machine has seen of the log that is replaced is over.
		if aside = asideDir(cfg); errors.Join(audit.ForgetSeen(aside), audit.ForgetSeen(asideOf(cfg, ""))) != nil {
			aside = ""
		}
	}
	p, err := assembleOn(ctx, cfg, rc.Root, quiet(), db, aside)
	if err != nil {
		return err
	}
	out, err := eraseAgain(ctx, p, r, agreed)
	if err := errors.Join(err, p.Close()); err != nil {
		return err
	}
	if f.asJSON {
		return printJSON(c.OutOrStdout(), out)
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "restored  %s: %d connections; %d people erased again\n\nWhat happened after %s is not in it. Tokens that were renewed since then may be\nrefused by their platform: those people connect again.\nAll operators sign in again, and %d recovery codes of theirs and %d of the app's users\nwork no more, since they may have been used: make new ones. Factors that were removed\nand roles that were taken since then are there again: gatehouse account list\n",
		out.Backup, out.Connections, out.Erased, when(r.Manifest().Created), out.Ended.Codes, out.Ended.AppCodes)
	return err
}

// eraseAgain ends a restore: the ledger's people are erased, that is recorded, and
// only then does the database open for others.
func eraseAgain(ctx context.Context, p *parts, r *backup.Restore, agreed string) (restored, error) {
	m := r.Manifest()
	out := restored{Backup: m.ID, Connections: m.Connections, Missing: r.Missing}
	_, err := r.Erase(ctx, p.db.Backup(), func(ctx context.Context, person gatehouse.PersonID, held bool) error {
		if held && errors.Is(p.vault.Batch().Ready(ctx, person), vault.ErrErased) {
			return nil // as it was when the backup was taken
		}
		out.Erased++
		return p.destroyPerson(ctx, person)
	})
	if err != nil {
		return out, err
	}
	ended, err := p.db.Backup().EndWhatIsOnce(ctx)
	if err != nil {
		return out, fmt.Errorf("ending what may have been used since the backup: %w", err)
	}
	out.Ended = endedRow(ended)
	missing := strconv.FormatInt(r.Missing, 10)
	if r.Missing < 0 {
		missing = "unknown"
	}
	facts := map[string]string{
		"backup": m.ID, "erased": strconv.Itoa(out.Erased), "missing": missing,
		"sessions": fmt.Sprint(ended.Sessions), "recovery_codes": fmt.Sprint(ended.Codes), "app_recovery_codes": fmt.Sprint(ended.AppCodes),
	}
	if agreed != "" {
		facts["approval"] = agreed
	}
	if _, err := p.log.Record(ctx, audit.Entry{Action: "backup.restore", Verdict: "done", Facts: facts}); err != nil {
		return out, err
	}
	return out, p.db.Backup().Finish(ctx)
}

// makeStoreDir makes the directory of a SQLite file.
func makeStoreDir(dsn string) error {
	path := dsnFile(dsn)
	if path == "" {
		return nil
	}
	return os.MkdirAll(filepath.Dir(path), 0o700)
}

// drilled is what 'restore --drill' reports.
type drilled struct {
	Backup      string `json:"backup"`
	Connections int64  `json:"connections"`
	Entries     int64  `json:"log_entries"`
	OK          bool   `json:"ok"`
}

// drill proves that a backup opens. What it makes is removed, also when it fails.
func drill(c *cobra.Command, cfg *config.Config, path string, f restoreFlags) (err error) {
	ctx := c.Context()
	rc, err := restoreConfig(cfg, path, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rc.File.Close()) }()
	// The live log first: a drill that could not be recorded would prove nothing to
	// anybody.
	live, err := assembleUnder(ctx, cfg, rc.Root, quiet())
	if err != nil {
		return fmt.Errorf("a drill is recorded in the live log, which does not open: %w", err)
	}
	defer func() { err = errors.Join(err, live.Close()) }()
	out, failed := drillIn(ctx, cfg, rc, shownRows(c.ErrOrStderr(), "restoring"))
	verdict := "done"
	if failed != nil {
		verdict = "failed"
	}
	_, err = live.log.Record(context.WithoutCancel(ctx), audit.Entry{Action: "backup.drill", Verdict: verdict, Facts: map[string]string{
		"backup": rc.File.Manifest.ID, "connections": strconv.FormatInt(out.Connections, 10),
	}})
	if err := errors.Join(failed, err); err != nil {
		return err
	}
	if f.asJSON {
		return printJSON(c.OutOrStdout(), out)
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "the backup %s opens: its log of %d entries verifies, its keys open with this root key, and it holds %d connections, as its manifest says\n", out.Backup, out.Entries, out.Connections)
	return err
}

func drillIn(ctx context.Context, cfg *config.Config, rc backup.RestoreConfig, shown func(done, total int64)) (out drilled, err error) {
	out.Backup = rc.File.Manifest.ID
	if err := rc.File.Verify(ctx, nil); err != nil {
		return out, err
	}
	r, err := backup.NewDrill(ctx, rc)
	if err != nil {
		return out, err
	}
	dir, err := os.MkdirTemp("", "gatehouse-drill-")
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	db, err := store.Restoring(ctx, "sqlite:"+filepath.Join(dir, "drill.db"), rc.File.Manifest.Schema)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := r.Load(ctx, db.Backup(), shown); err != nil {
		return out, err
	}
	keys, err := keptKeys(ctx, cfg, db)
	if err != nil {
		return out, err
	}
	report, err := audit.VerifyLogs(ctx, db, rc.Verifier, audit.LogsOptions{Known: [][]byte{[]byte(rc.File.Manifest.Checkpoint)}, Keys: keys})
	if err != nil {
		return out, err
	}
	if problems := report.CountProblems(); problems > 0 {
		return out, fmt.Errorf("the log in the backup does not verify: %d problems: %w", problems, gatehouse.ErrInvalid)
	}
	v, err := vault.Open(ctx, vault.Config{Root: rc.Root, Previous: rc.Previous, Store: db.Vault(), Environment: cfg.Environment})
	if err != nil {
		return out, fmt.Errorf("the keys in the backup: %w", err)
	}
	defer v.Close()
	out.Connections, out.Entries, out.OK = rc.File.Manifest.Connections, report.CountEntries(), true
	return out, nil
}
