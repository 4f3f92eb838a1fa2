package store

import (
	"context"
	"math"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/reconcile"
)

const (
	windowColumns = `app, owner, operation, lim, reset_at, connection, first_left, first_began, first_at, last_left, last_began, last_at, replies, told`
	// What was heard first stays, of what is left the least, and replies add up.
	windowAdd statement = `INSERT INTO reconcile_windows (` + windowColumns + `, judged_left)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0, $14)
		ON CONFLICT (app, owner, operation, lim, reset_at) DO UPDATE SET
			first_left = CASE WHEN excluded.first_at < reconcile_windows.first_at THEN excluded.first_left ELSE reconcile_windows.first_left END,
			first_began = CASE WHEN excluded.first_at < reconcile_windows.first_at THEN excluded.first_began ELSE reconcile_windows.first_began END,
			first_at = CASE WHEN excluded.first_at < reconcile_windows.first_at THEN excluded.first_at ELSE reconcile_windows.first_at END,
			last_left = CASE WHEN excluded.last_left < reconcile_windows.last_left THEN excluded.last_left ELSE reconcile_windows.last_left END,
			last_began = CASE WHEN excluded.last_left < reconcile_windows.last_left THEN excluded.last_began ELSE reconcile_windows.last_began END,
			last_at = CASE WHEN excluded.last_left < reconcile_windows.last_left THEN excluded.last_at ELSE reconcile_windows.last_at END,
			replies = reconcile_windows.replies + excluded.replies`
	// The condition is that of the partial index, to the letter: the column first, as
	// SQLite turns it before it compares.
	windowsOpen statement = `SELECT ` + windowColumns + ` FROM reconcile_windows
		WHERE replies <= first_left - last_left AND last_left < judged_left ORDER BY first_began LIMIT $1`
	windowJudge statement = `UPDATE reconcile_windows SET told = $6, judged_left = $7
		WHERE app = $1 AND owner = $2 AND operation = $3 AND lim = $4 AND reset_at = $5`
	windowsSweep statement = `DELETE FROM reconcile_windows WHERE last_at < $1`
	// First the repeats: only the windows tell whose they are.
	repeatsErase statement = `DELETE FROM reconcile_repeats WHERE owner IN (SELECT owner FROM reconcile_windows
		WHERE connection IN (SELECT id FROM connections WHERE person = $1))`
	windowsErase statement = `DELETE FROM reconcile_windows WHERE connection IN (SELECT id FROM connections WHERE person = $1)`

	repeatAdd    statement = `INSERT INTO reconcile_repeats (app, owner, operation, at) VALUES ($1, $2, $3, $4)`
	repeatsOf    statement = `SELECT count(*) FROM reconcile_repeats WHERE owner = $1 AND operation = $2 AND at > $3 AND at <= $4`
	repeatsSweep statement = `DELETE FROM reconcile_repeats WHERE at < $1`

	postsAdd statement = `INSERT INTO reconcile_posts (app, hour, posts, replies, streamed, unbounded) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (app, hour) DO UPDATE SET posts = reconcile_posts.posts + excluded.posts, replies = reconcile_posts.replies + excluded.replies,
			streamed = reconcile_posts.streamed + excluded.streamed, unbounded = reconcile_posts.unbounded + excluded.unbounded`
	postsOf statement = `SELECT CAST(coalesce(sum(posts), 0) AS BIGINT), CAST(coalesce(sum(replies), 0) AS BIGINT), CAST(coalesce(sum(streamed), 0) AS BIGINT),
		CAST(coalesce(sum(unbounded), 0) AS BIGINT)
		FROM reconcile_posts WHERE app = $1 AND hour >= $2 AND hour < $3`
	postsTold  statement = `SELECT day, told FROM reconcile_posts_told WHERE client = $1`
	postsTell  statement = `INSERT INTO reconcile_posts_told (client, day, told) VALUES ($1, $2, $3) ON CONFLICT (client, day) DO UPDATE SET told = excluded.told`
	postsSweep statement = `DELETE FROM reconcile_posts WHERE hour < $1`
	toldSweep  statement = `DELETE FROM reconcile_posts_told WHERE day > 0 AND day < $1`

	// Not of those whose connection is erased: what their entries are found by is gone.
	handlesUsed statement = `SELECT u.handle, u.uses, u.compared, u.compared_at, h.person, h.connection
		FROM handle_uses u JOIN handles h ON h.id = u.handle JOIN connections c ON c.id = h.connection
		WHERE u.compared < u.uses AND c.status <> 'erased' ORDER BY u.compared_at LIMIT $1`
	handleCompared statement = `UPDATE handle_uses SET compared = $2, compared_at = $3 WHERE handle = $1`
	usesErase      statement = `DELETE FROM handle_uses WHERE handle IN (SELECT id FROM handles WHERE person = $1)`

	countHandles        statement = `SELECT count(*) FROM handles`
	countServiceKeys    statement = `SELECT count(*) FROM service_keys`
	countConnections    statement = `SELECT count(*) FROM connections WHERE redeemed > 0`
	countErasures       statement = `SELECT count(*) FROM backup_erasures`
	countHandlesRevoked statement = `SELECT count(*) FROM handles WHERE revoked > 0`
	countKeysRevoked    statement = `SELECT count(*) FROM service_keys WHERE revoked > 0`
	countUses           statement = `SELECT CAST(coalesce(sum(calls), 0) AS BIGINT) FROM observe_calls`

	countRecords    statement = `SELECT count(*) FROM records`
	countDeliveries statement = `SELECT count(*) FROM outbox_events WHERE state = 'delivered'`
	countDuties     statement = `SELECT count(*) FROM duties`
	// Not those that were closed when they were opened, because nothing is held.
	countDutiesClosed statement = `SELECT count(*) FROM duties WHERE closed > opened`

	baselineRows   statement = `SELECT name, value FROM reconcile_baseline`
	baselineClear  statement = `DELETE FROM reconcile_baseline`
	baselineInsert statement = `INSERT INTO reconcile_baseline (name, value) VALUES ($1, $2)`

	reconcileTake statement = `UPDATE reconcile_work SET lease_until = $2 WHERE id = 1 AND lease_until <= $1`
	// Each lease ends after whatever lease was there before, so its end says whose it is.
	reconcileExtend statement = `UPDATE reconcile_work SET lease_until = $2 WHERE id = 1 AND lease_until IN ($1, $2)`
	reconcileFree   statement = `UPDATE reconcile_work SET lease_until = 0 WHERE id = 1 AND lease_until = $1`
	reconcileLease  statement = `SELECT lease_until FROM reconcile_work WHERE id = 1`
	reconcileDone   statement = `SELECT done_at FROM reconcile_work WHERE id = 1`
	reconcileSet    statement = `UPDATE reconcile_work SET done_at = $1 WHERE id = 1`
)

