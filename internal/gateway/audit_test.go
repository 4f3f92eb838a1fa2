package gateway_test

import (
	"context"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
)

// settled waits until every intent has its outcome, and returns what verifying the log
// gives: a caller may have its reply a moment before the outcome is handed over.
func (r *rig) settled() (report audit.Report) {
	r.t.Helper()
	for until := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		err := r.log.Flush(context.Background())
		if err != nil {
			r.t.Fatalf("flushing the log: %v", err)
		}
		if report, err = audit.Verify(context.Background(), r.db.Audit(), r.verify, audit.VerifyOptions{}); err != nil {
			r.t.Fatalf("verifying the log: %v", err)
		}
		if report.OpenCount == 0 || time.Now().After(until) {
			return report
		}
	}
}

// verifyLog checks the whole log.
func (r *rig) verifyLog() {
	r.t.Helper()
	report := r.settled()
	if !report.OK() || report.OpenCount != 0 {
		r.t.Errorf("the log does not verify: %+v", report)
	}
}

// revokeByText revokes the handle with this bearer form.
func (r *rig) revokeByText(text string) (identity.Handle, error) {
	h, err := r.handles.AuthenticateHandle(r.ctx, secret.New(text))
	if err != nil {
		return h, err
	}
	return h, r.handles.RevokeHandle(r.ctx, h.ID)
}
