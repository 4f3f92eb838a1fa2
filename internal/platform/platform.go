// Package platform holds the facts about X, Facebook, Instagram and Threads:
// which hosts they have, which operations they know, how a call is named, how
// requests are signed, what a reply means and where credentials stand in it.
//
// It promises that a call is named the same however it is spelled, and that a
// spelling which two readers could take for different calls is an error, never
// a guess. Everything here is a pure function over its arguments and tables; the
// package must never do I/O, read the clock, or keep a credential.
package platform

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Name is one of the platforms that this package knows.
type Name string

// The platforms. Their spellings are those of the configuration.
const (
	X         Name = "x"
	Facebook  Name = "facebook"
	Instagram Name = "instagram"
	Threads   Name = "threads"
)

// Names lists the platforms.
func Names() []Name { return []Name{X, Facebook, Instagram, Threads} }

// Graph reports whether p speaks the Graph API.
func (p Name) Graph() bool { return p == Facebook || p == Instagram || p == Threads }

var (
	// ErrHostilePath means that the path is spelled in a way that another
	// reader might take for a different path. It is refused, not cleaned.
	ErrHostilePath = errors.New("hostile path")
	// ErrAmbiguous means that a parameter which decides what the call does is
	// given twice, in brackets or in another case.
	ErrAmbiguous = errors.New("ambiguous parameter")
	// ErrUnknownOperation means that a declared call is not one of the
	// platform's operations.
	ErrUnknownOperation = errors.New("unknown operation")
	// ErrSyntax means that a field expansion, batch, header or signed request
	// cannot be parsed.
	ErrSyntax = errors.New("syntax error")
	// ErrTooLarge means that an input exceeds a limit of this package.
	ErrTooLarge = errors.New("too large")
	// ErrUnknownPlatform means that the platform is none of ours.
	ErrUnknownPlatform = errors.New("unknown platform")
)

// Auth is a set of the kinds of credential that an operation accepts.
type Auth uint8

// The kinds of credential. Graph operations take AuthToken: what the token may
// do depends on what it was issued for, not on the operation's declaration.
const (
	AuthApp    Auth = 1 << iota // X's app-only bearer
	AuthOAuth2                  // X's OAuth 2.0 user token
	AuthOAuth1                  // X's OAuth 1.0a user token
	AuthToken                   // a Graph access token
)

// Has reports whether a includes every kind in b.
func (a Auth) Has(b Auth) bool { return a&b == b }

// Param is one path parameter of a call.
type Param struct{ Name, Value string }

// Call is what a request means.
type Call struct {
	// Operation is "METHOD pattern", such as "GET /2/users/{id}/followers" or
	// "POST /{id}/photos". For an unknown call it is "METHOD unknown", so that
	// no part of a strange path reaches a log.
	Operation string
	Method    string
	Pattern   string
	// Version is the Graph version prefix ("v25.0"), which is no part of the
	// operation; empty if there was none.
	Version string
	Params  []Param

	Write      bool // changes something at the platform
	Streaming  bool // the reply does not end by itself
	Idempotent bool // may be sent again when the reply was lost

	Auth   Auth
	Scopes []string // scopes that X's document demands; nil for Graph

	// Implied are operations that the request performs beside its own: edges
	// expanded by fields=, further kinds of node named by ids=.
	Implied []string

	// Unknown means that the platform's documents have no such operation.
	Unknown bool
	// Override is the method that the request asks for in the method= parameter
	// when that differs from its own. What the platform would do is then not
	// what Operation says.
	Override string
	// Batch means that the request carries a Graph batch: every item is a call
	// of its own. See [ParseBatch].
	Batch bool
	// Endpoint is the kind of OAuth endpoint, or None for an ordinary call.
	Endpoint Endpoint
	// Role says which of the platform's hosts serves the call.
	Role Role
}

// Param returns the value of the named path parameter.
func (c Call) Param(name string) string {
	for _, p := range c.Params {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// Operations returns everything that the request does: its own operation, then
// the implied ones.
func (c Call) Operations() []string {
	return append([]string{c.Operation}, c.Implied...)
}

// Classify names the operation that a request performs. The path is the escaped
// one as it stood in the request line, without the gateway's own prefix; params
// are the query's and, for Graph, those of a form body too, because Graph reads
// both alike. An unknown call is no error: the Call says so. An error wraps
// ErrHostilePath, ErrAmbiguous or ErrSyntax and means that the request must not
// be sent whatever the policy says.
func Classify(p Name, method, escapedPath string, params url.Values) (Call, error) {
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodHead, http.MethodOptions:
	default:
		return Call{}, fmt.Errorf("%w: method is not a plain upper-case method", ErrHostilePath)
	}
	segments, err := splitPath(escapedPath)
	if err != nil {
		return Call{}, err
	}
	switch p {
	case X:
		return classifyX(method, segments, params)
	case Facebook, Instagram, Threads:
		return classifyGraph(p, method, segments, params)
	}
	return Call{}, ErrUnknownPlatform
}

// NormalizeCall returns the operation name for a call as a person writes it in
// the configuration: "GET /{page-id}/feed" becomes "GET /{id}/feed". A call that
// the platform does not have is an error with the nearest operations in it.
func NormalizeCall(p Name, call string) (string, error) {
	method, path, ok := strings.Cut(strings.TrimSpace(call), " ")
	path = strings.TrimSpace(path)
	if !ok || !strings.HasPrefix(path, "/") {
		return "", fmt.Errorf(`%w: write a call as "GET /path", not %q`, ErrUnknownOperation, call)
	}
	if strings.ContainsAny(path, "?#") {
		return "", fmt.Errorf("%w: %q has a query; declare the path alone", ErrUnknownOperation, call)
	}
	method = strings.ToUpper(method)
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	var operation string
	switch p {
	case X:
		operation = normalizeX(method, segments)
	case Facebook, Instagram, Threads:
		operation = normalizeGraph(p, method, segments)
	default:
		return "", ErrUnknownPlatform
	}
	if operation == "" {
		return "", fmt.Errorf("%w: %s has no %q%s", ErrUnknownOperation, p, call, suggest(p, method, path))
	}
	return operation, nil
}

// HeaderOverride returns the method that an override header asks for when it
// differs from the request's own. No platform is known to honour these headers;
// a request that carries one is not what it seems.
func HeaderOverride(method string, h http.Header) string {
	for _, name := range []string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override"} {
		for _, v := range h[name] {
			if v = strings.ToUpper(strings.TrimSpace(v)); v != method {
				return v
			}
		}
	}
	return ""
}

// unknown returns the Call for an operation that is not in the tables.
func unknown(method string) Call {
	return Call{Operation: method + " unknown", Method: method, Unknown: true, Write: method != http.MethodGet, Role: RoleAPI}
}
