package identity

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"math/big"
	"strings"

	"gatehouse/internal/secret"
)

// Kind says which of our forms a string has.
type Kind int

// The forms.
const (
	None       Kind = iota // not one of ours, or damaged
	HandleForm             // gth_hnd_…
	KeyForm                // gth_svc_…
)

// A form is prefix, identifier, "_", secret, checksum; the last three in base62
// and of fixed length, so that a cut or mistyped one is recognised without
// asking the store, and so that secret scanners can find one with few false
// alarms.
const (
	handlePrefix = "gth_hnd_"
	keyPrefix    = "gth_svc_"

	idLength     = 22 // 128 bits
	secretLength = 43 // 256 bits
	crcLength    = 6

	formLength = len(handlePrefix) + idLength + 1 + secretLength + crcLength
)

// FormLength is the length of every one of our forms in bytes: whoever looks for
// them in what arrives in pieces has to keep one byte less of each.
const FormLength = formLength

// formStart is how each of them begins.
const formStart = "gth_"

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Looks says which form s has, from its characters and checksum alone. It says
// nothing about whether such a thing exists.
func Looks(s string) Kind {
	kind, _ := parse(s)
	return kind
}

// Resembles reports whether s claims to be one of our forms, though perhaps a
// damaged one: such a string must never be passed on to anyone.
func Resembles(s string) bool {
	return strings.HasPrefix(s, handlePrefix) || strings.HasPrefix(s, keyPrefix)
}

// Found is one of our forms in a larger text.
type Found struct {
	Kind Kind
	At   int // index of its first byte
}

// FindForms returns the handles and keys in b, whatever stands around them. Like
// [Looks] it goes by characters and checksum alone, so that no list of what was
// given out is needed to recognise one; whether it exists is another question.
// Escaped or encoded text has to be decoded first.
func FindForms(b []byte) []Found {
	var found []Found
	for at := 0; ; {
		n := bytes.Index(b[at:], []byte(formStart))
		if n < 0 || len(b)-at-n < formLength {
			return found
		}
		at += n
		if kind, _ := parse(string(b[at : at+formLength])); kind != None {
			found = append(found, Found{kind, at})
			at += formLength
		} else {
			at++
		}
	}
}

// parse returns the form of s and the identifier in it.
func parse(s string) (Kind, string) {
	if len(s) != formLength {
		return None, ""
	}
	var kind Kind
	switch s[:len(handlePrefix)] {
	case handlePrefix:
		kind = HandleForm
	case keyPrefix:
		kind = KeyForm
	default:
		return None, ""
	}
	id, rest := s[len(handlePrefix):len(handlePrefix)+idLength], s[len(handlePrefix)+idLength:]
	if rest[0] != '_' || !isBase62(id) || !isDigit(id[idLength-1]) || !isBase62(rest[1:]) {
		return None, ""
	}
	if body := s[:formLength-crcLength]; s[formLength-crcLength:] != checksum(body) {
		return None, ""
	}
	return kind, id
}

func isBase62(s string) bool {
	for _, c := range []byte(s) {
		if !('0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z') {
			return false
		}
	}
	return true
}

// compose returns the form with the given identifier and secret part.
func compose(prefix, id, secretPart string) secret.Text {
	body := prefix + id + "_" + secretPart
	return secret.New(body + checksum(body))
}

// checksum is the CRC-32 of body in six characters of base62. It finds damage;
// it protects nothing.
func checksum(body string) string {
	n := crc32.ChecksumIEEE([]byte(body))
	var digits [crcLength]byte
	for i := crcLength - 1; i >= 0; i-- {
		digits[i] = base62[n%62]
		n /= 62
	}
	return string(digits[:])
}

// randomBase62 returns n random characters. Bytes that would make some
// characters likelier than others are drawn again.
func randomBase62(n int) string {
	out := make([]byte, 0, n)
	var batch [64]byte
	for len(out) < n {
		_, _ = rand.Read(batch[:]) // never fails: the runtime ends the program instead
		for _, b := range batch {
			if b < 4*62 && len(out) < n {
				out = append(out, base62[b%62])
			}
		}
	}
	clear(batch[:])
	return string(out)
}

// newID returns a random identifier. Its last character is a digit: one that
// ended in "ghs" or "npm" would, with the "_" behind it, look like the beginning
// of another vendor's token.
func newID() string {
	for {
		if id := randomBase62(idLength); isDigit(id[idLength-1]) {
			return id
		}
	}
}

// derivedID makes an identifier of 16 bytes or more that look random.
func derivedID(b []byte) string {
	return encodeBase62(b[:15], idLength-1) + string(base62[b[15]%10])
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// encodeBase62 writes b, as one number, in exactly n characters, zeros first.
// n characters must be able to hold len(b) bytes.
func encodeBase62(b []byte, n int) string {
	number, base, digit := new(big.Int).SetBytes(b), big.NewInt(62), new(big.Int)
	out := make([]byte, n)
	for i := n - 1; i >= 0; i-- {
		number.DivMod(number, base, digit)
		out[i] = base62[digit.Int64()]
	}
	return string(out)
}

// hashParts hashes parts with their lengths, so that no two lists of parts have
// the same input.
func hashParts(parts ...string) Hash {
	hash := sha256.New()
	var length [8]byte
	for _, part := range parts {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		hash.Write(length[:])
		hash.Write([]byte(part))
	}
	return Hash(hash.Sum(nil))
}