// rowCounts are how the rows of each equation are counted.
var rowCounts = map[string]statement{
	"handles": countHandles, "service-keys": countServiceKeys, "connections": countConnections, "erasures": countErasures, "uses": countUses,
	"records": countRecords, "deliveries": countDeliveries, "duties": countDuties, "duties-closed": countDutiesClosed,
	"handles-revoked": countHandlesRevoked, "service-keys-revoked": countKeysRevoked,
}

// The names of a baseline that are not rows: when it was, and the size of each log.
const (
	baselineAt  = "at"
	baselineLog = "log/"
)

// reconcileStore implements the Store of package reconcile. No process remembers its
// rows.
type reconcileStore struct{ db *DB }

var _ reconcile.Store = reconcileStore{}

// Reconcile returns the store of package reconcile.
func (d *DB) Reconcile() reconcile.Store { return reconcileStore{d} }

func (s reconcileStore) AddWindows(ctx context.Context, windows []reconcile.Window) error {
	return s.db.logTx(ctx, func(t *tx) error {
		for _, w := range windows {
			if _, err := t.exec(ctx, windowAdd, w.App, w.Owner, w.Operation, w.Limit, micros(w.Reset), w.Connection,
				w.First.Left, micros(w.First.Began), micros(w.First.At), w.Last.Left, micros(w.Last.Began), micros(w.Last.At),
				w.Replies, int64(math.MaxInt64)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s reconcileStore) OpenWindows(ctx context.Context, limit int) ([]reconcile.Window, error) {
	return collect[reconcile.Window](s.db.query(ctx, windowsOpen, limit))(func(r *rows) (w reconcile.Window, err error) {
		var reset, firstBegan, firstAt, lastBegan, lastAt int64
		err = r.Scan(&w.App, &w.Owner, &w.Operation, &w.Limit, &reset, &w.Connection, &w.First.Left, &firstBegan, &firstAt,
			&w.Last.Left, &lastBegan, &lastAt, &w.Replies, &w.Told)
		w.Reset = fromMicros(reset)
		w.First.Began, w.First.At = fromMicros(firstBegan), fromMicros(firstAt)
		w.Last.Began, w.Last.At = fromMicros(lastBegan), fromMicros(lastAt)
		return w, err
	})
}

func (s reconcileStore) JudgeWindow(ctx context.Context, w reconcile.Window, told int64) error {
	_, err := s.db.logExec(ctx, windowJudge, w.App, w.Owner, w.Operation, w.Limit, micros(w.Reset), told, w.Last.Left)
	return err
}

func (s reconcileStore) AddRepeat(ctx context.Context, r reconcile.Repeat) error {
	_, err := s.db.logExec(ctx, repeatAdd, r.App, r.Owner, r.Operation, micros(r.At))
	return err
}

func (s reconcileStore) Repeats(ctx context.Context, w reconcile.Window, from, until time.Time) (n int64, err error) {
	err = s.db.queryRow(ctx, repeatsOf, w.Owner, w.Operation, micros(from), micros(until)).Scan(&n)
	return n, err
}

func (s reconcileStore) SweepWindows(ctx context.Context, before time.Time) error {
	return s.db.logTx(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, windowsSweep, micros(before)); err != nil {
			return err
		}
		_, err := t.exec(ctx, repeatsSweep, micros(before))
		return err
	})
}

func (s reconcileStore) AddPosts(ctx context.Context, list []reconcile.Posts) error {
	return s.db.logTx(ctx, func(t *tx) error {
		for _, p := range list {
			var streamed, unbounded int64
			if p.Streamed {
				streamed = 1
			}
			if p.Unbounded {
				unbounded = 1
			}
			if _, err := t.exec(ctx, postsAdd, p.App, micros(p.Hour), p.Posts, p.Replies, streamed, unbounded); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s reconcileStore) PostsOf(ctx context.Context, app gatehouse.AppName, from, until time.Time) (reconcile.Posts, error) {
	p := reconcile.Posts{App: app}
	var streamed, unbounded int64
	err := s.db.queryRow(ctx, postsOf, app, micros(from), micros(until)).Scan(&p.Posts, &p.Replies, &streamed, &unbounded)
	p.Streamed, p.Unbounded = streamed > 0, unbounded > 0
	return p, err
}

func (s reconcileStore) PostsTold(ctx context.Context, client string) (map[time.Time]int64, error) {
	type day struct{ at, told int64 }
	list, err := collect[day](s.db.query(ctx, postsTold, client))(func(r *rows) (d day, err error) { return d, r.Scan(&d.at, &d.told) })
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, gatehouse.ErrNotFound
	}
	told := map[time.Time]int64{}
	for _, d := range list {
		if d.at > 0 {
			told[fromMicros(d.at)] = d.told
		}
	}
	return told, nil
}

func (s reconcileStore) TellPosts(ctx context.Context, client string, told map[time.Time]int64) error {
	return s.db.logTx(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, postsTell, client, 0, 0); err != nil {
			return err
		}
		for day, n := range told {
			if _, err := t.exec(ctx, postsTell, client, micros(day), n); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s reconcileStore) SweepPosts(ctx context.Context, before time.Time) error {
	return s.db.logTx(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, postsSweep, micros(before)); err != nil {
			return err
		}
		_, err := t.exec(ctx, toldSweep, micros(before))
		return err
	})
}

func (s reconcileStore) UsedHandles(ctx context.Context, limit int) ([]reconcile.UsedHandle, error) {
	return collect[reconcile.UsedHandle](s.db.query(ctx, handlesUsed, limit))(func(r *rows) (h reconcile.UsedHandle, err error) {
		var since int64
		err = r.Scan(&h.ID, &h.Uses, &h.Compared, &since, &h.Person, &h.Connection)
		h.Since = fromMicros(since)
		return h, err
	})
}

func (s reconcileStore) CompareHandle(ctx context.Context, id gatehouse.HandleID, uses int64, at time.Time) error {
	_, err := s.db.logExec(ctx, handleCompared, string(id), uses, micros(at))
	return err
}

func (s reconcileStore) Moment(ctx context.Context) (reconcile.Moment, error) {
	m := reconcile.Moment{Rows: map[string]int64{}, Sizes: map[int64]int64{}}
	err := s.db.snapshot(ctx, func(t *tx) error {
		// The first statement fixes the moment that is seen.
		heads, err := logsReader{t}.Heads(ctx)
		if err != nil {
			return err
		}
		m.At = time.Now().UTC().Truncate(time.Microsecond)
		m.Sizes[0] = 0 // also before its first entry
		for number, head := range heads {
			m.Sizes[number] = head.Size
		}
		for name, count := range rowCounts {
			var n int64
			if err := t.queryRow(ctx, count).Scan(&n); err != nil {
				return err
			}
			m.Rows[name] = n
		}
		return nil
	})
	return m, err
}

func (s reconcileStore) Baseline(ctx context.Context) (reconcile.Moment, error) {
	type number struct {
		name  string
		value int64
	}
	m := reconcile.Moment{Rows: map[string]int64{}, Sizes: map[int64]int64{}}
	list, err := collect[number](s.db.query(ctx, baselineRows))(func(r *rows) (n number, err error) { return n, r.Scan(&n.name, &n.value) })
	if err != nil {
		return m, err
	}
	if len(list) == 0 {
		return m, gatehouse.ErrNotFound
	}
	for _, n := range list {
		log, isLog := strings.CutPrefix(n.name, baselineLog)
		switch {
		case n.name == baselineAt:
			m.At = fromMicros(n.value)
		case isLog:
			number, err := strconv.ParseInt(log, 10, 64)
			if err != nil {
				return m, err
			}
			m.Sizes[number] = n.value
		default:
			m.Rows[n.name] = n.value
		}
	}
	return m, nil
}

func (s reconcileStore) SaveBaseline(ctx context.Context, m reconcile.Moment) error {
	values := map[string]int64{baselineAt: micros(m.At)}
	for name, n := range m.Rows {
		values[name] = n
	}
	for log, size := range m.Sizes {
		values[baselineLog+strconv.FormatInt(log, 10)] = size
	}
	return s.db.logTx(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, baselineClear); err != nil {
			return err
		}
		for name, n := range values {
			if _, err := t.exec(ctx, baselineInsert, name, n); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s reconcileStore) TakeReconcile(ctx context.Context, now, until time.Time) (taken bool, held time.Time, err error) {
	n, err := s.db.logExec(ctx, reconcileTake, micros(now), micros(until))
	if err != nil || n > 0 {
		return n > 0, time.Time{}, err
	}
	var at int64
	err = s.db.queryRow(ctx, reconcileLease).Scan(&at)
	return false, fromMicros(at), err
}

func (s reconcileStore) ExtendReconcile(ctx context.Context, was, until time.Time) (bool, error) {
	n, err := s.db.logExec(ctx, reconcileExtend, micros(was), micros(until))
	return n > 0, err
}

func (s reconcileStore) FreeReconcile(ctx context.Context, until time.Time) error {
	_, err := s.db.logExec(ctx, reconcileFree, micros(until))
	return err
}

func (s reconcileStore) ReconcileDone(ctx context.Context) (time.Time, error) {
	var at int64
	err := s.db.queryRow(ctx, reconcileDone).Scan(&at)
	return fromMicros(at), err
}

func (s reconcileStore) SetReconcileDone(ctx context.Context, at time.Time) error {
	_, err := s.db.logExec(ctx, reconcileSet, micros(at))
	return err
}
