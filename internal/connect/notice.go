package connect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/platform"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// What platforms send by themselves is signed with the registration's secret, which
// is known here only. Who takes such notices in asks whether they are genuine.

// requestAge is how old a signed request may be. Meta documents no retries of its
// callbacks; its webhooks are tried for 36 hours.
const requestAge = 48 * time.Hour

// requestAhead is how far a platform's clock may be ahead of ours.
const requestAhead = 5 * time.Minute

// errNotice refuses what claims to be a platform's notice. Which of the checks
// failed is nobody's business but the log's.
func errNotice(rule string) error {
	return wire.Refuse(gatehouse.ErrDenied, rule, "This is not a notice that the platform signed for an app which is configured here.")
}

// candidates are the registrations that a notice may be for: the one that its
// address names, or all of its platform.
func (c *Connections) candidates(p gatehouse.Platform, only gatehouse.AppName) []App {
	var list []App
	for _, name := range c.Apps() {
		if a := c.apps[name]; a.Platform == p && (only == "" || only == name) {
			list = append(list, a)
		}
	}
	return list
}

// signing returns the secrets with which a platform may sign its notices: X the
// consumer secret, Meta the app secret; the present one first, then those that are
// being replaced.
func (a App) signing() []secret.Text {
	if a.Platform == gatehouse.X {
		return append([]secret.Text{a.ConsumerSecret}, a.PreviousConsumerSecrets...)
	}
	return append([]secret.Text{a.ClientSecret}, a.PreviousSecrets...)
}

// EventSigner returns the registration for which a platform signed an event; body
// is what arrived, byte for byte. Every candidate is tried, whatever the first says.
func (c *Connections) EventSigner(p gatehouse.Platform, only gatehouse.AppName, body []byte, signature string) (gatehouse.AppName, error) {
	verify := platform.VerifyHubSignature
	if p == gatehouse.X {
		verify = platform.VerifyXWebhook
	}
	var signer gatehouse.AppName
	for _, a := range c.candidates(p, only) {
		for _, s := range a.signing() {
			if verify(s.Reveal(), body, signature) {
				signer = a.Name
			}
		}
	}
	if signer == "" {
		return "", errNotice("notice/signature")
	}
	return signer, nil
}

// signedRequest parses a signed request that is signed with one of the app's secrets.
func (a App) signedRequest(raw string) (request platform.SignedRequest, err error) {
	for _, s := range a.signing() {
		if request, err = platform.ParseSignedRequest(raw, s.Reveal()); !errors.Is(err, platform.ErrSignature) {
			break
		}
	}
	return request, err
}

// SignedRequest verifies Meta's signed_request and returns whose it is.
func (c *Connections) SignedRequest(p gatehouse.Platform, only gatehouse.AppName, raw string) (gatehouse.AppName, platform.SignedRequest, error) {
	if p == gatehouse.X || p == gatehouse.OAuth2 {
		return "", platform.SignedRequest{}, errNotice("notice/platform")
	}
	for _, a := range c.candidates(p, only) {
		request, err := a.signedRequest(raw)
		switch {
		case errors.Is(err, platform.ErrSignature):
			continue
		case err != nil:
			return "", platform.SignedRequest{}, errNotice("notice/malformed")
		}
		now := c.now(a.Name)
		if age := now.Sub(request.IssuedAt); age > requestAge || age < -requestAhead || (!request.Expires.IsZero() && now.After(request.Expires)) {
			return "", platform.SignedRequest{}, errNotice("notice/stale")
		}
		return a.Name, request, nil
	}
	return "", platform.SignedRequest{}, errNotice("notice/signature")
}

// AnswerCRC answers X's check that a webhook knows the consumer secret. The address
// must name one registration, because the check does not.
func (c *Connections) AnswerCRC(only gatehouse.AppName, token string) (string, error) {
	var keyed []App
	for _, a := range c.candidates(gatehouse.X, only) {
		if !a.ConsumerSecret.IsZero() {
			keyed = append(keyed, a)
		}
	}
	if len(keyed) != 1 {
		return "", wire.Refuse(gatehouse.ErrNotFound, "notice/which-app",
			"This address does not lead to exactly one X app with a consumer secret; use /_gatehouse/webhooks/x/APP.")
	}
	answer, err := platform.XCRCAnswer(keyed[0].ConsumerSecret.Reveal(), token)
	if err != nil {
		return "", wire.Refuse(gatehouse.ErrInvalid, "notice/crc-token", "The crc_token is not a short opaque token.")
	}
	return answer, nil
}

