// Package operator owns the people who run a Gatehouse: their accounts, how they
// sign in, what each may do, for how long, and what takes two of them.
//
// It promises that nobody signs in with one factor alone; that there is no account
// that nobody was invited to; that a session ends with its time, its account and its
// browser, and a right with its grant, at the next request; that who does not get in
// learns neither why nor whether the account exists, and cannot keep out who does;
// that at least one owner stays; that what gives access is in the log before it is
// done, and what takes it away is done even if the log cannot be written.
//
// It must never store what is presented as proof other than as a hash, never put a
// name, an address or anything that was typed into the log or an error, and never
// know the people whom the platforms know.
package operator

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/secret"
)

// What holds where the configuration says nothing.
const (
	DefaultIdle         = 30 * time.Minute
	DefaultMaxSession   = 12 * time.Hour
	DefaultFresh        = 10 * time.Minute
	DefaultSuspendAfter = 90 * 24 * time.Hour
	DefaultEnrolWithin  = 24 * time.Hour
)

// Passwords is what this package needs of *factor.Passwords.
type Passwords interface {
	Hash(ctx context.Context, password secret.Text) (factor.PasswordHash, error)
	Verify(ctx context.Context, hash factor.PasswordHash, password secret.Text) (stale bool, err error)
	Waste(ctx context.Context, password secret.Text) error
}

// Config says what a Directory works with. It is copied and never changed.
type Config struct {
	// Store keeps everything. Required.
	Store Store
	// Log records every act. Required.
	Log *audit.Log
	// Derive computes secrets that are never stored; (*vault.Vault).Derive in
	// production. The seeds of one-time codes and the hashes of tokens come from it,
	// so that who can write to the database alone makes none. Required.
	Derive func(ctx context.Context, label string, parts ...string) (secret.Text, error)
	// Passwords hashes and checks passwords; a *factor.Passwords. Required.
	Passwords Passwords
	// Passkeys runs the ceremonies of passkeys. Nil means that there is no address
	// at which a browser could use one.
	Passkeys *factor.Passkeys
	// Environment is what accounts belong to; one of another environment does not
	// sign in. Required.
	Environment gatehouse.Environment
	// Issuer is what an authenticator app shows beside the account. Empty means
	// Gatehouse and the environment.
	Issuer string
	// Idle is how long a session lives without a request, MaxSession with any
	// number of them. Zero means DefaultIdle and DefaultMaxSession.
	Idle, MaxSession time.Duration
	// Fresh is how long ago a factor may have been shown for a dangerous act. Zero
	// means DefaultFresh.
	Fresh time.Duration
	// SuspendAfter is how long an account may be unused. Zero means
	// DefaultSuspendAfter; less than zero, for ever.
	SuspendAfter time.Duration
	// EnrolWithin is how long an enrolment link works. Zero means
	// DefaultEnrolWithin.
	EnrolWithin time.Duration
	// Provider says who somebody is, beside passkeys and passwords. Nil means that
	// nobody else does.
	Provider *ProviderConfig
	// Groups says which role the members of a group have that an identity provider
	// provisions, by the group's name or the provider's identifier. No role that
	// decides approvals is among them.
	Groups map[string]Role
	// NoApprovals lets one operator alone do what otherwise takes two.
	NoApprovals bool
	// Now is the time. Nil means the machine's clock.
	Now func() time.Time
}

func (c *Config) validate() error {
	missing := ""
	switch {
	case c.Store == nil:
		missing = "Store"
	case c.Log == nil:
		missing = "Log"
	case c.Derive == nil:
		missing = "Derive"
	case c.Passwords == nil:
		missing = "Passwords"
	case c.Environment == "":
		missing = "Environment"
	}
	if missing != "" {
		return fmt.Errorf("operator: Config.%s is missing: %w", missing, gatehouse.ErrInvalid)
	}
	for value, preset := range map[*time.Duration]time.Duration{
		&c.Idle: DefaultIdle, &c.MaxSession: DefaultMaxSession, &c.Fresh: DefaultFresh, &c.EnrolWithin: DefaultEnrolWithin,
	} {
		if *value == 0 {
			*value = preset
		}
		if *value < 0 {
			return fmt.Errorf("operator: a span of time in Config is negative (%s): %w", *value, gatehouse.ErrInvalid)
		}
	}
	if c.Provider != nil {
		if err := c.Provider.validate(); err != nil {
			return err
		}
	}
	for group, role := range c.Groups {
		if guarded(role) || !slices.Contains(Roles(), role) {
			return fmt.Errorf("operator: Config.Groups gives the group %q a role that does not exist, or that decides approvals: %w", group, gatehouse.ErrInvalid)
		}
	}
	if c.SuspendAfter == 0 {
		c.SuspendAfter = DefaultSuspendAfter
	}
	if c.Issuer == "" {
		c.Issuer = "Gatehouse " + string(c.Environment)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

// Directory knows the operators. It is safe for use by many goroutines, and several
// processes may have one on the same database: all that it keeps in memory
// is how the provider described itself, and which altered rows it has told of.
type Directory struct {
	config   Config
	provider provider
	told     told
	owed     owed
}

// New returns a Directory.
func New(config Config) (*Directory, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	return &Directory{config: config}, nil
}

// now is the present as the store keeps it, so that what is returned and what is
// read back later are the same.
func (d *Directory) now() time.Time { return d.config.Now().UTC().Truncate(time.Microsecond) }

// hash is what is stored of a token: keyed, so that nobody can make one by writing
// to the database. kind keeps tokens of one kind from being taken for another's.
func (d *Directory) hash(ctx context.Context, kind string, token secret.Text) (Hash, error) {
	derived, err := d.config.Derive(ctx, "operator-"+kind, token.Reveal())
	if err != nil {
		return Hash{}, fmt.Errorf("hashing a token: %w", err)
	}
	return sha256.Sum256([]byte(derived.Reveal())), nil
}

// maxToken bounds what is looked at as a token, in bytes.
const maxToken = 128

// newToken returns an account's identifier and 260 random bits. The identifier is
// part of what is hashed, so that who can write to the database alone does not make
// one account's token another's.
func newToken(id AccountID) secret.Text {
	return secret.New(string(id) + "." + strings.ToLower(rand.Text()+rand.Text()))
}

// isOf reports whether a token was made for an account.
func isOf(token secret.Text, id AccountID) bool {
	return strings.HasPrefix(token.Reveal(), string(id)+".")
}

// newID returns a random identifier: 130 bits.
func newID() string { return strings.ToLower(rand.Text()) }
