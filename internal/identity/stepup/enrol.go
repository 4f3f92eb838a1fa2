package stepup

import (
	"context"
	"errors"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"

	"gatehouse"
)

var errFull = wire.Refuse(gatehouse.ErrConflict, "stepup/factors", "There are as many passkeys for this account as there may be. Ask the app to remove some.")

// BeginTOTP makes the secret for an authenticator app. Asked again before its first
// code was typed, it makes another.
func (s *Stepups) BeginTOTP(ctx context.Context, by Visitor) (Visit, error) {
	v, err := s.bound(ctx, by)
	if err != nil {
		return Visit{}, err
	}
	step := s.step(v)
	v.Pending = nil
	if step != Setup && step != Confirm || !s.page(v).TOTP {
		return Visit{}, errOrder
	}
	key := factor.NewTOTP()
	if v.Pending, err = s.c.Keys.Seal(ctx, v.Person, v.ID, "pending", key); err != nil {
		return Visit{}, err
	}
	if err := s.save(ctx, v); err != nil {
		return Visit{}, err
	}
	return Visit{Page: s.confirm(v, key)}, nil
}

// confirm is the page on which the first code is typed.
func (s *Stepups) confirm(v *visited, key secret.Text) Page {
	p := s.page(v)
	p.Key, p.URI = key, factor.TOTPURI(p.Site, holder(v).Name, key)
	return p
}

// ConfirmTOTP takes the first code of the authenticator app that is being set up.
func (s *Stepups) ConfirmTOTP(ctx context.Context, by Visitor, code string) (Visit, error) {
	v, err := s.bound(ctx, by)
	if err != nil {
		return Visit{}, err
	}
	if s.step(v) != Confirm {
		return Visit{}, errOrder
	}
	e := entry("stepup.enrol", &v.Request, v.about)
	e.Facts = map[string]string{"method": string(TOTP)}
	receipt, err := s.c.Log.Intent(ctx, entry("stepup.enrol", &v.Request, v.about))
	if err != nil {
		return Visit{}, err
	}
	ctx = context.WithoutCancel(ctx)
	visit, key, err := s.confirmed(ctx, receipt, v, code)
	s.c.Log.Outcome(receipt, end(e, proofRefusal(err)))
	if verdict(err) {
		visit, err := s.wrongAnswer(v, "That code is not right. Type the one that your app shows now; if it never fits, look whether your phone's clock is right.")
		if visit.To == "" {
			p := s.confirm(v, key)
			p.Problem, p.Status = visit.Page.Problem, visit.Page.Status
			visit.Page = p
		}
		return visit, err
	}
	return visit, err
}

func (s *Stepups) confirmed(ctx context.Context, receipt audit.Receipt, v *visited, code string) (Visit, secret.Text, error) {
	if err := s.try(ctx, v); err != nil {
		return Visit{}, secret.Text{}, err
	}
	key, err := s.c.Keys.Open(ctx, receipt, v.Person, v.ID, "pending", v.Pending)
	if err != nil {
		return Visit{}, secret.Text{}, err
	}
	step, err := factor.CheckTOTP(key, code, time.Now(), 0)
	if err != nil {
		return Visit{}, key, err
	}
	f := Factor{ID: newID("fct"), Person: v.Person, Method: TOTP, Step: step}
	if f.Sealed, err = s.c.Keys.Seal(ctx, v.Person, f.ID, columnSealed, key); err != nil {
		return Visit{}, key, err
	}
	visit, err := s.enrol(ctx, v, f)
	return visit, key, err
}

// register judges a new passkey.
func (s *Stepups) register(ctx context.Context, receipt audit.Receipt, v *visited, answer []byte) (Visit, error) {
	ceremony := v.Ceremony
	v.Ceremony = nil
	if err := s.try(ctx, v); err != nil {
		return Visit{}, err
	}
	h, _, err := s.passkeys(ctx, receipt, v, v.factors)
	if err != nil {
		return Visit{}, err
	}
	k, err := s.c.Passkeys.FinishRegistration(h, ceremony, answer)
	if err != nil {
		return Visit{}, err
	}
	f := Factor{ID: newID("fct"), Person: v.Person, Method: Passkey, Site: s.c.Passkeys.ID()}
	if f.Sealed, err = s.sealPasskey(ctx, v.Person, f.ID, k); err != nil {
		return Visit{}, err
	}
	return s.enrol(ctx, v, f)
}

// enrol stores a factor that was set up, which counts when the app has redeemed, and
// new recovery codes, if few are left.
func (s *Stepups) enrol(ctx context.Context, v *visited, f Factor) (Visit, error) {
	if len(v.factors) >= maxFactors {
		return Visit{}, errFull
	}
	v.right()
	v.First = len(v.factors) == 0 && v.left == 0
	v.Enrolled, v.Pending = f.Method, nil
	f.Request, f.Created = v.ID, time.Now().UTC().Truncate(time.Microsecond)
	var codes []secret.Text
	var hashes []factor.RecoveryHash
	if v.left < fewCodes {
		var err error
		if codes, hashes, err = newCodes(v); err != nil {
			return Visit{}, err
		}
	}
	if err := s.c.Store.Enrol(ctx, &v.Request, f, hashes); err != nil {
		return Visit{}, again(err)
	}
	if err := s.stillThere(ctx, v.Person); err != nil {
		return Visit{}, err
	}
	p := s.page(v)
	p.Codes = codes
	return Visit{Page: p}, nil
}

// newCodes makes recovery codes for a person.
func newCodes(v *visited) ([]secret.Text, []factor.RecoveryHash, error) {
	codes := factor.NewRecoveryCodes()
	hashes := make([]factor.RecoveryHash, len(codes))
	var errs []error
	for i, c := range codes {
		var err error
		hashes[i], err = factor.HashRecovery(string(v.Person), c.Reveal())
		errs = append(errs, err)
	}
	return codes, hashes, errors.Join(errs...)
}
