package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"gatehouse"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"

	"golang.org/x/mod/sumdb/note"
)

// RestoreConfig says what is restored and what is known of it.
type RestoreConfig struct {
	// File is the backup. Required.
	File *File
	// Verifier is the log's public key. Required.
	Verifier note.Verifier
	// Root, Environment and EpochKeys open it. Required.
	Root vault.RootKey
	// Previous are older root keys, one of which may have wrapped the epoch's key.
	Previous    []vault.RootKey
	Environment gatehouse.Environment
	EpochKeys   string
	// Ledgers are the paths at which the ledger may be. Those that are not there are
	// passed over; all that are must tell the same story.
	Ledgers []string
	// Others are the manifests of other backups that are at hand: a ledger that ends
	// before what one of them names is too old.
	Others []Manifest
	// AcceptMissing, if it is the word that the refusal names, restores in spite of
	// erasures that are missing.
	AcceptMissing string
}

// Restore is a backup that may be restored: its key is at hand, and a ledger that
// reaches far enough. The fields do not change.
type Restore struct {
	config RestoreConfig
	key    dataKey
	// ledger is the path of the longest ledger, "" if there is none.
	ledger string
	// Missing is how many erasures were accepted to be missing; -1 stands for an
	// unknown number, because there was no ledger at all.
	Missing int64
}

// NewRestore looks whether a backup may be restored, before anything is written.
// A backup of another environment, one whose keys are not at hand, and one for
// which erasures are missing, are refused here.
func NewRestore(ctx context.Context, c RestoreConfig) (*Restore, error) {
	r, err := openRestore(ctx, c)
	if err != nil {
		return nil, err
	}
	return r, r.findLedger()
}

// NewDrill is NewRestore for a database that nobody will use, so that it needs no
// ledger.
func NewDrill(ctx context.Context, c RestoreConfig) (*Restore, error) { return openRestore(ctx, c) }

func openRestore(ctx context.Context, c RestoreConfig) (*Restore, error) {
	m := c.File.Manifest
	if m.Environment != c.Environment {
		return nil, wire.Refuse(gatehouse.ErrConflict, "backup/environment", fmt.Sprintf(
			"This backup is of environment %q and the configuration says %q: a backup is restored in its own environment only.", m.Environment, c.Environment))
	}
	wrapping, err := epochs{dir: c.EpochKeys, roots: append([]vault.RootKey{c.Root}, c.Previous...), env: c.Environment}.open(ctx, m.Epoch)
	if err != nil {
		return nil, err
	}
	key, err := openDataKey(m, wrapping)
	if err != nil {
		return nil, err
	}
	return &Restore{config: c, key: key}, nil
}

// Manifest returns the backup's manifest.
func (r *Restore) Manifest() Manifest { return r.config.File.Manifest }

// findLedger picks the longest ledger, after checking that none contradicts
// another or a manifest, and refuses one that ends too early.
func (r *Restore) findLedger() error {
	known := []Head{r.Manifest().Ledger}
	for _, m := range r.config.Others {
		if m.Environment == r.config.Environment {
			known = append(known, m.Ledger)
		}
	}
	best := Head{Seq: -1}
	for _, path := range r.config.Ledgers {
		head, err := readLedgerFile(path, r.config.Verifier, nil)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("the ledger of erasures %s (leave it out only if you know why it is so): %w", path, err)
		}
		known = append(known, head)
		if head.Seq > best.Seq {
			best, r.ledger = head, path
		}
	}
	newest := slices.MaxFunc(known, func(a, b Head) int { return int(min(1, max(-1, a.Seq-b.Seq))) })
	if r.ledger == "" {
		return r.accept(-1, "No ledger of erasures was found, so that nobody knows who was erased since this backup was taken.")
	}
	if err := r.agree(known, best); err != nil {
		return err
	}
	if missing := newest.Seq - best.Seq; missing > 0 {
		return r.accept(missing, fmt.Sprintf("The ledger of erasures that was found ends with number %d, and number %d is known to exist: %d people who were erased would come back.", best.Seq, newest.Seq, missing))
	}
	return nil
}

// agree compares the longest ledger with every head that it reaches.
func (r *Restore) agree(known []Head, best Head) error {
	expect := map[int64]string{}
	forked := fmt.Errorf("the ledgers and manifests of erasures contradict one another: one of them was replaced, or belongs to another database: %w", gatehouse.ErrInvalid)
	for _, h := range known {
		if hash, twice := expect[h.Seq]; twice && hash != h.Hash {
			return forked
		}
		expect[h.Seq] = h.Hash
	}
	check := func(h Head) error {
		if hash, ok := expect[h.Seq]; ok && hash != h.Hash {
			return forked
		}
		return nil
	}
	begins := true
	_, err := readLedgerFile(r.ledger, r.config.Verifier, func(_ Line, h Head) error {
		begins = false
		return check(h)
	})
	if err == nil && begins {
		err = check(best)
	}
	return err
}

// accept refuses, unless the caller has typed what the refusal asks for.
func (r *Restore) accept(missing int64, why string) error {
	word := r.Manifest().ID + "/" + strconv.FormatInt(missing, 10)
	if missing < 0 {
		word = r.Manifest().ID + "/all"
	}
	if r.config.AcceptMissing == word {
		r.Missing = missing
		return nil
	}
	return wire.Refuse(gatehouse.ErrDenied, "backup/ledger", why+" Give a newer ledger with --ledger (the backup's directory, ledger_copies or your witness has one). If there is none anywhere, and you will erase these people again by other means: --accept-missing-erasures "+word)
}

