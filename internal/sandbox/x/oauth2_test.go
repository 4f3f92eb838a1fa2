package x_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"gatehouse/internal/sandbox/x"
)

func TestAuthorizationCodeWithAClientOfOthers(t *testing.T) {
	d := newDesk(t, x.Config{})
	for _, public := range []bool{false, true} {
		config := &oauth2.Config{
			ClientID: d.app.ClientID, ClientSecret: d.app.ClientSecret, RedirectURL: callback,
			Scopes:   []string{"tweet.read", "users.read", "offline.access"},
			Endpoint: oauth2.Endpoint{AuthURL: d.url + "/i/oauth2/authorize", TokenURL: d.url + "/2/oauth2/token"},
		}
		if public {
			config.ClientID, config.ClientSecret = d.app.PublicClientID, ""
			config.Endpoint.AuthStyle = oauth2.AuthStyleInParams
		}
		secret := oauth2.GenerateVerifier()
		target, _ := url.Parse(config.AuthCodeURL("abc", oauth2.S256ChallengeOption(secret)))
		token, err := config.Exchange(t.Context(), d.code(person(1), target.Query()), oauth2.VerifierOption(secret))
		if err != nil {
			t.Fatalf("public %v: %v", public, err)
		}
		d.call(http.MethodGet, "/2/users/me", token.AccessToken, nil).expect(t, http.StatusOK)
		first := token.RefreshToken
		token.Expiry = time.Now().Add(-time.Hour)
		renewed, err := config.TokenSource(t.Context(), token).Token()
		if err != nil || renewed.RefreshToken == first {
			t.Errorf("public %v: refresh: %v", public, err)
		}
	}
}

func TestTokenShapes(t *testing.T) {
	d := newDesk(t, x.Config{})
	reply := d.redeem(d.code(person(0), d.authorizeParameters("tweet.read users.read offline.access")))
	tokens := reply.json(t)
	if tokens["token_type"] != "bearer" || tokens["expires_in"] != 7200.0 || tokens["scope"] != "tweet.read users.read offline.access" {
		t.Errorf("reply = %v", tokens)
	}
	code := d.code(person(0), d.authorizeParameters("users.read"))
	for kind, value := range map[string]any{"at": tokens["access_token"], "rt": tokens["refresh_token"], "ac": code} {
		text, err := base64.RawURLEncoding.DecodeString(value.(string))
		if err != nil || !regexp.MustCompile(`^.{45}:\d{13}:1:1:`+kind+`:1$`).Match(text) {
			t.Errorf("%s decodes to %q, %v", kind, text, err)
		}
	}
	id, err := base64.RawURLEncoding.DecodeString(d.app.ClientID)
	if err != nil || !regexp.MustCompile(`^.{20}:1:ci$`).Match(id) || len(d.app.ClientSecret) != 50 {
		t.Errorf("client id %q, secret of %d", id, len(d.app.ClientSecret))
	}
	if !strings.HasPrefix(d.x.AppBearer(), "AAAA") {
		t.Errorf("app bearer %q", d.x.AppBearer())
	}
}

func TestNoRefreshTokenWithoutOfflineAccess(t *testing.T) {
	d := newDesk(t, x.Config{})
	if _, refresh := d.login(person(0), "tweet.read users.read"); refresh != "" {
		t.Error("a refresh token came without offline.access")
	}
}

