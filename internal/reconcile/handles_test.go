package reconcile_test

import (
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/store/storetest"
)

// addConnection is a row of a connection that the app has.
func (r *rig) addConnection(id gatehouse.ConnectionID, person gatehouse.PersonID) {
	r.t.Helper()
	r.raw(`INSERT INTO connections (id, app, platform, kind, service, person, user_hash, subject_hash, parent, external_hash, status, reason, scopes,
		declined, purposes, access_expires, refresh_expires, renew_at, lease_until, redeemed, revoke_outstanding, created, updated, version)
		VALUES ($1, 'main-x', 'x', 'user', 'scheduler', $2, '', '', '', '', 'active', '', '', '', '', 0, 0, 0, 0, 1, 0, 1, 1, 1)`, string(id), string(person))
}

// use is what one process counts of a handle, with so many intents in the log.
func (r *rig) use(h gatehouse.HandleID, uses int64, intents int) {
	r.t.Helper()
	first := time.Now()
	for range intents {
		if _, err := r.log.Intent(r.ctx, audit.Entry{
			Action: "call", Platform: gatehouse.X, App: app, Operation: me, Person: ada, Search: string(adaCon),
			Personal: map[string]string{"connection": string(adaCon), "handle": string(h)},
		}); err != nil {
			r.t.Fatal(err)
		}
	}
	r.batch++
	if err := r.db.Identity().AddUses(r.ctx, identity.UseBatch{
		Process: "p", Number: r.batch, At: time.Now(), Uses: map[gatehouse.HandleID]identity.Use{h: {Count: uses, First: first, Last: time.Now()}},
	}); err != nil {
		r.t.Fatal(err)
	}
}

// A handle's counter is explained by its own entries, since the last time, and by
// nothing else.
func TestHandleUses(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		r := newRig(t, dsn)
		r.addConnection(adaCon, ada)
		r.logged("handle.create", "done", nil)
		r.addHandle("h1")
		r.logged("handle.create", "done", nil)
		r.addHandle("h2")
		r.settle()
		for _, step := range []struct {
			name    string
			do      func()
			excess  int64
			handles int
		}{
			{"as many", func() { r.use("h1", 3, 3) }, 0, 1},
			{"nothing since", func() {}, 0, 0},
			{"fewer: a process died", func() { r.use("h2", 1, 4) }, 0, 1},
			{"of both", func() { r.use("h1", 2, 2); r.use("h2", 1, 1) }, 0, 2},
			// Those of ten minutes before count, too: here all.
			{"one more than all", func() { r.use("h1", 6, 0) }, 1, 1},
			{"told once", func() {}, 0, 0},
			{"of another handle", func() { r.use("h2", 6, 0) }, 1, 1},
			{"counts begin anew", func() { r.use("h2", 100, 0); r.event("log.accept") }, 0, 0},
			{"and are compared from there", func() { r.use("h2", 6, 0) }, 1, 1},
			{"of a person who is erased", func() { r.use("h2", 60, 0); r.raw("UPDATE connections SET status = 'erased'") }, 0, 0},
		} {
			step.do()
			report := r.all()
			var got int64
			for _, d := range report.Differences {
				if d.Check != "handle-uses" || d.Connection != adaCon || d.Entry == "" {
					t.Errorf("%s: %+v", step.name, d)
				}
				got += d.Excess
			}
			if got != step.excess || report.Handles != step.handles || report.HandlesUnjudged != 0 {
				t.Errorf("%s: an excess of %d of %d handles, want %d of %d: %+v", step.name, got, report.Handles, step.excess, step.handles, report)
			}
		}
	})
}

// Who is erased while it is compared has no entries that are found: nothing is said.
func TestHandleOfSomebodyErasedMeanwhile(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	r.addConnection("con-gone", "person-gone") // and nobody knows whose it is any more
	r.service()
	r.all()
	record := identity.HandleRecord{Handle: identity.Handle{
		ID: "h1", Service: "svc1", Connection: "con-gone", Person: "person-gone", Purpose: "publish", Platform: gatehouse.X, App: app,
		Created: time.Now(), Expires: time.Now().Add(time.Hour),
	}, Environment: "test"}
	r.logged("handle.create", "done", nil)
	if err := r.db.Identity().AddHandle(r.ctx, record); err != nil {
		t.Fatal(err)
	}
	r.settle()
	r.use("h1", 5, 0)
	if report := r.all(); report.HandlesUnjudged != 1 || len(report.Differences) != 0 {
		t.Errorf("%+v", report)
	}
}
