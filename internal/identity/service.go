package identity

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"
)

// Service is one part of the app that calls through Gatehouse.
type Service struct {
	ID       gatehouse.ServiceID
	Name     gatehouse.ServiceName
	Created  time.Time
	Disabled bool // no longer in the configuration
}

// Actions in the log.
const (
	actionServiceCreate  = "service.create"
	actionServiceEnable  = "service.enable"
	actionServiceDisable = "service.disable"
	actionKeyCreate      = "service.key.create"
	actionKeyRevoke      = "service.key.revoke"
	actionKeyExpire      = "service.key.expire"
	actionKeyExpiring    = "service.key.expiring"
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