func TestAuthorizeRefusesWhatItMustNotShow(t *testing.T) {
	d := newDesk(t, x.Config{})
	for name, c := range map[string]struct {
		parameter, value, want string
	}{
		"unknown client":       {"client_id", "nobody", "invalid_request"},
		"no client":            {"client_id", "", "Missing required parameter [client_id]"},
		"other callback":       {"redirect_uri", callback + "/", `"code":415`},
		"callback with query":  {"redirect_uri", callback + "?x=1", `"code":415`},
		"token response":       {"response_type", "token", "response_type"},
		"no state":             {"state", "", "Missing required parameter [state]"},
		"state too long":       {"state", strings.Repeat("s", 501), "Value passed for the state"},
		"no challenge":         {"code_challenge", "", "Missing required parameter [code_challenge]"},
		"short S256 challenge": {"code_challenge", "short", "Value passed for the code_challenge"},
		"unknown method":       {"code_challenge_method", "S512", "code_challenge_method"},
		"no scope":             {"scope", "", "Missing required parameter [scope]"},
		"unknown scope":        {"scope", "tweet.read everything.write", "invalid_scope"},
	} {
		t.Run(name, func(t *testing.T) {
			parameters := d.authorizeParameters("tweet.read users.read")
			parameters.Set(c.parameter, c.value)
			parameters.Set("sandbox_person", person(0))
			reply := d.call(http.MethodGet, "/i/oauth2/authorize?"+parameters.Encode(), "", nil)
			if reply.status != http.StatusBadRequest || !strings.Contains(reply.body, c.want) || reply.header.Get("Location") != "" {
				t.Errorf("%d %s (Location %q), want 400 with %s", reply.status, reply.body, reply.header.Get("Location"), c.want)
			}
		})
	}
	parameters := d.authorizeParameters("users.read").Encode() + "&state=again"
	d.call(http.MethodGet, "/i/oauth2/authorize?"+parameters, "", nil).expect(t, http.StatusBadRequest)
	parameters = d.authorizeParameters("users.read").Encode()
	d.call(http.MethodPut, "/i/oauth2/authorize?"+parameters, "", nil).expect(t, http.StatusMethodNotAllowed)
	long := d.authorizeParameters("users.read")
	long.Set("state", strings.Repeat("s", 500))
	d.code(person(0), long) // 500 is still allowed
}

func TestConsentPageCanBeClickedThrough(t *testing.T) {
	d := newDesk(t, x.Config{})
	page := d.call(http.MethodGet, "/i/oauth2/authorize?"+d.authorizeParameters("tweet.read users.read like.write").Encode(), "", nil).expect(t, http.StatusOK)
	for _, want := range []string{`<option value="` + person(0) + `"`, `name="scope" value="like.write" checked`, `value="deny"`, `name="requested_scope"`} {
		if !strings.Contains(page.body, want) {
			t.Errorf("the page lacks %s:\n%s", want, page.body)
		}
	}
	if strings.Contains(page.body, "<script") {
		t.Error("the page needs a script")
	}
	form := url.Values{"person": {person(0)}, "other": {"@" + person(250)}, "scope": {"tweet.read", "users.read", "dm.write"}, "decision": {"allow"}}
	for _, field := range regexp.MustCompile(`type="hidden" name="([^"]+)" value="([^"]*)"`).FindAllStringSubmatch(page.body, -1) {
		form.Set(field[1], field[2])
	}
	reply := d.form("/i/oauth2/authorize", "", "", form).expect(t, http.StatusFound)
	location, _ := url.Parse(reply.header.Get("Location"))
	tokens := d.redeem(location.Query().Get("code")).expect(t, http.StatusOK).json(t)
	if tokens["scope"] != "tweet.read users.read" {
		t.Errorf("granted %q: a declined scope or one never asked for came along", tokens["scope"])
	}
	me := d.call(http.MethodGet, "/2/users/me", tokens["access_token"].(string), nil)
	if got := me.at(t, "data", "username"); got != person(250) {
		t.Errorf("connected %v, want the typed %s", got, person(250))
	}
	form.Set("other", "nobody_at_all")
	again := d.form("/i/oauth2/authorize", "", "", form).expect(t, http.StatusOK)
	if !strings.Contains(again.body, "no person with that user name") {
		t.Errorf("an unknown person got:\n%s", again.body)
	}
	form.Set("decision", "deny")
	denied := d.form("/i/oauth2/authorize", "", "", form).expect(t, http.StatusFound)
	if got := denied.header.Get("Location"); got != callback+"?error=access_denied&state=st-1" {
		t.Errorf("denied to %s", got)
	}
}

func TestAuthorizationCodesWorkOnce(t *testing.T) {
	d := newDesk(t, x.Config{})
	code := d.code(person(0), d.authorizeParameters("users.read"))
	d.redeem(code).expect(t, http.StatusOK)
	again := d.redeem(code).expect(t, http.StatusBadRequest)
	if again.body != `{"error":"invalid_request","error_description":"Value passed for the authorization code was invalid."}` {
		t.Errorf("second use: %s", again.body)
	}
}

