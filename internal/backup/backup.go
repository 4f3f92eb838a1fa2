// Package backup owns copies of the database and what becomes of them: sealed
// backups, the keys of their epochs, the ledger of erasures, and the way back.
//
// It promises that a backup is one moment of every table, complete or not there
// at all; that nobody opens it without both the root key and the key of its
// epoch; that anybody with the log's public key can tell whether a byte of it has
// changed; that it opens for nobody once its epoch's key is destroyed; and that a
// restored database cannot be used before every erasure of the ledger has been
// done to it again.
//
// It must never open what the tables hold (tokens and personal data stay sealed
// as they are), never write SQL, and never overwrite or delete a file that it did
// not make. What it cannot promise: copies of the directory of epoch keys that
// somebody else made are not destroyed with it.
package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/vault"

	"golang.org/x/mod/sumdb/note"
)

// Config is what taking and keeping backups needs. It is copied and never
// changed.
type Config struct {
	// Source is the database. Required.
	Source Source
	// Work keeps two processes on one database from the same backup. Required.
	Work WorkStore
	// Ledger is where erasures stand. Required.
	Ledger *Ledger
	// Log records what is made and destroyed. Required.
	Log *audit.Log
	// Root wraps the keys of epochs. Required.
	Root vault.RootKey
	// Daily returns, wrapped, a version of the vault's daily key that stands in a
	// file beside the database, or ErrNotFound; see [vault.Vault.WrappedDailyKey].
	// Required.
	Daily func(version uint32) ([]byte, error)
	// Signer is the log's; it signs manifests. Required.
	Signer note.Signer
	// Environment is bound into every key. Required.
	Environment gatehouse.Environment
	// Program is the version of this program, for the manifest.
	Program string
	// To is the directory of backups. Required.
	To string
	// EpochKeys is the directory of epoch keys. Required.
	EpochKeys string
	// Every is the time between two backups of Run; zero means 24 hours.
	Every time.Duration
	// Keep is how long a backup can be opened; zero means 720 hours. It is at
	// least two days, since an epoch is one.
	Keep time.Duration
	// Logger gets what happens in the background; nil means that nobody wants to
	// know.
	Logger *slog.Logger
}

// Backups takes backups and destroys them. It is safe for concurrent use and its
// fields do not change.
type Backups struct {
	config Config
	epochs epochs
}

// The defaults of [Config], and the least time that a backup is kept.
const (
	DefaultEvery = 24 * time.Hour
	DefaultKeep  = 30 * 24 * time.Hour
	LeastKeep    = 2 * epochLength
)

