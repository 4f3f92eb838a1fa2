package store

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
)

const (
	lastForgotten                 = `(SELECT coalesce(max(num), 0) FROM audit_forgotten)`
	selectLastForgotten statement = `SELECT coalesce(max(num), 0) FROM audit_forgotten`
	selectForgotten     statement = `SELECT num, person FROM audit_forgotten WHERE num > $1 ORDER BY num`
	insertForgotten     statement = `INSERT INTO audit_forgotten (num, person, at) VALUES (` + lastForgotten + ` + 1, $1, $2) ON CONFLICT (person) DO NOTHING`
	deleteForgotten     statement = `DELETE FROM audit_forgotten WHERE at < $1 AND num < ` + lastForgotten

	// lockLogs is for whoever begins a log or adds to those forgotten: one at a time.
	lockLogs            statement = `UPDATE audit_logs SET num = num WHERE num = 0`
	selectHeadForgotten statement = `SELECT forgotten FROM audit_head WHERE id = $1`
	selectHeadIDs       statement = `SELECT id FROM audit_head ORDER BY id`
	// tellHead waits for the append that holds the head, if there is one; every later one
	// sees that the number is another and reads the list.
	tellHead statement = `UPDATE audit_head SET forgotten = forgotten + 1 WHERE id = $1`

	indexColumns            = `seq, person, terms`
	selectIndexed statement = `SELECT s.seq, e.id, e.leaf, e.leaf_hash, e.personal, e.search, s.person, s.terms
		FROM audit_search s JOIN audit_entries e ON e.seq = s.seq WHERE s.person = $1 AND s.seq < $2 AND s.seq >= $3
		ORDER BY s.seq DESC LIMIT $4`
	selectIndexedV1 statement = `SELECT ` + entryColumns + ` FROM audit_entries WHERE search = $1 AND seq < $2 AND seq >= $3 ORDER BY seq DESC LIMIT $4`
	selectOwner     statement = `SELECT person FROM audit_search WHERE seq = $1`
	deleteIndex     statement = `DELETE FROM audit_search WHERE seq IN (SELECT seq FROM audit_search WHERE person = $1 ORDER BY seq LIMIT $2)
		AND EXISTS (SELECT 1 FROM audit_forgotten WHERE person = $1)`
	blankV1 statement = `UPDATE audit_entries SET personal = NULL, search = NULL WHERE seq IN (SELECT seq FROM audit_entries WHERE search = $1 ORDER BY seq LIMIT $2)`
)

const (
	// A log that was rolled back, and accepted so, comes to the same numbers again: what
	// they are found by is then of the entries that are there now.
	indexAgain = ` ON CONFLICT (seq) DO UPDATE SET person = excluded.person, terms = excluded.terms`

	intoIndex = `INSERT INTO audit_search (` + indexColumns + `) VALUES ($1, $2, $3)`
	fewIndex  = intoIndex + `, ($4, $5, $6), ($7, $8, $9), ($10, $11, $12)`
	manyIndex = fewIndex +
		`, ($13, $14, $15), ($16, $17, $18), ($19, $20, $21), ($22, $23, $24), ($25, $26, $27), ($28, $29, $30)` +
		`, ($31, $32, $33), ($34, $35, $36), ($37, $38, $39), ($40, $41, $42), ($43, $44, $45), ($46, $47, $48)`

	insertIndex      statement = intoIndex + indexAgain
	insertFewIndexes statement = fewIndex + indexAgain
	insertIndexes    statement = manyIndex + indexAgain
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
	// heads is what the head of each log says, as far as everybody that it counts is
	// among people.
	heads map[place]int64
}

func (f *forgotten) last() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.num
}

// known returns what the log's head should say; -1 when that is to be read.
func (f *forgotten) known(log place) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n, ok := f.heads[log]; ok {
		return n
	}
	return -1
}

func (f *forgotten) know(log place, n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.heads == nil {
		f.heads = map[place]int64{}
	}
	f.heads[log] = n
}

func (f *forgotten) has(person []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.people[string(person)]
	return ok
}

