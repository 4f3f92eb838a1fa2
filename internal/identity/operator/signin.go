package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/secret"
)

// halfFor is how long somebody has for the second factor.
const halfFor = 5 * time.Minute

// refuse records that somebody did not get in, and returns what they are told: the
// same whatever the reason. Limits bound how often it is called.
func (d *Directory) refuse(id AccountID, step, reason string) error {
	e := entry(actionRefuse, Actor{}, id)
	e.Verdict = verdictRefuse
	e.Facts["step"], e.Facts["reason"] = step, reason
	d.config.Log.Refusal(e)
	return ErrSignIn
}

// SignInPasskeyBegin begins to sign in with a passkey: the browser finds it by
// itself, so that nothing is asked that would tell who has an account.
func (d *Directory) SignInPasskeyBegin(ctx context.Context, b Browser) (options []byte, packed string, err error) {
	if d.config.Passkeys == nil {
		return nil, "", errNoPasskeys
	}
	options, state, err := d.config.Passkeys.BeginDiscoverable()
	if err != nil {
		return nil, "", err
	}
	packed, err = d.begin(ctx, b, ceremonySignIn, "", state)
	return options, packed, err
}

// SignInPasskeyFinish signs in with the browser's answer. The passkey demands the
// operator's finger or PIN, and so is two factors.
func (d *Directory) SignInPasskeyFinish(ctx context.Context, b Browser, packed string, response []byte) (token secret.Text, s Session, err error) {
	r, use, err := d.usePasskey(ctx, b, ceremonySignIn, "", packed, response)
	if err != nil {
		return secret.Text{}, Session{}, err
	}
	e := entry(actionSignIn, Actor{account: r.Account.ID}, r.Account.ID)
	e.Facts["by"] = "passkey"
	err = d.logged(ctx, e, func() error {
		if err := use(); err != nil {
			return err
		}
		token, s, err = d.newSession(ctx, b, r.Account.ID)
		return err
	})
	if err != nil {
		return secret.Text{}, Session{}, err
	}
	return token, s, nil
}

// usePasskey judges a browser's answer, and returns whose it is and what uses it up.
// With account it must be that one's.
func (d *Directory) usePasskey(ctx context.Context, b Browser, kind string, account AccountID, packed string, response []byte) (AccountRecord, func() error, error) {
	fail := func(r AccountRecord, err error) (AccountRecord, func() error, error) { return r, nil, err }
	if d.config.Passkeys == nil {
		return fail(AccountRecord{}, errNoPasskeys)
	}
	binding, err := d.binding(ctx, b)
	if err != nil {
		return fail(AccountRecord{}, err)
	}
	refuse, err := d.answers(ctx, b, "passkey")
	if err != nil {
		return fail(AccountRecord{}, err)
	}
	c, used, err := d.unpack(ctx, kind, binding, packed)
	if errors.Is(err, errCeremony) || err == nil && c.Account != account {
		return fail(AccountRecord{}, refuse(account, "ceremony"))
	}
	if err != nil {
		return fail(AccountRecord{}, err)
	}
	r, before, after, id, reason, err := d.passkeyAnswer(ctx, c, response)
	switch {
	case reason == "cloned" && errors.Is(d.config.Store.TakeCeremony(ctx, used, c.Until), gatehouse.ErrConflict):
		// The same answer again, as of a form that was sent twice, is no second passkey.
		return fail(r, refuse(r.Account.ID, "replayed"))
	case reason == "cloned":
		return fail(r, errors.Join(ErrSignIn, d.cloned(ctx, r.Account.ID, id)))
	case reason != "":
		return fail(r, refuse(r.Account.ID, reason))
	case err != nil:
		return fail(r, err)
	case r.Account.State != Active || r.Environment != d.config.Environment || account != "" && r.Account.ID != account:
		return fail(r, refuse(r.Account.ID, string(r.Account.State)))
	}
	return r, func() error {
		err := d.config.Store.UsePasskey(ctx, id, before, after, d.now(), used, c.Until)
		if errors.Is(err, gatehouse.ErrConflict) || errors.Is(err, gatehouse.ErrNotFound) {
			// Its answer, or the passkey, was used meanwhile.
			return refuse(r.Account.ID, "replayed")
		}
		if err != nil {
			return fmt.Errorf("storing a passkey's use: %w", err)
		}
		return nil
	}, nil
}

// cloned takes a passkey away of which there are two, and ends all sessions of its account.
func (d *Directory) cloned(ctx context.Context, account AccountID, id PasskeyID) error {
	e := entry(actionCloned, Actor{system: true}, account)
	return d.reduced(ctx, e, deedOf(deedPasskey, string(account)+"/"+string(id)), func() error {
		err := d.config.Store.DropCloned(ctx, account, id)
		if errors.Is(err, gatehouse.ErrNotFound) {
			return nil // somebody else saw it first
		}
		return err
	})
}

