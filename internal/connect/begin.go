package connect

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// BeginRequest is what the app wants: a grant of one of its own people, for
// named purposes, at one app registration.
type BeginRequest struct {
	App      gatehouse.AppName
	Subject  gatehouse.Subject // the app's own name for its signed-in user
	Purposes []gatehouse.PurposeName
	ReturnTo string // where the browser ends; must be on the allowlist
	State    string // given back unread with the browser, at most 500 bytes
	Service  gatehouse.ServiceName
	// OAuth1 asks for an OAuth 1.0a grant (X only) in place of OAuth 2.0.
	OAuth1 bool
}

// Begun is the answer to Begin.
type Begun struct {
	ID      string
	URL     string // where the app sends its user's browser
	Expires time.Time
}

// Begin prepares one run through a platform's consent.
func (c *Connections) Begin(ctx context.Context, r BeginRequest) (Begun, error) {
	a, err := c.app(r.App)
	if err != nil {
		return Begun{}, err
	}
	if err := c.checkBegin(a, r); err != nil {
		return Begun{}, err
	}
	scopes, err := c.scopesFor(a, r.Purposes)
	if err != nil {
		return Begun{}, err
	}
	now := time.Now()
	at := Attempt{
		ID: newID("att"), Service: r.Service, App: r.App, OAuth1: r.OAuth1, Purposes: r.Purposes, Scopes: scopes,
		ReturnTo: r.ReturnTo, AppState: r.State, Stage: Asked, Created: now, Expires: now.Add(attemptLife),
	}
	if at.SubjectHash, err = c.subjectHash(ctx, r.Subject); err != nil {
		return Begun{}, err
	}
	if at.SubjSealed, err = c.vault.Seal(ctx, attemptRef(at, columnSubject), secret.New(string(r.Subject))); err != nil {
		return Begun{}, err
	}
	if _, err := c.log.Record(ctx, attemptEntry("connect.begin", a, at)); err != nil {
		return Begun{}, err
	}
	if _, err := c.store.SaveAttempt(ctx, at); err != nil {
		return Begun{}, err
	}
	return Begun{ID: at.ID, URL: c.publicURL + StartPath + at.ID, Expires: at.Expires}, nil
}

// checkBegin refuses a request that could never succeed, saying which field is
// at fault.
func (c *Connections) checkBegin(a App, r BeginRequest) error {
	invalid := func(rule, detail string) error { return wire.Refuse(gatehouse.ErrInvalid, rule, detail) }
	switch {
	case !plainText(string(r.Subject), 1, 200):
		return invalid("connect/subject", "subject must be 1 to 200 bytes of printable text: your own name for the signed-in user")
	case len(r.Purposes) == 0:
		return invalid("connect/purposes", "purposes must name at least one declared purpose")
	case len(r.State) > 500 || !plainText(r.State, 0, 500):
		return invalid("connect/state", "state must be at most 500 bytes of printable text")
	case r.Service == "":
		return invalid("connect/service", "the service that begins is missing")
	case r.OAuth1 && (a.Platform != gatehouse.X || a.ConsumerKey == ""):
		return invalid("connect/oauth1", "OAuth 1.0a needs an app of platform x with consumer_key and consumer_secret")
	case !r.OAuth1 && a.ClientID == "":
		return invalid("connect/oauth2", "this app has no client_id: only OAuth 1.0a connections can begin")
	case !c.returns.Allows(r.ReturnTo):
		return invalid("connect/return-url", "return_to is not on the list of return addresses in gatehouse.yaml")
	}
	return nil
}

// scopesFor unites what the purposes need, what the app always asks for and
// what Gatehouse itself needs to see whose grant it is and to renew it.
func (c *Connections) scopesFor(a App, purposes []gatehouse.PurposeName) ([]string, error) {
	needed, err := c.scopes(purposes)
	if err != nil {
		return nil, err
	}
	all := slices.Concat(c.provider(a).ownScopes(), needed, a.Scopes)
	slices.Sort(all)
	return slices.Compact(all), nil
}

