package vault

import (
	"context"
	"fmt"
	"time"

	"gatehouse"
)

// Domain names what a domain key is for. Keys of different domains never open
// one another's data, whatever stands in a row.
type Domain string

// The domains.
const (
	// Tokens seals credentials that belong to no person, such as a token that an
	// app registration holds for itself.
	Tokens Domain = "tokens"
	// Personal wraps the keys of people, and seals log fields of entries that
	// concern no person.
	Personal Domain = "personal"
	// System seals what Gatehouse itself needs to start: the log's signing key,
	// the key of the local certificate authority.
	System Domain = "system"
	// Derive is the keyset of the pseudo-random function behind Vault.Derive.
	Derive Domain = "derive"
)

// domains lists those that Init makes.
var domains = []Domain{Tokens, Personal, System, Derive}

// KeyState is where a key is in its life.
type KeyState string

// The states of a key, in the order in which it passes through them.
const (
	Active      KeyState = "active"       // seals and opens
	DecryptOnly KeyState = "decrypt-only" // opens; a newer version seals
	Disabled    KeyState = "disabled"     // neither, and can be enabled again
	Scheduled   KeyState = "scheduled"    // neither, and will be destroyed
	Destroyed   KeyState = "destroyed"    // the row is a tombstone without material
)

// opens reports whether a key in this state may open what it sealed.
func (s KeyState) opens() bool { return s == Active || s == DecryptOnly }

// DomainKey is one version of a domain's keyset, wrapped by a root key.
type DomainKey struct {
	Domain      Domain
	Version     uint32
	State       KeyState
	Environment gatehouse.Environment
	Root        string // RootKey.ID of the root key that wraps it
	Wrapped     []byte // empty when destroyed
	Created     time.Time
	Changed     time.Time // when its state last changed; zero if it never did
	DestroyAt   time.Time // when a scheduled version may be destroyed
	Used        time.Time // the hour in which it was last used, as far as known
}

// since is when the key got the state it has.
func (k DomainKey) since() time.Time {
	if k.Changed.IsZero() {
		return k.Created
	}
	return k.Changed
}

// PersonKey is one version of a person's key. It is wrapped by a keyring key or,
// if it is older than the keyring and was not reached yet, by a version of the
// domain key Personal. A destroyed key has none of Wrapped, Keyring and
// DomainVersion.
type PersonKey struct {
	Person        gatehouse.PersonID
	Version       uint32
	State         KeyState
	DomainVersion uint32
	Keyring       KeyringID
	Wrapped       []byte
	Created       time.Time
	Destroyed     time.Time
}

// KeyringID names a keyring key. It is random and positive.
type KeyringID int64

// KeyringKey wraps the keys of the people of one bucket, and is wrapped by a
// version of the daily key. A key that was replaced has no row.
type KeyringKey struct {
	ID      KeyringID
	Bucket  int
	State   KeyState // Active or DecryptOnly
	Daily   uint32
	Wrapped []byte
	Created time.Time
	Erased  time.Time // when the first of its people was erased; zero if none was
}

// DailyKey is one version of the daily key, wrapped by a version of the domain
// key Personal.
type DailyKey struct {
	Version       uint32
	State         KeyState // Active, DecryptOnly or Destroyed
	DomainVersion uint32
	InFile        bool   // the material stands in the keyring file
	Wrapped       []byte // the material, if it does not
	Created       time.Time
	Destroyed     time.Time
}

// SystemRecord is one sealed system secret.
type SystemRecord struct {
	Name    string
	Sealed  []byte
	Updated time.Time
}

// SeenKey is what is known of a key that somebody else keeps: since when its
// value has been what it is.
type SeenKey struct {
	Name        string
	Fingerprint string // keyed hash of the value
	Since       time.Time
}

// MostCounted is how many things of a kind are counted that need a version of a domain
// key. Whether there are any is what counts.
const MostCounted = 10_000

