package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
)

const (
	provisionedColumns = `p.operator, p.user_name, COALESCE(p.external_id, ''), p.display, p.formatted, p.given, p.family, o.email,
		o.state, o.reason, p.made, p.since, p.changed, p.refused, p.version`
	selectProvisioned           statement = `SELECT ` + provisionedColumns + ` FROM operator_provisioned p JOIN operators o ON o.id = p.operator WHERE p.operator = $1`
	selectProvisionedByName     statement = `SELECT ` + provisionedColumns + ` FROM operator_provisioned p JOIN operators o ON o.id = p.operator WHERE p.user_key = $1`
	selectProvisionedByExternal statement = `SELECT ` + provisionedColumns + ` FROM operator_provisioned p JOIN operators o ON o.id = p.operator WHERE p.external_id = $1`
	selectProvisionedByEmail    statement = `SELECT ` + provisionedColumns + ` FROM operators o JOIN operator_provisioned p ON p.operator = o.id WHERE o.email_key = $1`
	selectAllProvisioned        statement = `SELECT ` + provisionedColumns + ` FROM operator_provisioned p JOIN operators o ON o.id = p.operator
		ORDER BY p.since, p.operator LIMIT $1 OFFSET $2`
	countProvisioned  statement = `SELECT count(*) FROM operator_provisioned`
	insertProvisioned statement = `INSERT INTO operator_provisioned (operator, user_name, user_key, external_id, display, formatted, given, family, made, since, changed, refused, version)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, $12)`
	// holdUnclaimed locks an account that nobody has begun to enrol: it was never
	// active, has nothing to sign in with, and its link, if it has one, belongs to no
	// browser.
	holdUnclaimed statement = `UPDATE operators SET state = state WHERE id = $1 AND state = 'invited' AND seen = 0 AND subject IS NULL AND password = '' AND totp = ''
		AND NOT EXISTS (SELECT 1 FROM operator_passkeys k WHERE k.operator = $1)
		AND NOT EXISTS (SELECT 1 FROM operator_tokens t WHERE t.operator = $1 AND t.kind = 'enrol' AND t.binding <> $2)`
	holdUnremoved     statement = `UPDATE operators SET state = state WHERE id = $1 AND state <> 'removed'`
	updateProvisioned statement = `UPDATE operator_provisioned SET user_name = $3, user_key = $4, external_id = $5, display = $6, formatted = $7, given = $8, family = $9,
		changed = $10, version = version + 1 WHERE operator = $1 AND version = $2`
	// updateProvisionedName keeps the address, and updateProvisionedEmail changes it
	// where nobody gets in by a new one who was not let in anyway.
	updateProvisionedName  statement = `UPDATE operators SET name = $2, email = $3 WHERE id = $1 AND state <> 'removed' AND email_key = $4`
	updateProvisionedEmail statement = `UPDATE operators SET name = $2, email = $3, email_key = $4, own_email = 0 WHERE id = $1 AND state <> 'removed' AND (subject IS NOT NULL
		OR seen = 0 AND password = '' AND totp = '' AND NOT EXISTS (SELECT 1 FROM operator_passkeys k WHERE k.operator = $1)
		AND NOT EXISTS (SELECT 1 FROM operator_grants g WHERE g.operator = $1 AND g.source = ''))`
	noteProvisionRefused statement = `UPDATE operator_provisioned SET refused = $2 WHERE operator = $1`
	countRefused         statement = `SELECT count(*) FROM operator_provisioned p JOIN operators o ON o.id = p.operator WHERE p.refused <> 0 AND o.state = 'active'`
	clearProvisioned     statement = `DELETE FROM operator_provisioned WHERE operator = $1`
	clearMembership      statement = `DELETE FROM operator_group_members WHERE operator = $1`
	clearGroupGrants     statement = `DELETE FROM operator_grants WHERE operator = $1 AND source = 'scim'`
)

// AddProvisioned implements operator.ProvisionStore.
func (s *Operators) AddProvisioned(ctx context.Context, r operator.AccountRecord, p operator.Provisioned, most int) error {
	return s.db.logTx(ctx, func(t *tx) error {
		a := r.Account
		if _, err := t.exec(ctx, insertOperator, string(a.ID), string(r.Environment), a.Name, a.Email, nullable(r.EmailKey),
			string(a.State), micros(a.Created), r.Handle); err != nil {
			return err
		}
		return t.manage(ctx, p, most)
	})
}

