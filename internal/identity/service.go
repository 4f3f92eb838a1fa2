package identity

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// Service is one part of the app that calls through Gatehouse.
type Service struct {
	ID       gatehouse.ServiceID
	Name     gatehouse.ServiceName
	Created  time.Time
	Disabled bool // no longer in the configuration
}

// ServiceKeyID is the random identifier of a service's key.
type ServiceKeyID string

// ServiceKey is what may be shown of a service's key.
type ServiceKey struct {
	ID      ServiceKeyID
	Service gatehouse.ServiceName
	Created time.Time
	Expires time.Time // zero if it has no end
	Revoked time.Time // zero if it was not revoked
}

// live reports whether the key works at t.
func (k ServiceKey) live(t time.Time) bool {
	return k.Revoked.IsZero() && (k.Expires.IsZero() || t.Before(k.Expires))
}

// Actions in the log.
const (
	actionServiceCreate  = "service.create"
	actionServiceEnable  = "service.enable"
	actionServiceDisable = "service.disable"
	actionKeyCreate      = "service.key.create"
	actionKeyRevoke      = "service.key.revoke"
	actionKeyExpire      = "service.key.expire"
	actionHandleCreate   = "handle.create"
	actionHandleRevoke   = "handle.revoke"
	actionSourceNew      = "service.source.new"
)

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// EnsureServices makes the store know exactly the services of the configuration:
// new ones are added, those that were disabled are enabled again, and those that
// are no longer named are disabled, with all their keys and handles. They are
// not deleted, so that the log's names keep their meaning.
func (d *Directory) EnsureServices(ctx context.Context, names []gatehouse.ServiceName) error {
	at := now()
	records := make([]ServiceRecord, 0, len(names))
	for _, name := range names {
		if !validName.MatchString(string(name)) {
			return fmt.Errorf("service name %q: letters, digits, dots, dashes and underscores are allowed, at most 63: %w", name, gatehouse.ErrInvalid)
		}
		records = append(records, ServiceRecord{
			Service:     Service{ID: gatehouse.ServiceID(newID()), Name: name, Created: at},
			Environment: d.config.Environment,
		})
	}
	gained, lost, err := d.changes(ctx, names)
	if err != nil {
		return err
	}
	// What gives access is in the log before it is done, what takes access away
	// is done before.
	if err := d.record(ctx, gained); err != nil {
		return err
	}
	if err := d.config.Store.SyncServices(ctx, records, at); err != nil {
		return fmt.Errorf("storing the services: %w", err)
	}
	if err := d.record(ctx, lost); errors.Is(err, gatehouse.ErrUnavailable) {
		// It is done; while the log cannot be written, that is kept beside it.
		for _, entry := range lost {
			d.config.Log.Reduction(entry)
		}
	} else if err != nil {
		return err
	}
	return nil
}

// changes returns the entries for services that appear or come back, and for
// those that go.
func (d *Directory) changes(ctx context.Context, names []gatehouse.ServiceName) (gained, lost []audit.Entry, err error) {
	services, err := d.Services(ctx)
	if err != nil {
		return nil, nil, err
	}
	known := make(map[gatehouse.ServiceName]bool, len(services))
	for _, service := range services {
		known[service.Name] = true
		switch named := slices.Contains(names, service.Name); {
		case named && service.Disabled:
			gained = append(gained, audit.Entry{Action: actionServiceEnable, Service: service.Name})
		case !named && !service.Disabled:
			lost = append(lost, audit.Entry{Action: actionServiceDisable, Service: service.Name})
		}
	}
	for _, name := range names {
		if !known[name] {
			known[name] = true
			gained = append(gained, audit.Entry{Action: actionServiceCreate, Service: name})
		}
	}
	return gained, lost, nil
}

func (d *Directory) record(ctx context.Context, entries []audit.Entry) error {
	for _, entry := range entries {
		entry.Verdict = verdictDone
		if _, err := d.config.Log.Record(ctx, entry); err != nil {
			return fmt.Errorf("recording %s of %s: %w", entry.Action, entry.Service, err)
		}
	}
	return nil
}

// Services returns all services, the disabled ones too.
func (d *Directory) Services(ctx context.Context) ([]Service, error) {
	records, err := d.config.Store.Services(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing services: %w", err)
	}
	services := make([]Service, 0, len(records))
	for _, record := range records {
		services = append(services, record.Service)
	}
	return services, nil
}

// service returns the service of that name if it may be given anything.
func (d *Directory) service(ctx context.Context, name gatehouse.ServiceName) (ServiceRecord, error) {
	records, err := d.config.Store.Services(ctx)
	if err != nil {
		return ServiceRecord{}, fmt.Errorf("reading service %s: %w", name, err)
	}
	for _, record := range records {
		if record.Service.Name != name {
			continue
		}
		if err := d.usable(record.Environment, record.Service.Disabled); err != nil {
			return ServiceRecord{}, err
		}
		return record, nil
	}
	return ServiceRecord{}, fmt.Errorf("service %q is not in the configuration: %w", name, gatehouse.ErrNotFound)
}

