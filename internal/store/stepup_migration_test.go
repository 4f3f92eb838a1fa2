package store

import (
	"path/filepath"
	"testing"

	"gatehouse/internal/identity/stepup"
)

// Whoever has a factor, or was asked for, when people begin to be noted is noted, once,
// without a name and under the newest time.
func TestMigrationNotesStepupPeople(t *testing.T) {
	for engine, dsn := range map[string]func() string{
		"sqlite":   func() string { return sqlitePrefix + filepath.Join(t.TempDir(), "old.db") },
		"postgres": func() string { return testOnlyPostgres(t) },
	} {
		t.Run(engine, func(t *testing.T) {
			d := openAt(t, dsn(), 31)
			for _, f := range []struct {
				id, person, request string
				created             int64
			}{{"f1", "ada", "", 1}, {"f2", "ada", "", 3}, {"f3", "hedy", "open", 4}} {
				const insert statement = `INSERT INTO stepup_factors (id, person, request, method, site, sealed, step, blocked, created, used, version)
				VALUES ($1, $2, $3, 'totp', '', $4, 0, 0, $5, 0, 1)`
				if _, err := d.logExec(t.Context(), insert, f.id, f.person, f.request, []byte{1}, f.created); err != nil {
					t.Fatal(err)
				}
			}
			const insert statement = `INSERT INTO stepup_requests (id, service, person, about, methods, further, max_age, return_to, app_state, stage, browser_hash,
			proved, proved_by, enrolled, is_first, wrong, begun, code_hash, created, expires, version)
			VALUES ('r', 'web', $1, $2, '[]', 0, 0, '', '', 'asked', '', 0, '', '', 0, 0, 0, '', 5, 6, 1)`
			if _, err := d.logExec(t.Context(), insert, "grace", []byte{1}); err != nil {
				t.Fatal(err)
			}
			if err := d.migrateTo(t.Context(), newest); err != nil {
				t.Fatal(err)
			}
			got, err := d.Stepup().Holders(t.Context(), stepup.Place{}, 10, fromMicros(0))
			if err != nil || len(got) != 2 {
				t.Fatalf("noted are %+v, %v", got, err)
			}
			for i, want := range []struct {
				person string
				asked  int64
			}{{"grace", 5}, {"ada", 3}} {
				if string(got[i].Person) != want.person || !got[i].Asked.Equal(fromMicros(want.asked)) || got[i].SubjectSealed != nil {
					t.Errorf("noted is %+v, want %+v", got[i], want)
				}
			}
		})
	}
}
