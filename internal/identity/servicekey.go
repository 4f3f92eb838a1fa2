package identity

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// ServiceKeyID is the random identifier of a service's key.
type ServiceKeyID string

// NoPurpose is what a key is bound to that serves none of its service's purposes:
// only what names no purpose, such as events, duties and the log. No purpose can
// have this name.
const NoPurpose gatehouse.PurposeName = "-"

// NoEnd is the Life of a key that somebody wanted without an end.
const NoEnd time.Duration = -time.Microsecond

// ServiceKey is what may be shown of a service's key.
type ServiceKey struct {
	ID      ServiceKeyID
	Service gatehouse.ServiceName
	// Purpose is the only one that the key is accepted for; NoPurpose is none of
	// them. Empty is whatever its service may, which is wider than a key need be.
	Purpose gatehouse.PurposeName
	Created time.Time
	Expires time.Time // zero if it has no end
	Revoked time.Time // zero if it was not revoked
	// Life is how long it was made to live: NoEnd if without an end, zero for a key
	// from before that was asked.
	Life time.Duration
	// Successor is the key that took its place, if one did.
	Successor ServiceKeyID
	// Warned is when its end was announced; zero if it was not.
	Warned time.Time
	// Used is its last use, as stored: a few seconds may be missing. Zero if it was
	// never used, or not since this is noted.
	Used KeyUse
}

// Live reports whether the key is accepted at t, as far as itself goes: its service
// may be disabled.
func (k ServiceKey) Live(t time.Time) bool {
	return k.Revoked.IsZero() && (k.Expires.IsZero() || t.Before(k.Expires))
}

// Ending reports whether at t the key is near its end with nothing to take its place:
// within 30 days, or the last tenth of a shorter life.
func (k ServiceKey) Ending(t time.Time) bool {
	if !k.Live(t) || k.Expires.IsZero() || k.Successor != "" {
		return false
	}
	return k.Expires.Sub(t) <= min(30*24*time.Hour, k.Expires.Sub(k.Created)/10)
}

// LogName is how the log names the key, in the fact "key".
func (k ServiceKey) LogName() string { return keyName(string(k.ID)) }

// KeyRequest says what a new key is for.
type KeyRequest struct {
	Service gatehouse.ServiceName
	// Purpose is as in ServiceKey. Whether the service has it is for the caller to
	// check: this package does not know the configuration.
	Purpose gatehouse.PurposeName
	// Life is how long it lives; NoEnd for ever, zero Config.KeyTTL.
	Life time.Duration
}

// NewServiceKey makes a key for whatever a service may, with the usual life. The
// returned text is shown once and not kept.
func (d *Directory) NewServiceKey(ctx context.Context, name gatehouse.ServiceName) (secret.Text, error) {
	_, text, err := d.MakeServiceKey(ctx, KeyRequest{Service: name})
	return text, err
}

// MakeServiceKey makes a key. The returned text is shown once and not kept.
func (d *Directory) MakeServiceKey(ctx context.Context, request KeyRequest) (ServiceKey, secret.Text, error) {
	record, text, err := d.newKey(ctx, request)
	if err != nil {
		return ServiceKey{}, secret.Text{}, err
	}
	entry := keyEntry(actionKeyCreate, record.Key)
	if err := d.logged(ctx, entry, func() error { return d.config.Store.AddServiceKey(ctx, record) }); err != nil {
		return ServiceKey{}, secret.Text{}, fmt.Errorf("making a key for service %s: %w", request.Service, err)
	}
	return record.Key, text, nil
}

// keyEntry is what the log says of a key.
func keyEntry(action string, k ServiceKey) audit.Entry {
	entry := audit.Entry{Action: action, Service: k.Service, Purpose: k.Purpose, Facts: map[string]string{"key": keyName(string(k.ID))}}
	if k.Purpose == NoPurpose {
		entry.Purpose, entry.Facts["bound"] = "", "no-purpose"
	}
	if !k.Expires.IsZero() {
		entry.Facts["until"] = k.Expires.Format(time.RFC3339)
	}
	return entry
}

