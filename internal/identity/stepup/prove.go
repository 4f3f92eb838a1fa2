package stepup

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

const (
	table        = "stepup_factors"
	columnSealed = "sealed"
)

// Code takes a code of the person's authenticator app, or a recovery code.
func (s *Stepups) Code(ctx context.Context, by Visitor, code string) (Visit, error) {
	v, err := s.bound(ctx, by)
	if err != nil {
		return Visit{}, err
	}
	if s.step(v) != Prove {
		return Visit{}, errOrder
	}
	hash, err := s.known(ctx, v, by.Known)
	if err != nil {
		return Visit{}, err
	}
	every := guessEvery
	if hash != "" {
		every = knownEvery
	}
	next, err := s.c.Store.Guess(ctx, v.Person, hash, time.Now(), every, guessBurst)
	if errors.Is(err, gatehouse.ErrLimited) {
		return s.limited(ctx, v, next)
	}
	if err == nil {
		err = s.stillThere(ctx, v.Person)
	}
	if err != nil {
		return Visit{}, err
	}
	e := entry("stepup.prove", &v.Request, v.about)
	receipt, err := s.c.Log.Intent(ctx, e)
	if err != nil {
		return Visit{}, err
	}
	// From here on the answer counts, even if the browser goes away.
	ctx = context.WithoutCancel(ctx)
	visit, method, err := s.code(ctx, receipt, v, code)
	if method != "" {
		e.Facts = map[string]string{"method": string(method)}
	}
	if err == nil {
		err = s.c.Store.Unguess(ctx, v.Person, hash, every)
	}
	if err == nil {
		visit.Known, err = s.remember(ctx, v, hash)
	}
	s.c.Log.Outcome(receipt, end(e, proofRefusal(err)))
	if verdict(err) {
		return s.wrongAnswer(v, "That code is not right. Codes change every 30 seconds; each works once.")
	}
	return visit, err
}

// proofRefusal gives a verdict the rule under which it stands in the log.
func proofRefusal(err error) error {
	for verdict, rule := range map[error]string{
		factor.ErrWrong: "stepup/wrong", factor.ErrUsed: "stepup/used", factor.ErrCloned: "stepup/cloned", factor.ErrExpired: "stepup/expired",
	} {
		if errors.Is(err, verdict) {
			return wire.Refuse(gatehouse.ErrDenied, rule, verdict.Error())
		}
	}
	return err
}

// code judges a code, and saves what follows from it.
func (s *Stepups) code(ctx context.Context, receipt audit.Receipt, v *visited, code string) (Visit, Method, error) {
	if err := s.try(ctx, v); err != nil {
		return Visit{}, "", err
	}
	hash, err := factor.HashRecovery(string(v.Person), code)
	if err == nil && v.left > 0 {
		v.right()
		to, err := s.proved(v, Recovery, time.Now())
		if err != nil {
			return Visit{}, Recovery, err
		}
		if err := s.c.Store.UseRecovery(ctx, &v.Request, hash); err != nil {
			v.wrongAgain()
			if errors.Is(err, gatehouse.ErrNotFound) {
				err = factor.ErrWrong
			}
			return Visit{}, Recovery, again(err)
		}
		v.left--
		return Visit{Page: s.page(v), To: to}, Recovery, nil
	}
	usable, _ := s.choice(v)
	for _, f := range usable {
		if f.Method != TOTP {
			continue
		}
		key, err := s.c.Keys.Open(ctx, receipt, f.Person, f.ID, columnSealed, f.Sealed)
		if err != nil {
			return Visit{}, TOTP, err
		}
		now := time.Now()
		if f.Step, err = factor.CheckTOTP(key, code, now, f.Step); err != nil {
			return Visit{}, TOTP, err
		}
		visit, err := s.use(ctx, v, f, now)
		if errors.Is(err, gatehouse.ErrConflict) {
			err = factor.ErrUsed // by another request, at the same moment
		}
		return visit, TOTP, err
	}
	return Visit{}, "", factor.ErrWrong
}

// use saves a factor that was proved right, and the request that it was proved for.
func (s *Stepups) use(ctx context.Context, v *visited, f Factor, now time.Time) (Visit, error) {
	v.right()
	to, err := s.proved(v, f.Method, now)
	if err != nil {
		return Visit{}, err
	}
	f.Used = now
	if err := s.c.Store.UseFactor(ctx, &v.Request, f); err != nil {
		v.wrongAgain()
		return Visit{}, err
	}
	return Visit{Page: s.page(v), To: to}, nil
}

// proved notes a proof, and passes the request if nothing else is to be done.
func (s *Stepups) proved(v *visited, by Method, at time.Time) (string, error) {
	v.Proved, v.ProvedBy = at.UTC().Truncate(time.Microsecond), by
	if s.step(v) != "" {
		return "", nil
	}
	return v.pass()
}