// usable refuses a service of another environment or one that is disabled.
func (d *Directory) usable(env gatehouse.Environment, disabled bool) error {
	if env != d.config.Environment {
		return wire.Unauthenticated("identity/other-environment",
			fmt.Sprintf("This belongs to the environment %q, and this is %q. Use one made here.", env, d.config.Environment))
	}
	if disabled {
		return wire.Unauthenticated("identity/service-disabled",
			"The service is no longer in the configuration. Add it there, or use another service.")
	}
	return nil
}

// NewServiceKey makes a key for a service. The returned text is shown once and
// not kept.
func (d *Directory) NewServiceKey(ctx context.Context, name gatehouse.ServiceName) (secret.Text, error) {
	service, err := d.service(ctx, name)
	if err != nil {
		return secret.Text{}, err
	}
	id := newID()
	key := compose(keyPrefix, id, randomBase62(secretLength))
	hash, err := d.keyHash(ctx, service.Service.ID, key.Reveal())
	if err != nil {
		return secret.Text{}, err
	}
	entry := audit.Entry{Action: actionKeyCreate, Service: name, Facts: map[string]string{"key": keyName(id)}}
	err = d.logged(ctx, entry, func() error {
		return d.config.Store.AddServiceKey(ctx, ServiceKeyRecord{
			Key:     ServiceKey{ID: ServiceKeyID(id), Service: name, Created: now()},
			Hash:    hash,
			Service: service,
		})
	})
	if err != nil {
		return secret.Text{}, fmt.Errorf("making a key for service %s: %w", name, err)
	}
	return key, nil
}

// keyHash is what is stored of a service key: keyed, so that nobody can make a key
// by writing to the database, and bound to the service.
func (d *Directory) keyHash(ctx context.Context, service gatehouse.ServiceID, text string) (Hash, error) {
	derived, err := d.config.Derive(ctx, "key-hash", string(service), text)
	if err != nil {
		return Hash{}, fmt.Errorf("hashing a service key: %w", err)
	}
	return sha256.Sum256([]byte(derived.Reveal())), nil
}

// keyName is how the log names a key: enough to find it, and nothing of use
// against it.
func keyName(id string) string { return id[:min(8, len(id))] }

// ServiceKeys returns the keys of a service, the revoked ones too.
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

// ExpireServiceKeys gives the keys of a service an end, save the newest one, and
// returns how many: the old keys work beside a new one until then. A key that ends
// sooner keeps its end.
func (d *Directory) ExpireServiceKeys(ctx context.Context, name gatehouse.ServiceName, at time.Time) (int, error) {
	keys, err := d.ServiceKeys(ctx, name)
	if err != nil {
		return 0, err
	}
	n := 0
	for i, key := range keys {
		if i == len(keys)-1 || !key.live(at) {
			continue
		}
		entry := audit.Entry{Action: actionKeyExpire, Service: name, Facts: map[string]string{
			"key": keyName(string(key.ID)), "at": at.UTC().Format(time.RFC3339),
		}}
		// If it cannot be stored, the key goes at once rather than at its time.
		if err := d.reduced(ctx, entry, audit.Deed{Kind: deedKey, Target: string(key.ID)}, func() error { return d.config.Store.ExpireServiceKey(ctx, key.ID, at) }); err != nil {
			return n, fmt.Errorf("giving a key of service %s an end: %w", name, err)
		}
		n++
	}
	return n, nil
}

// AuthenticateService returns the service whose key this is.
func (d *Directory) AuthenticateService(ctx context.Context, key secret.Text) (Service, error) {
	text := key.Reveal()
	kind, id := parse(text)
	if kind != KeyForm {
		return Service{}, malformed(kind, text, "service key")
	}
	record, err := d.config.Store.ServiceKey(ctx, ServiceKeyID(id))
	if err != nil && !isNotFound(err) {
		return Service{}, fmt.Errorf("reading a service key: %w", err)
	}
	hash, failed := d.keyHash(ctx, record.Service.Service.ID, text)
	if failed != nil {
		return Service{}, failed
	}
	if err != nil || subtle.ConstantTimeCompare(hash[:], record.Hash[:]) != 1 {
		return Service{}, wire.Unauthenticated("identity/key-unknown", "No such service key exists here. Make one with: gatehouse service key create NAME")
	}
	if !record.Key.Revoked.IsZero() {
		return Service{}, wire.Unauthenticated("identity/key-revoked", "This service key was revoked. Use the service's current key.")
	}
	if !record.Key.live(now()) {
		return Service{}, wire.Unauthenticated("identity/key-expired", "This service key has expired. Use the service's current key, or make one with: gatehouse service key create NAME")
	}
	if err := d.usable(record.Service.Environment, record.Service.Service.Disabled); err != nil {
		return Service{}, err
	}
	return record.Service.Service, nil
}
