package operator

import (
	"context"
	"crypto/sha256"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/factor"
)

// Hash is what is stored of a token.
type Hash [sha256.Size]byte

// Store keeps everything of this package. Every write is atomic and durable when it
// returns nil; all may be called concurrently, from several processes on one
// database. What a write demands of what is stored is looked at in the same write:
// of two that contradict each other, one is ErrConflict.
type Store interface {
	AccountStore
	GrantStore
	FactorStore
	PasskeyStore
	TokenStore
	SessionStore
	LimitStore
	ApprovalStore
	SubjectStore
	ProvisionStore
	GroupStore
}

// SubjectStore knows accounts by what a provider calls them.
type SubjectStore interface {
	// AccountBySubject returns an account, or ErrNotFound.
	AccountBySubject(ctx context.Context, subject string) (AccountRecord, error)
	// LinkSubject gives an account that has none a subject that no other has;
	// anything else is ErrConflict.
	LinkSubject(ctx context.Context, id AccountID, subject string) error
}

// AccountRecord is an account as stored.
type AccountRecord struct {
	// Account is without grants: those of the database are in Grants.
	Account     Account
	Grants      []GrantRecord
	Environment gatehouse.Environment
	// EmailKey is the address in the form by which it is found; empty when removed.
	EmailKey string
	// OwnEmail says that the operator wrote the address, in the place of the one that
	// whoever invited them gave: nobody vouches for it.
	OwnEmail bool
	// Handle is what passkeys know the account by: random, and nothing else.
	Handle []byte
	// Password is empty if there is none.
	Password factor.PasswordHash
	// TOTP is the random part from which the seed of one-time codes is derived,
	// empty for none; Step is that of the last code that was taken.
	TOTP string
	Step int64
	// NextTOTP is that of a seed that is being enrolled, until NextEnd.
	NextTOTP string
	NextEnd  time.Time
	// Decided is when the account lost the power to decide approvals; zero if it
	// never had it, or has not lost it.
	Decided time.Time
}

// AccountStore keeps accounts.
type AccountStore interface {
	// AddAccount stores an account with its grants. An address that another
	// account has is ErrConflict, and a name (see [SameName]) is ErrName.
	AddAccount(ctx context.Context, r AccountRecord) error
	// Account returns an account with its grants and counts, or ErrNotFound.
	Account(ctx context.Context, id AccountID) (AccountRecord, error)
	// AccountByEmail is Account by the address in the form by which it is found.
	AccountByEmail(ctx context.Context, key string) (AccountRecord, error)
	// AccountByHandle is Account by what passkeys know it by.
	AccountByHandle(ctx context.Context, handle []byte) (AccountRecord, error)
	// Accounts returns all, oldest first.
	Accounts(ctx context.Context) ([]AccountRecord, error)
	// SetState moves an account from one of some states to another. One that is in
	// none of them is ErrConflict, and so is a change after which no active account
	// would have the role of keep without an end (ErrLast); an empty keep asks for
	// none. Leaving Active ends all sessions, half sign-ins and undecided approvals
	// that the account asked for.
	SetState(ctx context.Context, id AccountID, change StateChange) error
	// Forget is SetState to Removed, after which nothing is left of the account but
	// its identifier and times.
	Forget(ctx context.Context, id AccountID, change StateChange) error
	// SetProfile gives an account a name and an address. An address that another account
	// has is ErrConflict, and a name (see [SameName]) is ErrName.
	SetProfile(ctx context.Context, id AccountID, by Claim, p Naming) error
}

// Naming is what an operator is called.
type Naming struct {
	Name, Email string
	// EmailKey and OwnEmail are as in AccountRecord.
	EmailKey string
	OwnEmail bool
}

// GrantRecord is a grant as stored.
type GrantRecord struct {
	Grant Grant
	// MAC is over the account and the grant.
	MAC string
}

// StateChange is what SetState does.
type StateChange struct {
	From   []State
	To     State
	Reason string
	At     time.Time
	// Because, unless empty, makes the change one of an account that is where it is for
	// this reason.
	Because string
	// Keep is the role that must not get lost with it.
	Keep Role
	// SeenBefore, unless zero, makes the change one of an account that did nothing
	// since.
	SeenBefore time.Time
	// Decider says that the account could decide approvals until now.
	Decider bool
}

// GrantStore keeps who has which role.
type GrantStore interface {
	// PutGrant gives an account that is not removed a role until a time, in place
	// of the one it had; keep is as in StateChange: a last grant is not given an
	// end.
	PutGrant(ctx context.Context, id AccountID, g GrantRecord, at time.Time, keep Role) error
	// DropGrant takes a role away; one that is not there is ErrNotFound. decider is
	// as in StateChange.
	DropGrant(ctx context.Context, id AccountID, role Role, at time.Time, keep Role, decider bool) error
	// MoveGrants gives an active account another's roles, each in the place of the same
	// one if it has that, and leaves its others; who gives them loses all, and its
	// sessions with them. Roles that are not any more as they were read are ErrConflict.
	MoveGrants(ctx context.Context, m GrantMove) error
}

