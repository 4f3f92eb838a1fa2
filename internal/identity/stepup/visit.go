package stepup

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// Visitor is a browser that came with a request's link.
type Visitor struct {
	ID string
	// Browser is the cookie that binds the request to it, Known the one by which it is
	// known from before; each is empty if it has none.
	Browser, Known secret.Text
}

// Step is what a person has to do next.
type Step string

// The steps.
const (
	Prove   Step = "prove"   // one of their factors
	Setup   Step = "setup"   // choose a factor to set up
	Confirm Step = "confirm" // type the first code of the app that is being set up
	Saved   Step = "saved"   // it is set up; keep the recovery codes
)

// Page is what a person sees.
type Page struct {
	ID                    string
	Site, Reason, Account string
	Step                  Step
	// Passkey, TOTP and Recovery are what can be proved, or set up.
	Passkey, TOTP, Recovery bool
	// First says that the person sets up their first factor.
	First bool
	// Key and URI are what an authenticator app is set up with.
	Key, URI secret.Text
	// Codes are new recovery codes, shown this once.
	Codes []secret.Text
	// Problem is what was wrong with the last answer.
	Problem string
	// Status is an HTTP status that goes with Problem.
	Status int
	// Origin is that of the address to which the browser goes in the end.
	Origin string
}

// Visit is what came of a visit: a page, or where the browser goes.
type Visit struct {
	Page Page
	// To is where the browser is sent, in place of a page.
	To string
	// Browser and Known are cookies to set, if they are not empty.
	Browser, Known secret.Text
}

var (
	errUnknownLink = wire.Refuse(gatehouse.ErrNotFound, "stepup/unknown-link", "This link is not known. Go back to the app and begin again.")
	errUsedLink    = wire.Refuse(gatehouse.ErrConflict, "stepup/link-used", "This link was already used. Go back to the app and begin again.")
	errExpired     = wire.Refuse(gatehouse.ErrConflict, "stepup/link-expired", "This took too long. Go back to the app and begin again.")
	errBrowser     = wire.Refuse(gatehouse.ErrDenied, "stepup/other-browser", "This was begun in another browser, or opened again in another tab since. Go back to the app and begin again in this one.")
	errOrder       = wire.Refuse(gatehouse.ErrConflict, "stepup/order", "This page is from an earlier step. Go back to the app and begin again.")
	errAgain       = wire.Refuse(gatehouse.ErrConflict, "stepup/again", "Something else happened at the same moment. Try again.")
)

// visited is a request with what is known of its person.
type visited struct {
	Request
	about   about
	factors []Factor
	left    int // recovery codes
}

// load finds a request that a browser may still do something with.
func (s *Stepups) load(ctx context.Context, id string) (*visited, error) {
	if !validID(id) {
		return nil, errUnknownLink
	}
	r, err := s.c.Store.Request(ctx, id)
	switch {
	case errors.Is(err, gatehouse.ErrNotFound):
		return nil, errUnknownLink
	case err != nil:
		return nil, err
	case r.Stage != Asked && r.Stage != Started:
		return nil, errUsedLink
	case !time.Now().Before(r.Expires):
		return nil, errExpired
	}
	v := &visited{Request: r}
	if v.about, err = s.open(ctx, &r); err != nil {
		return nil, err
	}
	v.factors, v.left, err = s.c.Store.Factors(ctx, r.Person)
	return v, err
}

// bound is load for what only the browser may do that the request is bound to.
func (s *Stepups) bound(ctx context.Context, by Visitor) (*visited, error) {
	v, err := s.load(ctx, by.ID)
	if err == nil && !matches(by.Browser.Reveal(), v.BrowserHash) {
		return nil, errBrowser
	}
	return v, err
}

