package identity

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"
)

// sourceKey is one source of one service.
type sourceKey struct {
	service gatehouse.ServiceID
	source  netip.Prefix
}

// maxSeen bounds the memory of SeenSource; beyond it, the store is asked.
const maxSeen = 4096

// CheckSource refuses a call from outside the networks that a service is bound
// to. A service without any is not bound.
func CheckSource(bound []netip.Prefix, from netip.Addr) error {
	if len(bound) == 0 {
		return nil
	}
	from = from.Unmap().WithZone("")
	for _, network := range bound {
		if network.Contains(from) {
			return nil
		}
	}
	return wire.Refuse(gatehouse.ErrDenied, "identity/source",
		"The service may not call from this address. Add its network to the service's sources, or call from one of them.")
}

// sourceOf is the unit in which sources are remembered: an IPv4 address, or an
// IPv6 /64, since hosts change addresses within one.
func sourceOf(from netip.Addr) (netip.Prefix, error) {
	from = from.Unmap().WithZone("")
	bits := 64
	if from.Is4() {
		bits = 32
	}
	source, err := from.Prefix(bits)
	if err != nil || !source.IsValid() {
		return netip.Prefix{}, fmt.Errorf("the caller's address is not one: %w", gatehouse.ErrInvalid)
	}
	return source, nil
}

// SeenSource remembers where a service calls from and reports whether this is
// the first time, in which case it is in the log. The entry is written before
// the source is stored, so that a crash repeats it rather than loses it.
func (d *Directory) SeenSource(ctx context.Context, handle Handle, from netip.Addr) (first bool, err error) {
	source, err := sourceOf(from)
	if err != nil {
		return false, err
	}
	key := sourceKey{handle.Service, source}
	if d.remembered(key) {
		return false, nil
	}
	sources, err := d.config.Store.Sources(ctx, handle.Service)
	if err != nil {
		return false, fmt.Errorf("reading the sources of service %s: %w", handle.ServiceName, err)
	}
	if first = !slices.Contains(sources, source); first {
		_, err := d.config.Log.Record(ctx, audit.Entry{
			Action: actionSourceNew, Service: handle.ServiceName, Verdict: verdictAllow,
			Facts: map[string]string{"source": source.String()},
		})
		if err != nil {
			return false, fmt.Errorf("recording a new source of service %s: %w", handle.ServiceName, err)
		}
		if err := d.config.Store.AddSource(ctx, handle.Service, source, now()); err != nil {
			return false, fmt.Errorf("storing a source of service %s: %w", handle.ServiceName, err)
		}
	}
	d.remember(key)
	return first, nil
}

func (d *Directory) remembered(key sourceKey) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.seen[key]
	return ok
}

func (d *Directory) remember(key sourceKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.seen) >= maxSeen {
		clear(d.seen)
	}
	d.seen[key] = struct{}{}
}