func readLedgerFile(path string, verifier note.Verifier, visit func(Line, Head) error) (Head, error) {
	f, err := os.Open(path)
	if err != nil {
		return Head{}, err
	}
	defer func() { _ = f.Close() }()
	return ReadLedger(f, verifier, visit)
}

// Load fills a target with what the backup holds and brings it up to date. The
// target stays marked; Load may be repeated.
func (r *Restore) Load(ctx context.Context, target Target, progress func(done, total int64)) error {
	m := r.Manifest()
	var total, done int64
	for _, p := range m.Parts {
		total += p.Rows
	}
	step("load")
	err := target.Load(ctx, func(l Loading) error {
		tables, err := l.Tables(ctx)
		if err != nil {
			return err
		}
		if err := sameTables(tables, m.Parts); err != nil {
			return err
		}
		for _, p := range m.Parts {
			var table Table
			err := r.config.File.rows(r.key, p, func(t Table) error {
				table = t
				return sameColumns(tables, t)
			}, func(row []any) error {
				if done++; progress != nil && done%1000 == 0 {
					progress(done, total)
				}
				return l.Insert(ctx, table, row)
			})
			if err != nil {
				return fmt.Errorf("table %s: %w", p.Name, err)
			}
			if err := l.Count(ctx, table); err != nil {
				return fmt.Errorf("table %s: %w", p.Name, err)
			}
			step("loaded " + p.Name)
		}
		return nil
	})
	if progress != nil {
		progress(total, total)
	}
	if err != nil {
		return fmt.Errorf("restoring the backup: %w", err)
	}
	step("loaded")
	if err := target.Migrate(ctx); err != nil {
		return err
	}
	state, err := target.State(ctx)
	if err != nil {
		return err
	}
	if state.Connections != m.Connections || state.Environment != m.Environment || string(state.Checkpoint) != m.Checkpoint {
		return fmt.Errorf("what was restored is not what the manifest says (%d connections, the manifest says %d): %w", state.Connections, m.Connections, gatehouse.ErrInvalid)
	}
	step("migrated")
	return nil
}

// sameTables compares the tables of a target with the parts of a backup.
func sameTables(tables []Table, parts []Part) error {
	have := map[string]bool{}
	for _, t := range tables {
		have[t.Name] = true
	}
	for _, p := range parts {
		if !have[p.Name] {
			return fmt.Errorf("the backup has a table %s that the schema does not have: %w", p.Name, gatehouse.ErrConflict)
		}
		delete(have, p.Name)
	}
	for name := range have {
		return fmt.Errorf("the backup lacks the table %s: %w", name, gatehouse.ErrConflict)
	}
	return nil
}

// sameColumns demands that a table has the columns that the target's has.
func sameColumns(tables []Table, t Table) error {
	i := slices.IndexFunc(tables, func(o Table) bool { return o.Name == t.Name })
	// The order may differ: columns are inserted by name.
	if i < 0 || len(tables[i].Columns) != len(t.Columns) || tables[i].Counted != t.Counted {
		return fmt.Errorf("the table %s has other columns in the schema: %w", t.Name, gatehouse.ErrConflict)
	}
	for _, c := range t.Columns {
		if !slices.Contains(tables[i].Columns, c) {
			return fmt.Errorf("the table %s has no column %s like that in the schema: %w", t.Name, c.Name, gatehouse.ErrConflict)
		}
	}
	return nil
}

// Erase writes the ledger's newer lines into the restored database and calls erase
// for the person of every line, also of those that the backup itself holds: the
// line is written before the person is erased, and the backup may be of the
// moment between. held says that it does. It returns how many lines came from the
// ledger.
func (r *Restore) Erase(ctx context.Context, store LedgerStore, erase func(ctx context.Context, person gatehouse.PersonID, held bool) error) (int, error) {
	last, err := store.LedgerHead(ctx)
	if err != nil {
		return 0, err
	}
	own, added := last.Seq, 0
	if r.ledger != "" {
		_, err := readLedgerFile(r.ledger, r.config.Verifier, func(line Line, _ Head) error {
			if line.Seq <= own {
				return nil
			}
			added++
			return store.AddLine(ctx, line)
		})
		if err != nil {
			return added, fmt.Errorf("taking over the ledger of erasures: %w", err)
		}
	}
	step("ledger taken over")
	for seq := int64(0); ; {
		lines, err := store.LedgerAfter(ctx, seq, 500)
		if err != nil || len(lines) == 0 {
			return added, err
		}
		for _, line := range lines {
			if err := erase(ctx, line.Person, line.Seq <= own); err != nil {
				return added, fmt.Errorf("erasing number %d of the ledger again: %w", line.Seq, err)
			}
			seq = line.Seq
			step("erased one")
		}
	}
}

// ReadLedgerFile verifies the ledger in a file; see ReadLedger.
func ReadLedgerFile(path string, verifier note.Verifier) (Head, error) {
	return readLedgerFile(path, verifier, nil)
}
