package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/config"
	"gatehouse/internal/observe"
	"gatehouse/internal/platform"
	"gatehouse/internal/policy"

	"github.com/spf13/cobra"
)

func newPolicy(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "What services use of what they may: the narrowest contracts, and what is never used",
		Long: `While Gatehouse runs, it remembers by name and shape, and without a value, what
services use: calls, parameters, fields of bodies and replies. These commands say
what follows. They read the database alone and need no root key.`,
	}
	c.AddCommand(policySuggest(o), policyUnused(o))
	return c
}

// looked is what the policy commands look at.
type looked struct {
	cfg      *config.Config
	declared observe.Declared
	snapshot *observe.Snapshot
}

// look reads the configuration and what was observed, lets f work on it, and
// closes the database.
func look(ctx context.Context, o *options, since string, service gatehouse.ServiceName, f func(*looked, *policyStore) error) (err error) {
	var from time.Time
	if since != "" {
		if from, err = time.Parse(time.DateOnly, since); err != nil {
			return usagef("--since: write a day as 2026-01-31")
		}
	}
	cfg, err := readConfig(o)
	if err != nil {
		return err
	}
	if _, known := cfg.Services[service]; service != "" && !known {
		return fmt.Errorf("service %s is not in the configuration: %w", service, gatehouse.ErrNotFound)
	}
	l := &looked{cfg: cfg}
	if l.declared, err = declaredIn(cfg); err != nil {
		return err
	}
	db, err := openStore(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if l.snapshot, err = observe.Load(ctx, db.Observe(), from, service); errors.Is(err, gatehouse.ErrNotFound) {
		return fmt.Errorf("nothing has been observed yet: run Gatehouse, best with \"mode: report\", and let the app work for some days: %w", gatehouse.ErrNotFound)
	}
	if err != nil {
		return err
	}
	return f(l, &policyStore{db.Connect(), db})
}

// declaredIn is what the configuration declares.
func declaredIn(cfg *config.Config) (observe.Declared, error) {
	set, err := policySet(cfg, time.Now())
	if err != nil {
		return observe.Declared{}, err
	}
	d := observe.Declared{
		Services:  make(map[gatehouse.ServiceName][]gatehouse.PurposeName, len(cfg.Services)),
		Platforms: make(map[gatehouse.AppName]platform.Name, len(cfg.Apps)),
	}
	for _, name := range set.Names() {
		p, _ := set.Purpose(name)
		d.Purposes = append(d.Purposes, p)
	}
	for name, s := range cfg.Services {
		d.Services[name] = s.Purposes
	}
	for name, a := range cfg.Apps {
		d.Platforms[name] = platform.Name(a.Platform)
	}
	return d, nil
}

// shortWatch is how long observing takes before its silence means much.
const shortWatch = 7 * 24 * time.Hour

// watched says since when there has been observing, and whether that is short.
func watched(since, now time.Time) (days int, warning string) {
	long := now.Sub(since)
	if days = int(long / (24 * time.Hour)); long >= shortWatch {
		return days, ""
	}
	return days, "observed for less than a week: what happens seldom is missing"
}

// ruleOf turns a shape back into what the configuration says of it.
func ruleOf(shapes map[string]policy.Shape) map[string]config.Rule {
	if shapes == nil {
		return nil
	}
	out := make(map[string]config.Rule, len(shapes))
	for name, s := range shapes {
		out[name] = config.Rule{
			Type: string(s.Type), Min: s.Min, Max: s.Max, Pattern: s.Pattern, OneOf: s.OneOf, Entries: s.Entries, Required: s.Required,
		}
	}
	return out
}
