package store

import "testing"

// A page costs as much in a table of a million as in one of ten: what comes next is
// where the index goes on, nothing is sorted, and no row is read ("USING INDEX" is the plan
// that reads rows; "USING COVERING INDEX" does not).
func TestNewestConnectionsAreInTheOrderOfTheirIndex(t *testing.T) {
	usesIndexes(t, map[string]statement{"newest": connectionsNewest}, "TEMP B-TREE", "USING INDEX")
}
