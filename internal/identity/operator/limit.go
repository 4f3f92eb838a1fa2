package operator

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"gatehouse/internal/wire"
)

// Attempts are counted by the account that is tried and by where they come from, and
// apart for each browser that its operator has signed in with: whoever tries much
// from elsewhere closes the account's password for elsewhere only. A passkey cannot
// be guessed and is not counted by account at all.
//
// What is counted is stored under numbers below a bound, which a keyed hash chooses:
// nobody can fill the table, or find an address that shares another's number.
const (
	passwordWindow = 15 * time.Minute
	// perPair is how often one source may try one account's password, perAccount
	// how often all may that are not known, and perSource how often one may try any.
	perPair    = 6
	perAccount = 30
	perSource  = 60
	// perKnown is how often a browser may that the operator has signed in with.
	perKnown = 12
	// perHalf is how many codes one half sign-in takes, perCode and perCodeDay how
	// many all of an account do. Three codes of a million are right at a time.
	perHalf    = 5
	perCode    = 10
	perCodeDay = 50
	// perAnswer is how many answers of passkeys, and of the provider, of one source
	// are written down when they are refused. They cannot be guessed, so more are
	// judged all the same: behind a proxy everybody may have one address.
	perAnswer = 60
	// slots is how many numbers there are of each kind.
	slots = 1 << 16
)

// slot names what is counted of a kind.
func (d *Directory) slot(ctx context.Context, kind string, parts ...string) (string, error) {
	derived, err := d.config.Derive(ctx, "operator-limit", append([]string{kind}, parts...)...)
	if err != nil {
		return "", fmt.Errorf("counting attempts: %w", err)
	}
	raw, err := hex.DecodeString(derived.Reveal()[:8])
	if err != nil {
		return "", fmt.Errorf("counting attempts: %w", err)
	}
	return kind + "/" + strconv.Itoa(int(binary.BigEndian.Uint32(raw)%slots)), nil
}

// network is what of an address is counted: one of IPv4, a site of IPv6.
func network(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		return a.String()
	}
	p, err := a.Prefix(56)
	if err != nil {
		return a.String()
	}
	return p.String()
}

// Locked is ErrLocked with the time when trying again makes sense.
type Locked struct {
	Until time.Time
	err   error
}

// Error implements error.
func (l *Locked) Error() string { return l.err.Error() }

// Unwrap makes it ErrLocked, with the time to wait.
func (l *Locked) Unwrap() error { return l.err }

// limit is a Limit before its name is known.
type limit struct {
	kind   string
	parts  []string
	most   int
	within time.Duration
}

// attempt counts an attempt, or refuses it with ErrLocked. Of many refusals the log
// has one: that which made the room full.
func (d *Directory) attempt(ctx context.Context, account AccountID, wanted ...limit) ([]Limit, error) {
	limits := make([]Limit, 0, len(wanted))
	for _, w := range wanted {
		slot, err := d.slot(ctx, w.kind, w.parts...)
		if err != nil {
			return nil, err
		}
		limits = append(limits, Limit{Slot: slot, Most: w.most, Within: w.within})
	}
	at := d.now()
	full, reached, err := d.config.Store.Attempt(ctx, limits, at)
	if err != nil {
		return nil, fmt.Errorf("counting attempts: %w", err)
	}
	if !full.IsZero() {
		return nil, &Locked{Until: full, err: wire.WithRetryAfter(ErrLocked, full.Sub(at))}
	}
	if reached {
		e := entry(actionLocked, Actor{}, account)
		e.Verdict, e.Facts["of"] = verdictRefuse, wanted[0].kind
		d.config.Log.Refusal(e)
	}
	return limits, nil
}

// answers counts an answer that cannot be guessed. It returns what is told to whom it
// does not get in: while there is room, it is written down.
func (d *Directory) answers(ctx context.Context, b Browser, kind string) (refuse func(id AccountID, reason string) error, err error) {
	_, err = d.attempt(ctx, "", limit{kind, []string{network(b.Source)}, perAnswer, passwordWindow})
	if errors.Is(err, ErrLocked) {
		return func(AccountID, string) error { return ErrSignIn }, nil
	}
	return func(id AccountID, reason string) error { return d.refuse(id, kind, reason) }, err
}

// passwordLimits are those of a password that is tried for an account.
func passwordLimits(b Browser, id AccountID, email string, binding Hash, known bool) []limit {
	if known {
		return []limit{{"known", []string{string(id), string(binding[:])}, perKnown, passwordWindow}}
	}
	from := network(b.Source)
	return []limit{
		{"pair", []string{email, from}, perPair, passwordWindow},
		{"account", []string{email}, perAccount, passwordWindow},
		{"source", []string{from}, perSource, passwordWindow},
	}
}

// codeLimits are those of a code that is tried for an account whose password was
// right.
func codeLimits(id AccountID, binding Hash, known bool) []limit {
	parts, kind := []string{string(id)}, "code"
	if known {
		parts, kind = append(parts, string(binding[:])), "known-code"
	}
	return []limit{{kind, parts, perCode, passwordWindow}, {kind + "-day", parts, perCodeDay, 24 * time.Hour}}
}
