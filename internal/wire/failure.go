package wire

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gatehouse"
)

// failure adds to an error what the caller of a listener may learn. Several may
// stand in one chain (a refusal, then the log entry it got); the outermost one
// that knows a thing wins.
type failure struct {
	err      error
	status   int           // 0: the status of the kind
	rule     string        // stable identifier, "" when none
	detail   string        // what the caller may read, "" when nothing
	instance string        // identifier of the log entry
	retry    time.Duration // when asking again makes sense, 0 when unknown
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// refusal is the innermost error of what we refuse ourselves.
type refusal struct {
	kind         error
	rule, detail string
	cause        error
}

func (r *refusal) Error() string {
	text := r.rule + ": " + r.detail
	if r.cause != nil {
		text += ": " + r.cause.Error()
	}
	return text
}

func (r *refusal) Unwrap() []error {
	if r.cause == nil {
		return []error{r.kind}
	}
	return []error{r.kind, r.cause}
}

// Public returns err with a text that the caller may read. The text of err
// itself goes to our own log only.
func Public(err error, text string) error {
	if err == nil {
		return nil
	}
	return &failure{err: err, detail: text}
}

// Refuse returns a refusal: kind is one of the kinds of failure of the root
// package, rule a stable identifier such as "refuse/unknown-operation", detail
// what a developer should do about it. Both are shown to the caller, so neither
// may repeat anything that could be a credential.
func Refuse(kind error, rule, detail string) error {
	return &failure{err: &refusal{kind: kind, rule: rule, detail: detail}, rule: rule, detail: detail}
}

// Unauthenticated is a refusal of someone who is not known: status 401.
func Unauthenticated(rule, detail string) error {
	return WithStatus(Refuse(gatehouse.ErrDenied, rule, detail), http.StatusUnauthorized)
}

// BadGateway says that the platform answered in a way that cannot be used, or
// not at all: status 502. The text of cause is logged, never shown.
func BadGateway(rule, detail string, cause error) error {
	return upstream(http.StatusBadGateway, rule, detail, cause)
}

// GatewayTimeout says that the platform did not answer in time: status 504. The
// text of cause is logged, never shown.
func GatewayTimeout(rule, detail string, cause error) error {
	return upstream(http.StatusGatewayTimeout, rule, detail, cause)
}

func upstream(status int, rule, detail string, cause error) error {
	return &failure{
		err:    &refusal{kind: gatehouse.ErrUnavailable, rule: rule, detail: detail, cause: cause},
		status: status, rule: rule, detail: detail,
	}
}

// WithStatus returns err with an HTTP status that says more than its kind does,
// such as 405, 413 or 415.
func WithStatus(err error, status int) error {
	if err == nil {
		return nil
	}
	return &failure{err: err, status: status}
}

// WithInstance returns err with the identifier of the log entry that records
// it; the caller gets it as the problem's instance.
func WithInstance(err error, id string) error {
	if err == nil || id == "" {
		return err
	}
	return &failure{err: err, instance: id}
}

// WithRetryAfter returns err with the time after which asking again makes
// sense; the caller gets it as the Retry-After header.
func WithRetryAfter(err error, after time.Duration) error {
	if err == nil || after <= 0 {
		return err
	}
	return &failure{err: err, retry: after}
}

// facts is everything the failures in a chain say together.
func facts(err error) failure {
	var all failure
	for err != nil {
		var f *failure
		if !errors.As(err, &f) {
			return all
		}
		if all.status == 0 {
			all.status = f.status
		}
		if all.rule == "" {
			all.rule = f.rule
		}
		if all.detail == "" {
			all.detail = f.detail
		}
		if all.instance == "" {
			all.instance = f.instance
		}
		if all.retry == 0 {
			all.retry = f.retry
		}
		err = f.err
	}
	return all
}

// RuleOf returns the rule id of a refusal, or "" when err is none.
func RuleOf(err error) string { return facts(err).rule }

// statusClientGone is what the access log shows when the caller hung up: nobody
// reads a status then. (The number is the one that nginx made common.)
const statusClientGone = 499

// StatusOf returns the HTTP status of err: the one it carries, else the one of
// its kind, else 500. It is the only place where kinds become statuses.
func StatusOf(err error) int {
	if err == nil {
		return http.StatusOK
	}
	if f := facts(err); f.status != 0 {
		return f.status
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return http.StatusRequestEntityTooLarge
	}
	switch gatehouse.Kind(err) {
	case gatehouse.ErrInvalid: //nolint:errorlint // Kind returns one of the kinds themselves
		return http.StatusBadRequest
	case gatehouse.ErrDenied:
		return http.StatusForbidden
	case gatehouse.ErrNotFound:
		return http.StatusNotFound
	case gatehouse.ErrConflict:
		return http.StatusConflict
	case gatehouse.ErrLimited:
		return http.StatusTooManyRequests
	case gatehouse.ErrUnavailable:
		return http.StatusServiceUnavailable
	}
	switch {
	case errors.Is(err, context.Canceled):
		return statusClientGone
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// LogText returns the text of err for our own log, bounded and without the
// address that package net/http puts into its errors: a platform's token may
// stand in its query.
func LogText(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	var u *url.Error
	for e := err; errors.As(e, &u); e = u.Err {
		if u.URL != "" {
			text = strings.ReplaceAll(text, strconv.Quote(u.URL), "[address]")
			text = strings.ReplaceAll(text, u.URL, "[address]")
		}
	}
	if len(text) > maxLogText {
		text = strings.ToValidUTF8(text[:maxLogText], "") + "…"
	}
	return text
}

const maxLogText = 1000
