package connect_test

import (
	"context"
	"testing"

	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/store/storetest"
)

// leaving is a store in which a person is cut off between a callback's look at who
// they are and its writing down of what they granted.
type leaving struct {
	connect.Store
	end func(connect.Record)
}

func (s *leaving) SaveConnections(ctx context.Context, list ...connect.Record) error {
	if end := s.end; end != nil && list[0].Status == connect.Pending {
		s.end = nil
		end(list[0])
	}
	return s.Store.SaveConnections(ctx, list...)
}

// A callback that is under way when its person is cut off leaves nothing behind that
// could be redeemed: whoever cut them off has looked already and comes back to it
// only if a platform has not confirmed.
func TestCallbackWhileThePersonIsCutOff(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, dsn string) {
		s := &leaving{}
		w := connecttest.New(t, dsn, connecttest.Options{Store: func(real connect.Store) connect.Store { s.Store = real; return s }})
		c := w.Connect("user-7", "publish", connecttest.Person(1))
		var late connect.Record
		s.end = func(rec connect.Record) {
			late = rec
			if confirmed, err := w.Connections.EndPerson(t.Context(), c.Person, "asked by a test"); err != nil || !confirmed {
				t.Errorf("cutting the person off: %v, %v", confirmed, err)
			}
		}
		b := w.Start(w.Begin("user-8", "publish"))
		q := b.Back(connecttest.AppOf("publish"), b.Decide(connecttest.Person(1), "allow", ""))
		if late.Person != c.Person {
			t.Fatalf("the callback was for %+v", late)
		}
		if q.Get("error") == "" || q.Get("code") != "" {
			t.Errorf("the app received %v", q)
		}
		tend(t, w.Connections)
		rec, err := w.DB.Connect().Connection(t.Context(), late.ID)
		if err != nil || rec.Status != connect.Revoked || rec.RevokeOutstanding {
			t.Errorf("what the callback left is %s, outstanding %v, %v", rec.Status, rec.RevokeOutstanding, err)
		}
		// Who comes back after that is somebody new.
		if again := w.Connect("user-8", "publish", connecttest.Person(1)); again.Person == c.Person || again.Status != connect.Healthy {
			t.Errorf("afterwards: %+v", again)
		}
	})
}
