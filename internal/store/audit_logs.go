package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
)

const (
	selectLogs  statement = `SELECT num, node, origin, verifier, created, entry FROM audit_logs ORDER BY num LIMIT $1`
	selectNode  statement = `SELECT num, node, origin, verifier, created, entry FROM audit_logs WHERE node = $1`
	insertLog   statement = `INSERT INTO audit_logs (num, node, origin, verifier, created, entry) VALUES ($1, $2, $3, $4, $5, '')`
	updateLog   statement = `UPDATE audit_logs SET entry = $1 WHERE num = $2`
	selectNewID statement = `SELECT coalesce(max(num), 0) + 1 FROM audit_logs`

	// The first row of a log, from a number on: one look for each log that there is.
	firstEntry      statement = `SELECT min(seq) FROM audit_entries WHERE seq >= $1`
	firstIndexed    statement = `SELECT min(seq) FROM audit_search WHERE seq >= $1`
	firstCheckpoint statement = `SELECT min(num) FROM audit_checkpoints WHERE num >= $1`
	firstTile       statement = `SELECT min(idx) FROM audit_tiles WHERE idx >= $1`
)

// AuditLogs returns the logs of this database in order of their numbers; the first is
// log 0, of which nothing but the number stands there.
func (d *DB) AuditLogs(ctx context.Context) ([]audit.Registration, error) {
	return logs(d.query(ctx, selectLogs, maxLogs))
}

func logs(r *rows, err error) ([]audit.Registration, error) {
	all, err := collect[audit.Registration](r, err)(scanLog)
	if err != nil {
		return nil, fmt.Errorf("reading the list of logs: %w", err)
	}
	return all, nil
}

func scanLog(r *rows) (l audit.Registration, err error) {
	var created int64
	err = r.Scan(&l.Number, &l.Node, &l.Origin, &l.Key, &created, &l.Entry)
	l.Created = fromMicros(created)
	return l, err
}

// RegisterLog enters the log of a node and returns it with its number. If the node has
// a log already it returns that one, which may have another key.
func (d *DB) RegisterLog(ctx context.Context, l audit.Registration) (audit.Registration, error) {
	if l.Node == "" || l.Origin == "" || l.Key == "" {
		return l, fmt.Errorf("entering a log: node, origin or key is empty: %w", gatehouse.ErrInvalid)
	}
	l.Created = time.Now()
	err := d.rowTx(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, lockLogs); err != nil {
			return err
		}
		there, err := logs(t.query(ctx, selectNode, l.Node))
		if err != nil {
			return err
		}
		if len(there) > 0 {
			l = there[0]
			return nil
		}
		if err := t.queryRow(ctx, selectNewID).Scan(&l.Number); err != nil {
			return err
		}
		if l.Number >= maxLogs {
			return fmt.Errorf("there are %d logs already: %w", maxLogs, gatehouse.ErrConflict)
		}
		_, err = t.exec(ctx, insertLog, l.Number, l.Node, l.Origin, l.Key, micros(l.Created))
		return err
	})
	if err != nil {
		return l, fmt.Errorf("entering the log of node %s: %w", l.Node, err)
	}
	return l, nil
}

// EnteredLog notes the id of the entry with which log 0 says that a log belongs to it.
func (d *DB) EnteredLog(ctx context.Context, number int64, entry string) error {
	if _, err := d.logExec(ctx, updateLog, entry, number); err != nil {
		return fmt.Errorf("noting that log 0 knows a log: %w", err)
	}
	return nil
}

var _ audit.LogsStore = (*DB)(nil)

// SnapshotLogs implements audit.LogsStore.
func (d *DB) SnapshotLogs(ctx context.Context, f func(audit.LogsReader) error) error {
	return d.snapshot(ctx, func(t *tx) error { return f(logsReader{t}) })
}

// LookLogs implements audit.LogsStore.
func (d *DB) LookLogs(ctx context.Context, f func(audit.LogsReader) error) error {
	return d.anew(ctx, func(t *tx) error { return f(logsReader{t}) })
}

// logsReader reads all logs as of one moment.
type logsReader struct{ tx *tx }

// Logs implements audit.LogsReader.
func (l logsReader) Logs(ctx context.Context) ([]audit.Registration, error) {
	return logs(l.tx.query(ctx, selectLogs, maxLogs))
}

// Log implements audit.LogsReader.
func (l logsReader) Log(number int64) audit.LogReader { return auditReader{l.tx, place(number)} }

// Heads implements audit.LogsReader.
func (l logsReader) Heads(ctx context.Context) (map[int64]audit.Head, error) {
	return l.heads(ctx, selectHeads)
}

// Present implements audit.LogsReader.
func (l logsReader) Present(ctx context.Context) ([]int64, error) {
	heads, err := l.Heads(ctx)
	if err != nil {
		return nil, err
	}
	found := map[int64]struct{}{}
	for n := range heads {
		found[n] = struct{}{}
	}
	for _, first := range []statement{firstEntry, firstIndexed, firstCheckpoint, firstTile} {
		// What is before the end of log 0 is seen by whoever reads log 0.
		for from := place(0).end(); ; {
			var row *int64
			if err := l.tx.queryRow(ctx, first, from).Scan(&row); err != nil {
				return nil, fmt.Errorf("looking which logs there are: %w", err)
			}
			if row == nil {
				break
			}
			number := *row >> placeBits
			found[number] = struct{}{}
			if len(found) > maxLogs {
				return nil, errors.New("looking which logs there are: there are rows of too many")
			}
			if from = (number + 1) << placeBits; from < 0 {
				break // the last number of all
			}
		}
	}
	all := make([]int64, 0, len(found))
	for n := range found {
		all = append(all, n)
	}
	slices.Sort(all)
	return all, nil
}
