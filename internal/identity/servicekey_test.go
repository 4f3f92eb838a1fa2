package identity_test

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"
)

func (w *world) key(request identity.KeyRequest) (identity.ServiceKey, secret.Text) {
	w.t.Helper()
	request.Service = "scheduler"
	key, text, err := w.directory.MakeServiceKey(w.t.Context(), request)
	if err != nil {
		w.t.Fatalf("MakeServiceKey: %v", err)
	}
	return key, text
}

func (w *world) stored(id identity.ServiceKeyID) identity.ServiceKey {
	w.t.Helper()
	key, err := w.directory.ServiceKey(w.t.Context(), id)
	if err != nil {
		w.t.Fatalf("ServiceKey: %v", err)
	}
	return key
}

func TestAKeyIsForItsPurposeAlone(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		for _, c := range []struct {
			bound, asked        gatehouse.PurposeName
			serves, servesWider bool
		}{
			{"", "publish", true, true},
			{"", "analytics", true, true},
			{"publish", "publish", true, false},
			{"publish", "analytics", false, false},
			{"publish", "", false, false},
			{"publish", "Publish", false, false},
			{identity.NoPurpose, "publish", false, true},
		} {
			made, text := w.key(identity.KeyRequest{Purpose: c.bound})
			caller, err := w.directory.AuthenticateService(t.Context(), text)
			if err != nil || caller.Name != "scheduler" || caller.Key != made {
				t.Fatalf("a key for %q: %+v, %v; want %+v", c.bound, caller, err, made)
			}
			for what, got := range map[string]error{"For": caller.For(c.asked), "Wide": caller.Wide()} {
				want := c.serves
				if what == "Wide" {
					want = c.servesWider
				}
				if (got == nil) != want || got != nil && (wire.RuleOf(got) != "identity/key-purpose" || wire.StatusOf(got) != 403) {
					t.Errorf("a key for %q, asked for %q: %s is %v (rule %q), want served: %t", c.bound, c.asked, what, got, wire.RuleOf(got), want)
				}
			}
		}
		if n := w.logged("service.key.create", `"kind":"intent"`, `"purpose":"publish"`); n != 4 {
			t.Errorf("%d entries name the purpose of a key, want 4", n)
		}
		for _, purpose := range []gatehouse.PurposeName{"a b", "--", "-publish", "é"} {
			_, _, err := w.directory.MakeServiceKey(t.Context(), identity.KeyRequest{Service: "scheduler", Purpose: purpose})
			if !errors.Is(err, gatehouse.ErrInvalid) {
				t.Errorf("a key for the purpose %q: %v, want ErrInvalid", purpose, err)
			}
		}
	})
}

func TestNewKeysEnd(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	for _, c := range []struct{ asked, want time.Duration }{
		{0, identity.DefaultKeyTTL}, {time.Hour, time.Hour}, {identity.NoEnd, identity.NoEnd},
	} {
		key, _ := w.key(identity.KeyRequest{Life: c.asked})
		if got := w.stored(key.ID); got != key {
			t.Errorf("stored %+v, want %+v", got, key)
		}
		if key.Life != c.want || c.want > 0 && key.Expires != key.Created.Add(c.want) || c.want < 0 && !key.Expires.IsZero() {
			t.Errorf("a key with life %s: %s until %s, want %s", c.asked, key.Life, key.Expires, c.want)
		}
	}
	if _, _, err := w.directory.MakeServiceKey(t.Context(), identity.KeyRequest{Service: "scheduler", Life: -time.Hour}); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("a key with a negative life: %v, want ErrInvalid", err)
	}
}

