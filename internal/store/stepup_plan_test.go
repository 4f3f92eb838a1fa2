package store

import (
	"strings"
	"testing"
)

// No statement about step-ups reads a whole table.
func TestStepupPlans(t *testing.T) {
	d := openTemp(t)
	for name, q := range map[string]struct {
		statement statement
		args      int
	}{
		"request": {stepupSelect, 1}, "update": {stepupUpdate, 14}, "sweep": {stepupSweep, 1}, "keep": {stepupKeep, 2},
		"orphan factors": {stepupOrphanFactors, 0}, "orphan codes": {stepupOrphanCodes, 0},
		"factors": {factorsOf, 1}, "count": {factorsCount, 1}, "use": {factorUse, 5}, "activate": {factorsActivate, 1}, "drop": {factorsDrop, 1},
		"take": {recoveryTake, 2}, "left": {recoveryCount, 1}, "pending": {recoveryPending, 1}, "replace": {recoveryReplace, 1}, "activate codes": {recoveryActivate, 1},
		"browser": {browserSelect, 2}, "keep browsers": {browserKeep, 2}, "guess": {guessTake, 3},
		"reset factors": {stepupResetFactors, 1}, "reset codes": {stepupResetRecovery, 1}, "reset requests": {stepupResetRequests, 1}, "reset browsers": {stepupResetBrowsers, 1},
		"forget": {stepupForget, 1}, "asked": {personAsked, 3}, "holders": {holdersSelect, 4}, "holder": {holderSelect, 2},
		"opens": {opensSelect, 2}, "opens of a person": {opensOfPerson, 3}, "count opens": {opensCount, 2}, "count blocked": {blockedCount, 1},
	} {
		args := make([]any, q.args)
		for i := range args {
			args[i] = 1
		}
		for _, line := range strings.Split(planOf(t, d, "EXPLAIN QUERY PLAN "+string(q.statement), args), "\n") {
			// counted is at most as many rows as are counted.
			if strings.HasPrefix(line, "SCAN") && !strings.Contains(line, "USING") && line != "SCAN counted" {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}
