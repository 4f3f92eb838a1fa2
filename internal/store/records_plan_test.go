package store

import "testing"

// What runs for every request and every sweep finds its rows by an index, however
// many records there are.
func TestRecordStatementsUseIndexes(t *testing.T) {
	usesIndexes(t, map[string]statement{
		"subject": subjectSelect, "forget subject": subjectForget, "record": recordSelect, "created": recordCreated, "replace": recordReplace,
		"list": recordsOfPerson, "delete": recordDelete, "forget": recordsForget, "purpose": recordNextPurpose, "expired": recordsExpired, "aged": recordsAged,
	}, "SCAN", "TEMP B-TREE")
}
