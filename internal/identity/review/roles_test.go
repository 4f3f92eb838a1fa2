package review_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/review"
	"gatehouse/internal/store/storetest"
)

// A role is used by what it alone lets its operator do, not by signing in.
func TestARoleIsUsedByWhatItAloneAllows(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	s := w.setUp()
	w.ahead = 200 * day
	did := map[operator.AccountID]map[operator.Permission]time.Time{}
	given := map[operator.Role]time.Time{}
	c := w.config(w.db.Reviews())
	c.OperatorUsed = func(context.Context, operator.AccountID, time.Time) (time.Time, error) {
		return w.now().Add(-time.Hour), nil
	}
	c.RoleUsed = func(_ context.Context, id operator.AccountID, g operator.Grant, of []operator.Permission, since time.Time) (used, at time.Time, err error) {
		for p, at := range did[id] {
			if slices.Contains(of, p) && at.After(used) && !at.Before(since) {
				used = at
			}
		}
		return used, given[g.Role], nil
	}
	w.reviews = w.open(c)
	why := func(what string, role operator.Role, want string) {
		t.Helper()
		v := w.begin(operator.Host())
		i := w.item(v.ID, review.Grant, string(s.cyID), string(role))
		if i.Why != want || i.Proposed != (want != "") {
			t.Errorf("%s: proposed %t because it is %q, want %q", what, i.Proposed, i.Why, want)
		}
		w.must(w.db.Reviews().Discard(t.Context(), v.ID))
	}
	since := "not used since " + w.now().Add(-review.DefaultUnused).UTC().Format(time.DateOnly)
	why("an operator who signs in only", operator.Operator, since)
	did[s.cyID] = map[operator.Permission]time.Time{operator.KeysDestroy: w.now()}
	why("one who did what the role does not allow", operator.Operator, since)
	did[s.cyID][operator.KeysRotate] = w.now().Add(-day)
	why("one who did what the role allows", operator.Operator, "")
	did[s.cyID][operator.KeysRotate] = w.now().Add(-review.DefaultUnused - day)
	why("one who did that too long ago", operator.Operator, since)
	given[operator.Operator] = w.now().Add(-day)
	why("one who has the role since yesterday", operator.Operator, "")
	given[operator.Operator] = w.now().Add(-review.DefaultUnused / 2)
	why("one who has the role for a while", operator.Operator, "never used")
	delete(given, operator.Operator)

	// What another role of theirs lets them do as well says nothing of this one.
	did[s.cyID][operator.KeysRotate] = w.now()
	w.must(w.operators.Grant(t.Context(), operator.Host(), s.cyID, operator.Grant{Role: operator.Security}))
	why("a role beside one that has all of it", operator.Operator, "gives nothing that the operator's other roles do not")
	why("that one, whose own was used", operator.Security, "")
	delete(did[s.cyID], operator.KeysDestroy)
	why("that one, whose own was not used", operator.Security, since)

	// A role that only lets read is used by signing in.
	w.must(w.operators.Revoke(t.Context(), operator.Host(), s.cyID, operator.Security))
	w.must(w.operators.Revoke(t.Context(), operator.Host(), s.cyID, operator.Operator))
	w.must(w.operators.Grant(t.Context(), operator.Host(), s.cyID, operator.Grant{Role: operator.Auditor}))
	why("an auditor who signs in", operator.Auditor, "")
}
