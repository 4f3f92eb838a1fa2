package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/fingerprint"
	"gatehouse/internal/identity"
	"gatehouse/internal/lineage"
	"gatehouse/internal/wire"
)

// openLineage binds whose data went where to the parts.
func (p *parts) openLineage(ctx context.Context) error {
	derived, err := p.vault.Derive(ctx, "lineage/fingerprints")
	if err != nil {
		return fmt.Errorf("deriving the key of fingerprints: %w", err)
	}
	raw, err := hex.DecodeString(derived.Reveal())
	if err != nil {
		return fmt.Errorf("deriving the key of fingerprints: %w", err)
	}
	var key fingerprint.Key
	copy(key[:], raw)
	c := p.cfg.Lineage.WithDefaults()
	index, err := fingerprint.New(fingerprint.Config{Key: key, Capacity: c.MaxFingerprints, Many: c.SharedBy, Ours: c.Ours, Form: holdsOurs, FormLength: identity.FormLength})
	if err != nil {
		return err
	}
	p.lineage, err = lineage.New(lineage.Config{
		Store: p.db.Lineage(), Log: p.log, Key: p.connect.UserKey, Keys: p.connect.UserKeys,
		Index: index,
		Keep:  c.Keep, KeepFlows: c.KeepFlows, MaxFingerprints: c.MaxFingerprints,
		Brands: p.brandKeys, ReportSecrets: c.Secrets == "report", Logger: p.logger,
		Recognised: func(class gatehouse.DataClass, became lineage.Verdict, destination string) {
			p.metrics.Recognised(class, string(became), destination)
		},
	})
	return err
}

// holdsOurs reports whether a row of letters, digits and low lines holds a handle or a
// service key of ours.
func holdsOurs(row []byte) bool { return len(identity.FindForms(row)) > 0 }

// brandKeys are the hashes of the customer's own accounts.
func (p *parts) brandKeys(ctx context.Context) ([]string, error) {
	var keys []string
	for _, brand := range p.cfg.Lineage.Brands {
		platform, id, _ := strings.Cut(brand, ":")
		some, _, err := p.userKeys(ctx, gatehouse.Platform(platform), id)
		if err != nil {
			return nil, err
		}
		keys = append(keys, some...)
	}
	return keys, nil
}

// userKeys are the hashes of a platform's id, one for each registration that it may
// be of, and whether there is one.
func (p *parts) userKeys(ctx context.Context, platform gatehouse.Platform, id string) (keys []string, known bool, err error) {
	for _, app := range slices.Sorted(maps.Keys(p.cfg.Apps)) {
		if p.cfg.Apps[app].Platform != platform {
			continue
		}
		key, err := p.connect.UserKey(ctx, app, id)
		if err != nil {
			return nil, true, err
		}
		if known = true; !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys, known, nil
}

// lineageKeys are the hashes of whom a text names: x:12345, whether or not the
// person ever connected, or subject:NAME. Nobody is no error.
func (p *parts) lineageKeys(ctx context.Context, who string) ([]string, error) {
	kind, rest, cut := strings.Cut(who, ":")
	if cut && kind == "subject" && rest != "" {
		people, err := p.connect.People(ctx, connect.Who{Subject: gatehouse.Subject(rest)})
		keys := []string{}
		for _, person := range people {
			some, failed := p.connect.UserKeys(ctx, person)
			if failed != nil {
				return nil, failed
			}
			keys = append(keys, some...)
		}
		return keys, err
	}
	if cut && rest != "" {
		keys, known, err := p.userKeys(ctx, gatehouse.Platform(kind), rest)
		if err != nil || known {
			return keys, err
		}
	}
	return nil, wire.Refuse(gatehouse.ErrInvalid, "lineage/person", "A person is named as PLATFORM:ID, such as x:12345, of a platform that is configured, or as subject:NAME.")
}

// asksLineage reports whether the configuration in force lets a service ask whose
// data went where.
func (p *parts) asksLineage(name gatehouse.ServiceName) bool {
	return slices.Contains(p.inForce.Load().cfg.Lineage.Services, name)
}

// handleScope returns a handle, and the calls that its purpose declares now.
func (p *parts) handleScope(ctx context.Context, id gatehouse.HandleID) (identity.Handle, []string, error) {
	h, err := p.identity.Handle(ctx, id)
	if err != nil {
		return h, nil, err
	}
	could := []string{}
	for _, call := range p.inForce.Load().cfg.Purposes[h.Purpose].Calls {
		could = append(could, call.Call)
	}
	return h, could, nil
}
