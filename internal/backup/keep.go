package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

const (
	// roundEvery is the pause between two looks at what is due.
	roundEvery = time.Minute
	// claimFor is how long a process that died keeps others from a scheduled backup;
	// one that lives extends its claim every extendEvery.
	claimFor    = 10 * time.Minute
	extendEvery = time.Minute
	// staleAfter is when an unfinished file is nobody's any more.
	staleAfter = 24 * time.Hour
)

// Run ships the ledger, takes backups when they are due and destroys those whose
// time is over, until ctx ends.
func (b *Backups) Run(ctx context.Context) error {
	for {
		for what, err := range map[string]error{
			"the ledger of erasures could not be copied; duties wait for it": b.config.Ledger.Ship(ctx),
			"a scheduled backup failed; it is tried again":                   b.due(ctx),
			"backups past their time could not all be destroyed":             b.pruneQuietly(ctx),
		} {
			if err != nil && ctx.Err() == nil {
				b.config.Logger.ErrorContext(ctx, what, slog.String("error", wire.LogText(err)))
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(roundEvery):
		}
	}
}

func (b *Backups) pruneQuietly(ctx context.Context) error {
	_, err := b.Prune(ctx, time.Now())
	return err
}

// due takes a backup if one is due and no other process is at it.
func (b *Backups) due(ctx context.Context) error {
	now := time.Now()
	claimed, err := b.config.Work.ClaimBackup(ctx, now, now.Add(-b.config.Every), now.Add(claimFor))
	if err != nil || !claimed {
		return err
	}
	extended := now
	made, err := b.Create(ctx, "", func(int64) {
		if t := time.Now(); t.Sub(extended) > extendEvery {
			extended = t
			// If it cannot be extended, another process takes a backup too.
			_ = b.config.Work.ExtendBackup(ctx, t.Add(claimFor))
		}
	})
	switch {
	case err == nil:
		b.config.Logger.InfoContext(ctx, "backup taken", slog.String("path", made.Path), slog.Int64("bytes", made.Bytes))
		return b.config.Work.EndBackup(context.WithoutCancel(ctx), now)
	case ctx.Err() != nil: // told to stop: the next start takes it
		return errors.Join(err, b.config.Work.EndBackup(context.WithoutCancel(ctx), time.Time{}))
	}
	// It is tried again when the claim is over, not every minute: each time leaves
	// entries in the log.
	return err
}

// A Pruned is one day whose backups were ended.
type Pruned struct {
	Day     string `json:"day"`
	Backups int    `json:"backups"`
}

// Prune ends every epoch whose day began [Config.Keep] ago or earlier: its key is
// destroyed, then the day's backups are deleted. So no backup opens longer than
// Keep after it was taken, wherever copies of it are. What was interrupted is taken
// up again.
func (b *Backups) Prune(ctx context.Context, now time.Time) ([]Pruned, error) {
	epochs, err := b.epochs.list()
	if err != nil {
		return nil, err
	}
	keys, files := map[string][]string{}, map[string][]string{} // by day
	for _, epoch := range epochs {
		day := epoch[:len(time.DateOnly)]
		keys[day] = append(keys[day], epoch)
	}
	// If the backups cannot be reached, keys are destroyed all the same: it is the
	// backups that must not be readable.
	names, failed := backupNames(b.config.To, b.config.Environment)
	for _, name := range names {
		id, _ := backupID(name, b.config.Environment)
		day := id[:4] + "-" + id[4:6] + "-" + id[6:8]
		files[day] = append(files[day], filepath.Join(b.config.To, name))
	}
	days := map[string]bool{}
	for _, by := range []map[string][]string{keys, files} {
		for day := range by {
			days[day] = b.ended(day, now)
		}
	}
	var done []Pruned
	for _, day := range slices.Sorted(maps.Keys(days)) {
		if !days[day] {
			continue
		}
		if err := b.end(ctx, day, keys[day], files[day]); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		done = append(done, Pruned{day, len(files[day])})
	}
	if failed == nil {
		failed = errors.Join(removeStale(b.config.To, partialSuffix, now), removeStale(b.config.EpochKeys, "", now))
	}
	return done, failed
}

// ended reports whether a day's time is over. A name that is no day never is.
func (b *Backups) ended(day string, now time.Time) bool {
	began, err := time.Parse(time.DateOnly, day)
	return err == nil && !now.Before(began.Add(b.config.Keep))
}

// end destroys the keys of a day and deletes its backups.
func (b *Backups) end(ctx context.Context, day string, keys, files []string) error {
	facts := map[string]string{"day": day, "keys": strconv.Itoa(len(keys)), "backups": strconv.Itoa(len(files))}
	intent, err := b.config.Log.Intent(ctx, audit.Entry{Action: "backup.prune", Facts: facts})
	if err != nil {
		return err
	}
	step("prune")
	for _, epoch := range keys {
		err = errors.Join(err, b.epochs.destroy(epoch))
	}
	// Without the key they are noise; with it, they must not be left to be found.
	for _, path := range files {
		if err == nil {
			err = os.Remove(path)
			step("backup removed")
		}
	}
	if err == nil && len(files) > 0 {
		err = vault.SyncDirectory(b.config.To)
	}
	verdict := "done"
	if err != nil {
		verdict, err = "failed", fmt.Errorf("ending the backups of %s: %w", day, err)
	}
	b.config.Log.Outcome(intent, audit.Entry{Verdict: verdict, Facts: facts})
	return err
}

// removeStale removes what processes that died left unfinished: our temporary
// files that nobody has written to for a day.
func removeStale(dir, suffix string, now time.Time) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var failed error
	for _, e := range entries {
		ours := strings.HasPrefix(e.Name(), ".new-")
		if suffix != "" {
			ours = strings.HasPrefix(e.Name(), "gatehouse-") && strings.HasSuffix(e.Name(), suffix)
		}
		info, err := e.Info()
		if ours && err == nil && info.Mode().IsRegular() && now.Sub(info.ModTime()) > staleAfter {
			failed = errors.Join(failed, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return failed
}
