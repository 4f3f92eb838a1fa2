package stepup

import (
	"context"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/factor"
)

// Stage is how far a request has come.
type Stage string

// The stages. The last four are ends.
const (
	Asked     Stage = "asked"     // by the app; no browser has come
	Started   Stage = "started"   // a browser is bound to it
	Coded     Stage = "coded"     // it was passed, and a code waits to be redeemed
	Redeemed  Stage = "redeemed"  // the app has its result
	Cancelled Stage = "cancelled" // by the person
	Failed    Stage = "failed"    // too many wrong answers
	Burnt     Stage = "burnt"     // its code was presented for somebody else
)

// Request is one step-up, as it is stored.
type Request struct {
	ID      string
	Service gatehouse.ServiceName
	Person  gatehouse.PersonID
	// About is sealed: the subject, and what the person is shown.
	About []byte
	// Methods are those that the app accepts.
	Methods []Method
	// Add says that a factor is set up in any case, after one was proved.
	Add bool
	// MaxAge is how old an accepted proof may be; zero: it is made now.
	MaxAge      time.Duration
	ReturnTo    string
	AppState    string
	Stage       Stage
	BrowserHash string
	Ceremony    []byte // of a passkey, until it is answered
	Pending     []byte // sealed: the TOTP secret that is being set up
	Proved      time.Time
	ProvedBy    Method
	Enrolled    Method // set up by this request; counts when it is redeemed
	First       bool   // the person had no factor when Enrolled was set up
	Wrong       int    // wrong answers
	Begun       int    // ceremonies
	CodeHash    string
	Created     time.Time
	Expires     time.Time
	Version     int64
}

// ended reports whether nothing more can come of it.
func (r *Request) ended() bool { return r.Stage != Asked && r.Stage != Started && r.Stage != Coded }

// Factor is a person's second factor, as it is stored.
type Factor struct {
	ID     string
	Person gatehouse.PersonID
	// Request is the one that set it up, until that is redeemed; then it is empty, and
	// the factor counts.
	Request string
	Method  Method
	// Site is the id of the site that a passkey is for.
	Site string
	// Sealed is a TOTP secret, or a passkey with its counter.
	Sealed []byte
	// Step is the newest step of a TOTP code that was taken.
	Step int64
	// Blocked says that it must not be believed any more: it was copied.
	Blocked bool
	Created time.Time
	Used    time.Time
	Version int64
}

// Store keeps requests and factors. Every method is one transaction that is durable
// when it returns nil, and may be called concurrently from several processes. Where a
// request is saved, it must be stored with its Version, which then goes up by one, or
// the method is gatehouse.ErrConflict and does nothing. A missing row is
// gatehouse.ErrNotFound.
type Store interface {
	// AddRequest stores a new request, notes that its person was asked for, under the
	// sealed subject, and deletes what expired a day ago and of its person all but the
	// newest keep requests, with what they set up.
	AddRequest(ctx context.Context, r *Request, subject []byte, keep int) error
	Request(ctx context.Context, id string) (Request, error)
	// SaveRequest also deletes what the request set up, if it ended without being
	// redeemed.
	SaveRequest(ctx context.Context, r *Request) error
	// Enrol saves the request and stores what it set up: a factor, and the hashes of
	// recovery codes, if there are new ones, in place of those that it had.
	Enrol(ctx context.Context, r *Request, f Factor, codes []factor.RecoveryHash) error
	// UseFactor saves the request and a factor that was proved, which must be stored
	// with its Version and a smaller Step (or both zero) and not be blocked.
	UseFactor(ctx context.Context, r *Request, f Factor) error
	// UseRecovery saves the request and deletes a recovery code of its person;
	// gatehouse.ErrNotFound if there is none with that hash.
	UseRecovery(ctx context.Context, r *Request, hash factor.RecoveryHash) error
	// Finish saves the request, and what it set up counts from now on: new recovery
	// codes take the place of all others. If the request says First and the person has
	// a factor by now, it is gatehouse.ErrConflict.
	Finish(ctx context.Context, r *Request) error

	FactorStore
	BrowserStore
	HolderStore
}

// FactorStore keeps what a person has.
type FactorStore interface {
	// Factors returns the factors of a person that count, the oldest first, and how
	// many recovery codes are left.
	Factors(ctx context.Context, person gatehouse.PersonID) ([]Factor, int, error)
	// Block marks a factor as copied. In the same write go the browsers in which its
	// person is known, and the requests that were proved by one of its method: the copy
	// may have done that.
	Block(ctx context.Context, id string) error
	// Reset deletes a person's factors, recovery codes, requests and browsers, and
	// returns how many factors counted.
	Reset(ctx context.Context, person gatehouse.PersonID) (int, error)
	// Forget is Reset, and deletes that the person was ever asked for.
	Forget(ctx context.Context, person gatehouse.PersonID) error
}

// Browser is one in which a person has proved a factor.
type Browser struct {
	Person gatehouse.PersonID
	// Hash is that of the browser's cookie.
	Hash string
	// Proved is when a factor was last proved in it, By which.
	Proved time.Time
	By     Method
}

// BrowserStore keeps the browsers that are known, and counts guesses.
type BrowserStore interface {
	Browser(ctx context.Context, person gatehouse.PersonID, hash string) (Browser, error)
	// Remember stores a browser in the place of another of its person, by its hash ("" for
	// none), and forgets all but the newest keep of them.
	Remember(ctx context.Context, b Browser, instead string, keep int) error
	// Guess takes a guess from a budget of burst, one of which comes back after each
	// every; hash is of a browser that is known, or "" for the one that all others
	// share. Without any left it is gatehouse.ErrLimited, and next is when there is
	// one again.
	Guess(ctx context.Context, person gatehouse.PersonID, hash string, now time.Time, every time.Duration, burst int) (next time.Time, err error)
	// Unguess gives one back.
	Unguess(ctx context.Context, person gatehouse.PersonID, hash string, every time.Duration) error
}
