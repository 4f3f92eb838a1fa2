package factor

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/internal/secret"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

const (
	// MinPassword is the least number of characters of a password.
	MinPassword = 12
	// MaxPassword is the greatest size of a password in bytes.
	MaxPassword = 512

	// The parameters of new hashes: the OWASP Password Storage Cheat Sheet's first
	// choice for argon2id, 46 MiB, one pass, one lane.
	hashMemory = 47104 // KiB
	hashTime   = 1
	hashLanes  = 1
	saltSize   = 16
	keySize    = 32

	// What a stored hash may ask for. It comes from our own database; the bounds keep
	// a changed row from taking the machine.
	maxMemory = 1 << 18 // KiB
	maxTime   = 10
	maxLanes  = 4

	// DefaultHashes is how many passwords are hashed at once, each with 46 MiB.
	DefaultHashes = 2
	// waiting is how many more may wait for their turn, for each that is hashed.
	waiting = 16
)

// PasswordHash is a password's argon2id hash as a PHC string. It is stored as it
// is; it proves nothing to who presents it.
type PasswordHash string

// PasswordConfig is what NewPasswords needs.
type PasswordConfig struct {
	// Hashes is how many passwords are hashed at the same time, in the whole process
	// if all of it shares one Passwords. Zero means DefaultHashes.
	Hashes int
	// Breached are passwords that are known to others. Nil means that no list is
	// asked.
	Breached *Breached
}

// Passwords hashes and checks passwords. It is safe for concurrent use. A process
// needs one, since what it bounds is the process's memory.
type Passwords struct {
	turns chan struct{} // holds one for each hash that is running
	// strangers holds one for each of those that is not of somebody who is known: with
	// two turns or more, one is never theirs.
	strangers chan struct{}
	queue     chan struct{} // holds one for each of a stranger that is running or waits
	kept      chan struct{} // queue of who is known
	breached  *Breached
}

// NewPasswords returns what hashes passwords.
func NewPasswords(c PasswordConfig) (*Passwords, error) {
	if c.Hashes < 0 || c.Hashes > 64 {
		return nil, errors.New("factor: PasswordConfig.Hashes is not between 0 and 64")
	}
	if c.Hashes == 0 {
		c.Hashes = DefaultHashes
	}
	return &Passwords{
		turns: make(chan struct{}, c.Hashes), strangers: make(chan struct{}, max(1, c.Hashes-1)),
		queue: make(chan struct{}, c.Hashes*(1+waiting)), kept: make(chan struct{}, c.Hashes*(1+waiting)), breached: c.Breached,
	}, nil
}

// A PasswordError says why a password may not be set. It is of kind
// gatehouse.ErrInvalid and never holds the password.
type PasswordError struct {
	// Reason completes "this password …".
	Reason string
}

// Error implements error.
func (e *PasswordError) Error() string { return "this password " + e.Reason }

// Unwrap makes it gatehouse.ErrInvalid.
func (e *PasswordError) Unwrap() error { return gatehouse.ErrInvalid }

// Acceptable reports why a password may not be set: a *PasswordError, or another
// error if the list of known passwords cannot be read (then it may not be set
// either). There are no rules about kinds of characters: length and the list do more.
func (p *Passwords) Acceptable(password secret.Text) error {
	s, err := normal(password)
	if err != nil {
		return err
	}
	first, _ := utf8.DecodeRuneInString(s)
	switch {
	case utf8.RuneCountInString(s) < MinPassword:
		return &PasswordError{fmt.Sprintf("is too short: it needs at least %d characters", MinPassword)}
	case strings.Trim(s, string(first)) == "":
		return &PasswordError{"is one character again and again"}
	}
	if p.breached == nil {
		return nil
	}
	known, err := p.breached.Holds(s)
	if err != nil {
		return fmt.Errorf("looking in the list of known passwords: %w", err)
	}
	if known {
		return &PasswordError{"is in a list of passwords that others know; choose another"}
	}
	return nil
}

// Hash returns the hash of a password that may be set; see [Passwords.Acceptable]
// for the errors. ErrBusy and the context's error mean that it was not hashed.
func (p *Passwords) Hash(ctx context.Context, password secret.Text) (PasswordHash, error) {
	if err := p.Acceptable(password); err != nil {
		return "", err
	}
	s, err := normal(password)
	if err != nil {
		return "", err
	}
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails
	h := phc{memory: hashMemory, time: hashTime, lanes: hashLanes, salt: salt}
	if h.key, err = p.derive(ctx, h, keySize, s); err != nil {
		return "", err
	}
	return PasswordHash(h.String()), nil
}

