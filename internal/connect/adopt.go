package connect

import (
	"context"
	"errors"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// Child is a token found in a platform's reply to a call of its parent: a
// Page's token in me/accounts, a system user's, the result of an exchange.
type Child struct {
	Kind       Kind
	ExternalID string // the platform's id of what the token stands for
	Name       string
	Token      secret.Text
	Expires    time.Time // zero: the platform names no end
}

// Adopt keeps a token that a reply contained, as a child of the connection that
// made the call. The same (parent, kind, id) is always the same connection, so
// that the handle given in the token's place stays the same. It is cut off with
// its parent. The intent r is that of the call.
func (c *Connections) Adopt(ctx context.Context, r audit.Receipt, parent gatehouse.ConnectionID, child Child) (Connection, error) {
	if child.Token.IsZero() || !plainText(child.ExternalID, 0, 200) || child.Kind == "" {
		return Connection{}, wire.Refuse(gatehouse.ErrInvalid, "connect/child", "a child connection needs a kind, an id and a token")
	}
	if !plainText(child.Name, 0, 500) {
		child.Name = ""
	}
	external, err := c.keyed(ctx, "connect/external", string(parent), string(child.Kind), child.ExternalID)
	if err != nil {
		return Connection{}, err
	}
	for range 5 {
		var rec Record
		rec, err = c.adopt(ctx, r, parent, external, child)
		if err == nil {
			return c.view(ctx, rec)
		}
		if !errors.Is(err, gatehouse.ErrConflict) {
			break
		}
	}
	return Connection{}, err
}

func (c *Connections) adopt(ctx context.Context, r audit.Receipt, parent gatehouse.ConnectionID, external string, child Child) (Record, error) {
	from, err := c.redeemed(ctx, parent)
	if err != nil {
		return Record{}, err
	}
	if !from.Status.Usable() {
		return Record{}, unusable(from)
	}
	g := grant{access: child.Token, expires: child.Expires, scopes: from.Scopes}
	rec, err := c.childOf(ctx, from, child.Kind, external)
	if err != nil {
		return Record{}, err
	}
	if rec.ID != "" && rec.Status.Usable() && rec.Access != nil {
		held, err := c.openTokens(ctx, r, rec)
		if err != nil {
			return Record{}, err
		}
		if held.access.Equal(child.Token) {
			return rec, nil // the usual case: nothing to write
		}
	}
	if rec.ID == "" {
		now := time.Now()
		rec = Record{
			ID: gatehouse.ConnectionID(newID("con")), App: from.App, Platform: from.Platform, Kind: child.Kind,
			Service: from.Service, Person: from.Person, UserHash: from.UserHash, SubjectHash: from.SubjectHash,
			Parent: from.ID, ExternalHash: external, Created: now, Redeemed: now,
		}
	}
	subject, err := c.openPersonal(ctx, from, columnSubject, from.SubjSealed)
	if err != nil {
		return Record{}, err
	}
	if err := c.sealIdentity(ctx, &rec, child.ExternalID, child.Name, gatehouse.Subject(subject)); err != nil {
		return Record{}, err
	}
	if err := c.sealTokens(ctx, &rec, g); err != nil {
		return Record{}, err
	}
	rec.become(Healthy, "", "")
	rec.Scopes, rec.Purposes = from.Scopes, from.Purposes
	rec.RenewAt = renewAt(rec, c.now(rec.App), g)
	e := c.entry("connect.adopt", rec)
	e.Verdict, e.Facts = "done", map[string]string{"kind": string(child.Kind)}
	if _, err := c.log.Record(ctx, e); err != nil {
		return Record{}, err
	}
	err = c.store.SaveConnections(ctx, rec)
	rec.Version++
	return rec, err
}

// childOf returns a parent's child by kind and keyed external id, or a zero
// record.
func (c *Connections) childOf(ctx context.Context, from Record, kind Kind, external string) (Record, error) {
	children, err := c.store.Connections(ctx, Filter{Parent: from.ID, ExternalHash: external, Limit: 10})
	if err != nil {
		return Record{}, err
	}
	for _, rec := range children {
		if rec.Kind == kind {
			return rec, nil
		}
	}
	return Record{}, nil
}