func TestAuthorizationCodesAreBound(t *testing.T) {
	d := newDesk(t, x.Config{})
	base := func(code string) url.Values {
		return url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier}}
	}
	for name, c := range map[string]struct {
		change func(url.Values)
		skew   time.Duration
		user   string
		want   string
	}{
		"wrong verifier":   {func(f url.Values) { f.Set("code_verifier", "x"+verifier[1:]) }, 0, d.app.ClientID, "authorization code was invalid"},
		"wrong redirect":   {func(f url.Values) { f.Set("redirect_uri", callback+"2") }, 0, d.app.ClientID, "authorization code was invalid"},
		"other client":     {func(f url.Values) { f.Set("client_id", d.app.PublicClientID) }, 0, "", "authorization code was invalid"},
		"after 31 seconds": {func(url.Values) {}, 31 * time.Second, d.app.ClientID, "authorization code was invalid"},
		"no verifier":      {func(f url.Values) { f.Del("code_verifier") }, 0, d.app.ClientID, "Missing required parameter [code_verifier]"},
		"no code":          {func(f url.Values) { f.Del("code") }, 0, d.app.ClientID, "Missing required parameter [code]"},
		"no redirect":      {func(f url.Values) { f.Del("redirect_uri") }, 0, d.app.ClientID, "Missing required parameter [redirect_uri]"},
		"no grant type":    {func(f url.Values) { f.Del("grant_type") }, 0, d.app.ClientID, "Missing required parameter [grant_type]"},
		"password grant":   {func(f url.Values) { f.Set("grant_type", "password") }, 0, d.app.ClientID, "unsupported_grant_type"},
		"doubled field":    {func(f url.Values) { f.Add("code", "x") }, 0, d.app.ClientID, "more than once"},
		"client mismatch":  {func(f url.Values) { f.Set("client_id", d.app.PublicClientID) }, 0, d.app.ClientID, "client_id"},
	} {
		t.Run(name, func(t *testing.T) {
			form := base(d.code(person(0), d.authorizeParameters("users.read")))
			c.change(form)
			d.clock.SetSkew(c.skew)
			defer d.clock.SetSkew(0)
			reply := d.form("/2/oauth2/token", c.user, d.app.ClientSecret, form)
			if reply.status != http.StatusBadRequest || !strings.Contains(reply.body, c.want) {
				t.Errorf("%d %s, want 400 with %q", reply.status, reply.body, c.want)
			}
		})
	}
	code := d.code(person(0), d.authorizeParameters("users.read"))
	d.clock.SetSkew(29 * time.Second)
	d.redeem(code).expect(t, http.StatusOK)
}

func TestPlainChallenge(t *testing.T) {
	d := newDesk(t, x.Config{})
	parameters := d.authorizeParameters("users.read")
	parameters.Set("code_challenge_method", "plain")
	parameters.Set("code_challenge", verifier)
	d.redeem(d.code(person(0), parameters)).expect(t, http.StatusOK)
	parameters.Set("code_challenge", verifier+"x")
	d.redeem(d.code(person(0), parameters)).expect(t, http.StatusBadRequest)
}

func TestClientsMustProveThemselves(t *testing.T) {
	d := newDesk(t, x.Config{})
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"whatever"}}
	with := func(id string) url.Values {
		f := url.Values{"client_id": {id}, "client_secret": {d.app.ClientSecret}}
		for name, values := range form {
			f[name] = values
		}
		return f
	}
	for name, c := range map[string]struct {
		user, password string
		form           url.Values
		status         int
		want           string
	}{
		"wrong secret":            {d.app.ClientID, "wrong", form, 401, `{"error":"unauthorized_client","error_description":"Missing valid authorization header"}`},
		"wrong id":                {"wrong", d.app.ClientSecret, form, 401, "unauthorized_client"},
		"public id as Basic":      {d.app.PublicClientID, d.app.ClientSecret, form, 401, "unauthorized_client"},
		"secret in the body":      {"", "", with(d.app.ClientID), 401, "Missing valid authorization header"},
		"nothing":                 {"", "", form, 400, `{"error":"invalid_request","error_description":"Missing required parameter [client_id]."}`},
		"unknown client":          {"", "", with("nobody"), 401, "invalid_client"},
		"confidential and right":  {d.app.ClientID, d.app.ClientSecret, with(d.app.ClientID), 400, "Value passed for the token was invalid."},
		"public client and right": {"", "", with(d.app.PublicClientID), 400, "Value passed for the token was invalid."},
	} {
		if reply := d.form("/2/oauth2/token", c.user, c.password, c.form); reply.status != c.status || !strings.Contains(reply.body, c.want) {
			t.Errorf("%s: %d %s, want %d with %s", name, reply.status, reply.body, c.status, c.want)
		}
	}
	req := d.request(http.MethodPost, "/2/oauth2/token", "", `{"grant_type":"refresh_token"}`)
	d.do(req).expect(t, http.StatusBadRequest)
	d.call(http.MethodGet, "/2/oauth2/token", "", nil).expect(t, http.StatusMethodNotAllowed)
}

