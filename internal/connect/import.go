package connect

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// ImportRequest hands in a token that was obtained elsewhere: the operator, or
// the app's own signed-in session, vouches that it is the subject's.
type ImportRequest struct {
	App      gatehouse.AppName
	Service  gatehouse.ServiceName
	Subject  gatehouse.Subject
	Purposes []gatehouse.PurposeName
	Kind     Kind // "" means KindUser; KindApp cannot be handed in
	// PlatformUser is the platform's id of the person, page or system user, if
	// the caller believes to know it. The platform's word decides.
	PlatformUser string
	// Parent is the connection whose token a page's came from.
	Parent gatehouse.ConnectionID
	// Access and Refresh are OAuth 2.0 tokens; of OAuth 1.0a, the token and its
	// secret. Where a refresh token can be used, Access may be absent or expired.
	Access, Refresh secret.Text
	// Scopes are overruled by a platform that says which ones a token has.
	Scopes  []string
	Expires time.Time // of Access; zero: not known or never
	// KeepCopies leaves X's pair as it is. Otherwise it is refreshed at once, so
	// that copies of it elsewhere die.
	KeepCopies bool
}

// Imported is what became of a token that was handed in.
type Imported struct {
	Connection Connection
	Already    bool // it had been handed in before; nothing was asked or changed
}

// AddOAuth1Request hands in an OAuth 1.0a token pair of X.
type AddOAuth1Request struct {
	App                gatehouse.AppName
	Service            gatehouse.ServiceName
	Subject            gatehouse.Subject
	Purposes           []gatehouse.PurposeName
	Token, TokenSecret secret.Text
}

// AddOAuth1 is Import of an OAuth 1.0a token pair of X.
func (c *Connections) AddOAuth1(ctx context.Context, r AddOAuth1Request) (Connection, error) {
	in, err := c.Import(ctx, ImportRequest{
		App: r.App, Service: r.Service, Subject: r.Subject, Purposes: r.Purposes, Kind: KindOAuth1, Access: r.Token, Refresh: r.TokenSecret,
	})
	return in.Connection, err
}

// Import validates a token at its platform and keeps it as a healthy connection.
// Handing in the same token again finds the connection that it became; after an
// interruption it goes on where it was.
func (c *Connections) Import(ctx context.Context, r ImportRequest) (Imported, error) {
	a, err := c.checkImport(&r)
	if err != nil {
		return Imported{}, err
	}
	journal, err := c.journalOf(ctx, r)
	if err != nil {
		return Imported{}, err
	}
	if journal.State == ImportDone {
		v, err := c.importedBefore(ctx, journal, r)
		if err != nil || !r.mayReturn(v.Status) {
			return Imported{Connection: v, Already: true}, err
		}
		journal.State = ""
	}
	e := audit.Entry{Action: "connect.import", Service: r.Service, Platform: a.Platform, App: a.Name, Facts: map[string]string{"kind": string(r.Kind)}}
	receipt, err := c.log.Intent(ctx, e)
	if err != nil {
		return Imported{}, err
	}
	rec, err := c.takeIn(ctx, receipt, a, r, journal)
	if err == nil {
		e = c.entry("connect.import", rec)
	}
	c.log.Outcome(receipt, outcome(e, err))
	if err != nil {
		return Imported{}, err
	}
	v, err := c.view(ctx, rec)
	return Imported{Connection: v}, err
}

// CheckImport says what Import would do, without changing anything here or at
// the platform. Checked is false when only a refresh could have told more.
func (c *Connections) CheckImport(ctx context.Context, r ImportRequest) (found Imported, checked bool, err error) {
	parent := r.Parent
	if r.Kind == KindPage && parent == "" {
		r.Parent = "of another line" // which a dry run does not take in
	}
	a, err := c.checkImport(&r)
	if err != nil {
		return Imported{}, false, err
	}
	journal, err := c.journalOf(ctx, r)
	if err != nil {
		return Imported{}, false, err
	}
	if journal.State == ImportDone {
		v, err := c.importedBefore(ctx, journal, r)
		if err != nil || !r.mayReturn(v.Status) {
			return Imported{Connection: v, Already: true}, true, err
		}
	}
	if parent != "" {
		if _, err := c.importParent(ctx, a, r); err != nil {
			return Imported{}, false, err
		}
	}
	e := audit.Entry{Action: "connect.import", Service: r.Service, Platform: a.Platform, App: a.Name, Facts: map[string]string{"kind": string(r.Kind), "dry": "yes"}}
	receipt, err := c.log.Intent(ctx, e)
	if err != nil {
		return Imported{}, false, err
	}
	g := r.grant()
	known, err := c.importOwner(ctx, a, r, &g)
	c.log.Outcome(receipt, outcome(e, err))
	return Imported{}, known && err == nil, err
}

