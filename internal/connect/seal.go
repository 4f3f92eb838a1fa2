package connect

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strings"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/vault"
)

// Tables and columns that sealed records are bound to.
const (
	tableConnections = "connections"
	tableAttempts    = "connect_attempts"
	columnAccess     = "access"
	columnRefresh    = "refresh"
	columnVerifier   = "verifier"
	columnSubject    = "subject"
)

// newID returns a fresh identifier with a prefix that says what it names.
func newID(prefix string) string { return prefix + strings.ToLower(rand.Text()) }

// newProof returns 256 random bits as text.
func newProof() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// digest is the form in which proofs with 256 bits of randomness are stored.
func digest(proof string) string {
	sum := sha256.Sum256([]byte(proof))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// matches compares a presented proof with a stored digest in constant time. An
// absent digest matches nothing.
func matches(proof, stored string) bool {
	return stored != "" && subtle.ConstantTimeCompare([]byte(digest(proof)), []byte(stored)) == 1
}

// keyed returns the keyed hash of parts under a label: it serves look-up, and
// without the vault it does not lead back to what was hashed.
func (c *Connections) keyed(ctx context.Context, label string, parts ...string) (string, error) {
	derived, err := c.vault.Derive(ctx, label, parts...)
	if err != nil {
		return "", err
	}
	return digest(derived.Reveal()), nil
}

func (c *Connections) subjectHash(ctx context.Context, s gatehouse.Subject) (string, error) {
	return c.keyed(ctx, "connect/subject", string(s))
}

// userHash is the keyed hash by which a platform's id of a person is found. An
// X id is global; the others are scoped to the app registration.
func (c *Connections) userHash(ctx context.Context, a App, user string) (string, error) {
	scope := a.ClientID
	if a.Platform == gatehouse.X {
		scope = ""
	}
	if a.Platform == gatehouse.OAuth2 {
		scope = string(a.Name)
	}
	return c.keyed(ctx, "connect/user", string(a.Platform), scope, user)
}

func tokenRef(rec Record, column string) vault.Ref {
	return vault.Ref{Table: tableConnections, Row: string(rec.ID), Column: column, Person: rec.Person}
}

func attemptRef(a Attempt, column string) vault.Ref {
	return vault.Ref{Table: tableAttempts, Row: a.ID, Column: column}
}

// sealTokens puts a grant's tokens into the record, sealed for its row.
func (c *Connections) sealTokens(ctx context.Context, rec *Record, g grant) error {
	access, err := c.vault.Seal(ctx, tokenRef(*rec, columnAccess), g.access)
	if err != nil {
		return err
	}
	rec.Access, rec.Refresh = access, nil
	if !g.refresh.IsZero() {
		if rec.Refresh, err = c.vault.Seal(ctx, tokenRef(*rec, columnRefresh), g.refresh); err != nil {
			return err
		}
	}
	rec.AccessExpires, rec.RefreshExpires = g.expires, g.refreshExpires
	c.guardRecord(ctx, *rec, g)
	rec.Obtained, rec.Failures = c.now(rec.App), 0
	rec.CheckAt = rec.firstCheck(rec.Obtained)
	return nil
}

// openTokens opens a record's tokens under the intent that r proves.
func (c *Connections) openTokens(ctx context.Context, r audit.Receipt, rec Record) (grant, error) {
	if rec.Access == nil {
		return grant{}, errors.New("the record holds no token")
	}
	g := grant{kind: rec.Kind, expires: rec.AccessExpires, refreshExpires: rec.RefreshExpires, scopes: rec.Scopes}
	var err error
	if g.access, err = c.vault.Open(ctx, r, tokenRef(rec, columnAccess), rec.Access); err != nil {
		return grant{}, err
	}
	if rec.Refresh != nil {
		if g.refresh, err = c.vault.Open(ctx, r, tokenRef(rec, columnRefresh), rec.Refresh); err != nil {
			return grant{}, err
		}
	}
	c.guardRecord(ctx, rec, g)
	return g, nil
}

// personalContext binds a sealed personal field to its row and column.
func personalContext(id gatehouse.ConnectionID, column string) string {
	return tableConnections + "/" + string(id) + "/" + column
}

// sealIdentity fills the record's sealed user, name and subject.
func (c *Connections) sealIdentity(ctx context.Context, rec *Record, user, name string, subject gatehouse.Subject) error {
	for _, f := range []struct {
		into   *[]byte
		column string
		text   string
	}{{&rec.UserSealed, "user", user}, {&rec.NameSealed, "name", name}, {&rec.SubjSealed, columnSubject, string(subject)}} {
		sealed, err := c.sealPersonal(ctx, *rec, f.column, f.text)
		if err != nil {
			return err
		}
		*f.into = sealed
	}
	return nil
}

func (c *Connections) sealPersonal(ctx context.Context, rec Record, column, text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	return c.vault.SealPersonal(ctx, rec.Person, personalContext(rec.ID, column), []byte(text))
}

func (c *Connections) openPersonal(ctx context.Context, rec Record, column string, sealed []byte) (string, error) {
	if sealed == nil || rec.Person == "" || rec.Status == Erased {
		return "", nil
	}
	plain, err := c.vault.OpenPersonal(ctx, rec.Person, personalContext(rec.ID, column), sealed)
	if errors.Is(err, vault.ErrErased) {
		return "", nil // the row is about to say so itself
	}
	return string(plain), err
}

// bare says of a record what does not have to be opened, and what comes next.
func (c *Connections) bare(rec Record) Connection {
	return Connection{
		ID: rec.ID, App: rec.App, Platform: rec.Platform, Kind: rec.Kind, Service: rec.Service, Person: rec.Person,
		Parent: rec.Parent, Status: rec.Status, Cause: rec.Cause, Reason: rec.Reason, Next: c.next(rec), Scopes: rec.Scopes, Declined: rec.Declined,
		Purposes: rec.Purposes, AccessExpires: rec.AccessExpires, RefreshExpires: rec.RefreshExpires,
		DataAccessExpires: rec.DataAccessExpires, Created: rec.Created, Updated: rec.Updated, Version: rec.Version, RevokeOutstanding: rec.RevokeOutstanding,
	}
}

// view opens a record's personal fields and says what comes next. The tokens
// stay sealed.
func (c *Connections) view(ctx context.Context, rec Record) (Connection, error) {
	v := c.bare(rec)
	var err error
	if v.PlatformUser, err = c.openPersonal(ctx, rec, "user", rec.UserSealed); err != nil {
		return Connection{}, err
	}
	if v.Name, err = c.openPersonal(ctx, rec, "name", rec.NameSealed); err != nil {
		return Connection{}, err
	}
	subject, err := c.openPersonal(ctx, rec, columnSubject, rec.SubjSealed)
	v.Subject = gatehouse.Subject(subject)
	return v, err
}

// listed is view for whoever looks at connections or ends them. One record that does not
// open hides none of the others, and can be ended like them.
func (c *Connections) listed(ctx context.Context, rec Record) (Connection, error) {
	v, err := c.view(ctx, rec)
	if !errors.Is(err, vault.ErrUnreadable) {
		return v, err
	}
	v = c.bare(rec)
	v.Unreadable, v.Next = true, unreadableStep
	return v, nil
}

// entry is what every log entry about a connection has in common.
func (c *Connections) entry(action string, rec Record) audit.Entry {
	return audit.Entry{
		Action: action, Service: rec.Service, Platform: rec.Platform, App: rec.App,
		Person: rec.Person, Personal: map[string]string{"connection": string(rec.ID)}, Search: string(rec.ID),
	}
}
