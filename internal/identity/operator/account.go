package operator

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/internal/wire"
)

// AccountID is the random, permanent identifier of an operator's account. It is the
// only thing of an operator that stands in the log.
type AccountID string

// A State is where an account stands in its life.
type State string

// The states.
const (
	// Invited is an account whose operator has not enrolled factors yet.
	Invited State = "invited"
	// Active is one that signs in.
	Active State = "active"
	// Suspended is one that keeps its factors and grants and does not sign in.
	Suspended State = "suspended"
	// Removed is what is left of one: an identifier, without name or address.
	Removed State = "removed"
)

// Account is an operator's account as it may be shown to other operators.
type Account struct {
	ID    AccountID
	Name  string
	Email string
	State State
	// Reason is why the account is suspended: "operator", "idle" or "scim".
	Reason string
	// Grants are the roles, also those whose time is over.
	Grants []Grant
	// Created is when the account was made, LastSeen when its operator did
	// something last; zero for never.
	Created, LastSeen time.Time
	// Passkeys counts them; TOTP and Password say whether there is one;
	// RecoveryLeft counts the recovery codes that were not used.
	Passkeys     int
	TOTP         bool
	Password     bool
	RecoveryLeft int
}

// A Grant is a role that an account has.
type Grant struct {
	Role Role
	// Until is when it ends; zero for no end.
	Until time.Time
	// Provider says that a group at the provider gave it, not an operator.
	Provider bool
}

// live reports whether the grant holds at t.
func (g Grant) live(t time.Time) bool { return g.Until.IsZero() || t.Before(g.Until) }

// Bounds of what an operator is called, in bytes.
const (
	maxName  = 100
	maxEmail = 200
)

// cleanName returns a name without what a terminal or a page could be misled by.
func cleanName(s string) (string, error) {
	s = strings.TrimSpace(s)
	switch {
	case s == "":
		return "", fmt.Errorf("name: it is empty: %w", gatehouse.ErrInvalid)
	case len(s) > maxName:
		return "", fmt.Errorf("name: it may have %d bytes: %w", maxName, gatehouse.ErrInvalid)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "", fmt.Errorf("name: it holds characters that cannot be printed: %w", gatehouse.ErrInvalid)
	}
	return s, nil
}

// cleanEmail returns an address and the form by which it is found.
func cleanEmail(s string) (email, key string, err error) {
	s = strings.TrimSpace(s)
	if len(s) > maxEmail {
		return "", "", fmt.Errorf("email: it may have %d bytes: %w", maxEmail, gatehouse.ErrInvalid)
	}
	parsed, err := mail.ParseAddress(s)
	if err != nil || parsed.Address != s || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == ' ' }) {
		return "", "", fmt.Errorf("email: it is not an address such as ada@example.com: %w", gatehouse.ErrInvalid)
	}
	return s, strings.ToLower(s), nil
}

// Accounts returns all accounts, in order of their making; the removed ones too.
func (d *Directory) Accounts(ctx context.Context) ([]Account, error) {
	records, err := d.config.Store.Accounts(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing operators: %w", err)
	}
	accounts := make([]Account, 0, len(records))
	for _, r := range records {
		if err := d.grants(ctx, &r); err != nil {
			return nil, err
		}
		accounts = append(accounts, r.Account)
	}
	return accounts, nil
}

// Account returns an account, or ErrNotFound.
func (d *Directory) Account(ctx context.Context, id AccountID) (Account, error) {
	r, err := d.record(ctx, id)
	return r.Account, err
}

func (d *Directory) record(ctx context.Context, id AccountID) (AccountRecord, error) {
	r, err := d.config.Store.Account(ctx, id)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return AccountRecord{}, wire.Refuse(gatehouse.ErrNotFound, "operator/unknown", "There is no such operator.")
	}
	if err != nil {
		return AccountRecord{}, fmt.Errorf("reading an operator: %w", err)
	}
	return r, d.grants(ctx, &r)
}

// grants gives a record's account the grants that were given by this package, and that
// the configuration still lets groups give; what else stands in the database gives
// nothing. What is owed counts as done.
func (d *Directory) grants(ctx context.Context, r *AccountRecord) error {
	r.Account.Grants = nil
	owed := ctx.Value(asStored{}) == nil
	if owed && r.Account.State == Active && d.owed.out(r.Account.ID) {
		r.Account.State = Suspended
	}
	for _, g := range r.Grants {
		ok, err := d.grantHolds(ctx, r.Account.ID, g)
		if err != nil {
			return err
		}
		if ok && (!g.Grant.Provider || d.mapped(g.Grant.Role)) && !(owed && d.owed.drops(r.Account.ID, g.Grant.Role)) {
			r.Account.Grants = append(r.Account.Grants, g.Grant)
		}
	}
	return nil
}

// grantHolds reports whether a grant is as it was written.
func (d *Directory) grantHolds(ctx context.Context, id AccountID, g GrantRecord) (bool, error) {
	ok, err := d.RowHolds(ctx, g.MAC, RowGrant, grantParts(id, g.Grant)...)
	if err == nil && !ok {
		d.TellAltered(AlteredRow{RowGrant, id, string(g.Grant.Role)})
	}
	return ok, err
}

// sealGrant makes the row of a grant.
func (d *Directory) sealGrant(ctx context.Context, id AccountID, g Grant) (GrantRecord, error) {
	mac, err := d.RowMAC(ctx, RowGrant, grantParts(id, g)...)
	return GrantRecord{g, mac}, err
}

func grantParts(id AccountID, g Grant) []string {
	until := ""
	if !g.Until.IsZero() {
		until = g.Until.UTC().Format(time.RFC3339Nano)
	}
	parts := []string{string(id), string(g.Role), until}
	if g.Provider {
		parts = append(parts, "provider")
	}
	return parts
}
