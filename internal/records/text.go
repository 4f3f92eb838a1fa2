package records

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"gatehouse/internal/vault"
)

// A sealed text is this prefix and, in base64 for URLs without padding, what the
// vault sealed. The prefix has the form of no vendor's credential, so that
// scanners for secrets pass over it, and names the version of the form.
//
// The text does not say whose it is: who opens it names the person. So somebody
// who steals the app's database cannot see which texts belong together.
const textPrefix = "gth_sealed_1_"

// Every sealed datum begins with when it was sealed and when it ends (0: never),
// in UTC microseconds, 8 bytes big endian each. They stand inside, where they are
// authentic and tell a thief nothing.
const stampSize = 16

// maxText is the longest text that can be one of ours.
var maxText = len(textPrefix) + base64.RawURLEncoding.EncodedLen(vault.SealedSize(stampSize+MaxValue))

// strict refuses what would make two texts of one: non-zero bits behind the end.
var strict = base64.RawURLEncoding.Strict()

var errText = invalid("records/text", "A sealed text begins with "+textPrefix+" and is given back whole, as it came.")

// formatText writes a sealed text.
func formatText(sealed []byte) []byte {
	text := make([]byte, 0, len(textPrefix)+strict.EncodedLen(len(sealed)))
	return strict.AppendEncode(append(text, textPrefix...), sealed)
}

// parseText reads a sealed text. What it accepts formatText writes in the same
// letters.
func parseText(text []byte) ([]byte, error) {
	rest, ok := strings.CutPrefix(string(text), textPrefix)
	// The decoder passes over line ends; two texts would mean the same.
	if !ok || len(text) > maxText || strings.ContainsAny(rest, "\r\n") {
		return nil, errText
	}
	sealed, err := strict.DecodeString(rest)
	if err != nil || len(sealed) < vault.SealedSize(stampSize) {
		return nil, errText
	}
	return sealed, nil
}

func appendStamp(dst []byte, sealed, expires time.Time) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(sealed.UnixMicro()))
	var end int64
	if !expires.IsZero() {
		end = expires.UnixMicro()
	}
	return binary.BigEndian.AppendUint64(dst, uint64(end))
}

// cutStamp splits what was opened. keep is how long the purpose keeps data now: a
// configuration that became stricter counts for what was sealed before, too.
func cutStamp(plaintext []byte, keep time.Duration, now time.Time) ([]byte, error) {
	if len(plaintext) < stampSize {
		return nil, errUnreadable
	}
	sealed := time.UnixMicro(int64(binary.BigEndian.Uint64(plaintext)))
	end := int64(binary.BigEndian.Uint64(plaintext[8:]))
	if end != 0 && !now.Before(time.UnixMicro(end)) || keep > 0 && !now.Before(sealed.Add(keep)) {
		clear(plaintext)
		return nil, errExpired
	}
	return plaintext[stampSize:], nil
}