// newKey makes a key that is stored nowhere yet.
func (d *Directory) newKey(ctx context.Context, request KeyRequest) (ServiceKeyRecord, secret.Text, error) {
	if request.Purpose != "" && request.Purpose != NoPurpose && !validName.MatchString(string(request.Purpose)) {
		return ServiceKeyRecord{}, secret.Text{}, fmt.Errorf("the purpose of a key is one of the configuration: %w", gatehouse.ErrInvalid)
	}
	if request.Life == 0 {
		request.Life = d.config.KeyTTL
	}
	if request.Life < 0 && request.Life != NoEnd {
		return ServiceKeyRecord{}, secret.Text{}, fmt.Errorf("the life of a key must be positive: %w", gatehouse.ErrInvalid)
	}
	service, err := d.service(ctx, request.Service)
	if err != nil {
		return ServiceKeyRecord{}, secret.Text{}, err
	}
	id, created := newID(), now()
	key := ServiceKey{ID: ServiceKeyID(id), Service: service.Service.Name, Purpose: request.Purpose, Created: created, Life: request.Life}
	if request.Life != NoEnd {
		key.Life = request.Life.Truncate(time.Microsecond)
		key.Expires = created.Add(key.Life)
	}
	text := compose(keyPrefix, id, randomBase62(secretLength))
	hash, err := d.keyHash(ctx, service.Service.ID, key.Purpose, text.Reveal())
	if err != nil {
		return ServiceKeyRecord{}, secret.Text{}, err
	}
	return ServiceKeyRecord{Key: key, Hash: hash, Service: service}, text, nil
}

// keyHash is what is stored of a service key: keyed, so that nobody can make a key
// by writing to the database, and bound to the service and the purpose.
func (d *Directory) keyHash(ctx context.Context, service gatehouse.ServiceID, purpose gatehouse.PurposeName, text string) (Hash, error) {
	label, parts := "key-hash", []string{string(service), text}
	if purpose != "" {
		label, parts = "key-hash/purpose", []string{string(service), string(purpose), text}
	}
	derived, err := d.config.Derive(ctx, label, parts...)
	if err != nil {
		return Hash{}, fmt.Errorf("hashing a service key: %w", err)
	}
	return sha256.Sum256([]byte(derived.Reveal())), nil
}

// keyName is how the log names a key: enough to find it, and nothing of use
// against it.
func keyName(id string) string { return id[:min(8, len(id))] }

// ServiceKeys returns the keys of a service, the revoked ones too, oldest first.
func (d *Directory) ServiceKeys(ctx context.Context, name gatehouse.ServiceName) ([]ServiceKey, error) {
	records, err := d.config.Store.ServiceKeys(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("listing the keys of service %s: %w", name, err)
	}
	keys := make([]ServiceKey, 0, len(records))
	for _, record := range records {
		keys = append(keys, record.Key)
	}
	return keys, nil
}

// ServiceKey returns a key, or ErrNotFound.
func (d *Directory) ServiceKey(ctx context.Context, id ServiceKeyID) (ServiceKey, error) {
	record, err := d.config.Store.ServiceKey(ctx, id)
	if err != nil {
		return ServiceKey{}, fmt.Errorf("reading a service key: %w", err)
	}
	return record.Key, nil
}

// RevokeServiceKey makes a key worthless at once. Handles made with it stay
// valid: they belong to the service. Revoking twice is no error.
func (d *Directory) RevokeServiceKey(ctx context.Context, id ServiceKeyID) error {
	record, err := d.config.Store.ServiceKey(ctx, id)
	if err != nil {
		return fmt.Errorf("revoking a service key: %w", err)
	}
	entry := audit.Entry{Action: actionKeyRevoke, Service: record.Key.Service, Facts: map[string]string{"key": keyName(string(id))}}
	return d.reduced(ctx, entry, audit.Deed{Kind: deedKey, Target: string(id)}, func() error {
		if err := d.config.Store.RevokeServiceKey(ctx, id, now()); err != nil {
			return fmt.Errorf("revoking a service key: %w", err)
		}
		return nil
	})
}

