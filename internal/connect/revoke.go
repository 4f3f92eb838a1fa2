package connect

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"
)

// Revoke ends a connection and everything that came out of it. It is cut off
// here first: when Revoke returns nil, no handle of it works any more. Then the
// platform is asked; if it does not confirm, RevokeOutstanding stays set and the
// background work asks again. Cutting off does not wait for the log: while that
// cannot be written, the entry is kept beside it. If it is the database that
// cannot be written, the deed is kept there and done before any call is made; the
// error then has rule log/deferred.
func (c *Connections) Revoke(ctx context.Context, id gatehouse.ConnectionID, reason string) error {
	rec, err := c.cut(ctx, id, reason)
	if err != nil {
		return err
	}
	if err := c.cutChildren(ctx, rec); err != nil {
		return err
	}
	if !rec.RevokeOutstanding {
		return nil
	}
	if err := c.giveBack(context.WithoutCancel(ctx), rec); err != nil {
		c.logger.InfoContext(ctx, "revocation not confirmed by the platform", slog.String("app", string(rec.App)), slog.String("rule", ruleOf(err)))
	}
	return nil
}

// deedConnection is the kind of what Revoke has noted when the database could not
// be written.
const deedConnection = "connection"

// Redo does what Revoke noted, and reports whether that is of a kind of this
// package. It does not ask the platform: Run does, when the log admits it.
func (c *Connections) Redo(ctx context.Context, deed audit.Deed) (bool, error) {
	if deed.Kind != deedConnection {
		return false, nil
	}
	rec, err := c.cut(ctx, gatehouse.ConnectionID(deed.Target), deed.Reason)
	if err == nil {
		err = c.cutChildren(ctx, rec)
	}
	return true, err
}

// children returns the connections that came out of a parent's calls.
func (c *Connections) children(ctx context.Context, parent gatehouse.ConnectionID) ([]Record, error) {
	return c.store.Connections(ctx, Filter{Parent: parent, Limit: 1 << 20})
}

// cutChildren cuts off what came out of a revoked connection and still stands.
func (c *Connections) cutChildren(ctx context.Context, rec Record) error {
	children, err := c.children(ctx, rec.ID)
	if err != nil {
		return err
	}
	for _, child := range children {
		if child.Status == Revoked || child.Status == Erased {
			continue
		}
		if _, err := c.cut(ctx, child.ID, "its parent was revoked: "+rec.Reason); err != nil {
			return err
		}
	}
	return nil
}

// cut makes a connection unusable here: the row first, then its handles, then
// the log, which is not waited for.
func (c *Connections) cut(ctx context.Context, id gatehouse.ConnectionID, reason string) (Record, error) {
	for {
		rec, err := c.redeemed(ctx, id)
		if err != nil {
			return Record{}, err
		}
		if rec.Status == Revoked || rec.Status == Erased {
			return rec, c.revokeHandles(ctx, id)
		}
		rec.become(Revoked, "", reason)
		// A child's token dies with its parent's grant; it is dropped. A system
		// user's is a grant of its own.
		if rec.Parent != "" && rec.Kind != KindSystemUser {
			rec.Access, rec.Refresh = nil, nil
		}
		rec.RevokeOutstanding = rec.Access != nil
		rec.RenewAt, rec.LeaseUntil = time.Time{}, time.Time{}
		err = c.store.SaveConnections(ctx, rec)
		if errors.Is(err, gatehouse.ErrConflict) {
			continue // somebody else changed it; a revocation has the last word
		}
		if err != nil {
			return Record{}, c.log.Defer(err, audit.Deed{Kind: deedConnection, Target: string(id), Reason: reason}, c.entry("connect.revoke", rec))
		}
		rec.Version++
		err = c.revokeHandles(ctx, id)
		e := c.entry("connect.revoke", rec)
		e.Facts = map[string]string{"where": "here"}
		c.log.Reduction(e)
		return rec, err
	}
}

// giveBack asks the platform to end a grant that is cut off here, and drops the
// tokens when it has.
func (c *Connections) giveBack(ctx context.Context, rec Record) error {
	a, err := c.app(rec.App)
	if err != nil {
		return err
	}
	// A Revoke that died in the middle left some standing.
	if err := c.cutChildren(ctx, rec); err != nil {
		return err
	}
	e := c.entry("connect.revoke", rec)
	e.Facts = map[string]string{"where": "platform"}
	receipt, err := c.log.Intent(ctx, e)
	if err != nil {
		return err
	}
	// What follows has its own time: a platform that used up all of this one
	// must not be asked again without a pause.
	asking, cancel := context.WithTimeout(ctx, platformTimeout)
	err = c.atPlatform(asking, receipt, a, rec)
	cancel()
	c.log.Outcome(receipt, outcome(e, err))
	if err == nil || dead(err) {
		if err := c.endSiblings(ctx, a, rec); err != nil {
			return err
		}
		rec.RevokeOutstanding, rec.Access, rec.Refresh, rec.RenewAt = false, nil, nil, time.Time{}
		err = nil
	} else {
		rec.RenewAt = time.Now().Add(backoff) // when to ask again
	}
	rec.Updated = time.Now()
	saved := c.store.SaveConnections(ctx, rec)
	if errors.Is(saved, gatehouse.ErrConflict) {
		return nil // another owner is at it
	}
	return errors.Join(err, saved)
}

