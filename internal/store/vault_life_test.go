package store_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func eachVault(t *testing.T, f func(t *testing.T, s *store.Vault, raw *storetest.Raw)) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		f(t, storetest.Open(t, dsn).Vault(), storetest.OpenRaw(t, dsn))
	})
}

func want(t *testing.T, what string, err error, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: %v, want %v", what, err, kind)
	}
}

func TestDomainKeysAreRotatedOneAfterTheOther(t *testing.T) {
	eachVault(t, func(t *testing.T, s *store.Vault, _ *storetest.Raw) {
		ctx := t.Context()
		want(t, "init", s.AddDomainKeys(ctx, []vault.DomainKey{domainKey(vault.Tokens, 1), domainKey(vault.System, 1)}), nil)
		second := domainKey(vault.Tokens, 2)
		second.Created = day.Add(time.Hour)
		want(t, "rotating", s.RotateDomainKey(ctx, second), nil)
		want(t, "the same version again", s.RotateDomainKey(ctx, second), gatehouse.ErrConflict)
		want(t, "a version left out", s.RotateDomainKey(ctx, domainKey(vault.Tokens, 4)), gatehouse.ErrConflict)
		keys, err := s.DomainKeys(ctx)
		one := domainKey(vault.Tokens, 1)
		one.State, one.Changed = vault.DecryptOnly, second.Created
		if diff := cmp.Diff([]vault.DomainKey{domainKey(vault.System, 1), one, second}, keys); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		// Many at once: one is the next version.
		var wins, conflicts int
		var mu sync.Mutex
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				err := s.RotateDomainKey(ctx, domainKey(vault.System, 2))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					wins++
				case errors.Is(err, gatehouse.ErrConflict):
					conflicts++
				default:
					t.Errorf("rotating at once: %v", err)
				}
			})
		}
		group.Wait()
		if wins != 1 || conflicts != 7 {
			t.Errorf("of eight rotations at once %d won and %d were told so", wins, conflicts)
		}
	})
}

func TestDomainKeysAreChangedIfTheyAreAsSeen(t *testing.T) {
	eachVault(t, func(t *testing.T, s *store.Vault, _ *storetest.Raw) {
		ctx := t.Context()
		from := domainKey(vault.Tokens, 1)
		want(t, "init", s.AddDomainKeys(ctx, []vault.DomainKey{from, domainKey(vault.Tokens, 2)}), nil)
		to := from
		to.State, to.Root, to.Wrapped, to.Changed, to.DestroyAt = vault.Scheduled, "file-2", []byte{9}, day, day.Add(time.Hour)
		for name, spoil := range map[string]func(*vault.DomainKey){
			"state": func(k *vault.DomainKey) { k.State = vault.Disabled }, "root": func(k *vault.DomainKey) { k.Root = "x" },
			"material": func(k *vault.DomainKey) { k.Wrapped = []byte{0} }, "version": func(k *vault.DomainKey) { k.Version = 7 },
		} {
			other := from
			spoil(&other)
			want(t, "another "+name, s.ChangeDomainKey(ctx, other, to), gatehouse.ErrConflict)
		}
		want(t, "as seen", s.ChangeDomainKey(ctx, from, to), nil)
		want(t, "twice", s.ChangeDomainKey(ctx, from, to), gatehouse.ErrConflict)
		want(t, "used", s.MarkDomainKeyUsed(ctx, vault.Tokens, 1, day.Add(2*time.Hour)), nil)
		want(t, "used earlier", s.MarkDomainKeyUsed(ctx, vault.Tokens, 1, day), nil)
		to.Used = day.Add(2 * time.Hour)
		keys, err := s.DomainKeys(ctx)
		if diff := cmp.Diff([]vault.DomainKey{to, domainKey(vault.Tokens, 2)}, keys); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		gone := to
		gone.State, gone.Wrapped = vault.Destroyed, nil
		want(t, "destroying", s.ChangeDomainKey(ctx, to, gone), nil)
		if keys, _ := s.DomainKeys(ctx); len(keys[0].Wrapped) != 0 {
			t.Error("a destroyed key keeps its material")
		}
	})
}

