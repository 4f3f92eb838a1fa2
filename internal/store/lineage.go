package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"gatehouse"
	"gatehouse/internal/lineage"
)

const (
	lineagePersonOf     statement = `SELECT owner FROM lineage_people WHERE hash = $1 AND hash <> ''`
	lineagePersonInsert statement = `INSERT INTO lineage_people (hash, platform, created, erased) VALUES ($1, $2, $3, 0)
		ON CONFLICT (hash) WHERE hash <> '' DO NOTHING`
	lineageCandidateInsert statement = `INSERT INTO lineage_candidates (owner, candidate) VALUES ($1, $2) ON CONFLICT (owner, candidate) DO NOTHING`
	lineageEdgeOf          statement = `SELECT edge FROM lineage_edges WHERE kind = $1 AND verdict = $2 AND platform = $3 AND app = $4 AND class = $5
		AND operation = $6 AND purpose = $7 AND service = $8 AND destination = $9 AND sent_for = $10 AND part = $11`
	lineageEdgeInsert statement = `
		INSERT INTO lineage_edges (kind, verdict, platform, app, class, operation, purpose, service, destination, sent_for, part)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
		ON CONFLICT (kind, verdict, platform, app, class, operation, purpose, service, destination, sent_for, part) DO NOTHING`
	lineageHandleOf     statement = `SELECT number FROM lineage_handles WHERE handle = $1`
	lineageHandleInsert statement = `INSERT INTO lineage_handles (handle) VALUES ($1) ON CONFLICT (handle) DO NOTHING`
	lineageFlowPut      statement = `
		INSERT INTO lineage_flows (owner, day, edge, handle, first_at, last_at, seen) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (owner, day, edge, handle) DO UPDATE SET seen = lineage_flows.seen + excluded.seen,
			last_at = CASE WHEN lineage_flows.last_at < excluded.last_at THEN excluded.last_at ELSE lineage_flows.last_at END`
	lineageFlowCount statement = `
		UPDATE lineage_flows SET seen = seen + $5, last_at = CASE WHEN last_at < $6 THEN $6 ELSE last_at END
		WHERE owner = $1 AND day = $2 AND edge = $3 AND handle = $4`

	// What is extended gets a new number: others learn of it by that.
	lineagePrintStale   statement = `DELETE FROM lineage_prints WHERE owner = $1 AND print = $2 AND class = $3 AND expires < $4`
	lineagePrintKnown   statement = `SELECT count(*) FROM lineage_prints WHERE owner = $1 AND print = $2 AND class = $3`
	lineagePrintInsert  statement = `INSERT INTO lineage_prints (owner, print, class, expires, entered) VALUES ($1, $2, $3, $4, $5)`
	lineagePrintsAfter  statement = `SELECT seq, print, owner, class, expires, entered FROM lineage_prints WHERE seq > $1 ORDER BY seq LIMIT $2`
	lineagePrintsForget statement = `DELETE FROM lineage_prints WHERE owner = $1 AND class <> ''`
	lineagePrintsExpire statement = `DELETE FROM lineage_prints WHERE seq IN (SELECT seq FROM lineage_prints WHERE expires < $1 ORDER BY expires LIMIT $2)`
	lineagePrintsEvict  statement = `DELETE FROM lineage_prints WHERE seq IN (SELECT seq FROM lineage_prints ORDER BY expires LIMIT $1)`
	lineagePrintsCount  statement = `SELECT count(*) FROM lineage_prints`
	lineagePrintsLast   statement = `SELECT COALESCE(max(seq), 0) FROM lineage_prints`
	lineagePrintsNext   statement = `SELECT expires FROM lineage_prints ORDER BY expires LIMIT 1`

	lineageState statement = `
		SELECT expired, evicted, evicted_at, loaded, to_load, loading_at, loaded_at FROM lineage_state WHERE id = 1`
	lineageExpired statement = `UPDATE lineage_state SET expired = expired + $1 WHERE id = 1`
	lineageEvicted statement = `UPDATE lineage_state SET evicted = evicted + $1, evicted_at = $2 WHERE id = 1`
	lineageSay     statement = `UPDATE lineage_state SET told_at = $1 WHERE id = 1 AND told_at <= $2`
	lineageLoading statement = `UPDATE lineage_state SET loaded = $1, to_load = $2, loading_at = $3, loaded_at = $4 WHERE id = 1 AND loading_at <= $3`

	lineageErase       statement = `UPDATE lineage_people SET hash = '', erased = $2 WHERE owner = $1`
	lineageFlowsExpire statement = `
		DELETE FROM lineage_flows WHERE edge = $1 AND day < $2 AND (owner, day, handle) IN
			(SELECT owner, day, handle FROM lineage_flows WHERE edge = $1 AND day < $2 ORDER BY day LIMIT $3)`
	lineagePeopleUpto   statement = `SELECT owner FROM lineage_people WHERE owner > $1 ORDER BY owner LIMIT $2`
	lineagePeopleExpire statement = `
		DELETE FROM lineage_people WHERE owner > $1 AND owner <= $2
			AND NOT EXISTS (SELECT 1 FROM lineage_flows f WHERE f.owner = lineage_people.owner)
			AND NOT EXISTS (SELECT 1 FROM lineage_prints p WHERE p.owner = lineage_people.owner)
			AND NOT EXISTS (SELECT 1 FROM lineage_candidates c WHERE c.candidate = lineage_people.owner)`
	lineageSetsExpire statement = `
		DELETE FROM lineage_candidates WHERE owner > $1 AND owner <= $2
			AND NOT EXISTS (SELECT 1 FROM lineage_people p WHERE p.owner = lineage_candidates.owner)`
	lineageHandlesExpire statement = `
		DELETE FROM lineage_handles WHERE NOT EXISTS (SELECT 1 FROM lineage_flows f WHERE f.handle = lineage_handles.number AND f.handle > 0)`
)

