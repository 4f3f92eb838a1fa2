package main

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/connect"
	"gatehouse/internal/console"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/wire"
)

// everythingCutter does for the console what 'gatehouse connect revoke --all' does, one
// time after the other and beside the pages. What one that is interrupted has ended stays
// ended; whoever wants the rest orders it again.
type everythingCutter struct {
	*parts
	// ordered has room for one.
	ordered chan cutOrder

	mu   sync.Mutex
	last console.CuttingOff // guarded by mu
}

// cutOrder is what was allowed and is on record.
type cutOrder struct {
	sweeper
	entry   audit.Entry
	receipt audit.Receipt
}

func newEverythingCutter(p *parts) *everythingCutter {
	return &everythingCutter{parts: p, ordered: make(chan cutOrder, 1)}
}

// scope checks a scope against the configuration.
func (e *everythingCutter) scope(s console.EverythingScope) (connect.Scope, error) {
	scope := connect.Scope{App: gatehouse.AppName(s.App), Platform: gatehouse.Platform(s.Platform)}
	fits := func(name gatehouse.AppName) bool {
		return (s.App == "" || s.App == string(name)) && (s.Platform == "" || s.Platform == string(e.configured().Apps[name].Platform))
	}
	if !slices.ContainsFunc(e.connect.Apps(), fits) {
		return scope, wire.Refuse(gatehouse.ErrInvalid, "console/scope", "There is no such app, or it is not at this platform. Nothing was done.")
	}
	return scope, nil
}

func (e *everythingCutter) Everything(_ context.Context, s console.EverythingScope) (console.EverythingView, error) {
	scope, err := e.scope(s)
	if err != nil {
		return console.EverythingView{}, err
	}
	view := console.EverythingView{Connections: -1}
	for _, name := range e.connect.Apps() {
		view.Apps = append(view.Apps, string(name))
		if platform := string(e.configured().Apps[name].Platform); !slices.Contains(view.Platforms, platform) {
			view.Platforms = append(view.Platforms, platform)
		}
	}
	slices.Sort(view.Platforms)
	for _, name := range (&sweeper{parts: e.parts, scope: scope}).declared() {
		view.Services = append(view.Services, string(name))
	}
	if counts := (connectionsSource{e.parts}).counts(); counts != nil && s == (console.EverythingScope{}) {
		view.Connections = 0
		for _, status := range []connect.Status{connect.Healthy, connect.Renewing, connect.InDoubt, connect.ReconnectNeeded} {
			view.Connections += counts[string(status)]
		}
	}
	return view, nil
}

func (e *everythingCutter) CuttingOff() console.CuttingOff {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.last
}

func (e *everythingCutter) CutOff(ctx context.Context, by operator.Actor, s console.EverythingScope, reason string) error {
	scope, err := e.scope(s)
	if err != nil {
		return err
	}
	e.mu.Lock()
	before := e.last
	if !before.Began.IsZero() && before.Ended.IsZero() {
		e.mu.Unlock()
		return wire.Refuse(gatehouse.ErrConflict, "console/under-way", "Something is being cut off already; wait until that has ended.")
	}
	// Taken before it is allowed: what one of two orders at the same moment would find
	// no room for must not use an approval up.
	e.last = console.CuttingOff{Began: time.Now().UTC(), Scope: s}
	e.mu.Unlock()
	order, err := e.order(ctx, by, s, sweeper{parts: e.parts, scope: scope, reason: reason})
	if err != nil {
		e.mu.Lock()
		e.last = before
		e.mu.Unlock()
		return err
	}
	e.ordered <- order // while none is under way nothing waits in it
	return nil
}

// order has it allowed and recorded.
func (e *everythingCutter) order(ctx context.Context, by operator.Actor, s console.EverythingScope, w sweeper) (cutOrder, error) {
	if err := e.operators.Allow(ctx, by, s.Proposal(w.reason)); err != nil {
		return cutOrder{}, err
	}
	order := cutOrder{sweeper: w, entry: audit.Entry{Action: "connect.everything", App: w.scope.App, Platform: w.scope.Platform, Verdict: "allow", Facts: map[string]string{
		"operator": string(by.Account()), "reason": w.reason,
	}}}
	var err error
	order.receipt, err = e.log.Intent(ctx, order.entry)
	return order, err
}

// run ends what is ordered, until ctx ends.
func (e *everythingCutter) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case order := <-e.ordered:
			e.once(ctx, order)
		}
	}
}

// once ends everything of an order and keeps what came of it.
func (e *everythingCutter) once(ctx context.Context, order cutOrder) {
	doing := audit.By(ctx, order.entry.Facts["operator"])
	services, err := order.services(doing)
	if err != nil {
		// Those of the configuration lose their keys in any case.
		services = order.declared()
		e.logger.ErrorContext(ctx, "the services of what is cut off could not all be found", slog.Any("error", err))
	}
	report, failed := order.do(doing, services, func(done, of int) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.last.Done, e.last.Total = int64(done), int64(of)
	})
	if failed == nil {
		failed = err
	}
	keys := 0
	for _, n := range report.ServiceKeys {
		keys += n
	}
	outcome := order.entry
	outcome.Verdict, outcome.Facts = "done", map[string]string{
		"operator": order.entry.Facts["operator"], "connections": strconv.Itoa(len(report.Connections)), "service_keys": strconv.Itoa(keys), "outstanding": strconv.Itoa(report.Outstanding),
	}
	if failed != nil {
		outcome.Verdict, outcome.Rule = "failed", wire.RuleOf(failed)
		e.logger.ErrorContext(ctx, "everything was to be cut off, and it was not finished", slog.Any("error", failed))
	}
	e.log.Outcome(order.receipt, outcome)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last.Ended = time.Now().UTC()
	e.last.Connections, e.last.People, e.last.Keys = int64(len(report.Connections)), int64(len(report.People)), int64(keys)
	e.last.Outstanding, e.last.NotOffered = int64(report.Outstanding), int64(report.NotOffered)
	if failed != nil {
		e.last.Failed = "Not all of it could be done; the program's log says why. What was ended stays ended: order it again for the rest, or run 'gatehouse connect revoke --all' on the host."
	}
}
