package connect

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/wire"
)

// BrowseStore finds connections for whoever looks through them.
type BrowseStore interface {
	// Newest returns up to limit connections of one app in one state that are before a
	// mark, the newest first.
	Newest(ctx context.Context, app gatehouse.AppName, status Status, before Mark, limit int) ([]Marked, error)
	// ConnectionRows returns the records with these ids, in no order, and leaves out
	// what is not there. They are read past the gates' cache, which they would fill with
	// what nobody calls.
	ConnectionRows(ctx context.Context, ids []gatehouse.ConnectionID) ([]Record, error)
}

// Mark is a place in the order of creation. The zero Mark is behind everything.
type Mark struct {
	Created time.Time
	ID      gatehouse.ConnectionID
}

// Marked is a connection's place, with what it is for.
type Marked struct {
	Mark
	Purposes []gatehouse.PurposeName
}

// Browsed says which connections to look through. A zero field selects everything.
type Browsed struct {
	Apps     []gatehouse.AppName // nil means every configured one
	Statuses []Status            // nil means every one but Pending and Erased
	Purpose  gatehouse.PurposeName
	// After is Next of the page before.
	After string
	// Limit is the greatest number of connections; zero means 50, and there are never
	// more than 200.
	Limit int
}

// BrowsedPage is a page of connections, the newest first. They carry nothing that
// names their people. One whose row was changed is Unreadable; while nothing can be
// opened, none is.
type BrowsedPage struct {
	Connections []Connection
	// Next continues; empty at the end. A page that was looked for by purpose may be
	// short, even empty, and still have a next one.
	Next string
}

// maxBrowsed bounds how many connections are looked at for one page.
const maxBrowsed = 2000

// browsable are the states that are looked through when none is named.
var browsable = []Status{Healthy, Renewing, InDoubt, ReconnectNeeded, Revoked}

// Browse returns a page of connections without what names their people: PlatformUser,
// Name and Subject stay empty.
func (c *Connections) Browse(ctx context.Context, b Browsed) (BrowsedPage, error) {
	mark, err := parseMark(b.After)
	if err != nil {
		return BrowsedPage{}, err
	}
	limit := b.Limit
	if limit <= 0 {
		limit = 50
	}
	limit = min(limit, 200)
	apps, statuses := b.Apps, b.Statuses
	if apps == nil {
		apps = c.Apps()
	}
	if statuses == nil {
		statuses = browsable
	}
	// Without a purpose, each that is looked at is shown: the page and whether there is
	// another is all that has to be read.
	window := limit + 1
	if b.Purpose != "" {
		window = 250
	}
	var found []gatehouse.ConnectionID
	more := false
	for looked := 0; len(found) < limit && looked < maxBrowsed; {
		batch, whole, err := c.newest(ctx, apps, statuses, mark, window)
		if err != nil {
			return BrowsedPage{}, err
		}
		more = !whole
		for i, m := range batch {
			looked++
			mark = m.Mark
			if b.Purpose == "" || slices.Contains(m.Purposes, b.Purpose) {
				found = append(found, m.ID)
			}
			if len(found) == limit {
				more = more || i < len(batch)-1
				break
			}
		}
		if whole || len(batch) == 0 {
			break
		}
	}
	records, err := c.store.ConnectionRows(ctx, found)
	if err != nil {
		return BrowsedPage{}, err
	}
	page := BrowsedPage{Connections: make([]Connection, 0, len(records))}
	opens := true
	for _, rec := range records {
		v := c.bare(rec)
		if opens {
			v, opens = c.nameless(ctx, rec)
		}
		page.Connections = append(page.Connections, v)
	}
	slices.SortFunc(page.Connections, func(a, b Connection) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.ID, a.ID))
	})
	if more {
		page.Next = mark.String()
	}
	return page, nil
}

// newest merges the newest of each app and state that are before a mark. Whole says
// that there are no others.
func (c *Connections) newest(ctx context.Context, apps []gatehouse.AppName, statuses []Status, before Mark, window int) (merged []Marked, whole bool, err error) {
	whole = true
	// Behind the end of a list that was cut, others of that list may follow.
	var cut Mark
	for _, app := range apps {
		for _, status := range statuses {
			some, err := c.store.Newest(ctx, app, status, before, window)
			if err != nil {
				return nil, false, err
			}
			if len(some) == window {
				whole = false
				if last := some[len(some)-1].Mark; cut.ID == "" || last.compare(cut) > 0 {
					cut = last
				}
			}
			merged = append(merged, some...)
		}
	}
	slices.SortFunc(merged, func(a, b Marked) int { return b.compare(a.Mark) })
	if cut.ID != "" {
		end := slices.IndexFunc(merged, func(m Marked) bool { return m.compare(cut) < 0 })
		if end >= 0 {
			merged = merged[:end]
		}
	}
	return merged, whole, nil
}

func (m Mark) compare(o Mark) int {
	return cmp.Or(m.Created.Compare(o.Created), cmp.Compare(m.ID, o.ID))
}

// String is the mark as a page's Next.
func (m Mark) String() string {
	return strconv.FormatInt(m.Created.UnixMicro(), 10) + "." + string(m.ID)
}

func parseMark(text string) (Mark, error) {
	if text == "" {
		return Mark{}, nil
	}
	at, id, ok := strings.Cut(text, ".")
	micros, err := strconv.ParseInt(at, 10, 64)
	if !ok || err != nil || id == "" || len(id) > 100 || micros < 0 {
		return Mark{}, wire.Refuse(gatehouse.ErrInvalid, "connect/after", "after must be next of the page before, unchanged.")
	}
	return Mark{time.UnixMicro(micros).UTC(), gatehouse.ConnectionID(id)}, nil
}

// nameless is listed for whoever is not to see names. Opens is false if it cannot be said
// now whether they open, which keeps nobody from seeing the rest.
func (c *Connections) nameless(ctx context.Context, rec Record) (v Connection, opens bool) {
	v, err := c.listed(ctx, rec)
	if err != nil {
		return c.bare(rec), false
	}
	v.PlatformUser, v.Name, v.Subject = "", "", ""
	return v, true
}

// Bare returns one connection without what names its person: PlatformUser, Name and
// Subject stay empty. One that was never redeemed does not exist, and one whose row was
// changed is Unreadable, unless nothing can be opened.
func (c *Connections) Bare(ctx context.Context, id gatehouse.ConnectionID) (Connection, error) {
	records, err := c.store.ConnectionRows(ctx, []gatehouse.ConnectionID{id})
	if err == nil && (len(records) == 0 || records[0].Redeemed.IsZero()) {
		err = gatehouse.ErrNotFound
	}
	if errors.Is(err, gatehouse.ErrNotFound) {
		return Connection{}, wire.Refuse(gatehouse.ErrNotFound, "connect/unknown-connection", "there is no such connection")
	}
	if err != nil {
		return Connection{}, err
	}
	v, _ := c.nameless(ctx, records[0])
	return v, nil
}

// AtPlatform says how far the revocation of a connection has come at its platform; ""
// for one that was not revoked.
func (c *Connections) AtPlatform(v Connection) AtPlatform {
	if v.Status != Revoked {
		return ""
	}
	return c.atPlatformOf(Record{App: v.App, Platform: v.Platform, Kind: v.Kind, Parent: v.Parent, RevokeOutstanding: v.RevokeOutstanding})
}