func TestRefreshTokensWorkOnce(t *testing.T) {
	d := newDesk(t, x.Config{})
	access, refresh := d.login(person(0), everything)
	renewed := d.refreshWith(refresh).expect(t, http.StatusOK).json(t)
	d.call(http.MethodGet, "/2/users/me", access, nil).expect(t, http.StatusOK) // the old access token lives on
	again := d.refreshWith(refresh).expect(t, http.StatusBadRequest)
	if again.body != `{"error":"invalid_request","error_description":"Value passed for the token was invalid."}` {
		t.Errorf("spent refresh token: %s", again.body)
	}
	// Without the family switch the renewed pair survives the attempt.
	d.call(http.MethodGet, "/2/users/me", renewed["access_token"].(string), nil).expect(t, http.StatusOK)
	d.refreshWith(renewed["refresh_token"].(string)).expect(t, http.StatusOK)
	d.refreshWith(access).expect(t, http.StatusBadRequest)
}

func TestASpentRefreshTokenKillsTheFamilyIfAskedTo(t *testing.T) {
	d := newDesk(t, x.Config{FamilyKill: true})
	_, refresh := d.login(person(0), everything)
	other, _ := d.login(person(0), everything)
	renewed := d.refreshWith(refresh).expect(t, http.StatusOK).json(t)
	d.refreshWith(refresh).expect(t, http.StatusBadRequest)
	d.call(http.MethodGet, "/2/users/me", renewed["access_token"].(string), nil).expect(t, http.StatusUnauthorized)
	d.refreshWith(renewed["refresh_token"].(string)).expect(t, http.StatusBadRequest)
	d.call(http.MethodGet, "/2/users/me", other, nil).expect(t, http.StatusOK) // another consent
}

func TestARefreshEndsTheOldAccessTokenIfAskedTo(t *testing.T) {
	d := newDesk(t, x.Config{RefreshKillsAccess: true})
	access, refresh := d.login(person(0), everything)
	renewed := d.refreshWith(refresh).expect(t, http.StatusOK).json(t)
	d.call(http.MethodGet, "/2/users/me", access, nil).expect(t, http.StatusUnauthorized)
	d.call(http.MethodGet, "/2/users/me", renewed["access_token"].(string), nil).expect(t, http.StatusOK)
}

func TestTokensExpire(t *testing.T) {
	d := newDesk(t, x.Config{TokenTTL: time.Minute})
	access, refresh := d.login(person(0), everything)
	d.clock.SetSkew(59 * time.Second)
	d.call(http.MethodGet, "/2/users/me", access, nil).expect(t, http.StatusOK)
	d.clock.SetSkew(61 * time.Second)
	d.call(http.MethodGet, "/2/users/me", access, nil).expect(t, http.StatusUnauthorized)
	d.clock.SetSkew(181 * 24 * time.Hour)
	d.refreshWith(refresh).expect(t, http.StatusBadRequest)
	d.clock.SetSkew(179 * 24 * time.Hour)
	d.refreshWith(refresh).expect(t, http.StatusOK)
}

