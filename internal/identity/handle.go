package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/secret"
)

// Handle is what may be shown of a handle: whom it lets use which connection,
// for what, and until when.
type Handle struct {
	ID          gatehouse.HandleID
	Service     gatehouse.ServiceID
	ServiceName gatehouse.ServiceName
	Connection  gatehouse.ConnectionID
	Person      gatehouse.PersonID // whose key seals what the log says of it
	Purpose     gatehouse.PurposeName
	Platform    gatehouse.Platform
	App         gatehouse.AppName
	Parent      gatehouse.HandleID // the handle in whose reply it was made, or ""
	Created     time.Time
	Expires     time.Time
	Revoked     time.Time // zero while it is not revoked
}

// HandleRequest says what a new handle is for.
type HandleRequest struct {
	Service    gatehouse.ServiceName
	Connection gatehouse.ConnectionID
	Person     gatehouse.PersonID
	Purpose    gatehouse.PurposeName
	Platform   gatehouse.Platform
	App        gatehouse.AppName
	TTL        time.Duration      // zero: Config.HandleTTL
	Parent     gatehouse.HandleID // revoked with it; usually none
}

// Filter selects handles. Its zero selects all that are valid.
type Filter struct {
	Service    gatehouse.ServiceName  // "": of every service
	Connection gatehouse.ConnectionID // "": for every connection
	Ended      bool                   // also those that are expired or revoked
	Limit      int                    // 0: 1000
}

const defaultLimit = 1000

// NewHandle makes a handle. The returned text is shown once and not kept.
func (d *Directory) NewHandle(ctx context.Context, request HandleRequest) (Handle, secret.Text, error) {
	ttl := request.TTL
	if ttl == 0 {
		ttl = d.config.HandleTTL
	}
	switch {
	case ttl < 0:
		return Handle{}, secret.Text{}, fmt.Errorf("the life of a handle must be positive: %w", gatehouse.ErrInvalid)
	case ttl > d.config.MaxHandleTTL:
		return Handle{}, secret.Text{}, fmt.Errorf("a handle may live at most %s, not %s: %w", d.config.MaxHandleTTL, ttl, gatehouse.ErrInvalid)
	case request.Connection == "" || request.Purpose == "":
		return Handle{}, secret.Text{}, fmt.Errorf("a handle needs a connection and a purpose: %w", gatehouse.ErrInvalid)
	}
	service, err := d.service(ctx, request.Service)
	if err != nil {
		return Handle{}, secret.Text{}, err
	}
	created := now()
	handle := Handle{
		ID: gatehouse.HandleID(newID()), Service: service.Service.ID, ServiceName: service.Service.Name,
		Connection: request.Connection, Person: request.Person, Purpose: request.Purpose,
		Platform: request.Platform, App: request.App, Parent: request.Parent,
		Created: created, Expires: created.Add(ttl).Truncate(time.Microsecond),
	}
	text := compose(handlePrefix, string(handle.ID), randomBase62(secretLength))
	if err := d.addHandle(ctx, handle, text, service.Environment); err != nil {
		return Handle{}, secret.Text{}, err
	}
	return handle, text, nil
}

// addHandle stores a handle between its intent and its outcome in the log.
func (d *Directory) addHandle(ctx context.Context, handle Handle, text secret.Text, env gatehouse.Environment) error {
	hash, err := d.handleHash(ctx, handle, text.Reveal())
	if err != nil {
		return err
	}
	err = d.logged(ctx, entryFor(actionHandleCreate, handle), func() error {
		return d.config.Store.AddHandle(ctx, HandleRecord{Handle: handle, Hash: hash, Environment: env})
	})
	if err != nil {
		return fmt.Errorf("making a handle: %w", err)
	}
	return nil
}

// entryFor is what the log says about a handle. Identifiers stand in the part
// that is sealed with the person's key.
func entryFor(action string, handle Handle) audit.Entry {
	kind := "handle"
	if handle.Parent != "" {
		kind = "child"
	}
	return audit.Entry{
		Action: action, Service: handle.ServiceName, Purpose: handle.Purpose, Platform: handle.Platform, App: handle.App,
		Facts:    map[string]string{"kind": kind, "expires": handle.Expires.Format(time.RFC3339)},
		Person:   handle.Person,
		Personal: map[string]string{"handle": string(handle.ID), "connection": string(handle.Connection)},
		Search:   string(handle.Connection),
	}
}

// ChildHandle returns the handle that stands, in replies to the parent, for a
// token of another connection that the platform put there, such as a page's.
// The same parent and child always give the same text, in every process, since
// identifier and secret are derived; SDKs that compare or cache tokens depend on
// it. The child is for the parent's service and purpose, expires with it, and is
// revoked with it. A child that was revoked by itself stays so: ErrDenied.
func (d *Directory) ChildHandle(ctx context.Context, parent Handle, child gatehouse.ConnectionID, person gatehouse.PersonID) (secret.Text, error) {
	if parent.ID == "" || child == "" {
		return secret.Text{}, fmt.Errorf("a child handle needs a parent and a connection: %w", gatehouse.ErrInvalid)
	}
	idBytes, err := d.derive(ctx, "child-handle-id", parent.ID, child)
	if err != nil {
		return secret.Text{}, err
	}
	secretBytes, err := d.derive(ctx, "child-handle-secret", parent.ID, child)
	if err != nil {
		return secret.Text{}, err
	}
	id := derivedID(idBytes[:])
	text := compose(handlePrefix, id, encodeBase62(secretBytes[:], secretLength))

	handle := parent
	handle.ID, handle.Parent = gatehouse.HandleID(id), parent.ID
	handle.Connection, handle.Person = child, person
	handle.Created = now()
	known, err := d.existingChild(ctx, handle, text)
	if err != nil || known {
		return childText(text, err)
	}
	err = d.addHandle(ctx, handle, text, d.config.Environment)
	if errors.Is(err, gatehouse.ErrConflict) {
		// Another reply made it in between, or the parent was revoked.
		known, err = d.existingChild(ctx, handle, text)
		if err == nil && !known {
			err = fmt.Errorf("making a child handle: the parent is revoked: %w", gatehouse.ErrDenied)
		}
	}
	return childText(text, err)
}

