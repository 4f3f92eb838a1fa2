package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

// sweeper ends everything in a scope: for 'connect revoke --all' and for the console.
type sweeper struct {
	parts  *parts
	scope  connect.Scope
	reason string
}

// sweepReport is the answer to revoke --all.
type sweepReport struct {
	Reason      string                `json:"reason"`
	App         gatehouse.AppName     `json:"app,omitempty"`
	Platform    gatehouse.Platform    `json:"platform,omitempty"`
	ServiceKeys map[string]int        `json:"service_keys_revoked"`
	Connections []sweptConnection     `json:"connections"`
	People      []sweptPerson         `json:"people"`
	Outstanding int                   `json:"outstanding"`
	NotOffered  int                   `json:"not_offered"`
	OpenImports int                   `json:"open_imports"`
	Keys        map[string]uint32     `json:"keys_rotated"`
	Bearers     map[string]sweptState `json:"app_bearers"`
}

type sweptState string

type sweptConnection struct {
	ID         gatehouse.ConnectionID `json:"id"`
	App        gatehouse.AppName      `json:"app"`
	Platform   gatehouse.Platform     `json:"platform"`
	Kind       connect.Kind           `json:"kind"`
	Subject    gatehouse.Subject      `json:"subject"`
	AtPlatform connect.AtPlatform     `json:"at_platform"`
}

// sweptPerson is one of the people to tell.
type sweptPerson struct {
	Subject      gatehouse.Subject  `json:"subject"`
	Platform     gatehouse.Platform `json:"platform"`
	PlatformUser string             `json:"platform_user"`
	Name         string             `json:"name,omitempty"`
}

// do ends everything in scope and gives the vault's keys new versions. Interrupted, it
// is done again: what has ended stays ended.
func (s *sweeper) do(ctx context.Context, services []gatehouse.ServiceName, progress func(done, of int)) (sweepReport, error) {
	// Keys first: with one, new handles could be made meanwhile.
	keys, failed := s.revokeKeys(ctx, services)
	ended, err := s.parts.connect.RevokeAll(ctx, s.scope, s.reason, progress)
	if err := errors.Join(failed, err); err != nil {
		return sweepReport{}, fmt.Errorf("not finished (run it again, it goes on): %w", err)
	}
	rotated, err := s.rotateKeys(ctx)
	if err != nil {
		return sweepReport{}, fmt.Errorf("everything is ended, and the vault's keys were not all rotated (run it again, it goes on): %w", err)
	}
	report := s.gather(keys, ended)
	report.Keys = rotated
	return report, nil
}

// rotateKeys gives the vault's keys new versions, unless they have one from an
// interrupted run an hour ago or less. 'gatehouse run' moves what stands under the
// older ones.
func (s *sweeper) rotateKeys(ctx context.Context) (map[string]uint32, error) {
	rows, err := s.parts.db.Vault().DomainKeys(ctx)
	if err != nil {
		return nil, err
	}
	rotated := map[string]uint32{}
	for _, domain := range []vault.Domain{vault.Tokens, vault.Personal, vault.System} {
		recent := slices.ContainsFunc(rows, func(k vault.DomainKey) bool {
			return k.Domain == domain && k.Version > 1 && time.Since(k.Created) < time.Hour
		})
		if recent {
			continue
		}
		version, err := s.parts.keys.Rotate(ctx, domain)
		if err != nil {
			return nil, err
		}
		rotated[string(domain)] = version
	}
	return rotated, nil
}

// services returns those whose keys may reach what is in scope: they have
// connections in it, or a purpose that would let them begin one.
func (s *sweeper) services(ctx context.Context) ([]gatehouse.ServiceName, error) {
	names, err := s.parts.connect.Services(ctx, s.scope)
	if err != nil {
		return nil, err
	}
	for _, name := range s.declared() {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// declared are the services whose purposes would let them begin a connection in scope.
func (s *sweeper) declared() []gatehouse.ServiceName {
	var names []gatehouse.ServiceName
	for name, declared := range s.parts.configured().Services {
		for _, purpose := range declared.Purposes {
			app := s.parts.configured().Purposes[purpose].App
			if (s.scope.App == "" || s.scope.App == app) && (s.scope.Platform == "" || s.scope.Platform == s.parts.configured().Apps[app].Platform) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// revokeKeys ends the keys of services and returns how many of each this run
// ended. One that fails does not keep the others: a key can be ended even if the
// log cannot be written, which is an error all the same.
func (s *sweeper) revokeKeys(ctx context.Context, services []gatehouse.ServiceName) (map[string]int, error) {
	ended := map[string]int{}
	var failed error
	for _, name := range services {
		keys, err := s.parts.identity.ServiceKeys(ctx, name)
		failed = errors.Join(failed, err)
		for _, k := range keys {
			if !k.Revoked.IsZero() {
				continue
			}
			if err := s.parts.identity.RevokeServiceKey(ctx, k.ID); err != nil {
				failed = errors.Join(failed, err)
				continue
			}
			ended[string(name)]++
		}
	}
	return ended, failed
}

func (s *sweeper) gather(keys map[string]int, ended connect.RevokedAll) sweepReport {
	r := sweepReport{
		Reason: s.reason, App: s.scope.App, Platform: s.scope.Platform, ServiceKeys: keys, Connections: []sweptConnection{},
		People: []sweptPerson{}, OpenImports: ended.OpenImports, Bearers: map[string]sweptState{},
	}
	for _, one := range ended.Ended {
		r.Connections = append(r.Connections, sweptConnection{one.ID, one.App, one.Platform, one.Kind, one.Subject, one.AtPlatform})
		switch one.AtPlatform {
		case connect.Outstanding:
			r.Outstanding++
		case connect.NotOffered:
			r.NotOffered++
		}
		person := sweptPerson{one.Subject, one.Platform, one.PlatformUser, one.Name}
		if one.Parent == "" && !slices.Contains(r.People, person) {
			r.People = append(r.People, person)
		}
	}
	for app, err := range ended.Bearers {
		r.Bearers[string(app)] = "invalidated"
		if err != nil {
			r.Bearers[string(app)] = sweptState("not confirmed (" + wire.RuleOf(err) + ")")
		}
	}
	return r
}
