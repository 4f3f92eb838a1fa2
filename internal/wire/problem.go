package wire

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
)

// Problem is an error as a caller sees it: application/problem+json (RFC 9457).
type Problem struct {
	// Type is "urn:gatehouse:problem:" and the rule, or "about:blank".
	Type string `json:"type"`
	// Title is the same for every occurrence of a status.
	Title string `json:"title"`
	// Status is the HTTP status.
	Status int `json:"status"`
	// Detail says what to do about this occurrence.
	Detail string `json:"detail,omitempty"`
	// Rule is the stable identifier of what refused.
	Rule string `json:"rule,omitempty"`
	// Instance finds the entry in the log: `gatehouse audit show --id`.
	Instance string `json:"instance,omitempty"`
}

var titles = map[int]string{
	http.StatusBadRequest:            "The request is not valid",
	http.StatusUnauthorized:          "Authentication is needed",
	http.StatusForbidden:             "This is not allowed",
	http.StatusProxyAuthRequired:     "Authentication is needed",
	http.StatusNotFound:              "There is no such thing",
	http.StatusMethodNotAllowed:      "This method is not offered here",
	http.StatusConflict:              "The state does not allow this",
	http.StatusRequestEntityTooLarge: "The request is too large",
	http.StatusUnsupportedMediaType:  "This content type is not accepted",
	http.StatusTooManyRequests:       "Too many requests",
	http.StatusInternalServerError:   "Internal error",
	http.StatusBadGateway:            "The other side's answer cannot be used",
	http.StatusServiceUnavailable:    "Not available at the moment",
	http.StatusGatewayTimeout:        "The other side did not answer in time",
}

// ProblemOf returns what a caller may see of err. The text of an error that
// nobody declared public stays out of it.
func ProblemOf(err error) Problem {
	f, status := facts(err), StatusOf(err)
	title := titles[status]
	if title == "" {
		title = http.StatusText(status)
	}
	p := Problem{Type: "about:blank", Title: title, Status: status, Detail: f.detail, Rule: f.rule, Instance: f.instance}
	if p.Rule != "" {
		p.Type = "urn:gatehouse:problem:" + p.Rule
	}
	var tooLarge *http.MaxBytesError
	if p.Detail == "" && errors.As(err, &tooLarge) {
		p.Detail = "The body is larger than " + strconv.FormatInt(tooLarge.Limit, 10) + " bytes."
	}
	return p
}

// writeProblem renders err as the reply.
func writeProblem(w http.ResponseWriter, r *http.Request, err error) {
	p := ProblemOf(err)
	h := w.Header()
	// What a handler prepared for a success must not stand on a refusal.
	for _, name := range []string{"Content-Length", "Content-Encoding", "Etag", "Last-Modified", "Cache-Control", "Set-Cookie", "Location"} {
		h.Del(name)
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if p.Status == http.StatusUnauthorized && h.Get("Www-Authenticate") == "" {
		h.Set("Www-Authenticate", `Bearer realm="gatehouse"`)
	}
	if after := facts(err).retry; after > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	}
	body, merr := json.Marshal(p)
	if merr != nil {
		panic("a problem of strings and an int did not marshal: " + merr.Error())
	}
	body = append(body, '\n')
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		// The caller may be gone; there is nobody left to tell.
		_, _ = w.Write(body)
	}
}
