package vault

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"strconv"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"
)

// batch is how many keys of people are rewrapped in one transaction, and rest how
// many times as long as that took the walk then rests, so that calls find the
// database free most of the time; docs/benchmarks.md has what they notice.
const (
	batch = 32
	rest  = 3
)

// Progress is told how far a walk has come. The total may grow. Nil is not told.
type Progress func(what string, done, total int64)

func (p Progress) tell(what string, done, total int64) {
	if p != nil {
		p(what, done, total)
	}
}

// Turned is what a walk did.
type Turned struct {
	People      int64 // keys of people that were rewrapped
	KeyringKeys int64 // keyring keys that were made anew or rewrapped
	Unreadable  int64 // keys that did not open: set aside, or in the way
}

func (t Turned) facts() map[string]string {
	facts := map[string]string{"people": strconv.FormatInt(t.People, 10), "keyring-keys": strconv.FormatInt(t.KeyringKeys, 10)}
	if t.Unreadable > 0 {
		facts["unreadable"] = strconv.FormatInt(t.Unreadable, 10)
	}
	return facts
}

// walk is one run through keys, by the one process that holds the lease.
type walk struct {
	*Keys
	until    time.Time // end of the lease
	progress Progress
	// setAside goes on without what does not open, for good.
	setAside bool
	done     Turned
}

const (
	// leaseName is the lease for all work on keys.
	leaseName = "keys"
	ruleBusy  = "keys/busy"
	leaseTime = 30 * time.Second
)

// alone runs do while no other process works on keys. The lease spares double
// work; what makes double work harmless is that every step is a compare-and-swap.
func (k *Keys) alone(ctx context.Context, do func(w *walk) error) error {
	w := &walk{Keys: k}
	if err := w.extend(ctx); err != nil {
		return err
	}
	defer func() {
		now := time.Now()
		// If it fails, the lease ends by itself.
		_, _ = k.store().Lease(context.WithoutCancel(ctx), leaseName, k.owner, now, now)
	}()
	// What this process seals anew must be under the newest versions.
	if err := k.obey(ctx); err != nil {
		return err
	}
	return do(w)
}

// extend keeps the lease for the next batch.
func (w *walk) extend(ctx context.Context) error {
	now := time.Now()
	if w.until.Sub(now) > leaseTime/2 {
		return ctx.Err()
	}
	ours, err := w.store().Lease(ctx, leaseName, w.owner, now, now.Add(leaseTime))
	if err != nil {
		return fmt.Errorf("taking the lease for work on keys: %w", err)
	}
	if !ours {
		return wire.Refuse(gatehouse.ErrConflict, ruleBusy, "Another process works on keys. See how far it is: gatehouse keys status. If it died, this is possible again in half a minute.")
	}
	w.until = now.Add(leaseTime)
	return nil
}

// dailies returns the daily key that wraps, and the one that it replaces if a
// turn is under way (version 0 if not).
func (k *Keys) dailies(ctx context.Context) (active, older DailyKey, err error) {
	keys, err := k.store().DailyKeys(ctx)
	if err != nil {
		return active, older, fmt.Errorf("reading the daily key: %w", err)
	}
	for _, key := range keys {
		switch key.State {
		case Active:
			active = key
		case DecryptOnly:
			older = key
		}
	}
	if active.Version == 0 {
		return active, older, fmt.Errorf("there is no daily key: %w", gatehouse.ErrNotFound)
	}
	return active, older, nil
}

// turn lets the keyring forget. It makes a new daily key; makes anew each keyring
// key that somebody was erased from, rewrapping the keys of its people; rewraps
// the other keyring keys; and destroys the old daily key, which alone opens what
// storage still holds of the old wrappings. A turn that was interrupted shows in
// the rows (a daily key that is decrypt-only, keyring keys under it) and goes on.
func (w *walk) turn(ctx context.Context) error {
	active, older, err := w.dailies(ctx)
	if err != nil {
		return err
	}
	receipt, err := w.config.Log.Intent(ctx, audit.Entry{Action: actionRotate, Facts: map[string]string{
		"key": "keyring", "version": strconv.FormatUint(uint64(active.Version)+1, 10),
	}})
	if err != nil {
		return fmt.Errorf("recording %s: %w", actionRotate, err)
	}
	if older.Version == 0 {
		older = active
		if active, err = w.vault.newDaily(ctx, older.Version); err != nil {
			return w.ended(receipt, nil, err)
		}
		w.step("turn: daily key made")
	}
	err = w.leaveDaily(ctx, older.Version, active.Version)
	if err == nil {
		err = w.store().Compact(ctx)
	}
	return w.ended(receipt, w.done.facts(), err)
}

