package scim

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// TokenID is the random, permanent identifier of a token; it stands in the log.
type TokenID string

// Token is what an identity provider presents, without what it presents.
type Token struct {
	ID      TokenID
	Created time.Time
	// By is who made it, empty for the host.
	By operator.AccountID
	// Until is when it ends; zero for no end.
	Until time.Time
	// Used is when it was last presented, within a minute; zero for never.
	Used time.Time
}

// Live reports whether the token is taken at t.
func (k Token) Live(t time.Time) bool { return k.Until.IsZero() || t.Before(k.Until) }

// Hash is what is stored of a token.
type Hash [sha256.Size]byte

// TokenRecord is a token as stored.
type TokenRecord struct {
	Token Token
	Hash  Hash
}

// TokenStore keeps tokens. Every write is atomic and durable when it returns nil.
type TokenStore interface {
	// AddToken stores one; with a time, every other ends then, unless it does sooner.
	// What ended before r was made is removed.
	AddToken(ctx context.Context, r TokenRecord, others time.Time) error
	// Token returns one by its hash, or ErrNotFound.
	Token(ctx context.Context, hash Hash) (Token, error)
	// Tokens returns all, oldest first.
	Tokens(ctx context.Context) ([]Token, error)
	// TouchToken notes when one was presented.
	TouchToken(ctx context.Context, id TokenID, at time.Time) error
	// DropToken removes one, or is ErrNotFound.
	DropToken(ctx context.Context, id TokenID) error
}

// TokensConfig says what Tokens works with.
type TokensConfig struct {
	// Store keeps the tokens. Required.
	Store TokenStore
	// Log records what becomes of them. Required.
	Log *audit.Log
	// Derive computes secrets that are never stored; (*vault.Vault).Derive in
	// production. Required.
	Derive func(ctx context.Context, label string, parts ...string) (secret.Text, error)
	// Now is the time. Nil means the machine's clock.
	Now func() time.Time
}

// Tokens knows the tokens that identity providers present. Several processes may have
// one on the same database.
type Tokens struct{ config TokensConfig }

