package connect

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// stateOf is the part of a callback that says which attempt it belongs to: our
// state, or the request token that OAuth 1.0a has in its place.
func stateOf(query url.Values) string {
	for _, name := range []string{"state", "oauth_token", "denied"} {
		if query.Has(name) {
			return query.Get(name)
		}
	}
	return ""
}

// AttemptOf returns the id of the attempt that a callback belongs to, or "". It
// proves nothing; it says which cookie to look for.
func (c *Connections) AttemptOf(ctx context.Context, query url.Values) string {
	at, err := c.attemptOf(ctx, query)
	if err != nil {
		return ""
	}
	return at.ID
}

func (c *Connections) attemptOf(ctx context.Context, query url.Values) (Attempt, error) {
	state := stateOf(query)
	if state == "" || len(state) > 1000 {
		return Attempt{}, gatehouse.ErrNotFound
	}
	return c.store.AttemptByState(ctx, digest(state))
}

// validAttempt reports whether id has the form of an attempt's id.
func validAttempt(id string) bool {
	rest, ok := strings.CutPrefix(id, "att")
	return ok && len(rest) == 26 && !strings.ContainsFunc(rest, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '2' || r > '7')
	})
}

// CookieName is the name of the cookie that binds an attempt to a browser. Each
// attempt has its own, so that two tabs do not disturb each other.
func CookieName(attempt string, secure bool) string {
	if secure {
		return "__Host-gatehouse-" + attempt
	}
	return "gatehouse-" + attempt
}

// Callback takes what a browser brought back from the platform. An error means
// that the visit cannot be trusted (an unknown, used, expired or mixed-up state,
// another browser): show it, redirect nowhere. Otherwise the browser goes to the
// address returned, which tells the app how it went: code and state, or error,
// error_description and state.
func (c *Connections) Callback(ctx context.Context, app gatehouse.AppName, query url.Values, browser secret.Text) (string, error) {
	at, a, err := c.match(ctx, app, query, browser)
	if err != nil {
		// What belongs to no attempt is not logged: anybody could fill the log.
		if rule := wire.RuleOf(err); rule != "" && at.ID != "" {
			e := attemptEntry("connect.callback", a, at)
			e.Verdict, e.Rule = "refuse", rule
			err = wire.WithInstance(err, c.log.Refusal(e))
		}
		return "", err
	}
	receipt, err := c.log.Intent(ctx, attemptEntry("connect.callback", a, at))
	if err != nil {
		return "", err
	}
	// From here on the platform may have granted something: finish, even if the
	// browser goes away.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*platformTimeout)
	defer cancel()
	to, entry, err := c.returned(ctx, receipt, a, at, query)
	c.log.Outcome(receipt, outcome(entry, err))
	if to == "" {
		return "", err
	}
	return to, nil
}

// match finds the attempt that a callback belongs to and refuses every mix-up.
func (c *Connections) match(ctx context.Context, app gatehouse.AppName, query url.Values, browser secret.Text) (Attempt, App, error) {
	var at Attempt
	refuse := func(rule, detail string) (Attempt, App, error) {
		return at, App{Name: at.App, Platform: c.apps[at.App].Platform}, wire.Refuse(gatehouse.ErrDenied, rule, detail)
	}
	a, known := c.apps[app]
	if !known {
		return Attempt{}, App{}, wire.Refuse(gatehouse.ErrNotFound, "connect/unknown-callback", "There is no such address.")
	}
	for _, name := range []string{"state", "code", "error", "oauth_token", "oauth_verifier", "denied"} {
		if len(query[name]) > 1 || len(query.Get(name)) > 4096 {
			return refuse("connect/ambiguous", "The platform's answer is not well formed. Go back to the app and begin again.")
		}
	}
	found, err := c.attemptOf(ctx, query)
	if errors.Is(err, gatehouse.ErrNotFound) || (err == nil && found.OAuth1 == query.Has("state")) {
		return refuse("connect/unknown-state", "This answer belongs to no connection that was begun here. Go back to the app and begin again.")
	}
	if err != nil {
		return Attempt{}, App{}, err
	}
	at = found
	switch {
	case at.App != a.Name:
		return refuse("connect/mixed-up", "This answer came to the wrong place. Go back to the app and begin again.")
	case !matches(browser.Reveal(), at.BrowserHash):
		return refuse("connect/other-browser", "This connection is finished already, or was begun in another browser. Go back to the app and, if it is not connected, begin again in this one.")
	case at.Stage != Started:
		return refuse("connect/state-used", "This answer was already used. Go back to the app and begin again.")
	case !time.Now().Before(at.Expires):
		return refuse("connect/state-expired", "This took too long. Go back to the app and begin again.")
	}
	return at, a, nil
}