func childText(text secret.Text, err error) (secret.Text, error) {
	if err != nil {
		return secret.Text{}, err
	}
	return text, nil
}

// existingChild reports whether the child is stored already, and refuses one
// that may not be used.
func (d *Directory) existingChild(ctx context.Context, handle Handle, text secret.Text) (bool, error) {
	record, err := d.config.Store.Handle(ctx, handle.ID)
	if isNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading a child handle: %w", err)
	}
	hash, err := d.handleHash(ctx, record.Handle, text.Reveal())
	if err != nil {
		return false, err
	}
	if record.Hash != hash || record.Handle.Parent != handle.Parent {
		return false, fmt.Errorf("making a child handle: its identifier is taken by another: %w", gatehouse.ErrConflict)
	}
	return true, d.valid(record)
}

// handleHash is what is stored of a handle. It is keyed, and covers what the
// handle stands for: whoever can write to the database, but has no root key, can
// neither make a handle nor point one at another person, purpose or time.
func (d *Directory) handleHash(ctx context.Context, h Handle, text string) (Hash, error) {
	derived, err := d.config.Derive(ctx, "handle-hash", append(boundTo(h), text)...)
	if err != nil {
		return Hash{}, fmt.Errorf("hashing a handle: %w", err)
	}
	return sha256.Sum256([]byte(derived.Reveal())), nil
}

// boundTo lists what a handle stands for.
func boundTo(h Handle) []string {
	return []string{
		string(h.Service), string(h.ID), string(h.Connection), string(h.Person), string(h.Purpose), string(h.Platform),
		string(h.App), string(h.Parent), strconv.FormatInt(h.Expires.UnixMicro(), 10),
	}
}

// derive returns 32 bytes that only this environment's vault can compute.
func (d *Directory) derive(ctx context.Context, label string, parent gatehouse.HandleID, child gatehouse.ConnectionID) ([sha256.Size]byte, error) {
	derived, err := d.config.Derive(ctx, label, string(parent), string(child))
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("deriving a handle: %w", err)
	}
	return sha256.Sum256([]byte(derived.Reveal())), nil
}

// Handles returns the handles that match, newest first.
func (d *Directory) Handles(ctx context.Context, filter Filter) ([]Handle, error) {
	if filter.Limit <= 0 {
		filter.Limit = defaultLimit
	}
	records, err := d.config.Store.Handles(ctx, filter)
	if err != nil {
		return nil, fmt.Errorf("listing handles: %w", err)
	}
	handles := make([]Handle, 0, len(records))
	for _, record := range records {
		handles = append(handles, record.Handle)
	}
	return handles, nil
}

// Handle returns one handle, whatever its state.
func (d *Directory) Handle(ctx context.Context, id gatehouse.HandleID) (Handle, error) {
	record, err := d.config.Store.Handle(ctx, id)
	if err != nil {
		return Handle{}, fmt.Errorf("reading a handle: %w", err)
	}
	return record.Handle, nil
}

// RevokeHandle makes a handle and all that came from it worthless at once, even
// if the log cannot be written. Revoking twice is no error.
func (d *Directory) RevokeHandle(ctx context.Context, id gatehouse.HandleID) error {
	record, err := d.config.Store.Handle(ctx, id)
	if err != nil {
		return fmt.Errorf("revoking a handle: %w", err)
	}
	return d.reduced(ctx, entryFor(actionHandleRevoke, record.Handle), audit.Deed{Kind: deedHandle, Target: string(id)}, func() error {
		if err := d.config.Store.RevokeHandle(ctx, id, now()); err != nil {
			return fmt.Errorf("revoking a handle: %w", err)
		}
		return nil
	})
}

// RevokeConnection makes all handles of a connection, and all that came from
// them, worthless at once, even if the log cannot be written.
func (d *Directory) RevokeConnection(ctx context.Context, id gatehouse.ConnectionID) error {
	if id == "" {
		return fmt.Errorf("revoking handles: no connection is named: %w", gatehouse.ErrInvalid)
	}
	// Whose connection it is decides who can read the entry later. Without any
	// handle there is nothing to revoke and nothing to say.
	records, err := d.config.Store.Handles(ctx, Filter{Connection: id, Ended: true, Limit: 1})
	if err != nil {
		return fmt.Errorf("revoking handles: %w", err)
	}
	if len(records) == 0 {
		return nil
	}
	handle := records[0].Handle
	entry := audit.Entry{
		Action: actionHandleRevoke, Platform: handle.Platform, App: handle.App,
		Facts:    map[string]string{"kind": "connection"},
		Person:   handle.Person,
		Personal: map[string]string{"connection": string(id)},
		Search:   string(id),
	}
	return d.reduced(ctx, entry, audit.Deed{Kind: deedHandles, Target: string(id)}, func() error {
		if _, err := d.config.Store.RevokeConnection(ctx, id, now()); err != nil {
			return fmt.Errorf("revoking handles: %w", err)
		}
		return nil
	})
}
