package identity

import (
	"context"
	"crypto/sha256"
	"net/netip"
	"time"

	"gatehouse"
)

// Hash is the SHA-256 of a key or handle as its holder presents it. The secret
// in it has 256 random bits, so a plain hash suffices.
type Hash [sha256.Size]byte

// Store keeps everything of this package, in three parts. Every write is atomic
// and durable when it returns nil; all may be called concurrently, from several
// processes on one database. A write that took effect in spite of its error can
// be repeated: what is added again is ErrConflict, what is revoked again stays
// as it was.
type Store interface {
	ServiceStore
	HandleStore
	UseStore
	CountStore
}

// ServiceRecord is a service as stored.
type ServiceRecord struct {
	Service     Service
	Environment gatehouse.Environment
}

// ServiceKeyRecord is a service's key as stored, with its service.
type ServiceKeyRecord struct {
	Key     ServiceKey
	Hash    Hash
	Service ServiceRecord
}

// ServiceStore keeps services and their keys.
type ServiceStore interface {
	// SyncServices makes the services named in the records exist and be enabled,
	// and disables every other. A service that exists keeps its identifier and
	// its creation; the record's are used for a new one.
	SyncServices(ctx context.Context, records []ServiceRecord, at time.Time) error
	// Services returns all services, ordered by name.
	Services(ctx context.Context) ([]ServiceRecord, error)
	// AddServiceKey stores a key of the service with the identifier that the
	// record names.
	AddServiceKey(ctx context.Context, record ServiceKeyRecord) error
	// ServiceKey returns a key by its identifier, or ErrNotFound.
	ServiceKey(ctx context.Context, id ServiceKeyID) (ServiceKeyRecord, error)
	// ServiceKeys returns all keys of a service, oldest first.
	ServiceKeys(ctx context.Context, name gatehouse.ServiceName) ([]ServiceKeyRecord, error)
	// RevokeServiceKey revokes a key. A revoked one keeps its first time; one
	// that does not exist is ErrNotFound.
	RevokeServiceKey(ctx context.Context, id ServiceKeyID, at time.Time) error
	// ExpireServiceKey gives a key an end, unless it has an earlier one; one that
	// does not exist is ErrNotFound.
	ExpireServiceKey(ctx context.Context, id ServiceKeyID, at time.Time) error
	// ReplaceServiceKey stores a key and makes it the successor of another, whose end
	// is then at the given time unless it has an earlier one: all of it or nothing. If
	// the other's successor is not the one expected, or it was revoked, it is
	// ErrConflict.
	ReplaceServiceKey(ctx context.Context, record ServiceKeyRecord, other, expected ServiceKeyID, end time.Time) error
}

// HandleRecord is a handle as stored, with what of its service and its parent
// decides whether it may be used.
type HandleRecord struct {
	Handle          Handle
	Hash            Hash
	Environment     gatehouse.Environment
	ServiceDisabled bool
	ParentRevoked   bool
}

// HandleStore keeps handles.
type HandleStore interface {
	// AddHandle stores a handle. One that exists is ErrConflict, and so is one
	// whose parent is revoked.
	AddHandle(ctx context.Context, record HandleRecord) error
	// Handle returns a handle by its identifier, in one statement, or
	// ErrNotFound.
	Handle(ctx context.Context, id gatehouse.HandleID) (HandleRecord, error)
	// Handles returns those that match, newest first.
	Handles(ctx context.Context, filter Filter) ([]HandleRecord, error)
	// RevokeHandle revokes a handle and all its descendants. A revoked one keeps
	// its first time; one that does not exist is ErrNotFound.
	RevokeHandle(ctx context.Context, id gatehouse.HandleID, at time.Time) error
	// RevokeConnection revokes all handles of a connection and all their
	// descendants, and returns how many were not revoked before.
	RevokeConnection(ctx context.Context, id gatehouse.ConnectionID, at time.Time) (int, error)
}

// UseStore keeps traces of use: the nonces of signed requests, the sources that
// services call from, and when keys were last used.
type UseStore interface {
	// UseNonce stores that a handle used a nonce. One that is stored already is
	// ErrConflict, whichever process stored it.
	UseNonce(ctx context.Context, use NonceUse) error
	// SweepNonces removes those that expired before the given time.
	SweepNonces(ctx context.Context, before time.Time) error
	// Sources returns the sources from which a service has called.
	Sources(ctx context.Context, service gatehouse.ServiceID) ([]netip.Prefix, error)
	// AddSource adds one; one that is there already changes nothing.
	AddSource(ctx context.Context, service gatehouse.ServiceID, source netip.Prefix, at time.Time) error
	// AddKeyUses adds uses of keys to those that are stored: counts add up, and of
	// times the latest stays, with its source.
	AddKeyUses(ctx context.Context, uses map[ServiceKeyID]KeyUse) error
	// RevokeUnusedKey revokes a key of which no use is stored; any other is ErrConflict.
	RevokeUnusedKey(ctx context.Context, id ServiceKeyID, at time.Time) error
	// WarnServiceKey notes that a key's end was announced.
	WarnServiceKey(ctx context.Context, id ServiceKeyID, at time.Time) error
}

// CountStore counts how often handles are used.
type CountStore interface {
	// AddUses adds to the handles' counters what one process has counted. A batch whose
	// number is not above that of the process's last one is stored already and changes
	// nothing.
	AddUses(ctx context.Context, batch UseBatch) error
	// Uses returns the counters of handles; one that was never used is missing.
	Uses(ctx context.Context, handles []gatehouse.HandleID) (map[gatehouse.HandleID]Use, error)
}

// Use is how often a handle was used, and when last.
type Use struct {
	Count int64
	// First is the first of those that are counted here; the store does not keep it.
	First, Last time.Time
}

// UseBatch is what one process has counted since its batch before.
type UseBatch struct {
	Process string // random, of this run
	Number  int64  // from 1
	At      time.Time
	Uses    map[gatehouse.HandleID]Use
}

// NonceUse is one use of a nonce by a handle. After Expires the timestamp that
// belongs to it is refused anyway, so it need not be kept.
type NonceUse struct {
	Handle  gatehouse.HandleID
	Nonce   Hash // of timestamp and nonce
	Expires time.Time
}
