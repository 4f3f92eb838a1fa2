package store

import "testing"

// A search asks few rows of many, and the index is kept beside every append.
func TestAuditSegmentStatementsUseIndexes(t *testing.T) {
	usesIndexes(t, map[string]statement{
		"at": selectAt, "between": selectBetween, "segments": selectSegments, "parts": selectParts, "indexed": selectIndexed, "indexed of version 1": selectIndexedV1,
		"delete segment": deleteSegment, "delete part": deletePart, "drop": selectDrop, "beyond": deleteBeyond,
	}, "SCAN", "TEMP B-TREE")
}