// wrongAgain undoes right and proved, where the proof could not be saved: the row is as
// try left it.
func (v *visited) wrongAgain() {
	v.Wrong++
	v.Stage, v.Proved, v.ProvedBy, v.CodeHash = Started, time.Time{}, "", ""
	if v.Wrong >= maxWrong {
		v.Stage = Failed
	}
}

// limited is what a person sees when too many codes were tried for them.
func (s *Stepups) limited(ctx context.Context, v *visited, next time.Time) (Visit, error) {
	// Nothing is judged, so no answer is counted; but what is written down has an end.
	if v.Begun++; v.Begun > maxCeremonies {
		return Visit{}, errOrder
	}
	if err := s.save(ctx, v); err != nil {
		return Visit{}, err
	}
	e := entry("stepup.prove", &v.Request, v.about)
	e.Rule = "stepup/limited"
	s.c.Log.Refusal(e)
	if err := s.alarm(ctx, v, "guessing"); err != nil {
		return Visit{}, err
	}
	p := s.page(v)
	minutes := int(time.Until(next)/time.Minute) + 1
	p.Problem, p.Status = fmt.Sprintf("Too many codes were tried for this account. Try again in %d minutes.", minutes), 429
	if p.Passkey {
		p.Problem += " A passkey works now."
	}
	return Visit{Page: p}, nil
}

// alarm tells the app that something is wrong, at most once an hour for each person and
// cause.
func (s *Stepups) alarm(ctx context.Context, v *visited, cause string) error {
	e := entry("stepup.alarm", &v.Request, v.about)
	e.Facts, e.Verdict = map[string]string{"cause": cause}, "done"
	if _, err := s.c.Log.Record(ctx, e); err != nil {
		return err
	}
	now := time.Now().UTC()
	sum := sha256.Sum256([]byte(string(v.Person) + " " + cause + " " + now.Truncate(time.Hour).String()))
	return s.c.Tell(ctx, Event{
		ID: "stepup-alarm-" + fmt.Sprintf("%x", sum[:16]), Type: "stepup.alarm", Person: v.Person, Subject: v.about.Subject, Service: v.Service, Cause: cause, At: now,
	})
}

// known returns the hash by which a browser is known as this person's; "" if it is not, or
// is as somebody else's.
func (s *Stepups) known(ctx context.Context, v *visited, cookie secret.Text) (string, error) {
	if cookie.IsZero() {
		return "", nil
	}
	b, err := s.c.Store.Browser(ctx, v.Person, digest(cookie.Reveal()))
	if errors.Is(err, gatehouse.ErrNotFound) || err == nil && time.Since(b.Proved) > knownCookies {
		return "", nil
	}
	return b.Hash, err
}

// remember has the browser known from now on, since a factor that counts was proved in
// it, and returns its cookie. It is new with every proof, and the one by which the browser
// was known as this person's (its hash; "" for none) is of no use any more: whoever kept
// or copied it is not taken for the browser because somebody proved a factor again.
// Setting a factor up is no such proof: whose it is, the app has not said yet.
func (s *Stepups) remember(ctx context.Context, v *visited, known string) (secret.Text, error) {
	cookie := secret.New(newProof())
	err := s.c.Store.Remember(ctx, Browser{Person: v.Person, Hash: digest(cookie.Reveal()), Proved: v.Proved, By: v.ProvedBy}, known, maxBrowsers)
	if err == nil {
		err = s.stillThere(ctx, v.Person)
	}
	return cookie, err
}

// holder is a person as package factor knows them.
func holder(v *visited) factor.Holder {
	handle := sha256.Sum256([]byte("gatehouse stepup handle\x00" + string(v.Person)))
	name := v.about.Account
	if name == "" {
		name = "your account"
	}
	return factor.Holder{Handle: handle[:], Name: name, Display: name}
}

// passkeys opens the passkeys of factors into a holder.
func (s *Stepups) passkeys(ctx context.Context, receipt audit.Receipt, v *visited, of []Factor) (factor.Holder, []Factor, error) {
	h := holder(v)
	var used []Factor
	for _, f := range of {
		if f.Method != Passkey {
			continue
		}
		plain, err := s.c.Keys.Open(ctx, receipt, f.Person, f.ID, columnSealed, f.Sealed)
		if err != nil {
			return h, nil, err
		}
		var k factor.Passkey
		if err := json.Unmarshal([]byte(plain.Reveal()), &k); err != nil {
			return h, nil, errors.New("a stored passkey is not as it was made")
		}
		h.Passkeys, used = append(h.Passkeys, k), append(used, f)
	}
	return h, used, nil
}

// PasskeyOptions returns what the browser needs to use a passkey, or to make one,
// whichever is next.
func (s *Stepups) PasskeyOptions(ctx context.Context, by Visitor) ([]byte, error) {
	v, err := s.bound(ctx, by)
	if err != nil {
		return nil, err
	}
	step := s.step(v)
	if s.c.Passkeys == nil || step != Prove && step != Setup && step != Confirm || v.Begun >= maxCeremonies {
		return nil, errOrder
	}
	action := map[bool]string{true: "stepup.prove", false: "stepup.enrol"}[step == Prove]
	receipt, err := s.c.Log.Intent(ctx, entry(action, &v.Request, v.about))
	if err != nil {
		return nil, err
	}
	options, err := s.options(ctx, receipt, v, step)
	e := entry(action, &v.Request, v.about)
	e.Facts = map[string]string{"method": string(Passkey), "step": "begin"}
	s.c.Log.Outcome(receipt, end(e, err))
	return options, err
}