// lineageStore is the lineage.Store of a database. No process remembers its rows,
// so changes go past the cache.
type lineageStore struct{ db *DB }

var _ lineage.Store = lineageStore{}

// Lineage returns the part of the database that knows whose data went where.
func (d *DB) Lineage() lineage.Store { return lineageStore{d} }

func (s lineageStore) Note(ctx context.Context, b *lineage.Batch) (lineage.Noted, error) {
	var noted lineage.Noted
	err := s.db.logTx(ctx, func(t *tx) error {
		w := lineageWrite{tx: t, batch: b, edges: map[lineage.Edge]int64{}, handles: map[gatehouse.HandleID]int64{}}
		noted = lineage.Noted{
			Owners: make([]lineage.Owner, len(b.People)), Edges: make([]int64, len(b.Flows)), Handles: make([]int64, len(b.Flows)),
		}
		fresh := make([]bool, len(b.People))
		for _, i := range inOrder(b.People) {
			var err error
			if noted.Owners[i], fresh[i], err = w.person(ctx, b.People[i]); err != nil {
				return err
			}
		}
		if err := w.flows(ctx, &noted); err != nil {
			return err
		}
		return w.prints(ctx, noted.Owners, fresh)
	})
	return noted, err
}

// inOrder returns the places of a list in the order of the hashes, so that processes
// that write the same do not wait for each other in a circle.
func inOrder(people []lineage.BatchPerson) []int {
	order := make([]int, len(people))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(people[a].Hash, people[b].Hash) })
	return order
}

// lineageWrite is one batch being written.
type lineageWrite struct {
	tx      *tx
	batch   *lineage.Batch
	edges   map[lineage.Edge]int64
	handles map[gatehouse.HandleID]int64
}

func (w *lineageWrite) person(ctx context.Context, p lineage.BatchPerson) (owner lineage.Owner, fresh bool, err error) {
	number, fresh, err := w.number(ctx, lineagePersonOf, []any{p.Hash}, lineagePersonInsert, []any{p.Hash, p.Platform, micros(w.batch.Now)})
	if err != nil {
		return 0, false, err
	}
	if number > math.MaxInt32 { // the index needs the uppermost bit
		return 0, false, errors.New("there are no numbers for people left")
	}
	for _, c := range p.Candidates {
		if _, err := w.tx.exec(ctx, lineageCandidateInsert, number, int64(c)); err != nil {
			return 0, false, err
		}
	}
	return lineage.Owner(number), fresh, nil
}

// number finds a row's number, or inserts the row.
func (w *lineageWrite) number(ctx context.Context, find statement, by []any, insert statement, values []any) (n int64, fresh bool, err error) {
	err = w.tx.queryRow(ctx, find, by...).Scan(&n)
	if !errors.Is(err, gatehouse.ErrNotFound) {
		return n, false, err
	}
	if _, err := w.tx.exec(ctx, insert, values...); err != nil {
		return 0, false, err
	}
	return n, true, w.tx.queryRow(ctx, find, by...).Scan(&n)
}

