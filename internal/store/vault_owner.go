package store

import (
	"context"
	"errors"

	"gatehouse"
)

const (
	unmarkedPeople statement = `SELECT DISTINCT person FROM vault_person_keys WHERE owner IS NULL AND state <> 'destroyed' ORDER BY person LIMIT $1`
	markPerson     statement = `UPDATE vault_person_keys SET owner = $2 WHERE person = $1 AND owner IS NULL AND state <> 'destroyed'`
	markedPerson   statement = `SELECT person FROM vault_person_keys WHERE owner = $1 AND state <> 'destroyed' LIMIT 1`
)

// A PersonMark is by what a person is found again whose hash stands in the log. Only who
// has the key that made it can tell which hash that is.
type PersonMark struct {
	Person gatehouse.PersonID
	Mark   []byte
}

// UnmarkedPeople returns up to limit people with keys that are not destroyed and have no
// mark, in order.
func (s *Vault) UnmarkedPeople(ctx context.Context, limit int) ([]gatehouse.PersonID, error) {
	return collect[gatehouse.PersonID](s.db.query(ctx, unmarkedPeople, limit))(func(r *rows) (person gatehouse.PersonID, err error) {
		return person, r.Scan(&person)
	})
}

// MarkPeople stores the marks of people who have none, and whose keys were not destroyed
// meanwhile. A mark goes when its keys do.
func (s *Vault) MarkPeople(ctx context.Context, marks []PersonMark) error {
	return s.db.logTx(ctx, func(t *tx) error {
		for _, m := range marks {
			if _, err := t.exec(ctx, markPerson, string(m.Person), m.Mark); err != nil {
				return err
			}
		}
		return nil
	})
}

// MarkedPerson returns who has a mark, or ErrNotFound.
func (s *Vault) MarkedPerson(ctx context.Context, mark []byte) (person gatehouse.PersonID, err error) {
	err = s.db.queryRow(ctx, markedPerson, mark).Scan(&person)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return "", gatehouse.ErrNotFound
	}
	return person, err
}
