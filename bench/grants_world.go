package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/connect"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"
)

// platformX is the sandbox's X in a process of its own, with single-use refresh
// tokens, as its client sees it.
type platformX struct {
	url, clientID, clientSecret string
	person                      string // who consents
	pid                         int
	client                      *http.Client
	egress                      *wire.Egress
}

const benchRedirect = "http://127.0.0.1:1/_gatehouse/connect/callback/main-x"

func newPlatformX(s *stage) (*platformX, error) {
	p := &platformX{url: s.upstream, pid: s.upstreamPID, client: s.client()}
	var apps struct {
		X struct {
			ClientID     string `json:"client_id"`
			ClientSecret string `json:"client_secret"`
		} `json:"x"`
	}
	if err := getJSON(p.client, p.url+"/_sandbox/apps", &apps); err != nil {
		return nil, err
	}
	p.clientID, p.clientSecret = apps.X.ClientID, apps.X.ClientSecret
	var people []struct{ Username string }
	if err := getJSON(p.client, p.url+"/_sandbox/people", &people); err != nil {
		return nil, err
	}
	p.person = people[0].Username
	if err := postJSON(p.client, p.url+"/_sandbox/redirects", "", map[string][]string{"uris": {benchRedirect}}, nil); err != nil {
		return nil, err
	}
	var err error
	p.egress, err = wire.NewEgress(wire.EgressConfig{
		Hosts: []string{strings.TrimPrefix(p.url, "https://")}, AllowLoopback: true, RootCAs: s.roots,
	})
	return p, err
}

// pair is an OAuth 2.0 grant as X issues it.
type pair struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Life    int64  `json:"expires_in"`
}

// mint has one of the sandbox's people consent, and exchanges the code.
func (p *platformX) mint(ctx context.Context, redirect string) (pair, error) {
	verifier := rand.Text() + rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	ask := url.Values{
		"response_type": {"code"}, "client_id": {p.clientID}, "redirect_uri": {redirect}, "state": {"s"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
		"sandbox_person": {p.person}, "sandbox_decision": {"allow"},
	}
	// X wants spaces as %20.
	query := strings.ReplaceAll(ask.Encode(), "+", "%20") + "&scope=tweet.read%20users.read%20offline.access"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/i/oauth2/authorize?"+query, nil)
	if err != nil {
		return pair{}, err
	}
	consent, err := p.client.Transport.RoundTrip(req)
	if err != nil {
		return pair{}, err
	}
	_ = consent.Body.Close()
	back, err := url.Parse(consent.Header.Get("Location"))
	if err != nil || back.Query().Get("code") == "" {
		return pair{}, fmt.Errorf("the consent page answered %s", consent.Status)
	}
	form := url.Values{"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")}, "redirect_uri": {redirect}, "code_verifier": {verifier}}
	req, err = http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/2/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		return pair{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(p.clientID), url.QueryEscape(p.clientSecret))
	res, err := p.client.Do(req)
	if err != nil {
		return pair{}, err
	}
	defer res.Body.Close()
	var got pair
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil || got.Refresh == "" {
		return pair{}, fmt.Errorf("the token endpoint answered %s", res.Status)
	}
	return got, nil
}

// registry is Gatehouse's registry of connections in this process, on a database
// of its own, joined to the sandbox's X.
type registry struct {
	engine, dsn string
	db          *store.DB
	conns       *connect.Connections
	log         *audit.Log
	close       func()
}

