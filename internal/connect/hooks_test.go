package connect

import (
	"net/url"

	"gatehouse"
)

// ReturnAllowed reports whether an allowlist with one entry lets a browser
// return to an address.
func ReturnAllowed(entry, address string) (bool, error) {
	rule, err := parseReturnRule(entry)
	if err != nil {
		return false, err
	}
	return (&Connections{returns: []returnRule{rule}}).returnAllowed(address), nil
}

// WithParams adds what the app is told to its return address.
func WithParams(address string, params url.Values) (string, error) {
	return withParams(address, params)
}

// Classify reduces a platform's error reply.
func Classify(p gatehouse.Platform, status int, body []byte) (class string, isDead bool) {
	e := classify(p, status, body)
	return e.class, e.dead
}

// Member reads a dotted path of a JSON object.
var Member = member
