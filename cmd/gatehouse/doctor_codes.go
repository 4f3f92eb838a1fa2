package main

import (
	"context"
	"fmt"

	"gatehouse/internal/identity/operator"
)

// recoveryFinding says which operators sign in with an app and could not without it. It
// is no fault, since the host can always make a new link.
func recoveryFinding(ctx context.Context, p *parts) finding {
	const check = "recovery codes"
	accounts, err := p.operators.Accounts(ctx)
	if err != nil {
		return finding{Check: check, Text: err.Error(), Next: "look at the database"}
	}
	without, last := 0, operator.Account{}
	for _, a := range accounts {
		if a.State == operator.Active && a.Password && a.TOTP && a.RecoveryLeft == 0 {
			without, last = without+1, a
		}
	}
	if without == 0 {
		return finding{Check: check, OK: true, Text: "every operator with an app has some"}
	}
	return finding{
		Check: check, OK: true, Text: fmt.Sprintf("%d operators with an app have none, such as %s", without, last.ID),
		Next: "have them make new ones: Account, New recovery codes (a restore ends all, since they may have been used)",
	}
}
