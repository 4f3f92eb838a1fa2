package connect

import (
	"time"

	"gatehouse"
)

// Kind says what a connection's token stands for.
type Kind string

// The kinds of connection. Everything but KindUser, KindOAuth1 and KindApp is a
// child: it came out of a reply to a call that its parent authorised.
const (
	KindUser       Kind = "user"        // one person's grant, OAuth 2.0
	KindOAuth1     Kind = "oauth1"      // one person's grant, OAuth 1.0a: a token and its secret
	KindPage       Kind = "page"        // a Facebook Page's token
	KindSystemUser Kind = "system_user" // a Meta business's machine account
	KindApp        Kind = "app"         // the app registration itself; no person
)

// Status is where a connection is in its life.
type Status string

// The states. A failure never moves a connection to a state without tokens: the
// sealed tokens go only when the platform has confirmed that the grant is gone.
const (
	// Pending: the platform granted it and the app has not redeemed its code.
	// It authorises nothing and nobody sees it.
	Pending Status = "pending"
	// Healthy: it can be used.
	Healthy Status = "healthy"
	// Renewing: somebody is asking the platform for a new token right now.
	Renewing Status = "renewing"
	// InDoubt: a renewal was begun, and its answer never became durable: the
	// reply was lost, or the process ended. The old tokens are kept. The access
	// token serves until its end; then the old refresh token is tried again,
	// and the platform's answer decides.
	InDoubt Status = "in_doubt"
	// ReconnectNeeded: the platform says the grant is gone; the person must
	// connect again.
	ReconnectNeeded Status = "reconnect_needed"
	// Revoked: the app, the person or an operator ended it.
	Revoked Status = "revoked"
	// Erased: the person's key was destroyed.
	Erased Status = "erased"
)

// Usable reports whether a connection in state s may authorise a call.
func (s Status) Usable() bool { return s == Healthy || s == Renewing || s == InDoubt }

// Connection is one grant that one person gave to one app registration, as the
// rest of Gatehouse sees it: it carries no token.
type Connection struct {
	ID           gatehouse.ConnectionID
	App          gatehouse.AppName
	Platform     gatehouse.Platform
	Kind         Kind
	Service      gatehouse.ServiceName // the service that began it
	Person       gatehouse.PersonID
	PlatformUser string // what the platform calls the person, opened from sealed storage
	Name         string // the person's or page's own name at the platform; may be empty
	Subject      gatehouse.Subject
	Parent       gatehouse.ConnectionID // of a child, or ""
	Status       Status
	Cause        Cause    // why it is in this state, as a word; may be empty
	Reason       string   // why it is in this state, in words
	Next         string   // what somebody has to do about it, in words; empty when all is well
	Scopes       []string // what the platform granted
	Declined     []string // what was asked for and not granted
	Purposes     []gatehouse.PurposeName
	// AccessExpires and RefreshExpires are zero when the platform names no end.
	AccessExpires, RefreshExpires time.Time
	// DataAccessExpires is when Facebook ends the app's access to the person's
	// data unless they log in again; zero when it has not said.
	DataAccessExpires time.Time
	Created, Updated  time.Time
	Version           int64
	// RevokeOutstanding means that the connection is cut off here and the
	// platform has not yet confirmed that it is gone there.
	RevokeOutstanding bool
	// Unreadable is set when what names the person does not open: the row was
	// changed or belongs elsewhere. PlatformUser, Name and Subject are empty then, and
	// Next says what to do.
	Unreadable bool
}

// Record is a connection as it is stored. Everything that names a human is
// sealed with that person's key or is a keyed hash that only serves look-up.
// The store owns Version: it is 0 in a record that was never saved.
type Record struct {
	ID           gatehouse.ConnectionID
	App          gatehouse.AppName
	Platform     gatehouse.Platform
	Kind         Kind
	Service      gatehouse.ServiceName
	Person       gatehouse.PersonID
	UserHash     string // keyed hash of the platform's id of the person
	UserSealed   []byte
	NameSealed   []byte
	SubjectHash  string
	SubjSealed   []byte
	Parent       gatehouse.ConnectionID
	ExternalHash string // keyed hash of a child's id at the platform
	Status       Status
	Cause        Cause
	Reason       string
	Scopes       []string
	Declined     []string
	Purposes     []gatehouse.PurposeName
	Access       []byte // sealed access token (OAuth 1.0a: the token)
	Refresh      []byte // sealed refresh token (OAuth 1.0a: the token's secret)
	// AccessExpires and RefreshExpires are zero when the platform names no end.
	AccessExpires, RefreshExpires time.Time
	// RenewAt is when the access token should be replaced; zero = never.
	RenewAt time.Time
	// LeaseUntil bounds a renewal: after it, another owner may take over.
	LeaseUntil        time.Time
	Redeemed          time.Time // zero while pending
	RevokeOutstanding bool
	Created, Updated  time.Time
	// Obtained is when the tokens came from the platform, or into our hands.
	Obtained time.Time
	// Failures is how many renewals in a row brought no new tokens.
	Failures int64
	// CheckAt is when the platform is asked next what it thinks of the token;
	// zero = never.
	CheckAt           time.Time
	DataAccessExpires time.Time
	Version           int64
}

// become puts the record into a state. Every change of state goes through here,
// so that no cause outlives the state that it explains.
func (r *Record) become(s Status, cause Cause, reason string) {
	r.Status, r.Cause, r.Reason, r.Updated = s, cause, reason, time.Now()
}

// Attempt is one run through the platform's consent, from Begin to Redeem. It
// holds no credential in the clear: proofs are hashes, the PKCE verifier and
// the subject are sealed.
type Attempt struct {
	ID          string
	Service     gatehouse.ServiceName
	App         gatehouse.AppName
	OAuth1      bool
	Purposes    []gatehouse.PurposeName
	Scopes      []string // asked for
	ReturnTo    string
	AppState    string // the app's own state, given back unread
	SubjectHash string
	SubjSealed  []byte
	StateHash   string // of the state now in use (OAuth 1.0a: the request token); "" before Start
	BrowserHash string // of the cookie of the browser that started it
	Verifier    []byte // sealed PKCE verifier (OAuth 1.0a: request token's secret)
	CodeHash    string // of the one-time code; "" before the callback
	Connection  gatehouse.ConnectionID
	Stage       Stage
	Expires     time.Time
	Created     time.Time
	Version     int64
}

// Stage is how far an attempt has come. It only moves forward.
type Stage string

// The stages of an attempt.
const (
	Asked    Stage = "asked"    // the app asked for it
	Started  Stage = "started"  // a browser was sent to the platform
	Returned Stage = "returned" // the state was used, once and for all
	Coded    Stage = "coded"    // the app can redeem the one-time code
	Closed   Stage = "closed"   // redeemed, refused or failed
)
