package gateway_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
)

type tokenReply struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	TokenType    string `json:"token_type"`
	Scope        string
	ExpiresIn    int64 `json:"expires_in"`
}

// X's clients refresh: the handle is its own refresh token.
func TestXRefreshIsAnswered(t *testing.T) {
	r := newRig(t)
	h := r.xHandle()
	r.seen.reset()
	for name, o := range map[string][]option{
		"public":       {body(formType, "grant_type=refresh_token&client_id=gatehouse&refresh_token="+h)},
		"confidential": {body(formType, "grant_type=refresh_token&refresh_token="+h), header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("id:secret")))},
	} {
		var reply tokenReply
		r.call("POST", "/x/2/oauth2/token", o...).ok(&reply)
		if reply.AccessToken != h || reply.RefreshToken != h || reply.TokenType != "bearer" || reply.ExpiresIn < 3600 || !strings.Contains(reply.Scope, "tweet.read") {
			t.Errorf("%s: %+v", name, reply)
		}
	}
	if n := r.seen.count(); n != 0 {
		t.Errorf("%d requests reached the platform", n)
	}
	r.call("POST", "/x/2/oauth2/token", body(formType, "grant_type=refresh_token&refresh_token=bm90LWEtaGFuZGxl")).refused(401, "refuse/no-handle")
	r.call("POST", "/x/2/oauth2/token", body(formType, "grant_type=authorization_code&code=abc"), bearer(h)).refused(403, "refuse/oauth-endpoint")
	r.check()
}

// Logout through X's revocation: the grant ends at X, and the handle with it.
func TestXRevoke(t *testing.T) {
	r := newRig(t)
	var h string
	var reply struct{ Revoked bool }
	// As a form, and, for another handle, as the JSON that twitter-api-v2 sends.
	again := r.xHandle()
	r.call("POST", "/2/oauth2/revoke", body("application/json", `{"client_id":"gatehouse","token":"`+again+`","token_type_hint":"access_token"}`)).ok(&reply)
	r.call("GET", "/x/2/users/me", bearer(again)).refused(401, "identity/handle-revoked")
	h = r.xHandle()
	r.call("POST", "/x/2/oauth2/revoke", body(formType, "client_id=gatehouse&token="+h)).ok(&reply)
	if !reply.Revoked {
		t.Error("the reply does not say so")
	}
	if got := r.last(); got.Path != "/2/oauth2/revoke" {
		t.Errorf("X was not asked to revoke: %s", got.Path)
	}
	r.call("GET", "/x/2/users/me", bearer(h)).refused(401, "identity/handle-revoked")
	r.check()
}

// The app-only bearer is kept; the app gets a handle that works for app-only
// calls and can be given up.
func TestXAppOnly(t *testing.T) {
	r := newRig(t)
	h := r.xHandle()
	var reply tokenReply
	r.call("POST", "/x/oauth2/token", bearer(h), body(formType, "grant_type=client_credentials")).ok(&reply)
	if !strings.HasPrefix(reply.AccessToken, "gth_hnd_") || reply.AccessToken == h {
		t.Fatalf("app token: %+v", reply)
	}
	r.call("GET", "/x/2/tweets/search/recent?query=hello", bearer(reply.AccessToken)).ok()
	if got := r.last().Header.Get("Authorization"); !strings.HasPrefix(got, "Bearer AAAA") {
		t.Errorf("X got %.12q, want the app-only bearer", got)
	}
	r.call("POST", "/x/oauth2/invalidate_token", body(formType, "access_token="+reply.AccessToken)).ok(&reply)
	r.call("GET", "/x/2/tweets/search/recent?query=hello", bearer(reply.AccessToken)).refused(401, "identity/handle-revoked")
	r.call("GET", "/x/2/users/me", bearer(h)).ok()
	r.check()
}

