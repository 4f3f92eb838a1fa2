package store_test

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
)

// TestPruneOneOfSeveralLogs: what prunes one log touches no row of another.
func TestPruneOneOfSeveralLogs(t *testing.T) {
	const entries = 600
	for _, pruned := range []int64{0, 1, 2} {
		t.Run(fmt.Sprint("log ", pruned), func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, dsn string) {
				db := storetest.Open(t, dsn)
				register(t, db)
				for number := range int64(3) {
					signer, _ := keys(t)
					log, stop := openLog(t, db.AuditLog(number), signer)
					for i := range entries {
						log.Refusal(call(i))
					}
					stop()
				}
				s, now := db.AuditLog(pruned), time.Now()
				until := now.Add(time.Minute)
				state, err := s.ClaimPruning(t.Context(), "one", now, until)
				if err != nil || state != (audit.Pruning{Since: -1}) {
					t.Fatalf("the claim: %+v, %v", state, err)
				}
				if _, err := s.ClaimPruning(t.Context(), "two", now, until); !errors.Is(err, gatehouse.ErrConflict) {
					t.Errorf("a second claim: %v, want a conflict", err)
				}
				for number := range int64(3) {
					if number == pruned {
						continue
					}
					// Another log is another's to prune.
					if _, err := db.AuditLog(number).ClaimPruning(t.Context(), "two", now, until); err != nil {
						t.Errorf("the claim of log %d: %v", number, err)
					}
					if err := s.MarkPruning(t.Context(), "two", 7, until); !errors.Is(err, gatehouse.ErrConflict) {
						t.Errorf("a mark of whoever claims log %d: %v, want a conflict", number, err)
					}
				}
				if err := s.MarkPruning(t.Context(), "one", 500, until); err != nil {
					t.Fatal(err)
				}
				if err := s.Prune(t.Context(), "two", 0, 256, 550, until); !errors.Is(err, gatehouse.ErrConflict) {
					t.Errorf("pruned without a claim: %v, want a conflict", err)
				}
				if err := s.Prune(t.Context(), "one", 0, 256, 550, until); err != nil {
					t.Fatal(err)
				}
				file := audit.ArchiveFile{Segment: 3, FirstID: "a", LastID: "c", File: fmt.Sprint("of ", pruned)}
				if err := s.NoteArchive(t.Context(), file); err != nil {
					t.Fatal(err)
				}
				if err := s.ReleasePruning(t.Context(), "one"); err != nil {
					t.Fatal(err)
				}
				if state, err = s.ClaimPruning(t.Context(), "two", now, until); err != nil || state != (audit.Pruning{Start: 256, Since: 500}) {
					t.Errorf("claimed by the next one: %+v, %v", state, err)
				}
				for number := range int64(3) {
					want := audit.Pruned{Entry: -1}
					files := 0
					if number == pruned {
						want, files = audit.Pruned{Start: 256, Entry: 550}, 1
					}
					holds(t, db.AuditLog(number), want, entries)
					found, err := db.AuditLog(number).Archives(t.Context(), "b")
					if err != nil || len(found) != files || files == 1 && (found[0].File != file.File || found[0].Segment != 3) {
						t.Errorf("archives of log %d: %+v, %v", number, found, err)
					}
				}
			})
		})
	}
}

// holds fails unless a log holds what is left of its entries.
func holds(t *testing.T, s *store.Audit, want audit.Pruned, entries int64) {
	t.Helper()
	err := s.Snapshot(t.Context(), func(r audit.Reader) error {
		p, err := r.Pruned(t.Context())
		if err != nil {
			return err
		}
		if p.Start != want.Start || p.Entry != want.Entry {
			t.Errorf("%+v, want %+v", p, want)
		}
		all, err := r.Entries(t.Context(), math.MinInt64, 10_000)
		if err != nil {
			return err
		}
		if int64(len(all)) != entries-want.Start || all[0].Seq != want.Start {
			t.Fatalf("%d entries from %d on, want %d from %d on", len(all), all[0].Seq, entries-want.Start, want.Start)
		}
		if want.Entry >= 0 && string(p.Leaf) != string(all[want.Entry-want.Start].Leaf) {
			t.Errorf("the entry that says so is not entry %d of this log", want.Entry)
		}
		tiles, err := r.Tiles(t.Context(), 0, 0, 100)
		if err != nil {
			return err
		}
		if int64(len(tiles)) != (entries-want.Start)/audit.TileWidth || tiles[0].Index != want.Start/audit.TileWidth {
			t.Errorf("%d tiles from %d on", len(tiles), tiles[0].Index)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	found, err := s.Indexed(t.Context(), testOnlyIndex("person", "person-1")[:16], "", math.MaxInt64, 10_000)
	if err != nil || int64(len(found)) != entries-want.Start {
		t.Errorf("%d entries are found, %v", len(found), err)
	}
}
