package store_test

import (
	"errors"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"

	"github.com/google/go-cmp/cmp"
)

func TestConnectImports(t *testing.T) {
	eachConnect(t, func(t *testing.T, s connect.Store) {
		ctx := t.Context()
		if _, err := s.ImportOf(ctx, "fp1"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("an unknown import gives %v", err)
		}
		i := connect.ImportRecord{
			Fingerprint: "fp1", App: "main-x", State: connect.ImportRenewing, Access: []byte{1}, Refresh: []byte{2},
			AccessExpires: moment(time.Hour), LeaseUntil: moment(time.Minute), Created: moment(0),
		}
		if err := s.SaveImport(ctx, i); err != nil {
			t.Fatal(err)
		}
		conflict(t, "inserting it again", s.SaveImport(ctx, i))
		i.Version = 1
		if got, err := s.ImportOf(ctx, "fp1"); err != nil || !cmp.Equal(got, i) {
			t.Errorf("read back with %v: %s", err, cmp.Diff(i, got))
		}
		later := i
		later.Fingerprint, later.Version, later.Created = "fp2", 0, moment(time.Second)
		if err := s.SaveImport(ctx, later); err != nil {
			t.Fatal(err)
		}
		if open, err := s.OpenImports(ctx, 10); err != nil || len(open) != 2 || open[0].Fingerprint != "fp1" {
			t.Errorf("open are %v, %v", open, err)
		}

		// The connection and the end of the import are one step.
		done := i
		done.State, done.Connection, done.Access, done.Refresh = connect.ImportDone, "con1", nil, nil
		done.AccessExpires, done.LeaseUntil = time.Time{}, time.Time{}
		stale := done
		stale.Version = 7
		conflict(t, "a lost race", s.SaveImport(ctx, stale, record("con1")))
		if _, err := s.Connection(ctx, "con1"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("the lost race left a connection: %v", err)
		}
		if err := s.SaveImport(ctx, done, record("con1")); err != nil {
			t.Fatal(err)
		}
		done.Version = 2
		if got, err := s.ImportOf(ctx, "fp1"); err != nil || !cmp.Equal(got, done) {
			t.Errorf("read back with %v: %s", err, cmp.Diff(done, got))
		}
		if _, err := s.Connection(ctx, "con1"); err != nil {
			t.Error(err)
		}
		if open, err := s.OpenImports(ctx, 10); err != nil || len(open) != 1 || open[0].Fingerprint != "fp2" {
			t.Errorf("open are %v, %v", open, err)
		}

		later.Version = 9
		if err := s.DropImport(ctx, later); err != nil {
			t.Fatal(err)
		}
		if _, err := s.ImportOf(ctx, "fp2"); err != nil {
			t.Errorf("an import was dropped by somebody who had lost it: %v", err)
		}
		later.Version = 1
		if err := s.DropImport(ctx, later); err != nil {
			t.Fatal(err)
		}
		if _, err := s.ImportOf(ctx, "fp2"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("a dropped import is there: %v", err)
		}
	})
}
