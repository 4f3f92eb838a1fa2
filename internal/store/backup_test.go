package store_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/backup"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
)

// The contract of backup.LedgerStore.
func TestLedgerStore(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		b := storetest.Open(t, dsn).Backup()
		if head, err := b.LedgerHead(t.Context()); err != nil || head != (backup.Line{}) {
			t.Fatalf("an empty ledger's head: %v, %v", head, err)
		}
		at := time.Now().UTC().Truncate(time.Microsecond)
		var lines []backup.Line
		for i := range 3 {
			line := backup.Line{Seq: int64(i + 1), At: at, Person: gatehouse.PersonID('A' + rune(i)), Text: strings.Repeat("x", i+1)}
			if err := b.AddLine(t.Context(), line); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, line)
		}
		for name, line := range map[string]backup.Line{
			"a number twice": {Seq: 3, At: at, Person: "Z", Text: "x"}, "a person twice": {Seq: 4, At: at, Person: "A", Text: "x"},
		} {
			if err := b.AddLine(t.Context(), line); !errors.Is(err, gatehouse.ErrConflict) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if head, err := b.LedgerHead(t.Context()); err != nil || head != lines[2] {
			t.Errorf("the head: %v, %v", head, err)
		}
		if line, err := b.LedgerOf(t.Context(), "B"); err != nil || line != lines[1] {
			t.Errorf("B's line: %v, %v", line, err)
		}
		if _, err := b.LedgerOf(t.Context(), "Z"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("nobody's line: %v", err)
		}
		if got, err := b.LedgerAfter(t.Context(), 1, 10); err != nil || !slices.Equal(got, lines[1:]) {
			t.Errorf("after 1: %v, %v", got, err)
		}
		if got, err := b.LedgerAfter(t.Context(), 0, 1); err != nil || !slices.Equal(got, lines[:1]) {
			t.Errorf("one after 0: %v, %v", got, err)
		}
	})
}

// The contract of backup.WorkStore.
func TestBackupWork(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		d := storetest.Open(t, dsn)
		b := d.Backup()
		now := time.Now()
		claim := func(at time.Time, want bool) {
			t.Helper()
			got, err := b.ClaimBackup(t.Context(), at, at.Add(-time.Hour), at.Add(time.Minute))
			if err != nil || got != want {
				t.Errorf("claiming: %t, %v; want %t", got, err, want)
			}
		}
		claim(now, true)
		claim(now.Add(59*time.Second), false)
		claim(now.Add(61*time.Second), true) // its owner died
		if err := b.ExtendBackup(t.Context(), now.Add(10*time.Minute)); err != nil {
			t.Fatal(err)
		}
		claim(now.Add(9*time.Minute), false)
		if err := b.EndBackup(t.Context(), time.Time{}); err != nil { // it failed
			t.Fatal(err)
		}
		claim(now.Add(9*time.Minute), true)
		if err := b.EndBackup(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		if last, err := b.LastBackup(t.Context()); err != nil || !last.Equal(now.Truncate(time.Microsecond)) {
			t.Errorf("the last one: %v, %v; want %v", last, err, now)
		}
		claim(now.Add(59*time.Minute), false)
		claim(now.Add(61*time.Minute), true)
	})
}

