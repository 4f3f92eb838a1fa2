// Package stepup owns the second factors of the app's own users: the app asks for one
// of them to be proved, by a person whom it has signed in; the person's browser comes
// to Gatehouse, proves a passkey, a code or a recovery code, or sets one up; and the
// app takes a signed result.
//
// It promises that the browser that began is the one that finishes; that what a
// person presents, a code, an assertion, a ceremony, a one-time code for the app,
// counts once; that a factor counts only after the app has said, from its own
// session, whose browser came back; that nobody without a factor gets past one who
// has one, and that nobody who merely has a link can keep a person out for long. It
// must never believe a browser's word for who it is, send it anywhere but to an
// address on the list, or keep a factor that opens without the person's own key.
package stepup

import (
	"context"
	"errors"
	"slices"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// Method is a kind of second factor.
type Method string

// The methods. Recovery is what a person has in their place, and is never asked for.
const (
	Passkey  Method = "passkey"
	TOTP     Method = "totp"
	Recovery Method = "recovery"
)

// Methods are those that an app can ask for.
func Methods() []Method { return []Method{Passkey, TOTP} }

const (
	// DefaultLife is how long a person has, from the app's request to the end.
	DefaultLife = 15 * time.Minute
	// MaxLife bounds it.
	MaxLife = time.Hour
	// CodeLife is how long the app has for redeeming.
	CodeLife = 2 * time.Minute
	// ResultLife is how long a signed result is valid.
	ResultLife = 5 * time.Minute
	// MaxAge bounds how long ago an accepted proof may be.
	MaxAge = 24 * time.Hour

	// maxWrong is how many wrong answers end a request.
	maxWrong = 5
	// maxCeremonies is how often a request may begin a ceremony with a passkey, or be told
	// that there are no guesses left.
	maxCeremonies = 20
	// maxRequests is how many requests of one person are kept; the oldest go.
	maxRequests = 20
	// maxFactors is how many factors a person may have.
	maxFactors = 10
	// maxBrowsers is how many browsers of a person are known; the oldest are forgotten.
	maxBrowsers = 10
	// fewCodes is when a person gets new recovery codes with a further factor.
	fewCodes = 4
)

// Guesses bound how many codes are tried for one person, whatever link and browser
// they come from: those who guess share one budget, and each browser in which the
// person has proved a factor before has its own, so that strangers cannot use up the
// person's. With 48 guesses a day at six digits, three of which are right at a time, a
// year of guessing succeeds with one in twenty; the app is told long before.
const (
	guessBurst   = 10
	guessEvery   = 30 * time.Minute
	knownEvery   = 5 * time.Minute
	knownCookies = 180 * 24 * time.Hour
)

// Settings are what the configuration in force says.
type Settings struct {
	// Name is what people see as who asks.
	Name string
	// Services may ask for step-ups, look at them and redeem them.
	Services []gatehouse.ServiceName
	// Returns reports whether a browser may be sent to an address.
	Returns func(address string) bool
	// Methods are those that are offered.
	Methods []Method
	// Life is how long a person has; zero means DefaultLife.
	Life time.Duration
	// KeyVersion is that of the key that signs results; zero means 1.
	KeyVersion int
}

// Keys are what seals a person's values: functions of the vault, with the person who
// belongs to a subject.
type Keys struct {
	// Person returns the person whose key seals for a subject. When there is none, it
	// makes one if fresh allows it, and is gatehouse.ErrNotFound otherwise.
	Person func(ctx context.Context, subject gatehouse.Subject, fresh bool) (gatehouse.PersonID, error)
	// Ready reports whether the person's key is in use: gatehouse.ErrNotFound after it
	// was destroyed.
	Ready func(ctx context.Context, person gatehouse.PersonID) error
	// Seal and Open are for what proves something, in its place (row, column).
	Seal func(ctx context.Context, person gatehouse.PersonID, row, column string, value secret.Text) ([]byte, error)
	Open func(ctx context.Context, r audit.Receipt, person gatehouse.PersonID, row, column string, sealed []byte) (secret.Text, error)
	// SealPersonal and OpenPersonal are for what is personal and proves nothing.
	SealPersonal func(ctx context.Context, person gatehouse.PersonID, place string, plain []byte) ([]byte, error)
	OpenPersonal func(ctx context.Context, person gatehouse.PersonID, place string, sealed []byte) ([]byte, error)
	// Seed returns the 32 bytes, in hexadecimal, that a version of the signing key is
	// made of.
	Seed func(ctx context.Context, version int) (secret.Text, error)
}

// Event is something that the app is told about a person's factors.
type Event struct {
	// ID is the same each time one thing is told.
	ID      string
	Type    string // stepup.enrolled, stepup.reset, stepup.alarm
	Person  gatehouse.PersonID
	Subject gatehouse.Subject
	Service gatehouse.ServiceName
	Method  Method
	// Cause says what an alarm is about: guessing, cloned.
	Cause string
	At    time.Time
}

// Config is what New needs.
type Config struct {
	Store Store
	Log   *audit.Log
	Keys  Keys
	// Passkeys judges passkeys; nil means that this site can have none.
	Passkeys *factor.Passkeys
	// PublicURL is where browsers reach Gatehouse; it is the issuer of results.
	PublicURL string
	// Settings returns what is in force now.
	Settings func() Settings
	// Tell puts an event before the app; durable when it returns nil.
	Tell func(context.Context, Event) error
}

// Stepups asks for and judges second factors. It is safe for concurrent use.
type Stepups struct{ c Config }

// New returns the step-ups of a store.
func New(c Config) (*Stepups, error) {
	k := c.Keys
	if c.Store == nil || c.Log == nil || c.Settings == nil || c.Tell == nil || c.PublicURL == "" {
		return nil, errors.New("stepup: Config lacks store, log, settings, tell or public URL")
	}
	if k.Person == nil || k.Ready == nil || k.Seal == nil || k.Open == nil || k.SealPersonal == nil || k.OpenPersonal == nil || k.Seed == nil {
		return nil, errors.New("stepup: Config.Keys lacks a function")
	}
	return &Stepups{c}, nil
}

// Secure reports whether browsers reach Gatehouse by https.
func (s *Stepups) Secure() bool { return len(s.c.PublicURL) > 5 && s.c.PublicURL[:6] == "https:" }

// methods are those that are offered and possible here.
func (s *Stepups) methods() []Method {
	return slices.DeleteFunc(slices.Clone(s.c.Settings().Methods), func(m Method) bool {
		return m == Passkey && s.c.Passkeys == nil
	})
}

// may refuses a service that is not declared to ask for step-ups.
func (s *Stepups) may(service gatehouse.ServiceName) error {
	if !slices.Contains(s.c.Settings().Services, service) {
		return wire.Refuse(gatehouse.ErrDenied, "stepup/service", "This service may not ask for step-ups: name it in gatehouse.yaml under stepup, services.")
	}
	return nil
}

// entry is what every log entry about a request has in common.
func entry(action string, r *Request, about about) audit.Entry {
	return audit.Entry{Action: action, Service: r.Service, Person: r.Person, Personal: map[string]string{"subject": string(about.Subject)}}
}

// end completes an entry with how it ended: only the rule of an error reaches the log.
func end(e audit.Entry, err error) audit.Entry {
	e.Verdict = "done"
	if err != nil {
		e.Verdict, e.Rule = "failed", wire.RuleOf(err)
	}
	return e
}
