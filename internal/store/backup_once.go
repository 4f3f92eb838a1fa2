package store

import "context"

// What is taken once is deleted when it is, and so stands in every backup of before.
const (
	onceSessions  statement = `DELETE FROM operator_sessions`
	onceTokens    statement = `DELETE FROM operator_tokens`
	onceApprovals statement = `UPDATE operator_approvals SET state = 'withdrawn' WHERE state IN ('waiting', 'approved')`
	onceCodes     statement = `DELETE FROM operator_recovery`
	onceAppCodes  statement = `DELETE FROM stepup_recovery`
	onceRequests  statement = `DELETE FROM stepup_requests`
)

// Ended is what a restore has ended, since it may have been used since the backup.
type Ended struct {
	// Sessions are operators', Links are links to enrol and half sign-ins, Approvals those
	// that could still be decided or used.
	Sessions, Links, Approvals int64
	// Codes are recovery codes of operators, AppCodes of the app's users; Stepups are
	// step-ups of these that were asked for.
	Codes, AppCodes, Stepups int64
}

// EndWhatIsOnce ends, in a restored database, all that is good for one use or one
// sitting: what was used since the backup cannot be told from what was not. All other
// factors stay, so that nobody is locked out who has one.
func (b *Backup) EndWhatIsOnce(ctx context.Context) (e Ended, err error) {
	err = b.db.tx(ctx, func(t *tx) error {
		for _, s := range []struct {
			statement statement
			n         *int64
		}{
			{onceSessions, &e.Sessions}, {onceTokens, &e.Links}, {onceApprovals, &e.Approvals}, {onceCodes, &e.Codes},
			{onceAppCodes, &e.AppCodes}, {onceRequests, &e.Stepups},
		} {
			n, err := t.exec(ctx, s.statement)
			if err != nil {
				return err
			}
			*s.n = n
		}
		return nil
	})
	return e, err
}
