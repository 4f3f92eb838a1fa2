package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/config"
	"gatehouse/internal/store"
	"gatehouse/internal/vault"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"
)

// archiveReport is what 'audit archive' and 'audit archive verify' answer.
type archiveReport struct {
	File       string    `json:"file"`
	SHA256     string    `json:"sha256"`
	Origin     string    `json:"origin"`
	First      int64     `json:"first"`
	Last       int64     `json:"last"`
	From       time.Time `json:"from"`
	To         time.Time `json:"to"`
	Checkpoint int64     `json:"checkpoint"`
}

func newArchiveReport(file, sum string, m *audit.Manifest) archiveReport {
	return archiveReport{file, sum, m.Origin, m.First, m.Last, time.UnixMicro(m.From).UTC(), time.UnixMicro(m.To).UTC(), m.Checkpoint}
}

func (r archiveReport) print(w io.Writer, asJSON bool, verb string) error {
	if asJSON {
		return printJSON(w, r)
	}
	_, err := fmt.Fprintf(w, "%s %s entries %d to %d of the log %s, from %s to %s, proved by its checkpoint of %d entries. SHA-256 %s\n",
		r.File, verb, r.First, r.Last, r.Origin, stamp(r.From), stamp(r.To), r.Checkpoint, r.SHA256)
	return err
}

func auditArchive(o *options) *cobra.Command {
	var from, to, out, node string
	var asJSON bool
	c := &cobra.Command{
		Use:   "archive --from TIME --to TIME --out FILE",
		Short: "Write a signed archive of a period of the log",
		Long: `Writes a file for an auditor: every entry of a period (and what is left of the 256
around its first and its last), with what proves by the log's public key alone that
they stand in the log and that none is missing. It is a tar compressed with gzip that
any tool opens; docs/log-format.md says what is in it.

What belongs to people stays sealed under their keys: once a person is erased, nothing
opens their fields in an archive either. That an archive was made stands in the log.

--from and --to are dates (2026-01-31, in UTC) or times (2026-01-31T12:00:00Z); --to is
not included. Without them it is from the beginning, or up to the end.`,
		Example: `  gatehouse audit archive --from 2026-01-01 --to 2026-04-01 --out q1.tar.gz
  gatehouse audit archive verify q1.tar.gz --key log.pub`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if out == "" {
				return usagef("say with --out which file to write")
			}
			begin, err := timeOf("--from", from)
			if err != nil {
				return err
			}
			end, err := timeOf("--to", to)
			if err != nil {
				return err
			}
			if !begin.IsZero() && !end.IsZero() && !begin.Before(end) {
				return usagef("--from is not before --to")
			}
			return with(c.Context(), o, func(p *parts) error {
				return p.withLog(c.Context(), node, func(l nodeLog) error {
					report, err := p.archive(c.Context(), l, begin, end, out, func(what string) func(done, total int64) {
						if onTerminal(c.ErrOrStderr()) {
							return progress(c.ErrOrStderr(), what)
						}
						return nil
					})
					if err != nil {
						return err
					}
					return report.print(c.OutOrStdout(), asJSON, "holds")
				})
			})
		},
	}
	f := c.Flags()
	f.StringVar(&from, "from", "", "the first day or time (default: the beginning)")
	f.StringVar(&to, "to", "", "the day or time before which it ends (default: now)")
	f.StringVar(&node, "node", "", "the log of the node of this name (default: that of the configuration)")
	f.StringVar(&out, "out", "", "file to write; it must not be there yet")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	c.AddCommand(auditArchiveVerify())
	return c
}

// timeOf reads a day or a time; the zero time if the flag was left out.
func timeOf(flag, text string) (t time.Time, err error) {
	if text == "" {
		return t, nil
	}
	for _, form := range []string{time.DateOnly, time.RFC3339} {
		if t, err = time.Parse(form, text); err == nil {
			return t, nil
		}
	}
	return t, usagef("%s %s: write a day as 2026-01-31, or a time as 2026-01-31T12:00:00Z", flag, text)
}

// archive writes the archive of a period of a log, reads it back, and puts that on
// record there.
func (p *parts) archive(ctx context.Context, l nodeLog, from, to time.Time, out string, show func(string) func(done, total int64)) (report archiveReport, err error) {
	verifier, err := verifierOfNode(p.cfg, l.Registration)
	if err != nil {
		return report, err
	}
	first, last, err := audit.Period(ctx, p.db.AuditLog(l.Number), from, to)
	if err != nil {
		return report, err
	}
	f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return report, fmt.Errorf("%s is there already: %w", out, gatehouse.ErrConflict)
	}
	if err != nil {
		return report, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(out))
		}
	}()
	a := &audit.Archiver{
		Rows: p.db.AuditLog(l.Number), Source: audit.NewSource(p.db.AuditLog(l.Number)), Signer: l.signer, Verifier: verifier, Progress: show("archiving"),
	}
	_, err = a.Write(ctx, f, first, last)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = vault.SyncDirectory(filepath.Dir(out))
	}
	if err != nil {
		return report, err
	}
	if report, err = checkArchive(ctx, out, &audit.Archive{Verifier: verifier, Progress: show("reading it back")}); err != nil {
		return report, err
	}
	_, err = l.log.Record(ctx, audit.Entry{Action: "log.archive", Verdict: "done", Facts: map[string]string{
		"first": strconv.FormatInt(report.First, 10), "last": strconv.FormatInt(report.Last, 10), "sha256": report.SHA256,
	}})
	return report, err
}