func TestRevocation(t *testing.T) {
	d := newDesk(t, x.Config{})
	revoke := func(token string) answer {
		return d.form("/2/oauth2/revoke", d.app.ClientID, d.app.ClientSecret, url.Values{"token": {token}, "token_type_hint": {"access_token"}})
	}
	access, refresh := d.login(person(0), everything)
	if reply := revoke(access).expect(t, http.StatusOK); reply.body != `{"revoked":true}` {
		t.Errorf("revoke = %s", reply.body)
	}
	d.call(http.MethodGet, "/2/users/me", access, nil).expect(t, http.StatusUnauthorized)
	renewed := d.refreshWith(refresh).expect(t, http.StatusOK).json(t) // revoking the access token alone is not the end
	revoke(renewed["refresh_token"].(string)).expect(t, http.StatusOK)
	d.refreshWith(renewed["refresh_token"].(string)).expect(t, http.StatusBadRequest)
	d.call(http.MethodGet, "/2/users/me", renewed["access_token"].(string), nil).expect(t, http.StatusUnauthorized)
	revoke("never issued").expect(t, http.StatusOK)
	revoke("").expect(t, http.StatusBadRequest)
	d.form("/2/oauth2/revoke", d.app.ClientID, "wrong", url.Values{"token": {access}}).expect(t, http.StatusUnauthorized)

	// Another client cannot revoke what is not its own.
	access, _ = d.login(person(0), everything)
	d.form("/2/oauth2/revoke", "", "", url.Values{"token": {access}, "client_id": {d.app.PublicClientID}}).expect(t, http.StatusOK)
	d.call(http.MethodGet, "/2/users/me", access, nil).expect(t, http.StatusOK)
}

func TestAPersonWithdrawsTheApp(t *testing.T) {
	d := newDesk(t, x.Config{})
	access, refresh := d.login(person(4), everything)
	other, _ := d.login(person(5), everything)
	if !d.x.RevokePerson(person(4)) || d.x.RevokePerson(person(4)) || d.x.RevokePerson("nobody") {
		t.Error("RevokePerson did not report what it did")
	}
	d.call(http.MethodGet, "/2/users/me", access, nil).expect(t, http.StatusUnauthorized)
	d.refreshWith(refresh).expect(t, http.StatusBadRequest)
	d.call(http.MethodGet, "/2/users/me", other, nil).expect(t, http.StatusOK)
}

func TestAppOnlyBearer(t *testing.T) {
	d := newDesk(t, x.Config{App: x.App{ConsumerKey: "key with space&", ConsumerSecret: "s%cret"}})
	key, secret := url.QueryEscape(d.app.ConsumerKey), url.QueryEscape(d.app.ConsumerSecret)
	grant := url.Values{"grant_type": {"client_credentials"}}
	first := d.form("/oauth2/token", key, secret, grant).expect(t, http.StatusOK).json(t)
	second := d.form("/oauth2/token", key, secret, grant).expect(t, http.StatusOK).json(t)
	bearer := first["access_token"].(string)
	if first["token_type"] != "bearer" || second["access_token"] != bearer {
		t.Errorf("bearer changed: %v, %v", first, second)
	}
	d.call(http.MethodGet, "/2/users/by/username/"+person(0), bearer, nil).expect(t, http.StatusOK)
	wrong := d.form("/oauth2/token", key, "wrong", grant).expect(t, http.StatusForbidden)
	if wrong.body != `{"errors":[{"code":99,"label":"authenticity_token_error","message":"Unable to verify your credentials"}]}` {
		t.Errorf("wrong credentials: %s", wrong.body)
	}
	d.form("/oauth2/token", key, secret, url.Values{}).expect(t, http.StatusForbidden)

	d.form("/oauth2/invalidate_token", key, "wrong", url.Values{"access_token": {bearer}}).expect(t, http.StatusForbidden)
	d.form("/oauth2/invalidate_token", key, secret, url.Values{"access_token": {"unknown"}}).expect(t, http.StatusUnauthorized)
	ended := d.form("/oauth2/invalidate_token", key, secret, url.Values{"access_token": {bearer}}).expect(t, http.StatusOK)
	if ended.at(t, "access_token") != bearer {
		t.Errorf("invalidate = %s", ended.body)
	}
	d.call(http.MethodGet, "/2/users/by/username/"+person(0), bearer, nil).expect(t, http.StatusUnauthorized)
	next := d.form("/oauth2/token", key, secret, grant).expect(t, http.StatusOK).json(t)["access_token"].(string)
	if next == bearer {
		t.Error("the invalidated bearer was issued again")
	}
	// The other documented way: signed by the app.
	form := url.Values{"access_token": {next}}
	d.do(d.signed(http.MethodPost, "/oauth2/invalidate_token", d.consumer(), form, nil)).expect(t, http.StatusOK)
	d.call(http.MethodGet, "/2/users/by/username/"+person(0), next, nil).expect(t, http.StatusUnauthorized)
}