// What is no empty database is not restored into, and stays.
func TestRestoringRefusesWhatIsThere(t *testing.T) {
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.T) {
			fresh := func() string {
				if engine == "postgres" {
					return storetest.EmptyPostgres(t)
				}
				return "sqlite:" + filepath.Join(t.TempDir(), "a.db")
			}
			schema := func(dsn string) int64 {
				d := storetest.Open(t, dsn)
				if err := d.SetEnvironment(t.Context(), "production"); err != nil {
					t.Fatal(err)
				}
				var s backup.State
				err := d.Backup().Snapshot(t.Context(), func(m backup.Snapshot) (err error) {
					s, err = m.State(t.Context())
					if errors.Is(err, gatehouse.ErrNotFound) {
						return nil // no log yet
					}
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				return s.Schema
			}
			used := storetest.SQLite(t)
			if engine == "postgres" {
				used = storetest.Postgres(t)
			}
			newest := schema(used)
			if _, err := store.Restoring(t.Context(), used, newest); !errors.Is(err, gatehouse.ErrConflict) {
				t.Errorf("into a database in use: %v", err)
			}
			if _, err := store.Restoring(t.Context(), fresh(), newest+1); !errors.Is(err, gatehouse.ErrConflict) || !strings.Contains(err.Error(), "newer") {
				t.Errorf("a schema that is not known: %v", err)
			}
			others := fresh()
			if engine == "postgres" {
				storetest.OpenRaw(t, others).Exec("CREATE TABLE notes (text TEXT)")
				if _, err := store.Restoring(t.Context(), others, newest); !errors.Is(err, gatehouse.ErrConflict) {
					t.Errorf("into somebody else's: %v", err)
				}
			}
			// An older backup's schema is made first, then brought up to date; when that
			// is interrupted there is no way back, which is said.
			target := fresh()
			d, err := store.Restoring(t.Context(), target, newest-1)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := store.Open(t.Context(), target); !errors.Is(err, gatehouse.ErrConflict) {
				t.Errorf("opening it: %v", err)
			}
			if err := d.Backup().Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := store.Restoring(t.Context(), target, newest-1); !errors.Is(err, gatehouse.ErrConflict) || !strings.Contains(err.Error(), "start over") {
				t.Errorf("after it was brought up to date: %v", err)
			}
			if _, err := store.Open(t.Context(), target); !errors.Is(err, gatehouse.ErrConflict) {
				t.Errorf("opening it: %v", err)
			}
			again, err := store.Restoring(t.Context(), target, newest)
			if err != nil {
				t.Fatalf("again, of the same schema: %v", err)
			}
			if err := errors.Join(again.Backup().Finish(t.Context()), again.Close(), d.Close()); err != nil {
				t.Fatal(err)
			}
			storetest.Open(t, target)
		})
	}
}

func column(name, kind string) backup.Column { return backup.Column{Name: name, Kind: kind} }

// A load is all or nothing: rows whose references lead nowhere, and tables and
// columns that are not the schema's, leave what was there.
func TestLoadIsAllOrNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		d := storetest.Open(t, dsn)
		b := d.Backup()
		source := backup.Table{Name: "service_sources", Columns: []backup.Column{column("service", backup.Text), column("source", backup.Text), column("created", backup.Int)}}
		services := backup.Table{Name: "services", Columns: []backup.Column{
			column("disabled", backup.Int), column("id", backup.Text), column("name", backup.Text), column("environment", backup.Text), column("created", backup.Int),
		}}
		// Every backup has this row, which SQLite's transactions count in.
		changes := backup.Table{Name: "changes", Columns: []backup.Column{column("id", backup.Int), column("n", backup.Int)}}
		load := func(f func(backup.Loading) error) error { return b.Load(t.Context(), f) }
		count := func(want int64) {
			t.Helper()
			_, rows := storetest.OpenRaw(t, dsn).Query("SELECT count(*) FROM services")
			if rows[0][0] != want {
				t.Errorf("%v services, want %d", rows[0][0], want)
			}
		}
		err := load(func(l backup.Loading) error {
			// The reference first, the columns in another order than the schema's.
			return errors.Join(l.Insert(t.Context(), changes, []any{int64(1), int64(7)}), l.Insert(t.Context(), source, []any{"s", "10.0.0.1", int64(1)}),
				l.Insert(t.Context(), services, []any{int64(0), "s", "web", "production", int64(1)}))
		})
		if err != nil {
			t.Fatal(err)
		}
		count(1)
		wrong := services
		wrong.Columns = append(slices.Clone(services.Columns), backup.Column{Name: `id") VALUES ('x'); --`, Kind: backup.Text})
		for name, f := range map[string]func(backup.Loading) error{
			"a reference to nobody": func(l backup.Loading) error {
				return l.Insert(t.Context(), source, []any{"gone", "10.0.0.1", int64(1)})
			},
			"a table of its own": func(l backup.Loading) error {
				return l.Insert(t.Context(), backup.Table{Name: "services; DROP TABLE meta", Columns: services.Columns}, []any{int64(0), "s", "n", "e", int64(1)})
			},
			"a column of its own": func(l backup.Loading) error {
				return l.Insert(t.Context(), wrong, []any{int64(0), "s", "n", "e", int64(1), "x"})
			},
			"an error": func(backup.Loading) error { return errors.New("no") },
		} {
			if err := load(f); err == nil {
				t.Errorf("%s: no error", name)
			}
			count(1)
		}
		// References are checked at once again afterwards.
		raw := storetest.OpenRaw(t, dsn)
		if strings.HasPrefix(dsn, "postgres") {
			if _, rows := raw.Query("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND condeferrable"); rows[0][0] != int64(0) {
				t.Errorf("%v references can still be deferred", rows[0][0])
			}
		}
	})
}
