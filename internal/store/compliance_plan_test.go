package store

import "testing"

func TestComplianceStatementsUseIndexes(t *testing.T) {
	usesIndexes(t, map[string]statement{
		"put": complianceIDPut, "after": complianceIDsAfter, "one": complianceIDOf, "expire": complianceExpire,
		"evict": complianceEvict, "count": complianceCount, "oldest": complianceOldest, "forget": complianceForget, "renew": complianceRenew,
		"told": complianceTold, "put finding": complianceFindingPut, "due": complianceFindingsDue, "delay": complianceFindingDelay,
		"delete": complianceFindingDelete, "waiting": complianceFindingCount,
	})
}