func newRegistry(ctx context.Context, engine, dsn, dir string, p *platformX) (*registry, error) {
	if err := store.Create(ctx, dsn); err != nil {
		return nil, err
	}
	db, err := store.Open(ctx, dsn)
	if err != nil {
		return nil, err
	}
	key := filepath.Join(dir, engine+".key")
	if err := vault.CreateRootKeyFile(key); err != nil {
		return nil, err
	}
	root, err := vault.NewFileRootKey(key)
	if err != nil {
		return nil, err
	}
	config := vault.Config{Root: root, Store: db.Vault(), Environment: "development"}
	if err := vault.Init(ctx, config); err != nil {
		return nil, err
	}
	v, err := vault.Open(ctx, config)
	if err != nil {
		return nil, err
	}
	signing, _, err := note.GenerateKey(rand.Reader, "gatehouse/bench")
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(signing)
	if err != nil {
		return nil, err
	}
	quiet := slog.New(slog.DiscardHandler)
	l, err := audit.Open(ctx, audit.Config{Store: db.Audit(), Signer: signer, Environment: "development", Seal: v.SealPersonal, Log: quiet})
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	var group errgroup.Group
	group.Go(func() error { return l.Run(running) })
	r := &registry{engine: engine, dsn: dsn, db: db, log: l, close: func() {
		stop()
		_ = group.Wait()
		_ = db.Close()
	}}
	r.conns, err = connect.New(connect.Config{
		Store: db.Connect(), Log: l, Vault: v, Egress: p.egress, PublicURL: "http://127.0.0.1:1", Logger: quiet,
		Apps: []connect.App{{
			Name: "main-x", Platform: gatehouse.X, ClientID: p.clientID, ClientSecret: secret.New(p.clientSecret),
			Endpoints: connect.Endpoints{
				Authorize: p.url + "/i/oauth2/authorize", Token: p.url + "/2/oauth2/token", Revoke: p.url + "/2/oauth2/revoke", API: p.url,
			},
		}},
		Scopes:        func([]gatehouse.PurposeName) ([]string, error) { return []string{"tweet.read", "users.read"}, nil },
		RevokeHandles: func(context.Context, gatehouse.ConnectionID) error { return nil },
	})
	return r, err
}

// takeIn imports n grants of one person for n subjects, eight at a time.
func (r *registry) takeIn(ctx context.Context, p *platformX, n int) ([]gatehouse.ConnectionID, error) {
	ids := make([]gatehouse.ConnectionID, n)
	var done atomic.Int64
	var group errgroup.Group
	group.SetLimit(8)
	for i := range n {
		group.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			got, err := p.mint(ctx, benchRedirect)
			if err != nil {
				return err
			}
			in, err := r.conns.Import(ctx, connect.ImportRequest{
				App: "main-x", Service: "bench", Subject: gatehouse.Subject(fmt.Sprint("subject-", i)), Purposes: []gatehouse.PurposeName{"bench"},
				Access: secret.New(got.Access), Refresh: secret.New(got.Refresh), KeepCopies: true,
				Expires: time.Now().Add(time.Duration(got.Life) * time.Second), Scopes: []string{"tweet.read", "users.read", "offline.access"},
			})
			ids[i] = in.Connection.ID
			progress("%s: %d of %d grants", r.engine, done.Add(1), n)
			return err
		})
	}
	return ids, group.Wait()
}

// change changes connections in the store, in batches.
func change(ctx context.Context, db *store.DB, ids []gatehouse.ConnectionID, f func(*connect.Record)) error {
	const batch = 500
	for len(ids) > 0 {
		part := ids[:min(batch, len(ids))]
		ids = ids[len(part):]
		records := make([]connect.Record, len(part))
		for i, id := range part {
			rec, err := db.Connect().Connection(ctx, id)
			if err != nil {
				return err
			}
			f(&rec)
			records[i] = rec
		}
		if err := db.Connect().SaveConnections(ctx, records...); err != nil {
			return err
		}
	}
	return nil
}

// makeDue makes a record's token so long due that it is renewed at full pace.
func makeDue(r *connect.Record) { r.RenewAt = time.Now().Add(-time.Hour) }

// makeEarly makes it due just now, with two minutes ahead of it: long enough for the calm beginning to
// outlast a measurement, and short enough for the rest not to.
func makeEarly(r *connect.Record) {
	now := time.Now()
	r.RenewAt, r.AccessExpires = now, now.Add(2*time.Minute)
}

// makeExpired makes it due, and expired.
func makeExpired(r *connect.Record) {
	makeDue(r)
	r.AccessExpires, r.Updated = r.RenewAt, r.RenewAt
}