// Use is how many things somewhere still need a version of a domain key.
type Use struct {
	What string // in words, such as "keys of people"
	// Count is at most MostCounted, which stands for as many or more.
	Count int64
}

// Text says how many of what.
func (u Use) Text() string {
	if u.Count >= MostCounted {
		return fmt.Sprintf("%d or more %s", u.Count, u.What)
	}
	return fmt.Sprintf("%d %s", u.Count, u.What)
}

// Store keeps keys and system records. Every write is durable when it returns
// nil; each is atomic, and all may be called concurrently, from several
// processes on one database. An error after which the write took effect all the
// same is possible (a connection lost during commit); repeating a write is safe,
// because each either adds something that exists then (ErrConflict) or replaces
// what the caller saw by compare-and-swap.
type Store interface {
	DomainStore
	PersonStore
	KeyringStore
	DailyStore
	SystemStore
}

// DomainStore keeps the domain keys.
type DomainStore interface {
	// DomainKeys returns all versions of all domains.
	DomainKeys(ctx context.Context) ([]DomainKey, error)
	// AddDomainKeys stores all keys or none. A version that exists already is
	// ErrConflict, so that a repeated Init never replaces a key.
	AddDomainKeys(ctx context.Context, keys []DomainKey) error
	// RotateDomainKey stores a further version, which must be the successor of
	// the newest, and makes every active version of the domain DecryptOnly. One
	// that is not the successor, since another process was faster, is ErrConflict.
	RotateDomainKey(ctx context.Context, key DomainKey) error
	// ChangeDomainKey replaces state, root, material, Changed and DestroyAt of a
	// version if state, root and material are still those of from; otherwise it
	// is ErrConflict.
	ChangeDomainKey(ctx context.Context, from, to DomainKey) error
	// MarkDomainKeyUsed notes the hour of use, if it is later than the one noted.
	MarkDomainKeyUsed(ctx context.Context, domain Domain, version uint32, at time.Time) error
	// DomainKeyUses counts what needs a version, up to MostCounted of a kind. A kind of
	// which there is nothing is left out.
	DomainKeyUses(ctx context.Context, domain Domain, version uint32) ([]Use, error)
}

// PersonStore keeps the keys of people.
type PersonStore interface {
	// AddPersonKey stores one version of a person's key. One that exists is
	// ErrConflict, and so is one whose keyring key is not active: whoever wraps
	// by it has not seen yet that it was replaced. A key stored in spite of an
	// error belongs to nobody: its person's identifier was never handed out.
	AddPersonKey(ctx context.Context, key PersonKey) error
	// PersonKey returns the given version, or for version 0 the newest that is
	// active, or if none is, the newest. A person without a key is ErrNotFound.
	PersonKey(ctx context.Context, person gatehouse.PersonID, version uint32) (PersonKey, error)
	// DestroyPersonKeys overwrites the wrapped material of every version of the
	// person's key and leaves tombstones that keep the time of the first
	// destruction; the keyring keys that wrapped it are marked as erased from.
	// Repeating it changes nothing. A person without a key is ErrNotFound.
	DestroyPersonKeys(ctx context.Context, person gatehouse.PersonID, at time.Time) error
	// PersonKeysUnder returns keys that the keyring key wraps or, if it is 0,
	// that the version of the domain key Personal wraps directly.
	PersonKeysUnder(ctx context.Context, keyring KeyringID, domainVersion uint32, limit int) ([]PersonKey, error)
	// RewrapPersonKeys replaces the wrapping of each key that is still wrapped as
	// from says, and returns how many were; to has the same keys in the same
	// order. A keyring key of to that is not active is ErrConflict, and nothing is
	// replaced.
	RewrapPersonKeys(ctx context.Context, from, to []PersonKey) (int, error)
}

