package connect

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/budget"

	"golang.org/x/sync/errgroup"
)

// Facebook tells nobody that a token has died, and asks apps to look at least
// once a day (debug_token). Instagram Login and Threads document nothing of the
// kind, and neither does X: their tokens are left to their renewals and calls.
const (
	// checkBatch is how many checks one round begins: 16 a second are 1.4
	// million a day, and what has piled up is worked off at that pace.
	checkBatch = 16
	// checkEvery and checkSpread are how long after a check the next one comes:
	// always within a day, and never for all at the same hour.
	checkEvery, checkSpread = 16 * time.Hour, 8 * time.Hour
	// checkAgain is the pause after a check that brought no answer.
	checkAgain = time.Hour
	// accessNotice is how long before the end of data access it is said.
	accessNotice = 14 * 24 * time.Hour
)

// checked reports whether the platform can be asked about the record's token.
func (r Record) checked() bool {
	return r.Platform == gatehouse.Facebook && (r.Kind == KindUser || r.Kind == KindPage || r.Kind == KindSystemUser)
}

// firstCheck is when a fresh token is looked at first: soon, because only then is
// it known until when the person's data may be read.
func (r Record) firstCheck(now time.Time) time.Time {
	if !r.checked() {
		return time.Time{}
	}
	return now.Add(time.Minute + rand.N(10*time.Minute))
}

// nextCheck is when a token that has been looked at is looked at again: within a
// day, and at once when something ends that a check must decide about.
func (r Record) nextCheck(now time.Time) time.Time {
	next := now.Add(checkEvery + rand.N(checkSpread))
	ends := []time.Time{r.DataAccessExpires}
	if r.Kind == KindPage {
		ends = append(ends, r.AccessExpires)
	}
	for _, end := range ends {
		if end.After(now) && end.Before(next) {
			next = end
		}
	}
	return next
}

// checkDue does one round of checks.
func (c *Connections) checkDue(ctx context.Context) error {
	records, err := c.store.DueChecks(ctx, c.latest(), checkBatch)
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(tendAtOnce)
	for _, rec := range records {
		group.Go(func() error {
			if ctx.Err() != nil {
				return nil
			}
			if err := c.check(ctx, rec); err != nil {
				// The next check is planned, and nothing followed from this one.
				c.logger.WarnContext(ctx, "connection not checked", slog.String("app", string(rec.App)), slog.String("rule", ruleOf(err)))
			}
			return nil
		})
	}
	return group.Wait()
}

// check has the platform say what it thinks of a connection's token, and believes
// nothing but a clear word about this token: silence, a refusal of the app itself
// and an answer that does not fit change no state.
func (c *Connections) check(ctx context.Context, rec Record) error {
	a, configured := c.apps[rec.App]
	now := c.now(rec.App)
	plan := func(at time.Time) (bool, error) { return c.store.ScheduleCheck(ctx, rec.ID, rec.CheckAt, at) }
	switch {
	case !rec.Status.Usable() || !rec.checked() || rec.Access == nil:
		_, err := plan(time.Time{})
		return err
	case !configured:
		_, err := plan(now.Add(checkAgain))
		return err
	case rec.Status == Renewing:
		_, err := plan(now.Add(time.Minute)) // another token may be on its way
		return err
	}
	// A check is made out of the share that the budgets keep for it, or later.
	ticket, _, err := c.Background(rec.App, "", "GET /debug_token")
	if refused := (*budget.Refusal)(nil); errors.As(err, &refused) {
		_, err := plan(now.Add(min(refused.RetryAfter+rand.N(time.Minute), checkAgain)))
		return err
	}
	defer ticket.Settle()
	// Whoever moves the time has the check. It comes back if he dies with it.
	again := now.Add(checkAgain - checkAgain/4 + rand.N(checkAgain/2))
	if taken, err := plan(again); err != nil || !taken {
		return err
	}
	rec.CheckAt = again
	e := c.entry("connect.check", rec)
	receipt, err := c.log.Intent(ctx, e)
	if err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, 2*platformTimeout)
	defer cancel()
	err = c.inspectAndLearn(asking, receipt, a, rec)
	c.log.Outcome(receipt, outcome(e, err))
	return err
}

