package store

import (
	"context"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/stepup"
)

// What a person has is counted for each row that is shown, by their index: there are
// few rows on a page, and few factors of a person.
const (
	personAsked statement = `INSERT INTO stepup_people (person, subject, asked) VALUES ($1, $2, $3)
		ON CONFLICT (person) DO UPDATE SET subject = COALESCE(stepup_people.subject, excluded.subject), asked = excluded.asked`

	holderColumns = `p.person, p.subject, p.asked,
		(SELECT count(*) FROM stepup_factors f WHERE f.person = p.person AND f.request = '' AND f.blocked = 0 AND f.method = 'passkey'),
		(SELECT count(*) FROM stepup_factors f WHERE f.person = p.person AND f.request = '' AND f.blocked = 0 AND f.method = 'totp'),
		(SELECT count(*) FROM stepup_factors f WHERE f.person = p.person AND f.request = '' AND f.blocked = 1),
		(SELECT count(*) FROM stepup_recovery r WHERE r.person = p.person AND r.request = ''),
		(SELECT count(*) FROM stepup_requests q WHERE q.person = p.person AND q.expires > $1 AND q.stage IN ('asked', 'started', 'coded')),
		COALESCE((SELECT max(f.used) FROM stepup_factors f WHERE f.person = p.person AND f.request = ''), 0),
		COALESCE((SELECT max(b.proved) FROM stepup_browsers b WHERE b.person = p.person), 0)
		FROM stepup_people p`
	holdersSelect statement = `SELECT ` + holderColumns + ` WHERE (p.asked, p.person) < ($2, $3) ORDER BY p.asked DESC, p.person DESC LIMIT $4`
	holderSelect  statement = `SELECT ` + holderColumns + ` WHERE p.person = $2`

	opensSelect statement = `SELECT id, person, service, stage, enrolled, wrong, created, expires FROM stepup_requests
		WHERE stage IN ('asked', 'started', 'coded') AND expires > $1 ORDER BY created DESC, id DESC LIMIT $2`
	opensOfPerson statement = `SELECT id, person, service, stage, enrolled, wrong, created, expires FROM stepup_requests
		WHERE person = $3 AND stage IN ('asked', 'started', 'coded') AND expires > $1 ORDER BY created DESC, id DESC LIMIT $2`
	opensCount statement = `SELECT count(*) FROM (SELECT 1 FROM stepup_requests
		WHERE stage IN ('asked', 'started', 'coded') AND expires > $1 LIMIT $2) AS counted`
	blockedCount statement = `SELECT count(*) FROM (SELECT 1 FROM stepup_factors WHERE blocked = 1 LIMIT $1) AS counted`
)

func scanHolder(scan func(...any) error) (stepup.StoredHolder, error) {
	var h stepup.StoredHolder
	var asked, used, proved int64
	err := scan(&h.Person, &h.SubjectSealed, &asked, &h.Passkeys, &h.TOTP, &h.Blocked, &h.RecoveryLeft, &h.Open, &used, &proved)
	h.Asked, h.Proved = fromMicros(asked), fromMicros(max(used, proved))
	return h, err
}

func (s stepupStore) Holders(ctx context.Context, behind stepup.Place, limit int, now time.Time) ([]stepup.StoredHolder, error) {
	from := int64(1) << 62 // later than any time
	if !behind.IsZero() {
		from = micros(behind.Asked)
	}
	return collect[stepup.StoredHolder](s.db.query(ctx, holdersSelect, micros(now), from, string(behind.Person), limit))(func(r *rows) (stepup.StoredHolder, error) {
		return scanHolder(r.Scan)
	})
}

func (s stepupStore) Holder(ctx context.Context, person gatehouse.PersonID, now time.Time) (stepup.StoredHolder, error) {
	return scanHolder(s.db.queryRow(ctx, holderSelect, micros(now), string(person)).Scan)
}

func (s stepupStore) Opens(ctx context.Context, person gatehouse.PersonID, limit int, now time.Time) ([]stepup.Open, error) {
	var found *rows
	var err error
	if person == "" {
		found, err = s.db.query(ctx, opensSelect, micros(now), limit)
	} else {
		found, err = s.db.query(ctx, opensOfPerson, micros(now), limit, string(person))
	}
	return collect[stepup.Open](found, err)(func(r *rows) (stepup.Open, error) {
		var o stepup.Open
		var created, expires int64
		err := r.Scan(&o.ID, &o.Person, &o.Service, &o.Stage, &o.Enrolled, &o.Wrong, &created, &expires)
		o.Created, o.Expires = fromMicros(created), fromMicros(expires)
		return o, err
	})
}

func (s stepupStore) Sums(ctx context.Context, most int, now time.Time) (sums stepup.Sums, err error) {
	if err := s.db.queryRow(ctx, opensCount, micros(now), most).Scan(&sums.Open); err != nil {
		return sums, err
	}
	return sums, s.db.queryRow(ctx, blockedCount, most).Scan(&sums.Blocked)
}
