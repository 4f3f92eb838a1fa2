package factor

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"strings"

	"gatehouse/internal/secret"
)

const (
	// RecoveryCodes is how many a person gets.
	RecoveryCodes = 10
	// recoverySize is a code's size in bytes. Eighty bits cannot be tried through, so
	// that a fast hash is enough.
	recoverySize = 10
	// recoveryLength is its length without hyphens.
	recoveryLength = recoverySize * 8 / 5
)

// Crockford's alphabet has no I, L, O and U: nothing to mix up.
var recoveryBase32 = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewRecoveryCodes returns new codes, to be shown once, such as
// 7k2m-9pqr-t0vw-x3yz. Each is used once in a person's life.
func NewRecoveryCodes() []secret.Text {
	codes := make([]secret.Text, RecoveryCodes)
	for i := range codes {
		b := make([]byte, recoverySize)
		_, _ = rand.Read(b) // never fails
		s := recoveryBase32.EncodeToString(b)
		codes[i] = secret.New(s[:4] + "-" + s[4:8] + "-" + s[8:12] + "-" + s[12:])
	}
	return codes
}

// RecoveryHash is what is stored of a recovery code.
type RecoveryHash [sha256.Size]byte

// HashRecovery returns the hash of what somebody typed as a recovery code of owner,
// or ErrWrong if it has not even the form of one. The owner's identifier is part of
// it, so that a code of one account has no hash of another. The store takes a code by
// deleting the row of this owner with this hash; if there is none, it is wrong.
func HashRecovery(owner string, code string) (RecoveryHash, error) {
	if len(code) > 4*recoveryLength {
		return RecoveryHash{}, ErrWrong
	}
	s := strings.Map(func(r rune) rune {
		// ASCII alone has capitals here: strings.ToLower makes a k of the sign for kelvin.
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		switch r {
		case '-', ' ', '\u00a0', '\t', '\r', '\n':
			return -1
		case 'o':
			return '0'
		case 'i', 'l':
			return '1'
		}
		return r
	}, code)
	raw, err := recoveryBase32.DecodeString(s)
	if err != nil || len(s) != recoveryLength {
		return RecoveryHash{}, ErrWrong
	}
	h := sha256.New()
	h.Write([]byte("gatehouse recovery code\x00"))
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(owner))))
	h.Write([]byte(owner))
	h.Write(raw)
	return RecoveryHash(h.Sum(nil)), nil
}
