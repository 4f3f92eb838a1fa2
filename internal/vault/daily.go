package vault

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"gatehouse"
)

func (v *Vault) dailyPlace(version uint32) []byte {
	return place(dailyKeyKind, string(v.config.Environment), versionPart(version))
}

// activeDaily returns the daily key that wraps.
func (v *Vault) activeDaily(ctx context.Context) (DailyKey, error) {
	keys, err := v.config.Store.DailyKeys(ctx)
	if err != nil {
		return DailyKey{}, fmt.Errorf("reading the daily key: %w", err)
	}
	for _, key := range keys {
		if key.State == Active {
			return key, nil
		}
	}
	return DailyKey{}, fmt.Errorf("there is no daily key yet: %w", gatehouse.ErrNotFound)
}

// firstDaily makes the first daily key of a store. If there is one, it is opened:
// a keyring file that is missing or of another day must be noticed at the start.
func (v *Vault) firstDaily(ctx context.Context) error {
	active, err := v.activeDaily(ctx)
	if errors.Is(err, gatehouse.ErrNotFound) {
		if _, err = v.newDaily(ctx, 0); errors.Is(err, gatehouse.ErrConflict) {
			err = nil // another process was faster
		}
		return err
	}
	if err != nil {
		return err
	}
	if _, err = v.dailyKey(ctx, active.Version); errors.Is(err, errMoved) {
		// It may have been replaced since it was read.
		if active, err = v.activeDaily(ctx); err == nil {
			_, err = v.dailyKey(ctx, active.Version)
		}
	}
	return err
}

// newDaily makes the daily key after the given version. Its material is durable
// before its row exists, and its row before anything is wrapped by it.
func (v *Vault) newDaily(ctx context.Context, after uint32) (DailyKey, error) {
	ring, err := v.keyring(ctx)
	if err != nil {
		return DailyKey{}, err
	}
	wrapping, domainVersion, err := v.sealer(ctx, Personal)
	if err != nil {
		return DailyKey{}, err
	}
	var key [keySize]byte
	defer clear(key[:])
	if _, err := rand.Read(key[:]); err != nil {
		return DailyKey{}, err
	}
	row := DailyKey{Version: after + 1, State: Active, DomainVersion: domainVersion, Created: time.Now()}
	wrapped, err := wrapping.Encrypt(key[:], v.dailyPlace(row.Version))
	if err != nil {
		return DailyKey{}, fmt.Errorf("wrapping the daily key: %w", err)
	}
	if v.config.KeyringFile == "" {
		row.Wrapped = wrapped
		err = v.config.Store.AddDailyKey(ctx, row)
	} else {
		row.InFile = true
		err = v.addDailyInFile(ctx, row, wrapped)
	}
	if err != nil {
		return DailyKey{}, fmt.Errorf("storing daily key version %d: %w", row.Version, err)
	}
	primitive, err := newPersonAEAD(key[:])
	if err == nil {
		ring.people.daily.Store(row.Version, primitive)
	}
	return row, err
}

// addDailyInFile stores a daily key whose material goes into the keyring file.
// The file's lock keeps two processes from writing the same slot: what stands in
// it must be what the row that wins was made for.
func (v *Vault) addDailyInFile(ctx context.Context, row DailyKey, wrapped []byte) error {
	keys, err := v.config.Store.DailyKeys(ctx)
	if err != nil {
		return err
	}
	expected := false // that there is a file already
	for _, key := range keys {
		expected = expected || key.InFile && key.State != Destroyed
	}
	file, err := openKeyringFile(v.config.KeyringFile, !expected)
	if err != nil {
		return err
	}
	defer file.close()
	if err := file.lock(); err != nil {
		return err
	}
	// Behind the lock: is it still the next version?
	if keys, err = v.config.Store.DailyKeys(ctx); err != nil {
		return err
	}
	for _, key := range keys {
		if key.Version >= row.Version {
			return fmt.Errorf("another process made it: %w", gatehouse.ErrConflict)
		}
		if key.State != Destroyed && key.Version+1 < row.Version {
			return fmt.Errorf("version %d is still in use, and its place is needed: %w", key.Version, gatehouse.ErrConflict)
		}
	}
	if err := file.put(row.Version, wrapped); err != nil {
		return err
	}
	return v.config.Store.AddDailyKey(ctx, row)
}

