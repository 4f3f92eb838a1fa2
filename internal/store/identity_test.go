package store_test

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var day = time.UnixMicro(1_700_000_000_000_000).UTC()

// withService returns the identity store of a database with one service.
func withService(t *testing.T, dsn string) *store.Identity {
	t.Helper()
	s := storetest.Open(t, dsn).Identity()
	record := identity.ServiceRecord{Service: identity.Service{ID: "s1", Name: "scheduler", Created: day}, Environment: "production"}
	if err := s.SyncServices(t.Context(), []identity.ServiceRecord{record}, day); err != nil {
		t.Fatal(err)
	}
	return s
}

func handleRecord(id, parent gatehouse.HandleID) identity.HandleRecord {
	return identity.HandleRecord{
		Handle: identity.Handle{
			ID: id, Service: "s1", ServiceName: "scheduler", Connection: "c1", Person: "ada", Purpose: "publish",
			Platform: gatehouse.X, App: "main-x", Parent: parent, Created: day, Expires: day.Add(time.Hour),
		},
		Hash: identity.Hash{1, 2, 3}, Environment: "production",
	}
}

func TestHandlesAreStoredAsTheyAre(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		s := withService(t, dsn)
		parent, child := handleRecord("h1", ""), handleRecord("h2", "h1")
		for _, record := range []identity.HandleRecord{parent, child} {
			if err := s.AddHandle(t.Context(), record); err != nil {
				t.Fatal(err)
			}
			got, err := s.Handle(t.Context(), record.Handle.ID)
			if diff := cmp.Diff(record, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		}
		stranger := handleRecord("h3", "")
		stranger.Handle.Service = "s2"
		for name, record := range map[string]identity.HandleRecord{
			"that exists":          parent,
			"of no service":        stranger,
			"of an unknown parent": handleRecord("h4", "nothing"),
		} {
			if err := s.AddHandle(t.Context(), record); !errors.Is(err, gatehouse.ErrConflict) {
				t.Errorf("a handle %s: %v, want ErrConflict", name, err)
			}
		}
		if _, err := s.Handle(t.Context(), "h3"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("a refused handle: %v, want ErrNotFound", err)
		}
		// First times stay.
		for i := range 2 {
			if err := s.RevokeHandle(t.Context(), "h1", day.Add(time.Duration(i)*time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.Handle(t.Context(), "h2")
		if err != nil || !got.Handle.Revoked.Equal(day) || !got.ParentRevoked {
			t.Errorf("child of the revoked handle = %+v, %v; want it revoked at %s", got, err, day)
		}
		if err := s.AddHandle(t.Context(), handleRecord("h5", "h1")); !errors.Is(err, gatehouse.ErrConflict) {
			t.Errorf("a child of a revoked parent: %v, want ErrConflict", err)
		}
		if n, err := s.RevokeConnection(t.Context(), "c1", day.Add(time.Hour)); err != nil || n != 0 {
			t.Errorf("revoking again by connection: %d, %v; want 0", n, err)
		}
	})
}

// Children are born while their parent is revoked; none may survive.
func TestNoChildOutlivesItsParent(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		s := withService(t, dsn)
		for round := range 5 {
			parent := gatehouse.HandleID(fmt.Sprint("parent", round))
			if err := s.AddHandle(t.Context(), handleRecord(parent, "")); err != nil {
				t.Fatal(err)
			}
			var group sync.WaitGroup
			for i := range 6 {
				group.Go(func() {
					id := gatehouse.HandleID(fmt.Sprint("child", round, "-", i))
					if i == 3 {
						if err := s.RevokeHandle(t.Context(), parent, day); err != nil {
							t.Errorf("RevokeHandle: %v", err)
						}
					} else if err := s.AddHandle(t.Context(), handleRecord(id, parent)); err != nil && !errors.Is(err, gatehouse.ErrConflict) {
						t.Errorf("AddHandle: %v", err)
					}
				})
			}
			group.Wait()
		}
		handles, err := s.Handles(t.Context(), identity.Filter{Ended: true, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		for _, record := range handles {
			if record.Handle.Revoked.IsZero() {
				t.Errorf("handle %s of parent %q is not revoked", record.Handle.ID, record.Handle.Parent)
			}
		}
	})
}

func TestServiceKeysAreStoredAsTheyAre(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		s := withService(t, dsn)
		services, err := s.Services(t.Context())
		if err != nil || len(services) != 1 {
			t.Fatalf("Services = %v, %v; want one", services, err)
		}
		record := identity.ServiceKeyRecord{
			Key: identity.ServiceKey{
				ID: "k1", Service: "scheduler", Purpose: "publish", Created: day, Expires: day.Add(time.Hour), Life: time.Hour,
			}, Hash: identity.Hash{4, 5, 6}, Service: services[0],
		}
		if err := s.AddServiceKey(t.Context(), record); err != nil {
			t.Fatal(err)
		}
		if err := s.AddServiceKey(t.Context(), record); !errors.Is(err, gatehouse.ErrConflict) {
			t.Errorf("a key that exists: %v, want ErrConflict", err)
		}
		got, err := s.ServiceKey(t.Context(), "k1")
		if diff := cmp.Diff(record, got, cmpopts.EquateComparable(netip.Prefix{})); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		for i := range 2 {
			if err := s.RevokeServiceKey(t.Context(), "k1", day.Add(time.Duration(i)*time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
		keys, err := s.ServiceKeys(t.Context(), "scheduler")
		if err != nil || len(keys) != 1 || !keys[0].Key.Revoked.Equal(day) {
			t.Errorf("ServiceKeys = %+v, %v; want one, revoked at %s", keys, err, day)
		}
		if _, err := s.ServiceKey(t.Context(), "nothing"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("an unknown key: %v, want ErrNotFound", err)
		}
	})
}

func TestADamagedHashIsSeen(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		s := withService(t, dsn)
		if err := s.AddHandle(t.Context(), handleRecord("h1", "")); err != nil {
			t.Fatal(err)
		}
		storetest.OpenRaw(t, dsn).Exec("UPDATE handles SET hash = $1", []byte{1, 2})
		if _, err := s.Handle(t.Context(), "h1"); err == nil || gatehouse.Kind(err) != nil {
			t.Errorf("Handle: %v, want an error without a kind", err)
		}
	})
}

func TestNoncesAreKeptUntilTheyExpire(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		s := withService(t, dsn)
		use := identity.NonceUse{Handle: "h1", Nonce: identity.Hash{1}, Expires: day}
		if err := s.UseNonce(t.Context(), use); err != nil {
			t.Fatal(err)
		}
		if err := s.SweepNonces(t.Context(), day); err != nil {
			t.Fatal(err)
		}
		if err := s.UseNonce(t.Context(), use); !errors.Is(err, gatehouse.ErrConflict) {
			t.Errorf("the second use: %v, want ErrConflict", err)
		}
		if err := s.SweepNonces(t.Context(), day.Add(time.Microsecond)); err != nil {
			t.Fatal(err)
		}
		if err := s.UseNonce(t.Context(), use); err != nil {
			t.Errorf("after it was swept: %v", err)
		}
	})
}
