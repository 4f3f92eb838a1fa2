package operator

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// EnrolmentOrSession is who changes factors: the holder of an enrolment link, or an
// operator in a session who has shown a factor lately. One of the two is set.
type EnrolmentOrSession struct {
	Browser   Browser
	Enrolment secret.Text
	Session   secret.Text
}

// holder is who an EnrolmentOrSession is.
type holder struct {
	record AccountRecord
	by     Actor
	// enrolment is the link's hash; zero in a session.
	enrolment Hash
	session   SessionID
}

func (h holder) claim() Claim { return Claim{h.enrolment, h.session} }

// holder finds out who changes factors. An enrolment link becomes this browser's.
func (d *Directory) holder(ctx context.Context, e EnrolmentOrSession) (holder, error) {
	binding, err := d.binding(ctx, e.Browser)
	if err != nil {
		return holder{}, err
	}
	if e.Enrolment.IsZero() {
		s, _, err := d.Session(ctx, e.Browser, e.Session)
		if err != nil {
			return holder{}, err
		}
		if !d.Fresh(s) {
			return holder{}, ErrFresh
		}
		r, err := d.record(ctx, s.Account)
		return holder{record: r, by: By(s), session: s.ID}, err
	}
	t, r, err := d.enrolment(ctx, e.Enrolment)
	if err != nil {
		return holder{}, err
	}
	if err := d.config.Store.ClaimToken(ctx, t.Hash, binding); errors.Is(err, gatehouse.ErrConflict) || errors.Is(err, gatehouse.ErrNotFound) {
		return holder{}, ErrEnrolment
	} else if err != nil {
		return holder{}, fmt.Errorf("claiming an enrolment: %w", err)
	}
	return holder{record: r, by: Actor{account: r.Account.ID}, enrolment: t.Hash}, nil
}

// changed records that a factor changes, and in a session ends all others: whoever
// is in one of them may be why.
func (d *Directory) changed(ctx context.Context, h holder, kind, what string, do func() error) error {
	e := entry(actionFactor, h.by, h.record.Account.ID)
	e.Facts["factor"], e.Facts["change"] = kind, what
	return d.logged(ctx, e, func() error {
		if err := do(); err != nil {
			return err
		}
		if h.session == "" {
			return nil
		}
		_, err := d.config.Store.EndSessions(ctx, h.record.Account.ID, h.session)
		return err
	})
}

// SetProfile says what the operator is called. An address other than that to which they
// were invited is theirs to say, and nobody vouches for it: it does not find the account
// for a provider. (Where nobody gave one, as for the first owner, the link is the word of
// whoever made it.)
func (d *Directory) SetProfile(ctx context.Context, e EnrolmentOrSession, name, email string) error {
	name, err := cleanName(name)
	if err != nil {
		return err
	}
	email, key, err := cleanEmail(email)
	if err != nil {
		return err
	}
	h, err := d.holder(ctx, e)
	if err != nil {
		return err
	}
	p, what := Naming{Name: name, Email: email, EmailKey: key, OwnEmail: h.record.OwnEmail}, "set"
	if key != h.record.EmailKey {
		p.OwnEmail = h.record.EmailKey != "" || h.session != ""
		what = "address"
	}
	err = d.changed(ctx, h, "profile", what, func() error { return d.config.Store.SetProfile(ctx, h.record.Account.ID, h.claim(), p) })
	return emailTaken(err)
}

// emailTaken says that another account has an address.
func emailTaken(err error) error {
	if errors.Is(err, gatehouse.ErrConflict) && !errors.Is(err, ErrName) {
		return wire.Refuse(gatehouse.ErrConflict, "operator/email", "There is an account with this address.")
	}
	return err
}

// SetEmail gives another operator's account an address for which whoever does it vouches:
// a provider that says it of somebody finds the account by it. It takes two for an account
// that decides approvals.
func (d *Directory) SetEmail(ctx context.Context, by Actor, id AccountID, email string) error {
	if _, err := d.authorise(ctx, by, OperatorsChange, true); err != nil {
		return err
	}
	email, key, err := cleanEmail(email)
	if err != nil {
		return err
	}
	r, err := d.record(ctx, id)
	if err != nil {
		return err
	}
	if id == by.account {
		return fmt.Errorf("address: nobody vouches for their own: %w", gatehouse.ErrInvalid)
	}
	if decides(r.Account) {
		// The digest stands for the address: no value of a person is shown with a proposal.
		sum := sha256.Sum256([]byte(key))
		if err := d.authoriseOwner(ctx, by, "address", "digest "+hex.EncodeToString(sum[:8]), r); err != nil {
			return err
		}
	}
	e := entry(actionFactor, by, id)
	e.Facts["factor"], e.Facts["change"] = "profile", "vouched"
	err = d.logged(ctx, e, func() error {
		return d.config.Store.SetProfile(ctx, id, Claim{}, Naming{Name: r.Account.Name, Email: email, EmailKey: key})
	})
	return emailTaken(err)
}