// Open is the first thing that the person's browser asks for. It binds the request to
// the browser. Until something is proved or set up, a link can be opened again (a link
// preview, another browser); the newest one counts.
func (s *Stepups) Open(ctx context.Context, by Visitor) (Visit, error) {
	v, err := s.load(ctx, by.ID)
	if err != nil {
		return Visit{}, err
	}
	if matches(by.Browser.Reveal(), v.BrowserHash) {
		return Visit{Page: s.page(v)}, nil
	}
	if !v.Proved.IsZero() || v.Enrolled != "" {
		return Visit{}, errBrowser
	}
	if _, err := s.c.Log.Record(ctx, entry("stepup.start", &v.Request, v.about)); err != nil {
		return Visit{}, err
	}
	browser := newProof()
	v.Stage, v.BrowserHash, v.Ceremony, v.Pending = Started, digest(browser), nil, nil
	to := ""
	if b, ok, err := s.recent(ctx, v, by.Known); err != nil {
		return Visit{}, err
	} else if ok {
		v.Proved, v.ProvedBy = b.Proved, b.By
		if to, err = v.pass(); err != nil {
			return Visit{}, err
		}
	}
	if err := s.save(ctx, v); err != nil {
		return Visit{}, err
	}
	return Visit{Page: s.page(v), To: to, Browser: secret.New(browser)}, nil
}

// recent returns a proof that this browser gave lately enough for the request.
func (s *Stepups) recent(ctx context.Context, v *visited, known secret.Text) (Browser, bool, error) {
	if v.MaxAge == 0 || v.Add || known.IsZero() {
		return Browser{}, false, nil
	}
	b, err := s.c.Store.Browser(ctx, v.Person, digest(known.Reveal()))
	if errors.Is(err, gatehouse.ErrNotFound) {
		return Browser{}, false, nil
	}
	return b, err == nil && slices.Contains(v.Methods, b.By) && time.Since(b.Proved) < v.MaxAge && v.stands(b.By), err
}

// stands reports whether the person still has what a proof was given by: a factor that
// was copied proves nothing any more.
func (v *visited) stands(by Method) bool {
	return slices.ContainsFunc(v.factors, func(f Factor) bool { return !f.Blocked && (f.Method == by || by == Recovery) })
}

// save stores a request as it has become.
func (s *Stepups) save(ctx context.Context, v *visited) error {
	return again(s.c.Store.SaveRequest(ctx, &v.Request))
}

// again says to a person what a conflict means.
func again(err error) error {
	if errors.Is(err, gatehouse.ErrConflict) {
		return errAgain
	}
	return err
}

// usable reports whether a factor can be proved here now.
func (s *Stepups) usable(f Factor) bool {
	return !f.Blocked && slices.Contains(s.methods(), f.Method) && (f.Method != Passkey || f.Site == s.c.Passkeys.ID())
}

// choice is which methods a person can prove: those that the app accepts, or, if they
// have none of these, what they have, before they set one up.
func (s *Stepups) choice(v *visited) (usable []Factor, accepted bool) {
	var others []Factor
	for _, f := range v.factors {
		switch {
		case !s.usable(f):
		case slices.Contains(v.Methods, f.Method):
			usable = append(usable, f)
		default:
			others = append(others, f)
		}
	}
	if len(usable) > 0 {
		return usable, true
	}
	return others, false
}

// step says what a person has to do next; "" when nothing is left.
//
// Somebody who has anything, even what cannot be used here any more, never sets up
// another factor without proving one: who has lost all has to be reset by the app.
func (s *Stepups) step(v *visited) Step {
	_, accepted := s.choice(v)
	switch {
	case v.Enrolled != "":
		return Saved
	case v.Proved.IsZero() && (len(v.factors) > 0 || v.left > 0):
		return Prove
	case v.Proved.IsZero() || v.Add || !accepted && v.ProvedBy != Recovery:
		if v.Pending != nil {
			return Confirm
		}
		return Setup
	}
	return ""
}

