package vault

import (
	"context"
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
	Wrapped     []byte
	Created     time.Time
}

// PersonKey is one version of a person's key, wrapped by a version of the
// domain key Personal. A destroyed key has no Wrapped.
type PersonKey struct {
	Person        gatehouse.PersonID
	Version       uint32
	State         KeyState
	DomainVersion uint32
	Wrapped       []byte
	Created       time.Time
	Destroyed     time.Time
}

// SystemRecord is one sealed system secret.
type SystemRecord struct {
	Name    string
	Sealed  []byte
	Updated time.Time
}

// Store keeps keys and system records. Every write is durable when it returns
// nil; each is atomic, and all may be called concurrently, from several
// processes on one database. An error after which the write took effect all the
// same is possible (a connection lost during commit); each method says below
// why repeating it is safe.
type Store interface {
	// DomainKeys returns all versions of all domains.
	DomainKeys(ctx context.Context) ([]DomainKey, error)
	// AddDomainKeys stores all keys or none. A version that exists already is
	// ErrConflict, so that a repeated Init never replaces a key.
	AddDomainKeys(ctx context.Context, keys []DomainKey) error
	// AddPersonKey stores one version of a person's key; one that exists is
	// ErrConflict. A key stored in spite of an error belongs to nobody: its
	// person's identifier was never handed out.
	AddPersonKey(ctx context.Context, key PersonKey) error
	// PersonKey returns the given version, or for version 0 the newest that is
	// active, or if none is, the newest. A person without a key is ErrNotFound.
	PersonKey(ctx context.Context, person gatehouse.PersonID, version uint32) (PersonKey, error)
	// DestroyPersonKeys overwrites the wrapped material of every version of the
	// person's key and leaves tombstones that keep the time of the first
	// destruction. Repeating it changes nothing. A person without a key is
	// ErrNotFound.
	DestroyPersonKeys(ctx context.Context, person gatehouse.PersonID, at time.Time) error
	// PutSystemRecord stores or replaces the record of that name.
	PutSystemRecord(ctx context.Context, record SystemRecord) error
	// SystemRecord returns the record of that name, or ErrNotFound.
	SystemRecord(ctx context.Context, name string) (SystemRecord, error)
}
