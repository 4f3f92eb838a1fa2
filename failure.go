package gatehouse

import "errors"

// The kinds of failure. An error that a caller may act on wraps exactly one of
// them; an error that wraps none is a bug or a broken dependency and is shown
// as "internal" (the text stays in our own log). Kinds become HTTP statuses in
// one place, package wire, and are made from driver codes in one place, package
// store.
var (
	// ErrInvalid means that the input is wrong; the caller must change it.
	ErrInvalid = errors.New("invalid")
	// ErrDenied means that the caller is known or unknown and may not do this.
	ErrDenied = errors.New("denied")
	// ErrNotFound means that the named thing does not exist for this caller.
	ErrNotFound = errors.New("not found")
	// ErrConflict means that somebody else changed the thing first, or that it
	// is in a state that does not allow this.
	ErrConflict = errors.New("conflict")
	// ErrLimited means that the caller asked too often or for too much.
	ErrLimited = errors.New("limited")
	// ErrUnavailable means that something Gatehouse needs does not answer;
	// trying again later may help.
	ErrUnavailable = errors.New("unavailable")
)

// Kind returns the kind of err, or nil when it has none.
func Kind(err error) error {
	for _, kind := range []error{ErrInvalid, ErrDenied, ErrNotFound, ErrConflict, ErrLimited, ErrUnavailable} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return nil
}
