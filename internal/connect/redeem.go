package connect

import (
	"context"
	"errors"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// Redeem joins a pending connection to the app's subject. The app calls it from
// its own signed-in session, with the subject of that session: if an attacker
// sent a begin-link of their own to somebody else, the subjects differ, the code
// is burnt and the grant is given back.
//
// The same person and subject reconnecting keep their connection, which gets
// the new tokens, scopes and purposes.
func (c *Connections) Redeem(ctx context.Context, code secret.Text, subject gatehouse.Subject, service gatehouse.ServiceName) (Connection, error) {
	return c.RedeemIf(ctx, code, subject, service, func(gatehouse.PurposeName) error { return nil })
}

// RedeemIf is Redeem for a caller that may not act for each purpose of its service:
// what may refuses of the connection's purposes is refused before the code is used.
func (c *Connections) RedeemIf(ctx context.Context, code secret.Text, subject gatehouse.Subject, service gatehouse.ServiceName, may func(gatehouse.PurposeName) error) (Connection, error) {
	at, rec, err := c.redeemable(ctx, code, subject, service, may)
	if err != nil {
		if rule := wire.RuleOf(err); rule != "" {
			e := audit.Entry{Action: "connect.redeem", Service: service, Verdict: "refuse", Rule: rule}
			if rec.ID != "" {
				e = c.entry("connect.redeem", rec)
				e.Service, e.Verdict, e.Rule = service, "refuse", rule
			}
			err = wire.WithInstance(err, c.log.Refusal(e))
		}
		return Connection{}, err
	}
	receipt, err := c.log.Intent(ctx, c.entry("connect.redeem", rec))
	if err != nil {
		return Connection{}, err
	}
	ctx = context.WithoutCancel(ctx)
	final, err := c.redeem(ctx, receipt, at, rec, subject)
	c.log.Outcome(receipt, outcome(c.entry("connect.redeem", rec), err))
	if err != nil {
		return Connection{}, err
	}
	return c.view(ctx, final)
}

// redeemable checks a code. A code presented for another subject is burnt.
func (c *Connections) redeemable(ctx context.Context, code secret.Text, subject gatehouse.Subject, service gatehouse.ServiceName, may func(gatehouse.PurposeName) error) (Attempt, Record, error) {
	unknown := wire.Refuse(gatehouse.ErrDenied, "connect/unknown-code", "this code is not known: it belongs to another service, is misspelled, or its time has passed")
	id, _, _ := strings.Cut(code.Reveal(), ".")
	if !validAttempt(id) {
		return Attempt{}, Record{}, unknown
	}
	at, err := c.store.Attempt(ctx, id)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return Attempt{}, Record{}, unknown
	}
	if err != nil {
		return Attempt{}, Record{}, err
	}
	if at.Service != service || !matches(code.Reveal(), at.CodeHash) {
		return Attempt{}, Record{}, unknown
	}
	if at.Stage != Coded && at.Stage != Closed {
		return Attempt{}, Record{}, unknown
	}
	rec, err := c.store.Connection(ctx, at.Connection)
	if err != nil {
		return Attempt{}, Record{}, err
	}
	for _, purpose := range rec.Purposes {
		if err := may(purpose); err != nil {
			return Attempt{}, rec, err
		}
	}
	// A closed attempt whose connection still waits is one whose redemption died
	// in the middle: the app, which got no answer, may ask again.
	if rec.Status != Pending {
		return Attempt{}, Record{}, errCodeUsed
	}
	if !time.Now().Before(at.Expires) {
		return Attempt{}, Record{}, wire.Refuse(gatehouse.ErrDenied, "connect/code-expired", "this code has expired: let the person connect again")
	}
	hash, err := c.subjectHash(ctx, subject)
	if err != nil {
		return Attempt{}, Record{}, err
	}
	if hash != at.SubjectHash {
		if err := c.burn(ctx, at, rec); err != nil {
			return Attempt{}, Record{}, err
		}
		return Attempt{}, rec, wire.Refuse(gatehouse.ErrDenied, "connect/wrong-subject",
			"this connection was begun for another subject: nothing was joined, and the grant is being given back")
	}
	return at, rec, nil
}