// journalOf returns the record of a token's import, new or found.
func (c *Connections) journalOf(ctx context.Context, r ImportRequest) (ImportRecord, error) {
	token := r.Access
	if r.Kind == KindUser && !r.Refresh.IsZero() {
		token = r.Refresh // what can be used once is what must be recognised
	}
	parts := []string{string(r.App), string(r.Kind), token.Reveal()}
	if r.Kind == KindOAuth1 {
		parts = append(parts, r.Refresh.Reveal())
	}
	fingerprint, err := c.keyed(ctx, "connect/import", parts...)
	if err != nil {
		return ImportRecord{}, err
	}
	journal, err := c.store.ImportOf(ctx, fingerprint)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return ImportRecord{Fingerprint: fingerprint, App: r.App, Created: time.Now()}, nil
	}
	return journal, err
}

// importedBefore returns the connection that a token became, if it was handed in
// for the same service and subject.
func (c *Connections) importedBefore(ctx context.Context, journal ImportRecord, r ImportRequest) (Connection, error) {
	rec, err := c.redeemed(ctx, journal.Connection)
	if err != nil {
		return Connection{}, err
	}
	hash, err := c.subjectHash(ctx, r.Subject)
	if err != nil {
		return Connection{}, err
	}
	if rec.Service != r.Service || rec.SubjectHash != hash {
		return Connection{}, wire.Refuse(gatehouse.ErrConflict, "connect/import-taken", "this token was handed in before, for another service or subject")
	}
	return c.view(ctx, rec)
}

// mayReturn reports whether a token that was handed in before is worth another
// try, its connection having ended. One that was used up is not: to present a
// spent refresh token can end more than itself.
func (r ImportRequest) mayReturn(s Status) bool {
	return !s.Usable() && s != Erased && (r.Kind != KindUser || r.Refresh.IsZero())
}

func (r ImportRequest) grant() grant {
	return grant{access: r.Access, refresh: r.Refresh, scopes: slices.Clone(r.Scopes), expires: r.Expires}
}

// takeIn finds out whose a token is, makes it fresh where that is due, and keeps
// it.
func (c *Connections) takeIn(ctx context.Context, receipt audit.Receipt, a App, r ImportRequest, journal ImportRecord) (Record, error) {
	var parent Record
	if r.Kind == KindPage {
		var err error
		if parent, err = c.importParent(ctx, a, r); err != nil {
			return Record{}, err
		}
	}
	g := r.grant()
	c.guarded.plain(ctx, "", g.access) // what is handed in may still be good when it was replaced
	known := false
	if journal.State == "" { // otherwise the platform has been asked, and the pair is not this one any more
		var err error
		if known, err = c.importOwner(ctx, a, r, &g); err != nil {
			return Record{}, err
		}
	}
	if r.Kind == KindPage {
		return c.importPage(ctx, receipt, r, parent, journal, g)
	}
	g, journal, err := c.freshImport(ctx, receipt, a, r, journal, g, known)
	if err != nil {
		return Record{}, err
	}
	rec, err := c.newRecord(ctx, a, r.Kind, g)
	if err != nil {
		return Record{}, err
	}
	rec.Service, rec.Purposes = r.Service, r.Purposes
	if rec.Declined, err = c.lacking(a, r, g); err != nil {
		return Record{}, err
	}
	if rec.SubjectHash, err = c.subjectHash(ctx, r.Subject); err != nil {
		return Record{}, err
	}
	if err := c.sealIdentity(ctx, &rec, g.user, g.name, r.Subject); err != nil {
		return Record{}, err
	}
	// The connection gets its tokens in the transaction in which the journal
	// gives them up: a second run can never put older ones in their place.
	save := func(ctx context.Context, records ...Record) error {
		done := journal
		done.State, done.Connection, done.LeaseUntil = ImportDone, records[0].ID, time.Time{}
		done.Access, done.Refresh, done.AccessExpires = nil, nil, time.Time{}
		return c.store.SaveImport(ctx, done, records...)
	}
	ctx = context.WithoutCancel(ctx)
	for range 3 {
		var final Record
		if final, err = c.join(ctx, receipt, rec, r.Subject, save); err == nil || !errors.Is(err, gatehouse.ErrConflict) {
			return final, err
		}
	}
	return Record{}, err
}

