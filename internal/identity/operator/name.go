package operator

import (
	"strings"

	"gatehouse"
	"gatehouse/internal/wire"

	"golang.org/x/text/unicode/norm"
)

// ErrName means that another account has the name: who decides about one of the two would
// take it for the other.
var ErrName = wire.Refuse(gatehouse.ErrConflict, "operator/name", "Another operator has this name. Add something by which you are told apart.")

// SameName reports whether two names look the same to whoever reads them quickly: letters
// of another size, another space between words, or another way to write an accent make no
// other name. Letters of other alphabets that look alike do.
func SameName(a, b string) bool { return strings.EqualFold(plainName(a), plainName(b)) }

func plainName(s string) string { return strings.Join(strings.Fields(norm.NFKC.String(s)), " ") }
