package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
)

func TestEnvironmentIsSaidOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		d := storetest.Open(t, dsn)
		if _, err := d.Environment(t.Context()); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("a new database's environment: %v, want not found", err)
		}
		for range 2 {
			if err := d.SetEnvironment(t.Context(), "production"); err != nil {
				t.Fatal(err)
			}
		}
		err := d.SetEnvironment(t.Context(), "staging")
		if !errors.Is(err, gatehouse.ErrConflict) || !strings.Contains(err.Error(), `"production", not "staging"`) {
			t.Errorf("another environment: %v, want a conflict that names both", err)
		}
		if env, err := d.Environment(t.Context()); env != "production" || err != nil {
			t.Errorf("Environment() = %q, %v", env, err)
		}
	})
}

func TestCreateRefusesWhatIsThere(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		d := storetest.Open(t, dsn)
		if err := d.SetEnvironment(t.Context(), "production"); err != nil {
			t.Fatal(err)
		}
		if err := store.Create(t.Context(), dsn); !errors.Is(err, gatehouse.ErrConflict) {
			t.Errorf("creating it again: %v, want a conflict", err)
		}
		if env, err := d.Environment(t.Context()); env != "production" || err != nil {
			t.Errorf("after the refusal: %q, %v; nothing may have changed", env, err)
		}
	})
}

// Create was interrupted after it had made the file: it can be called again.
// What is no such left-over is refused and stays.
func TestCreateAfterAnInterruption(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := store.Create(t.Context(), "sqlite:"+path); err != nil {
		t.Fatalf("over an empty file: %v", err)
	}
	if d, err := store.Open(t.Context(), "sqlite:"+path); err != nil {
		t.Error(err)
	} else if err := d.Close(); err != nil {
		t.Error(err)
	}

	others := filepath.Join(t.TempDir(), "others.db")
	if err := os.WriteFile(others, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	storetest.OpenRaw(t, "sqlite:"+others).ExecUncounted("CREATE TABLE notes (text TEXT)")
	public := filepath.Join(t.TempDir(), "public.db")
	if err := os.WriteFile(public, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{others, public} {
		if err := store.Create(t.Context(), "sqlite:"+path); !errors.Is(err, gatehouse.ErrConflict) {
			t.Errorf("over %s: %v, want a conflict", filepath.Base(path), err)
		}
		if _, err := store.Open(t.Context(), "sqlite:"+path); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("afterwards %s: %v, want no schema in it", filepath.Base(path), err)
		}
	}
}

func TestMistypedPathCreatesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "gatehoose.db")
	if _, err := store.Open(t.Context(), "sqlite:"+path); !errors.Is(err, gatehouse.ErrNotFound) || !strings.Contains(err.Error(), path) {
		t.Errorf("opening a path that does not exist: %v, want not found with the path", err)
	}
	if files, err := os.ReadDir(dir); len(files) != 0 || err != nil {
		t.Errorf("the directory now holds %v (%v)", files, err)
	}
}

func TestCreatedFileIsPrivate(t *testing.T) {
	path := strings.TrimPrefix(storetest.SQLite(t), "sqlite:")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("mode = %v, want 0600", mode)
	}
}

func TestDatabaseWithoutSchemaIsRefusedAndLeftAlone(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.db")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dsn := range []string{"sqlite:" + empty, storetest.EmptyPostgres(t)} {
		for range 2 { // The second time finds what the first might have made.
			if _, err := store.Open(t.Context(), dsn); !errors.Is(err, gatehouse.ErrNotFound) {
				t.Errorf("opening a database without a schema: %v, want not found", err)
			}
		}
	}
}

func TestNewerSchema(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		latest := store.LatestSchema(t, dsn)
		raw := storetest.OpenRaw(t, dsn)
		raw.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES ($1, $2)", latest+1, true)
		d, err := store.Open(t.Context(), dsn)
		if err != nil {
			t.Fatalf("the next version's schema: %v, want it to open", err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		raw.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES ($1, $2)", latest+2, true)
		_, err = store.Open(t.Context(), dsn)
		if !errors.Is(err, gatehouse.ErrConflict) || !strings.Contains(err.Error(), "use a newer program") {
			t.Errorf("the schema of the version after the next: %v, want a refusal that says what to do", err)
		}
	})
}

func TestAddressOfNoEngine(t *testing.T) {
	for _, dsn := range []string{"", "gatehouse.db", "mysql://u:hunter2@h/d", "postgres://u:hunter2@h:port/d"} {
		_, err := store.Open(t.Context(), dsn)
		if !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("Open(%q): %v, want invalid", dsn, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Open(%q) repeats the password: %v", dsn, err)
		}
	}
}