func TestWhatADomainKeyIsNeededFor(t *testing.T) {
	eachVault(t, func(t *testing.T, s *store.Vault, raw *storetest.Raw) {
		ctx := t.Context()
		under := func(version uint32) []byte { return append(vault.RecordHeader(version), "rest"...) }
		want(t, "person", s.AddPersonKey(ctx, vault.PersonKey{Person: "ada", Version: 1, State: vault.Active, DomainVersion: 2, Wrapped: []byte("w"), Created: day}), nil)
		want(t, "daily", s.AddDailyKey(ctx, vault.DailyKey{Version: 1, DomainVersion: 2, Wrapped: []byte("d"), Created: day}), nil)
		want(t, "system", s.PutSystemRecord(ctx, vault.SystemRecord{Name: "log-key", Sealed: under(2), Updated: day}), nil)
		raw.Exec("INSERT INTO audit_entries (seq, id, leaf, leaf_hash, personal) VALUES (0, 'a', $1, $1, $1), (1, 'b', $2, $2, $2)", under(2), under(1))
		raw.Exec(`INSERT INTO connect_imports (fingerprint, app, state, access, refresh, access_expires, connection, lease_until, created, version)
			VALUES ('f', '', 'begun', $1, NULL, 0, '', 0, 0, 1)`, under(2))
		raw.Exec(`INSERT INTO outbox_events (id, type, app, person, stream, data, state, created, since, due, attempts, class, updated, version)
			SELECT 'e', 'x', '', '', '', $1, 'waiting', 0, 0, 0, 0, '', 0, 1`, under(2))
		for domain, expected := range map[vault.Domain]string{
			vault.Personal: "[{keys of people 1} {daily keys of the keyring 1} {entries of the audit log 1}]",
			vault.Tokens:   "[{imports under way 1} {events for the app 1}]", vault.System: "[{system secrets 1}]", vault.Derive: "[]",
		} {
			if uses, err := s.DomainKeyUses(ctx, domain, 2); err != nil || fmt.Sprint(uses) != expected {
				t.Errorf("%s@2 is needed by %v, %v; want %s", domain, uses, err, expected)
			}
			if uses, err := s.DomainKeyUses(ctx, domain, 3); err != nil || len(uses) != 0 {
				t.Errorf("%s@3 is needed by %v, %v; want nothing", domain, uses, err)
			}
		}
	})
}

// ringed is a store with a daily key and two keyring keys, each with a person.
func ringed(t *testing.T, s *store.Vault) (one, two vault.KeyringKey) {
	t.Helper()
	ctx := t.Context()
	want(t, "daily", s.AddDailyKey(ctx, vault.DailyKey{Version: 1, State: vault.Active, DomainVersion: 1, Wrapped: []byte("d"), Created: day}), nil)
	one = vault.KeyringKey{ID: 11, Bucket: 1, State: vault.Active, Daily: 1, Wrapped: []byte("k1"), Created: day}
	two = vault.KeyringKey{ID: 22, Bucket: 2, State: vault.Active, Daily: 1, Wrapped: []byte("k2"), Created: day.Add(time.Hour)}
	want(t, "one", s.AddKeyringKey(ctx, one, 0), nil)
	want(t, "two", s.AddKeyringKey(ctx, two, 0), nil)
	for person, keyring := range map[gatehouse.PersonID]vault.KeyringID{"ada": 11, "bob": 22} {
		want(t, "person", s.AddPersonKey(ctx, vault.PersonKey{Person: person, Version: 1, State: vault.Active, Keyring: keyring, Wrapped: []byte(person), Created: day}), nil)
	}
	return one, two
}

