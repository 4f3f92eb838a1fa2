package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
)

const (
	// lastForgotten is a number that grows with every person who is forgotten. Append
	// compares it while it changes the head, so that it need not ask.
	lastForgotten                 = `(SELECT coalesce(max(num), 0) FROM audit_forgotten)`
	selectLastForgotten statement = `SELECT coalesce(max(num), 0) FROM audit_forgotten`
	selectForgotten     statement = `SELECT num, person FROM audit_forgotten WHERE num > $1 ORDER BY num`
	insertForgotten     statement = `INSERT INTO audit_forgotten (num, person, at) VALUES (` + lastForgotten + ` + 1, $1, $2) ON CONFLICT (person) DO NOTHING`
	deleteForgotten     statement = `DELETE FROM audit_forgotten WHERE at < $1 AND num < ` + lastForgotten
	indexColumns                  = `seq, person, terms`
	selectIndexed       statement = `SELECT s.seq AS seq, e.id, e.leaf, e.leaf_hash, e.personal, e.search, s.person, s.terms
		FROM audit_search s JOIN audit_entries e ON e.seq = s.seq WHERE s.person = $1 AND s.seq < $2
		UNION ALL SELECT seq, id, leaf, leaf_hash, personal, search, NULL, NULL FROM audit_entries WHERE search = $3 AND seq < $2
		ORDER BY seq DESC LIMIT $4`
	selectOwner statement = `SELECT person FROM audit_search WHERE seq = $1`
	// It looks for the person among those forgotten so that it cannot come before the
	// Append that did not know.
	deleteIndex statement = `DELETE FROM audit_search WHERE seq IN (SELECT seq FROM audit_search WHERE person = $1 ORDER BY seq LIMIT $2)
		AND EXISTS (SELECT 1 FROM audit_forgotten WHERE person = $1)`
	blankV1 statement = `UPDATE audit_entries SET personal = NULL, search = NULL WHERE seq IN (SELECT seq FROM audit_entries WHERE search = $1 ORDER BY seq LIMIT $2)`
)

const (
	// A log that was rolled back, and accepted so, comes to the same numbers again: what
	// they are found by is then of the entries that are there now.
	indexAgain = ` ON CONFLICT (seq) DO UPDATE SET person = excluded.person, terms = excluded.terms`

	insertIndex statement = `INSERT INTO audit_search (` + indexColumns + `) VALUES ($1, $2, $3)` + indexAgain

	insertIndexes statement = `INSERT INTO audit_search (` + indexColumns + `) VALUES ($1, $2, $3)` +
		`, ($4, $5, $6), ($7, $8, $9), ($10, $11, $12), ($13, $14, $15), ($16, $17, $18), ($19, $20, $21), ($22, $23, $24)` +
		`, ($25, $26, $27), ($28, $29, $30), ($31, $32, $33), ($34, $35, $36), ($37, $38, $39), ($40, $41, $42), ($43, $44, $45), ($46, $47, $48)` + indexAgain
)

// keepForgotten is how long it is remembered that somebody was forgotten: longer than
// a process can hold entries that it cannot write.
const keepForgotten = 30 * 24 * time.Hour

// forgotten are the people whose entries get no index any more, as far as they are
// known in this process.
type forgotten struct {
	mu     sync.Mutex
	num    int64
	people map[string]struct{}
}

func (f *forgotten) last() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.num
}

func (f *forgotten) has(person []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.people[string(person)]
	return ok
}

// readForgotten reads who was forgotten since. If there are fewer than before, somebody
// has changed the table, and what it says now is what counts.
func (a *Audit) readForgotten(ctx context.Context, t *tx) error {
	f := &a.db.forgotten
	var last int64
	if err := t.queryRow(ctx, selectLastForgotten).Scan(&last); err != nil {
		return err
	}
	known := f.last()
	if last == known {
		return nil
	}
	if last < known {
		known = 0
	}
	type line struct {
		num    int64
		person []byte
	}
	lines, err := collect[line](t.query(ctx, selectForgotten, known))(func(r *rows) (l line, err error) {
		return l, r.Scan(&l.num, &l.person)
	})
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.people == nil || known == 0 {
		f.people = map[string]struct{}{}
	}
	for _, l := range lines {
		f.people[string(l.person)] = struct{}{}
	}
	f.num = last
	return nil
}

// insertIndex writes what the rows are found by.
func (t *tx) insertIndex(ctx context.Context, rows []audit.Row, f *forgotten) error {
	args := make([]any, 0, 3*entriesAtOnce)
	flush := func() error {
		var err error
		if len(args) == cap(args) {
			_, err = t.exec(ctx, insertIndexes, args...)
		} else {
			for i := 0; i < len(args) && err == nil; i += 3 {
				_, err = t.exec(ctx, insertIndex, args[i:i+3]...)
			}
		}
		args = args[:0]
		return err
	}
	for i := range rows {
		x := &rows[i].Index
		if x.Person == nil || f.has(x.Person) {
			continue
		}
		terms := x.Terms
		if terms == nil {
			terms = []byte{}
		}
		if args = append(args, rows[i].Seq, x.Person, terms); len(args) == cap(args) {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// Forget implements audit.ForgetStore.
func (a *Audit) Forget(ctx context.Context, person []byte) error {
	now := time.Now()
	err := a.db.logTx(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, insertForgotten, person, micros(now)); err != nil {
			return err
		}
		_, err := t.exec(ctx, deleteForgotten, micros(now.Add(-keepForgotten)))
		return err
	})
	if err != nil {
		return fmt.Errorf("noting in the log who is forgotten: %w", err)
	}
	return nil
}

// DropIndex implements audit.ForgetStore.
func (a *Audit) DropIndex(ctx context.Context, person []byte, limit int) (n int64, err error) {
	err = a.db.logTx(ctx, func(t *tx) error {
		n, err = t.exec(ctx, deleteIndex, person, limit)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("deleting what entries of the log are found by: %w", err)
	}
	return n, nil
}

// BlankV1 implements audit.ForgetStore.
func (a *Audit) BlankV1(ctx context.Context, connection string, limit int) (int64, error) {
	if connection == "" {
		return 0, fmt.Errorf("blanking entries of the log: no connection is named: %w", gatehouse.ErrInvalid)
	}
	n, err := a.db.logExec(ctx, blankV1, connection, limit)
	if err != nil {
		return 0, fmt.Errorf("blanking entries of the log: %w", err)
	}
	return n, nil
}

// Indexed implements audit.ListStore.
func (a *Audit) Indexed(ctx context.Context, person []byte, connectionV1 string, seq int64, limit int) ([]audit.Row, error) {
	all, err := collect[audit.Row](a.db.query(ctx, selectIndexed, person, seq, connectionV1, limit))(func(r *rows) (e audit.Row, err error) {
		var search *string
		err = r.Scan(&e.Seq, &e.ID, &e.Leaf, &e.Hash, &e.Personal, &search, &e.Index.Person, &e.Index.Terms)
		if search != nil {
			e.SearchV1 = *search
		}
		return e, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the log's entries: %w", err)
	}
	return all, nil
}

// OwnerOf implements audit.OwnerStore.
func (a *Audit) OwnerOf(ctx context.Context, seq int64) ([]byte, error) {
	var person []byte
	if err := a.db.queryRow(ctx, selectOwner, seq).Scan(&person); err != nil {
		return nil, fmt.Errorf("looking for an entry's person: %w", err)
	}
	return person, nil
}