// lacking returns the scopes that the purposes need and a person's token has
// not, if it is known which it has.
func (c *Connections) lacking(a App, r ImportRequest, g grant) ([]string, error) {
	if r.Kind != KindUser || len(g.scopes) == 0 {
		return nil, nil
	}
	needed, err := c.scopesFor(a, r.Purposes)
	if err != nil {
		return nil, err
	}
	return missing(needed, g.scopes), nil
}

// importOwner asks the platform whose the token is. It reports false, without an
// error, when the access token does not work and a refresh may still help.
func (c *Connections) importOwner(ctx context.Context, a App, r ImportRequest, g *grant) (bool, error) {
	renewable := r.Kind == KindUser && !r.Refresh.IsZero() && !exchangeOnly(a.Platform)
	if g.access.IsZero() {
		return false, nil // checkImport saw that it is renewable
	}
	asking, cancel := context.WithTimeout(ctx, platformTimeout)
	defer cancel()
	err := c.askOwner(asking, a, r, g)
	var refused *platformError
	if errors.As(err, &refused) && refused.status == http.StatusUnauthorized && renewable {
		return false, nil
	}
	if err != nil {
		field := "access_token"
		if r.Kind == KindOAuth1 {
			field = "token"
		}
		return false, refusedToken(field, err)
	}
	return true, r.claimed(*g)
}

// askOwner fills in whose a token is, by its kind.
func (c *Connections) askOwner(ctx context.Context, a App, r ImportRequest, g *grant) error {
	if r.Kind == KindOAuth1 {
		return c.whoseOAuth1(ctx, a, g)
	}
	if a.Platform != gatehouse.Facebook {
		return c.provider(a).whose(ctx, g)
	}
	return facebookProvider{client{c, a}}.debugged(ctx, r.Kind, g)
}

// claimed compares what the caller believes with the platform's word.
func (r ImportRequest) claimed(g grant) error {
	if r.PlatformUser != "" && r.PlatformUser != g.user {
		return wire.Refuse(gatehouse.ErrInvalid, "connect/import-person", "person: the platform says that this token belongs to somebody else")
	}
	return nil
}

// freshImport makes a person's tokens as fresh and as long-lived as the platform
// lets it.
func (c *Connections) freshImport(ctx context.Context, receipt audit.Receipt, a App, r ImportRequest, journal ImportRecord, g grant, known bool) (grant, ImportRecord, error) {
	if r.Kind != KindUser {
		return g, journal, nil
	}
	owner := g
	switch {
	case a.Platform == gatehouse.Facebook:
		return exchanged(ctx, g, c.provider(a).renew, &journal)
	case exchangeOnly(a.Platform) && time.Until(g.expires) < 24*time.Hour:
		kind := map[gatehouse.Platform]string{gatehouse.Instagram: "ig_exchange_token", gatehouse.Threads: "th_exchange_token"}[a.Platform]
		long, err := client{c, a}.lengthen(ctx, kind, g)
		if answered(err) {
			return g, journal, nil // it is a long-lived one near its end
		}
		return long, journal, err
	case exchangeOnly(a.Platform) || r.Refresh.IsZero() || (r.KeepCopies && known && journal.State == ""):
		return g, journal, nil
	case r.KeepCopies && journal.State == "":
		return g, journal, wire.Refuse(gatehouse.ErrInvalid, "connect/import-expired",
			"access_token: the platform does not accept it, and using the refresh token would end the copies that are to be kept")
	}
	g, journal, err := c.renewImport(ctx, receipt, a, journal, g)
	if err != nil {
		return g, journal, err
	}
	if g.user, g.name = owner.user, owner.name; !known {
		if err := c.provider(a).whose(ctx, &g); err != nil {
			return g, journal, err
		}
		if err := r.claimed(g); err != nil {
			return g, journal, err
		}
	}
	return g, journal, nil
}

// exchanged replaces a Facebook user's token by one that lives as long as
// Facebook allows; the one handed in stays alive beside it.
func exchanged(ctx context.Context, g grant, renew func(context.Context, grant) (grant, error), journal *ImportRecord) (grant, ImportRecord, error) {
	asking, cancel := context.WithTimeout(ctx, platformTimeout)
	defer cancel()
	long, err := renew(asking, g)
	if err != nil {
		return g, *journal, refusedToken("access_token", err)
	}
	long.user, long.name, long.scopes = g.user, g.name, g.scopes
	return long, *journal, nil
}