// GrantMove is what MoveGrants does.
type GrantMove struct {
	From, To AccountID
	// Given are the roles as the giver had them, Had those of them that the heir had
	// already, and Grants what the heir gets.
	Given, Had, Grants []GrantRecord
	At                 time.Time
	// Keep and Decider are as in StateChange, for the giver.
	Keep    Role
	Decider bool
}

// A Claim is what somebody changes factors, or their name and address, by: a link to enrol, or a session. A write
// that it comes with is none if it is gone by then: ErrEnrolment, or ErrSession. The
// zero Claim demands nothing.
type Claim struct {
	Enrolment Hash
	Session   SessionID
}

// FactorStore keeps passwords, one-time codes and recovery codes.
type FactorStore interface {
	// SetPassword stores a password's hash, if the stored one is the one of before.
	SetPassword(ctx context.Context, id AccountID, by Claim, before, hash factor.PasswordHash) error
	// OfferTOTP stores a seed that is being enrolled, unless one is that has not
	// ended at the given time, and returns which is.
	OfferTOTP(ctx context.Context, id AccountID, random string, at, until time.Time) (string, error)
	// AcceptTOTP puts the offered seed in the place of the one before, with the step
	// of the code that proved it. Another than the offered one is ErrConflict.
	AcceptTOTP(ctx context.Context, id AccountID, by Claim, random string, step int64) error
	// TakeStep takes a code of a seed: one whose step is not greater than the last
	// taken one's is ErrConflict.
	TakeStep(ctx context.Context, id AccountID, random string, step int64) error
	// PutRecovery stores new recovery codes in the place of all before.
	PutRecovery(ctx context.Context, id AccountID, by Claim, hashes []Hash) error
	// TakeRecovery takes a recovery code; one that is not there is ErrNotFound.
	TakeRecovery(ctx context.Context, id AccountID, hash Hash) error
	// DropFactors takes everything away by which the account could sign in, and its
	// sessions.
	DropFactors(ctx context.Context, id AccountID, at time.Time) error
}

// PasskeyRecord is a passkey as stored.
type PasskeyRecord struct {
	Passkey Passkey
	// Credential is the public half, as package factor writes it, and MAC over the
	// account and the parts of it that no use changes.
	Credential []byte
	MAC        string
}

// PasskeyStore keeps passkeys.
type PasskeyStore interface {
	// AddPasskey stores a passkey; one that exists, or one more than most, is
	// ErrConflict.
	AddPasskey(ctx context.Context, r PasskeyRecord, by Claim, most int) error
	// Passkeys returns those of an account, oldest first.
	Passkeys(ctx context.Context, id AccountID) ([]PasskeyRecord, error)
	// UsePasskey stores what a passkey became by its use, if it is still as it was
	// before, and takes the ceremony: one that was taken is ErrConflict.
	UsePasskey(ctx context.Context, id PasskeyID, before, after []byte, at time.Time, ceremony Hash, until time.Time) error
	// TakeCeremony takes a ceremony that leads to no passkey's use.
	TakeCeremony(ctx context.Context, ceremony Hash, until time.Time) error
	// DropPasskey removes one of an account, or is ErrNotFound. With able, one without
	// which the account could not sign in is ErrConflict.
	DropPasskey(ctx context.Context, account AccountID, id PasskeyID, by Claim, able bool) error
	// DropCloned removes one of which there are two, or is ErrNotFound. Whoever has the
	// other may be in any session: all end, with half sign-ins, and no browser is known
	// as the operator's any more.
	DropCloned(ctx context.Context, account AccountID, id PasskeyID) error
}

// A TokenKind says what a token is for.
type TokenKind string

// The kinds of tokens.
const (
	tokenEnrol TokenKind = "enrol"
	tokenHalf  TokenKind = "half"
	tokenProof TokenKind = "proof"
	// tokenProvider is half a sign-in whose first factor a provider judged.
	tokenProvider TokenKind = "provider"
)

// TokenRecord is an enrolment link or a half sign-in as stored.
type TokenRecord struct {
	Hash    Hash
	Kind    TokenKind
	Account AccountID
	// Binding is the browser that it belongs to; zero for none yet.
	Binding Hash
	Tries   int
	Created time.Time
	Until   time.Time
	// Groups and Proved are what a provider said, of half a sign-in that it judged; MAC
	// is over all of that, and empty for others.
	Groups []string
	Proved time.Time
	MAC    string
}

