package store_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/internal/store/storetest"
)

// TestAtRest is the contract of atrest.Database on both engines.
func TestAtRest(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		d := storetest.Open(t, dsn)
		raw := storetest.OpenRaw(t, dsn)
		kind := "BYTEA"
		if strings.HasPrefix(dsn, "sqlite:") {
			kind = "BLOB"
		}
		// A table of somebody else's, with a name that has to be quoted.
		raw.Exec(`CREATE TABLE "odd ""table; --" (a TEXT, b ` + kind + `, c BIGINT, d TEXT)`)
		raw.Exec(`INSERT INTO "odd ""table; --" (a, b, c, d) VALUES ($1, $2, $3, NULL)`, "text", []byte{0, 1, 0xff}, int64(-5))
		raw.Exec(`INSERT INTO "odd ""table; --" (a, b, c, d) VALUES ('two', NULL, 7, 'x')`)
		if _, err := d.Environment(t.Context()); err == nil {
			t.Fatal("the database has an environment already")
		}
		if err := d.SetEnvironment(t.Context(), "staging"); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		s := d.AtRest()
		if err := s.EachTable(t.Context(), func(table string, read func(io.Writer) error) error {
			var b bytes.Buffer
			err := read(&b)
			got[strings.TrimPrefix(table, "public.")] = b.String()
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if want := "text\x00\x00\x01\xff\x00-5\x00\x00two\x00\x007\x00x\x00"; got[`odd "table; --`] != want {
			t.Errorf("the odd table reads %q, want %q", got[`odd "table; --`], want)
		}
		if want := "environment\x00staging\x00"; got["meta"] != want {
			t.Errorf("meta reads %q, want %q", got["meta"], want)
		}
		for _, table := range []string{"connections", "vault_system", "audit_entries", "records", "outbox_events"} {
			if _, ok := got[table]; !ok {
				t.Errorf("%s is not read: %d tables are", table, len(got))
			}
		}

		stop := errors.New("stop")
		if err := s.EachTable(t.Context(), func(string, func(io.Writer) error) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("an error of visit: %v, want it back", err)
		}

		server, err := s.Server(t.Context())
		if err != nil || !server.Local || server.TLS != "" || server.Engine != strings.Replace(strings.SplitN(dsn, ":", 2)[0], "postgresql", "postgres", 1) {
			t.Errorf("Server: %+v, %v", server, err)
		}
		if server.Engine == "postgres" {
			if _, err := os.Stat(filepath.Join(server.Directory, "PG_VERSION")); err != nil {
				t.Errorf("the server's directory: %v", err)
			}
		}
		if err := s.Settle(t.Context()); err != nil {
			t.Errorf("Settle: %v", err)
		}
	})
}

// A PostgreSQL user without special roles learns no directory, and gets no
// checkpoint; a table that is not theirs is named, and says that it cannot be read.
func TestAtRestForAUserWithoutRoles(t *testing.T) {
	dsn := storetest.Postgres(t)
	raw := storetest.OpenRaw(t, dsn)
	raw.Exec("DROP ROLE IF EXISTS atrest_plain")
	raw.Exec("CREATE ROLE atrest_plain LOGIN")
	raw.Exec("GRANT SELECT ON ALL TABLES IN SCHEMA public TO atrest_plain")
	raw.Exec("REVOKE SELECT ON services FROM atrest_plain")
	s := storetest.Open(t, strings.Replace(dsn, "postgres@", "atrest_plain@", 1)).AtRest()
	server, err := s.Server(t.Context())
	if err != nil || server.Directory != "" || !strings.Contains(server.Why, "pg_read_all_settings") {
		t.Errorf("Server: %+v, %v", server, err)
	}
	if err := s.Settle(t.Context()); err == nil {
		t.Error("a user without roles got a checkpoint")
	}
	failed := map[string]bool{}
	if err := s.EachTable(t.Context(), func(table string, read func(io.Writer) error) error {
		failed[table] = read(io.Discard) != nil
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !failed["public.services"] || failed["public.meta"] {
		t.Errorf("services: failed %v, want true; meta: failed %v, want false", failed["public.services"], failed["public.meta"])
	}
}