// dailyKey returns the primitive of a version of the daily key. errMoved means
// that the version was destroyed.
func (v *Vault) dailyKey(ctx context.Context, version uint32) (cipher.AEAD, error) {
	ring, err := v.keyring(ctx)
	if err != nil {
		return nil, err
	}
	if known, ok := ring.people.daily.Load(version); ok {
		return known.(cipher.AEAD), nil
	}
	keys, err := v.config.Store.DailyKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the daily key: %w", err)
	}
	for _, key := range keys {
		if key.Version != version || key.State == Destroyed {
			continue
		}
		wrapped := key.Wrapped
		if key.InFile {
			if wrapped, err = v.dailyFromFile(version); err != nil {
				return nil, err
			}
		}
		wrapping, err := v.opener(ctx, Personal, key.DomainVersion)
		if err != nil {
			return nil, err
		}
		material, err := wrapping.Decrypt(wrapped, v.dailyPlace(version))
		if err != nil {
			return nil, fmt.Errorf("unwrapping daily key version %d with domain key personal version %d: %w", version, key.DomainVersion, ErrUnreadable)
		}
		defer clear(material)
		primitive, err := newPersonAEAD(material)
		if err != nil {
			return nil, err
		}
		ring.people.daily.Store(version, primitive)
		return primitive, nil
	}
	return nil, errMoved
}

func (v *Vault) dailyFromFile(version uint32) ([]byte, error) {
	if v.config.KeyringFile == "" {
		return nil, fmt.Errorf("daily key version %d is in a keyring file, and none is configured (keys.keyring): %w", version, gatehouse.ErrConflict)
	}
	file, err := openKeyringFile(v.config.KeyringFile, false)
	if err != nil {
		return nil, err
	}
	defer file.close()
	return file.get(version)
}

// WrappedDailyKey returns, still wrapped, a version of the daily key that stands in
// the keyring file. It is for a backup: the rows of a database alone would open
// nobody's key. A version that is not there any more is ErrNotFound.
func (v *Vault) WrappedDailyKey(version uint32) ([]byte, error) {
	wrapped, err := v.dailyFromFile(version)
	if errors.Is(err, errMoved) {
		err = fmt.Errorf("%w: %w", gatehouse.ErrNotFound, err)
	}
	return wrapped, err
}

// endDaily destroys a version of the daily key that wraps nothing any more: its
// row first, so that nobody looks for it, then its place in the file.
func (v *Vault) endDaily(ctx context.Context, version uint32) error {
	if err := v.config.Store.EndDailyKey(ctx, version, time.Now()); err != nil {
		return fmt.Errorf("destroying daily key version %d: %w", version, err)
	}
	if ring := v.held.Load(); ring != nil {
		ring.people.daily.Delete(version)
	}
	return v.wipeDaily(ctx)
}

// wipeDaily overwrites what the keyring file still holds of destroyed versions:
// a process may have died between the row and the file.
func (v *Vault) wipeDaily(ctx context.Context) error {
	keys, err := v.config.Store.DailyKeys(ctx)
	if err != nil {
		return fmt.Errorf("reading the daily key: %w", err)
	}
	inFile := false
	for _, key := range keys {
		inFile = inFile || key.InFile
	}
	if !inFile || v.config.KeyringFile == "" {
		return nil
	}
	file, err := openKeyringFile(v.config.KeyringFile, false)
	if err != nil {
		return err
	}
	defer file.close()
	if err := file.lock(); err != nil {
		return err
	}
	// Behind the lock no version is made: what the rows do not know is not about to
	// be known.
	if keys, err = v.config.Store.DailyKeys(ctx); err != nil {
		return fmt.Errorf("reading the daily key: %w", err)
	}
	live := map[uint32]bool{}
	for _, key := range keys {
		if key.InFile && key.State != Destroyed {
			live[key.Version] = true
		}
	}
	return file.wipeAllBut(live)
}
