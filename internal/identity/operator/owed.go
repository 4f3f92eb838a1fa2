package operator

import (
	"context"
	"sync"

	"gatehouse/internal/audit"
)

// owed are deeds that take access away and could not be stored. The log has them done
// before it admits anything, but an operator who only reads needs nothing of the log: until
// it is done this process holds itself to what is owed. Another process does not, nor the
// next one.
type owed struct {
	mu    sync.Mutex
	deeds map[audit.Deed]struct{} // guarded by mu
}

func (o *owed) add(d audit.Deed) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.deeds == nil {
		o.deeds = map[audit.Deed]struct{}{}
	}
	o.deeds[d] = struct{}{}
}

// drop forgets a deed and reports whether it was there.
func (o *owed) drop(d audit.Deed) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, there := o.deeds[d]
	delete(o.deeds, d)
	return there
}

// out reports whether an account is suspended or removed by what is owed.
func (o *owed) out(account AccountID) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for d := range o.deeds {
		if (d.Kind == deedSuspend || d.Kind == deedRemove) && d.Target == string(account) {
			return true
		}
	}
	return false
}

// ends reports whether a session is over by what is owed.
func (o *owed) ends(account AccountID, session SessionID) bool {
	if o.out(account) {
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for d := range o.deeds {
		one := d.Kind == deedSession && d.Target == pair(account, string(session))
		if one || d.Kind == deedSessions && d.Target == string(account) && d.Reason != string(session) {
			return true
		}
	}
	return false
}

// drops reports whether a role is to go.
func (o *owed) drops(account AccountID, role Role) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, there := o.deeds[deedOf(deedGrant, pair(account, string(role)))]
	return there
}

// pair is the target of a deed about a part of an account.
func pair(account AccountID, part string) string { return string(account) + "/" + part }

// hold holds this process to a deed that is about to be noted; release undoes that. The
// last owner stays, as they will when the deed's turn comes.
func (d *Directory) hold(ctx context.Context, deed audit.Deed) (release func()) {
	last, err := d.endsLastOwner(ctx, deed)
	if err != nil || last {
		return func() {}
	}
	d.owed.add(deed)
	return func() { _ = d.owed.drop(deed) }
}

// endsLastOwner reports whether a deed would leave nobody who is an owner without end.
func (d *Directory) endsLastOwner(ctx context.Context, deed audit.Deed) (bool, error) {
	if deed.Kind == deedSession || deed.Kind == deedSessions {
		return false, nil
	}
	records, err := d.config.Store.Accounts(ctx)
	if err != nil {
		return false, err
	}
	was, left := false, false
	for _, r := range records {
		if err := d.grants(ctx, &r); err != nil {
			return false, err
		}
		if r.Account.State != Active || !r.Account.holds(Owner) || d.owed.out(r.Account.ID) {
			continue
		}
		if deed.Target == string(r.Account.ID) || deed.Target == pair(r.Account.ID, string(Owner)) {
			was = true
		} else {
			left = true
		}
	}
	return was && !left, nil
}

// holds reports whether an account has a role without an end.
func (a Account) holds(role Role) bool {
	for _, g := range a.Grants {
		if g.Role == role && g.Until.IsZero() {
			return true
		}
	}
	return false
}