// returned uses the state up and completes the attempt. The address is "" only
// when the state could not be used up.
func (c *Connections) returned(ctx context.Context, receipt audit.Receipt, a App, at Attempt, query url.Values) (string, audit.Entry, error) {
	entry := attemptEntry("connect.callback", a, at)
	at.Stage = Returned
	version, err := c.store.SaveAttempt(ctx, at)
	if errors.Is(err, gatehouse.ErrConflict) {
		return "", entry, wire.Refuse(gatehouse.ErrDenied, "connect/state-used", "This answer was already used. Go back to the app and begin again.")
	}
	if err != nil {
		return "", entry, err
	}
	at.Version = version
	rec, code, err := c.complete(ctx, receipt, a, at, query)
	params := url.Values{"state": {at.AppState}}
	if err != nil {
		params.Set("error", errorWord(err))
		params.Set("error_description", errorText(err))
	} else {
		entry = c.entry("connect.callback", rec)
		params.Set("code", code)
	}
	to, built := withParams(at.ReturnTo, params)
	if built != nil {
		return "", entry, built
	}
	return to, entry, err
}

// denial is the platform's word that there will be no grant.
type denial struct{ word string }

func (d *denial) Error() string { return "the platform answered " + d.word }

// errorWord is the error parameter that the app gets.
func errorWord(err error) string {
	var d *denial
	switch {
	case errors.As(err, &d) && d.word != "other":
		return d.word
	case errors.Is(err, gatehouse.ErrUnavailable):
		return "temporarily_unavailable"
	default:
		return "server_error"
	}
}

// errorText is the error_description that the app gets: fixed sentences only.
func errorText(err error) string {
	switch errorWord(err) {
	case "access_denied":
		return "The person did not agree."
	case "temporarily_unavailable":
		return "The platform did not complete the connection; try again."
	default:
		return "The connection could not be completed."
	}
}

// complete turns the platform's answer into a pending connection and a one-time
// code.
func (c *Connections) complete(ctx context.Context, receipt audit.Receipt, a App, at Attempt, query url.Values) (Record, string, error) {
	none := Record{}
	if query.Has("denied") || query.Has("error") {
		word := "access_denied"
		if query.Has("error") {
			word = knownError(query.Get("error"))
		}
		return none, "", wire.Public(&denial{word}, "the platform refused")
	}
	verifier, err := c.vault.Open(ctx, receipt, attemptRef(at, columnVerifier), at.Verifier)
	if err != nil {
		return none, "", err
	}
	subject, err := c.vault.Open(ctx, receipt, attemptRef(at, columnSubject), at.SubjSealed)
	if err != nil {
		return none, "", err
	}
	var g grant
	kind := KindUser
	if at.OAuth1 {
		kind = KindOAuth1
		g, err = c.accessToken(ctx, a, parseRequestToken(verifier), query.Get("oauth_verifier"))
	} else if query.Get("code") == "" {
		err = &denial{"invalid_request"}
	} else {
		g, err = c.provider(a).exchange(ctx, query.Get("code"), c.redirectURI(a.Name), verifier.Reveal(), at.Scopes)
	}
	if err != nil {
		return none, "", err
	}
	rec, code, err := c.keep(ctx, a, at, kind, g, gatehouse.Subject(subject.Reveal()))
	if err != nil && a.Platform != gatehouse.Facebook {
		// A grant that cannot be kept is given back. (Facebook knows no end of
		// one token: it would end the person's other connections too.)
		_ = c.revokeGrant(ctx, a, kind, g)
	}
	return rec, code, err
}

