package operator

import (
	"context"
	"strings"
	"sync"
	"time"

	"gatehouse/internal/audit"
)

// owed are deeds that take access away and could not be stored. The log has them done
// before it admits anything, but an operator who only reads needs nothing of the log: until
// it is done this process holds itself to what is owed. Another process does not, nor the
// next one.
type owed struct {
	// holding is held from the look for the last owner until what follows is in deeds, so
	// that two who are suspended at once are not each the other's reason.
	holding sync.Mutex

	mu    sync.Mutex
	deeds map[audit.Deed]int // how often each was asked for; guarded by mu
}

func (o *owed) add(d audit.Deed) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.deeds == nil {
		o.deeds = map[audit.Deed]int{}
	}
	o.deeds[d]++
}

// drop takes back one time that a deed was added.
func (o *owed) drop(d audit.Deed) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.deeds[d]--; o.deeds[d] <= 0 {
		delete(o.deeds, d)
	}
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
		// A passkey of which there are two takes all sessions with it.
		one = one || d.Kind == deedPasskey && strings.HasPrefix(d.Target, pair(account, ""))
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

// asStored is in a context in which nothing that is owed counts: that of doing it.
type asStored struct{}

// maxLook is how long it is looked for the last owner. Whatever the store could not
// write, the request's own time may be over.
const maxLook = 2 * time.Second

// hold holds this process to a deed that is about to be noted; release undoes that. The
// last owner stays, as they will when the deed's turn comes. If the store does not say who
// that is, the deed holds: at worst the last owner waits until it is done.
func (d *Directory) hold(ctx context.Context, deed audit.Deed) (release func()) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxLook)
	defer cancel()
	d.owed.holding.Lock()
	defer d.owed.holding.Unlock()
	if last, err := d.endsLastOwner(ctx, deed); err == nil && last {
		return func() {}
	}
	d.owed.add(deed)
	return func() { d.owed.drop(deed) }
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
