package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/config"
	"gatehouse/internal/platform"
	"gatehouse/internal/reconcile"
	"gatehouse/internal/wire"
)

// usageApps are the apps whose posts are compared with X's count. Two names in the
// configuration may be one app at X.
func usageApps(cfg *config.Config) []reconcile.UsageApp {
	var apps []reconcile.UsageApp
	for _, name := range slices.Sorted(maps.Keys(cfg.Apps)) {
		u := cfg.Apps[name].Usage
		if u.AppID == "" {
			continue
		}
		u = u.WithDefaults()
		if i := slices.IndexFunc(apps, func(a reconcile.UsageApp) bool { return a.Client == u.AppID }); i >= 0 {
			apps[i].Apps, apps[i].Tolerance = append(apps[i].Apps, name), max(apps[i].Tolerance, int64(u.Tolerance))
			continue
		}
		apps = append(apps, reconcile.UsageApp{Client: u.AppID, Apps: []gatehouse.AppName{name}, Tolerance: int64(u.Tolerance)})
	}
	slices.SortFunc(apps, func(a, b reconcile.UsageApp) int { return cmp.Compare(a.Client, b.Client) })
	return apps
}

// countedApps are their names.
func countedApps(cfg *config.Config) map[gatehouse.AppName]bool {
	names := map[gatehouse.AppName]bool{}
	for _, a := range usageApps(cfg) {
		for _, name := range a.Apps {
			names[name] = true
		}
	}
	return names
}

// countedPosts hands on how many posts replies hold.
func countedPosts(p *parts) map[gatehouse.AppName]func(gatehouse.Operation, int64, bool) {
	counted := map[gatehouse.AppName]func(gatehouse.Operation, int64, bool){}
	for name := range countedApps(p.cfg) {
		counted[name] = func(op gatehouse.Operation, posts int64, whole bool) { p.meter.Read(name, op, posts, whole) }
	}
	return counted
}

// maxUsage bounds X's answer.
const maxUsage = 1 << 20

// fetchUsage asks X how many posts the apps of an app's project used each day, with the
// app-only bearer.
func (p *parts) fetchUsage(ctx context.Context, app gatehouse.AppName) (body []byte, err error) {
	entry := audit.Entry{Action: "connect.app", Platform: gatehouse.X, App: app, Operation: "GET /2/usage/tweets"}
	receipt, err := p.log.Intent(ctx, entry)
	if err != nil {
		return nil, err
	}
	defer func() {
		entry.Verdict = "done"
		if err != nil {
			entry.Verdict, entry.Rule = "failed", wire.RuleOf(err)
		}
		p.log.Outcome(receipt, entry)
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base(p.cfg, platform.X, platform.RoleAPI)+"/2/usage/tweets?days=7&usage.fields=daily_client_app_usage", nil)
	if err != nil {
		return nil, err
	}
	if err := p.connect.AppRequest(ctx, receipt, app, req); err != nil {
		return nil, err
	}
	reply, err := p.egress.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	entry.Status = reply.StatusCode
	if reply.StatusCode != http.StatusOK {
		return nil, wire.BadGateway("reconcile/usage", "X refused to say how many posts the app used.", fmt.Errorf("status %d", reply.StatusCode))
	}
	return io.ReadAll(io.LimitReader(reply.Body, maxUsage+1))
}
