// Package secret holds credentials in a form that cannot be printed, logged,
// serialised or compared in variable time by accident.
//
// It promises that no formatting verb, encoder, template or logger shows the
// value of a [Text], in whatever struct, pointer, slice or map it stands. It
// must never gain a method that returns the value other than [Text.Reveal],
// whose callers are listed in the repository's sinks test.
package secret

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
)

// redacted is what every sink shows.
const redacted = "[secret]"

// ErrSerialised is returned by every marshalling method: a secret in a
// serialised struct is a mistake that must be seen, not a value to be masked.
var ErrSerialised = errors.New("a secret must not be serialised")

// Text is a credential. The zero value is the empty secret.
//
// It is a struct around a function, because package fmt reads unexported string
// fields by reflection without asking their methods, and cannot look inside a
// closure. The same makes Text incomparable: == does not compile, so that
// [Text.Equal] must be used.
type Text struct {
	reveal func() string
}

// New returns a Text that holds s.
func New(s string) Text {
	if s == "" {
		return Text{}
	}
	return Text{reveal: func() string { return s }}
}

// Reveal returns the credential. Only the packages listed in the sinks test may
// call it.
func (t Text) Reveal() string {
	if t.reveal == nil {
		return ""
	}
	return t.reveal()
}

// IsZero reports whether t is the empty secret.
func (t Text) IsZero() bool { return t.reveal == nil }

// Equal reports whether both hold the same credential, in time that depends on
// neither value. (The hashes hide the lengths too.)
func (t Text) Equal(o Text) bool {
	a, b := sha256.Sum256([]byte(t.Reveal())), sha256.Sum256([]byte(o.Reveal()))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// String implements fmt.Stringer and shows nothing.
func (t Text) String() string { return redacted }

// GoString implements fmt.GoStringer and shows nothing.
func (t Text) GoString() string { return redacted }

// Format implements fmt.Formatter and shows nothing, whatever the verb.
func (t Text) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue implements slog.LogValuer and shows nothing.
func (t Text) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON refuses.
func (t Text) MarshalJSON() ([]byte, error) { return nil, ErrSerialised }

// MarshalText refuses; it also covers XML, YAML and map keys.
func (t Text) MarshalText() ([]byte, error) { return nil, ErrSerialised }

// MarshalBinary refuses; it also covers gob.
func (t Text) MarshalBinary() ([]byte, error) { return nil, ErrSerialised }