func TestKeyringKeysReplaceOneAnother(t *testing.T) {
	eachVault(t, func(t *testing.T, s *store.Vault, _ *storetest.Raw) {
		ctx := t.Context()
		one, _ := ringed(t, s)
		next := one
		next.ID, next.Wrapped = 33, []byte("k3")
		want(t, "a second active key of a bucket", s.AddKeyringKey(ctx, next, 0), gatehouse.ErrConflict)
		undated := next
		undated.Daily, undated.Bucket = 7, 7
		want(t, "under a daily key that is not active", s.AddKeyringKey(ctx, undated, 0), gatehouse.ErrConflict)
		want(t, "in its place", s.AddKeyringKey(ctx, next, one.ID), nil)
		again := next
		again.ID = 44
		want(t, "in the place of what was replaced", s.AddKeyringKey(ctx, again, one.ID), gatehouse.ErrConflict)
		if got, err := s.KeyringKeyOf(ctx, 1); err != nil || got.ID != 33 {
			t.Errorf("active key of the bucket = %d, %v; want 33", got.ID, err)
		}
		_, err := s.KeyringKeyOf(ctx, 9)
		want(t, "an empty bucket", err, gatehouse.ErrNotFound)
		one.State = vault.DecryptOnly
		if got, err := s.KeyringKey(ctx, one.ID); err != nil || cmp.Diff(one, got) != "" {
			t.Errorf("the replaced key = %+v, %v", got, err)
		}
		late := vault.PersonKey{Person: "eve", Version: 1, State: vault.Active, Keyring: one.ID, Wrapped: []byte("e"), Created: day}
		want(t, "a person under a replaced key", s.AddPersonKey(ctx, late), gatehouse.ErrConflict)
		late.Keyring = 33
		want(t, "the near miss", s.AddPersonKey(ctx, late), nil)
		want(t, "ending a key that wraps somebody's", s.EndKeyringKey(ctx, one.ID), gatehouse.ErrConflict)
		from, err := s.PersonKeysUnder(ctx, one.ID, 0, 10)
		if err != nil || len(from) != 1 {
			t.Fatalf("under the replaced key: %v, %v", from, err)
		}
		to := []vault.PersonKey{from[0]}
		to[0].Keyring, to[0].Wrapped = one.ID, []byte("moved")
		_, err = s.RewrapPersonKeys(ctx, from, to)
		want(t, "under a replaced key", err, gatehouse.ErrConflict)
		to[0].Keyring = 33
		for i, expected := range []int{1, 0} { // the second time nothing is as it was seen
			if n, err := s.RewrapPersonKeys(ctx, from, to); n != expected || err != nil {
				t.Errorf("rewrapping, time %d: %d, %v; want %d", i+1, n, err, expected)
			}
		}
		for range 2 {
			want(t, "ending it", s.EndKeyringKey(ctx, one.ID), nil)
		}
		want(t, "ending an active one", s.EndKeyringKey(ctx, 33), gatehouse.ErrConflict)
		_, err = s.KeyringKey(ctx, one.ID)
		want(t, "the ended key", err, gatehouse.ErrNotFound)
		if got, err := s.PersonKey(ctx, "ada", 1); err != nil || got.Keyring != 33 || string(got.Wrapped) != "moved" {
			t.Errorf("the moved key = %+v, %v", got, err)
		}
	})
}

func TestErasureMarksTheKeyring(t *testing.T) {
	eachVault(t, func(t *testing.T, s *store.Vault, _ *storetest.Raw) {
		ctx := t.Context()
		one, two := ringed(t, s)
		at := day.Add(2 * time.Hour)
		for i := range 2 { // the first time counts
			want(t, "erasing", s.DestroyPersonKeys(ctx, "ada", at.Add(time.Duration(i)*time.Hour)), nil)
		}
		sum, err := s.KeyringSummary(ctx)
		if diff := cmp.Diff(vault.KeyringSummary{Keys: 2, Dirty: 1, Erased: at, Oldest: day}, sum); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		want(t, "next daily key", s.AddDailyKey(ctx, vault.DailyKey{Version: 2, DomainVersion: 1, InFile: true, Created: at}), nil)
		from := []vault.KeyringKey{one, two} // somebody was erased from the first
		to := append([]vault.KeyringKey(nil), from...)
		for i := range to {
			to[i].Daily, to[i].Wrapped = 2, []byte("again")
		}
		for i, expected := range []int{1, 0} { // the second time nothing is as it was seen
			if n, err := s.RewrapKeyringKeys(ctx, from, to); n != expected || err != nil {
				t.Errorf("rewrapping, time %d: %d, %v; want %d", i+1, n, err, expected)
			}
		}
		_, err = s.RewrapKeyringKeys(ctx, to[1:], from[1:])
		want(t, "back under a daily key that is not active", err, gatehouse.ErrConflict)
		under, err := s.KeyringKeysUnder(ctx, 1, 0, 10)
		if err != nil || len(under) != 1 || under[0].ID != one.ID || !under[0].Erased.Equal(at) {
			t.Errorf("under the old daily key: %+v, %v", under, err)
		}
		if under, err = s.KeyringKeysUnder(ctx, 1, one.ID, 10); err != nil || len(under) != 0 {
			t.Errorf("after the last: %+v, %v", under, err)
		}
		want(t, "marking all", s.MarkKeyringErased(ctx, at.Add(time.Hour)), nil)
		if sum, err = s.KeyringSummary(ctx); err != nil || sum.Dirty != 2 || !sum.Erased.Equal(at) {
			t.Errorf("after marking all: %+v, %v", sum, err)
		}
	})
}

