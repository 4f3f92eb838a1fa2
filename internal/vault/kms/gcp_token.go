package kms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/jwt"
)

const (
	// googleScope is all that a token is asked for.
	googleScope = "https://www.googleapis.com/auth/cloudkms"

	metadataBase = "http://" + wire.MetadataAddress
	metadataPath = "/computeMetadata/v1/instance/service-accounts/default/token"

	// earlier is how long before its end a token is replaced.
	earlier = time.Minute
)

// googleToken is an access token.
type googleToken struct {
	text secret.Text
	ends time.Time
}

// bearer returns a token that is good for now. Nothing is locked while Google is
// asked.
func (g *GCP) bearer(ctx context.Context) (secret.Text, error) {
	g.mu.Lock()
	t := g.token
	g.mu.Unlock()
	if !t.text.IsZero() && time.Now().Add(earlier).Before(t.ends) {
		return t.text, nil
	}
	fetch := g.exchange
	if g.config.Metadata {
		fetch = g.askMachine
	}
	t, err := fetch(ctx)
	if err != nil {
		return secret.Text{}, err
	}
	if !headerSafe(t.text.Reveal()) {
		return secret.Text{}, g.client.away("the token endpoint's answer is not what its documentation says")
	}
	g.mu.Lock()
	g.token = t
	g.mu.Unlock()
	return t.text, nil
}

// forget drops a token that was not taken, unless another came meanwhile.
func (g *GCP) forget(token secret.Text) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.token.text.Equal(token) {
		g.token = googleToken{}
	}
}

// exchange trades an assertion signed with the service account's key for a token.
func (g *GCP) exchange(ctx context.Context) (googleToken, error) {
	document, err := g.client.read("credentials", g.config.Credentials)
	if err != nil {
		return googleToken{}, err
	}
	var account struct {
		Type         string `json:"type"`
		ClientEmail  string `json:"client_email"`
		PrivateKey   string `json:"private_key"`
		PrivateKeyID string `json:"private_key_id"`
		TokenURI     string `json:"token_uri"`
	}
	if err := json.Unmarshal([]byte(document.Reveal()), &account); err != nil || account.Type != "service_account" || account.ClientEmail == "" || account.PrivateKey == "" {
		return googleToken{}, fmt.Errorf("root key %s: credentials of root_key_access are not the JSON key of a service account: %w", g.client.id, gatehouse.ErrInvalid)
	}
	// The file names where its assertion is sent. Nobody but Google is to get it.
	if account.TokenURI != "" && account.TokenURI != g.config.TokenEndpoint {
		return googleToken{}, fmt.Errorf("root key %s: credentials of root_key_access name another token endpoint than %s: %w", g.client.id, g.config.TokenEndpoint, gatehouse.ErrInvalid)
	}
	c := jwt.Config{
		Email: account.ClientEmail, PrivateKey: []byte(account.PrivateKey), PrivateKeyID: account.PrivateKeyID,
		Scopes: []string{googleScope}, TokenURL: g.config.TokenEndpoint,
	}
	token, err := c.TokenSource(context.WithValue(ctx, oauth2.HTTPClient, g.client.egress.Client(g.client.timeout))).Token()
	var refused *oauth2.RetrieveError
	switch {
	case err == nil:
		return googleToken{secret.New(token.AccessToken), token.Expiry}, nil
	case errors.As(err, &refused) && refused.Response != nil && refused.Response.StatusCode >= 400 && refused.Response.StatusCode < 500 && refused.Response.StatusCode != http.StatusTooManyRequests:
		return googleToken{}, g.client.denied("the service account's key is not taken; was it deleted, and is this machine's clock right?")
	case errors.As(err, &refused):
		return googleToken{}, g.client.away("the token endpoint does not answer as it should")
	case wire.RuleOf(err) != "" || ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded):
		return googleToken{}, g.client.unreachable(ctx, err)
	default:
		// An answer without a token, or a private key that is none.
		return googleToken{}, g.client.away("no token could be had: the private key in credentials is damaged, or the token endpoint does not answer as it should")
	}
}

// askMachine asks the metadata server of the machine for its service account's token.
func (g *GCP) askMachine(ctx context.Context) (googleToken, error) {
	a, err := g.client.ask(ctx, http.MethodGet, metadataBase+metadataPath, nil, func(r *http.Request) error {
		r.Header.Set("Metadata-Flavor", "Google")
		return nil
	})
	if err != nil {
		return googleToken{}, err
	}
	if a.status != http.StatusOK {
		return googleToken{}, g.client.denied("the machine has no service account, or the metadata server does not give its token")
	}
	return g.machineToken(a)
}

func (g *GCP) machineToken(a answer) (googleToken, error) {
	var t struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if err := g.client.decode(a, &t); err != nil {
		return googleToken{}, err
	}
	return googleToken{secret.New(t.AccessToken), time.Now().Add(time.Duration(min(max(t.ExpiresIn, 0), 24*3600)) * time.Second)}, nil
}
