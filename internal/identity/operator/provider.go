package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// ProviderConfig is an OpenID Connect provider that says who somebody is. It makes
// no accounts: who signs in with it was invited.
type ProviderConfig struct {
	// Issuer is the provider's address, ClientID and ClientSecret our registration
	// there, and RedirectURL where it sends browsers back to. Required.
	Issuer       string
	ClientID     string
	ClientSecret secret.Text
	RedirectURL  string
	// Client reaches the provider and nobody else. Required.
	Client *http.Client
	// RolesClaim names the claim that holds groups; empty means "groups". Roles says
	// which role a group has here, until the session's longest time is over, or until
	// who has it signs in without the group; Owner is never among them, and another one
	// that decides approvals only with MayApprove: whoever manages the group then says
	// who is a second operator.
	RolesClaim string
	Roles      map[string]Role
	MayApprove bool
	// SecondFactor are the values of the claim amr (RFC 8176) of which one proves
	// that the provider demanded a second factor. None means that ours is always
	// demanded.
	SecondFactor []string
}

func (c *ProviderConfig) validate() error {
	switch {
	case c.Issuer == "" || c.ClientID == "" || c.RedirectURL == "" || c.Client == nil:
		return fmt.Errorf("operator: Provider needs Issuer, ClientID, RedirectURL and Client: %w", gatehouse.ErrInvalid)
	}
	for group, role := range c.Roles {
		if role == Owner || !slices.Contains(Roles(), role) {
			return fmt.Errorf("operator: Provider.Roles gives the group %q a role that does not exist, or owner: %w", group, gatehouse.ErrInvalid)
		}
		if guarded(role) && !c.MayApprove {
			return fmt.Errorf("operator: Provider.Roles gives the group %q a role that decides approvals, without MayApprove: %w", group, gatehouse.ErrInvalid)
		}
	}
	return nil
}

// provider is the provider as it described itself. It is asked once it is needed, and
// again until it has answered.
type provider struct {
	mu    sync.Mutex
	known *oidc.Provider // guarded by mu
}

// found returns the provider's description, and how we speak to it.
func (d *Directory) found(ctx context.Context) (context.Context, *oidc.Provider, *oauth2.Config, error) {
	c := d.config.Provider
	if c == nil {
		return ctx, nil, nil, wire.Refuse(gatehouse.ErrNotFound, "operator/no-provider", "This Gatehouse has no single sign-on. Set operators.oidc.")
	}
	ctx = oidc.ClientContext(ctx, c.Client)
	d.provider.mu.Lock()
	defer d.provider.mu.Unlock()
	if d.provider.known == nil {
		known, err := oidc.NewProvider(ctx, c.Issuer)
		if err != nil {
			return ctx, nil, nil, wire.BadGateway("operator/provider", "The single sign-on provider does not answer as it should.", err)
		}
		d.provider.known = known
	}
	return ctx, d.provider.known, &oauth2.Config{
		ClientID: c.ClientID, ClientSecret: c.ClientSecret.Reveal(), RedirectURL: c.RedirectURL, Endpoint: d.provider.known.Endpoint(),
		Scopes: []string{oidc.ScopeOpenID, "email", "profile"},
	}, nil
}

// flight returns what belongs to one sign-in at the provider: neither is stored, and
// neither stands in what the browser carries.
func (d *Directory) flight(ctx context.Context, id string) (verifier, nonce secret.Text, err error) {
	if verifier, err = d.config.Derive(ctx, "operator-provider-verifier", id); err == nil {
		nonce, err = d.config.Derive(ctx, "operator-provider-nonce", id)
	}
	if err != nil {
		err = fmt.Errorf("signing in at a provider: %w", err)
	}
	return verifier, nonce, err
}

// HasProvider reports whether there is a provider to sign in at.
func (d *Directory) HasProvider() bool { return d.config.Provider != nil }

// SignInProviderBegin returns the address at the provider that the browser goes to.
func (d *Directory) SignInProviderBegin(ctx context.Context, b Browser) (address string, err error) {
	return d.providerBegin(ctx, b, "")
}

// providerBegin is SignInProviderBegin; with account, to prove again that it is that
// one's operator.
func (d *Directory) providerBegin(ctx context.Context, b Browser, account AccountID) (address string, err error) {
	asked, _, c, err := d.found(ctx)
	if err != nil {
		return "", err
	}
	id := newID()
	verifier, nonce, err := d.flight(asked, id)
	if err != nil {
		return "", err
	}
	state, err := d.begin(ctx, b, ceremonyProvider, account, []byte(id))
	if err != nil {
		return "", err
	}
	return c.AuthCodeURL(state, append(d.demand(account), oauth2.S256ChallengeOption(verifier.Reveal()), oidc.Nonce(nonce.Reveal()))...), nil
}