// endSiblings marks the other connections that ended with this one: Facebook
// ends everything that the person ever granted to the app.
func (c *Connections) endSiblings(ctx context.Context, a App, rec Record) error {
	if a.Platform != gatehouse.Facebook || rec.Redeemed.IsZero() || rec.Kind != KindUser {
		return nil
	}
	others, err := c.store.Connections(ctx, Filter{App: rec.App, UserHash: rec.UserHash, Limit: 1000})
	if err != nil {
		return err
	}
	for _, o := range others {
		if o.ID != rec.ID && o.Status.Usable() {
			if err := c.markDead(ctx, o.ID, causeSibling, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// atPlatform ends the grant at the platform.
func (c *Connections) atPlatform(ctx context.Context, receipt audit.Receipt, a App, rec Record) error {
	shared, err := c.sharesGrant(ctx, a, rec)
	if err != nil || shared {
		return err
	}
	g, err := c.openTokens(ctx, receipt, rec)
	if err != nil {
		return err
	}
	return c.revokeGrant(ctx, a, rec.Kind, g)
}

// sharesGrant reports whether ending this grant would end a usable connection
// that was not revoked. Facebook ends everything that the person ever granted to
// the app: one that nobody redeemed must not take the others along.
func (c *Connections) sharesGrant(ctx context.Context, a App, rec Record) (bool, error) {
	if a.Platform != gatehouse.Facebook || !rec.Redeemed.IsZero() {
		return false, nil
	}
	others, err := c.store.Connections(ctx, Filter{App: rec.App, UserHash: rec.UserHash, Limit: 1000})
	if err != nil {
		return false, err
	}
	for _, o := range others {
		if o.ID != rec.ID && o.Status.Usable() {
			return true, nil
		}
	}
	return false, nil
}

// revokeGrant asks the platform to end a grant of some kind.
func (c *Connections) revokeGrant(ctx context.Context, a App, kind Kind, g grant) error {
	switch kind {
	case KindUser:
		return c.provider(a).revoke(ctx, g)
	case KindOAuth1:
		return c.invalidate(ctx, a, g)
	case KindSystemUser:
		return facebookProvider{client{c, a}}.revokeSystemUser(ctx, g)
	default:
		// Pages' and apps' tokens end with what they came from.
		return nil
	}
}

// MarkDead notes that the platform refused a connection's token for good; class
// is one of our own words for why. The tokens stay: only a new consent, or a
// revocation, replaces them. A dead connection's children are dead too, unless
// only its own token's time has passed.
func (c *Connections) MarkDead(ctx context.Context, id gatehouse.ConnectionID, class string) error {
	return c.dies(ctx, id, Cause(class), nil)
}

// dies is MarkDead of a connection that still has the token, as it is stored,
// that the platform spoke of; nil means any. Of a token that has been replaced
// meanwhile nothing follows.
func (c *Connections) dies(ctx context.Context, id gatehouse.ConnectionID, cause Cause, access []byte) error {
	if !plainText(string(cause), 1, 100) {
		cause = "unknown"
	}
	if access != nil {
		rec, err := c.redeemed(ctx, id)
		if err != nil || !bytes.Equal(rec.Access, access) {
			return err
		}
	}
	if err := c.markDead(ctx, id, cause, access); err != nil || cause == causeExpired {
		return err
	}
	children, err := c.children(ctx, id)
	if err != nil {
		return err
	}
	for _, child := range children {
		if err := c.markDead(ctx, child.ID, cause, nil); err != nil {
			return err
		}
	}
	return nil
}

func (c *Connections) markDead(ctx context.Context, id gatehouse.ConnectionID, cause Cause, access []byte) error {
	for {
		rec, err := c.redeemed(ctx, id)
		if err != nil || !rec.Status.Usable() || (access != nil && !bytes.Equal(rec.Access, access)) {
			return err
		}
		e := c.entry("connect.dead", rec)
		e.Verdict, e.Rule = "done", "platform/"+string(cause)
		if _, err := c.log.Record(ctx, e); err != nil {
			return err
		}
		rec.become(ReconnectNeeded, causeIn(ReconnectNeeded, cause), "the platform no longer accepts the grant ("+string(cause)+")")
		rec.RenewAt, rec.LeaseUntil = time.Time{}, time.Time{}
		if err := c.store.SaveConnections(ctx, rec); !errors.Is(err, gatehouse.ErrConflict) {
			return err
		}
	}
}

// unusable explains why a connection cannot authorise a call.
func unusable(rec Record) error {
	switch rec.Status {
	case Pending:
		return wire.Refuse(gatehouse.ErrNotFound, "connect/unknown-connection", "there is no such connection")
	case ReconnectNeeded:
		return wire.Refuse(gatehouse.ErrDenied, "connect/reconnect-needed", "the platform ended this grant: let the person connect again")
	case Erased:
		return wire.Refuse(gatehouse.ErrDenied, "connect/erased", "this person was erased")
	default:
		return wire.Refuse(gatehouse.ErrDenied, "connect/revoked", "this connection was revoked")
	}
}