// SignInPassword takes the first factor and returns what the second has to come
// with. That there is no such account, that it has no password, that it is suspended
// and that the password is wrong look the same and take as long.
func (d *Directory) SignInPassword(ctx context.Context, b Browser, email string, password secret.Text) (half secret.Text, err error) {
	binding, err := d.binding(ctx, b)
	if err != nil {
		return secret.Text{}, err
	}
	email = strings.ToLower(strings.TrimSpace(email[:min(len(email), 2*maxEmail)]))
	r, err := d.config.Store.AccountByEmail(ctx, email)
	if err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
		return secret.Text{}, fmt.Errorf("signing in: %w", err)
	}
	return d.password(ctx, b, binding, email, r, tokenHalf, password)
}

// password is the first factor for an account, which may be none.
func (d *Directory) password(ctx context.Context, b Browser, binding Hash, email string, r AccountRecord, kind TokenKind, password secret.Text) (secret.Text, error) {
	id := r.Account.ID
	known, err := d.config.Store.Knows(ctx, id, binding)
	if err != nil {
		return secret.Text{}, fmt.Errorf("signing in: %w", err)
	}
	limits, err := d.attempt(ctx, id, passwordLimits(b, id, email, binding, known)...)
	if err != nil {
		return secret.Text{}, err
	}
	if known || kind == tokenProof {
		ctx = factor.Known(ctx)
	}
	var stale bool
	if r.Password == "" {
		err = d.config.Passwords.Waste(ctx, password)
	} else {
		stale, err = d.config.Passwords.Verify(ctx, r.Password, password)
	}
	switch {
	case errors.Is(err, factor.ErrWrong):
		return secret.Text{}, d.refuse(id, "password", "wrong")
	case err != nil:
		return secret.Text{}, errors.Join(err, d.config.Store.Forgive(ctx, limits))
	case r.Account.State != Active || r.Environment != d.config.Environment:
		return secret.Text{}, d.refuse(id, "password", string(r.Account.State))
	case !r.Account.TOTP:
		// A password alone opens nothing.
		return secret.Text{}, d.refuse(id, "password", "no-second-factor")
	}
	if stale {
		// It is at hand only now; should this fail, there is a next time.
		if hash, err := d.config.Passwords.Hash(ctx, password); err == nil {
			_ = d.config.Store.SetPassword(ctx, id, Claim{}, r.Password, hash)
		}
	}
	// The attempt stays counted: who knows the password alone cannot make halves
	// without end.
	return d.newHalf(ctx, TokenRecord{Kind: kind, Account: id, Binding: binding})
}

// newHalf makes what a second factor has to come with.
func (d *Directory) newHalf(ctx context.Context, r TokenRecord) (secret.Text, error) {
	token, at := newToken(r.Account), d.now()
	hash, err := d.hash(ctx, string(r.Kind), token)
	if err != nil {
		return secret.Text{}, err
	}
	r.Hash, r.Created, r.Until = hash, at, at.Add(halfFor)
	if err := d.sealHalf(ctx, &r); err != nil {
		return secret.Text{}, err
	}
	err = d.config.Store.AddToken(ctx, r, false)
	if err != nil {
		return secret.Text{}, fmt.Errorf("storing half a sign-in: %w", err)
	}
	return token, nil
}

// SignInCode takes the second factor, a one-time code or a recovery code, and signs
// in.
func (d *Directory) SignInCode(ctx context.Context, b Browser, half secret.Text, code string) (token secret.Text, s Session, err error) {
	first := "password"
	h, err := d.second(ctx, b, tokenHalf, "", half, code)
	if errors.Is(err, ErrSignIn) {
		// A half is of one kind: of the other there is none, which counts no attempt.
		first = "provider"
		h, err = d.second(ctx, b, tokenProvider, "", half, code)
	}
	if err != nil {
		return secret.Text{}, Session{}, err
	}
	e := entry(actionSignIn, Actor{account: h.id}, h.id)
	e.Facts["by"] = first + "+" + h.kind
	err = d.logged(ctx, e, func() error {
		if err := h.take(); err != nil {
			return err
		}
		if h.token.Kind == tokenProvider {
			token, s, err = d.finishHalf(ctx, b, h)
			return err
		}
		token, s, err = d.newSession(ctx, b, h.id)
		return err
	})
	if err != nil {
		return secret.Text{}, Session{}, err
	}
	return token, s, nil
}

// half is a sign-in whose second factor looks right.
type half struct {
	id   AccountID
	kind string // totp or recovery
	// token and record are the half sign-in and its account as they are stored.
	token  TokenRecord
	record AccountRecord
	// take uses up the code and the half sign-in, or refuses.
	take func() error
}

