package x

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// problemBase is where the types of X's problems live. X's own replies mix this
// host with api.twitter.com; the newer document has api.x.com.
const problemBase = "https://api.x.com/2/problems/"

// problem is an error reply of API v2.
type problem struct {
	status int
	body   map[string]any
}

func (p *problem) Error() string { return fmt.Sprintf("%d %v", p.status, p.body["title"]) }

// plainProblem is the form that says nothing but the status, which X uses for
// 401, 404 and 429.
func plainProblem(status int, title string) *problem {
	return &problem{status, map[string]any{"title": title, "type": "about:blank", "status": status, "detail": title}}
}

// forbidden is a 403 with a reason in words.
func forbidden(detail string) *problem {
	return &problem{http.StatusForbidden, map[string]any{"title": "Forbidden", "type": "about:blank", "status": 403, "detail": detail}}
}

func unauthorized() *problem { return plainProblem(http.StatusUnauthorized, "Unauthorized") }

// invalidRequest is a 400 that names the parameter at fault.
func invalidRequest(parameter, value, message string) *problem {
	entry := map[string]any{"message": message}
	if parameter != "" {
		entry["parameters"] = map[string]any{parameter: []string{value}}
	}
	return &problem{http.StatusBadRequest, map[string]any{
		"errors": []any{entry},
		"title":  "Invalid Request",
		"detail": "One or more parameters to your request was invalid.",
		"type":   problemBase + "invalid-request",
	}}
}

// missingParameter is what X says when a required parameter is absent.
func missingParameter(name string) *problem {
	return invalidRequest(name, "", fmt.Sprintf("The `%s` query parameter can not be empty", name))
}

// resourceProblem is one entry of the errors that stand beside data.
func resourceProblem(kind, parameter, value string) map[string]any {
	return map[string]any{
		"value":         value,
		"detail":        fmt.Sprintf("Could not find %s with %s: [%s].", kind, parameter, value),
		"title":         "Not Found Error",
		"resource_type": kind,
		"parameter":     parameter,
		"resource_id":   value,
		"type":          problemBase + "resource-not-found",
	}
}

// notFound is the reply to a lookup of one thing that does not exist: X sends
// 200 with errors and no data.
type notFound struct{ entry map[string]any }

func (n *notFound) Error() string { return fmt.Sprint(n.entry["detail"]) }

func missing(kind, parameter, value string) *notFound {
	return &notFound{resourceProblem(kind, parameter, value)}
}

// legacyError is an error of the older interfaces (OAuth 1.0a, app-only, 1.1).
type legacyError struct {
	status  int
	code    int
	message string
	label   string
}

func (e *legacyError) Error() string { return fmt.Sprintf("%d: %s", e.code, e.message) }

// The older errors by their code.
var (
	errCouldNotAuthenticate = &legacyError{status: 401, code: 32, message: "Could not authenticate you."}
	errSuspended            = &legacyError{status: 403, code: 64, message: "Your account is suspended and is not permitted to access this feature."}
	errInvalidToken         = &legacyError{status: 401, code: 89, message: "Invalid or expired token."}
	errUnableToVerify       = &legacyError{status: 403, code: 99, message: "Unable to verify your credentials", label: "authenticity_token_error"}
	errTimestamp            = &legacyError{status: 401, code: 135, message: "Timestamp out of bounds."}
	errBadAuthData          = &legacyError{status: 400, code: 215, message: "Bad Authentication data."}
	errNotAllowed           = &legacyError{status: 403, code: 220, message: "Your credentials do not allow access to this resource."}
	errCallback             = &legacyError{status: 403, code: 415, message: "Callback URL not approved for this client application. Approved callback URLs can be adjusted in your application settings"}
	errLegacyDuplicate      = &legacyError{status: 403, code: 187, message: "Status is a duplicate."}
)

// oauthError is an error of the OAuth 2.0 endpoints.
type oauthError struct {
	status      int
	code        string
	description string
}

func (e *oauthError) Error() string { return e.code + ": " + e.description }

func missingOAuthParameter(name string) *oauthError {
	return &oauthError{http.StatusBadRequest, "invalid_request", "Missing required parameter [" + name + "]."}
}

func invalidOAuthValue(what string) *oauthError {
	return &oauthError{http.StatusBadRequest, "invalid_request", "Value passed for the " + what + " was invalid."}
}

// encode renders a value as X does: no HTML escaping, no trailing newline.
func encode(value any) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		// Replies are built from maps, strings and numbers only.
		panic(fmt.Sprintf("encoding a reply: %v", err))
	}
	return bytes.TrimRight(out.Bytes(), "\n")
}

// send writes a reply.
func send(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

const (
	jsonType    = "application/json; charset=utf-8"
	problemType = "application/problem+json"
)

// sendError writes an error in the form of the interface that it belongs to.
func sendError(w http.ResponseWriter, err error) {
	var (
		p *problem
		n *notFound
		l *legacyError
		o *oauthError
	)
	switch {
	case errors.As(err, &p):
		send(w, p.status, problemType, encode(p.body))
	case errors.As(err, &n):
		send(w, http.StatusOK, jsonType, encode(map[string]any{"errors": []any{n.entry}}))
	case errors.As(err, &l):
		entry := map[string]any{"code": l.code, "message": l.message}
		if l.label != "" {
			entry["label"] = l.label
		}
		if l.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `OAuth realm="https://api.x.com"`)
		}
		send(w, l.status, jsonType, encode(map[string]any{"errors": []any{entry}}))
	case errors.As(err, &o):
		send(w, o.status, jsonType, encode(map[string]any{"error": o.code, "error_description": o.description}))
	case errors.Is(err, errTooLarge):
		send(w, http.StatusRequestEntityTooLarge, problemType, encode(plainProblem(http.StatusRequestEntityTooLarge, "Payload Too Large").body))
	default:
		send(w, http.StatusInternalServerError, problemType, encode(map[string]any{
			"title": "Internal Server Error", "type": problemBase + "internal-error", "status": 500, "detail": err.Error(),
		}))
	}
}