// importParent returns the connection that a page's token hangs on.
func (c *Connections) importParent(ctx context.Context, a App, r ImportRequest) (Record, error) {
	unknown := wire.Refuse(gatehouse.ErrInvalid, "connect/import-parent",
		"parent: there is no usable connection of that id for this app, service and subject")
	rec, err := c.redeemed(ctx, r.Parent)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return Record{}, unknown
	}
	if err != nil {
		return Record{}, err
	}
	hash, err := c.subjectHash(ctx, r.Subject)
	if err != nil {
		return Record{}, err
	}
	if rec.App != a.Name || rec.Service != r.Service || rec.SubjectHash != hash || rec.Parent != "" || !rec.Status.Usable() {
		return Record{}, unknown
	}
	return rec, nil
}

// importPage keeps a page's token below its parent, as if a reply had held it.
func (c *Connections) importPage(ctx context.Context, receipt audit.Receipt, r ImportRequest, parent Record, journal ImportRecord, g grant) (Record, error) {
	v, err := c.Adopt(ctx, receipt, parent.ID, Child{Kind: r.Kind, ExternalID: g.user, Name: g.name, Token: g.access, Expires: g.expires})
	if err != nil {
		return Record{}, err
	}
	journal.State, journal.Connection = ImportDone, v.ID
	if err := c.store.SaveImport(ctx, journal); err != nil && !errors.Is(err, gatehouse.ErrConflict) {
		return Record{}, err
	}
	return c.redeemed(ctx, v.ID)
}

// checkImport refuses what could never be taken in, naming the member at fault.
func (c *Connections) checkImport(r *ImportRequest) (App, error) {
	if r.Kind == "" {
		r.Kind = KindUser
	}
	invalid := func(detail string) (App, error) {
		return App{}, wire.Refuse(gatehouse.ErrInvalid, "connect/import", detail)
	}
	a, err := c.app(r.App)
	if err != nil {
		return App{}, err
	}
	renewable := r.Kind == KindUser && !exchangeOnly(a.Platform)
	switch {
	case r.Kind == KindOAuth1 && (a.Platform != gatehouse.X || a.ConsumerKey == "" || r.Refresh.IsZero()):
		return App{}, wire.Refuse(gatehouse.ErrInvalid, "connect/oauth1", "OAuth 1.0a needs an app of platform x with consumer_key and consumer_secret, and a token with its secret (token, token_secret)")
	case r.Kind == KindUser && a.ClientID == "":
		return invalid("kind: this app has no client_id: only OAuth 1.0a tokens can be handed in")
	case (r.Kind == KindPage || r.Kind == KindSystemUser) && a.Platform != gatehouse.Facebook:
		return invalid("kind: only an app of platform facebook has pages and system users")
	case !slices.Contains([]Kind{KindUser, KindOAuth1, KindPage, KindSystemUser}, r.Kind):
		return invalid("kind: it is one of user, oauth1, page, system_user")
	case r.Service == "":
		return invalid("service: it is missing")
	case len(r.Purposes) == 0:
		return invalid("purposes: at least one must be named")
	case !plainText(string(r.Subject), 1, 200):
		return invalid("subject: it must be 1 to 200 bytes of printable text: your own name for the person")
	case !plainText(r.PlatformUser, 0, 200):
		return invalid("person: it must be at most 200 bytes of printable text")
	case (r.Kind == KindPage) != (r.Parent != ""):
		return invalid("parent: a page's token has one, and no other")
	case !tokenText(r.Access) || !tokenText(r.Refresh):
		return invalid("access_token, refresh_token, token and token_secret are printable characters without spaces, at most 8 KiB")
	case r.Access.IsZero() && (!renewable || r.Refresh.IsZero()):
		return invalid("access_token: it is missing")
	case r.Kind != KindOAuth1 && !renewable && !r.Refresh.IsZero():
		return invalid("refresh_token: this kind of token has none")
	case r.KeepCopies && renewable && !r.Refresh.IsZero() && r.Expires.IsZero():
		return invalid("expires_at: without a refresh at once it must be given, or the pair would never be renewed")
	case r.Kind == KindUser && (a.Platform == gatehouse.Instagram || a.Platform == gatehouse.Threads) && r.Expires.IsZero():
		return invalid("expires_at: this platform does not say it, so it must be given")
	}
	for _, s := range r.Scopes {
		if !plainText(s, 1, 200) || strings.ContainsAny(s, " ,") {
			return invalid("scopes: each is one word")
		}
	}
	return a, nil
}

// tokenText reports whether a token, if there is one, can be one.
func tokenText(t secret.Text) bool {
	if t.IsZero() {
		return true
	}
	s := t.Reveal()
	return len(s) <= 8<<10 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