// LinkProvisioned implements operator.ProvisionStore.
func (s *Operators) LinkProvisioned(ctx context.Context, p operator.Provisioned, unclaimed bool, most int) error {
	return s.db.logTx(ctx, func(t *tx) error {
		var n int64
		var err error
		if unclaimed {
			var none operator.Hash
			n, err = t.exec(ctx, holdUnclaimed, string(p.ID), none[:])
		} else {
			n, err = t.exec(ctx, holdUnremoved, string(p.ID))
		}
		if err = touched(n, err, gatehouse.ErrConflict, "the account is not to be had"); err != nil {
			return err
		}
		return t.manage(ctx, p, most)
	})
}

func (t *tx) manage(ctx context.Context, p operator.Provisioned, most int) error {
	f := p.Profile
	_, err := t.exec(ctx, insertProvisioned, string(p.ID), f.UserName, operator.FoldKey(f.UserName), nullable(f.ExternalID),
		f.Display, f.Formatted, f.Given, f.Family, flag(p.Made), micros(p.Since), micros(p.Changed), p.Version)
	if err != nil {
		return err
	}
	return t.atMost(ctx, countProvisioned, most)
}

// atMost refuses what would be one too many.
func (t *tx) atMost(ctx context.Context, count statement, most int) error {
	var n int
	if err := t.queryRow(ctx, count).Scan(&n); err != nil {
		return err
	}
	if n > most {
		return operator.ErrCrowded
	}
	return nil
}

// UnlinkProvisioned implements operator.ProvisionStore.
func (s *Operators) UnlinkProvisioned(ctx context.Context, id operator.AccountID) error {
	return s.db.logTx(ctx, func(t *tx) error {
		if err := t.all(ctx, string(id), clearMembership, clearGroupGrants); err != nil {
			return err
		}
		n, err := t.exec(ctx, clearProvisioned, string(id))
		return touched(n, err, gatehouse.ErrNotFound, "the account is not managed")
	})
}

// Provisioned implements operator.ProvisionStore.
func (s *Operators) Provisioned(ctx context.Context, id operator.AccountID) (operator.Provisioned, error) {
	return scanProvisioned(s.db.queryRow(ctx, selectProvisioned, string(id)))
}

// ProvisionedBy implements operator.ProvisionStore.
func (s *Operators) ProvisionedBy(ctx context.Context, by operator.ProvisionedKey, key string) (operator.Provisioned, error) {
	which := selectProvisionedByName
	switch by {
	case operator.ByExternalID:
		which = selectProvisionedByExternal
	case operator.ByAddress:
		which = selectProvisionedByEmail
	}
	return scanProvisioned(s.db.queryRow(ctx, which, key))
}

// AllProvisioned implements operator.ProvisionStore.
func (s *Operators) AllProvisioned(ctx context.Context, skip, most int) (list []operator.Provisioned, total int, err error) {
	err = s.db.snapshot(ctx, func(t *tx) error {
		if err := t.queryRow(ctx, countProvisioned).Scan(&total); err != nil {
			return err
		}
		list, err = collect[operator.Provisioned](t.query(ctx, selectAllProvisioned, most, skip))(func(r *rows) (operator.Provisioned, error) { return scanProvisioned(r) })
		return err
	})
	return list, total, err
}

func scanProvisioned(r scanner) (operator.Provisioned, error) {
	var p operator.Provisioned
	var made, since, changed, refused int64
	f := &p.Profile
	err := r.Scan(&p.ID, &f.UserName, &f.ExternalID, &f.Display, &f.Formatted, &f.Given, &f.Family, &f.Email,
		&p.State, &p.Reason, &made, &since, &changed, &refused, &p.Version)
	p.Made, p.Since, p.Changed, p.Refused = made != 0, fromMicros(since), fromMicros(changed), fromMicros(refused)
	return p, err
}

