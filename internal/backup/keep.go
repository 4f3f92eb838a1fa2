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

	"gatehouse/internal/audit"
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
	done := time.Time{}
	if err == nil {
		done = now
		b.config.Logger.InfoContext(ctx, "backup taken", slog.String("path", made.Path), slog.Int64("bytes", made.Bytes))
	}
	return errors.Join(err, b.config.Work.EndBackup(context.WithoutCancel(ctx), done))
}

// A Pruned is one epoch that was ended.
type Pruned struct {
	Epoch   string `json:"epoch"`
	Backups int    `json:"backups"`
}

// Prune ends every epoch that began [Config.Keep] ago or earlier: its key is
// destroyed, then its backups are deleted. So no backup opens longer than Keep
// after it was taken, wherever copies of it are. What was interrupted is taken up
// again.
func (b *Backups) Prune(ctx context.Context, now time.Time) ([]Pruned, error) {
	keys, err := b.epochs.list()
	if err != nil {
		return nil, err
	}
	over := map[string]bool{} // epochs to end; true if the key is still there
	for _, epoch := range keys {
		if b.ended(epoch, now) {
			over[epoch] = true
		}
	}
	names, err := backupNames(b.config.To, b.config.Environment)
	if err != nil {
		return nil, errors.Join(err, b.endKeys(ctx, over))
	}
	files := map[string][]string{}
	for _, name := range names {
		id, _ := backupID(name, b.config.Environment)
		epoch := id[:4] + "-" + id[4:6] + "-" + id[6:8]
		if b.ended(epoch, now) {
			files[epoch] = append(files[epoch], filepath.Join(b.config.To, name))
			over[epoch] = over[epoch] || false
		}
	}
	var done []Pruned
	var failed error
	for epoch := range over {
		if err := b.end(ctx, epoch, files[epoch]); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		done = append(done, Pruned{epoch, len(files[epoch])})
	}
	return done, errors.Join(failed, removeStale(b.config.To, partialSuffix, now), removeStale(b.config.EpochKeys, "", now))
}

// endKeys destroys keys although the backups cannot be reached: those are what
// must not be readable.
func (b *Backups) endKeys(ctx context.Context, over map[string]bool) error {
	var failed error
	for epoch := range over {
		failed = errors.Join(failed, b.end(ctx, epoch, nil))
	}
	return failed
}

// ended reports whether an epoch's time is over. A name that is no day never is.
func (b *Backups) ended(epoch string, now time.Time) bool {
	began, err := time.Parse(time.DateOnly, epoch)
	return err == nil && !now.Before(began.Add(b.config.Keep))
}

// end destroys an epoch's key and deletes its backups.
func (b *Backups) end(ctx context.Context, epoch string, files []string) error {
	intent, err := b.config.Log.Intent(ctx, audit.Entry{Action: "backup.prune", Facts: map[string]string{"epoch": epoch, "backups": strconv.Itoa(len(files))}})
	if err != nil {
		return err
	}
	step("prune")
	err = b.epochs.destroy(epoch)
	// Without the key they are noise; with it, they must not be left to be found.
	for _, path := range files {
		if err == nil {
			err = os.Remove(path)
			step("backup removed")
		}
	}
	if err == nil && len(files) > 0 {
		err = syncDir(b.config.To)
	}
	verdict := "done"
	if err != nil {
		verdict, err = "failed", fmt.Errorf("ending the epoch %s: %w", epoch, err)
	}
	b.config.Log.Outcome(intent, audit.Entry{Action: "backup.prune", Verdict: verdict, Facts: map[string]string{"epoch": epoch}})
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