func TestDailyKeysFollowOneAnother(t *testing.T) {
	eachVault(t, func(t *testing.T, s *store.Vault, _ *storetest.Raw) {
		ctx := t.Context()
		one, _ := ringed(t, s)
		want(t, "ending the active one", s.EndDailyKey(ctx, 1, day), gatehouse.ErrConflict)
		want(t, "a version left out", s.AddDailyKey(ctx, vault.DailyKey{Version: 3, Created: day}), gatehouse.ErrConflict)
		want(t, "the next", s.AddDailyKey(ctx, vault.DailyKey{Version: 2, DomainVersion: 1, InFile: true, Created: day}), nil)
		want(t, "a third while the first is in use", s.AddDailyKey(ctx, vault.DailyKey{Version: 3, Created: day}), gatehouse.ErrConflict)
		want(t, "ending one that wraps", s.EndDailyKey(ctx, 1, day), gatehouse.ErrConflict)
		next := one
		for i, old := range []vault.KeyringID{11, 22} {
			next.ID, next.Bucket, next.Daily = vault.KeyringID(100+i), i+1, 2
			want(t, "replacing", s.AddKeyringKey(ctx, next, old), nil)
			from, err := s.PersonKeysUnder(ctx, old, 0, 10)
			want(t, "reading", err, nil)
			to := append([]vault.PersonKey(nil), from...)
			to[0].Keyring = next.ID
			_, err = s.RewrapPersonKeys(ctx, from, to)
			want(t, "rewrapping", err, nil)
			want(t, "ending", s.EndKeyringKey(ctx, old), nil)
		}
		at := day.Add(time.Hour)
		want(t, "ending the old one", s.EndDailyKey(ctx, 1, at), nil)
		want(t, "twice", s.EndDailyKey(ctx, 1, at), gatehouse.ErrConflict)
		got, err := s.DailyKeys(ctx)
		wanted := []vault.DailyKey{
			{Version: 1, State: vault.Destroyed, DomainVersion: 1, Wrapped: []byte{}, Created: day, Destroyed: at},
			{Version: 2, State: vault.Active, DomainVersion: 1, InFile: true, Wrapped: []byte{}, Created: day},
		}
		if diff := cmp.Diff(wanted, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		want(t, "compacting", s.Compact(ctx), nil)
	})
}

func TestPeopleDirectlyUnderADomainKey(t *testing.T) {
	eachVault(t, func(t *testing.T, s *store.Vault, _ *storetest.Raw) {
		ctx := t.Context()
		ringed(t, s)
		for i, person := range []gatehouse.PersonID{"p1", "p2", "p3"} {
			want(t, "adding", s.AddPersonKey(ctx, vault.PersonKey{Person: person, Version: 1, State: vault.Active, DomainVersion: uint32(i/2 + 1), Wrapped: []byte("w"), Created: day}), nil)
		}
		want(t, "erasing", s.DestroyPersonKeys(ctx, "p1", day), nil)
		for version, expected := range map[uint32]int{1: 1, 2: 1, 3: 0} {
			if keys, err := s.PersonKeysUnder(ctx, 0, version, 10); err != nil || len(keys) != expected {
				t.Errorf("under version %d: %d, %v; want %d", version, len(keys), err, expected)
			}
		}
		if keys, err := s.PersonKeysUnder(ctx, 22, 0, 10); err != nil || len(keys) != 1 || keys[0].Person != "bob" {
			t.Errorf("under the keyring: %v, %v; want bob", keys, err)
		}
	})
}

func TestSystemRecordsAreSealedAnewIfUnchanged(t *testing.T) {
	eachVault(t, func(t *testing.T, s *store.Vault, _ *storetest.Raw) {
		ctx := t.Context()
		from := vault.SystemRecord{Name: "log-key", Sealed: []byte("a"), Updated: day}
		want(t, "putting", s.PutSystemRecord(ctx, from), nil)
		to := from
		to.Sealed = []byte("b")
		want(t, "resealing", s.ResealSystemRecord(ctx, from, to), nil)
		want(t, "what has changed", s.ResealSystemRecord(ctx, from, to), gatehouse.ErrConflict)
		if got, err := s.SystemRecords(ctx); err != nil || cmp.Diff([]vault.SystemRecord{to}, got) != "" {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestSystemRecordsAreSwapped(t *testing.T) {
	eachVault(t, func(t *testing.T, s *store.Vault, _ *storetest.Raw) {
		ctx := t.Context()
		a := vault.SystemRecord{Name: "ca", Sealed: []byte("a"), Updated: day}
		b := vault.SystemRecord{Name: "ca", Sealed: []byte("b"), Updated: day.Add(time.Hour)}
		want(t, "what is not there", s.SwapSystemRecord(ctx, []byte("a"), a), gatehouse.ErrConflict)
		want(t, "the first", s.SwapSystemRecord(ctx, nil, a), nil)
		want(t, "a second first", s.SwapSystemRecord(ctx, nil, b), gatehouse.ErrConflict)
		want(t, "the next", s.SwapSystemRecord(ctx, []byte("a"), b), nil)
		want(t, "somebody late", s.SwapSystemRecord(ctx, []byte("a"), a), gatehouse.ErrConflict)
		if got, err := s.SystemRecords(ctx); err != nil || cmp.Diff([]vault.SystemRecord{b}, got) != "" {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestKeysThatOthersKeepAreSeen(t *testing.T) {
	eachVault(t, func(t *testing.T, s *store.Vault, _ *storetest.Raw) {
		ctx := t.Context()
		see := func(fingerprint string, at time.Time) {
			t.Helper()
			want(t, "seeing", s.SeeKeys(ctx, []vault.SeenKey{{Name: "app/x/client-secret", Fingerprint: fingerprint, Since: at}}), nil)
		}
		for _, c := range []struct {
			fingerprint string
			at, since   time.Time
		}{{"a", day, day}, {"a", day.Add(time.Hour), day}, {"b", day.Add(2 * time.Hour), day.Add(2 * time.Hour)}} {
			see(c.fingerprint, c.at)
			if got, err := s.SeenKeys(ctx); err != nil || len(got) != 1 || !got[0].Since.Equal(c.since) {
				t.Errorf("%+v, %v; want it since %s", got, err, c.since)
			}
		}
	})
}

func TestLeaseHasOneOwner(t *testing.T) {
	eachVault(t, func(t *testing.T, s *store.Vault, _ *storetest.Raw) {
		for _, c := range []struct {
			owner      string
			now, until time.Duration
			ours       bool
		}{
			{"a", 0, time.Minute, true}, {"b", 0, time.Minute, false}, {"a", 0, 2 * time.Minute, true}, {"b", time.Minute, 3 * time.Minute, false},
			{"b", 2 * time.Minute, 3 * time.Minute, true}, {"b", 2 * time.Minute, 2 * time.Minute, true}, {"a", 2 * time.Minute, 3 * time.Minute, true},
		} {
			if ours, err := s.Lease(t.Context(), "keys", c.owner, day.Add(c.now), day.Add(c.until)); err != nil || ours != c.ours {
				t.Errorf("%+v: %t, %v", c, ours, err)
			}
		}
		if ours, err := s.Lease(t.Context(), "another", "z", day, day.Add(time.Minute)); err != nil || !ours {
			t.Errorf("another lease: %t, %v", ours, err)
		}
	})
}

func TestServiceKeysEnd(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		s := withService(t, dsn)
		services, err := s.Services(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		record := serviceKeyRecord("k1", services[0])
		want(t, "adding", s.AddServiceKey(t.Context(), record), nil)
		for _, c := range []struct{ at, expected time.Duration }{{2 * time.Hour, 2 * time.Hour}, {3 * time.Hour, 2 * time.Hour}, {time.Hour, time.Hour}} {
			want(t, "ending", s.ExpireServiceKey(t.Context(), "k1", day.Add(c.at)), nil)
			if got, err := s.ServiceKey(t.Context(), "k1"); err != nil || !got.Key.Expires.Equal(day.Add(c.expected)) {
				t.Errorf("ends %s, %v; want %s later", got.Key.Expires, err, c.expected)
			}
		}
		want(t, "one that is not there", s.ExpireServiceKey(t.Context(), "k2", day), gatehouse.ErrNotFound)
	})
}

func serviceKeyRecord(id identity.ServiceKeyID, service identity.ServiceRecord) identity.ServiceKeyRecord {
	return identity.ServiceKeyRecord{Key: identity.ServiceKey{ID: id, Service: service.Service.Name, Created: day}, Service: service}
}