// plainText reports whether s is printable text of a bounded length.
func plainText(s string, least, most int) bool {
	return len(s) >= least && len(s) <= most && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) })
}

// Start is the first thing that the person's browser asks for. It returns the
// platform's consent page and a proof that the caller must put into this
// browser's cookie. Until the platform has answered, a link can be started
// again (a reloaded page, a link preview); the newest start is the one that
// counts.
func (c *Connections) Start(ctx context.Context, id string) (string, secret.Text, error) {
	none := secret.Text{}
	at, err := c.store.Attempt(ctx, id)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return "", none, wire.Refuse(gatehouse.ErrNotFound, "connect/unknown-link", "This link is not known. Go back to the app and begin again.")
	}
	if err != nil {
		return "", none, err
	}
	a, err := c.app(at.App)
	if err != nil {
		return "", none, err
	}
	if at.Stage != Asked && at.Stage != Started {
		return "", none, wire.Refuse(gatehouse.ErrConflict, "connect/link-used", "This link was already used. Go back to the app and begin again.")
	}
	if !time.Now().Before(at.Expires) {
		return "", none, wire.Refuse(gatehouse.ErrConflict, "connect/link-expired", "This link has expired. Go back to the app and begin again.")
	}
	receipt, err := c.log.Intent(ctx, attemptEntry("connect.start", a, at))
	if err != nil {
		return "", none, err
	}
	address, browser, err := c.start(ctx, a, at)
	c.log.Outcome(receipt, outcome(attemptEntry("connect.start", a, at), err))
	return address, browser, err
}

// start makes fresh proofs and saves their digests before the browser leaves.
func (c *Connections) start(ctx context.Context, a App, at Attempt) (string, secret.Text, error) {
	state, browser := newProof(), newProof()
	at.Stage, at.Expires = Started, time.Now().Add(attemptLife)
	// However often a link is opened, it ends.
	if last := at.Created.Add(2 * attemptLife); at.Expires.After(last) {
		at.Expires = last
	}
	address := ""
	var sealed secret.Text
	if at.OAuth1 {
		request, err := c.requestToken(ctx, a, c.redirectURI(a.Name))
		if err != nil {
			return "", secret.Text{}, err
		}
		state = request.token
		address, sealed = a.Endpoints.API+"/oauth/authorize?oauth_token="+url.QueryEscape(request.token), request.text()
	} else {
		verifier := newProof()
		sealed = secret.New(verifier)
		address = c.provider(a).authorize(c.redirectURI(a.Name), state, challenge(verifier), at.Scopes)
	}
	at.StateHash, at.BrowserHash = digest(state), digest(browser)
	var err error
	if at.Verifier, err = c.vault.Seal(ctx, attemptRef(at, columnVerifier), sealed); err != nil {
		return "", secret.Text{}, err
	}
	if _, err := c.store.SaveAttempt(ctx, at); err != nil {
		return "", secret.Text{}, err
	}
	return address, secret.New(browser), nil
}

// attemptEntry is what every log entry about an attempt has in common. Nobody
// is known yet, so nothing personal stands in it.
func attemptEntry(action string, a App, at Attempt) audit.Entry {
	facts := map[string]string{}
	if len(at.Purposes) > 0 {
		names := make([]string, len(at.Purposes))
		for i, p := range at.Purposes {
			names[i] = string(p)
		}
		facts["purposes"] = strings.Join(names, " ")
	}
	return audit.Entry{Action: action, Service: at.Service, Platform: a.Platform, App: a.Name, Facts: facts}
}

// outcome completes an entry with how it ended. An error's text never reaches
// the log: only its rule and kind do.
func outcome(e audit.Entry, err error) audit.Entry {
	e.Verdict = "done"
	if err != nil {
		e.Verdict, e.Rule = "failed", ruleOf(err)
	}
	return e
}