func TestRotation(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		old, oldText := w.key(identity.KeyRequest{Purpose: "publish", Life: 48 * time.Hour})
		next, nextText, err := w.directory.RotateServiceKey(ctx, old.ID, identity.Rotation{Overlap: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if next.Purpose != "publish" || next.Life != 48*time.Hour || next.Service != "scheduler" || next.ID == old.ID {
			t.Errorf("the successor is %+v, want the terms of %+v", next, old)
		}
		for name, text := range map[string]secret.Text{"old": oldText, "new": nextText} {
			if _, err := w.directory.AuthenticateService(ctx, text); err != nil {
				t.Errorf("the %s key within the overlap: %v", name, err)
			}
		}
		was := w.stored(old.ID)
		if was.Successor != next.ID || was.Expires.Sub(next.Created) > time.Hour+time.Minute || was.Expires.Before(next.Created.Add(59*time.Minute)) {
			t.Errorf("the old key is %+v, want an end in an hour and the successor %s", was, next.ID)
		}
		// Asked again, there is no second one.
		_, _, err = w.directory.RotateServiceKey(ctx, old.ID, identity.Rotation{})
		var rotated *identity.RotatedError
		if !errors.As(err, &rotated) || rotated.Successor.ID != next.ID || !errors.Is(err, gatehouse.ErrConflict) {
			t.Fatalf("rotating again: %v, want a RotatedError that names %s", err, next.ID)
		}
		if w.stored(old.ID) != was {
			t.Error("a refused rotation changed the key")
		}
		// The successor's text was lost: another takes its place, and it goes.
		third, thirdText, err := w.directory.RotateServiceKey(ctx, old.ID, identity.Rotation{Overlap: 2 * time.Hour, Again: true})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.directory.AuthenticateService(ctx, nextText)
		refused(t, "the successor that was lost", err, "identity/key-revoked")
		if got := w.stored(old.ID); got.Successor != third.ID || got.Expires != was.Expires {
			t.Errorf("the old key is %+v, want the successor %s and its earlier end", got, third.ID)
		}
		// One that is in use is not taken back, whether or not that is stored yet.
		w.directory.KeyUsed(third.ID, netip.MustParseAddr("192.0.2.77"))
		if _, _, err := w.directory.RotateServiceKey(ctx, old.ID, identity.Rotation{Again: true}); !errors.As(err, &rotated) {
			t.Errorf("taking back a successor in use: %v, want a RotatedError", err)
		}
		if _, err := w.directory.AuthenticateService(ctx, thirdText); err != nil {
			t.Errorf("the successor in use: %v", err)
		}
		if n := w.logged("service.key.create", `"kind":"intent"`, "replaces", "ends"); n != 2 {
			t.Errorf("%d entries of a rotation, want 2", n)
		}
	})
}

func TestKeysThatCannotBeRotated(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	ctx := t.Context()
	revoked, _ := w.key(identity.KeyRequest{})
	if err := w.directory.RevokeServiceKey(ctx, revoked.ID); err != nil {
		t.Fatal(err)
	}
	ended, _ := w.key(identity.KeyRequest{})
	if err := w.directory.ExpireServiceKey(ctx, ended, time.Now()); err != nil {
		t.Fatal(err)
	}
	live, _ := w.key(identity.KeyRequest{})
	for name, c := range map[string]struct {
		id   identity.ServiceKeyID
		r    identity.Rotation
		want error
	}{
		"revoked":  {revoked.ID, identity.Rotation{}, gatehouse.ErrConflict},
		"ended":    {ended.ID, identity.Rotation{}, gatehouse.ErrConflict},
		"unknown":  {"nothing", identity.Rotation{}, gatehouse.ErrNotFound},
		"negative": {live.ID, identity.Rotation{Overlap: -time.Second}, gatehouse.ErrInvalid},
	} {
		if _, _, err := w.directory.RotateServiceKey(ctx, c.id, c.r); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, _, err := w.directory.RotateServiceKey(ctx, live.ID, identity.Rotation{}); err != nil {
		t.Errorf("a live one: %v", err)
	}
}

// Many rotate one key at once, in two processes: there is one successor.
func TestOneSuccessor(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		old, _ := w.key(identity.KeyRequest{})
		other := w.newDirectory(w.db.Identity())
		var group sync.WaitGroup
		var mu sync.Mutex
		made := 0
		for i := range 8 {
			d := w.directory
			if i%2 == 0 {
				d = other
			}
			group.Go(func() {
				_, _, err := d.RotateServiceKey(t.Context(), old.ID, identity.Rotation{})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					made++
				} else if !errors.Is(err, gatehouse.ErrConflict) {
					t.Errorf("rotating: %v", err)
				}
			})
		}
		group.Wait()
		keys, err := w.directory.ServiceKeys(t.Context(), "scheduler")
		if err != nil || made != 1 || len(keys) != 2 {
			t.Errorf("%d rotations, %d keys, %v; want 1 and 2", made, len(keys), err)
		}
	})
}

