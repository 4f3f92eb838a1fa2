package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"strings"
	"text/tabwriter"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/store"
)

func cutSQLite(dsn string) (path string, ok bool) { return strings.CutPrefix(dsn, "sqlite:") }

// synthetic is a connection of realistic size whose sealed fields are noise:
// finding what is due opens none of them. Three in four are X's, due in one to
// three hours; the others are Facebook's, to be checked within the next day.
func synthetic(i int, now time.Time) connect.Record {
	sealed := func(n int) []byte {
		b := make([]byte, n)
		_, _ = rand.Read(b)
		return b
	}
	r := connect.Record{
		ID: gatehouse.ConnectionID("con" + strings.ToLower(rand.Text())), App: "main-x", Platform: gatehouse.X, Kind: connect.KindUser,
		Service: "synthetic", Person: gatehouse.PersonID("per" + strings.ToLower(rand.Text())),
		UserHash: fmt.Sprintf("%064x", i), UserSealed: sealed(90), NameSealed: sealed(90), SubjectHash: rand.Text() + rand.Text(), SubjSealed: sealed(100),
		Status: connect.Healthy, Scopes: []string{"tweet.read", "users.read", "offline.access"}, Purposes: []gatehouse.PurposeName{"bench"},
		Access: sealed(180), Refresh: sealed(180), Redeemed: now, Created: now, Updated: now, Obtained: now,
		AccessExpires: now.Add(4 * time.Hour), RenewAt: now.Add(time.Hour + mathrand.N(2*time.Hour)),
	}
	if i%4 == 3 {
		r.Platform, r.App, r.Refresh = gatehouse.Facebook, "pages", nil
		r.AccessExpires, r.RenewAt, r.CheckAt = now.Add(60*24*time.Hour), now.Add(50*24*time.Hour), now.Add(time.Hour+mathrand.N(23*time.Hour))
	}
	return r
}

// fill adds synthetic connections until there are n of them, and returns the ids
// of some that stand anywhere among them.
func fill(ctx context.Context, name string, db *store.DB, from, n int) ([]gatehouse.ConnectionID, error) {
	const batch = 1000
	var some []gatehouse.ConnectionID
	for from < n {
		now := time.Now().UTC()
		records := make([]connect.Record, min(batch, n-from))
		for i := range records {
			records[i] = synthetic(from+i, now)
		}
		for range 200 {
			some = append(some, records[mathrand.IntN(len(records))].ID)
		}
		if err := db.Connect().SaveConnections(ctx, records...); err != nil {
			return nil, err
		}
		from += len(records)
		progress("%s: %d of %d rows", name, from, n)
	}
	return some, ctx.Err()
}

// found is what was measured at one number of connections.
type found struct {
	n           int
	fill        time.Duration
	filled      int
	bytes       float64 // of the database for each connection
	idle, due   time.Duration
	checks      time.Duration
	untold      time.Duration
	tend        time.Duration
	one         time.Duration
	dueReturned int
}

// timesOf runs f for at most a second, at least five times, and returns the
// median time.
func timesOf(f func() error) (time.Duration, error) {
	var took []time.Duration
	for start := time.Now(); len(took) < 5 || (len(took) < 200 && time.Since(start) < time.Second); {
		t := time.Now()
		if err := f(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(t))
	}
	return median(took), nil
}

// finding measures how long it takes to find what is due among more and more
// connections.
func finding(ctx context.Context, out io.Writer, r *registry, most int) error {
	empty, err := databaseBytes(ctx, r.dsn)
	if err != nil {
		return err
	}
	var all []found
	var ids []gatehouse.ConnectionID
	have := 0
	for _, n := range []int{1_000, 10_000, 100_000, 1_000_000} {
		if n > most {
			break
		}
		f := found{n: n, filled: n - have}
		start := time.Now()
		some, err := fill(ctx, r.engine, r.db, have, n)
		if err != nil {
			return err
		}
		f.fill = time.Since(start)
		have, ids = n, append(ids, some...)
		if err := analyze(ctx, r.dsn); err != nil {
			return err
		}
		size, err := databaseBytes(ctx, r.dsn)
		if err != nil {
			return err
		}
		f.bytes = float64(size-empty) / float64(n)
		if err := r.look(ctx, &f, ids); err != nil {
			return err
		}
		all = append(all, f)
	}
	if len(all) == 0 {
		return fmt.Errorf("-connections must be 1000 at least")
	}
	t := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	fmt.Fprintln(t, "| engine\t| connections\t| filled at\t| bytes each\t| nothing due\t| 64 due\t| checks\t| untold\t| a round of Tend\t| one by its id\t| nothing due, to 1k\t| 64 due, to 1k\t|")
	fmt.Fprintln(t, "|"+strings.Repeat(" ---\t|", 12))
	for _, f := range all {
		fmt.Fprintf(t, "| %s\t| %d\t| %.0f/s\t| %.0f\t| %s\t| %s\t| %s\t| %s\t| %s\t| %s\t| %.2f\t| %.2f\t|\n", r.engine, f.n,
			float64(f.filled)/f.fill.Seconds(), f.bytes, micro(f.idle), micro(f.due), micro(f.checks), micro(f.untold), micro(f.tend), micro(f.one),
			float64(f.idle)/float64(all[0].idle), float64(f.due)/float64(all[0].due))
	}
	return t.Flush()
}

func micro(d time.Duration) string { return d.Round(time.Microsecond).String() }

// look measures the statements at the present number of connections.
func (r *registry) look(ctx context.Context, f *found, ids []gatehouse.ConnectionID) error {
	progress("%s: looking among %d", r.engine, f.n)
	s := r.db.Connect()
	due := func() (err error) {
		records, err := s.Due(ctx, "main-x", time.Now(), time.Now().Add(-time.Hour), 64)
		f.dueReturned = len(records)
		return err
	}
	for _, m := range []struct {
		into *time.Duration
		f    func() error
	}{
		{&f.idle, due},
		{&f.checks, func() error { _, err := s.DueChecks(ctx, time.Now(), 16); return err }},
		{&f.untold, func() error { _, err := s.Untold(ctx, time.Now(), 64); return err }},
		{&f.tend, func() error { return r.conns.Tend(ctx) }},
		{&f.one, func() error { _, err := s.Connection(ctx, ids[mathrand.IntN(len(ids))]); return err }},
	} {
		var err error
		if *m.into, err = timesOf(m.f); err != nil {
			return err
		}
	}
	if f.dueReturned != 0 {
		return fmt.Errorf("%d are due where none should be", f.dueReturned)
	}
	first, err := s.Connections(ctx, connect.Filter{App: "main-x", Limit: 64})
	if err != nil {
		return err
	}
	var sixtyFour []gatehouse.ConnectionID
	before := map[gatehouse.ConnectionID]time.Time{}
	for _, rec := range first {
		sixtyFour, before[rec.ID] = append(sixtyFour, rec.ID), rec.RenewAt
	}
	if err := change(ctx, r.db, sixtyFour, makeDue); err != nil {
		return err
	}
	if f.due, err = timesOf(due); err != nil {
		return err
	}
	if f.dueReturned != 64 {
		return fmt.Errorf("%d are due where 64 should be", f.dueReturned)
	}
	return change(ctx, r.db, sixtyFour, func(rec *connect.Record) { rec.RenewAt = before[rec.ID] })
}
