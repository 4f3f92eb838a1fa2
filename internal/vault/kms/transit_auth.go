package kms

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"
)

// TransitAuth says how to log in to Vault or OpenBao: with a token that somebody
// else made, by AppRole, or by the token of a Kubernetes service account (or any
// other JWT method that takes role and jwt). Exactly one is given.
type TransitAuth struct {
	// Token reads a token.
	Token Source

	// RoleID and SecretID log in by AppRole.
	RoleID   string
	SecretID Source

	// Role and JWT log in by the Kubernetes or JWT method.
	Role string
	JWT  Source

	// Mount is the path of the method. "" means approle or kubernetes.
	Mount string
}

func (a TransitAuth) validate(id string) error {
	ways := 0
	for _, given := range []bool{a.Token != nil, a.SecretID != nil, a.JWT != nil} {
		if given {
			ways++
		}
	}
	switch {
	case ways != 1:
		return fmt.Errorf("root key %s: root_key_access needs one of token, approle and kubernetes: %w", id, gatehouse.ErrInvalid)
	case a.SecretID != nil && a.RoleID == "" || a.JWT != nil && a.Role == "":
		return fmt.Errorf("root key %s: root_key_access names no role: %w", id, gatehouse.ErrInvalid)
	case a.Mount != "" && !mountForm.MatchString(a.Mount):
		return fmt.Errorf("root key %s: root_key_access: the mount is not a path: %w", id, gatehouse.ErrInvalid)
	}
	return nil
}

// lease is a token and how long it lives.
type lease struct {
	token     secret.Text
	renewable bool
	renewAt   time.Time // when half its life is over; zero: it does not end
	ends      time.Time
}

func newLease(token secret.Text, seconds int64, renewable bool) lease {
	l := lease{token: token, renewable: renewable}
	if seconds > 0 {
		life := time.Duration(min(seconds, 10*365*24*3600)) * time.Second
		l.renewAt, l.ends = time.Now().Add(life/2), time.Now().Add(life)
	}
	return l
}

// token returns a token that is good for now. Nothing is locked while the server is
// asked: two callers who log in at once get two tokens, and the later one is kept.
//
// The root key is asked at least once in each limits.hold_domain_keys, so a token
// that lives twice as long is always renewed before it ends.
func (t *Transit) token(ctx context.Context) (secret.Text, error) {
	t.mu.Lock()
	l := t.lease
	t.mu.Unlock()
	now := time.Now()
	switch {
	case l.token.IsZero() || !l.ends.IsZero() && !now.Before(l.ends):
		return t.login(ctx)
	case !l.renewAt.IsZero() && !now.Before(l.renewAt):
		renewed, err := t.renew(ctx, l)
		if err == nil || errors.Is(err, gatehouse.ErrUnavailable) || ctx.Err() != nil {
			return renewed, err
		}
		// It still lives. If it cannot be renewed, another may be had.
		if fresh, err := t.login(ctx); err == nil {
			return fresh, nil
		}
	}
	return l.token, nil
}

func (t *Transit) keep(l lease) {
	t.mu.Lock()
	t.lease = l
	t.mu.Unlock()
}

// forget drops a token that was not taken, unless another came meanwhile.
func (t *Transit) forget(token secret.Text) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lease.token.Equal(token) {
		t.lease = lease{}
	}
}

// grant is the part of a login's or renewal's answer that counts.
type grant struct {
	Auth *struct {
		ClientToken   string `json:"client_token"`
		LeaseDuration int64  `json:"lease_duration"`
		Renewable     bool   `json:"renewable"`
	} `json:"auth"`
}

func (t *Transit) login(ctx context.Context) (secret.Text, error) {
	var path string
	var request map[string]string
	switch {
	case t.auth.Token != nil:
		return t.adopt(ctx)
	case t.auth.SecretID != nil:
		id, err := t.client.read("secret_id", t.auth.SecretID)
		if err != nil {
			return secret.Text{}, err
		}
		path, request = orDefault(t.auth.Mount, "approle"), map[string]string{"role_id": t.auth.RoleID, "secret_id": id.Reveal()}
	default:
		jwt, err := t.client.read("jwt", t.auth.JWT)
		if err != nil {
			return secret.Text{}, err
		}
		path, request = orDefault(t.auth.Mount, "kubernetes"), map[string]string{"role": t.auth.Role, "jwt": jwt.Reveal()}
	}
	a, err := t.call(ctx, http.MethodPost, "auth/"+path+"/login", request, nil)
	if err != nil {
		return secret.Text{}, err
	}
	switch {
	case a.status == http.StatusOK:
	case a.status >= 500 || a.status == http.StatusTooManyRequests || a.status == http.StatusPreconditionFailed:
		return secret.Text{}, t.client.away("logging in, it answers with status " + strconv.Itoa(a.status) + "; is the server sealed or overloaded?")
	default:
		return secret.Text{}, t.client.denied("the login at auth/" + path + " (status " + strconv.Itoa(a.status) + "); see the role and its credential in root_key_access")
	}
	return t.granted(a)
}

// granted reads a token out of a login's or renewal's answer.
func (t *Transit) granted(a answer) (secret.Text, error) {
	var g grant
	if err := t.client.decode(a, &g); err != nil {
		return secret.Text{}, err
	}
	if g.Auth == nil || !headerSafe(g.Auth.ClientToken) {
		return secret.Text{}, t.client.away("its answer is not what its documentation says")
	}
	l := newLease(secret.New(g.Auth.ClientToken), g.Auth.LeaseDuration, g.Auth.Renewable)
	t.keep(l)
	return l.token, nil
}

// adopt takes a token that somebody else made, and asks how long it lives.
func (t *Transit) adopt(ctx context.Context) (secret.Text, error) {
	token, err := t.client.read("token", t.auth.Token)
	if err != nil {
		return secret.Text{}, err
	}
	if !headerSafe(token.Reveal()) {
		return secret.Text{}, fmt.Errorf("root key %s: the token of root_key_access is not one: %w", t.client.id, gatehouse.ErrInvalid)
	}
	a, err := t.call(ctx, http.MethodGet, "auth/token/lookup-self", nil, func(r *http.Request) error {
		r.Header.Set("X-Vault-Token", token.Reveal())
		return nil
	})
	if err != nil {
		return secret.Text{}, err
	}
	var about struct {
		Data struct {
			TTL       int64 `json:"ttl"`
			Renewable bool  `json:"renewable"`
		} `json:"data"`
	}
	// A token may lack the right to look at itself; what it is good for is found out
	// when it is used.
	if a.status == http.StatusOK {
		if err := t.client.decode(a, &about); err != nil {
			return secret.Text{}, err
		}
	}
	t.keep(newLease(token, about.Data.TTL, about.Data.Renewable))
	return token, nil
}

// renew lengthens a token's life.
func (t *Transit) renew(ctx context.Context, l lease) (secret.Text, error) {
	if !l.renewable {
		return secret.Text{}, t.client.denied("the token cannot be renewed")
	}
	a, err := t.call(ctx, http.MethodPost, "auth/token/renew-self", struct{}{}, func(r *http.Request) error {
		r.Header.Set("X-Vault-Token", l.token.Reveal())
		return nil
	})
	if err != nil {
		return secret.Text{}, err
	}
	if a.status != http.StatusOK {
		return secret.Text{}, t.client.denied("the token's renewal")
	}
	return t.granted(a)
}

// headerSafe reports whether a token can stand in a header.
func headerSafe(token string) bool {
	return token != "" && len(token) <= 8<<10 && !strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

func orDefault(s, d string) string {
	if s == "" {
		return d
	}
	return s
}
