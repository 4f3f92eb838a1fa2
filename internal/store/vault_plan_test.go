package store

import "testing"

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
