package connect

import (
	"context"
	"errors"
	"slices"
	"strings"

	"gatehouse"
	"gatehouse/internal/wire"
)

// Scope says which connections a sweeping command is about. A zero field means
// all.
type Scope struct {
	App      gatehouse.AppName
	Platform gatehouse.Platform
}

// every calls do with each record in scope, oldest first, pending ones too.
func (c *Connections) every(ctx context.Context, s Scope, do func(Record) error) error {
	return c.each(ctx, Filter{App: s.App, WithPending: true}, func(rec Record) error {
		if s.Platform != "" && rec.Platform != s.Platform {
			return nil
		}
		return do(rec)
	})
}

// Confirmation returns a code that an operator must type back before something
// sweeping is done. It fits these words only, in this Gatehouse only.
func (c *Connections) Confirmation(ctx context.Context, words ...string) (string, error) {
	hash, err := c.keyed(ctx, "connect/confirmation", words...)
	if err != nil {
		return "", err
	}
	letters := strings.Map(func(r rune) rune {
		if r == '-' || r == '_' {
			return -1
		}
		return r
	}, strings.ToLower(hash))
	return letters[:4] + "-" + letters[4:8], nil
}

// Exportable returns the connections of a scope that hold a token which may
// still work.
func (c *Connections) Exportable(ctx context.Context, s Scope) ([]Connection, error) {
	var list []Connection
	err := c.every(ctx, s, func(rec Record) error {
		if rec.Redeemed.IsZero() || !rec.Status.Usable() || rec.Access == nil || rec.Kind == KindApp {
			return nil
		}
		v, err := c.listed(ctx, rec)
		list = append(list, v)
		return err
	})
	return list, err
}

// Export opens a connection's tokens for use outside Gatehouse and gives write a
// line that Import reads. The intent to do so is durable before anything is
// opened, and the outcome says whether the line was written.
func (c *Connections) Export(ctx context.Context, id gatehouse.ConnectionID, write func(line []byte) error) error {
	rec, err := c.redeemed(ctx, id)
	if err != nil {
		return err
	}
	if !rec.Status.Usable() {
		return unusable(rec)
	}
	e := c.entry("connect.export", rec)
	receipt, err := c.log.Intent(ctx, e)
	if err != nil {
		return err
	}
	err = func() error {
		g, err := c.openTokens(ctx, receipt, rec)
		if err != nil {
			return err
		}
		v, err := c.view(ctx, rec)
		if err != nil {
			return err
		}
		if rec.Kind == KindApp {
			return wire.Refuse(gatehouse.ErrInvalid, "connect/export-kind", "an app's own token is made from its credentials; there is nothing to take away")
		}
		line, err := ImportLine{
			ID: string(rec.ID), Parent: string(rec.Parent),
			ImportRequest: ImportRequest{
				App: rec.App, Service: rec.Service, Subject: v.Subject, Purposes: rec.Purposes, Kind: rec.Kind,
				PlatformUser: v.PlatformUser, Access: g.access, Refresh: g.refresh, Scopes: slices.Clone(rec.Scopes), Expires: rec.AccessExpires,
			},
		}.text()
		if err != nil {
			return errors.New("writing a line of the export") // the encoder's text may quote it
		}
		return write(line)
	}()
	c.log.Outcome(receipt, outcome(e, err))
	return err
}