func (c *Connections) inspectAndLearn(ctx context.Context, receipt audit.Receipt, a App, rec Record) error {
	g, err := c.openTokens(ctx, receipt, rec)
	if err != nil {
		return err
	}
	p := facebookProvider{client{c, a}}
	found, err := p.inspect(ctx, g.access)
	if err != nil {
		return err
	}
	if err := found.fits(a, rec.Kind); err != nil {
		return err
	}
	// What the platform said must be kept even if the process is told to stop.
	ctx = context.WithoutCancel(ctx)
	switch {
	case found.valid && rec.Kind == KindPage:
		if found.scopes, err = c.scopesOfPage(ctx, rec); err != nil {
			return err
		}
		return c.learn(ctx, rec, found)
	case found.valid:
		return c.learn(ctx, rec, found)
	case rec.Kind == KindPage:
		return c.fetchPage(ctx, receipt, p, rec, found.cause)
	default:
		return c.dies(ctx, rec.ID, found.cause, rec.Access)
	}
}

// scopesOfPage are what the person granted whose Page it is. Which of them
// debug_token names for a Page's own token is not documented.
func (c *Connections) scopesOfPage(ctx context.Context, page Record) ([]string, error) {
	parent, err := c.redeemed(ctx, page.Parent)
	if errors.Is(err, gatehouse.ErrNotFound) || (err == nil && !parent.Status.Usable()) {
		return nil, nil
	}
	return slices.Clone(parent.Scopes), err
}

// learn keeps what a check found out about a living token. Most days that is
// nothing new, and the row is left alone.
func (c *Connections) learn(ctx context.Context, rec Record, found inspected) error {
	now, sure := c.clockOf(rec.App).now()
	next := rec
	next.DataAccessExpires = found.dataAccess
	// Facebook's own expiry is exact to the second, ours to a reply's journey.
	if found.expiryKnown && (next.AccessExpires.IsZero() != found.expires.IsZero() || next.AccessExpires.Sub(found.expires).Abs() > time.Minute) {
		next.AccessExpires = found.expires
		next.RenewAt = renewAt(next, now, grant{expires: found.expires})
	}
	withdrawn, returned := next.grantedNow(found.scopes)
	ended := !found.dataAccess.IsZero() && sure && !now.Before(found.dataAccess)
	cause := Cause("")
	switch {
	case !found.dataAccess.IsZero() && !now.Before(found.dataAccess.Add(-accessNotice)):
		cause = causeAccessEnding
	case withdrawn, rec.Cause == causeWithdrawn && !returned:
		cause = causeWithdrawn
	}
	next.CheckAt = next.nextCheck(now)
	switch {
	case ended:
		e := c.entry("connect.dead", rec)
		e.Verdict, e.Rule = "done", "platform/"+string(causeAccessEnded)
		if _, err := c.log.Record(ctx, e); err != nil {
			return err
		}
		next.become(ReconnectNeeded, causeAccessEnded, "the access to the person's data ended on "+day(found.dataAccess))
		next.RenewAt, next.LeaseUntil, next.CheckAt = time.Time{}, time.Time{}, time.Time{}
	case rec.Status == Healthy && (cause != rec.Cause || next.standing(cause) != rec.standing(rec.Cause)):
		// Whatever the last renewal's reason was, this is what a person can act
		// on; the renewal's comes back if it fails again.
		next.become(Healthy, cause, next.standing(cause))
	case next.sameFacts(rec):
		_, err := c.store.ScheduleCheck(ctx, rec.ID, rec.CheckAt, next.CheckAt)
		return err
	}
	return c.saveChecked(ctx, rec, next)
}

// saveChecked keeps a check's result if the row is as it was read; if not, the
// check is made again, because what it was about may be gone.
func (c *Connections) saveChecked(ctx context.Context, rec, next Record) error {
	next.Updated = time.Now()
	err := c.store.SaveConnections(ctx, next)
	if errors.Is(err, gatehouse.ErrConflict) {
		_, err = c.store.ScheduleCheck(ctx, rec.ID, rec.CheckAt, c.now(rec.App).Add(time.Minute))
	}
	return err
}