// NewTokens returns Tokens.
func NewTokens(c TokensConfig) (*Tokens, error) {
	if c.Store == nil || c.Log == nil || c.Derive == nil {
		return nil, fmt.Errorf("scim: TokensConfig lacks Store, Log or Derive: %w", gatehouse.ErrInvalid)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Tokens{c}, nil
}

func (t *Tokens) now() time.Time { return t.config.Now().UTC().Truncate(time.Microsecond) }

const (
	// prefix says what a token is to whoever finds one.
	prefix = "gth_scim_"
	// tokenLength is that of a token, in bytes: the prefix and 260 random bits.
	tokenLength = len(prefix) + 52
	// MaxLife is how long a token lives at most, and DefaultLife if nothing is said.
	MaxLife     = 2 * 365 * 24 * time.Hour
	DefaultLife = 365 * 24 * time.Hour
	// maxTokens is how many there are at a time.
	maxTokens = 10
	// touchEvery is how exact the last use is.
	touchEvery = time.Minute
)

// The actions of the log.
const (
	actionToken  = "scim.token"
	actionRevoke = "scim.token.revoke"
	actionRefuse = "scim.refuse"
)

func (t *Tokens) hash(ctx context.Context, text secret.Text) (Hash, error) {
	derived, err := t.config.Derive(ctx, "scim-token", text.Reveal())
	if err != nil {
		return Hash{}, fmt.Errorf("hashing a token: %w", err)
	}
	return sha256.Sum256([]byte(derived.Reveal())), nil
}

// Create makes a token, which is returned once. Whether by may, the caller has asked
// already ([operator.Directory.Allow]). It lives for life, zero for DefaultLife.
// With overlap, all others end after that, and with an overlap of less than zero they
// stay as they are.
func (t *Tokens) Create(ctx context.Context, by operator.Actor, life, overlap time.Duration) (secret.Text, Token, error) {
	if life == 0 {
		life = DefaultLife
	}
	if life < 0 || life > MaxLife {
		return secret.Text{}, Token{}, fmt.Errorf("life: a token lives for up to %s: %w", MaxLife, gatehouse.ErrInvalid)
	}
	at := t.now()
	all, err := t.List(ctx)
	if err != nil {
		return secret.Text{}, Token{}, err
	}
	live := 0
	for _, k := range all {
		if k.Live(at) {
			live++
		}
	}
	if live >= maxTokens {
		return secret.Text{}, Token{}, wire.Refuse(gatehouse.ErrConflict, "scim/many-tokens", "There are too many tokens. Revoke those that nobody uses.")
	}
	text := secret.New(prefix + strings.ToLower(rand.Text()+rand.Text()))
	r := TokenRecord{Token: Token{ID: TokenID(strings.ToLower(rand.Text())), Created: at, By: by.Account(), Until: at.Add(life).Truncate(time.Microsecond)}}
	if r.Hash, err = t.hash(ctx, text); err != nil {
		return secret.Text{}, Token{}, err
	}
	e := tokenEntry(actionToken, by, r.Token.ID)
	e.Facts["until"] = r.Token.Until.Format(time.RFC3339)
	var others time.Time
	if overlap >= 0 {
		others = at.Add(overlap).Truncate(time.Microsecond)
		e.Facts["others_until"] = others.Format(time.RFC3339)
	}
	receipt, err := t.config.Log.Intent(ctx, e)
	if err != nil {
		return secret.Text{}, Token{}, fmt.Errorf("recording a token: %w", err)
	}
	if err := t.finish(receipt, e, t.config.Store.AddToken(ctx, r, others)); err != nil {
		return secret.Text{}, Token{}, fmt.Errorf("making a token: %w", err)
	}
	return text, r.Token, nil
}

// tokenEntry is the beginning of an entry about a token.
func tokenEntry(action string, by operator.Actor, id TokenID) audit.Entry {
	return audit.Entry{Action: action, Verdict: "allow", Facts: map[string]string{"operator": by.Name(), "token": string(id)}}
}

func (t *Tokens) finish(receipt audit.Receipt, e audit.Entry, err error) error {
	outcome := audit.Entry{Action: e.Action, Verdict: "done", Facts: e.Facts}
	if err != nil {
		outcome.Verdict, outcome.Rule = "failed", wire.RuleOf(err)
	}
	t.config.Log.Outcome(receipt, outcome)
	return err
}

// List returns all tokens, oldest first; also those that ended lately.
func (t *Tokens) List(ctx context.Context) ([]Token, error) {
	all, err := t.config.Store.Tokens(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing tokens: %w", err)
	}
	return all, nil
}

// Revoke makes a token worthless at once; whether by may, the caller has asked. It is done even if the log cannot be written.
func (t *Tokens) Revoke(ctx context.Context, by operator.Actor, id TokenID) error {
	e := tokenEntry(actionRevoke, by, id)
	receipt, unlogged := t.config.Log.Reduce(ctx, e)
	err := t.config.Store.DropToken(ctx, id)
	if receipt.ID() != "" {
		err = t.finish(receipt, e, err)
	}
	if errors.Is(err, gatehouse.ErrNotFound) {
		return wire.Refuse(gatehouse.ErrNotFound, "scim/no-token", "There is no such token ('gatehouse account scim-token list' has them all).")
	}
	if err != nil {
		return fmt.Errorf("revoking a token: %w", err)
	}
	if unlogged != nil {
		return fmt.Errorf("%s was done, but not recorded: %w", e.Action, unlogged)
	}
	return nil
}

// errToken is the answer to everybody who shows no token that is taken, whatever the
// reason.
var errToken = wire.Unauthenticated("scim/token", "Show a token that 'gatehouse account scim-token create' made, as a bearer token.")

// authenticate returns the token that a request presents, or errToken: after the same
// work whether it presents one or not, and one that is known or not. reason is for the
// log.
func (t *Tokens) authenticate(ctx context.Context, h http.Header) (k Token, reason string, err error) {
	presented, reason := bearer(h)
	hash, err := t.hash(ctx, presented)
	if err != nil {
		return Token{}, "", err
	}
	k, err = t.config.Store.Token(ctx, hash)
	at := t.now()
	switch {
	case reason != "":
		return Token{}, reason, errToken
	case errors.Is(err, gatehouse.ErrNotFound):
		return Token{}, "unknown", errToken
	case err != nil:
		return Token{}, "", fmt.Errorf("reading a token: %w", err)
	case !k.Live(at):
		return Token{}, "expired", errToken
	}
	if at.Sub(k.Used) >= touchEvery {
		if err := t.config.Store.TouchToken(ctx, k.ID, at); err != nil {
			return Token{}, "", fmt.Errorf("noting a token's use: %w", err)
		}
	}
	return k, "", nil
}

// bearer returns what a request presents, and what of it has not the form of a token. In
// its place stands something of the same length.
func bearer(h http.Header) (secret.Text, string) {
	nothing := secret.New(strings.Repeat("-", tokenLength))
	values := h["Authorization"]
	if len(values) != 1 {
		return nothing, "none"
	}
	scheme, text, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || len(text) != tokenLength {
		return nothing, "form"
	}
	return secret.New(text), ""
}