// New returns the taker of backups. It makes no file: what is missing is found
// when it is needed.
func New(c Config) (*Backups, error) {
	if c.Source == nil || c.Work == nil || c.Ledger == nil || c.Log == nil || c.Root == nil || c.Daily == nil || c.Signer == nil {
		return nil, fmt.Errorf("backup: Config lacks a part: %w", gatehouse.ErrInvalid)
	}
	if c.Environment == "" || c.To == "" || c.EpochKeys == "" {
		return nil, fmt.Errorf("backup: Config.Environment, To and EpochKeys are needed: %w", gatehouse.ErrInvalid)
	}
	if c.Every == 0 {
		c.Every = DefaultEvery
	}
	if c.Keep == 0 {
		c.Keep = DefaultKeep
	}
	if c.Every < 0 || c.Keep < LeastKeep {
		return nil, fmt.Errorf("backup: Config.Every is negative, or Keep below %s: %w", LeastKeep, gatehouse.ErrInvalid)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Backups{config: c, epochs: epochs{dir: c.EpochKeys, roots: []vault.RootKey{c.Root}, env: c.Environment}}, nil
}

// testOnlyStep, if not nil, is told of each step between two writes, so that a
// test can end the process there.
var testOnlyStep func(name string)

func step(name string) {
	if testOnlyStep != nil {
		testOnlyStep(name)
	}
}

// Made is a backup that was just taken.
type Made struct {
	Path     string   `json:"path"`
	Bytes    int64    `json:"bytes"`
	Manifest Manifest `json:"manifest"`
}

// Create takes a backup into dir, or into [Config.To] if dir is empty. The file
// appears under its name only when all of it is on disk. progress, if not nil, is
// told how many rows have been written.
func (b *Backups) Create(ctx context.Context, dir string, progress func(rows int64)) (Made, error) {
	if dir == "" {
		dir = b.config.To
	}
	began := time.Now().UTC().Truncate(time.Microsecond)
	intent, err := b.config.Log.Intent(ctx, audit.Entry{Action: "backup.create"})
	if err != nil {
		return Made{}, err
	}
	made, err := b.create(ctx, dir, began, progress)
	// A backup that was not taken matters as much as one that was.
	outcome := audit.Entry{Verdict: "failed"}
	if err == nil {
		outcome = audit.Entry{Verdict: "done", Bytes: made.Bytes, Facts: map[string]string{
			"backup": made.Manifest.ID, "epoch": made.Manifest.Epoch, "schema": strconv.FormatInt(made.Manifest.Schema, 10),
			"connections": strconv.FormatInt(made.Manifest.Connections, 10),
		}}
	}
	b.config.Log.Outcome(intent, outcome)
	return made, err
}

func (b *Backups) create(ctx context.Context, dir string, began time.Time, progress func(int64)) (_ Made, err error) {
	if err := needDir(dir, "the directory of backups"); err != nil {
		return Made{}, err
	}
	epoch, wrapping, err := b.epochs.today(ctx, began)
	if err != nil {
		return Made{}, err
	}
	step("epoch key")
	name, id := newName(b.config.Environment, began)
	m := Manifest{ID: id, Environment: b.config.Environment, Created: began, Program: b.config.Program, Epoch: epoch, Root: b.config.Root.ID()}
	key, err := newDataKey(&m, wrapping)
	if err != nil {
		return Made{}, err
	}
	w, err := create(filepath.Join(dir, name))
	if err != nil {
		return Made{}, err
	}
	defer func() { err = errors.Join(err, w.discard()) }()
	for tries := 1; ; tries++ {
		err = b.dump(ctx, w, key, &m, progress)
		if !errors.Is(err, errTurned) || tries == 3 {
			break
		}
	}
	if err != nil {
		return Made{}, fmt.Errorf("taking a backup: %w", err)
	}
	step("parts")
	// The ledger before the backup has its name, so that no manifest names an
	// erasure that the ledger does not have. It goes to the configured directory
	// only: one in another would not be brought up to date later, and pass for whole.
	if err := b.config.Ledger.ShipTo(ctx, b.config.To); err != nil {
		return Made{}, err
	}
	step("ledger")
	signed, err := m.sign(b.config.Signer)
	if err != nil {
		return Made{}, err
	}
	size, err := w.finish(signed)
	if err != nil {
		return Made{}, fmt.Errorf("taking a backup: %w", err)
	}
	step("named")
	return Made{Path: filepath.Join(dir, name), Bytes: size, Manifest: m}, nil
}

// dump writes every table, of one moment, as a part of its own.
func (b *Backups) dump(ctx context.Context, w *fileWriter, key dataKey, m *Manifest, progress func(int64)) error {
	return b.config.Source.Snapshot(ctx, func(s Snapshot) error {
		state, err := s.State(ctx)
		if err != nil {
			return err
		}
		m.Schema, m.Connections, m.Checkpoint = state.Schema, state.Connections, string(state.Checkpoint)
		if m.Ledger, err = b.config.Ledger.head(state.Ledger); err != nil {
			return err
		}
		if state.Environment != b.config.Environment {
			return fmt.Errorf("the database belongs to environment %q, not %q: %w", state.Environment, b.config.Environment, gatehouse.ErrConflict)
		}
		tables, err := s.Tables(ctx)
		if err != nil {
			return err
		}
		// Before anything is written: the file is of the moment only if it is read at
		// once, and otherwise this begins anew.
		daily, err := b.dailyKeys(ctx, s, tables)
		if err != nil {
			return err
		}
		total := int64(0)
		for _, table := range tables {
			part, err := w.part(key, table.Name, func(out *rowWriter) error {
				if err := out.table(table); err != nil {
					return err
				}
				return s.Rows(ctx, table, func(row []any) error {
					if total++; progress != nil && total%1000 == 0 {
						progress(total)
					}
					return out.row(daily.inside(table, row))
				})
			})
			if err != nil {
				return fmt.Errorf("table %s: %w", table.Name, err)
			}
			m.Parts = append(m.Parts, part)
			step("part " + table.Name)
		}
		return nil
	})
}

// needDir refuses a directory that is not there: one that is mounted elsewhere
// and is not just now must not be replaced by an empty one.
func needDir(dir, what string) error {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return fmt.Errorf("%s cannot be reached (make it, or mount what it lies on): %w: %w", what, gatehouse.ErrUnavailable, err)
	case !info.IsDir():
		return fmt.Errorf("%s, %s, is not a directory: %w", what, dir, gatehouse.ErrInvalid)
	}
	return nil
}

// CheckPlaces refuses a directory of epoch keys that lies where the backups are,
// or with the live data: whoever copied one place would have copied both, and a
// key that is destroyed in one would live on in the other. data are the
// directories of the live data. allowNear takes the second word back, never the
// first.
func CheckPlaces(epochKeys, to string, data []string, allowNear bool) error {
	keys := realPath(epochKeys)
	if within(keys, realPath(to)) || within(realPath(to), keys) {
		return fmt.Errorf("the directory of epoch keys and that of backups lie in one another: whoever holds a copy of one would hold both; give the keys a place of their own: %w", gatehouse.ErrInvalid)
	}
	for _, dir := range data {
		if dir != "" && !allowNear && within(keys, realPath(dir)) {
			return fmt.Errorf("the directory of epoch keys lies in %s, beside the live data: it would be lost together with it, and copied together with it; give it a place of its own, best on another machine (backup.epoch_keys_beside_data: true allows it for a trial): %w", dir, gatehouse.ErrInvalid)
		}
	}
	return nil
}

// realPath follows symbolic links as far as the path exists.
func realPath(path string) string {
	path = filepath.Clean(path)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if parent := filepath.Dir(path); parent != path {
		return filepath.Join(realPath(parent), filepath.Base(path))
	}
	return path
}

// within reports whether path is dir or lies below it.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}
