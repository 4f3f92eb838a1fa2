package connect

import (
	"context"
	"errors"
	"net/http"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

// ImportState is how far the import of one token has come.
type ImportState string

// The states of an import. A token that needs nothing at its platform goes
// straight to done.
const (
	// ImportRenewing: the platform is being asked for a fresh pair, or was when
	// the program ended. The old pair stands in the record.
	ImportRenewing ImportState = "renewing"
	// ImportRenewed: the fresh pair stands in the record, and nowhere else.
	ImportRenewed ImportState = "renewed"
	// ImportDone: the connection has the tokens, and the record none.
	ImportDone ImportState = "done"
)

// ImportRecord remembers that a token was handed in. X's refresh tokens work
// once: a fresh pair must be durable before anything that can fail is tried, and
// the same line handed in again must find it.
type ImportRecord struct {
	Fingerprint     string // keyed hash of the token that was handed in
	App             gatehouse.AppName
	State           ImportState
	Access, Refresh []byte // sealed
	AccessExpires   time.Time
	Connection      gatehouse.ConnectionID // once done
	// LeaseUntil bounds a renewal: after it, its owner is gone.
	LeaseUntil time.Time
	Created    time.Time
	Version    int64
}

// ImportStore keeps the records of imports.
type ImportStore interface {
	// SaveImport inserts an import whose Version is 0 and otherwise replaces the
	// row if it still has that version, and saves the connections as
	// SaveConnections does: all of it or nothing.
	SaveImport(ctx context.Context, i ImportRecord, records ...Record) error
	// ImportOf returns the import with that fingerprint.
	ImportOf(ctx context.Context, fingerprint string) (ImportRecord, error)
	// OpenImports returns up to limit imports that are not done, oldest first.
	OpenImports(ctx context.Context, limit int) ([]ImportRecord, error)
	// DropImport removes an import if it still has that version.
	DropImport(ctx context.Context, i ImportRecord) error
}

func importRef(i ImportRecord, column string) vault.Ref {
	return vault.Ref{Table: "connect_imports", Row: i.Fingerprint, Column: column}
}

func (c *Connections) sealImport(ctx context.Context, i *ImportRecord, g grant) error {
	access, err := c.vault.Seal(ctx, importRef(*i, columnAccess), g.access)
	if err != nil {
		return err
	}
	refresh, err := c.vault.Seal(ctx, importRef(*i, columnRefresh), g.refresh)
	if err != nil {
		return err
	}
	i.Access, i.Refresh, i.AccessExpires = access, refresh, g.expires
	c.guarded.sealed(ctx, "", g.access, access)
	c.guarded.sealed(ctx, "", g.refresh, refresh)
	return nil
}

func (c *Connections) openImport(ctx context.Context, r audit.Receipt, i ImportRecord) (grant, error) {
	access, err := c.vault.Open(ctx, r, importRef(i, columnAccess), i.Access)
	if err != nil {
		return grant{}, err
	}
	refresh, err := c.vault.Open(ctx, r, importRef(i, columnRefresh), i.Refresh)
	c.guarded.sealed(ctx, "", access, i.Access)
	c.guarded.sealed(ctx, "", refresh, i.Refresh)
	return grant{access: access, refresh: refresh, expires: i.AccessExpires}, err
}

// renewImport makes the pair of an import fresh, so that copies of it elsewhere
// die. The returned record holds the fresh pair durably; handed in again after a
// crash, the same token comes back here and goes on where it was.
func (c *Connections) renewImport(ctx context.Context, receipt audit.Receipt, a App, i ImportRecord, g grant) (grant, ImportRecord, error) {
	scopes := g.scopes
	if i.State == ImportRenewed {
		fresh, err := c.openImport(ctx, receipt, i)
		fresh.scopes = scopes
		return fresh, i, err
	}
	again := i.State == ImportRenewing
	if again && time.Now().Before(i.LeaseUntil) {
		return grant{}, i, wire.Refuse(gatehouse.ErrConflict, "connect/import-busy",
			"this token is being imported elsewhere, or was a moment ago when the program ended: run the import again in a minute")
	}
	if err := c.sealImport(ctx, &i, g); err != nil {
		return grant{}, i, err
	}
	i.State, i.LeaseUntil = ImportRenewing, time.Now().Add(leaseLife)
	if err := c.store.SaveImport(ctx, i); err != nil {
		return grant{}, i, err
	}
	i.Version++
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), platformTimeout)
	fresh, err := c.provider(a).renew(asking, g)
	cancel()
	// What the platform has changed is saved even if nobody waits any more.
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), leaseLife)
	defer cancel()
	switch {
	case err == nil:
		i, err = c.saveRenewed(ctx, i, fresh)
		return fresh, i, err
	case dead(err) && again:
		return grant{}, i, errors.Join(c.store.DropImport(ctx, i), wire.Refuse(gatehouse.ErrDenied, "connect/import-spent",
			"refresh_token: an earlier import of it was interrupted while the platform answered, and the platform no longer accepts it: the person must connect again"))
	case answered(err) || unsent(err):
		return grant{}, i, errors.Join(refusedToken("refresh_token", err), c.store.DropImport(ctx, i))
	default:
		// The request may have had its effect: the next import finds out.
		i.LeaseUntil = time.Time{}
		return grant{}, i, errors.Join(err, c.store.SaveImport(ctx, i))
	}
}

// saveRenewed makes the fresh pair durable: at this moment it exists nowhere
// else, so a failing database is tried until the lease ends.
func (c *Connections) saveRenewed(ctx context.Context, i ImportRecord, fresh grant) (ImportRecord, error) {
	if err := c.sealImport(ctx, &i, fresh); err != nil {
		return i, err
	}
	i.State, i.LeaseUntil = ImportRenewed, time.Time{}
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := c.store.SaveImport(ctx, i)
		if err == nil {
			i.Version++
			return i, nil
		}
		if current, look := c.store.ImportOf(ctx, i.Fingerprint); look == nil {
			switch current.State {
			case ImportRenewed: // this very save, stored in spite of an error
				return current, nil
			case ImportRenewing: // whoever took over asks with a spent token
				i.Version = current.Version
			default:
				return i, err
			}
		}
		select {
		case <-ctx.Done():
			return i, err
		case <-time.After(pause):
		}
	}
}

// refusedToken says which member of an import the platform refused. What is not
// the platform's word about the token stays as it is.
func refusedToken(field string, err error) error {
	var refused *platformError
	if !errors.As(err, &refused) || refused.status >= 500 || refused.status == http.StatusTooManyRequests ||
		refused.class == "invalid_client" || refused.class == "unauthorized_client" {
		return err
	}
	return wire.Refuse(gatehouse.ErrInvalid, "connect/import-refused", field+": the platform does not accept it ("+refused.class+")")
}
