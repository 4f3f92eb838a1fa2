// Package atrest looks for secrets where none may stand in plain: in database
// files, write-ahead logs, rows, backups and log files. It owns the search for
// many secrets at once in all the forms in which programs write them, the shapes
// by which tokens are known, the reading of the places, and the facts about the
// machine that protection at rest depends on.
//
// It promises that a secret that was given to it is found in every form that it
// names, however the bytes arrive; that what it takes in never comes out again
// (of a secret it keeps keyed fingerprints of single windows and of the whole,
// so that other packages can give it their keys without handing them out); and
// that what it reports holds a place, a kind and the beginning of a hash, never
// a value.
//
// It must never write into a place that it looks at, and never call something
// well that it could not see. What it cannot find: what is compressed (save
// gzip), encrypted, or cut in pieces; base64 with line breaks inside; and secrets
// shorter than MinSecret.
package atrest

// What says what was looked for and found, in words that stand in reports.
type What string

// What is looked for. The first group must be found nowhere in plain.
const (
	Canary       What = "canary"        // a marker that was planted for the search
	AccessToken  What = "access token"  // of a connection
	RefreshToken What = "refresh token" // of a connection; OAuth 1.0a: the token's secret
	ClientSecret What = "client secret" // of an app registration, or for a key-management system
	SystemSecret What = "system secret" // what Gatehouse needs for itself: signing keys
	KeyMaterial  What = "key material"  // of the root key and the domain keys

	// SealedCanary is the sealed form of a canary. It has to be found: a search
	// that does not see what was planted proves nothing.
	SealedCanary What = "sealed canary"
	// WrappedKey is a person's wrapped key that was destroyed: what storage keeps
	// of it is a residue.
	WrappedKey What = "wrapped key"

	// The shapes by which tokens are known, whoever's they are.
	ShapeX         What = "shape of an X token"
	ShapeXBearer   What = "shape of an X app-only bearer"
	ShapeXOAuth1   What = "shape of an X OAuth 1.0a token"
	ShapeMeta      What = "shape of a Meta token"
	ShapeGatehouse What = "shape of a Gatehouse handle or key"
	ShapePEM       What = "private key in PEM"
)

// A Match is one occurrence.
type Match struct {
	What What
	// Form is how it was written: "plain", "base64", "hex" and so on.
	Form string
	// Offset is where it begins, in bytes from the beginning of the stream.
	Offset int64
	// Hash is the beginning of the SHA-256 of the value, in hexadecimal: by it the
	// same value is recognised in two places.
	Hash string
}