// readForgotten reads who was forgotten since, and returns the number of the last. If
// there are fewer than before, somebody has changed the table, and what it says now is
// what counts.
func (a *Audit) readForgotten(ctx context.Context, t *tx) (last int64, err error) {
	f := &a.db.forgotten
	if err := t.queryRow(ctx, selectLastForgotten).Scan(&last); err != nil {
		return 0, err
	}
	from := f.last()
	if last == from {
		return last, nil
	}
	if last < from {
		from = 0
	}
	type line struct {
		num    int64
		person []byte
	}
	lines, err := collect[line](t.query(ctx, selectForgotten, from))(func(r *rows) (l line, err error) {
		return l, r.Scan(&l.num, &l.person)
	})
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.people == nil || from == 0 {
		f.num, f.people = 0, map[string]struct{}{}
	}
	for _, l := range lines {
		f.people[string(l.person)] = struct{}{}
		f.num = max(f.num, l.num)
	}
	return last, nil
}

// insertIndex writes what the rows are found by.
func (t *tx) insertIndex(ctx context.Context, in place, rows []audit.Row, f *forgotten) error {
	args := make([]any, 0, 3*entriesAtOnce)
	flush := func() error {
		for left := args; len(left) > 0; {
			n, insert := 1, insertIndex
			switch {
			case len(left) == 3*entriesAtOnce:
				n, insert = entriesAtOnce, insertIndexes
			case len(left) >= 3*fewAtOnce:
				n, insert = fewAtOnce, insertFewIndexes
			}
			if _, err := t.exec(ctx, insert, left[:3*n]...); err != nil {
				return err
			}
			left = left[3*n:]
		}
		args = args[:0]
		return nil
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
		if args = append(args, in.row(rows[i].Seq), x.Person, terms); len(args) == cap(args) {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// Forget implements audit.ForgetStore. First the person is in the list, then each
// log's head says so, in a transaction of its own, so that a log whose writer hangs
// holds up the erasure and not the other logs.
func (a *Audit) Forget(ctx context.Context, person []byte) error {
	now := time.Now()
	var heads []int64
	err := a.db.rowTx(ctx, func(t *tx) (err error) {
		if _, err := t.exec(ctx, lockLogs); err != nil {
			return err
		}
		if _, err := t.exec(ctx, insertForgotten, person, micros(now)); err != nil {
			return err
		}
		if _, err := t.exec(ctx, deleteForgotten, micros(now.Add(-keepForgotten))); err != nil {
			return err
		}
		heads, err = collect[int64](t.query(ctx, selectHeadIDs))(func(r *rows) (id int64, err error) { return id, r.Scan(&id) })
		return err
	})
	for _, id := range heads {
		if err != nil {
			break
		}
		err = a.db.rowTx(ctx, func(t *tx) error {
			_, err := t.exec(ctx, tellHead, id)
			return err
		})
	}
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

// Indexed implements audit.ListStore. It asks twice: where one statement asks for both
// kinds, PostgreSQL reads and sorts all entries of the person for the newest few. No
// entry of version 1 comes into being any more, so nothing changes in between.
func (a *Audit) Indexed(ctx context.Context, person []byte, connectionV1 string, seq int64, limit int) ([]audit.Row, error) {
	all, err := collect[audit.Row](a.db.query(ctx, selectIndexed, person, a.from(seq), a.from(math.MinInt64), limit))(func(r *rows) (e audit.Row, err error) {
		var search *string
		err = r.Scan(&e.Seq, &e.ID, &e.Leaf, &e.Hash, &e.Personal, &search, &e.Index.Person, &e.Index.Terms)
		e.Seq = a.index(e.Seq)
		if search != nil {
			e.SearchV1 = *search
		}
		return e, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the log's entries: %w", err)
	}
	if connectionV1 == "" {
		return all, nil
	}
	old, err := a.entries(a.db.query(ctx, selectIndexedV1, connectionV1, a.from(seq), a.from(math.MinInt64), limit))
	if err != nil {
		return nil, err
	}
	all = append(all, old...)
	slices.SortFunc(all, func(a, b audit.Row) int { return cmp.Compare(b.Seq, a.Seq) })
	return all[:min(len(all), limit)], nil
}

// OwnerOf implements audit.OwnerStore.
func (a *Audit) OwnerOf(ctx context.Context, seq int64) ([]byte, error) {
	var person []byte
	if err := a.db.queryRow(ctx, selectOwner, a.from(seq)).Scan(&person); err != nil {
		return nil, fmt.Errorf("looking for an entry's person: %w", err)
	}
	return person, nil
}
