package vault

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse"
)

// Below the domain key Personal stands the keyring, which is what makes an
// erased person's key gone from the raw disk within a day:
//
//	Personal → daily key → keyring keys, one for each bucket of people → a key for each person
//
// A database never quite forgets: free pages, write-ahead logs, dead rows and
// snapshots keep wrapped keys that were overwritten. So a keyring key that
// somebody was erased from is made anew, its people's keys are wrapped by the new
// one, and the daily key, which alone opens what is left of the old wrapping, is
// made anew too and destroyed in the one place that can forget: a small file
// outside the database, whose blocks are overwritten. See Keys.turn.

// buckets is how many keyring keys there are at most: with a million people an
// erasure rewraps a thousand of their keys, and a day's turn at least as many
// keyring keys. A person's bucket is drawn by lot and not stored: the row names
// the keyring key.
const buckets = 1024

// moves is how often a key is looked up that may have been replaced meanwhile,
// and movePause how long another process may believe an older row; see package
// store, cacheTrust.
const (
	moves     = 5
	movePause = 3 * time.Millisecond
)

// errMoved means that a row named a keyring key or a daily key that is no longer
// there. Either the row is older than its replacement, or the key is lost.
var errMoved = errors.New("the key that wraps it is not there: the database and the keyring file are not of the same time, or a row was removed")

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(movePause):
		return nil
	}
}

// peopleKeys are the keys between Personal and the people in plain, as they were
// needed. They live no longer than the keyring of domain keys that they belong to.
type peopleKeys struct {
	byID   sync.Map              // KeyringID → cipher.AEAD
	daily  sync.Map              // version uint32 → cipher.AEAD
	active [buckets]atomic.Int64 // KeyringID that was last seen active; 0 if unknown
}

// part is the identifier as a part of a place.
func (id KeyringID) part() string {
	var encoded [8]byte
	binary.BigEndian.PutUint64(encoded[:], uint64(id))
	return string(encoded[:])
}

func (v *Vault) keyringPlace(key KeyringKey) []byte {
	return place(keyringKeyKind, string(v.config.Environment), key.ID.part(), versionPart(uint32(key.Bucket)), versionPart(key.Daily))
}

// keyringKey returns the primitive of a keyring key, or errMoved.
func (v *Vault) keyringKey(ctx context.Context, id KeyringID) (cipher.AEAD, error) {
	ring, err := v.keyring(ctx)
	if err != nil {
		return nil, err
	}
	if known, ok := ring.people.byID.Load(id); ok {
		return known.(cipher.AEAD), nil
	}
	row, err := v.config.Store.KeyringKey(ctx, id)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return nil, errMoved
	}
	if err != nil {
		return nil, fmt.Errorf("reading a keyring key: %w", err)
	}
	return v.openKeyringKey(ctx, ring, row)
}

// openKeyringKey unwraps a keyring key and remembers its primitive in the ring.
func (v *Vault) openKeyringKey(ctx context.Context, ring *keyring, row KeyringKey) (cipher.AEAD, error) {
	material, err := v.keyringMaterial(ctx, row)
	if err != nil {
		return nil, err
	}
	defer clear(material)
	primitive, err := newPersonAEAD(material)
	if err != nil {
		return nil, err
	}
	ring.people.byID.Store(row.ID, primitive)
	return primitive, nil
}

// keyringMaterial unwraps a keyring key. The caller wipes it.
func (v *Vault) keyringMaterial(ctx context.Context, row KeyringKey) ([]byte, error) {
	daily, err := v.dailyKey(ctx, row.Daily)
	if err != nil {
		return nil, err
	}
	material, err := daily.Open(nil, nil, row.Wrapped, v.keyringPlace(row))
	if err != nil {
		return nil, fmt.Errorf("unwrapping keyring key %d with daily key version %d: %w", row.ID, row.Daily, ErrUnreadable)
	}
	return material, nil
}

// newKeyringKey makes a key for a bucket under a version of the daily key, and
// stores it in place of another one, or of none for 0. Its primitive is
// remembered.
func (v *Vault) newKeyringKey(ctx context.Context, bucket int, daily uint32, replaces KeyringID) (KeyringID, cipher.AEAD, error) {
	ring, err := v.keyring(ctx)
	if err != nil {
		return 0, nil, err
	}
	wrapping, err := v.dailyKey(ctx, daily)
	if err != nil {
		return 0, nil, err
	}
	var key [keySize]byte
	defer clear(key[:])
	if _, err := rand.Read(key[:]); err != nil {
		return 0, nil, err
	}
	row := KeyringKey{ID: randomID(), Bucket: bucket, State: Active, Daily: daily, Created: time.Now()}
	row.Wrapped = wrapping.Seal(nil, nil, key[:], v.keyringPlace(row))
	if err := v.config.Store.AddKeyringKey(ctx, row, replaces); err != nil {
		return 0, nil, fmt.Errorf("storing a keyring key: %w", err)
	}
	primitive, err := newPersonAEAD(key[:])
	if err != nil {
		return 0, nil, err
	}
	ring.people.byID.Store(row.ID, primitive)
	ring.people.active[bucket].Store(int64(row.ID))
	return row.ID, primitive, nil
}

func randomID() KeyringID {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return KeyringID(binary.BigEndian.Uint64(b[:])>>1 | 1)
}

// anyKeyringKey returns the active keyring key of a bucket drawn by lot, and
// makes one if the bucket has none yet. ErrConflict means that another process
// was faster.
func (v *Vault) anyKeyringKey(ctx context.Context) (KeyringID, cipher.AEAD, error) {
	n, err := rand.Int(rand.Reader, big.NewInt(buckets))
	if err != nil {
		return 0, nil, err
	}
	bucket := int(n.Int64())
	ring, err := v.keyring(ctx)
	if err != nil {
		return 0, nil, err
	}
	if id := KeyringID(ring.people.active[bucket].Load()); id != 0 {
		primitive, err := v.keyringKey(ctx, id)
		return id, primitive, err
	}
	row, err := v.config.Store.KeyringKeyOf(ctx, bucket)
	if errors.Is(err, gatehouse.ErrNotFound) {
		active, err := v.activeDaily(ctx)
		if err != nil {
			return 0, nil, err
		}
		return v.newKeyringKey(ctx, bucket, active.Version, 0)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("reading a keyring key: %w", err)
	}
	primitive, err := v.openKeyringKey(ctx, ring, row)
	if err == nil {
		ring.people.active[bucket].Store(int64(row.ID))
	}
	return row.ID, primitive, err
}

// forgetKeyringKey drops a keyring key from memory.
func (v *Vault) forgetKeyringKey(id KeyringID) {
	ring := v.held.Load()
	if ring == nil {
		return
	}
	ring.people.byID.Delete(id)
	for i := range ring.people.active {
		ring.people.active[i].CompareAndSwap(int64(id), 0)
	}
}

// forgetActive has every bucket's active key looked up again: one was replaced,
// so a turn is under way or was, and others may be too.
func (v *Vault) forgetActive() {
	if ring := v.held.Load(); ring != nil {
		for i := range ring.people.active {
			ring.people.active[i].Store(0)
		}
	}
}
