package identity

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

func isNotFound(err error) bool { return errors.Is(err, gatehouse.ErrNotFound) }

// AuthenticateHandle returns the handle that the caller presents, if it may be
// used now. Each refusal has its own rule; none repeats what was presented.
func (d *Directory) AuthenticateHandle(ctx context.Context, bearer secret.Text) (Handle, error) {
	text := bearer.Reveal()
	kind, id := parse(text)
	if kind != HandleForm {
		return Handle{}, malformed(kind, text, "handle")
	}
	record, err := d.config.Store.Handle(ctx, gatehouse.HandleID(id))
	if err != nil && !isNotFound(err) {
		return Handle{}, fmt.Errorf("reading a handle: %w", err)
	}
	hash, failed := d.handleHash(ctx, record.Handle, text)
	if failed != nil {
		return Handle{}, failed
	}
	if err != nil || subtle.ConstantTimeCompare(hash[:], record.Hash[:]) != 1 {
		return Handle{}, unknownHandle()
	}
	if err := d.valid(record); err != nil {
		return Handle{}, err
	}
	return record.Handle, nil
}

// Recheck refuses a handle that was accepted before and may no longer be used;
// long-lived streams ask it from time to time.
func (d *Directory) Recheck(ctx context.Context, id gatehouse.HandleID) error {
	record, err := d.config.Store.Handle(ctx, id)
	if isNotFound(err) {
		return unknownHandle()
	}
	if err != nil {
		return fmt.Errorf("reading a handle: %w", err)
	}
	return d.valid(record)
}

// valid refuses a handle that exists but may not be used.
func (d *Directory) valid(record HandleRecord) error {
	if err := d.usable(record.Environment, record.ServiceDisabled); err != nil {
		return err
	}
	if !record.Handle.Revoked.IsZero() || record.ParentRevoked {
		return wire.Unauthenticated("identity/handle-revoked",
			"This handle was revoked. Make a new one if the connection still stands.")
	}
	if !time.Now().Before(record.Handle.Expires) {
		return wire.Unauthenticated("identity/handle-expired",
			"This handle has expired. Make a new one for the same connection and purpose.")
	}
	return nil
}

func unknownHandle() error {
	return wire.Unauthenticated("identity/handle-unknown",
		"No such handle exists here. It may come from another environment or a restored database.")
}

// malformed refuses a text that is not the form that was wanted. It says what it
// is instead where that helps, and never repeats it.
func malformed(kind Kind, text, wanted string) error {
	detail := "This is not a " + wanted + " of Gatehouse."
	switch {
	case kind == KeyForm:
		detail = "This is a service key. A call to a platform needs a handle; make one with the service key."
	case kind == HandleForm:
		detail = "This is a handle. This call needs a service key."
	case Resembles(text):
		detail = "This " + wanted + " is damaged: its length or its checksum is wrong. It was probably cut or mistyped."
	}
	if wanted == "handle" {
		return wire.Unauthenticated("identity/handle-malformed", detail)
	}
	return wire.Unauthenticated("identity/key-malformed", detail)
}
