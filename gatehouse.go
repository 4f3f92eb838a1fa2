// Package gatehouse is the glossary of Gatehouse: the nouns that every other
// package shares, as distinct types, and the kinds of failure. It does no I/O,
// declares no interfaces and imports nothing of ours, so that a word means the
// same thing wherever it stands.
package gatehouse

// Environment names one running deployment's world: production, staging or
// development. It is bound into every key and every sealed record, so that a
// copy of one environment's database cannot be opened by another.
type Environment string

// Platform is one of the platforms whose grants Gatehouse holds.
type Platform string

// The platforms. OAuth2 stands for any provider described by configuration.
const (
	X         Platform = "x"
	Facebook  Platform = "facebook"
	Instagram Platform = "instagram"
	Threads   Platform = "threads"
	OAuth2    Platform = "oauth2"
)

// AppName is the name that the configuration gives to one registration at a
// platform (client id, client secret).
type AppName string

// PurposeName names a declared reason for using people's data.
type PurposeName string

// ServiceName is the configuration's name for one part of the app that calls
// through Gatehouse.
type ServiceName string

// ServiceID is the random, permanent identifier of a service; it stands in the
// service's keys and is the OAuth 1.0a consumer key.
type ServiceID string

// HandleID is the random identifier of a handle; it is the OAuth 1.0a token.
type HandleID string

// ConnectionID is the random identifier of a connection: one grant that one
// person gave to one app registration.
type ConnectionID string

// PersonID is the random identifier of a person whose grant is held. It is
// never derived from what the platform calls the person.
type PersonID string

// Subject is the app's own name for a human. It is opaque to Gatehouse; several
// persons (one for each platform) may share one.
type Subject string

// Operation names one call of a platform, spelled "METHOD pattern", such as
// "GET /2/users/{id}" or "POST /{id}/feed".
type Operation string

// Principal is who calls: a service, through one handle, for one purpose, with
// one connection.
type Principal struct {
	Service     ServiceID
	ServiceName ServiceName
	Handle      HandleID
	Connection  ConnectionID
	Purpose     PurposeName
}

// Person is one human as one platform knows them: the platform and the id that
// it uses towards this app registration (app-scoped where there is such a thing).
type Person struct {
	Platform Platform
	ID       string
}

// DataClass is a kind of value by which somebody can be recognised, in the words
// of third_parties.*.may_receive.
type DataClass string

// The kinds of data.
const (
	// PseudonymousID is what a platform calls a person: a number, or an app-scoped
	// id.
	PseudonymousID DataClass = "pseudonymous-id"
	Username       DataClass = "username"
	PersonName     DataClass = "name"
	EmailAddress   DataClass = "email"
	PhoneNumber    DataClass = "phone"
	// ProfileLink is an address that leads to a person: their page, their picture.
	ProfileLink DataClass = "profile-link"
	PostID      DataClass = "post-id"
	MessageID   DataClass = "message-id"
	// Credential is a token, a key or another secret. Nobody may receive it.
	Credential DataClass = "secret"
)

// DataClasses are the kinds of data that a third party may be allowed to receive:
// all but Credential.
func DataClasses() []DataClass {
	return []DataClass{PseudonymousID, Username, PersonName, EmailAddress, PhoneNumber, ProfileLink, PostID, MessageID}
}
