package store

import (
	"context"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/review"
)

const (
	reviewInsert statement = `INSERT INTO reviews (id, state, begun, begun_by, due, since, closed, finished, reminded, mac)
		SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS BIGINT), CAST($4 AS TEXT), CAST($5 AS BIGINT), CAST($6 AS BIGINT), 0, 0, 0, CAST($7 AS TEXT)
		WHERE NOT EXISTS (SELECT 1 FROM reviews WHERE state <> 'finished')`
	reviewColumns = `r.id, r.state, r.begun, r.begun_by, r.due, r.since, r.closed, r.finished, r.reminded, r.mac,
		(SELECT count(*) FROM review_reviewed_lists l WHERE l.review = r.id),
		(SELECT count(*) FROM review_items i WHERE i.review = r.id),
		(SELECT count(*) FROM review_items i WHERE i.review = r.id AND i.proposed = 1),
		(SELECT count(*) FROM review_items i WHERE i.review = r.id AND i.decision = ''),
		(SELECT count(*) FROM review_items i WHERE i.review = r.id AND i.decision = 'confirmed'),
		(SELECT count(*) FROM review_items i WHERE i.review = r.id AND i.decision = 'removed'),
		(SELECT count(*) FROM review_items i WHERE i.review = r.id AND i.decision = 'lapsed'),
		(SELECT count(*) FROM review_items i WHERE i.review = r.id AND i.effect = 'last-owner'),
		(SELECT count(*) FROM review_items i WHERE i.review = r.id AND i.effect IN ('configuration', 'outside') AND i.resolved = 0)`
	reviewSelect statement = `SELECT ` + reviewColumns + ` FROM reviews r WHERE r.id = $1`
	reviewsAll   statement = `SELECT ` + reviewColumns + ` FROM reviews r ORDER BY r.begun DESC, r.id`
	reviewClose  statement = `UPDATE reviews SET state = 'closing', closed = $2, mac = $4 WHERE id = $1 AND state = 'open' AND mac = $3`
	reviewLapse  statement = `UPDATE review_items SET decision = 'lapsed', decided_by = 'gatehouse', at = $2 WHERE review = $1 AND decision = ''`
	reviewRemind statement = `UPDATE reviews SET reminded = $2 WHERE id = $1 AND reminded < $2`
	reviewSign   statement = `UPDATE reviews SET evidence = $2 WHERE id = $1 AND state = 'closing' AND evidence IS NULL`
	reviewProof  statement = `SELECT evidence FROM reviews WHERE id = $1 AND evidence IS NOT NULL`
	reviewFinish statement = `UPDATE reviews SET finished = CASE finished WHEN 0 THEN $2 ELSE finished END, state = 'finished'
		WHERE id = $1 AND evidence IS NOT NULL AND state <> 'open'`

	reviewItemColumns = `review, number, kind, system, holder, name, detail, created, used, flaw, proposed, why, decision, decided_by, own, at,
		reason, entry, effect, done, resolved, mac`
	reviewItemInsert statement = `INSERT INTO review_items (` + reviewItemColumns + `)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, '', '', 0, 0, '', '', '', 0, 0, $13)`
	reviewItems statement = `SELECT ` + reviewItemColumns + ` FROM review_items WHERE review = $1 ORDER BY number`
	// The review's row is locked, so that none of its items is decided while it closes.
	reviewHold   statement = `UPDATE reviews SET state = state WHERE id = $1 AND state = 'open'`
	reviewDecide statement = `UPDATE review_items SET decision = $3, decided_by = $4, own = $5, at = $6, reason = $7, entry = $8, mac = $9
		WHERE review = $1 AND number = $2 AND entry = $10`
	reviewEffect statement = `UPDATE review_items SET effect = $3, done = $4, mac = $5 WHERE review = $1 AND number = $2 AND effect = ''`
	reviewOpen   statement = `SELECT ` + reviewItemColumns + ` FROM review_items
		WHERE effect IN ('configuration', 'outside') AND resolved = 0 ORDER BY done, review, number`
	reviewResolve statement = `UPDATE review_items SET resolved = $3 WHERE review = $1 AND number = $2 AND resolved = 0`

	reviewedListInsert statement = `INSERT INTO review_reviewed_lists (review, system, at, imported_by, sha256, rights, has_use, mac)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
	reviewedLists statement = `SELECT system, at, imported_by, sha256, rights, has_use, mac FROM review_reviewed_lists WHERE review = $1 ORDER BY system`
	// What belongs to a review goes before it, if that is not finished.
	discardItems statement = `DELETE FROM review_items WHERE review IN (SELECT id FROM reviews WHERE id = $1 AND state <> 'finished')`
	discardLists statement = `DELETE FROM review_reviewed_lists WHERE review IN (SELECT id FROM reviews WHERE id = $1 AND state <> 'finished')`
	discardOne   statement = `DELETE FROM reviews WHERE id = $1 AND state <> 'finished'`

	listPut statement = `INSERT INTO review_lists (system, at, imported_by, sha256, rights, has_use) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (system) DO UPDATE SET at = excluded.at, imported_by = excluded.imported_by, sha256 = excluded.sha256,
			rights = excluded.rights, has_use = excluded.has_use`
	listsAll     statement = `SELECT system, at, imported_by, sha256, rights, has_use FROM review_lists ORDER BY system`
	accessClear  statement = `DELETE FROM review_access WHERE system = $1`
	accessInsert statement = `INSERT INTO review_access (system, account, role, used) VALUES ($1, $2, $3, $4)`
	accessAll    statement = `SELECT account, role, used FROM review_access WHERE system = $1 ORDER BY account, role`
)

// reviewStore implements review.Store. No process remembers its rows.
type reviewStore struct{ db *DB }

var _ review.Store = reviewStore{}

// Reviews returns the part of the database that keeps access reviews.
func (d *DB) Reviews() review.Store { return reviewStore{d} }

func (s reviewStore) Begin(ctx context.Context, r review.Review, items []review.Item, lists []review.ReviewedList) error {
	return s.db.logTx(ctx, func(t *tx) error {
		n, err := t.exec(ctx, reviewInsert, r.ID, r.State, micros(r.Begun), r.By, micros(r.Due), micros(r.Since), r.MAC)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("a review is not finished: %w", gatehouse.ErrConflict)
		}
		for _, i := range items {
			if _, err := t.exec(ctx, reviewItemInsert, r.ID, i.Number, i.Kind, i.System, i.Holder, i.Name, i.Detail, micros(i.Created),
				micros(i.Used), i.Flaw, flag(i.Proposed), i.Why, i.MAC); err != nil {
				return err
			}
		}
		for _, l := range lists {
			if _, err := t.exec(ctx, reviewedListInsert, r.ID, l.System, micros(l.At), l.By, l.SHA256, l.Rights, flag(l.HasUse), l.MAC); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s reviewStore) Discard(ctx context.Context, id review.ID) error {
	return s.db.logTx(ctx, func(t *tx) error { return t.all(ctx, string(id), discardItems, discardLists, discardOne) })
}

func (s reviewStore) Review(ctx context.Context, id review.ID) (review.Review, error) {
	return scanReview(s.db.queryRow(ctx, reviewSelect, id))
}

func (s reviewStore) Reviews(ctx context.Context) ([]review.Review, error) {
	return collect[review.Review](s.db.query(ctx, reviewsAll))(func(r *rows) (review.Review, error) { return scanReview(r) })
}

func scanReview(row scanner) (r review.Review, err error) {
	var begun, due, since, closed, finished int64
	c := &r.Counts
	err = row.Scan(&r.ID, &r.State, &begun, &r.By, &due, &since, &closed, &finished, &r.Reminded, &r.MAC, &r.Lists,
		&c.Items, &c.Proposed, &c.Undecided, &c.Confirmed, &c.Removed, &c.Lapsed, &c.Exceptions, &c.OpenItems)
	r.Begun, r.Due, r.Since, r.Closed, r.Finished = fromMicros(begun), fromMicros(due), fromMicros(since), fromMicros(closed), fromMicros(finished)
	return r, err
}

func (s reviewStore) Close(ctx context.Context, was string, r review.Review) error {
	return s.db.logTx(ctx, func(t *tx) error {
		n, err := t.exec(ctx, reviewClose, r.ID, micros(r.Closed), was, r.MAC)
		if err != nil || n == 0 {
			return err
		}
		_, err = t.exec(ctx, reviewLapse, r.ID, micros(r.Closed))
		return err
	})
}

func (s reviewStore) Remind(ctx context.Context, id review.ID, n int) error {
	_, err := s.db.logExec(ctx, reviewRemind, id, n)
	return err
}

func (s reviewStore) Sign(ctx context.Context, id review.ID, evidence []byte) error {
	_, err := s.db.logExec(ctx, reviewSign, id, evidence)
	return err
}

func (s reviewStore) Evidence(ctx context.Context, id review.ID) (evidence []byte, err error) {
	err = s.db.queryRow(ctx, reviewProof, id).Scan(&evidence)
	return evidence, err
}

func (s reviewStore) Finish(ctx context.Context, id review.ID, at time.Time) error {
	n, err := s.db.logExec(ctx, reviewFinish, id, micros(at))
	if err == nil && n == 0 {
		err = fmt.Errorf("the review is not ready to be finished: %w", gatehouse.ErrConflict)
	}
	return err
}

func (s reviewStore) Items(ctx context.Context, id review.ID) ([]review.Item, error) {
	return collect[review.Item](s.db.query(ctx, reviewItems, id))(scanReviewItem)
}

func scanReviewItem(r *rows) (i review.Item, err error) {
	var created, used, proposed, own, at, done, resolved int64
	err = r.Scan(&i.Review, &i.Number, &i.Kind, &i.System, &i.Holder, &i.Name, &i.Detail, &created, &used, &i.Flaw, &proposed, &i.Why,
		&i.Decision, &i.By, &own, &at, &i.Reason, &i.Entry, &i.Effect, &done, &resolved, &i.MAC)
	i.Created, i.Used, i.Proposed, i.Own = fromMicros(created), fromMicros(used), proposed != 0, own != 0
	i.At, i.Done, i.Resolved = fromMicros(at), fromMicros(done), fromMicros(resolved)
	return i, err
}

func (s reviewStore) Decide(ctx context.Context, i review.Item, before string) error {
	return s.db.logTx(ctx, func(t *tx) error {
		n, err := t.exec(ctx, reviewHold, i.Review)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("the review is not open: %w", gatehouse.ErrConflict)
		}
		n, err = t.exec(ctx, reviewDecide, i.Review, i.Number, i.Decision, i.By, flag(i.Own), micros(i.At), i.Reason, i.Entry, i.MAC, before)
		if err == nil && n == 0 {
			err = review.ErrMeanwhile
		}
		return err
	})
}

func (s reviewStore) Effect(ctx context.Context, i review.Item) error {
	_, err := s.db.logExec(ctx, reviewEffect, i.Review, i.Number, i.Effect, micros(i.Done), i.MAC)
	return err
}

func (s reviewStore) OpenItems(ctx context.Context) ([]review.Item, error) {
	return collect[review.Item](s.db.query(ctx, reviewOpen))(scanReviewItem)
}

func (s reviewStore) Resolve(ctx context.Context, id review.ID, number int, at time.Time) error {
	_, err := s.db.logExec(ctx, reviewResolve, id, number, micros(at))
	return err
}

func (s reviewStore) PutList(ctx context.Context, l review.List, access []review.Access) error {
	return s.db.logTx(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, listPut, l.System, micros(l.At), l.By, l.SHA256, l.Rights, flag(l.HasUse)); err != nil {
			return err
		}
		if _, err := t.exec(ctx, accessClear, l.System); err != nil {
			return err
		}
		for _, a := range access {
			if _, err := t.exec(ctx, accessInsert, l.System, a.Account, a.Role, micros(a.Used)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s reviewStore) ReviewedLists(ctx context.Context, id review.ID) ([]review.ReviewedList, error) {
	return collect[review.ReviewedList](s.db.query(ctx, reviewedLists, id))(func(r *rows) (l review.ReviewedList, err error) {
		var at, use int64
		err = r.Scan(&l.System, &at, &l.By, &l.SHA256, &l.Rights, &use, &l.MAC)
		l.At, l.HasUse = fromMicros(at), use != 0
		return l, err
	})
}

func (s reviewStore) Lists(ctx context.Context) ([]review.List, error) {
	return collect[review.List](s.db.query(ctx, listsAll))(func(r *rows) (l review.List, err error) {
		var at, use int64
		err = r.Scan(&l.System, &at, &l.By, &l.SHA256, &l.Rights, &use)
		l.At, l.HasUse = fromMicros(at), use != 0
		return l, err
	})
}

func (s reviewStore) Access(ctx context.Context, system string) ([]review.Access, error) {
	return collect[review.Access](s.db.query(ctx, accessAll, system))(func(r *rows) (a review.Access, err error) {
		var used int64
		err = r.Scan(&a.Account, &a.Role, &used)
		a.Used = fromMicros(used)
		return a, err
	})
}