// sameFacts reports whether a check found nothing new in a record.
func (r Record) sameFacts(old Record) bool {
	return r.DataAccessExpires.Equal(old.DataAccessExpires) && r.AccessExpires.Equal(old.AccessExpires) &&
		slices.Equal(r.Scopes, old.Scopes) && slices.Equal(r.Declined, old.Declined)
}

// grantedNow puts the scopes of today into the record; nil says that they are
// not known. It reports whether one was taken back, and whether one came.
func (r *Record) grantedNow(scopes []string) (withdrawn, returned bool) {
	if scopes == nil {
		return false, false
	}
	lost, won := missing(r.Scopes, scopes), missing(scopes, r.Scopes)
	declined := append(missing(r.Declined, scopes), lost...)
	slices.Sort(declined)
	r.Scopes, r.Declined = scopes, slices.Compact(declined)
	return len(lost) > 0, len(won) > 0
}

// fetchPage gets a Page's token anew from its parent, the grant that it comes
// from: the Page's own token may have died alone. The connection and its handles
// stay the same. Only when Facebook gives none is the Page lost; a parent that is
// found dead on the way takes it along.
func (c *Connections) fetchPage(ctx context.Context, receipt audit.Receipt, p facebookProvider, page Record, cause Cause) error {
	parent, err := c.redeemed(ctx, page.Parent)
	if errors.Is(err, gatehouse.ErrNotFound) || (err == nil && !parent.Status.Usable()) {
		return c.dies(ctx, page.ID, cause, page.Access)
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, platformTimeout)
	defer cancel()
	from, err := c.openTokens(ctx, receipt, parent)
	if err != nil {
		return err
	}
	found, err := p.inspect(ctx, from.access)
	if err == nil {
		err = found.fits(p.app, parent.Kind)
	}
	if err != nil {
		return err
	}
	if !found.valid {
		return errors.Join(c.dies(ctx, parent.ID, found.cause, parent.Access), c.dies(ctx, page.ID, cause, page.Access))
	}
	id, err := c.openPersonal(ctx, page, "user", page.UserSealed)
	if err != nil {
		return err
	}
	fresh, err := p.pageToken(ctx, from, id)
	if err != nil {
		return err
	}
	if fresh.access.IsZero() {
		if cause == causeInvalid {
			cause = causeRole // the parent may not act for the Page any more
		}
		return c.dies(ctx, page.ID, cause, page.Access)
	}
	if found, err = p.inspect(ctx, fresh.access); err != nil {
		return err
	}
	if err := found.fits(p.app, KindPage); err != nil {
		return err
	}
	if !found.valid {
		return c.dies(ctx, page.ID, found.cause, page.Access)
	}
	found.scopes = slices.Clone(parent.Scopes)
	return c.replacePage(ctx, page, fresh, found)
}

// replacePage gives a Page's connection the token that its parent brought.
func (c *Connections) replacePage(ctx context.Context, page Record, fresh grant, found inspected) error {
	fresh.expires = found.expires
	next := page
	if err := c.sealTokens(ctx, &next, fresh); err != nil {
		return err
	}
	next.DataAccessExpires = found.dataAccess
	next.grantedNow(found.scopes)
	next.become(Healthy, "", "")
	next.CheckAt = next.nextCheck(c.now(page.App))
	e := c.entry("connect.adopt", page)
	e.Verdict, e.Facts = "done", map[string]string{"kind": string(page.Kind), "from": "parent"}
	if _, err := c.log.Record(ctx, e); err != nil {
		return err
	}
	return c.saveChecked(ctx, page, next)
}

// hasten has a Page's connection checked soon, because a call's token was
// refused: the check decides whether the Page is lost or only its token.
func (c *Connections) hasten(ctx context.Context, rec Record) error {
	if !c.refusals.first(rec) {
		return nil
	}
	return c.store.HastenCheck(ctx, rec.ID, c.now(rec.App))
}
