package store

import "testing"

func TestLineageStatementsUseIndexes(t *testing.T) {
	usesIndexes(t, map[string]statement{
		"person": lineagePersonOf, "edge": lineageEdgeOf, "handle": lineageHandleOf, "put": lineageFlowPut, "count": lineageFlowCount,
		"stale": lineagePrintStale, "known": lineagePrintKnown, "after": lineagePrintsAfter, "forget": lineagePrintsForget,
		"expire": lineagePrintsExpire, "evict": lineagePrintsEvict, "last": lineagePrintsLast, "next": lineagePrintsNext,
		"erase": lineageErase, "expire flows": lineageFlowsExpire, "people": lineagePeopleUpto, "expire people": lineagePeopleExpire,
		"expire sets": lineageSetsExpire, "row": lineagePersonRow, "candidates": lineageCandidatesOf, "sets": lineageSetsOf,
		"to": lineageEdgesTo, "of": lineageEdgesOf, "for": lineageEdgesFor, "way": lineageEdge,
		"reached": lineageReached, "origins": lineageOrigins, "total": lineageTotal, "name": lineageHandleName,
	})
	// A page of these costs what it holds, however many rows there are.
	usesIndexes(t, map[string]statement{
		"owner's": lineageFlowsOfOwner, "edge's": lineageFlowsOfEdge, "handle's": lineageFlowsOfHandle,
	}, "SCAN", "TEMP B-TREE")
}
