package stepup

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"
)

// Path is where a request's page is, followed by its id.
const Path = "/_gatehouse/stepup/"

// Ask is what an app wants: a second factor of one of its people, whom it has signed
// in.
type Ask struct {
	Service gatehouse.ServiceName
	Subject gatehouse.Subject // the app's own name for its signed-in user
	// Reason completes, for the person, "Confirm that it is you": what for. At most 200
	// bytes; may be empty.
	Reason string
	// Account is what the person calls their account, such as an e-mail address: shown
	// on the page and in their authenticator. Empty means that none is shown.
	Account string
	// ReturnTo is where the browser ends; it must be on the list.
	ReturnTo string
	// State comes back with the browser, unread.
	State string
	// Methods are those that are accepted; empty means all that are offered.
	Methods []Method
	// MaxAge accepts a proof that this browser gave at most that long ago; zero wants
	// a new one.
	MaxAge time.Duration
	// Add has the person set up a further factor, after proving one.
	Add bool
}

// Begun is the answer to an Ask.
type Begun struct {
	ID      string
	URL     string // where the app sends its user's browser
	State   Stage
	Expires time.Time
}

// about is what is known of a request that is personal.
type about struct {
	Subject gatehouse.Subject `json:"subject"`
	Reason  string            `json:"reason,omitempty"`
	Account string            `json:"account,omitempty"`
}

// Begin prepares one step-up.
func (s *Stepups) Begin(ctx context.Context, a Ask) (Begun, error) {
	if err := s.check(&a); err != nil {
		return Begun{}, err
	}
	person, err := s.c.Keys.Person(ctx, a.Subject, true)
	if err != nil {
		return Begun{}, fmt.Errorf("finding a subject's person: %w", err)
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	life := s.c.Settings().Life
	if life == 0 {
		life = DefaultLife
	}
	r := Request{
		ID: newID("stp"), Service: a.Service, Person: person, Methods: a.Methods, Add: a.Add, MaxAge: a.MaxAge, ReturnTo: a.ReturnTo, AppState: a.State,
		Stage: Asked, Created: now, Expires: now.Add(life),
	}
	what := about{a.Subject, a.Reason, a.Account}
	plain, err := json.Marshal(what)
	if err != nil {
		return Begun{}, err
	}
	if r.About, err = s.c.Keys.SealPersonal(ctx, person, aboutPlace(r.ID), plain); err != nil {
		return Begun{}, err
	}
	sealed, err := s.c.Keys.SealPersonal(ctx, person, subjectPlace, []byte(a.Subject))
	if err != nil {
		return Begun{}, err
	}
	if _, err := s.c.Log.Record(ctx, entry("stepup.begin", &r, what)); err != nil {
		return Begun{}, err
	}
	if err := s.c.Store.AddRequest(ctx, &r, sealed, maxRequests); err != nil {
		return Begun{}, err
	}
	if err := s.stillThere(ctx, person); err != nil {
		return Begun{}, err
	}
	return Begun{ID: r.ID, URL: s.c.PublicURL + Path + r.ID, State: r.Stage, Expires: r.Expires}, nil
}

// check refuses a request that could never succeed, saying which field is at fault,
// and fills its methods in.
func (s *Stepups) check(a *Ask) error {
	if err := s.may(a.Service); err != nil {
		return err
	}
	invalid := func(rule, detail string) error { return wire.Refuse(gatehouse.ErrInvalid, rule, detail) }
	offered := s.methods()
	switch {
	case !plainText(string(a.Subject), 1, 200):
		return errSubject
	case !plainText(a.Reason, 0, 200):
		return invalid("stepup/reason", "reason must be at most 200 bytes of printable text: what the person is confirming.")
	case !plainText(a.Account, 0, 100):
		return invalid("stepup/account", "account must be at most 100 bytes of printable text: what the person calls their account.")
	case !plainText(a.State, 0, 500):
		return invalid("stepup/state", "state must be at most 500 bytes of printable text.")
	case a.MaxAge < 0 || a.MaxAge > MaxAge:
		return invalid("stepup/max-age", "max_age must be from 0 to 86400 seconds.")
	case !s.c.Settings().Returns(a.ReturnTo):
		return invalid("stepup/return-url", "return_url is not on the list of return addresses in gatehouse.yaml under stepup, returns.")
	}
	for _, m := range a.Methods {
		if !slices.Contains(offered, m) {
			return invalid("stepup/methods", "methods may name those that this Gatehouse offers: "+joined(offered)+".")
		}
	}
	if len(a.Methods) == 0 {
		a.Methods = offered
	}
	slices.Sort(a.Methods)
	a.Methods = slices.Compact(a.Methods)
	return nil
}

var errSubject = wire.Refuse(gatehouse.ErrInvalid, "stepup/subject", "subject must be 1 to 200 bytes of printable text: your own name for the signed-in user.")

// Look returns how a request stands, to the service that made it.
func (s *Stepups) Look(ctx context.Context, service gatehouse.ServiceName, id string) (Begun, error) {
	r, err := s.own(ctx, service, id)
	if err != nil {
		return Begun{}, err
	}
	stage := r.Stage
	if !r.ended() && !time.Now().Before(r.Expires) {
		stage = "expired"
	}
	return Begun{ID: r.ID, URL: s.c.PublicURL + Path + r.ID, State: stage, Expires: r.Expires}, nil
}

// own returns a request of a service. One of another does not exist for it.
func (s *Stepups) own(ctx context.Context, service gatehouse.ServiceName, id string) (Request, error) {
	if err := s.may(service); err != nil {
		return Request{}, err
	}
	unknown := wire.Refuse(gatehouse.ErrNotFound, "stepup/unknown", "There is no such step-up of this service, or its time passed more than a day ago.")
	if !validID(id) {
		return Request{}, unknown
	}
	r, err := s.c.Store.Request(ctx, id)
	if errors.Is(err, gatehouse.ErrNotFound) || err == nil && r.Service != service {
		return Request{}, unknown
	}
	return r, err
}

// Held says what a person has.
type Held struct {
	Methods      []Method
	RecoveryLeft int
}

// Holds returns what a subject has, none if it was never seen.
func (s *Stepups) Holds(ctx context.Context, service gatehouse.ServiceName, subject gatehouse.Subject) (Held, error) {
	person, err := s.personOf(ctx, service, subject)
	if err != nil || person == "" {
		return Held{}, err
	}
	factors, left, err := s.c.Store.Factors(ctx, person)
	h := Held{RecoveryLeft: left}
	for _, f := range factors {
		if !f.Blocked {
			h.Methods = append(h.Methods, f.Method)
		}
	}
	return h, err
}

// Reset removes all that a subject has, for a person who has lost it: whether it is
// them who asks, the app has to know. It returns how many factors there were; the next
// step-up sets up new ones.
func (s *Stepups) Reset(ctx context.Context, service gatehouse.ServiceName, subject gatehouse.Subject) (int, error) {
	person, err := s.personOf(ctx, service, subject)
	if err != nil || person == "" {
		return 0, err
	}
	return s.reset(ctx, service, person, subject)
}

// reset removes what a person has; service is empty when an operator orders it.
func (s *Stepups) reset(ctx context.Context, service gatehouse.ServiceName, person gatehouse.PersonID, subject gatehouse.Subject) (int, error) {
	e := audit.Entry{Action: "stepup.reset", Service: service, Person: person, Personal: map[string]string{"subject": string(subject)}}
	receipt, err := s.c.Log.Intent(ctx, e)
	if err != nil {
		return 0, err
	}
	ctx = context.WithoutCancel(ctx)
	n := 0
	// Told first: a factor never goes without a word.
	err = s.c.Tell(ctx, Event{ID: "stepup-reset-" + receipt.ID(), Type: "stepup.reset", Person: person, Subject: subject, Service: service, At: time.Now()})
	if err == nil {
		n, err = s.c.Store.Reset(ctx, person)
	}
	e.Facts = map[string]string{"factors": fmt.Sprint(n)}
	s.c.Log.Outcome(receipt, end(e, err))
	return n, err
}

// Forget deletes all that is kept of a person whose key was destroyed. Repeating it is
// no error.
func (s *Stepups) Forget(ctx context.Context, person gatehouse.PersonID) error {
	if person == "" {
		return fmt.Errorf("forgetting a person's factors: no person is named: %w", gatehouse.ErrInvalid)
	}
	return s.c.Store.Forget(ctx, person)
}

// personOf returns the person of a subject, "" if there is none.
func (s *Stepups) personOf(ctx context.Context, service gatehouse.ServiceName, subject gatehouse.Subject) (gatehouse.PersonID, error) {
	if err := s.may(service); err != nil {
		return "", err
	}
	if !plainText(string(subject), 1, 200) {
		return "", errSubject
	}
	person, err := s.c.Keys.Person(ctx, subject, false)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return "", nil
	}
	return person, err
}

