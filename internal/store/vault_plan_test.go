package store

import (
	"fmt"
	"strings"
	"testing"
)

// What runs for every call, and for every batch of a walk, finds its rows by an
// index, however many people there are.
func TestVaultStatementsUseIndexes(t *testing.T) {
	d := openTemp(t)
	for name, s := range map[string]statement{
		"person": selectPersonKey, "sealing": selectSealingPersonKey, "under keyring": personKeysUnderKeyring,
		"under domain": personKeysUnderDomain, "count under keyring": countUnderKeyring, "count under domain": countPersonKeysUnder,
		"rewrap": rewrapPersonKey, "destroy": destroyPersonKeys, "mark": markErased, "keyring": selectKeyringKey,
		"keyring of": selectKeyringKeyOf, "keyring under": selectKeyringKeysUnder, "dirty": countDirtyKeyring, "count under daily": countUnderDaily,
	} {
		args := make([]any, 10)
		for len(args) > 0 && !strings.Contains(string(s), fmt.Sprint("$", len(args))) {
			args = args[1:]
		}
		rows, err := d.query(t.Context(), "EXPLAIN QUERY PLAN "+s, args...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for rows.Next() {
			var id, parent, unused int64
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(detail, "SCAN") && !strings.Contains(detail, "USING") {
				t.Errorf("%s: %s", name, detail)
			}
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
