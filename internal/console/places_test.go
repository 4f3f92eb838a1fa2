package console

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A place is left empty after a page for as long as rest says, and is then free.
func TestPlaceRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces(2)
		within := func(d time.Duration) bool {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			return p.take(ctx)
		}
		for range 2 {
			if !within(time.Second) {
				t.Fatal("no place at the beginning")
			}
		}
		if within(time.Hour) {
			t.Fatal("a third place of two")
		}
		p.leave(100 * time.Millisecond)
		if within(399 * time.Millisecond) {
			t.Error("the place was taken before it had rested")
		}
		if !within(2 * time.Millisecond) {
			t.Error("the place is not free after its rest")
		}
		p.leave(time.Hour)
		if within(maxRest - time.Millisecond) {
			t.Error("after a long page the place did not rest")
		}
		if !within(2 * time.Millisecond) {
			t.Error("a long page keeps its place for longer than the bound")
		}
		// A clock that was set back is not a reason to rest for ever, or to panic.
		p.leave(-time.Hour)
		if !within(time.Millisecond) {
			t.Error("the place is not free after a page that took no time")
		}
		p.leave(0)
		p.leave(0)
		synctest.Wait()
	})
}