// VerifyToken is the word that an operator gives to Meta's dashboard and that Meta
// gives back when it checks a webhook's address. It is derived, so that nobody has
// to invent or store it.
func (c *Connections) VerifyToken(ctx context.Context, app gatehouse.AppName) (secret.Text, error) {
	if _, err := c.app(app); err != nil {
		return secret.Text{}, err
	}
	hash, err := c.keyed(ctx, "notice/verify-token", string(app))
	if err != nil {
		return secret.Text{}, fmt.Errorf("deriving the verify token: %w", err)
	}
	return secret.New(hash), nil
}

// CheckVerifyToken reports whether a platform gave back the word of one of its
// registrations.
func (c *Connections) CheckVerifyToken(ctx context.Context, p gatehouse.Platform, only gatehouse.AppName, token string) error {
	given := secret.New(token)
	found := false
	for _, a := range c.candidates(p, only) {
		own, err := c.VerifyToken(ctx, a.Name)
		if err != nil {
			return err
		}
		if own.Equal(given) {
			found = true
		}
	}
	if !found {
		return errNotice("notice/verify-token")
	}
	return nil
}

// CheckSoon has the grants that a person gave to an app looked at in the next round,
// where the platform can be asked.
func (c *Connections) CheckSoon(ctx context.Context, app gatehouse.AppName, person gatehouse.PersonID) error {
	return c.each(ctx, Filter{Person: person, App: app}, func(rec Record) error {
		if !rec.checked() || !rec.Status.Usable() {
			return nil
		}
		return c.store.HastenCheck(ctx, rec.ID, c.now(rec.App))
	})
}

// NoticeKey is a keyed hash that recognises a notice without being able to say
// anything about it.
func (c *Connections) NoticeKey(ctx context.Context, parts ...string) (string, error) {
	return c.keyed(ctx, "notice/id", parts...)
}

// returnGrain is how much later than a request for deletion a person must have come
// to be somebody whom it does not mean. It is generous to clocks: erasing one who
// came back within it is the lesser fault.
const returnGrain = time.Minute

// CameAfter reports whether all that is known of a person came after a time at an
// app's platform, so that what was asked for then was about somebody before them.
func (c *Connections) CameAfter(ctx context.Context, person gatehouse.PersonID, app gatehouse.AppName, at time.Time) (bool, error) {
	skew := time.Until(c.now(app))
	some, before := false, false
	err := c.each(ctx, Filter{Person: person, WithPending: true}, func(rec Record) error {
		some = true
		before = before || !rec.Created.Add(skew).After(at.Add(returnGrain))
		return nil
	})
	return some && !before, err
}

// echo is how long after our own revocation a platform's notice of it may come.
const echo = 10 * time.Minute

// noticeGrain is what the times of notices may be off: signed requests count whole
// seconds.
const noticeGrain = 5 * time.Second

// TookAway reports whether a platform's word that the person removed the app, at a
// time, is news. It is none when the person has given the app a new grant since,
// and when it was we who ended the grant: platforms tell of that, too.
func (c *Connections) TookAway(ctx context.Context, person gatehouse.PersonID, app gatehouse.AppName, at time.Time) (bool, error) {
	ours, usable, news := false, false, true
	err := c.each(ctx, Filter{Person: person, App: app}, func(rec Record) error {
		switch {
		case rec.Parent != "":
		case rec.Status.Usable():
			usable = true
			if rec.Obtained.After(at.Add(noticeGrain)) {
				news = false
			}
		case rec.Status == Revoked && at.Sub(rec.Updated).Abs() < echo:
			ours = true
		}
		return nil
	})
	return news && (usable || !ours), err
}
