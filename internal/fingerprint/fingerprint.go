// Package fingerprint recognises values that it has seen before, without keeping
// them: it owns the keyed fingerprints of identifying values and secrets, the
// bounded index of them, and the search for them in what passes by, through the
// encodings in which programs write them.
//
// It promises that a value never comes out of it, that its memory is bounded
// whatever it is told and shown, and that how the bytes are cut into pieces never
// changes what is found.
//
// It must never do I/O, read the clock, or decide what follows from a hit.
package fingerprint

import (
	"time"

	"gatehouse"
)

// Key makes the fingerprints. Whoever does not have it learns nothing from them,
// save that two of them are the same.
type Key [16]byte

// Value is something to be recognised.
type Value struct {
	Class gatehouse.DataClass
	// Text is as the platform wrote it, without the encoding of the reply.
	Text string
}

// Owner is the number by which the caller knows whose value it is. Zero is
// nobody's: a secret of the app or of Gatehouse itself.
type Owner uint32

// Print is the fingerprint of one value in its normal form, 64 bits, encrypted. It
// says nothing to whoever does not have the Key, save whether two are the same.
type Print [16]byte

// Entry is what the index holds of one value of one owner.
type Entry struct {
	Print Print
	Owner Owner
	Class gatehouse.DataClass
	// Entered says that the owner is no person of their own, or not known to be: what
	// somebody entered in a form, which one can fill in many times.
	Entered bool
	// Expires is when it may be forgotten; hours count.
	Expires time.Time
}

// Hit is a value that was recognised, at one place.
type Hit struct {
	Class gatehouse.DataClass
	Print Print
	// Owners are whose it may be. More than one means that it is ambiguous: nobody
	// may choose among them. None means a secret of nobody's.
	Owners []Owner
	// Shared is set when more people have the value than the index lists; Owners is
	// empty then.
	Shared bool
	// Form is how it was written: "plain", "json", "percent+json", "base64", "percent in
	// base64". What had to be undone last to read it stands first; escapes that were
	// put around one another are named in no order.
	Form string
	// From and To are where it stands among the bytes that were written to the
	// search, or in the text that was given to it: To is the first byte behind it.
	From, To int64
}

// classes are the kinds of data by the numbers that the index keeps.
var classes = [...]gatehouse.DataClass{
	gatehouse.PseudonymousID, gatehouse.Username, gatehouse.PersonName, gatehouse.EmailAddress, gatehouse.PhoneNumber,
	gatehouse.ProfileLink, gatehouse.PostID, gatehouse.MessageID, gatehouse.Credential,
}

// Numbers of kinds of data, as in classes.
const (
	classID = iota
	classUsername
	className
	classEmail
	classPhone
	classLink
	classPost
	classMessage
	classSecret
)

// classNumber returns the number of a kind of data.
func classNumber(c gatehouse.DataClass) (uint8, bool) {
	for i, known := range classes {
		if c == known {
			return uint8(i), true
		}
	}
	return 0, false
}