// KeyringStore keeps the keyring keys.
type KeyringStore interface {
	// KeyringKey returns the key of that identifier, or ErrNotFound.
	KeyringKey(ctx context.Context, id KeyringID) (KeyringKey, error)
	// KeyringKeyOf returns the active key of a bucket, or ErrNotFound.
	KeyringKeyOf(ctx context.Context, bucket int) (KeyringKey, error)
	// KeyringKeysUnder returns keys that the version of the daily key wraps, those
	// after the identifier, in its order.
	KeyringKeysUnder(ctx context.Context, daily uint32, after KeyringID, limit int) ([]KeyringKey, error)
	// AddKeyringKey stores a key as the active one of its bucket; the one that
	// replaces names, if any, becomes DecryptOnly. It is ErrConflict if the bucket
	// has another active key, or the daily key is not active.
	AddKeyringKey(ctx context.Context, key KeyringKey, replaces KeyringID) error
	// RewrapKeyringKeys replaces daily key and material of each key that nobody was
	// erased from and that is still active under the daily key of from, and returns
	// how many were; to has the same keys in the same order. A daily key of to that
	// is not active is ErrConflict, and nothing is replaced.
	RewrapKeyringKeys(ctx context.Context, from, to []KeyringKey) (int, error)
	// EndKeyringKey removes a key that was replaced. It is ErrConflict while it
	// wraps the key of a person. One that is not there is no error.
	EndKeyringKey(ctx context.Context, id KeyringID) error
	// KeyringSummary counts the keys, and says when the earliest erasure was that
	// one of them has not forgotten yet.
	KeyringSummary(ctx context.Context) (KeyringSummary, error)
}

// KeyringSummary is the keyring as a whole.
type KeyringSummary struct {
	Keys   int64
	Dirty  int64     // keys that somebody was erased from, or that are being replaced
	Erased time.Time // the earliest such erasure; zero if there is none
	Oldest time.Time // when the oldest key was made
}

// DailyStore keeps the daily key.
type DailyStore interface {
	// DailyKeys returns all versions, the oldest first.
	DailyKeys(ctx context.Context) ([]DailyKey, error)
	// AddDailyKey stores a further version as the active one, and makes the one
	// before DecryptOnly. It is ErrConflict if the version is not the successor of
	// the newest, or an earlier one is DecryptOnly still.
	AddDailyKey(ctx context.Context, key DailyKey) error
	// EndDailyKey leaves a tombstone of a version. It is ErrConflict while it is
	// active or wraps a keyring key.
	EndDailyKey(ctx context.Context, version uint32, at time.Time) error
	// MarkKeyringErased marks every active keyring key as erased from, so that
	// all are made anew.
	MarkKeyringErased(ctx context.Context, at time.Time) error
	// Compact removes what the database keeps of overwritten rows, as far as it
	// can while it is in use.
	Compact(ctx context.Context) error
}

// SystemStore keeps Gatehouse's own secrets and what is known of others' keys.
type SystemStore interface {
	// PutSystemRecord stores or replaces the record of that name.
	PutSystemRecord(ctx context.Context, record SystemRecord) error
	// SwapSystemRecord stores record if what is sealed under its name is still from,
	// or if there is none and from is nil; otherwise it is ErrConflict.
	SwapSystemRecord(ctx context.Context, from []byte, record SystemRecord) error
	// SystemRecord returns the record of that name, or ErrNotFound.
	SystemRecord(ctx context.Context, name string) (SystemRecord, error)
	// SystemRecords returns all records, ordered by name.
	SystemRecords(ctx context.Context) ([]SystemRecord, error)
	// ResealSystemRecord replaces what is sealed, and not when it was updated, if
	// it is still that of from; otherwise it is ErrConflict.
	ResealSystemRecord(ctx context.Context, from, to SystemRecord) error
	// SeeKeys notes keys; one whose fingerprint is the one noted keeps its time.
	SeeKeys(ctx context.Context, keys []SeenKey) error
	// SeenKeys returns those noted, ordered by name.
	SeenKeys(ctx context.Context) ([]SeenKey, error)
	// Lease makes owner the one who does the named work until then, and reports
	// whether it is: nobody else's lease may be running at now.
	Lease(ctx context.Context, name, owner string, now, until time.Time) (bool, error)
}
