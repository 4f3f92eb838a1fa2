package connect

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/platform"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// Credential is an opened connection: the one place outside this package's own
// calls where a platform's token is plain, and only it can put it anywhere. Make
// one for each call and let it go with the call. It is used by one goroutine.
type Credential struct {
	client
	rec    Record
	tokens grant
	form   url.Values
	// renewable says that there is a refresh token, which is not opened here.
	renewable bool
}

// Credential opens a connection for one call whose intent is r, renewing it
// first if that is due.
func (c *Connections) Credential(ctx context.Context, r audit.Receipt, id gatehouse.ConnectionID) (*Credential, error) {
	rec, err := c.redeemed(ctx, id)
	if err != nil {
		return nil, err
	}
	if !rec.Status.Usable() {
		return nil, unusable(rec)
	}
	a, err := c.app(rec.App)
	if err != nil {
		return nil, err
	}
	if rec, err = c.freshen(ctx, rec); err != nil {
		return nil, err
	}
	renewable := rec.renewable()
	if rec.Kind != KindOAuth1 {
		rec.Refresh = nil // a call has no use for it: it stays sealed
	}
	tokens, err := c.openTokens(ctx, r, rec)
	if err != nil {
		return nil, err
	}
	return &Credential{client: client{c, a}, rec: rec, tokens: tokens, renewable: renewable}, nil
}

// patience is how long a call waits for a renewal while the old token is still
// good. A renewal whose owner died would otherwise hold calls up until its
// lease has passed.
const patience = 3 * time.Second

// freshen renews a record's token if it is due. While the old one is still
// good, a renewal that does not succeed delays nobody.
func (c *Connections) freshen(ctx context.Context, rec Record) (Record, error) {
	now, sure := c.clockOf(rec.App).now()
	if !rec.due(now) && !rec.expired(now) {
		return rec, nil
	}
	if rec.RenewAt.IsZero() && rec.Status != Renewing {
		// Expired, and there is nothing to renew it with. A clock that nobody
		// has confirmed is no reason to say so: then the platform decides. So
		// it does of a Page's token, which its parent may be able to replace.
		if !sure || rec.Kind == KindPage {
			return rec, nil
		}
		if err := c.markDead(ctx, rec.ID, causeExpired, rec.Access); err != nil {
			return Record{}, err
		}
		rec.Status = ReconnectNeeded
		return Record{}, unusable(rec)
	}
	waiting, done := ctx, context.CancelFunc(func() {})
	if !rec.expired(now) {
		waiting, done = context.WithTimeout(ctx, patience)
	}
	err := c.renewer.Renew(waiting, rec.ID)
	done()
	current, again := c.redeemed(ctx, rec.ID)
	if again != nil {
		return Record{}, again
	}
	if !current.Status.Usable() {
		return Record{}, unusable(current)
	}
	if err != nil && (current.expired(c.now(rec.App)) || ctx.Err() != nil) {
		return Record{}, err
	}
	return current, nil
}

// Kind says what the credential stands for.
func (k *Credential) Kind() Kind { return k.rec.Kind }

// Scopes returns what the platform granted.
func (k *Credential) Scopes() []string { return slices.Clone(k.rec.Scopes) }

// Is reports whether s is the token held here (or its secret, of an OAuth 1.0a
// grant), in constant time.
func (k *Credential) Is(s string) bool {
	return k.tokens.access.Equal(secret.New(s)) ||
		(!k.tokens.refresh.IsZero() && k.tokens.refresh.Equal(secret.New(s)))
}

// SetForm tells which form the request carries, because OAuth 1.0a signs it.
func (k *Credential) SetForm(form url.Values) { k.form = form }

// Authorize puts the credential on an outgoing request: a bearer header, the
// proof that Facebook wants, or an OAuth 1.0a signature over the request's real
// address and the form given to SetForm. It refuses an address that is not one
// of the app's own endpoints, so that no mistake elsewhere can send a token to
// anybody else.
func (k *Credential) Authorize(req *http.Request) error {
	if k.rec.Kind == KindOAuth1 {
		return k.AuthorizeOAuth1(req, k.form)
	}
	if err := k.checkHost(req.URL); err != nil {
		return err
	}
	bearer(req, k.tokens.access)
	k.prove(req, k.tokens.access)
	return nil
}

// AuthorizeOAuth1 signs the request with an OAuth 1.0a grant.
func (k *Credential) AuthorizeOAuth1(req *http.Request, form url.Values) error {
	if k.rec.Kind != KindOAuth1 {
		return wire.Refuse(gatehouse.ErrInvalid, "connect/not-oauth1", "this connection is not an OAuth 1.0a grant")
	}
	if err := k.checkHost(req.URL); err != nil {
		return err
	}
	return k.sign(req, form, k.tokens)
}

// BatchItem puts the token and its proof among the parameters of one item of a
// Graph batch.
func (k *Credential) BatchItem(values url.Values) error {
	if k.app.Platform != gatehouse.Facebook && k.app.Platform != gatehouse.Instagram && k.app.Platform != gatehouse.Threads {
		return wire.Refuse(gatehouse.ErrInvalid, "connect/not-graph", "only the Graph API has batches")
	}
	values.Set("access_token", k.tokens.access.Reveal())
	for name, value := range k.proof(k.tokens.access) {
		values.Set(name, value)
	}
	return nil
}

