package connect

import (
	"context"
	"errors"
	"slices"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// ImportRequest hands in a grant that was obtained elsewhere: the operator, or
// the app's own signed-in session, vouches that it is the subject's.
type ImportRequest struct {
	App      gatehouse.AppName
	Service  gatehouse.ServiceName
	Subject  gatehouse.Subject
	Purposes []gatehouse.PurposeName
	// Access and Refresh are OAuth 2.0 tokens. A platform that says which
	// scopes a token has overrules Scopes.
	Access, Refresh secret.Text
	Scopes          []string
	Expires         time.Time // of Access; zero: not known or never
}

// Import validates a grant at the platform and keeps it as a healthy connection.
func (c *Connections) Import(ctx context.Context, r ImportRequest) (Connection, error) {
	g := grant{access: r.Access, refresh: r.Refresh, scopes: slices.Clone(r.Scopes), expires: r.Expires}
	return c.bring(ctx, r, KindUser, g, func(ctx context.Context, a App, g *grant) error {
		return c.provider(a).whose(ctx, g)
	})
}

// AddOAuth1Request hands in an OAuth 1.0a token pair of X.
type AddOAuth1Request struct {
	App                gatehouse.AppName
	Service            gatehouse.ServiceName
	Subject            gatehouse.Subject
	Purposes           []gatehouse.PurposeName
	Token, TokenSecret secret.Text
}

// AddOAuth1 validates an OAuth 1.0a token pair at X and keeps it as a healthy
// connection.
func (c *Connections) AddOAuth1(ctx context.Context, r AddOAuth1Request) (Connection, error) {
	a, err := c.app(r.App)
	if err != nil {
		return Connection{}, err
	}
	if a.Platform != gatehouse.X || a.ConsumerKey == "" || r.TokenSecret.IsZero() {
		return Connection{}, wire.Refuse(gatehouse.ErrInvalid, "connect/oauth1", "OAuth 1.0a needs an app of platform x with consumer_key and consumer_secret, and a token with its secret")
	}
	in := ImportRequest{App: r.App, Service: r.Service, Subject: r.Subject, Purposes: r.Purposes}
	return c.bring(ctx, in, KindOAuth1, grant{access: r.Token, refresh: r.TokenSecret}, c.whoseOAuth1)
}

// bring keeps a grant whose owner is found out by whose.
func (c *Connections) bring(ctx context.Context, r ImportRequest, kind Kind, g grant, whose func(context.Context, App, *grant) error) (Connection, error) {
	a, err := c.app(r.App)
	if err != nil {
		return Connection{}, err
	}
	if g.access.IsZero() || r.Service == "" || len(r.Purposes) == 0 || !plainText(string(r.Subject), 1, 200) {
		return Connection{}, wire.Refuse(gatehouse.ErrInvalid, "connect/import", "an import needs a token, a service, a subject and at least one purpose")
	}
	e := audit.Entry{Action: "connect.import", Service: r.Service, Platform: a.Platform, App: a.Name, Facts: map[string]string{"kind": string(kind)}}
	receipt, err := c.log.Intent(ctx, e)
	if err != nil {
		return Connection{}, err
	}
	rec, err := c.brought(ctx, receipt, a, r, kind, g, whose)
	if err == nil {
		e = c.entry("connect.import", rec)
	}
	c.log.Outcome(receipt, outcome(e, err))
	if err != nil {
		return Connection{}, err
	}
	return c.view(ctx, rec)
}

func (c *Connections) brought(ctx context.Context, receipt audit.Receipt, a App, r ImportRequest, kind Kind, g grant, whose func(context.Context, App, *grant) error) (Record, error) {
	asking, cancel := context.WithTimeout(ctx, platformTimeout)
	defer cancel()
	if err := whose(asking, a, &g); err != nil {
		return Record{}, err
	}
	rec, err := c.newRecord(ctx, a, kind, g)
	if err != nil {
		return Record{}, err
	}
	rec.Service, rec.Purposes = r.Service, r.Purposes
	if rec.SubjectHash, err = c.subjectHash(ctx, r.Subject); err != nil {
		return Record{}, err
	}
	if err := c.sealIdentity(ctx, &rec, g.user, g.name, r.Subject); err != nil {
		return Record{}, err
	}
	for range 3 {
		var final Record
		if final, err = c.join(ctx, receipt, rec, r.Subject); err == nil || !errors.Is(err, gatehouse.ErrConflict) {
			return final, err
		}
	}
	return Record{}, err
}
