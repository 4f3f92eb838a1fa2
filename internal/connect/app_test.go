package connect_test

import (
	"errors"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
)

func TestNewRefusesWrongConfiguration(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	good := func() connect.Config {
		return connect.Config{
			Store: w.DB.Connect(), Log: w.Log, Vault: w.Vault, Egress: w.Egress, PublicURL: "https://app.example.com",
			Scopes:        func([]gatehouse.PurposeName) ([]string, error) { return nil, nil },
			RevokeHandles: w.Directory.RevokeConnection, Returns: []string{connecttest.ReturnTo},
			Apps: []connect.App{{Name: "a", Platform: gatehouse.X, ClientID: "id", ClientSecret: secret.New("canary")}},
		}
	}
	if c, err := connect.New(good()); err != nil || !c.Secure() || len(c.Apps()) != 1 {
		t.Fatalf("a good configuration: %v", err)
	}
	app := func(change func(*connect.App)) func(*connect.Config) {
		return func(c *connect.Config) { change(&c.Apps[0]) }
	}
	for name, change := range map[string]func(*connect.Config){
		"no public URL":        func(c *connect.Config) { c.PublicURL = "" },
		"plain public URL":     func(c *connect.Config) { c.PublicURL = "http://app.example.com" },
		"public URL with path": func(c *connect.Config) { c.PublicURL = "https://app.example.com/x" },
		"bad return":           func(c *connect.Config) { c.Returns = []string{"http://app.example.com/"} },
		"app twice":            func(c *connect.Config) { c.Apps = append(c.Apps, c.Apps[0]) },
		"unknown platform":     app(func(a *connect.App) { a.Platform = "myspace" }),
		"bad name":             app(func(a *connect.App) { a.Name = "a/b" }),
		"no client":            app(func(a *connect.App) { a.ClientID = "" }),
		"no secret":            app(func(a *connect.App) { a.ClientSecret = secret.Text{} }),
		"half a consumer":      app(func(a *connect.App) { a.ConsumerKey = "key" }),
		"odd proof":            app(func(a *connect.App) { a.Proof = "maybe" }),
		"plain endpoint":       app(func(a *connect.App) { a.Endpoints.Token = "http://api.x.com/token" }),
		"generic, incomplete":  app(func(a *connect.App) { a.Platform = gatehouse.OAuth2 }),
	} {
		c := good()
		change(&c)
		_, err := connect.New(c)
		if !errors.Is(err, gatehouse.ErrInvalid) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := connect.New(connect.Config{}); err == nil {
		t.Error("an empty configuration is accepted")
	}
}

// The platforms' own addresses stand where the configuration names none.
func TestOwnEndpoints(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	for p, want := range map[gatehouse.Platform]string{
		gatehouse.X:         "https://x.com/i/oauth2/authorize?",
		gatehouse.Facebook:  "https://www.facebook.com/v25.0/dialog/oauth?",
		gatehouse.Instagram: "https://www.instagram.com/oauth/authorize?",
		gatehouse.Threads:   "https://threads.net/oauth/authorize?",
	} {
		c, err := connect.New(connect.Config{
			Store: w.DB.Connect(), Log: w.Log, Vault: w.Vault, Egress: w.Egress, PublicURL: "https://app.example.com",
			Scopes:        func([]gatehouse.PurposeName) ([]string, error) { return []string{"a.b", "c:d"}, nil },
			RevokeHandles: w.Directory.RevokeConnection, Returns: []string{connecttest.ReturnTo},
			Apps: []connect.App{{Name: "a", Platform: p, ClientID: "id", ClientSecret: secret.New("canary")}},
		})
		if err != nil {
			t.Fatal(err)
		}
		begun, err := c.Begin(t.Context(), connect.BeginRequest{App: "a", Subject: "s", Purposes: []gatehouse.PurposeName{"p"}, ReturnTo: connecttest.ReturnTo, Service: "scheduler"})
		if err != nil {
			t.Fatal(err)
		}
		address, _, err := c.Start(t.Context(), begun.ID)
		if err != nil || !strings.HasPrefix(address, want) || strings.Contains(address, "canary") || strings.Contains(address, "+") {
			t.Errorf("%s: %s, %v", p, address, err)
		}
		if pkce := strings.Contains(address, "code_challenge_method=S256"); pkce != (p == gatehouse.X) {
			t.Errorf("%s: PKCE is %v", p, pkce)
		}
	}
}