// SetProvisioned implements operator.ProvisionStore.
func (s *Operators) SetProvisioned(ctx context.Context, p operator.Provisioned, name, emailKey string, at time.Time) error {
	return s.db.logTx(ctx, func(t *tx) error {
		f := p.Profile
		n, err := t.exec(ctx, updateProvisioned, string(p.ID), p.Version, f.UserName, operator.FoldKey(f.UserName), nullable(f.ExternalID),
			f.Display, f.Formatted, f.Given, f.Family, micros(at))
		if err == nil && n == 0 {
			return operator.ErrStale
		}
		if err != nil {
			return err
		}
		if n, err = t.exec(ctx, updateProvisionedName, string(p.ID), name, f.Email, emailKey); err != nil || n > 0 {
			return err
		}
		n, err = t.exec(ctx, updateProvisionedEmail, string(p.ID), name, f.Email, emailKey)
		if err == nil && n == 0 {
			return operator.ErrAddress
		}
		return err
	})
}

// NoteRefused implements operator.ProvisionStore.
func (s *Operators) NoteRefused(ctx context.Context, id operator.AccountID, at time.Time) error {
	_, err := s.db.logExec(ctx, noteProvisionRefused, string(id), micros(at))
	return err
}

// Refused implements operator.ProvisionStore.
func (s *Operators) Refused(ctx context.Context) (n int, err error) {
	err = s.db.queryRow(ctx, countRefused).Scan(&n)
	return n, err
}

const (
	groupColumns                    = `id, name, COALESCE(external_id, ''), created, changed, version`
	selectGroup           statement = `SELECT ` + groupColumns + ` FROM operator_groups WHERE id = $1`
	selectGroupByName     statement = `SELECT ` + groupColumns + ` FROM operator_groups WHERE name_key = $1`
	selectGroupByExternal statement = `SELECT ` + groupColumns + ` FROM operator_groups WHERE external_id = $1`
	selectGroups          statement = `SELECT ` + groupColumns + ` FROM operator_groups ORDER BY created, id LIMIT $1 OFFSET $2`
	countGroups           statement = `SELECT count(*) FROM operator_groups`
	selectMembers         statement = `SELECT operator, role FROM operator_group_members WHERE grp = $1 ORDER BY operator`
	insertGroup           statement = `INSERT INTO operator_groups (id, name, name_key, external_id, created, changed, version) VALUES ($1, $2, $3, $4, $5, $6, $7)`
	updateGroup           statement = `UPDATE operator_groups SET name = $3, name_key = $4, external_id = $5, changed = $6, version = version + 1 WHERE id = $1 AND version = $2`
	deleteGroup           statement = `DELETE FROM operator_groups WHERE id = $1`
	insertMember          statement = `INSERT INTO operator_group_members (grp, operator, role) SELECT CAST($1 AS TEXT), operator, CAST($3 AS TEXT) FROM operator_provisioned WHERE operator = $2`
	deleteMember          statement = `DELETE FROM operator_group_members WHERE grp = $1 AND operator = $2`
	upsertGroupGrant      statement = `INSERT INTO operator_grants (operator, role, since, until, mac, source) VALUES ($1, $2, $3, 0, $4, 'scim')
		ON CONFLICT (operator, role) DO UPDATE SET until = 0, provider = 0, mac = excluded.mac, source = 'scim' WHERE operator_grants.until <> 0`
	deleteGroupGrant statement = `DELETE FROM operator_grants WHERE operator = $1 AND role = $2 AND source = 'scim'
		AND NOT EXISTS (SELECT 1 FROM operator_group_members m WHERE m.operator = $1 AND m.role = $2)`
	dropGroupGrant    statement = `DELETE FROM operator_grants WHERE operator = $1 AND role = $2 AND source = 'scim'`
	selectGroupGrants statement = `SELECT operator, role FROM operator_grants WHERE source = 'scim' ORDER BY operator, role`
)

// AddGroup implements operator.GroupStore.
func (s *Operators) AddGroup(ctx context.Context, g operator.Group, most int) error {
	return s.db.logTx(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, insertGroup, string(g.ID), g.Name, operator.FoldKey(g.Name), nullable(g.ExternalID), micros(g.Created), micros(g.Changed), g.Version); err != nil {
			return err
		}
		return t.atMost(ctx, countGroups, most)
	})
}

