package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"gatehouse/internal/config"
	"gatehouse/internal/console"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

// openOperators makes the directory of those who run this Gatehouse.
func (p *parts) openOperators() (err error) {
	o := p.cfg.Operators.WithDefaults()
	if o.Breached != "" {
		if p.breached, err = factor.OpenBreached(o.Breached); err != nil {
			return fmt.Errorf("operators.breached_passwords: %w", err)
		}
	}
	passwords, err := factor.NewPasswords(factor.PasswordConfig{Breached: p.breached})
	if err != nil {
		return err
	}
	passkeys, err := consolePasskeys(p.cfg)
	if err != nil {
		return err
	}
	provider, err := signInProvider(p.cfg)
	if err != nil {
		return err
	}
	p.operators, err = operator.New(operator.Config{
		Provider: provider,
		Store:    p.db.Operators(), Log: p.log, Derive: p.vault.Derive, Passwords: passwords, Passkeys: passkeys, Environment: p.cfg.Environment,
		Idle: o.Idle, MaxSession: o.MaxSession, Fresh: p.cfg.Console.WithDefaults().Fresh, SuspendAfter: o.SuspendAfter, EnrolWithin: o.EnrolWithin,
		NoApprovals: o.Approvals == "off", Groups: provisionedGroups(p.cfg),
	})
	return err
}

// consolePasskeys returns the passkeys of the console's address; nil if browsers make
// none there, about which the configuration's warning says more.
func consolePasskeys(cfg *config.Config) (*factor.Passkeys, error) {
	at := cfg.ConsoleURL()
	if u, err := url.Parse(at); at == "" || err != nil || net.ParseIP(u.Hostname()) != nil {
		return nil, nil
	}
	return factor.NewPasskeys(factor.PasskeyConfig{Origin: at, Name: "Gatehouse", Discoverable: true})
}

// providerTimeout bounds one request to a single sign-on provider.
const providerTimeout = 15 * time.Second

// signInProvider returns the configured single sign-on provider, whose hosts are all
// that its client reaches; nil without one.
func signInProvider(cfg *config.Config) (*operator.ProviderConfig, error) {
	o := cfg.Operators.OIDC
	if o.IsZero() {
		return nil, nil
	}
	issuer, err := url.Parse(o.Issuer)
	if err != nil {
		return nil, err
	}
	c, err := egressConfig(cfg)
	if err != nil {
		return nil, err
	}
	c.Hosts, c.AllowPrivate = append([]string{issuer.Host}, o.Hosts...), o.Private
	egress, err := wire.NewEgress(c)
	if err != nil {
		return nil, fmt.Errorf("operators.oidc: %w", err)
	}
	roles := make(map[string]operator.Role, len(o.Roles))
	for group, role := range o.Roles {
		roles[group] = operator.Role(role)
	}
	return &operator.ProviderConfig{
		Issuer: o.Issuer, ClientID: o.ClientID.Text(), ClientSecret: o.ClientSecret.Text(), RedirectURL: cfg.ConsoleURL() + "/sign-in/provider",
		Client: egress.Client(providerTimeout), RolesClaim: o.RolesClaim, Roles: roles, MayApprove: o.MayApprove, SecondFactor: o.SecondFactor,
	}, nil
}

// tendEvery is how often idle accounts are looked for.
const tendEvery = time.Hour

// tendOperators suspends idle accounts and removes what is over.
func (p *parts) tendOperators(ctx context.Context) error {
	for {
		if n, err := p.operators.Tend(ctx); err != nil && ctx.Err() == nil {
			p.logger.LogAttrs(ctx, slog.LevelWarn, "operators could not be looked after", slog.String("error", err.Error()))
		} else if n > 0 {
			p.logger.LogAttrs(ctx, slog.LevelInfo, "idle operators were suspended", slog.Int("accounts", n))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(tendEvery):
		}
	}
}

// enrolmentLink is where the holder of a token enrols; without a console it is the
// token alone.
func enrolmentLink(cfg *config.Config, token secret.Text) string {
	at := cfg.ConsoleURL()
	if at == "" {
		return token.Reveal()
	}
	return console.EnrolLink(strings.TrimSuffix(at, "/"), token.Reveal())
}

// firstOwner invites the first owner of an installation without operators and prints
// the link. There is no account that anybody could sign in to before it is used.
func firstOwner(ctx context.Context, cfg *config.Config, root vault.RootKey, out io.Writer) (err error) {
	p, err := assembleUnder(ctx, cfg, root, quiet())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	accounts, err := p.operators.Accounts(ctx)
	if err != nil {
		return err
	}
	if len(accounts) > 0 {
		// The link may have been printed by an init that was interrupted, or not.
		for _, a := range accounts {
			if a.State != operator.Invited && a.State != operator.Removed {
				return nil
			}
		}
		_, err := fmt.Fprintf(out, "kept  the invitation of the first owner; if its link is lost: gatehouse account invite --again %s\n", accounts[0].ID)
		return err
	}
	token, _, err := p.operators.Invite(ctx, operator.Host(), operator.Invitation{Role: operator.Owner})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "made  an invitation for the first owner, who enrols here, once, within %s:\n      %s\n",
		p.cfg.Operators.WithDefaults().EnrolWithin, enrolmentLink(cfg, token))
	if err == nil && cfg.ConsoleURL() == "" {
		_, err = fmt.Fprintln(out, "      (That is the link's last part: listen.console is not set, so that there is no page yet.)")
	}
	return err
}