// page is what a person sees of a request.
func (s *Stepups) page(v *visited) Page {
	p := Page{
		ID: v.ID, Site: s.c.Settings().Name, Reason: v.about.Reason, Account: v.about.Account, Step: s.step(v), First: len(v.factors) == 0 && v.left == 0,
		Origin: origin(v.ReturnTo),
	}
	switch p.Step {
	case Prove:
		usable, _ := s.choice(v)
		for _, f := range usable {
			p.Passkey = p.Passkey || f.Method == Passkey
			p.TOTP = p.TOTP || f.Method == TOTP
		}
		p.Recovery = v.left > 0
	case Setup:
		offered := s.methods()
		p.Passkey = slices.Contains(v.Methods, Passkey) && slices.Contains(offered, Passkey)
		// One authenticator app is enough: a second one is the same secret on another
		// phone.
		p.TOTP = slices.Contains(v.Methods, TOTP) && slices.Contains(offered, TOTP) && !slices.ContainsFunc(v.factors, func(f Factor) bool { return f.Method == TOTP })
	}
	return p
}

// pass makes the one-time code for the app, and returns where the browser takes it.
func (r *Request) pass() (string, error) {
	code := newProof()
	r.Stage, r.CodeHash, r.Expires = Coded, digest(code), time.Now().UTC().Truncate(time.Microsecond).Add(CodeLife)
	return r.address(url.Values{"code": {code}})
}

// refusal returns where a browser goes that brings no code.
func (r *Request) refusal(word, text string) (string, error) {
	return r.address(url.Values{"error": {word}, "error_description": {text}})
}

// address is the app's, which was on the list, with parameters; those of our names
// that it has already are replaced.
func (r *Request) address(params url.Values) (string, error) {
	u, err := url.Parse(r.ReturnTo)
	if err != nil {
		return "", err
	}
	q := u.Query()
	for _, name := range []string{"code", "state", "error", "error_description"} {
		q.Del(name)
	}
	params.Set("state", r.AppState)
	for name, values := range params {
		if values[0] != "" {
			q.Set(name, values[0])
		}
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

func origin(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// Cancel ends a request because the person wants that, and returns where the browser
// goes.
func (s *Stepups) Cancel(ctx context.Context, by Visitor) (Visit, error) {
	v, err := s.bound(ctx, by)
	if err != nil {
		return Visit{}, err
	}
	if _, err := s.c.Log.Record(ctx, entry("stepup.cancel", &v.Request, v.about)); err != nil {
		return Visit{}, err
	}
	v.Stage = Cancelled
	to, err := v.refusal("access_denied", "The person did not go on.")
	if err == nil {
		err = s.save(ctx, v)
	}
	return Visit{To: to}, err
}

// Continue sends the browser on when all is done.
func (s *Stepups) Continue(ctx context.Context, by Visitor) (Visit, error) {
	v, err := s.bound(ctx, by)
	if err != nil {
		return Visit{}, err
	}
	if v.Enrolled == "" {
		return Visit{}, errOrder
	}
	to, err := v.pass()
	if err == nil {
		err = s.save(ctx, v)
	}
	return Visit{To: to}, err
}

// wrongAnswer is what a person sees after one.
func (s *Stepups) wrongAnswer(v *visited, problem string) (Visit, error) {
	if v.Stage == Failed {
		to, err := v.refusal("access_denied", "There were too many wrong answers.")
		return Visit{To: to}, err
	}
	p := s.page(v)
	p.Problem, p.Status = problem, 422
	return Visit{Page: p}, nil
}

// try counts an answer, before it is judged, so that no two are judged in the place of
// one, whatever the process dies after. What was right is uncounted.
func (s *Stepups) try(ctx context.Context, v *visited) error {
	v.Wrong++
	if v.Wrong >= maxWrong {
		v.Stage = Failed
	}
	return s.save(ctx, v)
}

// right takes back what try counted.
func (v *visited) right() {
	v.Wrong--
	v.Stage = Started
}

// verdict reports whether an error of package factor is one about what was presented.
func verdict(err error) bool {
	for _, v := range []error{factor.ErrWrong, factor.ErrUsed, factor.ErrCloned, factor.ErrExpired} {
		if errors.Is(err, v) {
			return true
		}
	}
	return false
}