// SetPassword gives the account a password. Why one is not acceptable is a
// *factor.PasswordError.
func (d *Directory) SetPassword(ctx context.Context, e EnrolmentOrSession, password secret.Text) error {
	h, err := d.holder(ctx, e)
	if err != nil {
		return err
	}
	hash, err := d.config.Passwords.Hash(factor.Known(ctx), password)
	if err != nil {
		return fmt.Errorf("password: %w", err)
	}
	return d.changed(ctx, h, "password", "set", func() error {
		return d.config.Store.SetPassword(ctx, h.record.Account.ID, h.claim(), h.record.Password, hash)
	})
}

// TOTP is what an authenticator app needs.
type TOTP struct {
	// Seed is what a person types, in base32, and URI what a QR code holds.
	Seed, URI secret.Text
}

// totpOffer is how long a seed is offered.
const totpOffer = time.Hour

// BeginTOTP offers a seed of one-time codes. It is the same until it was proved with
// a code, or an hour has passed, so that a page may be shown again.
func (d *Directory) BeginTOTP(ctx context.Context, e EnrolmentOrSession) (TOTP, error) {
	h, err := d.holder(ctx, e)
	if err != nil {
		return TOTP{}, err
	}
	at := d.now()
	random, err := d.config.Store.OfferTOTP(ctx, h.record.Account.ID, rand.Text(), at, at.Add(totpOffer))
	if err != nil {
		return TOTP{}, fmt.Errorf("offering one-time codes: %w", err)
	}
	seed, err := d.seed(ctx, h.record.Account.ID, random)
	if err != nil {
		return TOTP{}, err
	}
	name := h.record.Account.Email
	if name == "" {
		name = "owner"
	}
	return TOTP{Seed: seed, URI: factor.TOTPURI(d.config.Issuer, name, seed)}, nil
}

// FinishTOTP puts the offered seed in the place of the one before, if code is one of
// its codes.
func (d *Directory) FinishTOTP(ctx context.Context, e EnrolmentOrSession, code string) error {
	h, err := d.holder(ctx, e)
	if err != nil {
		return err
	}
	at := d.now()
	if h.record.NextTOTP == "" || !at.Before(h.record.NextEnd) {
		return wire.Refuse(gatehouse.ErrConflict, "operator/totp-offer", "This took too long. Begin again with a new QR code.")
	}
	seed, err := d.seed(ctx, h.record.Account.ID, h.record.NextTOTP)
	if err != nil {
		return err
	}
	step, err := factor.CheckTOTP(seed, code, at, 0)
	if errors.Is(err, factor.ErrWrong) {
		return wire.Refuse(gatehouse.ErrInvalid, "operator/totp-code", "This is not the code that the app shows. Check the clocks of both devices, and use the newest code.")
	}
	if err != nil {
		return err
	}
	return d.changed(ctx, h, "totp", "set", func() error {
		return d.config.Store.AcceptTOTP(ctx, h.record.Account.ID, h.claim(), h.record.NextTOTP, step)
	})
}

// seed computes the seed of one-time codes that belongs to a random part. It is
// stored nowhere; when the random part goes, so does it.
func (d *Directory) seed(ctx context.Context, id AccountID, random string) (secret.Text, error) {
	derived, err := d.config.Derive(ctx, "operator-totp", string(id), random)
	if err != nil {
		return secret.Text{}, fmt.Errorf("deriving the seed of one-time codes: %w", err)
	}
	raw, err := hex.DecodeString(derived.Reveal())
	if err != nil || len(raw) < seedSize {
		return secret.Text{}, errors.New("a derived secret is not hexadecimal, or too short")
	}
	return secret.New(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw[:seedSize])), nil
}

// seedSize is RFC 4226's, in bytes.
const seedSize = 20

// NewRecoveryCodes makes new recovery codes in the place of those before. They are
// shown once.
func (d *Directory) NewRecoveryCodes(ctx context.Context, e EnrolmentOrSession) (codes []secret.Text, err error) {
	h, err := d.holder(ctx, e)
	if err != nil {
		return nil, err
	}
	if !h.record.Account.Password {
		return nil, wire.Refuse(gatehouse.ErrInvalid, "operator/recovery", "A recovery code stands in for the authenticator app beside a password. Set a password first.")
	}
	err = d.changed(ctx, h, "recovery", "set", func() error {
		codes, err = d.putRecovery(ctx, h)
		return err
	})
	if err != nil {
		return nil, err
	}
	return codes, nil
}