var errCodeUsed = wire.Refuse(gatehouse.ErrConflict, "connect/code-used", "this code was already used: it works once")

// burn marks a connection to be given back to the platform by the background
// work, and closes its attempt. In this order: a closed attempt whose connection
// waits could still be redeemed.
func (c *Connections) burn(ctx context.Context, at Attempt, rec Record) error {
	rec.become(Revoked, "", "the code was presented for another subject")
	rec.RevokeOutstanding, rec.RenewAt = true, time.Time{}
	if err := c.store.SaveConnections(ctx, rec); err != nil {
		return err
	}
	at.Stage = Closed
	if _, err := c.store.SaveAttempt(ctx, at); err != nil && !errors.Is(err, gatehouse.ErrConflict) {
		return err
	}
	return nil
}

// redeem uses the code up and makes the connection healthy.
func (c *Connections) redeem(ctx context.Context, receipt audit.Receipt, at Attempt, rec Record, subject gatehouse.Subject) (Record, error) {
	at.Stage = Closed
	if _, err := c.store.SaveAttempt(ctx, at); err != nil {
		if errors.Is(err, gatehouse.ErrConflict) {
			return Record{}, errCodeUsed
		}
		return Record{}, err
	}
	// Two redemptions of one person and subject can race; the second finds the
	// first one's connection when it looks again.
	var err error
	for range 3 {
		var final Record
		if final, err = c.join(ctx, receipt, rec, subject, c.store.SaveConnections); err == nil || !errors.Is(err, gatehouse.ErrConflict) {
			return final, err
		}
	}
	return Record{}, err
}

// join makes the pending record the connection, or moves its tokens into the
// connection that the same person and subject have already. The first record
// that it gives to save is the connection.
func (c *Connections) join(ctx context.Context, receipt audit.Receipt, rec Record, subject gatehouse.Subject, save func(context.Context, ...Record) error) (Record, error) {
	now := time.Now()
	known, err := c.sameGrant(ctx, rec)
	if err != nil {
		return Record{}, err
	}
	if known.ID == "" {
		rec.become(Healthy, "", "")
		rec.Redeemed = now
		err := save(ctx, rec)
		rec.Version++
		return rec, err
	}
	g, err := c.openTokens(ctx, receipt, rec)
	if err != nil {
		return Record{}, err
	}
	if err := c.sealTokens(ctx, &known, g); err != nil {
		return Record{}, err
	}
	user, err := c.openPersonal(ctx, rec, "user", rec.UserSealed)
	if err != nil {
		return Record{}, err
	}
	name, err := c.openPersonal(ctx, rec, "name", rec.NameSealed)
	if err != nil {
		return Record{}, err
	}
	if err := c.sealIdentity(ctx, &known, user, name, subject); err != nil {
		return Record{}, err
	}
	known.Scopes, known.Declined, known.Purposes = rec.Scopes, rec.Declined, rec.Purposes
	known.become(Healthy, "", "")
	known.RevokeOutstanding, known.RenewAt, known.LeaseUntil = false, rec.RenewAt, time.Time{}
	known.DataAccessExpires = rec.DataAccessExpires // of the old login, which this one has overtaken
	rec.become(Revoked, "", "its tokens moved to the connection that was there already")
	rec.Access, rec.Refresh, rec.RenewAt = nil, nil, time.Time{}
	if rec.Version == 0 { // an import that was never stored on its own
		err = save(ctx, known)
	} else {
		err = save(ctx, known, rec)
	}
	known.Version++
	return known, err
}

// sameGrant returns the redeemed connection of the same person, subject, app,
// service and kind, or a zero record.
func (c *Connections) sameGrant(ctx context.Context, rec Record) (Record, error) {
	list, err := c.store.Connections(ctx, Filter{
		Service: rec.Service, App: rec.App, UserHash: rec.UserHash, SubjectHash: rec.SubjectHash, Limit: 1000,
	})
	if err != nil {
		return Record{}, err
	}
	for _, other := range list {
		// One who is being erased and has come back since is somebody new.
		if other.Person == rec.Person && other.Kind == rec.Kind && other.Parent == rec.Parent && other.ExternalHash == rec.ExternalHash && other.Status != Erased {
			return other, nil
		}
	}
	return Record{}, nil
}