func (w *lineageWrite) edge(ctx context.Context, e lineage.Edge) (int64, error) {
	if n, known := w.edges[e]; known {
		return n, nil
	}
	values := []any{e.Kind, e.Verdict, e.Platform, e.App, e.Class, e.Operation, e.Purpose, e.Service, e.Destination, e.SentFor, e.Part}
	n, _, err := w.number(ctx, lineageEdgeOf, values, lineageEdgeInsert, values)
	w.edges[e] = n
	return n, err
}

func (w *lineageWrite) handle(ctx context.Context, id gatehouse.HandleID) (int64, error) {
	if n, known := w.handles[id]; known || id == "" {
		return n, nil
	}
	n, _, err := w.number(ctx, lineageHandleOf, []any{id}, lineageHandleInsert, []any{id})
	w.handles[id] = n
	return n, err
}

func (w *lineageWrite) flows(ctx context.Context, noted *lineage.Noted) error {
	for i, f := range w.batch.Flows {
		var err error
		if noted.Edges[i] = f.EdgeID; f.EdgeID == 0 {
			if noted.Edges[i], err = w.edge(ctx, f.Edge); err != nil {
				return err
			}
		}
		if noted.Handles[i], err = w.handle(ctx, f.Handle); err != nil {
			return err
		}
		owner := f.Owner
		if f.Person >= 0 {
			owner = noted.Owners[f.Person]
		}
		if _, err := w.tx.exec(ctx, lineageFlowPut, int64(owner), int64(f.Day), noted.Edges[i], noted.Handles[i], micros(f.First), micros(f.Last),
			f.Seen); err != nil {
			return err
		}
	}
	return nil
}

func (w *lineageWrite) prints(ctx context.Context, owners []lineage.Owner, fresh []bool) error {
	for _, p := range w.batch.Prints {
		owner := int64(0)
		if p.Person >= 0 {
			owner = int64(owners[p.Person])
		}
		if p.Person < 0 || !fresh[p.Person] {
			if _, err := w.tx.exec(ctx, lineagePrintStale, owner, p.Print[:], p.Class, micros(w.batch.Fresh)); err != nil {
				return err
			}
			n, err := w.tx.count(ctx, lineagePrintKnown, owner, p.Print[:], p.Class)
			if err != nil {
				return err
			}
			if n > 0 {
				continue
			}
		}
		if _, err := w.tx.exec(ctx, lineagePrintInsert, owner, p.Print[:], p.Class, micros(w.batch.Expires), flag(p.Entered)); err != nil {
			return err
		}
	}
	return nil
}

