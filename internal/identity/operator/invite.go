package operator

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// Invitation is who gets an account.
type Invitation struct {
	// Name and Email may be empty if the host invites: whoever enrols says them.
	Name, Email string
	Role        Role
	// Until is when the role ends; zero for no end.
	Until time.Time
}

// Invite makes an account and a link to enrol, which works once, in the browser
// that first uses it, and is shown once. A role that decides approvals is not given
// this way where giving it takes two: invite with another, then [Directory.Grant] it.
func (d *Directory) Invite(ctx context.Context, by Actor, in Invitation) (secret.Text, Account, error) {
	if _, err := d.authorise(ctx, by, OperatorsChange, true); err != nil {
		return secret.Text{}, Account{}, err
	}
	at := d.now()
	r := AccountRecord{
		Account:     Account{ID: AccountID(newID()), State: Invited, Created: at, Grants: []Grant{{Role: in.Role, Until: micro(in.Until)}}},
		Environment: d.config.Environment, Handle: make([]byte, handleSize),
	}
	_, _ = rand.Read(r.Handle) // never fails
	if err := checkGrant(r.Account.Grants[0], at); err != nil {
		return secret.Text{}, Account{}, err
	}
	var err error
	if in.Name != "" || !by.host {
		if r.Account.Name, err = cleanName(in.Name); err != nil {
			return secret.Text{}, Account{}, err
		}
	}
	if in.Email != "" || !by.host {
		if r.Account.Email, r.EmailKey, err = cleanEmail(in.Email); err != nil {
			return secret.Text{}, Account{}, err
		}
	}
	if guarded(in.Role) {
		switch needed, err := d.demanded(ctx, by); {
		case err != nil:
			return secret.Text{}, Account{}, err
		case needed:
			return secret.Text{}, Account{}, wire.Refuse(gatehouse.ErrInvalid, "operator/invite-role",
				"Giving this role takes two operators. Invite with another role, then propose to grant it.")
		}
	}
	e := entry(actionInvite, by, r.Account.ID)
	describe(e, r.Account.Grants[0])
	token := newToken(r.Account.ID)
	sealed, err := d.sealGrant(ctx, r.Account.ID, r.Account.Grants[0])
	if err != nil {
		return secret.Text{}, Account{}, err
	}
	r.Grants = []GrantRecord{sealed}
	err = d.logged(ctx, e, func() error {
		if err := d.config.Store.AddAccount(ctx, r); errors.Is(err, gatehouse.ErrConflict) && !errors.Is(err, ErrName) {
			return wire.Refuse(gatehouse.ErrConflict, "operator/email", "There is an account with this address.")
		} else if err != nil {
			return err
		}
		return d.addEnrolment(ctx, token, r.Account.ID, at)
	})
	if err != nil {
		return secret.Text{}, Account{}, fmt.Errorf("inviting an operator: %w", err)
	}
	return token, r.Account, nil
}

// handleSize is that of what a passkey knows an account by, in bytes: as many as
// WebAuthn recommends.
const handleSize = 64

func (d *Directory) addEnrolment(ctx context.Context, token secret.Text, id AccountID, at time.Time) error {
	hash, err := d.hash(ctx, string(tokenEnrol), token)
	if err != nil {
		return err
	}
	return d.config.Store.AddToken(ctx, TokenRecord{
		Hash: hash, Kind: tokenEnrol, Account: id, Created: at, Until: at.Add(d.config.EnrolWithin),
	}, true)
}

// Reinvite makes a new link for an account: its operator has lost their link or
// their factors. Whatever the account signed in with is gone, and so are its
// sessions. Who gets the link becomes the operator: for an account that decides
// approvals it takes two. The host may do it to the last owner.
func (d *Directory) Reinvite(ctx context.Context, by Actor, id AccountID) (secret.Text, Account, error) {
	if _, err := d.authorise(ctx, by, OperatorsChange, true); err != nil {
		return secret.Text{}, Account{}, err
	}
	r, err := d.record(ctx, id)
	if err != nil {
		return secret.Text{}, Account{}, err
	}
	if decides(r.Account) {
		if err := d.authoriseOwner(ctx, by, "reinvite", "", r); err != nil {
			return secret.Text{}, Account{}, err
		}
	}
	at, token := d.now(), newToken(id)
	change := StateChange{From: []State{Invited, Active, Suspended}, To: Invited, At: at, Decider: r.Account.May(ApprovalsDecide, at)}
	if !by.host {
		change.Keep = Owner
	}
	e := entry(actionInvite, by, id)
	e.Facts["again"] = "yes"
	err = d.logged(ctx, e, func() error {
		if err := d.config.Store.SetState(ctx, id, change); err != nil {
			return d.stateRefusal(err)
		}
		if err := d.config.Store.DropFactors(ctx, id, at); err != nil {
			return err
		}
		return d.addEnrolment(ctx, token, id, at)
	})
	if err != nil {
		return secret.Text{}, Account{}, fmt.Errorf("inviting an operator again: %w", err)
	}
	r, err = d.record(ctx, id)
	return token, r.Account, err
}

// describe adds what a grant is to an entry.
func describe(e audit.Entry, g Grant) {
	e.Facts["role"] = string(g.Role)
	if !g.Until.IsZero() {
		e.Facts["until"] = g.Until.Format(time.RFC3339)
	}
}

// micro is a time as it is stored.
func micro(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Microsecond)
}

