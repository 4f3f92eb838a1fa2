package store

import (
	"context"
	"fmt"
	"time"

	"gatehouse"
)

// MaxConfiguration bounds the text of a configuration that is kept, in bytes.
const MaxConfiguration = 256 << 10

// AppliedConfiguration is what a node put into force last.
type AppliedConfiguration struct {
	// Log is the number of the node's log; nodes without a name share 0.
	Log              int64
	Node, Hash, Mode string
	// Text is the file without comments; "" when it is not known, or too long.
	Text string
	// Entry is the one of the log that says so.
	Entry string
	At    time.Time
}

// Configurations keeps what each node put into force last.
type Configurations struct{ db *DB }

// Configurations returns the store of what nodes put into force.
func (d *DB) Configurations() Configurations { return Configurations{d} }

const (
	saveConfiguration statement = `INSERT INTO configurations (log, node, hash, mode, content, entry, at) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (log) DO UPDATE SET node = excluded.node, hash = excluded.hash, mode = excluded.mode, content = excluded.content, entry = excluded.entry, at = excluded.at
		WHERE configurations.at <= excluded.at`
	listConfigurations statement = `SELECT log, node, hash, mode, content, entry, at FROM configurations ORDER BY log LIMIT 1000`
)

// Save keeps what a node put into force, in the place of what it did before; an older one
// changes nothing.
func (c Configurations) Save(ctx context.Context, a AppliedConfiguration) error {
	if len(a.Text) > MaxConfiguration {
		return fmt.Errorf("keeping a configuration: its text is longer than %d bytes: %w", MaxConfiguration, gatehouse.ErrInvalid)
	}
	_, err := c.db.exec(ctx, saveConfiguration, a.Log, a.Node, a.Hash, a.Mode, a.Text, a.Entry, micros(a.At))
	return err
}

// List returns what the nodes put into force last, by the numbers of their logs.
func (c Configurations) List(ctx context.Context) ([]AppliedConfiguration, error) {
	return collect[AppliedConfiguration](c.db.query(ctx, listConfigurations))(func(r *rows) (a AppliedConfiguration, err error) {
		var at int64
		err = r.Scan(&a.Log, &a.Node, &a.Hash, &a.Mode, &a.Text, &a.Entry, &at)
		a.At = fromMicros(at)
		return a, err
	})
}
