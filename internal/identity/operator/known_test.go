package operator_test

import (
	"context"
	"testing"

	"gatehouse/internal/identity/factor"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
)

// noting notes of the last password whether it was one of somebody who is known.
type noting struct {
	operator.Passwords
	known bool
}

func (n *noting) Hash(ctx context.Context, p secret.Text) (factor.PasswordHash, error) {
	n.known = factor.IsKnown(ctx)
	return n.Passwords.Hash(ctx, p)
}

func (n *noting) Verify(ctx context.Context, hash factor.PasswordHash, p secret.Text) (bool, error) {
	n.known = factor.IsKnown(ctx)
	return n.Passwords.Verify(ctx, hash, p)
}

func (n *noting) Waste(ctx context.Context, p secret.Text) error {
	n.known = factor.IsKnown(ctx)
	return n.Passwords.Waste(ctx, p)
}

// Strangers' passwords do not hold up those of who is known.
func TestWhoseTurnAPasswordTakes(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	ctx := t.Context()
	c := w.config()
	n := &noting{Passwords: c.Passwords}
	c.Passwords = n
	w.d = w.directory(c)
	m := w.joinWithCodes("ada", operator.Owner)
	if !n.known {
		t.Error("setting a password by a link is a stranger's")
	}
	w.join("bob", operator.Auditor)
	for _, c := range []struct {
		what  string
		try   func() error
		known bool
	}{
		{"a stranger", func() error {
			_, err := w.d.SignInPassword(ctx, browser("192.0.2.7"), m.email, secret.New(password))
			return err
		}, false},
		{"a browser that is known", func() error {
			_, err := w.d.SignInPassword(ctx, m.browser, m.email, secret.New(password))
			return err
		}, true},
		{"a session", func() error {
			_, err := w.d.ProvePassword(ctx, m.browser, m.token, secret.New(password))
			return err
		}, true},
	} {
		if err := c.try(); err != nil || n.known != c.known {
			t.Errorf("%s: %v, known %t, want %t", c.what, err, n.known, c.known)
		}
	}
	// The browser of one account is a stranger to another, and to none.
	for _, email := range []string{"bob@example.com", "nobody@example.com"} {
		_, err := w.d.SignInPassword(ctx, m.browser, email, secret.New(password))
		is(t, email, err, operator.ErrSignIn)
		if n.known {
			t.Errorf("a browser is known to %s", email)
		}
	}
}
