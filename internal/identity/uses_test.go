package identity_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"gatehouse"
	"gatehouse/internal/identity"
	"gatehouse/internal/store/storetest"
)

// useOf is what is stored of a handle.
func (w *world) useOf(h identity.Handle) identity.Use {
	w.t.Helper()
	uses, err := w.directory.Uses(w.t.Context(), []identity.Handle{h})
	if err != nil {
		w.t.Fatal(err)
	}
	return uses[h.ID]
}

// What several processes count adds up, and a restart loses none of it.
func TestUsesAddUp(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		h, other := identity.Handle{ID: "handle-1"}, identity.Handle{ID: "handle-2"}
		if use := w.useOf(h); use.Count != 0 || !use.Last.IsZero() {
			t.Errorf("before it was used: %+v", use)
		}
		second := w.newDirectory(w.db.Identity())
		var all sync.WaitGroup
		for _, d := range []*identity.Directory{w.directory, second} {
			for range 3 {
				all.Go(func() {
					for range 10 {
						d.Used(h.ID)
						if err := d.FlushUses(t.Context()); err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
		all.Wait()
		use := w.useOf(h)
		if use.Count != 60 || use.Last.IsZero() {
			t.Errorf("%+v, want 60 uses", use)
		}
		third := w.newDirectory(w.db.Identity())
		third.Used(h.ID)
		if again := w.useOf(h); again != use {
			t.Errorf("before it is stored: %+v, want %+v", again, use)
		}
		if err := third.FlushUses(t.Context()); err != nil {
			t.Fatal(err)
		}
		if again := w.useOf(h); again.Count != 61 || again.Last.Before(use.Last) {
			t.Errorf("after it is stored: %+v", again)
		}
		if use := w.useOf(other); use.Count != 0 {
			t.Errorf("of another handle: %+v", use)
		}
	})
}

// unsure is a store that says no, whether it has stored or not.
type unsure struct {
	identity.Store
	stores, fails bool
}

func (u *unsure) AddUses(ctx context.Context, b identity.UseBatch) error {
	if u.stores {
		if err := u.Store.AddUses(ctx, b); err != nil {
			return err
		}
	}
	if u.fails {
		return gatehouse.ErrUnavailable
	}
	return nil
}

// What a store has taken in spite of its error is not counted twice, and what it has
// not is counted once it can be.
func TestUsesAreStoredOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		h := identity.Handle{ID: "handle-1"}
		s := &unsure{Store: w.db.Identity(), fails: true}
		d := w.newDirectory(s)
		for _, s.stores = range []bool{true, false} {
			before := w.useOf(h).Count
			s.fails = true
			d.Used(h.ID)
			if err := d.FlushUses(t.Context()); !errors.Is(err, gatehouse.ErrUnavailable) {
				t.Fatal(err)
			}
			d.Used(h.ID)
			if err := d.FlushUses(t.Context()); !errors.Is(err, gatehouse.ErrUnavailable) {
				t.Fatal(err)
			}
			s.fails = false
			stores := s.stores
			s.stores = true
			for range 2 {
				if err := d.FlushUses(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if use := w.useOf(h); use.Count != before+2 {
				t.Errorf("stored all the same %v: %d uses, want %d", stores, use.Count, before+2)
			}
		}
	})
}