// TokenStore keeps tokens.
type TokenStore interface {
	// AddToken stores one. With alone, every other of the account's of that kind goes.
	AddToken(ctx context.Context, r TokenRecord, alone bool) error
	// Token returns one, or ErrNotFound.
	Token(ctx context.Context, hash Hash) (TokenRecord, error)
	// ClaimToken gives one that belongs to no browser to this one. One that belongs
	// to another is ErrConflict.
	ClaimToken(ctx context.Context, hash, binding Hash) error
	// TryToken counts a try; more than most is ErrConflict.
	TryToken(ctx context.Context, hash Hash, most int) error
	// DropToken takes one; one that is gone is ErrNotFound.
	DropToken(ctx context.Context, hash Hash) error
	// Enrol makes an invited account active and takes the token, in one.
	Enrol(ctx context.Context, hash Hash, id AccountID, at time.Time) error
	// EnrolByProvider makes an invited account active, and takes all away that its link
	// was for: the link, and every factor that somebody added by it.
	EnrolByProvider(ctx context.Context, id AccountID, at time.Time) error
}

// SessionRecord is a session as stored.
type SessionRecord struct {
	Session Session
	Hash    Hash
	Binding Hash
	// MAC is over all of it.
	MAC string
}

// SessionStore keeps sessions.
type SessionStore interface {
	// AddSession stores one of an active account, and the browser as one of the
	// operator's; of an account that is not active, it is ErrConflict. The oldest
	// ones go when there are more than most.
	AddSession(ctx context.Context, r SessionRecord, most int) error
	// Session returns one by its hash, with its account, or ErrNotFound.
	Session(ctx context.Context, hash Hash) (SessionRecord, AccountRecord, error)
	// Sessions returns those of an account, newest first.
	Sessions(ctx context.Context, id AccountID) ([]SessionRecord, error)
	// TouchSession notes a request: Seen and IdleUntil of a session whose MAC was this.
	// One that was changed or ended meanwhile stays as it is.
	TouchSession(ctx context.Context, was string, r SessionRecord) error
	// RotateSession gives a session another token and notes when a factor was shown.
	// One whose token is another by now is ErrConflict.
	RotateSession(ctx context.Context, from Hash, r SessionRecord) error
	// EndSession removes one of an account, or is ErrNotFound.
	EndSession(ctx context.Context, account AccountID, id SessionID) error
	// EndSessions removes all of an account but one, and returns how many.
	EndSessions(ctx context.Context, account AccountID, but SessionID) (int, error)
	// Sweep removes sessions, tokens, ceremonies and approvals whose time was over
	// before some times.
	Sweep(ctx context.Context, at, approvals time.Time) error
}

// A Limit is how often something may be tried.
type Limit struct {
	Slot   string
	Most   int
	Within time.Duration
}

// LimitStore counts attempts.
type LimitStore interface {
	// Attempt counts an attempt for each of the limits, or for none: then it returns
	// when the last of those that are full has room again.
	// reached says that this attempt was the last that one of them has room for.
	Attempt(ctx context.Context, limits []Limit, at time.Time) (full time.Time, reached bool, err error)
	// Forgive takes an attempt back.
	Forgive(ctx context.Context, limits []Limit) error
	// Knows reports whether an operator has signed in with a browser.
	Knows(ctx context.Context, account AccountID, binding Hash) (bool, error)
	// KnowsBrowser reports whether any operator has.
	KnowsBrowser(ctx context.Context, binding Hash) (bool, error)
}

// ApprovalStore keeps what waits for a second operator.
type ApprovalStore interface {
	// AddApproval stores one; more than most that wait and were asked for by one
	// account are ErrConflict.
	AddApproval(ctx context.Context, a ApprovalRecord, most int) error
	// Approval returns one, or ErrNotFound.
	Approval(ctx context.Context, id ApprovalID) (ApprovalRecord, error)
	// Approvals returns the newest, at most a number.
	Approvals(ctx context.Context, most int) ([]ApprovalRecord, error)
	// Decide stores a decision about one whose MAC was this, that waits, has not ended,
	// and was asked for by somebody else; anything else is ErrConflict.
	Decide(ctx context.Context, was string, a ApprovalRecord) error
	// UseApproval makes an approved one whose MAC was this and that has not ended used,
	// if its decider is still active; anything else is ErrConflict.
	UseApproval(ctx context.Context, was string, a ApprovalRecord) error
	// ReturnApproval makes a used one whose MAC was this approved again, if whoever asked
	// for it is still active; anything else is ErrConflict.
	ReturnApproval(ctx context.Context, was string, a ApprovalRecord) error
}

// ApprovalRecord is an approval as stored.
type ApprovalRecord struct {
	Approval Approval
	// MAC is over all of it; that of a withdrawn one is of before.
	MAC string
}