// A rotation that died, before or after it took effect, leaves nothing or a
// successor that the next attempt finds.
func TestRotationThatDied(t *testing.T) {
	for name, fault := range map[string]faultyStore{"before": {before: true}, "after": {after: true}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, storetest.SQLite(t))
			old, _ := w.key(identity.KeyRequest{Purpose: "publish"})
			fault.Store = w.db.Identity()
			if _, _, err := w.newDirectory(&fault).RotateServiceKey(t.Context(), old.ID, identity.Rotation{Overlap: time.Hour}); !errors.Is(err, errInjected) {
				t.Fatalf("with the fault: %v", err)
			}
			_, text, err := w.directory.RotateServiceKey(t.Context(), old.ID, identity.Rotation{Overlap: time.Hour})
			if fault.after {
				var rotated *identity.RotatedError
				if !errors.As(err, &rotated) {
					t.Fatalf("rotating again: %v, want a RotatedError", err)
				}
				// Also when the old key's time is over meanwhile.
				if err := w.directory.ExpireServiceKey(t.Context(), old, time.Now()); err != nil {
					t.Fatal(err)
				}
				if _, _, err := w.directory.RotateServiceKey(t.Context(), old.ID, identity.Rotation{}); !errors.Is(err, gatehouse.ErrConflict) {
					t.Errorf("rotating one that has ended: %v, want ErrConflict", err)
				}
				_, text, err = w.directory.RotateServiceKey(t.Context(), old.ID, identity.Rotation{Again: true})
			}
			if err != nil {
				t.Fatalf("rotating again: %v", err)
			}
			if _, err := w.directory.AuthenticateService(t.Context(), text); err != nil {
				t.Errorf("the successor: %v", err)
			}
			keys, err := w.directory.ServiceKeys(t.Context(), "scheduler")
			live := 0
			for _, k := range keys {
				if k.Live(time.Now()) {
					live++
				}
			}
			want := 2 // the old one, within the overlap, and the successor
			if fault.after {
				want = 1
			}
			if err != nil || live != want {
				t.Errorf("%d live keys (%v), want %d", live, err, want)
			}
		})
	}
}

func TestUsesOfKeysAreStored(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		key, _ := w.key(identity.KeyRequest{})
		idle, _ := w.key(identity.KeyRequest{})
		before := time.Now()
		w.directory.KeyUsed(key.ID, netip.MustParseAddr("192.0.2.77"))
		w.directory.KeyUsed(key.ID, netip.MustParseAddr("::ffff:198.51.100.9"))
		if got := w.stored(key.ID).Used; got.Count != 0 {
			t.Errorf("stored while the call waited: %+v", got)
		}
		if err := w.directory.FlushKeyUses(t.Context()); err != nil {
			t.Fatal(err)
		}
		// Another process, with an earlier and a later use.
		other := w.newDirectory(w.db.Identity())
		if got := w.stored(key.ID).Used; got.Count != 2 || got.From.String() != "198.51.100.0/24" || got.At.Before(before.Truncate(time.Microsecond)) {
			t.Errorf("stored %+v, want 2 uses, the last from 198.51.100.0/24", got)
		}
		other.KeyUsed(key.ID, netip.MustParseAddr("2001:db8:1:2:3::4"))
		if err := other.FlushKeyUses(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := w.stored(key.ID).Used; got.Count != 3 || got.From.String() != "2001:db8:1::/48" {
			t.Errorf("stored %+v, want 3 uses, the last from 2001:db8:1::/48", got)
		}
		late := map[identity.ServiceKeyID]identity.KeyUse{key.ID: {At: before.Add(-time.Hour), Count: 1}}
		if err := w.db.Identity().AddKeyUses(t.Context(), late); err != nil {
			t.Fatal(err)
		}
		if got := w.stored(key.ID).Used; got.Count != 4 || got.At.Before(before.Truncate(time.Microsecond)) || !got.From.IsValid() {
			t.Errorf("an earlier use that came late left %+v", got)
		}
		if got := w.stored(idle.ID).Used; got != (identity.KeyUse{}) {
			t.Errorf("the key that nobody used: %+v", got)
		}
	})
}