// second judges a second factor. With account, the half must be that one's.
func (d *Directory) second(ctx context.Context, b Browser, kind TokenKind, account AccountID, token secret.Text, code string) (half, error) {
	binding, err := d.binding(ctx, b)
	if err != nil {
		return half{}, err
	}
	t, r, err := d.token(ctx, kind, token)
	if errors.Is(err, errToken) || err == nil && (t.Binding != binding || account != "" && t.Account != account) {
		return half{}, ErrSignIn
	}
	if err != nil {
		return half{}, err
	}
	if ok, err := d.halfHolds(ctx, &t); err != nil {
		return half{}, err
	} else if !ok {
		return half{}, ErrSignIn
	}
	id := r.Account.ID
	if r.Account.State != Active || r.Environment != d.config.Environment || !r.Account.TOTP {
		return half{}, d.refuse(id, "code", string(r.Account.State))
	}
	known, err := d.config.Store.Knows(ctx, id, binding)
	if err != nil {
		return half{}, fmt.Errorf("signing in: %w", err)
	}
	limits, err := d.attempt(ctx, id, codeLimits(id, binding, known)...)
	if err != nil {
		return half{}, err
	}
	if err := d.config.Store.TryToken(ctx, t.Hash, perHalf); errors.Is(err, gatehouse.ErrConflict) || errors.Is(err, gatehouse.ErrNotFound) {
		return half{}, d.refuse(id, "code", "tries")
	} else if err != nil {
		return half{}, fmt.Errorf("signing in: %w", err)
	}
	seed, err := d.seed(ctx, id, r.TOTP)
	if err != nil {
		return half{}, err
	}
	what, use := "totp", func() error { return nil }
	step, err := factor.CheckTOTP(seed, code, d.now(), r.Step)
	switch {
	case err == nil:
		use = func() error { return d.config.Store.TakeStep(ctx, id, r.TOTP, step) }
	case errors.Is(err, factor.ErrUsed):
		return half{}, d.refuse(id, "code", "replayed")
	case !errors.Is(err, factor.ErrWrong):
		return half{}, err
	default:
		hash, err := d.recoveryHash(ctx, id, code)
		if errors.Is(err, factor.ErrWrong) {
			return half{}, d.refuse(id, "code", "wrong")
		}
		if err != nil {
			return half{}, err
		}
		what, use = "recovery", func() error { return d.config.Store.TakeRecovery(ctx, id, hash) }
	}
	return half{id, what, t, r, func() error {
		// The code goes first, so that a mistyped one leaves the half for another try; of
		// two requests with one half, one goes on.
		for _, f := range []func() error{use, func() error { return d.config.Store.DropToken(ctx, t.Hash) }} {
			err := f()
			if errors.Is(err, gatehouse.ErrConflict) || errors.Is(err, gatehouse.ErrNotFound) {
				return d.refuse(id, "code", what)
			}
			if err != nil {
				return fmt.Errorf("signing in: %w", err)
			}
		}
		return d.config.Store.Forgive(ctx, limits)
	}}, nil
}

// ProvePasskeyBegin begins to show a passkey again in a session.
func (d *Directory) ProvePasskeyBegin(ctx context.Context, b Browser, session secret.Text) (options []byte, packed string, err error) {
	if d.config.Passkeys == nil {
		return nil, "", errNoPasskeys
	}
	s, _, err := d.session(ctx, b, session)
	if err != nil {
		return nil, "", err
	}
	options, state, err := d.config.Passkeys.BeginDiscoverable()
	if err != nil {
		return nil, "", err
	}
	packed, err = d.begin(ctx, b, ceremonyProve, s.Session.Account, state)
	return options, packed, err
}

// ProvePasskeyFinish makes the session as good as new, with a new token in place of
// the one before.
func (d *Directory) ProvePasskeyFinish(ctx context.Context, b Browser, session secret.Text, packed string, response []byte) (token secret.Text, s Session, err error) {
	record, r, err := d.session(ctx, b, session)
	if err != nil {
		return secret.Text{}, Session{}, err
	}
	_, use, err := d.usePasskey(ctx, b, ceremonyProve, r.Account.ID, packed, response)
	if err != nil {
		return secret.Text{}, Session{}, err
	}
	return d.proved(ctx, record, "passkey", use)
}

// ProvePassword takes the password of the operator in a session, for
// [Directory.ProveCode].
func (d *Directory) ProvePassword(ctx context.Context, b Browser, session, password secret.Text) (half secret.Text, err error) {
	s, r, err := d.session(ctx, b, session)
	if err != nil {
		return secret.Text{}, err
	}
	full, err := d.record(ctx, r.Account.ID)
	if err != nil {
		return secret.Text{}, err
	}
	return d.password(ctx, b, s.Binding, full.EmailKey, full, tokenProof, password)
}

// ProveCode is ProvePasskeyFinish with a password's half and a code.
func (d *Directory) ProveCode(ctx context.Context, b Browser, session, half secret.Text, code string) (token secret.Text, s Session, err error) {
	record, r, err := d.session(ctx, b, session)
	if err != nil {
		return secret.Text{}, Session{}, err
	}
	h, err := d.second(ctx, b, tokenProof, r.Account.ID, half, code)
	if err != nil {
		return secret.Text{}, Session{}, err
	}
	return d.proved(ctx, record, "password+"+h.kind, h.take)
}

func (d *Directory) proved(ctx context.Context, record SessionRecord, how string, use func() error) (token secret.Text, s Session, err error) {
	e := entry(actionProve, By(record.Session), record.Session.Account)
	e.Facts["by"] = how
	err = d.logged(ctx, e, func() error {
		if err := use(); err != nil {
			return err
		}
		token, s, err = d.rotate(ctx, record)
		return err
	})
	if err != nil {
		return secret.Text{}, Session{}, err
	}
	return token, s, nil
}
