// Package factor owns what a person proves themselves with: passwords, one-time
// codes of an authenticator app (TOTP), recovery codes and passkeys.
//
// It takes values and gives verdicts. It promises that a verdict depends on
// nothing but what it was given and the time, that whatever a browser sends is
// bounded before it is read, and that what it returns for storing shows no password
// and no recovery code. It keeps nothing: that a code's step, a recovery code, a
// ceremony's state is used once is the caller's to make sure of, in the same write
// that acts on the verdict. It must never decide whose factor something is, and
// never put what was presented into an error.
package factor

import (
	"errors"
	"fmt"

	"gatehouse"
)

// The verdicts that are not "yes". Each wraps a kind of the root package; none says
// more to who tries than that it did not work.
var (
	// ErrWrong means that what was presented does not prove anything: a wrong code,
	// an answer of another key, for another site or to another challenge.
	ErrWrong = fmt.Errorf("this does not prove who it is: %w", gatehouse.ErrDenied)
	// ErrUsed means that it was right, and was used before. To who tries it is as
	// wrong as any; whoever keeps the log may want to know.
	ErrUsed = fmt.Errorf("this was used before: %w", gatehouse.ErrDenied)
	// ErrCloned means that a passkey answered rightly, with a counter that went back:
	// two copies of its key are in use. The passkey must not be believed again.
	ErrCloned = fmt.Errorf("this passkey's counter went back, so that there may be two of it: %w", gatehouse.ErrDenied)
	// ErrExpired means that the ceremony took too long; beginning again helps.
	ErrExpired = fmt.Errorf("this took too long: %w", gatehouse.ErrDenied)
	// ErrBusy means that as many passwords are being hashed, and waited for, as there
	// is room for.
	ErrBusy = fmt.Errorf("too many passwords are being checked: %w", gatehouse.ErrLimited)
)

// errState is a ceremony's state that is not one of ours: the caller has mixed
// things up, or its store was changed.
var errState = errors.New("the state of this ceremony is not as it was made")