// checkGrant refuses a role that does not exist and an end that is over.
func checkGrant(g Grant, at time.Time) error {
	if !slices.Contains(Roles(), g.Role) {
		return fmt.Errorf("role: it is one of %v: %w", Roles(), gatehouse.ErrInvalid)
	}
	if !g.live(at) {
		return fmt.Errorf("until: it is over already: %w", gatehouse.ErrInvalid)
	}
	return nil
}

// Enrolment is what a link to enrol is for.
type Enrolment struct {
	Account Account
	// Until is when the link ends.
	Until time.Time
	// Claimed says that a browser has used it: no other one can.
	Claimed bool
	// Complete says that the factors suffice: [Directory.Enrol] works.
	Complete bool
}

// Enrolment looks at a link and changes nothing: programs that preview links do the
// same. One that does not work is ErrEnrolment.
func (d *Directory) Enrolment(ctx context.Context, token secret.Text) (*Enrolment, error) {
	t, r, err := d.enrolment(ctx, token)
	if err != nil {
		return nil, err
	}
	return &Enrolment{Account: r.Account, Until: t.Until, Claimed: t.Binding != Hash{}, Complete: complete(r.Account)}, nil
}

func (d *Directory) enrolment(ctx context.Context, token secret.Text) (TokenRecord, AccountRecord, error) {
	t, r, err := d.token(ctx, tokenEnrol, token)
	if errors.Is(err, errToken) || err == nil && (r.Account.State != Invited || r.Environment != d.config.Environment) {
		return TokenRecord{}, AccountRecord{}, ErrEnrolment
	}
	return t, r, err
}

// errToken means that there is no such token, or not any more.
var errToken = errors.New("no such token")

// token returns a token that is alive, and its account.
func (d *Directory) token(ctx context.Context, kind TokenKind, token secret.Text) (TokenRecord, AccountRecord, error) {
	if n := len(token.Reveal()); n == 0 || n > maxToken {
		return TokenRecord{}, AccountRecord{}, errToken
	}
	hash, err := d.hash(ctx, string(kind), token)
	if err != nil {
		return TokenRecord{}, AccountRecord{}, err
	}
	t, err := d.config.Store.Token(ctx, hash)
	if errors.Is(err, gatehouse.ErrNotFound) || err == nil && (t.Kind != kind || !isOf(token, t.Account) || !d.now().Before(t.Until)) {
		return TokenRecord{}, AccountRecord{}, errToken
	}
	if err != nil {
		return TokenRecord{}, AccountRecord{}, fmt.Errorf("reading a token: %w", err)
	}
	r, err := d.record(ctx, t.Account)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return TokenRecord{}, AccountRecord{}, errToken
	}
	return t, r, err
}

// complete reports whether an account has what it takes to sign in: a passkey, which
// is two factors in one, or a password and one-time codes.
func complete(a Account) bool { return a.Passkeys > 0 || a.Password && a.TOTP }

// Enrol ends an enrolment: the account becomes active, the link is used up, and the
// browser is signed in with what it has just proved. The recovery codes are shown
// once and not kept; there are none for an account with passkeys only, where they
// would open nothing.
func (d *Directory) Enrol(ctx context.Context, b Browser, token secret.Text) (codes []secret.Text, session secret.Text, s Session, err error) {
	holder, err := d.holder(ctx, EnrolmentOrSession{Browser: b, Enrolment: token})
	if err != nil {
		return nil, secret.Text{}, Session{}, err
	}
	r := holder.record
	switch {
	case r.EmailKey == "" || r.Account.Name == "":
		return nil, secret.Text{}, Session{}, wire.Refuse(gatehouse.ErrInvalid, "operator/profile", "Give your name and e-mail address first.")
	case !complete(r.Account):
		return nil, secret.Text{}, Session{}, wire.Refuse(gatehouse.ErrInvalid, "operator/factors",
			"Add a passkey first, or a password and an authenticator app.")
	}
	e := entry(actionEnrol, holder.by, r.Account.ID)
	err = d.logged(ctx, e, func() error {
		if r.Account.Password {
			if codes, err = d.putRecovery(ctx, holder); err != nil {
				return err
			}
		}
		if err := d.config.Store.Enrol(ctx, holder.enrolment, r.Account.ID, d.now()); err != nil {
			if errors.Is(err, gatehouse.ErrConflict) || errors.Is(err, gatehouse.ErrNotFound) {
				return ErrEnrolment
			}
			return err
		}
		session, s, err = d.newSession(ctx, b, r.Account.ID)
		return err
	})
	if err != nil {
		return nil, secret.Text{}, Session{}, fmt.Errorf("enrolling: %w", err)
	}
	return codes, session, s, nil
}

// recoveryHash is what is stored of a recovery code: keyed like tokens, since with a
// password that was written into the database it would be all it takes. What has not
// the form of a code is factor.ErrWrong.
func (d *Directory) recoveryHash(ctx context.Context, id AccountID, code string) (Hash, error) {
	plain, err := factor.HashRecovery(string(id), code)
	if err != nil {
		return Hash{}, err
	}
	return d.hash(ctx, "recovery", secret.New(hex.EncodeToString(plain[:])))
}

// putRecovery makes new recovery codes.
func (d *Directory) putRecovery(ctx context.Context, h holder) ([]secret.Text, error) {
	codes := factor.NewRecoveryCodes()
	hashes := make([]Hash, 0, len(codes))
	for _, c := range codes {
		hash, err := d.recoveryHash(ctx, h.record.Account.ID, c.Reveal())
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, hash)
	}
	if err := d.config.Store.PutRecovery(ctx, h.record.Account.ID, h.claim(), hashes); err != nil {
		return nil, fmt.Errorf("storing recovery codes: %w", err)
	}
	return codes, nil
}