func (s *Stepups) options(ctx context.Context, receipt audit.Receipt, v *visited, step Step) ([]byte, error) {
	of := v.factors // those that an authenticator must not make again
	if step == Prove {
		of, _ = s.choice(v)
	}
	h, _, err := s.passkeys(ctx, receipt, v, of)
	if err != nil {
		return nil, err
	}
	begin := s.c.Passkeys.BeginRegistration
	if step == Prove {
		begin = s.c.Passkeys.BeginLogin
	}
	options, ceremony, err := begin(h)
	if errors.Is(err, factor.ErrWrong) {
		return nil, errOrder
	}
	if err != nil {
		return nil, err
	}
	v.Ceremony, v.Begun = ceremony, v.Begun+1
	return options, s.save(ctx, v)
}

// PasskeyAnswer takes what the browser's authenticator said to PasskeyOptions.
func (s *Stepups) PasskeyAnswer(ctx context.Context, by Visitor, answer []byte) (Visit, error) {
	v, err := s.bound(ctx, by)
	if err != nil {
		return Visit{}, err
	}
	step := s.step(v)
	if s.c.Passkeys == nil || v.Ceremony == nil || step != Prove && step != Setup && step != Confirm {
		return Visit{}, errOrder
	}
	known, err := s.known(ctx, v, by.Known)
	if err != nil {
		return Visit{}, err
	}
	action := map[bool]string{true: "stepup.prove", false: "stepup.enrol"}[step == Prove]
	e := entry(action, &v.Request, v.about)
	e.Facts = map[string]string{"method": string(Passkey)}
	receipt, err := s.c.Log.Intent(ctx, entry(action, &v.Request, v.about))
	if err != nil {
		return Visit{}, err
	}
	ctx = context.WithoutCancel(ctx)
	var visit Visit
	if step == Prove {
		if visit, err = s.assert(ctx, receipt, v, answer); err == nil {
			visit.Known, err = s.remember(ctx, v, known)
		}
	} else {
		visit, err = s.register(ctx, receipt, v, answer)
	}
	s.c.Log.Outcome(receipt, end(e, proofRefusal(err)))
	switch {
	case errors.Is(err, factor.ErrCloned):
		return s.wrongAnswer(v, "This passkey seems to exist twice, so it cannot be used any more. Use another way, or ask the app for help.")
	case verdict(err) && step == Prove:
		return s.wrongAnswer(v, "The passkey did not work. Try again.")
	case verdict(err):
		return s.wrongAnswer(v, "The passkey could not be set up. Try again, or choose an authenticator app.")
	}
	return visit, err
}

// assert judges the use of a passkey. The ceremony goes with the row that try saves, so
// that no answer to it is judged twice.
func (s *Stepups) assert(ctx context.Context, receipt audit.Receipt, v *visited, answer []byte) (Visit, error) {
	ceremony := v.Ceremony
	v.Ceremony = nil
	if err := s.try(ctx, v); err != nil {
		return Visit{}, err
	}
	usable, _ := s.choice(v)
	h, of, err := s.passkeys(ctx, receipt, v, usable)
	if err != nil {
		return Visit{}, err
	}
	k, err := s.c.Passkeys.FinishLogin(h, ceremony, answer)
	f := Factor{}
	for i := range h.Passkeys {
		if string(h.Passkeys[i].ID) == string(k.ID) {
			f = of[i]
		}
	}
	if errors.Is(err, factor.ErrCloned) {
		return Visit{}, errors.Join(err, s.cloned(ctx, v, f))
	}
	if err != nil {
		return Visit{}, err
	}
	if f.Sealed, err = s.sealPasskey(ctx, v.Person, f.ID, k); err != nil {
		return Visit{}, err
	}
	visit, err := s.use(ctx, v, f, time.Now())
	return visit, again(err)
}

// cloned blocks a passkey of which there may be two, and tells.
func (s *Stepups) cloned(ctx context.Context, v *visited, f Factor) error {
	err := errors.Join(s.c.Store.Block(ctx, f.ID), s.alarm(ctx, v, "cloned"))
	for i := range v.factors {
		if v.factors[i].ID == f.ID {
			v.factors[i].Blocked = true
		}
	}
	return err
}

func (s *Stepups) sealPasskey(ctx context.Context, person gatehouse.PersonID, id string, k factor.Passkey) ([]byte, error) {
	plain, err := json.Marshal(k)
	if err != nil {
		return nil, err
	}
	return s.c.Keys.Seal(ctx, person, id, columnSealed, secret.New(string(plain)))
}
