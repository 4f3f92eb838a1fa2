package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// Secrets keeps the authority for inspection, sealed. The vault's system secrets do.
type Secrets interface {
	// System returns the secret of that name, or ErrNotFound.
	System(ctx context.Context, name string) (secret.Text, error)
	// SwapSystem stores to in the place of from, of which zero stands for none. It is
	// ErrConflict when another stands there.
	SwapSystem(ctx context.Context, name string, from, to secret.Text) error
}

// SecretAuthority is the name of the authority for inspection among [Secrets].
const SecretAuthority = "inspection-ca"

// authorityCheck is how often the authority is looked at: whether its time is coming,
// or another process made a new one.
const authorityCheck = time.Hour

// actionAuthority is the making of an authority, or its end.
const actionAuthority = "egress.authority"

// AuthorityConfig says where the authority for inspection is kept. It is copied.
type AuthorityConfig struct {
	Secrets Secrets
	// Environment stands in the authority's name.
	Environment gatehouse.Environment
	// Log records each new authority. nil records nothing: before there is a log.
	Log *audit.Log
	// Logger gets what a look from time to time could not do. nil drops it.
	Logger *slog.Logger
}

// Authority is the authority for inspection, of which processes that share a
// database share one. It is safe for concurrent use.
type Authority struct {
	config AuthorityConfig
	ca     atomic.Pointer[wire.InspectionCA] // nil: none

	mu    sync.Mutex // one look at a time; guards hosts
	hosts []string
}

// NewAuthority returns an authority that may sign for nothing before Use.
func NewAuthority(c AuthorityConfig) (*Authority, error) {
	if c.Secrets == nil {
		return nil, fmt.Errorf("setting up the authority for inspection: a place for it is needed: %w", gatehouse.ErrInvalid)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Authority{config: c}, nil
}

// Use makes the authority that is kept one for exactly these hosts, at a start or when
// the configuration changed. A process that still has other hosts goes on with what
// it holds, and does not change what is kept.
func (a *Authority) Use(ctx context.Context, hosts []string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.agree(ctx, hosts); err != nil {
		return err
	}
	a.hosts = slices.Clone(hosts)
	return nil
}

// agree reads, makes and swaps until what is kept is for the hosts.
func (a *Authority) agree(ctx context.Context, hosts []string) error {
	for range 8 {
		today, err := a.config.Secrets.System(ctx, SecretAuthority)
		if err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
			return err
		}
		next, changed, err := wire.NextInspectionCA(today, string(a.config.Environment), hosts)
		if err != nil {
			return err
		}
		if changed {
			err := a.config.Secrets.SwapSystem(ctx, SecretAuthority, today, next)
			if errors.Is(err, gatehouse.ErrConflict) {
				continue // somebody else was faster; theirs may do
			}
			if err != nil {
				return err
			}
		}
		ca, err := wire.OpenInspectionCA(next)
		if errors.Is(err, gatehouse.ErrNotFound) {
			ca = nil
		} else if err != nil {
			return err
		}
		if changed {
			if err := a.record(ctx, ca); err != nil {
				return err
			}
		}
		a.ca.Store(ca)
		return nil
	}
	return fmt.Errorf("agreeing on an authority for inspection: others change it all the time: %w", gatehouse.ErrConflict)
}

func (a *Authority) record(ctx context.Context, ca *wire.InspectionCA) error {
	if a.config.Log == nil {
		return nil
	}
	e := audit.Entry{Action: actionAuthority, Verdict: verdictDone, Facts: map[string]string{"hosts": "0"}}
	if ca != nil {
		e.Facts = map[string]string{"hosts": strconv.Itoa(len(ca.Hosts())), "sha256": ca.Authorities()[0].SHA256}
	}
	_, err := a.config.Log.Record(ctx, e)
	return err
}

// Run looks at the authority from time to time until ctx ends.
func (a *Authority) Run(ctx context.Context) error {
	every := time.NewTicker(authorityCheck)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
			if err := a.look(ctx); err != nil && ctx.Err() == nil {
				a.config.Logger.LogAttrs(ctx, slog.LevelError, "the authority for inspection could not be renewed", slog.String("error", wire.LogText(err)))
			}
		}
	}
}

// look renews what is kept, or takes over what another process made; but not what is
// for other hosts, which is another configuration's.
func (a *Authority) look(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	today, err := a.config.Secrets.System(ctx, SecretAuthority)
	if err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
		return err
	}
	kept, err := wire.OpenInspectionCA(today)
	if err == nil && !sameHosts(kept.Hosts(), a.hosts) || errors.Is(err, gatehouse.ErrNotFound) && len(a.hosts) > 0 && a.ca.Load() != nil {
		return fmt.Errorf("the authority for inspection that is kept is for other hosts than this process's; reload its configuration: %w", gatehouse.ErrConflict)
	}
	return a.agree(ctx, a.hosts)
}

func sameHosts(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

// Leaf returns the certificate with which we speak in a destination's place: one of
// the hosts exactly, ErrNotFound otherwise.
func (a *Authority) Leaf(destination string) (*tls.Certificate, error) {
	ca := a.ca.Load()
	if ca == nil {
		return nil, fmt.Errorf("issuing a certificate for inspection: there is no authority: %w", gatehouse.ErrNotFound)
	}
	return ca.Leaf(destination)
}

// Trusted returns what clients should trust now, the current authority first.
func (a *Authority) Trusted() []wire.InspectionAuthority {
	if ca := a.ca.Load(); ca != nil {
		return ca.Authorities()
	}
	return nil
}
