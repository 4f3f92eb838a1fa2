package store

import (
	"testing"

	"gatehouse/internal/audit"
)

// A search asks few rows of many, and the index is kept beside every append.
func TestAuditSegmentStatementsUseIndexes(t *testing.T) {
	usesIndexes(t, map[string]statement{
		"at": selectAt, "many at": selectManyAt, "between": selectBetween, "segments": selectSegments, "parts": selectParts, "indexed": selectIndexed, "indexed of version 1": selectIndexedV1,
		"delete segment": deleteSegment, "delete parts": deleteParts, "drop": selectDrop, "beyond": deleteBeyond,
	}, "SCAN", "TEMP B-TREE")
}

// A segment that is written anew has the parts that it has now, and no other segment
// loses any.
func TestPartsOfASegmentAreReplaced(t *testing.T) {
	for engine, open := range map[string]func(*testing.T) *DB{"sqlite": openTemp, "postgres": openTempPostgres} {
		t.Run(engine, func(t *testing.T) {
			log := open(t).AuditLog(0)
			put := func(from int64, parts int) {
				t.Helper()
				var all []audit.Part
				for i := range parts {
					all = append(all, audit.Part{From: from, Number: i, Content: []byte("content")})
				}
				if err := log.PutSegment(t.Context(), audit.IndexSegment{From: from, Span: 65536, Version: 1, LastHash: []byte("hash")}, all); err != nil {
					t.Fatal(err)
				}
			}
			// A short segment has one part, a long one these, from 0 on.
			const long = 65
			put(0, long)
			put(65536, long)
			put(0, 1)
			for number := range long {
				parts, err := log.Parts(t.Context(), 65536, number, 1<<30, 10)
				if err != nil {
					t.Fatal(err)
				}
				want := 1
				if number == 0 {
					want = 2
				}
				if len(parts) != want || parts[0].From != 65536 {
					t.Errorf("of part %d there are %d", number, len(parts))
				}
			}
		})
	}
}