// An OAuth 1.0a set works for a connection of either kind, and its signature is
// checked.
func TestOAuth1(t *testing.T) {
	r := newRig(t)
	token, tokenSecret := r.xSite.MintOAuth1(r.people[2].Username)
	signed, err := r.connect.AddOAuth1(r.ctx, connect.AddOAuth1Request{App: "main-x", Service: scheduler, Subject: "s", Purposes: []gatehouse.PurposeName{"publish"},
		Token: secret.New(token), TokenSecret: secret.New(tokenSecret)})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]connect.Connection{"oauth1": signed, "oauth2": r.connection("main-x", "publish", r.people[2].Username)} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			h, text := r.handle(c, "publish")
			signer := r.oauth1Client(h.ID)
			var me struct{ Data struct{ Username string } }
			r.call("GET", "/x/2/users/me?user.fields=username,description", signer.sign(nil)).ok(&me)
			if me.Data.Username != r.people[2].Username {
				t.Errorf("me is %q", me.Data.Username)
			}
			want := "Bearer "
			if name == "oauth1" {
				want = "OAuth "
			}
			if got := r.last().Header.Get("Authorization"); !strings.HasPrefix(got, want) {
				t.Errorf("X got %.10q, want %s", got, want)
			}
			// JSON is not signed; a form would be.
			r.call("POST", "/2/tweets", body("application/json", `{"text":"signed `+name+` ✍"}`), signer.sign(nil)).ok()
			// The bearer form of the same handle works beside it.
			r.call("GET", "/x/2/users/me", bearer(text)).ok()
			// Signed for X's own address by a client whose transport changes the host.
			r.call("GET", "/x/2/users/me", signer.signFor("https://api.x.com/2/users/me", nil)).ok()
			// The fields of a form are part of what is signed.
			grant := url.Values{"grant_type": {"client_credentials"}}
			r.call("POST", "/x/oauth2/token", body(formType, grant.Encode()), signer.sign(grant)).ok()
			r.call("POST", "/x/oauth2/token", body(formType, grant.Encode()), signer.sign(nil)).refused(401, "identity/oauth1-signature")
			// A replay and a forgery.
			again := signer.sign(nil)
			var kept string
			r.call("GET", "/x/2/users/me", again, func(req *http.Request) { kept = req.Header.Get("Authorization") }).ok()
			r.call("GET", "/x/2/users/me", header("Authorization", kept)).refused(401, "identity/oauth1-replay")
			r.call("GET", "/x/2/tweets?ids=1", header("Authorization", strings.Replace(kept, "oauth_nonce=\"", "oauth_nonce=\"z", 1))).refused(401, "identity/oauth1-signature")
		})
	}
	r.t = t
	// Logout the OAuth 1.0a way.
	h, _ := r.handle(signed, "publish")
	var reply tokenReply
	r.call("POST", "/x/1.1/oauth/invalidate_token.json", r.oauth1Client(h.ID).sign(nil)).ok(&reply)
	if reply.AccessToken != string(h.ID) {
		t.Errorf("the reply names token %q", reply.AccessToken)
	}
	if _, err := r.handles.OAuth1Set(r.ctx, h.ID); err == nil {
		t.Error("the set can still be used")
	}
	r.check()
}

// Facebook: exchange, app token, debug_token and permissions.
func TestFacebookOAuth(t *testing.T) {
	r := newRig(t)
	c := r.connection("pages", "pages", r.people[1].Username)
	_, h := r.handle(c, "pages")
	r.seen.reset()
	var token tokenReply
	r.call("GET", "/meta/v25.0/oauth/access_token?grant_type=fb_exchange_token&client_id=1&client_secret=s&fb_exchange_token="+h).ok(&token)
	if token.AccessToken != h || token.ExpiresIn < 3600 {
		t.Errorf("exchange: %+v", token)
	}
	var debug struct {
		Data struct {
			AppID     string `json:"app_id"`
			Type      string
			IsValid   bool   `json:"is_valid"`
			UserID    string `json:"user_id"`
			Scopes    []string
			ExpiresAt int64 `json:"expires_at"`
		}
	}
	r.call("GET", "/meta/debug_token?input_token="+h+"&access_token="+h).ok(&debug)
	if d := debug.Data; !d.IsValid || d.Type != "USER" || d.UserID != c.PlatformUser || d.AppID != r.mSite.Apps().Facebook.AppID || len(d.Scopes) == 0 || d.ExpiresAt == 0 {
		t.Errorf("debug_token: %+v", d)
	}
	r.call("GET", "/meta/debug_token?input_token=EAAsomething&access_token="+h).ok(&debug)
	if debug.Data.IsValid {
		t.Error("debug_token calls a foreign token valid")
	}
	if n := r.seen.count(); n != 0 {
		t.Errorf("%d requests reached the platform", n)
	}
	r.call("GET", "/meta/v25.0/oauth/access_token?grant_type=client_credentials&client_id=1&client_secret=s", bearer(h)).ok(&token)
	if !strings.HasPrefix(token.AccessToken, "gth_hnd_") || token.AccessToken == h {
		t.Errorf("app token: %+v", token)
	}
	r.call("GET", "/meta/debug_token?input_token="+token.AccessToken, bearer(token.AccessToken)).ok(&debug)
	if debug.Data.Type != "APP" {
		t.Errorf("the app's handle is a %s", debug.Data.Type)
	}
	var permissions struct {
		Data []struct{ Permission, Status string }
	}
	r.call("GET", "/meta/v25.0/me/permissions", bearer(h)).ok(&permissions)
	if len(permissions.Data) == 0 {
		t.Error("no permissions")
	}
	r.call("DELETE", "/meta/v25.0/me/permissions/email", bearer(h)).ok()
	r.call("GET", "/meta/v25.0/me", bearer(h)).ok()
	r.call("DELETE", "/meta/v25.0/9876543210/permissions", bearer(h)).refused(403, "refuse/other-person")
	var success struct{ Success bool }
	r.call("DELETE", "/meta/v25.0/me/permissions", bearer(h)).ok(&success)
	if !success.Success {
		t.Error("logout does not say so")
	}
	r.call("GET", "/meta/v25.0/me", bearer(h)).refused(401, "identity/handle-revoked")
	r.check()
}

