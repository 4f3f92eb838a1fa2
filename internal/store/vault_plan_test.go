package store

import (
	"strings"
	"testing"

	"gatehouse/internal/vault"
)

// What runs for every call, and for every batch of a walk, finds its rows by an
// index, however many people there are.
func TestVaultStatementsUseIndexes(t *testing.T) {
	usesIndexes(t, map[string]statement{
		"person": selectPersonKey, "sealing": selectSealingPersonKey, "under keyring": personKeysUnderKeyring,
		"under domain": personKeysUnderDomain, "count under keyring": countUnderKeyring, "count under domain": countPersonKeysUnder,
		"rewrap": rewrapPersonKey, "destroy": destroyPersonKeys, "mark": markErased, "keyring": selectKeyringKey,
		"keyring of": selectKeyringKeyOf, "keyring under": selectKeyringKeysUnder, "dirty": countDirtyKeyring, "count under daily": countUnderDaily,
	})
}

const (
	manyEntries statement = `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
		INSERT INTO audit_entries (seq, id, leaf, leaf_hash, personal) SELECT i, 'entry' || i, $1, $1, $1 FROM n`
	manyIDs statement = `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
		INSERT INTO compliance_ids (app, kind, hash, sealed, first_at, last_at, expires, told, reason) SELECT 'app' || i, 'user', $1, $1, 0, 0, 0, 0, '' FROM n`
	manyImports statement = `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
		INSERT INTO connect_imports (fingerprint, app, state, access, refresh, access_expires, connection, lease_until, created, version)
		SELECT 'f' || i, '', 'begun', $1, $1, 0, '', 0, 0, 1 FROM n`
	manyEvents statement = `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
		INSERT INTO outbox_events (id, type, app, person, stream, data, state, created, since, due, attempts, class, updated, version)
		SELECT 'e' || i, 'x', '', '', '', $1, 'waiting', 0, 0, 0, 0, '', 0, 1 FROM n`
)

// What needs a version of a key is counted in an index on both engines, where there can
// be as many rows as people, or entries of the log.
func TestUsesOfKeysAreCountedInIndexes(t *testing.T) {
	for engine, open := range map[string]func(*testing.T) *DB{"sqlite": openTemp, "postgres": openTempPostgres} {
		t.Run(engine, func(t *testing.T) {
			d := open(t)
			for _, fill := range []statement{manyEntries, manyIDs, manyImports, manyEvents} {
				if _, err := d.exec(t.Context(), fill, append(vault.RecordHeader(1), "rest of it"...)); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := d.exec(t.Context(), analyze); err != nil {
				t.Fatal(err)
			}
			explain := "EXPLAIN QUERY PLAN "
			if engine == "postgres" {
				explain = "EXPLAIN "
			}
			for s, indexes := range map[statement][]string{
				countEntriesUnder: {"audit_entries_sealed"}, countIDsUnder: {"compliance_ids_sealed"}, countEventsUnder: {"outbox_events_sealed"},
				countImportsUnder: {"connect_imports_access", "connect_imports_refresh"},
			} {
				// Of a version that nothing is under, all rows would have to be read.
				plan := planOf(t, d, explain+string(s), []any{vault.RecordHeader(2), vault.MostCounted})
				for _, index := range indexes {
					if !strings.Contains(plan, index) || strings.Contains(plan, "Seq Scan") {
						t.Errorf("%s is not what counts them:\n%s", index, plan)
					}
				}
			}
			uses, err := d.Vault().DomainKeyUses(t.Context(), vault.Personal, 1)
			if err != nil || len(uses) != 1 || uses[0].Count != vault.MostCounted || uses[0].Text() != "10000 or more entries of the audit log" {
				t.Errorf("the uses are %+v, %v", uses, err)
			}
		})
	}
}