func (s lineageStore) Count(ctx context.Context, counts []lineage.Count) error {
	return s.db.logTx(ctx, func(t *tx) error {
		for _, c := range counts {
			if _, err := t.exec(ctx, lineageFlowCount, int64(c.Owner), int64(c.Day), c.Edge, c.Handle, c.Seen, micros(c.Last)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s lineageStore) Erase(ctx context.Context, hashes []string, at, until time.Time) (owners []lineage.Owner, prints int64, err error) {
	err = s.db.logTx(ctx, func(t *tx) error {
		owners, prints = nil, 0
		for _, hash := range hashes {
			var owner int64
			err := t.queryRow(ctx, lineagePersonOf, hash).Scan(&owner)
			if errors.Is(err, gatehouse.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if _, err := t.exec(ctx, lineageErase, owner, micros(at)); err != nil {
				return err
			}
			n, err := t.exec(ctx, lineagePrintsForget, owner)
			if err != nil {
				return err
			}
			// Others read it behind everything that they have read of the owner.
			if _, err := t.exec(ctx, lineagePrintInsert, owner, []byte{}, "", micros(until), 0); err != nil {
				return err
			}
			owners, prints = append(owners, lineage.Owner(owner)), prints+n
		}
		return nil
	})
	return owners, prints, err
}

func (s lineageStore) ExpireFlows(ctx context.Context, before lineage.Day, limit int) (int64, error) {
	edges, err := s.edges(ctx, lineageEdgesAll)
	if err != nil {
		return 0, err
	}
	var gone int64
	for _, e := range edges {
		if gone >= int64(limit) {
			break
		}
		n, err := s.db.logExec(ctx, lineageFlowsExpire, e, int64(before), int64(limit)-gone)
		if gone += n; err != nil {
			return gone, err
		}
	}
	return gone, nil
}

func (s lineageStore) ExpirePeople(ctx context.Context, after lineage.Owner, limit int) (last lineage.Owner, err error) {
	err = s.db.logTx(ctx, func(t *tx) error {
		owners, err := collect[int64](t.query(ctx, lineagePeopleUpto, int64(after), limit))(func(r *rows) (n int64, err error) { return n, r.Scan(&n) })
		if err != nil {
			return err
		}
		upto := int64(math.MaxUint32)
		if last = 0; len(owners) == limit {
			upto = owners[len(owners)-1]
			last = lineage.Owner(upto)
		}
		if _, err := t.exec(ctx, lineagePeopleExpire, int64(after), upto); err != nil {
			return err
		}
		if _, err := t.exec(ctx, lineageSetsExpire, int64(after), upto); err != nil {
			return err
		}
		if last == 0 {
			_, err = t.exec(ctx, lineageHandlesExpire)
		}
		return err
	})
	return last, err
}

func (s lineageStore) Prints(ctx context.Context, after int64, limit int) ([]lineage.StoredPrint, error) {
	return collect[lineage.StoredPrint](s.db.query(ctx, lineagePrintsAfter, after, limit))(func(r *rows) (lineage.StoredPrint, error) {
		var p lineage.StoredPrint
		var print []byte
		var owner, expires, entered int64
		err := r.Scan(&p.Seq, &print, &owner, &p.Class, &expires, &entered)
		if err == nil && len(print) != len(p.Print) && p.Class != "" {
			err = errors.New("a fingerprint of another length") // the column holds nothing else
		}
		copy(p.Print[:], print)
		p.Owner, p.Expires, p.Entered = lineage.Owner(owner), fromMicros(expires), entered != 0
		return p, err
	})
}

func (s lineageStore) ExpirePrints(ctx context.Context, now time.Time, limit int) (n int64, err error) {
	err = s.db.logTx(ctx, func(t *tx) error {
		if n, err = t.exec(ctx, lineagePrintsExpire, micros(now), limit); err != nil || n == 0 {
			return err
		}
		_, err := t.exec(ctx, lineageExpired, n)
		return err
	})
	return n, err
}

// sayEvery is how often it is said that there is no room.
const sayEvery = time.Hour

func (s lineageStore) EvictPrints(ctx context.Context, now time.Time, limit int) (n int64, say bool, err error) {
	err = s.db.logTx(ctx, func(t *tx) error {
		if n, err = t.exec(ctx, lineagePrintsEvict, limit); err != nil || n == 0 {
			return err
		}
		if _, err := t.exec(ctx, lineageEvicted, n, micros(now)); err != nil {
			return err
		}
		said, err := t.exec(ctx, lineageSay, micros(now), micros(now.Add(-sayEvery)))
		say = said > 0
		return err
	})
	return n, say, err
}

func (s lineageStore) Held(ctx context.Context) (lineage.Held, error) {
	var h lineage.Held
	var evicted, began, done int64
	err := s.db.queryRow(ctx, lineageState).Scan(&h.Expired, &h.Evicted, &evicted, &h.Progress.Loaded, &h.Progress.ToLoad, &began, &done)
	if err != nil {
		return h, fmt.Errorf("reading the state of the fingerprints: %w", err)
	}
	h.EvictedAt, h.Progress.Began, h.Progress.Done = fromMicros(evicted), fromMicros(began), fromMicros(done)
	if err := s.db.queryRow(ctx, lineagePrintsCount).Scan(&h.Prints); err != nil || h.Prints == 0 {
		return h, err
	}
	var next int64
	if err := s.db.queryRow(ctx, lineagePrintsLast).Scan(&h.Last); err != nil {
		return h, err
	}
	if err := s.db.queryRow(ctx, lineagePrintsNext).Scan(&next); err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
		return h, err
	}
	h.NextExpiry = fromMicros(next)
	return h, nil
}

func (s lineageStore) Loading(ctx context.Context, p lineage.Progress) error {
	_, err := s.db.logExec(ctx, lineageLoading, p.Loaded, p.ToLoad, micros(p.Began), micros(p.Done))
	return err
}