// leaveDaily moves everything from the older daily key to the active one and
// destroys the older. A keyring key that another process began to store before
// there was a new daily key may be committed after the last look under the old
// one; the database then refuses to end that, and it is looked at again. No new
// one can begin, so this ends.
func (w *walk) leaveDaily(ctx context.Context, older, active uint32) error {
	for late := 0; ; late++ {
		if err := w.renewKeyring(ctx, older, active); err != nil {
			return err
		}
		w.step("turn: nothing left under the old daily key")
		err := w.vault.endDaily(ctx, older)
		if !errors.Is(err, gatehouse.ErrConflict) || late == moves {
			w.step("turn: old daily key destroyed")
			return err
		}
	}
}

// renewKeyring leaves no keyring key under the older daily key. What does not
// open holds up neither the others nor, if it is to be set aside, the turn.
func (w *walk) renewKeyring(ctx context.Context, older, active uint32) error {
	sum, err := w.store().KeyringSummary(ctx)
	if err != nil {
		return fmt.Errorf("counting the keyring keys: %w", err)
	}
	wrapping, err := w.vault.dailyKey(ctx, active)
	if err != nil {
		return err
	}
	var after KeyringID
	var failed error
	for {
		rows, err := w.store().KeyringKeysUnder(ctx, older, after, batch)
		if err != nil {
			return fmt.Errorf("reading keyring keys: %w", err)
		}
		if len(rows) == 0 {
			if failed != nil || after == 0 {
				return failed
			}
			after = 0 // what came, or changed under our hands, behind us
			continue
		}
		after = rows[len(rows)-1].ID
		others, err := w.keepKeyringKeys(ctx, rows, active, wrapping)
		if err != nil {
			return err
		}
		for _, row := range others {
			err := w.replaceKeyringKey(ctx, row, active)
			switch {
			case errors.Is(err, ErrUnreadable):
				failed = errors.Join(failed, err)
			case errors.Is(err, gatehouse.ErrConflict) && !isBusy(err):
				// It is still there, and seen again.
			case err != nil:
				return err
			}
		}
		w.done.KeyringKeys += int64(len(rows))
		w.progress.tell("keyring keys", w.done.KeyringKeys, max(sum.Keys, w.done.KeyringKeys))
	}
}

// keepKeyringKeys wraps by the new daily key those keys that nobody was erased
// from, and returns the others, which are to be replaced. A key that somebody is
// erased from in this moment stays, and is among the others next time.
func (w *walk) keepKeyringKeys(ctx context.Context, rows []KeyringKey, daily uint32, wrapping cipher.AEAD) (others []KeyringKey, err error) {
	if err := w.extend(ctx); err != nil {
		return nil, err
	}
	var from, to []KeyringKey
	for _, row := range rows {
		if row.State != Active || !row.Erased.IsZero() {
			others = append(others, row)
			continue
		}
		material, err := w.vault.keyringMaterial(ctx, row)
		if errors.Is(err, ErrUnreadable) {
			others = append(others, row)
			continue
		}
		if err != nil {
			return nil, err
		}
		kept := row
		kept.Daily = daily
		kept.Wrapped = wrapping.Seal(nil, nil, material, w.vault.keyringPlace(kept))
		clear(material)
		from, to = append(from, row), append(to, kept)
	}
	if len(to) == 0 {
		return others, nil
	}
	n, err := w.store().RewrapKeyringKeys(ctx, from, to)
	if err != nil {
		return nil, fmt.Errorf("storing rewrapped keyring keys: %w", err)
	}
	w.step("turn: keyring keys rewrapped")
	if n == len(to) {
		return others, nil
	}
	// Somebody was erased from one of them since it was read.
	for _, row := range from {
		now, err := w.store().KeyringKey(ctx, row.ID)
		if errors.Is(err, gatehouse.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading a keyring key: %w", err)
		}
		if now.Daily != daily {
			others = append(others, now)
		}
	}
	return others, nil
}

// replaceKeyringKey makes a keyring key anew, moves its people and removes it.
func (w *walk) replaceKeyringKey(ctx context.Context, row KeyringKey, daily uint32) error {
	if err := w.extend(ctx); err != nil {
		return err
	}
	material, err := w.vault.keyringMaterial(ctx, row)
	clear(material)
	if err != nil && !(errors.Is(err, ErrUnreadable) && w.setAside) {
		return err
	}
	target, wrapping, err := w.successor(ctx, row, daily)
	if err != nil {
		return err
	}
	if err := w.people(ctx, row.ID, 0, func() (KeyringID, cipher.AEAD, error) { return target, wrapping, nil }); err != nil {
		return err
	}
	w.step("turn: people rewrapped")
	if err := w.store().EndKeyringKey(ctx, row.ID); err != nil {
		return err
	}
	w.vault.forgetKeyringKey(row.ID)
	w.step("turn: keyring key ended")
	return nil
}

// successor returns the key that replaces row in its bucket, and makes it if
// nobody has yet.
func (w *walk) successor(ctx context.Context, row KeyringKey, daily uint32) (KeyringID, cipher.AEAD, error) {
	if row.State == Active {
		id, primitive, err := w.vault.newKeyringKey(ctx, row.Bucket, daily, row.ID)
		w.step("turn: keyring key made")
		return id, primitive, err
	}
	next, err := w.store().KeyringKeyOf(ctx, row.Bucket)
	if err != nil {
		return 0, nil, fmt.Errorf("finding the key that replaces keyring key %d: %w", row.ID, err)
	}
	primitive, err := w.vault.keyringKey(ctx, next.ID)
	return next.ID, primitive, err
}

