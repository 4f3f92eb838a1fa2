package main

import (
	"context"
	"slices"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/connect"
	"gatehouse/internal/console"
	"gatehouse/internal/identity"
	"gatehouse/internal/metrics"
)

// connectionsSource finds connections for the console, and ends them.
type connectionsSource struct{ *parts }

// Bounds of what one connection's page shows.
const (
	maxHandles  = 10
	maxRenewals = 10
	maxEntries  = 30
	// How many entries of a person are looked through for those of one of their
	// connections, and of one handle.
	maxOfPerson = 800
	maxOfHandle = 200
)

func (c connectionsSource) Connections(ctx context.Context, q console.ConnectionsQuery) (console.ConnectionList, error) {
	cfg := c.configured()
	list := console.ConnectionList{Apps: sortedNames(cfg.Apps), Purposes: sortedNames(cfg.Purposes), Counts: c.counts()}
	b := connect.Browsed{Purpose: gatehouse.PurposeName(q.Purpose), After: q.After, Apps: []gatehouse.AppName{}}
	for _, name := range c.connect.Apps() {
		app := cfg.Apps[name]
		if !slices.Contains(list.Platforms, string(app.Platform)) {
			list.Platforms = append(list.Platforms, string(app.Platform))
		}
		fits := (q.Platform == "" || q.Platform == string(app.Platform)) && (q.App == "" || q.App == string(name))
		if q.Purpose != "" && cfg.Purposes[b.Purpose].App != name {
			fits = false
		}
		if fits {
			b.Apps = append(b.Apps, name)
		}
	}
	slices.Sort(list.Platforms)
	if q.State != "" {
		b.Statuses = []connect.Status{connect.Status(q.State)}
	}
	page, err := c.connect.Browse(ctx, b)
	if err != nil {
		return list, err
	}
	list.After = page.Next
	for i := range page.Connections {
		list.Connections = append(list.Connections, connectionLine(page.Connections[i]))
	}
	return list, nil
}

// counts are how many connections there are in each state, as they were read last; nil
// when that is not known.
func (c connectionsSource) counts() map[string]int64 {
	counts := map[string]int64{}
	for _, status := range []connect.Status{connect.Healthy, connect.Renewing, connect.InDoubt, connect.ReconnectNeeded, connect.Revoked, connect.Erased} {
		if points := c.metrics.Recent(metrics.Connections, "status", string(status)); len(points) > 0 {
			counts[string(status)] = int64(points[len(points)-1].Value)
		}
	}
	if len(counts) == 0 {
		return nil
	}
	return counts
}

// connectionLine is a connection without anything that belongs to its person.
func connectionLine(v connect.Connection) console.ConnectionLine {
	line := console.ConnectionLine{
		ID: string(v.ID), App: string(v.App), Platform: string(v.Platform), Kind: string(v.Kind), Service: string(v.Service), Person: string(v.Person),
		State: string(v.Status), Reason: v.Reason, Next: v.Next, Unreadable: v.Unreadable, Outstanding: v.RevokeOutstanding, Created: v.Created, Changed: v.Updated,
	}
	for _, p := range v.Purposes {
		line.Purposes = append(line.Purposes, string(p))
	}
	return line
}

func (c connectionsSource) Connection(ctx context.Context, actor, id string, withLog bool) (console.ConnectionView, error) {
	ctx = audit.By(ctx, actor)
	v, err := c.connect.Bare(ctx, gatehouse.ConnectionID(id))
	if err != nil {
		return console.ConnectionView{}, err
	}
	view := console.ConnectionView{
		ConnectionLine: connectionLine(v), Parent: string(v.Parent), Scopes: v.Scopes, Declined: v.Declined,
		AccessExpires: v.AccessExpires, RefreshExpires: v.RefreshExpires, DataUntil: v.DataAccessExpires, AtPlatform: string(c.connect.AtPlatform(v)),
	}
	handles, err := c.identity.Handles(ctx, identity.Filter{Connection: v.ID, Limit: maxHandles + 1})
	if err != nil {
		return view, err
	}
	view.MoreHandles = len(handles) > maxHandles
	handles = handles[:min(len(handles), maxHandles)]
	for _, h := range handles {
		view.Handles = append(view.Handles, console.HandleLine{ID: string(h.ID), Service: string(h.ServiceName), Purpose: string(h.Purpose), Created: h.Created, Expires: h.Expires})
	}
	if !withLog {
		return view, nil
	}
	whose := []audit.Found{{Hash: c.logIndex, Person: v.Person, Connection: v.ID, Kind: "connection", Value: id}}
	if v.Status != connect.Erased {
		if err := c.recordSearch(ctx, "", whose); err != nil {
			return view, err
		}
	}
	searcher, err := c.searcher(ctx)
	if err != nil {
		return view, err
	}
	searcher = searcher.Within(maxOfPerson)
	page, err := searcher.Search(ctx, audit.Query{Found: whose}, "", maxEntries)
	if err != nil {
		return view, err
	}
	view.Entries, view.PartOfEntries = entryLines(page.Entries), len(page.Entries) < maxEntries && page.Next != ""
	if page, err = searcher.Search(ctx, audit.Query{Found: whose, Action: "connect.refresh"}, "", maxRenewals); err != nil {
		return view, err
	}
	view.Renewals, view.PartOfRenewals = entryLines(page.Entries), len(page.Entries) < maxRenewals && page.Next != ""
	return view, c.lastUses(ctx, searcher, handles, view.Handles)
}

// lastUses says when handles were last used. Uses are counted; of a handle that was used
// before they were, the log may tell.
func (c connectionsSource) lastUses(ctx context.Context, searcher *audit.Searcher, handles []identity.Handle, lines []console.HandleLine) error {
	uses, err := c.identity.Uses(ctx, handles)
	if err != nil {
		return err
	}
	for i, h := range handles {
		if lines[i].Used = uses[h.ID].Last; !lines[i].Used.IsZero() {
			continue
		}
		of := []audit.Found{{Hash: c.logIndex, Person: h.Person, Connection: h.Connection, Kind: "handle", Value: string(h.ID)}}
		page, err := searcher.Within(maxOfHandle).Search(ctx, audit.Query{Found: of, Action: "call"}, "", 1)
		if err != nil {
			return err
		}
		if len(page.Entries) > 0 {
			lines[i].Used = page.Entries[0].When
		}
		lines[i].NotLately = len(page.Entries) == 0 && page.Next != ""
	}
	return nil
}

func (c connectionsSource) Revoke(ctx context.Context, actor, id string) (string, error) {
	ctx = audit.By(ctx, actor)
	if err := c.connect.Revoke(ctx, gatehouse.ConnectionID(id), "ended in the console"); err != nil {
		return "", err
	}
	v, err := c.connect.Bare(ctx, gatehouse.ConnectionID(id))
	if err != nil {
		return "", err
	}
	if v.RevokeOutstanding {
		return "It is cut off here. The platform has not confirmed yet and is asked again.", nil
	}
	return "It is revoked.", nil
}
