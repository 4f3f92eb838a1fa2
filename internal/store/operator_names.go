package store

import (
	"context"

	"gatehouse/internal/identity/operator"
)

const operatorNames statement = `SELECT id, name FROM operators WHERE name <> '' AND id <> $1`

// ownName refuses a name that another account has. There are few accounts, and what makes
// two names the same is no matter of a database's collation.
func (t *tx) ownName(ctx context.Context, id operator.AccountID, name string) error {
	if name == "" {
		return nil
	}
	others, err := collect[string](t.query(ctx, operatorNames, string(id)))(func(r *rows) (other string, err error) {
		var of string
		err = r.Scan(&of, &other)
		return other, err
	})
	if err != nil {
		return err
	}
	for _, other := range others {
		if operator.SameName(name, other) {
			return operator.ErrName
		}
	}
	return nil
}