// identityToken is what we read of the provider's token.
type identityToken struct {
	subject string
	email   string // only if the provider has verified it
	factors []string
	groups  []string
	// seen is when the provider saw them show a factor; zero if it does not say.
	seen time.Time
}

// SignInProviderFinish takes what the provider sent the browser back with. If the
// provider says that it demanded a second factor, and is believed, the browser is
// signed in; otherwise half is what [Directory.SignInCode] demands the second factor
// with. An account is found by the provider's subject, or the first time by its
// verified address, if that is the one that the account was invited with; an invited
// one is thereby enrolled if no other factor is needed, and loses what was added by its
// link.
//
// A browser that comes back from another site sends no cookie that is SameSite=Strict:
// the page that it comes back to has to send it on to itself first.
func (d *Directory) SignInProviderFinish(ctx context.Context, b Browser, state, code string) (token secret.Text, s Session, half secret.Text, err error) {
	fail := func(err error) (secret.Text, Session, secret.Text, error) {
		return secret.Text{}, Session{}, secret.Text{}, err
	}
	binding, err := d.binding(ctx, b)
	if err != nil {
		return fail(err)
	}
	refuse, err := d.answers(ctx, b, "provider")
	if err != nil {
		return fail(err)
	}
	c, used, err := d.unpack(ctx, ceremonyProvider, binding, state)
	if errors.Is(err, errCeremony) {
		return fail(refuse("", "ceremony"))
	}
	if err != nil {
		return fail(err)
	}
	said, reason, err := d.exchange(ctx, string(c.State), code)
	if reason != "" {
		return fail(refuse("", reason))
	}
	if err != nil {
		return fail(err)
	}
	r, known, err := d.providersAccount(ctx, said)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return fail(refuse("", "unknown"))
	}
	if err != nil {
		return fail(err)
	}
	id := r.Account.ID
	strong := slices.ContainsFunc(said.factors, func(f string) bool { return slices.Contains(d.config.Provider.SecondFactor, f) })
	switch {
	case r.Environment != d.config.Environment || r.Account.State != Active && (r.Account.State != Invited || !strong):
		return fail(refuse(id, string(r.Account.State)))
	case !strong && !r.Account.TOTP:
		return fail(refuse(id, "no-second-factor"))
	}
	if reason := d.provesAgain(c.Account, id, said.seen); reason != "" {
		return fail(refuse(id, reason))
	}
	// Whatever comes of it, it comes of it once.
	if err := d.config.Store.TakeCeremony(ctx, used, c.Until); errors.Is(err, gatehouse.ErrConflict) {
		return fail(refuse(id, "replayed"))
	} else if err != nil {
		return fail(fmt.Errorf("signing in: %w", err))
	}
	if !known {
		e := entry(actionFactor, Actor{account: id}, id)
		e.Facts["factor"], e.Facts["change"] = "provider", "add"
		if err := d.logged(ctx, e, func() error { return d.config.Store.LinkSubject(ctx, id, d.subject(said)) }); err != nil {
			if errors.Is(err, gatehouse.ErrConflict) {
				return fail(refuse(id, "subject"))
			}
			return fail(err)
		}
	}
	// Before it is asked for more: what is no more is no more.
	if err := d.dropGroups(ctx, r, said.groups); err != nil {
		return fail(err)
	}
	if !strong {
		half, err := d.newHalf(ctx, TokenRecord{
			Kind: tokenProvider, Account: id, Binding: binding, Groups: d.mappedGroups(said.groups), Proved: d.proof(said.seen),
		})
		return secret.Text{}, Session{}, half, err
	}
	if r.Account.State == Invited {
		err := d.logged(ctx, entry(actionEnrol, Actor{account: id}, id), func() error {
			return d.config.Store.EnrolByProvider(ctx, id, d.now())
		})
		if err != nil {
			return fail(d.stateRefusal(err))
		}
	}
	if err := d.grantGroups(ctx, r, said.groups); err != nil {
		return fail(err)
	}
	e := entry(actionSignIn, Actor{account: id}, id)
	e.Facts["by"] = "provider"
	err = d.logged(ctx, e, func() (err error) {
		token, s, err = d.newSessionProved(ctx, b, id, d.proof(said.seen))
		return err
	})
	if err != nil {
		return fail(err)
	}
	return token, s, secret.Text{}, nil
}