// oauth/revoke ends the grant that revoke_token names.
func TestFacebookRevoke(t *testing.T) {
	r := newRig(t)
	h := r.metaHandle()
	page := r.accounts(h)[0].AccessToken
	r.call("GET", "/meta/v25.0/oauth/revoke?client_id=1&client_secret=x&revoke_token="+page+"&access_token="+h).ok()
	r.call("GET", "/meta/v25.0/me", bearer(page)).refused(401, "identity/handle-revoked")
	r.call("GET", "/meta/v25.0/me", bearer(h)).ok()
	r.check()
}

// Instagram and Threads: calls, exchange and refresh.
func TestInstagramAndThreads(t *testing.T) {
	r := newRig(t)
	for _, p := range []struct {
		app     gatehouse.AppName
		purpose gatehouse.PurposeName
		prefix  string
		host    string
		grant   string
	}{{"insta", "gram", "/instagram", "graph.instagram.com", "ig"}, {"threads", "threads", "/threads", "graph.threads.net", "th"}} {
		t.Run(p.prefix, func(t *testing.T) {
			r.t = t
			_, h := r.handle(r.connection(p.app, p.purpose, r.people[3].Username), p.purpose)
			var me struct{ ID, Username string }
			r.call("GET", p.prefix+"/v1.0/me?fields=id,username", bearer(h)).ok(&me)
			if me.Username != r.people[3].Username {
				t.Errorf("me is %q", me.Username)
			}
			r.call("GET", "/me?fields=id", bearer(h), asHost(p.host)).ok()
			r.call("GET", "/v1.0/me?fields=id", bearer(h)).ok() // by the handle alone
			r.seen.reset()
			var token tokenReply
			r.call("GET", p.prefix+"/access_token?grant_type="+p.grant+"_exchange_token&client_secret=s&access_token="+h).ok(&token)
			r.call("GET", p.prefix+"/refresh_access_token?grant_type="+p.grant+"_refresh_token&access_token="+h).ok(&token)
			if token.AccessToken != h || r.seen.count() != 0 {
				t.Errorf("refresh: %+v, %d requests at the platform", token, r.seen.count())
			}
			r.call("POST", p.prefix+"/oauth/access_token", bearer(h), body(formType, url.Values{"grant_type": {"authorization_code"}, "code": {"c"}}.Encode())).refused(403, "refuse/oauth-endpoint")
		})
	}
	r.t = t
	r.check()
}

// A service cannot act on, or learn of, another service's handle by naming it.
func TestOtherServicesHandles(t *testing.T) {
	r := newRig(t)
	mine := r.metaHandle()
	c := r.connection("pages", "pages", r.people[4].Username)
	_, text, err := r.handles.NewHandle(r.ctx, identity.HandleRequest{Service: other, Connection: c.ID, Person: c.Person, Purpose: "pages", Platform: c.Platform, App: c.App})
	if err != nil {
		t.Fatal(err)
	}
	theirs := text.Reveal()
	r.call("GET", "/meta/v25.0/oauth/revoke?revoke_token="+theirs, bearer(mine)).refused(401, "identity/handle-unknown")
	r.call("GET", "/meta/v25.0/oauth/access_token?grant_type=fb_exchange_token&fb_exchange_token="+theirs, bearer(mine)).refused(401, "identity/handle-unknown")
	var debug struct {
		Data struct {
			IsValid bool   `json:"is_valid"`
			UserID  string `json:"user_id"`
		}
	}
	r.call("GET", "/meta/debug_token?input_token="+theirs, bearer(mine)).ok(&debug)
	if debug.Data.IsValid || debug.Data.UserID != "" {
		t.Errorf("debug_token tells of another service's handle: %+v", debug)
	}
	batch := `[{"method":"GET","relative_url":"me?access_token=` + theirs + `"}]`
	r.call("POST", "/meta/", bearer(mine), body(formType, "batch="+url.QueryEscape(batch))).refused(403, "refuse/batch")
	r.call("GET", "/meta/v25.0/me", bearer(theirs)).ok()
	r.check()
}