// ExpireServiceKeys gives the keys of a service an end, save the one named, and
// returns how many: the old keys work beside the new one until then. Of those bound
// to a purpose, only the ones with the new one's are meant. A key that ends sooner
// keeps its end.
func (d *Directory) ExpireServiceKeys(ctx context.Context, save ServiceKey, at time.Time) (int, error) {
	keys, err := d.ServiceKeys(ctx, save.Service)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, key := range keys {
		if key.ID == save.ID || key.Purpose != save.Purpose || !key.Live(at) {
			continue
		}
		if err := d.ExpireServiceKey(ctx, key, at); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// ExpireServiceKey gives one key an end, unless it has an earlier one.
func (d *Directory) ExpireServiceKey(ctx context.Context, key ServiceKey, at time.Time) error {
	entry := audit.Entry{Action: actionKeyExpire, Service: key.Service, Facts: map[string]string{
		"key": keyName(string(key.ID)), "at": at.UTC().Format(time.RFC3339),
	}}
	// If it cannot be stored, the key goes at once rather than at its time.
	err := d.reduced(ctx, entry, audit.Deed{Kind: deedKey, Target: string(key.ID)}, func() error { return d.config.Store.ExpireServiceKey(ctx, key.ID, at) })
	if err != nil {
		return fmt.Errorf("giving a key of service %s an end: %w", key.Service, err)
	}
	return nil
}

// Rotation says how a key is replaced.
type Rotation struct {
	// Overlap is how long the old key works beside the new one; an earlier end stays.
	Overlap time.Duration
	// Life is the new key's, as in KeyRequest; zero is that which the old one was made
	// with.
	Life time.Duration
	// Again replaces a successor that was never used: one whose text was lost, because
	// what made it died before anybody had it. It is revoked. That a use is not stored yet
	// can be for the moment that another process takes to write its first use down.
	Again bool
}

// RotatedError says that a key has a successor already.
type RotatedError struct{ Successor ServiceKey }

// Error implements error.
func (e *RotatedError) Error() string {
	s := "key has a successor since " + e.Successor.Created.Format(time.RFC3339) + ": " + string(e.Successor.ID)
	if e.Successor.Used.At.IsZero() {
		return s + ", which was never used"
	}
	return s + ", which was last used at " + e.Successor.Used.At.Format(time.RFC3339)
}

// Unwrap returns ErrConflict.
func (e *RotatedError) Unwrap() error { return gatehouse.ErrConflict }

// RotateServiceKey makes the successor of a key, for the same service and purpose,
// and gives the key an end. Both are one write: a process that dies leaves either
// nothing or a successor, which the next attempt finds (RotatedError). So there are
// never two, unless somebody asks with Again, which takes the first one back.
func (d *Directory) RotateServiceKey(ctx context.Context, id ServiceKeyID, r Rotation) (ServiceKey, secret.Text, error) {
	fail := func(err error) (ServiceKey, secret.Text, error) { return ServiceKey{}, secret.Text{}, err }
	if r.Overlap < 0 {
		return fail(fmt.Errorf("the overlap must not be negative: %w", gatehouse.ErrInvalid))
	}
	if r.Again {
		// Whether the successor was used must be stored, before it is asked.
		if err := d.FlushKeyUses(ctx); err != nil {
			return fail(err)
		}
	}
	old, err := d.ServiceKey(ctx, id)
	if err != nil {
		return fail(err)
	}
	at := now()
	// One that ended because it was rotated can be taken up with Again: nobody may
	// have what took its place.
	if !old.Revoked.IsZero() || !old.Live(at) && (old.Successor == "" || !r.Again) {
		return fail(fmt.Errorf("the key was revoked or has ended; make a new one in its place: %w", gatehouse.ErrConflict))
	}
	if old.Successor != "" {
		successor, err := d.ServiceKey(ctx, old.Successor)
		if err != nil {
			return fail(err)
		}
		if successor.Live(at) {
			if !r.Again || !successor.Used.At.IsZero() {
				return fail(fmt.Errorf("rotating a service key: %w", &RotatedError{successor}))
			}
			// First it goes, then another comes: dying in between leaves one too few,
			// never one too many.
			if err := d.takeBack(ctx, successor); err != nil {
				return fail(err)
			}
		}
	}
	if r.Life == 0 {
		r.Life = old.Life
	}
	record, text, err := d.newKey(ctx, KeyRequest{Service: old.Service, Purpose: old.Purpose, Life: r.Life})
	if err != nil {
		return fail(err)
	}
	end := at.Add(r.Overlap).Truncate(time.Microsecond)
	entry := keyEntry(actionKeyCreate, record.Key)
	entry.Facts["replaces"], entry.Facts["ends"] = keyName(string(old.ID)), end.Format(time.RFC3339)
	if err := d.logged(ctx, entry, func() error {
		return d.config.Store.ReplaceServiceKey(ctx, record, old.ID, old.Successor, end)
	}); err != nil {
		return fail(fmt.Errorf("rotating a key of service %s: %w", old.Service, err))
	}
	return record.Key, text, nil
}

// takeBack revokes a key that was never used, by what is stored when it is written.
func (d *Directory) takeBack(ctx context.Context, key ServiceKey) error {
	entry := audit.Entry{Action: actionKeyRevoke, Service: key.Service, Facts: map[string]string{"key": keyName(string(key.ID))}}
	err := d.logged(ctx, entry, func() error { return d.config.Store.RevokeUnusedKey(ctx, key.ID, now()) })
	if !errors.Is(err, gatehouse.ErrConflict) {
		return err
	}
	if key, err = d.ServiceKey(ctx, key.ID); err != nil {
		return err
	}
	return fmt.Errorf("rotating a service key: %w", &RotatedError{key})
}

// Caller is a service and the key that it showed.
type Caller struct {
	Service
	Key ServiceKey
}

// For refuses a purpose that the caller's key is not for.
func (c Caller) For(purpose gatehouse.PurposeName) error {
	if c.Key.Purpose == "" || purpose == c.Key.Purpose {
		return nil
	}
	return c.refuse()
}

// Wide refuses a key that is bound to one purpose, for what concerns more than one.
func (c Caller) Wide() error {
	if c.Key.Purpose == "" || c.Key.Purpose == NoPurpose {
		return nil
	}
	return c.refuse()
}

func (c Caller) refuse() error {
	detail := "This service key is bound to the purpose " + string(c.Key.Purpose) + " and is accepted for nothing else. Use the service's key for what this is about."
	if c.Key.Purpose == NoPurpose {
		detail = "This service key is bound to none of the service's purposes. Use the key of the purpose that this is for."
	}
	return wire.Refuse(gatehouse.ErrDenied, "identity/key-purpose", detail)
}

// AuthenticateService returns the service whose key this is, and what of the key
// may be known.
func (d *Directory) AuthenticateService(ctx context.Context, key secret.Text) (Caller, error) {
	text := key.Reveal()
	kind, id := parse(text)
	if kind != KeyForm {
		return Caller{}, malformed(kind, text, "service key")
	}
	record, err := d.config.Store.ServiceKey(ctx, ServiceKeyID(id))
	if err != nil && !isNotFound(err) {
		return Caller{}, fmt.Errorf("reading a service key: %w", err)
	}
	hash, failed := d.keyHash(ctx, record.Service.Service.ID, record.Key.Purpose, text)
	if failed != nil {
		return Caller{}, failed
	}
	if err != nil || subtle.ConstantTimeCompare(hash[:], record.Hash[:]) != 1 {
		return Caller{}, wire.Unauthenticated("identity/key-unknown", "No such service key exists here. Make one with: gatehouse service key create NAME")
	}
	if !record.Key.Revoked.IsZero() {
		return Caller{}, wire.Unauthenticated("identity/key-revoked", "This service key was revoked. Use the service's current key.")
	}
	if !record.Key.Live(now()) {
		return Caller{}, wire.Unauthenticated("identity/key-expired", "This service key has expired. Use the service's current key, or make one with: gatehouse service key create NAME")
	}
	if err := d.usable(record.Service.Environment, record.Service.Service.Disabled); err != nil {
		return Caller{}, err
	}
	return Caller{record.Service.Service, record.Key}, nil
}

// KeyUsed notes that a key was accepted for a call from an address. It waits for
// nothing; see Run.
func (d *Directory) KeyUsed(id ServiceKeyID, from netip.Addr) {
	if !d.keyUses.note(id, from) {
		return
	}
	// Whether a key was ever used decides about its rotation: Run stores it at once.
	select {
	case d.firstUse <- struct{}{}:
	default:
	}
}

// FlushKeyUses stores what KeyUsed noted.
func (d *Directory) FlushKeyUses(ctx context.Context) error {
	return d.keyUses.flush(ctx, d.config.Store.AddKeyUses)
}

// flushEvery is how often uses of keys are stored: what a crash loses of them. The first
// use of a key that a process notes is stored at once.
const flushEvery = 5 * time.Second

// lookEvery is how often Run looks for keys that end soon.
const lookEvery = time.Hour

// Run stores every few seconds when keys were last used, and says of keys that end
// soon that they do, until ctx ends. What is then not stored, FlushKeyUses stores.
func (d *Directory) Run(ctx context.Context) error {
	flush, look := time.NewTicker(flushEvery), time.NewTicker(lookEvery)
	defer flush.Stop()
	defer look.Stop()
	report := func(what string, err error) {
		if err != nil && ctx.Err() == nil {
			d.config.Logger.WarnContext(ctx, what, slog.Any("error", err))
		}
	}
	report("keys that end soon", d.Announce(ctx))
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.firstUse:
			report("when keys were used is not stored", d.FlushKeyUses(ctx))
		case <-flush.C:
			report("when keys were used is not stored", d.FlushKeyUses(ctx))
		case <-look.C:
			report("keys that end soon", d.Announce(ctx))
		}
	}
}

// Announce says once of each key that is near its end, in the log and to the app. A
// process that dies in between says it again rather than never.
func (d *Directory) Announce(ctx context.Context) error {
	services, err := d.Services(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, service := range services {
		if service.Disabled {
			continue
		}
		keys, err := d.ServiceKeys(ctx, service.Name)
		if err != nil {
			return err
		}
		for _, key := range keys {
			if key.Ending(now()) && key.Warned.IsZero() {
				errs = append(errs, d.announce(ctx, key))
			}
		}
	}
	return errors.Join(errs...)
}

func (d *Directory) announce(ctx context.Context, key ServiceKey) error {
	if d.config.Tell != nil {
		if err := d.config.Tell(ctx, key); err != nil {
			return fmt.Errorf("telling that a key of service %s ends soon: %w", key.Service, err)
		}
	}
	entry := keyEntry(actionKeyExpiring, key)
	entry.Verdict = verdictDone
	if _, err := d.config.Log.Record(ctx, entry); err != nil {
		return fmt.Errorf("recording %s: %w", actionKeyExpiring, err)
	}
	return d.config.Store.WarnServiceKey(ctx, key.ID, now())
}