// people rewraps the keys of people that a keyring key wraps, or a version of
// Personal directly, by the keyring keys that under yields.
func (w *walk) people(ctx context.Context, keyring KeyringID, domainVersion uint32, under func() (KeyringID, cipher.AEAD, error)) error {
	for conflicts := 0; ; {
		if err := w.extend(ctx); err != nil {
			return err
		}
		begun := time.Now()
		rows, err := w.store().PersonKeysUnder(ctx, keyring, domainVersion, batch)
		if err != nil {
			return fmt.Errorf("reading keys of people: %w", err)
		}
		if len(rows) == 0 {
			return nil
		}
		from, to, unreadable, err := w.rewrapped(ctx, rows, under)
		if errors.Is(err, gatehouse.ErrConflict) && conflicts < moves {
			conflicts++ // another process made the same bucket's first key
			continue
		}
		if err != nil {
			return err
		}
		if w.setAside {
			w.done.Unreadable += unreadable
		} else if unreadable == int64(len(rows)) {
			w.done.Unreadable += unreadable
			return w.inTheWay(keyring, domainVersion, unreadable)
		}
		n, err := w.store().RewrapPersonKeys(ctx, from, to)
		if errors.Is(err, gatehouse.ErrConflict) && conflicts < moves {
			conflicts++
			w.vault.forgetActive()
			continue
		}
		if err != nil {
			return fmt.Errorf("storing rewrapped keys of people: %w", err)
		}
		w.done.People += int64(n)
		w.progress.tell("keys of people", w.done.People, 0)
		w.step("turn: people batch")
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rest * time.Since(begun)):
		}
	}
}

// inTheWay is the error for keys that do not open. Others go on.
func (w *walk) inTheWay(keyring KeyringID, domainVersion uint32, n int64) error {
	under := fmt.Sprintf("keyring key %d", keyring)
	if keyring == 0 {
		under = fmt.Sprintf("domain key personal version %d", domainVersion)
	}
	return fmt.Errorf("%d or more keys of people under %s do not open, so it cannot be given up: put their rows back from a backup, "+
		"or go on without them, for good, with 'gatehouse keys rewrap --set-aside': %w", n, under, ErrUnreadable)
}

// rewrapped returns the rows that open, and what replaces each.
func (w *walk) rewrapped(ctx context.Context, rows []PersonKey, under func() (KeyringID, cipher.AEAD, error)) (from, to []PersonKey, unreadable int64, err error) {
	for _, row := range rows {
		next := row
		next.Keyring, next.DomainVersion = 0, 0
		if row.State != Destroyed { // a tombstone just leaves the index
			material, err := w.vault.personMaterial(ctx, row)
			switch {
			case errors.Is(err, ErrUnreadable):
				unreadable++
				if !w.setAside {
					continue
				}
				// It stands under nothing: whoever asks for it is told that it does
				// not open, as before.
			case err != nil:
				return nil, nil, 0, err
			default:
				id, wrapping, err := under()
				if err != nil {
					clear(material)
					return nil, nil, 0, err
				}
				next.Keyring = id
				next.Wrapped = wrapping.Seal(nil, nil, material, w.vault.personKeyPlace(next))
				clear(material)
			}
		}
		from, to = append(from, row), append(to, next)
	}
	return from, to, unreadable, nil
}

// adopt moves the keys of people that stand directly under a domain key, as in
// stores made before there was a keyring, under keyring keys.
func (w *walk) adopt(ctx context.Context, version uint32) error {
	facts := keyFacts(Personal, version)
	return w.did(ctx, actionRewrap, facts, func(audit.Receipt) error {
		return w.people(ctx, 0, version, func() (KeyringID, cipher.AEAD, error) { return w.vault.anyKeyringKey(ctx) })
	})
}

// due reports whether the keyring should be turned now.
func (k *Keys) due(ctx context.Context, newestPersonal uint32) (bool, error) {
	active, older, err := k.dailies(ctx)
	if err != nil {
		return false, err
	}
	// A turn that was begun; a domain key that was rotated; a place that changed.
	if older.Version != 0 || active.DomainVersion != newestPersonal || active.InFile != (k.vault.config.KeyringFile != "") {
		return true, nil
	}
	sum, err := k.store().KeyringSummary(ctx)
	if err != nil {
		return false, fmt.Errorf("counting the keyring keys: %w", err)
	}
	return sum.Dirty > 0 && time.Since(sum.Erased) >= k.config.TurnAfter, nil
}

// isBusy reports whether another process holds the lease.
func isBusy(err error) bool { return wire.RuleOf(err) == ruleBusy }