// checkArchive checks an archive's file.
func checkArchive(ctx context.Context, file string, a *audit.Archive) (report archiveReport, err error) {
	f, err := os.Open(file)
	if err != nil {
		return report, err
	}
	defer func() { _ = f.Close() }()
	hash := sha256.New()
	if err := a.Check(ctx, io.TeeReader(f, hash)); err != nil {
		return report, fmt.Errorf("%s: %w", file, err)
	}
	if _, err := io.Copy(hash, f); err != nil {
		return report, err
	}
	return newArchiveReport(file, hex.EncodeToString(hash.Sum(nil)), a.Manifest), nil
}

func auditArchiveVerify() *cobra.Command {
	var keyFile string
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check an archive of the log, offline",
		Long: `Checks an archive, of a period or of a segment that was pruned, with nothing but the
log's public key: its signatures, that every entry stands in the log of the checkpoint
in it, that none of the period is missing, and that what is sealed is what the entries
commit to. It needs no configuration and no database. The SHA-256 that it prints is
the one that the log names where it says that the archive was made.`,
		Example: `  gatehouse audit archive verify q1.tar.gz --key log.pub`,
		Args:    one("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			if keyFile == "" {
				return usagef("say with --key which public key the log has")
			}
			verifier, err := readVerifier(keyFile)
			if err != nil {
				return err
			}
			a := &audit.Archive{Verifier: verifier}
			if onTerminal(c.ErrOrStderr()) {
				a.Progress = progress(c.ErrOrStderr(), "verifying")
			}
			report, err := checkArchive(c.Context(), args[0], a)
			if err != nil {
				return err
			}
			return report.print(c.OutOrStdout(), asJSON, "verifies: it holds")
		},
	}
	c.Flags().StringVar(&keyFile, "key", "", "the log's public key")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// archiveLog returns the log that an archive is of, with its public key.
func archiveLog(ctx context.Context, cfg *config.Config, db *store.DB, file string) (audit.Registration, note.Verifier, error) {
	list, err := db.AuditLogs(ctx)
	if err != nil {
		return audit.Registration{}, nil, err
	}
	keys := make([]note.Verifier, len(list))
	for i, l := range list {
		if keys[i], err = verifierOfNode(cfg, l); err != nil {
			return l, nil, err
		}
	}
	key, err := archiveKey(file, keys)
	if err != nil {
		return audit.Registration{}, nil, err
	}
	return list[slices.Index(keys, key)], key, nil
}

// archiveKey returns the one of some keys that has signed an archive.
func archiveKey(file string, keys []note.Verifier) (note.Verifier, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	key, err := audit.ArchiveKey(f, keys)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}

// archivedEntry looks for an entry in an archive. The source returns its bundle and the
// tile that it is in.
func archivedEntry(ctx context.Context, file, id string, verifier note.Verifier) (index int64, source audit.Source, err error) {
	index = -1
	a := &audit.Archive{Verifier: verifier, Each: func(at int64, _ []byte, l *audit.Leaf, _ []byte) error {
		if l.ID == id {
			index = at
		}
		return nil
	}}
	if _, err := checkArchive(ctx, file, a); err != nil {
		return 0, nil, err
	}
	if index < 0 {
		return 0, nil, fmt.Errorf("%s has no entry %s: %w", file, id, gatehouse.ErrNotFound)
	}
	source, err = archiveTiles(ctx, file, map[int64]bool{index / audit.TileWidth: true}, 0, verifier)
	return index, source, err
}

// archiveTiles returns, out of an archive, tiles of level 0 and their bundles: what it
// takes to prove entries, or to compare checkpoints that end there. Up to more others of
// level 0 come with them.
func archiveTiles(ctx context.Context, file string, tiles map[int64]bool, more int, verifier note.Verifier) (audit.Source, error) {
	a := &audit.Archive{Verifier: verifier, Keep: func(path string) bool {
		level, n, _, err := audit.ParseTilePath(path)
		if err == nil && level == 0 && !tiles[n] && more > 0 {
			more--
			return true
		}
		return err == nil && level <= 0 && tiles[n]
	}}
	_, err := checkArchive(ctx, file, a)
	return a.Source, err
}