// stillThere looks whether a person was erased while something of theirs was stored.
// The erasure destroys the key first and forgets then: whichever order the two took,
// either it saw what was stored, or we see the key gone.
func (s *Stepups) stillThere(ctx context.Context, person gatehouse.PersonID) error {
	err := s.c.Keys.Ready(ctx, person)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return errors.Join(errUnknownLink, s.Forget(ctx, person))
	}
	return err
}

// subjectPlace is where a person's subject is sealed.
const subjectPlace = "stepup subject"

func aboutPlace(id string) string { return "stepup " + id + " about" }

// open returns what is personal of a request.
func (s *Stepups) open(ctx context.Context, r *Request) (about, error) {
	var a about
	plain, err := s.c.Keys.OpenPersonal(ctx, r.Person, aboutPlace(r.ID), r.About)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return a, errUnknownLink // the person was erased
	}
	if err == nil {
		err = json.Unmarshal(plain, &a)
	}
	return a, err
}

// newID returns a fresh identifier with a prefix that says what it names.
func newID(prefix string) string { return prefix + strings.ToLower(rand.Text()) }

// validID reports whether id has the form of a request's.
func validID(id string) bool {
	rest, ok := strings.CutPrefix(id, "stp")
	return ok && len(rest) == 26 && !strings.ContainsFunc(rest, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '2' || r > '7') })
}

// newProof returns 256 random bits as text.
func newProof() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// digest is the form in which proofs of 256 random bits are stored.
func digest(proof string) string {
	sum := sha256.Sum256([]byte(proof))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// matches compares a presented proof with a stored digest in constant time. An absent
// digest matches nothing.
func matches(proof, stored string) bool {
	return stored != "" && subtle.ConstantTimeCompare([]byte(digest(proof)), []byte(stored)) == 1
}

// plainText reports whether s is printable text of a bounded length.
func plainText(s string, least, most int) bool {
	return len(s) >= least && len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

func joined(list []Method) string {
	words := make([]string, len(list))
	for i, m := range list {
		words[i] = string(m)
	}
	return strings.Join(words, ", ")
}
