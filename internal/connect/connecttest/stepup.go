package connecttest

import (
	"context"
	"strconv"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/identity/stepup"
	"gatehouse/internal/records"
	"gatehouse/internal/secret"
	"gatehouse/internal/vault"
)

// StepupKeys are the world's keys for step-ups, as the program binds them.
func (w *World) StepupKeys(r *records.Records) stepup.Keys {
	ref := func(person gatehouse.PersonID, row, column string) vault.Ref {
		return vault.Ref{Table: "stepup_factors", Row: row, Column: column, Person: person}
	}
	return stepup.Keys{
		Person: r.PersonOfSubject,
		Ready:  func(ctx context.Context, p gatehouse.PersonID) error { return w.Vault.Batch().Ready(ctx, p) },
		Seal: func(ctx context.Context, p gatehouse.PersonID, row, column string, v secret.Text) ([]byte, error) {
			return w.Vault.Seal(ctx, ref(p, row, column), v)
		},
		Open: func(ctx context.Context, receipt audit.Receipt, p gatehouse.PersonID, row, column string, sealed []byte) (secret.Text, error) {
			return w.Vault.Open(ctx, receipt, ref(p, row, column), sealed)
		},
		SealPersonal: w.Vault.SealPersonal, OpenPersonal: w.Vault.OpenPersonal,
		Seed: func(ctx context.Context, version int) (secret.Text, error) {
			return w.Vault.Derive(ctx, "stepup/signing", strconv.Itoa(version))
		},
	}
}