// checkHost refuses an address outside the app's platform.
func (p client) checkHost(u *url.URL) error {
	for _, endpoint := range []string{p.app.Endpoints.API, p.app.Endpoints.Video, p.app.Endpoints.Upload, p.app.Endpoints.Token} {
		if e, err := url.Parse(endpoint); err == nil && e.Host != "" && e.Host == u.Host && e.Scheme == u.Scheme {
			return nil
		}
	}
	return wire.Refuse(gatehouse.ErrDenied, "connect/foreign-host", "a platform's token goes to that platform only")
}

// prove adds Facebook's proof that the caller holds the app secret.
func (p client) prove(req *http.Request, token secret.Text) {
	proof := p.proof(token)
	if len(proof) == 0 {
		return
	}
	extra := url.Values{}
	for name, value := range proof {
		extra.Set(name, value)
	}
	// The query is extended, not re-encoded: what the caller wrote reaches the
	// platform byte for byte.
	if req.URL.RawQuery != "" {
		req.URL.RawQuery += "&"
	}
	req.URL.RawQuery += extra.Encode()
}

// proof returns the parameters that prove a token, for platforms that want it.
func (p client) proof(token secret.Text) map[string]string {
	if p.app.Platform != gatehouse.Facebook || p.app.ClientSecret.IsZero() {
		return nil
	}
	switch p.app.Proof {
	case "timed":
		proof, unix := platform.TimedAppSecretProof(p.app.ClientSecret.Reveal(), token.Reveal(), p.c.now(p.app.Name))
		return map[string]string{"appsecret_proof": proof, "appsecret_time": unix}
	case "plain":
		return map[string]string{"appsecret_proof": platform.AppSecretProof(p.app.ClientSecret.Reveal(), token.Reveal())}
	}
	return nil
}

// sign puts an OAuth 1.0a signature on a request. g is empty when a request
// token is asked for.
func (p client) sign(req *http.Request, form url.Values, g grant, extra ...platform.Pair) error {
	header, err := platform.SignOAuth1(platform.OAuth1Credentials{
		ConsumerKey: p.app.ConsumerKey, ConsumerSecret: p.app.ConsumerSecret.Reveal(),
		Token: g.access.Reveal(), TokenSecret: g.refresh.Reveal(),
	}, req.Method, req.URL, form, rand.Text(), strconv.FormatInt(p.c.now(p.app.Name).Unix(), 10), extra...)
	if err != nil {
		// The text may quote parameters.
		return wire.Refuse(gatehouse.ErrInvalid, "connect/oauth1-parameters", "the query or form cannot be signed: it is not well formed")
	}
	req.Header.Set("Authorization", header)
	return nil
}

// challenge is the PKCE S256 challenge of a verifier.
func challenge(verifier string) string { return platform.PKCEChallenge(verifier) }

// AppRequest authorises a request as the app itself, not as a person: with the
// Graph API's app token, or with X's app-only bearer. The caller never sees the
// credential. The intent r covers the use of it.
func (c *Connections) AppRequest(ctx context.Context, r audit.Receipt, app gatehouse.AppName, req *http.Request) error {
	a, err := c.app(app)
	if err != nil {
		return err
	}
	if !r.Valid() {
		return errors.New("authorising as the app needs a recorded intent")
	}
	p := client{c, a}
	if err := p.checkHost(req.URL); err != nil {
		return err
	}
	switch a.Platform {
	case gatehouse.Facebook:
		bearer(req, appToken(a))
	case gatehouse.Threads:
		g, err := p.graphToken(ctx, a.Endpoints.Token, url.Values{
			"client_id": {a.ClientID}, "client_secret": {a.ClientSecret.Reveal()}, "grant_type": {"client_credentials"},
		})
		if err != nil {
			return err
		}
		bearer(req, g.access)
	case gatehouse.X:
		token, err := p.appBearer(ctx)
		if err != nil {
			return err
		}
		bearer(req, token)
	default:
		return wire.Refuse(gatehouse.ErrInvalid, "connect/no-app-token", "this platform has no credential of the app itself")
	}
	return nil
}

// appBearer gets X's app-only bearer. X returns the same one until it is
// invalidated, so nothing is gained by keeping it.
func (p client) appBearer(ctx context.Context) (secret.Text, error) {
	if p.app.ConsumerKey == "" {
		return secret.Text{}, wire.Refuse(gatehouse.ErrInvalid, "connect/no-app-token", "X's app-only bearer needs consumer_key and consumer_secret")
	}
	req, err := form(ctx, p.app.Endpoints.API+"/oauth2/token", url.Values{"grant_type": {"client_credentials"}})
	if err != nil {
		return secret.Text{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded;charset=UTF-8")
	req.SetBasicAuth(platform.PercentEncode(p.app.ConsumerKey), platform.PercentEncode(p.app.ConsumerSecret.Reveal()))
	var reply tokenReply
	if err := p.send(req, &reply); err != nil {
		return secret.Text{}, err
	}
	g, err := reply.grant(time.Now())
	g, err = p.obtained(ctx, g, err)
	return g.access, err
}

// appToken is the Graph API's token of a Facebook app, which holds its secret.
func appToken(a App) secret.Text { return secret.New(a.ClientID + "|" + a.ClientSecret.Reveal()) }
