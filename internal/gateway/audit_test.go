package gateway_test

import (
	"context"

	"gatehouse/internal/audit"
)

// verifyLog checks the whole log.
func (r *rig) verifyLog() {
	r.t.Helper()
	report, err := audit.Verify(context.Background(), r.db.Audit(), r.verify, audit.VerifyOptions{})
	if err != nil {
		r.t.Fatalf("verifying the log: %v", err)
	}
	_ = report
}