// Group implements operator.GroupStore.
func (s *Operators) Group(ctx context.Context, id operator.GroupID) (g operator.Group, err error) {
	err = s.db.snapshot(ctx, func(t *tx) error {
		if g, err = scanGroup(t.queryRow(ctx, selectGroup, string(id))); err != nil {
			return err
		}
		g.Members, err = collect[operator.Member](t.query(ctx, selectMembers, string(id)))(func(r *rows) (m operator.Member, err error) {
			err = r.Scan(&m.Account, &m.Role)
			return m, err
		})
		return err
	})
	return g, err
}

// GroupBy implements operator.GroupStore.
func (s *Operators) GroupBy(ctx context.Context, external bool, key string) (operator.Group, error) {
	if external {
		return scanGroup(s.db.queryRow(ctx, selectGroupByExternal, key))
	}
	return scanGroup(s.db.queryRow(ctx, selectGroupByName, key))
}

// Groups implements operator.GroupStore.
func (s *Operators) Groups(ctx context.Context, skip, most int) (list []operator.Group, total int, err error) {
	err = s.db.snapshot(ctx, func(t *tx) error {
		if err := t.queryRow(ctx, countGroups).Scan(&total); err != nil {
			return err
		}
		list, err = collect[operator.Group](t.query(ctx, selectGroups, most, skip))(func(r *rows) (operator.Group, error) { return scanGroup(r) })
		return err
	})
	return list, total, err
}

func scanGroup(r scanner) (g operator.Group, err error) {
	var created, changed int64
	err = r.Scan(&g.ID, &g.Name, &g.ExternalID, &created, &changed, &g.Version)
	g.Created, g.Changed = fromMicros(created), fromMicros(changed)
	return g, err
}

// SetGroup implements operator.GroupStore.
func (s *Operators) SetGroup(ctx context.Context, c operator.GroupChange) error {
	return s.db.logTx(ctx, func(t *tx) error {
		g := c.Group
		n, err := t.exec(ctx, updateGroup, string(g.ID), g.Version, g.Name, operator.FoldKey(g.Name), nullable(g.ExternalID), micros(c.At))
		if err == nil && n == 0 {
			return operator.ErrStale
		}
		if err != nil {
			return err
		}
		for _, id := range c.Remove {
			if _, err := t.exec(ctx, deleteMember, string(g.ID), string(id)); err != nil {
				return err
			}
		}
		for _, m := range c.Add {
			n, err := t.exec(ctx, insertMember, string(g.ID), string(m.Account), string(m.Role))
			if err = touched(n, err, gatehouse.ErrNotFound, "a member is not managed"); err != nil {
				return err
			}
		}
		// After the membership of all groups is what it will be.
		for _, d := range c.Drops {
			if _, err := t.exec(ctx, deleteGroupGrant, string(d.Account), string(d.Role)); err != nil {
				return err
			}
		}
		for _, a := range c.Grants {
			if a.Grant.Grant.Role == operator.Owner || !a.Grant.Grant.Until.IsZero() {
				return errors.New("a group gives no such role")
			}
			if _, err := t.exec(ctx, upsertGroupGrant, string(a.Account), string(a.Grant.Grant.Role), micros(c.At), a.Grant.MAC); err != nil {
				return err
			}
		}
		if c.Gone {
			if _, err := t.exec(ctx, deleteGroup, string(g.ID)); err != nil {
				return fmt.Errorf("removing a group: %w", err)
			}
		}
		return nil
	})
}

// GroupGrants implements operator.GroupStore.
func (s *Operators) GroupGrants(ctx context.Context) ([]operator.AccountRole, error) {
	return collect[operator.AccountRole](s.db.query(ctx, selectGroupGrants))(func(r *rows) (a operator.AccountRole, err error) {
		err = r.Scan(&a.Account, &a.Role)
		return a, err
	})
}

// DropGroupGrant implements operator.GroupStore.
func (s *Operators) DropGroupGrant(ctx context.Context, a operator.AccountRole) error {
	n, err := s.db.logExec(ctx, dropGroupGrant, string(a.Account), string(a.Role))
	return touched(n, err, gatehouse.ErrNotFound, "no such grant")
}
