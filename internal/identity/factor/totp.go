package factor

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // HMAC-SHA-1 is what RFC 6238 and every authenticator app use
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"gatehouse/internal/secret"
)

const (
	// TOTPStep is how long a code is shown.
	TOTPStep = 30 * time.Second
	// totpSkew is how many steps a code may be early or late.
	totpSkew = 1
	// totpDigits is how many digits a code has.
	totpDigits = 6
	// totpSize is the size of a secret in bytes: RFC 4226 recommends 160 bits.
	totpSize = 20
	// maxCode bounds what is read as a code, in bytes: digits with some spaces.
	maxCode = 32
)

var totpBase32 = base32.StdEncoding.WithPadding(base32.NoPadding)

// NewTOTP returns a new secret for an authenticator app, in base32 as a person
// types it. It must be stored sealed: unlike a password it is needed in plain.
func NewTOTP() secret.Text {
	b := make([]byte, totpSize)
	_, _ = rand.Read(b) // never fails
	return secret.New(totpBase32.EncodeToString(b))
}

// TOTPURI returns the otpauth URI that authenticator apps read from a QR code. The
// issuer and the account's name are what the app shows.
func TOTPURI(issuer, account string, key secret.Text) secret.Text {
	label := url.PathEscape(strings.ReplaceAll(issuer, ":", " ")) + ":" + url.PathEscape(strings.ReplaceAll(account, ":", " "))
	// Apps take + for itself, so that url.Values.Encode would not do.
	return secret.New(fmt.Sprintf("otpauth://totp/%s?secret=%s&issuer=%s&algorithm=SHA1&digits=%d&period=%d",
		label, key.Reveal(), url.PathEscape(strings.ReplaceAll(issuer, ":", " ")), totpDigits, int(TOTPStep/time.Second)))
}

// CheckTOTP reports whether code is the one of a secret at a time, give or take one
// step. It returns the code's step, which counts 30 seconds since 1970.
//
// last is the step of the code that was taken before, zero for none: that code and
// older ones are ErrUsed (RFC 6238, 5.2). The caller takes a code by storing its
// step in place of last, in one compare-and-swap that demands a smaller one, before
// it acts on it; two requests with one code get the same step from here. Every
// other error is ErrWrong, or a stored secret that is none.
func CheckTOTP(key secret.Text, code string, at time.Time, last int64) (step int64, err error) {
	raw, err := totpBase32.DecodeString(key.Reveal())
	if err != nil || len(raw) < 16 {
		return 0, errors.New("a stored TOTP secret is not base32 of at least 16 bytes")
	}
	digits, ok := totpCode(code)
	if !ok {
		return 0, ErrWrong
	}
	now := at.Unix() / int64(TOTPStep/time.Second)
	// All steps are computed, whichever matches: the time says nothing.
	matched := int64(-1)
	for s := now - totpSkew; s <= now+totpSkew; s++ {
		if subtle.ConstantTimeCompare([]byte(totp(raw, s)), []byte(digits)) == 1 {
			matched = s
		}
	}
	switch {
	case matched < 0:
		return 0, ErrWrong
	case matched <= last:
		return matched, ErrUsed
	}
	return matched, nil
}

// totpCode returns the digits of what somebody typed.
func totpCode(s string) (string, bool) {
	if len(s) > maxCode {
		return "", false
	}
	s = strings.Map(func(r rune) rune {
		if r == ' ' || r == '\u00a0' || r == '-' || r == '\t' || r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, s)
	if len(s) != totpDigits || strings.Trim(s, "0123456789") != "" {
		return "", false
	}
	return s, true
}

// totp is RFC 4226's HOTP of a step.
func totp(key []byte, step int64) string {
	mac := hmac.New(sha1.New, key)
	_ = binary.Write(mac, binary.BigEndian, step) // a hash does not fail
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 0x0f
	return fmt.Sprintf("%0*d", totpDigits, binary.BigEndian.Uint32(sum[at:])&0x7fffffff%1_000_000)
}
