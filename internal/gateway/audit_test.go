package gateway_test

import (
	"context"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
)

// verifyLog checks the whole log.
func (r *rig) verifyLog() {
	r.t.Helper()
	report, err := audit.Verify(context.Background(), r.db.Audit(), r.verify, audit.VerifyOptions{})
	if err != nil {
		r.t.Fatalf("verifying the log: %v", err)
	}
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