// What cannot be stored is stored the next time.
func TestUsesThatCannotBeStoredAreKept(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	key, _ := w.key(identity.KeyRequest{})
	from := netip.MustParseAddr("192.0.2.1")
	fault := &faultyStore{Store: w.db.Identity(), before: true}
	d := w.newDirectory(fault)
	d.KeyUsed(key.ID, from)
	if err := d.FlushKeyUses(t.Context()); !errors.Is(err, errInjected) {
		t.Fatalf("FlushKeyUses = %v", err)
	}
	d.KeyUsed(key.ID, from) // meanwhile
	fault.before = false
	for range 2 { // and only once
		if err := d.FlushKeyUses(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := w.stored(key.ID).Used; got.Count != 2 {
			t.Errorf("stored %+v, want 2 uses", got)
		}
	}
}

// Memory is bounded; what was noted already goes on counting.
func TestUsesAreBounded(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	stored := make(chan map[identity.ServiceKeyID]identity.KeyUse, 1)
	d := w.newDirectory(keepsUses{Store: w.db.Identity(), stored: stored})
	for i := range 20000 {
		d.KeyUsed(identity.ServiceKeyID(strconv.Itoa(i)), netip.Addr{})
	}
	d.KeyUsed("0", netip.Addr{})
	if err := d.FlushKeyUses(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m := <-stored; len(m) != 16384 || m["0"].Count != 2 || m["0"].From.IsValid() {
		t.Errorf("%d are kept, the first %+v", len(m), m["0"])
	}
}

func TestKeysThatEndSoonAreAnnouncedOnce(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	ctx := t.Context()
	soon, _ := w.key(identity.KeyRequest{})
	w.raw.ExecUncounted("UPDATE service_keys SET created = 1, expires = " + strconv.FormatInt(time.Now().Add(20*24*time.Hour).UnixMicro(), 10))
	w.key(identity.KeyRequest{})                     // ends in a year
	w.key(identity.KeyRequest{Life: 24 * time.Hour}) // is new
	w.key(identity.KeyRequest{Life: identity.NoEnd}) // never ends
	gone, _ := w.key(identity.KeyRequest{Life: 1})   // has ended
	replaced, _ := w.key(identity.KeyRequest{})      // has a successor
	if _, _, err := w.directory.RotateServiceKey(ctx, replaced.ID, identity.Rotation{Overlap: time.Hour}); err != nil {
		t.Fatal(err)
	}
	_ = gone
	var told []identity.ServiceKeyID
	failing := true
	config := w.config(w.db.Identity())
	config.Tell = func(_ context.Context, key identity.ServiceKey) error {
		told = append(told, key.ID)
		if failing {
			return errInjected
		}
		return nil
	}
	d, err := identity.New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Announce(ctx); !errors.Is(err, errInjected) || !w.stored(soon.ID).Warned.IsZero() {
		t.Errorf("Announce = %v; a key that nobody was told of must not count as announced", err)
	}
	failing = false
	for range 2 {
		if err := d.Announce(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if len(told) != 2 || told[1] != soon.ID || w.stored(soon.ID).Warned.IsZero() {
		t.Errorf("told of %v, want twice %s: once in vain", told, soon.ID)
	}
	if n := w.logged("service.key.expiring"); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
}

func TestEnding(t *testing.T) {
	at := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		key  identity.ServiceKey
		want bool
	}{
		"a year, 31 days before its end": {identity.ServiceKey{Created: at.Add(-334 * day), Expires: at.Add(31 * day)}, false},
		"a year, 30 days before its end": {identity.ServiceKey{Created: at.Add(-335 * day), Expires: at.Add(30 * day)}, true},
		"ten days, half over":            {identity.ServiceKey{Created: at.Add(-5 * day), Expires: at.Add(5 * day)}, false},
		"ten days, nine over":            {identity.ServiceKey{Created: at.Add(-9 * day), Expires: at.Add(day)}, true},
		"ended":                          {identity.ServiceKey{Created: at.Add(-9 * day), Expires: at}, false},
		"revoked":                        {identity.ServiceKey{Created: at.Add(-9 * day), Expires: at.Add(day), Revoked: at}, false},
		"without an end":                 {identity.ServiceKey{Created: at.Add(-9 * day)}, false},
		"with a successor":               {identity.ServiceKey{Created: at.Add(-9 * day), Expires: at.Add(day), Successor: "k"}, false},
	} {
		if got := c.key.Ending(at); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}

// Run stores uses by itself, and what is noted at the end is for FlushKeyUses.
func TestRunStoresUses(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	key, _ := w.key(identity.KeyRequest{})
	synctest.Test(t, func(t *testing.T) {
		stored := make(chan map[identity.ServiceKeyID]identity.KeyUse, 1)
		config := w.config(keepsUses{Store: noServices{w.db.Identity()}, stored: stored})
		d, err := identity.New(config)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx) }()
		d.KeyUsed(key.ID, netip.MustParseAddr("192.0.2.1"))
		if got := <-stored; got[key.ID].Count != 1 {
			t.Errorf("stored %+v, want one use", got)
		}
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

// keepsUses takes uses for itself.
// The first use of a key is stored at once, and others every few seconds.
func TestTheFirstUseIsStoredAtOnce(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	c := w.config(w.db.Identity())
	synctest.Test(t, func(t *testing.T) {
		stored := make(chan map[identity.ServiceKeyID]identity.KeyUse, 10)
		c.Store = noServices{keepsUses{Store: c.Store, stored: stored}}
		d, err := identity.New(c)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.Run(ctx) }()
		for i, want := range []int{1, 1, 2} { // the first of two keys, and none again of the first
			d.KeyUsed([]identity.ServiceKeyID{"one", "one", "two"}[i], netip.MustParseAddr("192.0.2.1"))
			synctest.Wait()
			if len(stored) != want {
				t.Errorf("after use %d: stored %d times, want %d", i+1, len(stored), want)
			}
		}
		if len(stored) == 2 {
			<-stored
			<-stored
			d.KeyUsed("one", netip.MustParseAddr("192.0.2.1"))
			if got := <-stored; got["one"].Count != 1 { // in a few seconds
				t.Errorf("stored %+v, want one use", got)
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A use that another process stores between the look and the write keeps its key.
func TestAKeyThatIsUsedMeanwhileIsNotTakenBack(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		for what, used := range map[string]bool{"used meanwhile": true, "never used": false} {
			old, _ := w.key(identity.KeyRequest{})
			next, text, err := w.directory.RotateServiceKey(ctx, old.ID, identity.Rotation{Overlap: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			d := w.newDirectory(usedMeanwhile{w.db.Identity(), func() {
				if !used {
					return
				}
				if err := w.db.Identity().AddKeyUses(ctx, map[identity.ServiceKeyID]identity.KeyUse{next.ID: {At: time.Now(), Count: 1}}); err != nil {
					t.Fatal(err)
				}
			}})
			_, _, err = d.RotateServiceKey(ctx, old.ID, identity.Rotation{Again: true})
			var rotated *identity.RotatedError
			if errors.As(err, &rotated) != used || !used && err != nil {
				t.Errorf("%s: %v, want a RotatedError: %t", what, err, used)
			}
			if used && rotated != nil && rotated.Successor.Used.Count != 1 {
				t.Errorf("%s: the error says %+v", what, rotated.Successor.Used)
			}
			if _, err := w.directory.AuthenticateService(ctx, text); (err == nil) != used {
				t.Errorf("%s: its key: %v", what, err)
			}
		}
	})
}

// usedMeanwhile is a store in which something happens just before a key is taken back.
type usedMeanwhile struct {
	identity.Store
	first func()
}

func (s usedMeanwhile) RevokeUnusedKey(ctx context.Context, id identity.ServiceKeyID, at time.Time) error {
	s.first()
	return s.Store.RevokeUnusedKey(ctx, id, at)
}

type keepsUses struct {
	identity.Store
	stored chan map[identity.ServiceKeyID]identity.KeyUse
}

func (s keepsUses) AddKeyUses(_ context.Context, uses map[identity.ServiceKeyID]identity.KeyUse) error {
	s.stored <- uses
	return nil
}

// noServices has none, so that nothing leaves the test's bubble.
type noServices struct{ identity.Store }

func (noServices) Services(context.Context) ([]identity.ServiceRecord, error) { return nil, nil }
