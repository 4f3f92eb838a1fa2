package console

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"gatehouse/internal/secret"
)

// Directory is what every page asks: whose browser is this?
type Directory interface {
	// Session returns the session that token stands for in this browser, and whose it
	// is; an error means that nobody is signed in.
	Session(ctx context.Context, b Browser, token secret.Text) (Session, Account, error)
}

// Browser is where a request came from. Binding is the cookie that a session is
// bound to.
type Browser struct {
	Source  netip.Addr
	Agent   string
	Binding secret.Text
}

// Session is one sign-in.
type Session struct {
	ID      string
	Proved  time.Time // when a factor was last shown
	Current bool
}

// Account is one operator.
type Account struct {
	ID, Name, Email string
	Permissions     []Permission
}

// May reports whether the account holds a permission at a time.
func (a *Account) May(p Permission, _ time.Time) bool { return slices.Contains(a.Permissions, p) }
