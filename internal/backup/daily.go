package backup

import (
	"context"
	"errors"
	"fmt"

	"gatehouse"
)

// The keys of people end in the vault's daily key, which on a single node stands
// in a small file beside the database, so that it can be overwritten. A backup has
// it inside: in the rows, as where there is no file. The vault moves it out again
// soon after a restore. Only this file knows that table.
const dailyTable = "vault_daily_keys"

// errTurned means that the daily key was made anew between the moment of the
// snapshot and the look into the file.
var errTurned = errors.New("the daily key in the keyring file is not that of the database")

// dailyKeys are the versions that stand in the file, wrapped.
type dailyKeys map[int64][]byte

// dailyColumns are where a row has what; -1 for none.
func dailyColumns(t Table) (version, state, inFile, wrapped int) {
	at := map[string]int{}
	for i, c := range t.Columns {
		at[c.Name] = i + 1
	}
	return at["version"] - 1, at["state"] - 1, at["in_file"] - 1, at["wrapped"] - 1
}

// dailyKeys reads from the file what the rows of the snapshot say is there.
func (b *Backups) dailyKeys(ctx context.Context, s Snapshot, tables []Table) (dailyKeys, error) {
	keys := dailyKeys{}
	for _, t := range tables {
		if t.Name != dailyTable {
			continue
		}
		version, state, inFile, wrapped := dailyColumns(t)
		if min(version, state, inFile, wrapped) < 0 {
			return nil, fmt.Errorf("the table %s has other columns than a backup knows", dailyTable)
		}
		err := s.Rows(ctx, t, func(row []any) error {
			n, ok := row[version].(int64)
			if !ok || row[inFile] == int64(0) || row[state] == "destroyed" {
				return nil
			}
			key, err := b.config.Daily(uint32(n))
			if errors.Is(err, gatehouse.ErrNotFound) {
				return fmt.Errorf("%w: %w", errTurned, err)
			}
			keys[n] = key
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("reading the daily key for the backup: %w", err)
		}
		return keys, nil
	}
	return nil, fmt.Errorf("there is no table %s: %w", dailyTable, gatehouse.ErrConflict)
}

// inside puts the daily key into its row; other rows stay as they are.
func (d dailyKeys) inside(t Table, row []any) []any {
	if t.Name != dailyTable {
		return row
	}
	version, _, inFile, wrapped := dailyColumns(t)
	if n, ok := row[version].(int64); ok && d[n] != nil {
		row[wrapped] = d[n]
	}
	row[inFile] = int64(0)
	return row
}
