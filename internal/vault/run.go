package vault

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"gatehouse"
)

const (
	// tick is how soon a running process obeys what another did with a key.
	tick = 15 * time.Second
	// lookAround is how often versions are looked for that nothing needs, which
	// may read much.
	lookAround = 6 * time.Hour
)

// Run looks after the keys until ctx ends: it obeys what other processes did,
// goes on with what was interrupted, turns the keyring, and rotates and destroys
// by age. Of several processes one does the work. It fails on nothing: what could
// not be done is logged and tried again.
func (k *Keys) Run(ctx context.Context) error {
	written := map[domainVersion]int64{}
	var looked time.Time
	for {
		if err := k.obey(ctx); err != nil {
			k.problem(ctx, "looking for changed keys", err)
		}
		if err := k.noteUse(ctx, written); err != nil {
			k.problem(ctx, "noting the use of keys", err)
		}
		look := time.Since(looked) >= lookAround
		if err := k.Maintain(ctx, look); err != nil {
			k.problem(ctx, "work on keys", err)
		} else if look {
			looked = time.Now()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(tick):
		}
	}
}

func (k *Keys) problem(ctx context.Context, what string, err error) {
	if ctx.Err() == nil {
		k.config.Logger.WarnContext(ctx, what+"; it is tried again", slog.Any("error", err))
	}
}

// obey unwraps the domain keys again if their versions or states have changed.
func (k *Keys) obey(ctx context.Context) error {
	ring := k.vault.held.Load()
	if ring == nil {
		return nil // whoever needs them next reads them
	}
	rows, err := k.store().DomainKeys(ctx)
	if err != nil || states(rows) == ring.states {
		return err
	}
	return k.vault.Renew(ctx)
}

// noteUse writes down in which hour keys were last used, once for each hour.
func (k *Keys) noteUse(ctx context.Context, written map[domainVersion]int64) (failed error) {
	k.vault.used.Range(func(key, hour any) bool {
		of, last := key.(domainVersion), hour.(*atomic.Int64).Load()
		if last > written[of] {
			if failed = k.store().MarkDomainKeyUsed(ctx, of.domain, of.version, time.Unix(last*3600, 0)); failed == nil {
				written[of] = last
			}
		}
		return failed == nil
	})
	return failed
}

// Maintain does what is due now, once. It asks first without the lease, so that
// an idle process writes nothing. With look it also looks for versions that
// nothing needs.
func (k *Keys) Maintain(ctx context.Context, look bool) error {
	due, err := k.work(ctx)
	if err != nil {
		return err
	}
	if !due && !(look && k.config.DestroyAfter > 0) {
		return nil
	}
	err = k.alone(ctx, func(w *walk) error {
		failed := w.byAge(ctx)
		failed = errors.Join(failed, w.toRoot(ctx), w.system(ctx), w.personal(ctx, false), w.vault.wipeDaily(ctx))
		if look && k.config.DestroyAfter > 0 {
			failed = errors.Join(failed, w.unneeded(ctx))
		}
		_, err := k.DestroyDue(ctx)
		return errors.Join(failed, err)
	})
	if errors.Is(err, gatehouse.ErrConflict) && isBusy(err) {
		return nil // another process is at it
	}
	return err
}

// work reports whether anything is due.
func (k *Keys) work(ctx context.Context) (bool, error) {
	s, err := k.Status(ctx)
	if err != nil {
		return false, err
	}
	newest, err := k.newest(ctx, Personal)
	if err != nil {
		return false, err
	}
	turn, err := k.due(ctx, newest)
	if err != nil {
		return false, err
	}
	if turn || s.Unfinished() {
		return true, nil
	}
	for _, row := range s.Domains {
		if k.tooOld(row) || row.State == Scheduled && !time.Now().Before(row.DestroyAt) {
			return true, nil
		}
	}
	return false, nil
}

// tooOld reports whether a version is to be rotated by its age.
func (k *Keys) tooOld(row DomainKey) bool {
	return k.config.RotateAfter > 0 && row.State == Active && row.Domain != Derive && time.Since(row.Created) >= k.config.RotateAfter
}

// byAge rotates what has reached the configured age.
func (w *walk) byAge(ctx context.Context) error {
	rows, err := w.store().DomainKeys(ctx)
	if err != nil {
		return err
	}
	var failed error
	for _, row := range rows {
		if w.tooOld(row) {
			_, err := w.Rotate(ctx, row.Domain)
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// unneeded schedules the destruction of versions that were replaced long enough
// ago and that nothing needs.
func (w *walk) unneeded(ctx context.Context) error {
	rows, err := w.store().DomainKeys(ctx)
	if err != nil {
		return err
	}
	var failed error
	for _, row := range rows {
		if row.State != DecryptOnly || row.Domain == Derive || time.Since(row.since()) < w.config.DestroyAfter {
			continue
		}
		uses, err := w.store().DomainKeyUses(ctx, row.Domain, row.Version)
		if err == nil && len(uses) == 0 {
			_, err = w.Schedule(ctx, row.Domain, row.Version, DefaultWait)
		}
		failed = errors.Join(failed, err)
	}
	return failed
}