// exchange gets the provider's token for a code and reads it. reason is for the log.
func (d *Directory) exchange(ctx context.Context, id, code string) (said identityToken, reason string, err error) {
	asked, known, c, err := d.found(ctx)
	if err != nil {
		return said, "", err
	}
	verifier, nonce, err := d.flight(ctx, id)
	if err != nil {
		return said, "", err
	}
	if code == "" || len(code) > maxCeremony {
		return said, "code", nil
	}
	tokens, err := c.Exchange(asked, code, oauth2.VerifierOption(verifier.Reveal()))
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.Response.StatusCode < http.StatusInternalServerError {
		return said, "code", nil
	}
	if err != nil {
		return said, "", wire.BadGateway("operator/provider", "The single sign-on provider does not answer as it should.", errProvider(err))
	}
	raw, _ := tokens.Extra("id_token").(string)
	checked, err := known.VerifierContext(asked, &oidc.Config{ClientID: c.ClientID, Now: d.config.Now}).Verify(asked, raw)
	if err != nil || !secret.New(checked.Nonce).Equal(nonce) || checked.Subject == "" || len(checked.Subject) > maxSubject {
		return said, "token", nil
	}
	var claims map[string]json.RawMessage
	if err := checked.Claims(&claims); err != nil {
		return said, "token", nil
	}
	said.subject = checked.Subject
	if text := claimText(claims["email"]); claimText(claims["email_verified"]) == "true" {
		if _, key, err := cleanEmail(text); err == nil {
			said.email = key
		}
	}
	said.factors = claimTexts(claims["amr"])
	claim := d.config.Provider.RolesClaim
	if claim == "" {
		claim = "groups"
	}
	said.groups = claimTexts(claims[claim])
	said.seen = claimTime(claims["auth_time"])
	return said, "", nil
}

// maxSubject is OpenID Connect's, in bytes.
const maxSubject = 255

// errProvider is what went wrong at the provider, without what it answered: that may
// hold a token.
func errProvider(err error) error {
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) {
		return fmt.Errorf("it answered %d", refused.Response.StatusCode)
	}
	return err
}

// claimText is a claim that is a text, or a truth value, which some providers write
// as a text.
func claimText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var truth bool
	if json.Unmarshal(raw, &truth) == nil && truth {
		return "true"
	}
	return ""
}

// claimTexts is a claim that is a list of texts, or one.
func claimTexts(raw json.RawMessage) []string {
	var list []string
	if json.Unmarshal(raw, &list) == nil {
		return list
	}
	if text := claimText(raw); text != "" {
		return []string{text}
	}
	return nil
}

// subject is what an account is found by.
func (d *Directory) subject(said identityToken) string {
	return strings.TrimSuffix(d.config.Provider.Issuer, "/") + "\n" + said.subject
}

// providersAccount finds the account, and reports whether by subject.
func (d *Directory) providersAccount(ctx context.Context, said identityToken) (AccountRecord, bool, error) {
	r, err := d.config.Store.AccountBySubject(ctx, d.subject(said))
	known := err == nil
	if errors.Is(err, gatehouse.ErrNotFound) && said.email != "" {
		r, err = d.config.Store.AccountByEmail(ctx, said.email)
		if err == nil && r.OwnEmail {
			// Whoever wrote it there may be waiting for somebody to whom it belongs.
			err = fmt.Errorf("nobody vouches for the account's address: %w", gatehouse.ErrNotFound)
		}
	}
	if err != nil {
		return AccountRecord{}, false, err
	}
	return r, known, d.grants(ctx, &r)
}

// grantGroups gives an account the roles of its groups for as long as a session can
// last: who leaves a group has lost the role by then, without anybody's doing.
func (d *Directory) grantGroups(ctx context.Context, r AccountRecord, groups []string) error {
	at := d.now()
	end := at.Add(d.config.MaxSession)
	for _, group := range groups {
		role, mapped := d.config.Provider.Roles[group]
		if !mapped || slices.ContainsFunc(r.Account.Grants, func(g Grant) bool {
			return g.Role == role && (g.Until.IsZero() || !g.Until.Before(end))
		}) {
			continue
		}
		g := Grant{Role: role, Until: end, Provider: true}
		sealed, err := d.sealGrant(ctx, r.Account.ID, g)
		if err != nil {
			return err
		}
		e := entry(actionGrant, Actor{system: true}, r.Account.ID)
		describe(e, g)
		e.Facts["by"] = "provider"
		if err := d.logged(ctx, e, func() error { return d.config.Store.PutGrant(ctx, r.Account.ID, sealed, at, Owner) }); err != nil {
			return d.stateRefusal(err)
		}
		r.Account.Grants = append(r.Account.Grants, g)
	}
	return nil
}

// mapped reports whether a group can give a role, by the configuration as it is now.
func (d *Directory) mapped(role Role) bool {
	if d.config.Provider != nil {
		for _, r := range d.config.Provider.Roles {
			if r == role {
				return true
			}
		}
	}
	return false
}

// dropGroups takes the roles away that groups gave an account which it is not in any
// more: what it approved is worth nothing from then on.
func (d *Directory) dropGroups(ctx context.Context, r AccountRecord, groups []string) error {
	for _, g := range r.Account.Grants {
		if !g.Provider || slices.ContainsFunc(groups, func(group string) bool { return d.config.Provider.Roles[group] == g.Role }) {
			continue
		}
		err := d.revoke(ctx, Actor{system: true}, r, g.Role)
		if err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
			return err
		}
	}
	return nil
}
