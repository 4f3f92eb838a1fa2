package connect_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
)

// beginOAuth1 begins a three-legged connection and opens its link.
func beginOAuth1(t *testing.T, w *connecttest.World) connecttest.Browser {
	t.Helper()
	begun, err := w.Connections.Begin(t.Context(), connect.BeginRequest{
		App: "main-x", Subject: "user-7", Purposes: []gatehouse.PurposeName{"publish"},
		ReturnTo: connecttest.ReturnTo, State: "app state", Service: "scheduler", OAuth1: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w.Start(begun)
}

// A person connects by OAuth 1.0a; calls with query and form are signed so that
// X accepts them; revoking invalidates the token there.
func TestThreeLeggedOAuth1(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := connecttest.New(t, dsn, connecttest.Options{})
		b := beginOAuth1(t, w)
		back := b.Decide(connecttest.Person(1), "allow", "")
		if w.Connections.AttemptOf(t.Context(), back) == "" {
			t.Fatal("the callback's attempt is not found")
		}
		q := b.Back("main-x", back)
		c, err := w.Connections.Redeem(t.Context(), secret.New(q.Get("code")), "user-7", "scheduler")
		if err != nil || c.Kind != connect.KindOAuth1 || c.Status != connect.Healthy || c.PlatformUser == "" {
			t.Fatalf("%+v, %v", c, err)
		}
		for _, query := range []string{"", "?user.fields=created_at,name&expansions=pinned_tweet_id"} {
			if status, err := w.Call(c.ID, http.MethodGet, w.XURL+"/2/users/me"+query); status != http.StatusOK || err != nil {
				t.Errorf("calling %q gives %d, %v", query, status, err)
			}
		}
		if err := w.Connections.Revoke(t.Context(), c.ID, "asked by a test"); err != nil {
			t.Fatal(err)
		}
		if after, err := w.Connections.Get(t.Context(), c.ID); err != nil || after.RevokeOutstanding {
			t.Errorf("after revocation: %+v, %v", after, err)
		}
		if len(lastRequest(w, "/1.1/oauth/invalidate_token")) == 0 {
			t.Error("X was not asked to invalidate the token")
		}
	})
}

// lastRequest returns the paths at which the sandbox saw a request.
func lastRequest(w *connecttest.World, path string) string {
	for _, r := range w.Requests.Last(50) {
		if r.Path == path && r.Status == http.StatusOK {
			return r.Path
		}
	}
	return ""
}

func TestThreeLeggedRefusals(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	b := beginOAuth1(t, w)
	if q := b.Back("main-x", b.Decide(connecttest.Person(1), "deny", "")); q.Get("error") != "access_denied" || q.Has("code") {
		t.Errorf("after a denial the app received %v", q)
	}
	b = beginOAuth1(t, w)
	back := b.Decide(connecttest.Person(1), "allow", "")
	mixed := url.Values{"oauth_token": back["oauth_token"], "oauth_verifier": back["oauth_verifier"], "state": back["oauth_token"]}
	_, err := w.Connections.Callback(t.Context(), "main-x", mixed, b.Cookie)
	refused(t, err, "connect/unknown-state")
	if q := b.Back("main-x", url.Values{"oauth_token": back["oauth_token"], "oauth_verifier": {"guess"}}); q.Get("error") == "" || q.Has("code") {
		t.Errorf("a wrong verifier gives the app %v", q)
	}
}

// An operator hands in a token pair that is already there.
func TestAddOAuth1(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	token, tokenSecret := w.X.MintOAuth1(connecttest.Person(1))
	r := connect.AddOAuth1Request{
		App: "main-x", Service: "scheduler", Subject: "user-7", Purposes: []gatehouse.PurposeName{"publish"},
		Token: secret.New(token), TokenSecret: secret.New(tokenSecret),
	}
	c, err := w.Connections.AddOAuth1(t.Context(), r)
	if err != nil || c.Status != connect.Healthy || c.Kind != connect.KindOAuth1 {
		t.Fatalf("%+v, %v", c, err)
	}
	if again, err := w.Connections.AddOAuth1(t.Context(), r); err != nil || again.ID != c.ID {
		t.Errorf("handing it in again gives %+v, %v", again, err)
	}
	k, err := w.Connections.Credential(t.Context(), w.Receipt(), c.ID)
	if err != nil || !k.Is(token) || !k.Is(tokenSecret) {
		t.Fatalf("the credential: %v", err)
	}
	form := url.Values{"q": {"ünï + code"}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.XURL+"/2/nothing?a=b", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	k.SetForm(form)
	if err := k.Authorize(req); err != nil {
		t.Fatal(err)
	}
	reply, err := w.Egress.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	reply.Body.Close()
	if reply.StatusCode == http.StatusUnauthorized {
		t.Error("the signature over query and form is refused")
	}

	r.TokenSecret = secret.New("wrong")
	if _, err := w.Connections.AddOAuth1(t.Context(), r); err == nil || strings.Contains(err.Error(), token) {
		t.Errorf("a wrong secret gives %v", err)
	}
	r.App = "pages"
	_, err = w.Connections.AddOAuth1(t.Context(), r)
	refused(t, err, "connect/oauth1")
}