// Verify reports whether the password is that of the hash: nil, or ErrWrong. With
// stale, the hash was made with weaker parameters than new ones are, and should be
// replaced now, while the password is at hand.
func (p *Passwords) Verify(ctx context.Context, hash PasswordHash, password secret.Text) (stale bool, err error) {
	h, err := parsePHC(string(hash))
	if err != nil {
		return false, err
	}
	s, err := normal(password)
	if err != nil {
		// Nobody has such a password. It takes as long as any other all the same.
		s = ""
	}
	key, derr := p.derive(ctx, h, len(h.key), s)
	switch {
	case derr != nil:
		return false, derr
	case err != nil || subtle.ConstantTimeCompare(key, h.key) != 1:
		return false, ErrWrong
	}
	return h.memory < hashMemory || h.time < hashTime || len(h.key) < keySize, nil
}

// Waste takes as long as Verify does and returns ErrWrong: what to do with the
// password of an account that does not exist or has none, so that the time does not
// tell.
func (p *Passwords) Waste(ctx context.Context, password secret.Text) error {
	s, err := normal(password)
	if err != nil {
		s = ""
	}
	if _, err := p.derive(ctx, phc{memory: hashMemory, time: hashTime, lanes: hashLanes, salt: make([]byte, saltSize)}, keySize, s); err != nil {
		return err
	}
	return ErrWrong
}

// derive waits for a turn and hashes.
func (p *Passwords) derive(ctx context.Context, h phc, size int, password string) ([]byte, error) {
	queue, takes := p.queue, []chan struct{}{p.strangers, p.turns}
	if IsKnown(ctx) {
		queue, takes = p.kept, takes[1:]
	}
	select {
	case queue <- struct{}{}:
		defer func() { <-queue }()
	default:
		return nil, ErrBusy
	}
	for _, take := range takes {
		select {
		case take <- struct{}{}:
			defer func() { <-take }()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err // who asked has left; both cases above may have been ready
	}
	return argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.lanes, uint32(size)), nil // at most 64, from parsePHC or the constant
}

// normal returns the password as it is hashed: RFC 8265's OpaqueString, so that it
// is the same from every keyboard. Its errors are *PasswordError.
func normal(password secret.Text) (string, error) {
	s := password.Reveal()
	switch {
	case len(s) > MaxPassword:
		return "", &PasswordError{fmt.Sprintf("is too long: it may have %d bytes", MaxPassword)}
	case !utf8.ValidString(s):
		return "", &PasswordError{"is not text (UTF-8)"}
	case strings.ContainsFunc(s, unicode.IsControl):
		return "", &PasswordError{"holds a control character"}
	}
	s = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Zs, r) {
			return ' '
		}
		return r
	}, s)
	return norm.NFC.String(s), nil
}

// phc is a PHC string of argon2id, taken apart.
type phc struct {
	memory, time uint32
	lanes        uint8
	salt, key    []byte
}

func (h phc) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.time, h.lanes,
		base64.RawStdEncoding.EncodeToString(h.salt), base64.RawStdEncoding.EncodeToString(h.key))
}

// errPHC is a stored hash that is none. It does not repeat it.
var errPHC = errors.New("a stored password hash is not an argon2id PHC string within bounds")

// parsePHC reads what [phc.String] writes, and nothing else.
func parsePHC(s string) (phc, error) {
	parts := strings.Split(s, "$")
	if len(s) > 256 || len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return phc{}, errPHC
	}
	parameters := strings.Split(parts[3], ",")
	if len(parameters) != 3 {
		return phc{}, errPHC
	}
	var numbers [3]uint32
	for i, bound := range []struct {
		name string
		most uint64
	}{{"m=", maxMemory}, {"t=", maxTime}, {"p=", maxLanes}} {
		digits, ok := strings.CutPrefix(parameters[i], bound.name)
		n, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || n < 1 || n > bound.most || strconv.FormatUint(n, 10) != digits {
			return phc{}, errPHC
		}
		numbers[i] = uint32(n)
	}
	h := phc{memory: numbers[0], time: numbers[1], lanes: uint8(numbers[2])} // at most maxLanes
	var err1, err2 error
	h.salt, err1 = base64.RawStdEncoding.Strict().DecodeString(parts[4])
	h.key, err2 = base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(h.salt) < 8 || len(h.salt) > 64 || len(h.key) < 16 || len(h.key) > 64 || h.memory < 8*uint32(h.lanes) {
		return phc{}, errPHC
	}
	return h, nil
}