// keep stores the grant as a pending connection and the code's digest.
func (c *Connections) keep(ctx context.Context, a App, at Attempt, kind Kind, g grant, subject gatehouse.Subject) (Record, string, error) {
	rec, err := c.newRecord(ctx, a, kind, g)
	if err != nil {
		return Record{}, "", err
	}
	rec.Service, rec.Purposes, rec.SubjectHash = at.Service, at.Purposes, at.SubjectHash
	if kind == KindUser {
		rec.Declined = missing(at.Scopes, g.scopes)
	}
	if err := c.sealIdentity(ctx, &rec, g.user, g.name, subject); err != nil {
		return Record{}, "", err
	}
	if err := c.store.SaveConnections(ctx, rec); err != nil {
		return Record{}, "", err
	}
	// Whoever cuts a person off takes them out of the index and then looks for what
	// they granted: if that was before this was stored, it is seen here.
	if now, err := c.store.PersonOf(ctx, rec.UserHash, ""); err != nil || now != rec.Person {
		rec.Version++
		cut := c.cutPending(ctx, rec, "the person was cut off meanwhile")
		return Record{}, "", errors.Join(wire.Refuse(gatehouse.ErrConflict, "connect/person-ended", "this person was cut off while they connected: let them connect again"), cut)
	}
	code := at.ID + "." + newProof()
	at.Stage, at.CodeHash, at.Connection = Coded, digest(code), rec.ID
	at.Verifier, at.Expires = nil, time.Now().Add(codeLife)
	_, err = c.store.SaveAttempt(ctx, at)
	return rec, code, err
}

// newRecord makes a pending record for a fresh grant: its person is the one
// known by the platform's id, or a new one with a key of their own.
func (c *Connections) newRecord(ctx context.Context, a App, kind Kind, g grant) (Record, error) {
	now := time.Now()
	rec := Record{
		ID: gatehouse.ConnectionID(newID("con")), App: a.Name, Platform: a.Platform, Kind: kind, Status: Pending,
		Scopes: g.scopes, Created: now, Updated: now,
	}
	rec.RenewAt = renewAt(rec, c.now(a.Name), g)
	var err error
	if rec.UserHash, err = c.userHash(ctx, a, g.user); err != nil {
		return Record{}, err
	}
	if rec.Person, err = c.person(ctx, rec.UserHash); err != nil {
		return Record{}, err
	}
	return rec, c.sealTokens(ctx, &rec, g)
}

// person returns the person behind a keyed hash, making one the first time.
func (c *Connections) person(ctx context.Context, userHash string) (gatehouse.PersonID, error) {
	known, err := c.store.PersonOf(ctx, userHash, "")
	if !errors.Is(err, gatehouse.ErrNotFound) {
		return known, err
	}
	fresh, err := c.vault.NewPerson(ctx)
	if err != nil {
		return "", err
	}
	settled, err := c.store.PersonOf(ctx, userHash, fresh)
	if err == nil && settled != fresh {
		// Another callback of the same person was faster; nothing is sealed
		// with this key.
		err = c.vault.DestroyPerson(ctx, fresh)
	}
	return settled, err
}

// ruleOf is the rule an error stands under in the log: its own, a platform's
// class, or nothing.
func ruleOf(err error) string {
	var refused *platformError
	var d *denial
	switch {
	case errors.As(err, &refused):
		return "platform/" + refused.class
	case errors.As(err, &d):
		return "connect/" + d.word
	default:
		return wire.RuleOf(err)
	}
}
