package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/config"
	"gatehouse/internal/console"
	"gatehouse/internal/observe"
)

// purposesSource tells the console of purposes and their use, as 'gatehouse policy'
// does.
type purposesSource struct{ *parts }

func (p purposesSource) Purposes(ctx context.Context) (console.PurposesView, error) {
	cfg, now := p.configured(), time.Now()
	var view console.PurposesView
	if cfg.Reporting(now) {
		view.Reports = cfg.Until.End()
	}
	declared, err := declaredIn(cfg)
	if err != nil {
		return view, err
	}
	var unused []observe.Finding
	var withheld []observe.Withheld
	var used []observe.Call
	snapshot, err := observe.Load(ctx, p.db.Observe(), time.Time{}, "")
	if err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
		return view, err
	}
	if err == nil {
		view.Since = snapshot.Since
		_, view.Warning = watched(snapshot.Since, now)
		unused, withheld = observe.FindUnused(snapshot, declared), observe.FindWithheld(snapshot, declared)
		if _, used, _, err = p.db.Observe().Uses(ctx); err != nil {
			return view, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Purposes)) {
		x := purposeView(cfg, name, used)
		for _, f := range unused {
			if f.Purpose == name {
				what := strings.TrimSpace(string(f.Call) + " " + f.Name)
				if f.Service != "" {
					what = string(f.Service)
				}
				x.Unused = append(x.Unused, console.UnusedLine{Kind: strings.ReplaceAll(string(f.Kind), "-", " "), What: what, Why: f.Text})
			}
		}
		for _, w := range withheld {
			if w.Purpose == name {
				x.Withheld = append(x.Withheld, console.UnusedLine{Kind: "fields", What: string(w.Call), Why: strings.Join(w.Fields, " ")})
			}
		}
		view.Purposes = append(view.Purposes, x)
	}
	return view, nil
}

func purposeView(cfg *config.Config, name gatehouse.PurposeName, used []observe.Call) console.PurposeView {
	p := cfg.Purposes[name]
	x := console.PurposeView{Name: string(name), Why: p.Why, App: string(p.App), Platform: string(cfg.Apps[p.App].Platform), Scopes: p.Scopes}
	if p.Keep > 0 {
		x.Keep = p.Keep.String()
		if days := p.Keep / (24 * time.Hour); days > 0 && p.Keep%(24*time.Hour) == 0 {
			x.Keep = fmt.Sprintf("%d d", days)
		}
	}
	for _, service := range slices.Sorted(maps.Keys(cfg.Services)) {
		if s := cfg.Services[service]; slices.Contains(s.Purposes, name) {
			line := console.PurposeService{Name: string(service)}
			if !s.Rate.IsZero() {
				line.Rate = s.Rate.String()
			}
			x.Services = append(x.Services, line)
		}
	}
	at := map[gatehouse.Operation]int{}
	for _, c := range p.Calls {
		line := console.PurposeCall{Call: c.Call, Declared: true, Params: boundsOf(c.Params), Body: boundsOf(c.Body), Fields: "whole"}
		if c.Fields != nil {
			line.Fields = listed(c.Fields)
		}
		at[c.Operation] = len(x.Calls)
		x.Calls = append(x.Calls, line)
	}
	for _, u := range used {
		if u.Purpose != name {
			continue
		}
		i, known := at[u.Operation]
		if !known {
			i = len(x.Calls)
			at[u.Operation] = i
			x.Calls = append(x.Calls, console.PurposeCall{Call: string(u.Operation), Fields: "–"})
		}
		c := &x.Calls[i]
		c.Count, c.Reported = c.Count+u.Calls, c.Reported+u.Reported
		if last := u.Last.Time(); last.After(c.Last) {
			c.Last = last
		}
	}
	return x
}

// boundsOf are the names that a heading of a contract allows; nil allows all.
func boundsOf(rules map[string]config.Rule) string {
	if rules == nil {
		return "any"
	}
	return listed(slices.Sorted(maps.Keys(rules)))
}

// listed is a list that may be empty.
func listed(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
