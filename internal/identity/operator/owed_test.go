package operator_test

import (
	"context"
	"sync/atomic"
	"testing"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"
)

// blind is a store that cannot be written and does not say who there is, like a database
// that hangs until the request's own time is over.
type blind struct {
	*readOnly
	is, counts atomic.Bool
	over       context.CancelFunc // ends the time of the request that writes
}

func (b *blind) SetState(ctx context.Context, id operator.AccountID, c operator.StateChange) error {
	if b.is.Load() {
		b.over()
		return errReadOnly
	}
	return b.readOnly.SetState(ctx, id, c)
}

func (b *blind) Accounts(ctx context.Context) ([]operator.AccountRecord, error) {
	switch {
	case b.is.Load() && ctx.Err() != nil:
		return nil, ctx.Err()
	case b.is.Load() && !b.counts.Load():
		return nil, errReadOnly
	}
	return b.readOnly.Accounts(ctx)
}

// Who is suspended while the database hangs reads nothing more, whether it still says who
// is an owner or not; where it does not, the last owner waits until the deed's turn comes.
func TestTakingAwayWhileTheDatabaseHangs(t *testing.T) {
	for name, counts := range map[string]bool{"it counts": true, "it does not": false} {
		t.Run(name, func(t *testing.T) {
			log, rows := &closedLog{}, &blind{readOnly: &readOnly{}}
			w := newFaultyWorld(t, storetest.SQLite(t), faults{
				audit: func(s audit.Store) audit.Store { log.Store = s; return log },
				store: func(s operator.Store) operator.Store { rows.Store = s; return rows },
				aside: t.TempDir(),
			})
			w.log.Redo(t.Context(), func(ctx context.Context, d audit.Deed) error {
				_, err := w.d.Redo(ctx, d)
				return err
			})
			owner, victim := w.join("owner", operator.Owner), w.join("victim", operator.Auditor)
			log.closed.Store(true)
			rows.only.Store(true)
			rows.counts.Store(counts)
			rows.is.Store(true)
			for _, m := range []*member{victim, owner, victim} { // one is asked for twice
				var ctx context.Context
				ctx, rows.over = context.WithCancel(t.Context())
				if err := w.d.Suspend(ctx, operator.Host(), m.id); wire.RuleOf(err) != "log/deferred" {
					t.Fatalf("%v, want it noted", err)
				}
			}
			victim.alive("who was suspended", victim.token, false)
			owner.alive("the last owner", owner.token, counts)
			rows.is.Store(false)
			rows.only.Store(false)
			log.closed.Store(false)
			w.writable()
			victim.alive("who was suspended, when it is done", victim.token, false)
			owner.alive("the last owner, whose turn came", owner.token, true)
			if err := w.d.Resume(t.Context(), operator.Host(), victim.id); err != nil {
				t.Fatal(err)
			}
			victim.again()
			victim.alive("who was resumed", victim.token, true)
		})
	}
}
