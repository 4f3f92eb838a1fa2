package meta_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/sandbox/meta"
)

func TestCodeExchangeRefusals(t *testing.T) {
	s := start(t)
	fb := s.apps.Facebook
	code := s.login("/v25.0/dialog/oauth", fb.AppID, s.people[0].Username, "email").Get("code")
	exchange := func(id, secret, redirect, code string) answer {
		return s.post("/v25.0/oauth/access_token", "client_id", id, "client_secret", secret, "redirect_uri", redirect, "code", code)
	}
	if got := exchange("", fb.AppSecret, callback, code).refused(101, 0).text("error", "message"); got != "Missing client_id parameter." {
		t.Errorf("without client_id: %q", got)
	}
	exchange("12", fb.AppSecret, callback, code).refused(101, 0)
	exchange(s.apps.Threads.AppID, s.apps.Threads.AppSecret, callback, code).refused(101, 0)
	if got := exchange(fb.AppID, "", callback, code).refused(1, 0).text("error", "message"); got != "Missing client_secret parameter." {
		t.Errorf("without client_secret: %q", got)
	}
	exchange(fb.AppID, "wrong", callback, code).refused(1, 0)
	exchange(fb.AppID, fb.AppSecret, "", code).refused(191, 0)
	exchange(fb.AppID, fb.AppSecret, callback, "").refused(1, 0)
	exchange(fb.AppID, fb.AppSecret, callback, "AQinvented").refused(100, 0)
	exchange(fb.AppID, fb.AppSecret, callback+"&x=1", code).refused(100, 36008)
	s.post("/v25.0/oauth/access_token", "client_id", fb.AppID, "client_secret", fb.AppSecret, "grant_type", "password").refused(100, 0)
	s.later(11 * time.Minute)
	exchange(fb.AppID, fb.AppSecret, callback, code).refused(100, 36007)
	code = s.login("/v25.0/dialog/oauth", fb.AppID, s.people[0].Username, "email").Get("code")
	exchange(fb.AppID, fb.AppSecret, callback, code).ok()
	exchange(fb.AppID, fb.AppSecret, callback, code).refused(100, 36009)
}

func TestShortAndLongLivedTokens(t *testing.T) {
	s := start(t, func(c *meta.Config) { c.ShortTTL, c.LongTTL = 10*time.Minute, 48*time.Hour })
	short := s.short(s.people[0], pageScopes)
	_, shortPage := s.page(short)
	long := s.exchange(short).ok().text("access_token")
	pageOf := func(user string) string { _, token := s.page(user); return token }
	longPage := pageOf(long)
	if longPage == shortPage || longPage != pageOf(long) || longPage != pageOf(s.exchange(long).ok().text("access_token")) {
		t.Error("page tokens of a long-lived token are not stable")
	}
	debug := func(token string) answer {
		return s.get("/v25.0/debug_token", "input_token", token, "access_token", s.appToken()).ok()
	}
	if got := debug(longPage); got.at("data", "expires_at") != 0.0 || got.text("data", "type") != "PAGE" || got.text("data", "profile_id") == "" {
		t.Errorf("a page token of a long-lived token: %s", got.raw)
	}
	if got := debug(shortPage); got.at("data", "expires_at") == 0.0 || got.at("data", "issued_at") != nil {
		t.Errorf("a page token of a short-lived token: %s", got.raw)
	}
	s.later(11 * time.Minute)
	expired := s.get("/v25.0/me", "access_token", short).refused(190, 463)
	if !strings.Contains(expired.header.Get("WWW-Authenticate"), `"invalid_token"`) {
		t.Errorf("WWW-Authenticate %q", expired.header.Get("WWW-Authenticate"))
	}
	s.get("/v25.0/me", "access_token", shortPage).refused(190, 463)
	s.exchange(short).refused(190, 463)
	if got := debug(short); got.at("data", "is_valid") != false || got.at("data", "error", "subcode") != 463.0 {
		t.Errorf("an expired token: %s", got.raw)
	}
	s.later(48 * time.Hour)
	s.get("/v25.0/me", "access_token", long).refused(190, 463)
	s.get("/v25.0/me", "access_token", longPage).ok()
}

func TestExchangeRefusals(t *testing.T) {
	s := start(t)
	fb := s.apps.Facebook
	s.exchange("").refused(1, 0)
	s.exchange("EAAinvented").refused(190, 0)
	s.exchange(s.appToken()).refused(100, 0)
	_, page := s.page(s.long(s.people[0], pageScopes))
	s.exchange(page).refused(100, 0)
	s.get("/oauth/access_token", "grant_type", "fb_exchange_token", "client_id", fb.AppID, "client_secret", "no", "fb_exchange_token", page).refused(1, 0)
}

func TestAppTokenInBothForms(t *testing.T) {
	s := start(t)
	fb := s.apps.Facebook
	issued := s.get("/oauth/access_token", "client_id", fb.AppID, "client_secret", fb.AppSecret, "grant_type", "client_credentials").ok()
	if issued.at("expires_in") != nil || !strings.HasPrefix(issued.text("access_token"), fb.AppID+"|") {
		t.Errorf("app token: %s", issued.raw)
	}
	for _, token := range []string{issued.text("access_token"), s.appToken()} {
		if got := s.get("/v25.0/app", "access_token", token).ok().text("id"); got != fb.AppID {
			t.Errorf("app is %q", got)
		}
		s.get("/v25.0/me", "access_token", token).refused(2500, 0)
		if got := s.get("/debug_token", "input_token", token, "access_token", token).ok(); got.text("data", "type") != "APP" || got.at("data", "is_valid") != true {
			t.Errorf("debug: %s", got.raw)
		}
	}
	s.get("/v25.0/app", "access_token", fb.AppID+"|guess").refused(190, 0)
	// Another app cannot look into a token.
	user := s.short(s.people[0], "email")
	s.get("/debug_token", "input_token", user).refused(104, 0)
	s.get("/debug_token", "access_token", s.appToken()).refused(100, 0)
	if got := s.get("/debug_token", "input_token", "nonsense", "access_token", s.appToken()).ok(); got.at("data", "is_valid") != false || got.at("data", "error", "code") != 190.0 {
		t.Errorf("debug of nonsense: %s", got.raw)
	}
	ig, err := s.platform.MintUserToken("instagram", s.people[0].Username)
	if err != nil {
		t.Fatal(err)
	}
	s.get("/debug_token", "input_token", ig, "access_token", s.appToken()).refused(100, 0)
}

func TestDeadTokensSayWhy(t *testing.T) {
	s := start(t)
	s.get("/v25.0/me").refused(2500, 0)
	s.get("/v25.0/1234").refused(104, 0)
	s.get("/v25.0/me", "access_token", "EAAnonsense").refused(190, 0)
	user := s.long(s.people[2], pageScopes)
	_, page := s.page(user)
	if a := s.postJSON("/_sandbox/sessions", map[string]any{"person": s.people[2].Username}); a.status != http.StatusOK {
		t.Fatal(a.raw)
	}
	s.get("/v25.0/me", "access_token", user).refused(190, 460)
	s.get("/v25.0/me", "access_token", page).refused(190, 460)
	for subcode, why := range map[int]string{459: "follow the instructions", 460: "changed their password", 467: "logged out", 492: "administrator", 493: "must be granted"} {
		user := s.long(s.people[2], "email")
		s.postJSON("/_sandbox/sessions", map[string]any{"person": s.people[2].Username, "subcode": subcode})
		if got := s.get("/v25.0/me", "access_token", user).refused(190, subcode).text("error", "message"); !strings.Contains(got, why) {
			t.Errorf("subcode %d says %q", subcode, got)
		}
	}
	user = s.long(s.people[2], "email")
	if !s.platform.Revoke(user) || s.platform.Revoke("EAAnothing") {
		t.Error("Revoke does not tell known from unknown tokens")
	}
	s.get("/v25.0/me", "access_token", user).refused(190, 467)
	// A token that the app itself gives back.
	user, caller := s.long(s.people[2], "email"), s.long(s.people[3], "email")
	fb := s.apps.Facebook
	s.get("/oauth/revoke", "client_id", fb.AppID, "client_secret", "no", "revoke_token", user, "access_token", caller).refused(1, 0)
	s.get("/oauth/revoke", "client_id", fb.AppID, "client_secret", fb.AppSecret, "revoke_token", "x", "access_token", caller).refused(190, 0)
	s.get("/oauth/revoke", "client_id", fb.AppID, "client_secret", fb.AppSecret, "revoke_token", user, "access_token", caller).ok()
	s.get("/v25.0/me", "access_token", user).refused(190, 467)
	s.get("/v25.0/me", "access_token", caller).ok()
}

func TestSystemUser(t *testing.T) {
	s := start(t)
	fb := s.apps.Facebook
	system := "61550000000101"
	app := s.appToken()
	proof := meta.AppSecretProof(fb.AppSecret, app, "")
	mint := func(extra ...string) answer {
		return s.post("/v25.0/"+system+"/access_tokens", append([]string{"access_token", app, "business_app", fb.AppID, "scope", `["pages_show_list","pages_read_engagement"]`}, extra...)...)
	}
	mint().refused(100, 0)
	s.post("/v25.0/"+system+"/access_tokens", "access_token", app, "appsecret_proof", proof).refused(100, 0)
	s.post("/v25.0/"+system+"/access_tokens", "access_token", app, "appsecret_proof", proof, "business_app", fb.AppID, "scope", "flying").refused(100, 0)
	forever := mint("appsecret_proof", proof).ok().text("access_token")
	sixty := mint("appsecret_proof", proof, "set_token_expires_in_60_days", "true").ok().text("access_token")
	debug := s.get("/debug_token", "input_token", sixty, "access_token", app).ok()
	if debug.text("data", "type") != "SYSTEM_USER" || debug.text("data", "user_id") != system || debug.at("data", "expires_at") == 0.0 {
		t.Errorf("debug: %s", debug.raw)
	}
	if got := s.get("/v25.0/me/accounts", "access_token", forever).ok(); len(got.list("data")) != 3 || got.text("data", "0", "access_token") == "" {
		t.Errorf("assigned pages: %s", got.raw)
	}
	s.later(30 * 24 * time.Hour)
	renewed := s.get("/oauth/access_token", "grant_type", "fb_exchange_token", "client_id", fb.AppID, "client_secret", fb.AppSecret, "set_token_expires_in_60_days", "true", "fb_exchange_token", sixty).ok().text("access_token")
	s.get("/v25.0/me", "access_token", sixty).ok()
	s.later(31 * 24 * time.Hour)
	s.get("/v25.0/me", "access_token", sixty).refused(190, 463)
	s.get("/v25.0/me", "access_token", renewed).ok()
	s.call(http.MethodDelete, "/v25.0/"+system+"/access_tokens", "access_token", app).ok()
	s.get("/v25.0/me", "access_token", forever).refused(190, 467)
	minted := s.platform.MintSystemUser()
	if got := s.get("/v25.0/me/businesses", "access_token", minted).ok().text("data", "0", "name"); got == "" {
		t.Error("a minted system user sees no business")
	}
}

func TestAppSecretProof(t *testing.T) {
	s := start(t)
	user := s.long(s.people[0], "email")
	secret := s.apps.Facebook.AppSecret
	now := strconv.FormatInt(s.clock.Now().Unix(), 10)
	old := strconv.FormatInt(s.clock.Now().Add(-6*time.Minute).Unix(), 10)
	me := func(extra ...string) answer {
		return s.get("/v25.0/me", append([]string{"access_token", user}, extra...)...)
	}
	me().ok()
	me("appsecret_proof", meta.AppSecretProof(secret, user, "")).ok()
	me("appsecret_proof", meta.AppSecretProof(secret, user, now), "appsecret_time", now).ok()
	wrong := me("appsecret_proof", meta.AppSecretProof("x", user, "")).refused(100, 0)
	if wrong.text("error", "type") != "GraphMethodException" {
		t.Errorf("a wrong proof: %s", wrong.raw)
	}
	me("appsecret_proof", meta.AppSecretProof(secret, user, old), "appsecret_time", old).refused(100, 0)
	me("appsecret_proof", meta.AppSecretProof(secret, user, "soon"), "appsecret_time", "soon").refused(100, 0)
	me("appsecret_proof", meta.AppSecretProof(secret, user, now)).refused(100, 0)

	s.postJSON("/_sandbox/require_proof", map[string]any{"on": true})
	if got := me().refused(100, 0).text("error", "message"); got != "API calls from the server require an appsecret_proof argument" {
		t.Errorf("message %q", got)
	}
	me("appsecret_proof", meta.AppSecretProof(secret, user, "")).ok()
	s.get("/v25.0/app", "access_token", s.appToken()).ok()
	s.get("/debug_token", "input_token", user, "access_token", s.appToken()).ok()
	s.platform.SetRequireProof(false)
	me().ok()
}

// Access to a person's data ends 90 days after their last login, whatever becomes
// of the token; a system user has no such end.
func TestDataAccess(t *testing.T) {
	s := start(t)
	person := s.people[1]
	user := s.long(person, pageScopes)
	_, page := s.page(user)
	until := func(token string) time.Duration {
		t.Helper()
		at, _ := s.get("/debug_token", "input_token", token, "access_token", s.appToken()).ok().at("data", "data_access_expires_at").(float64)
		if at == 0 {
			return 0
		}
		return time.Unix(int64(at), 0).Sub(s.clock.Now()).Round(time.Minute)
	}
	const day = 24 * time.Hour
	s.later(10 * day)
	if renewed := s.exchange(user).ok().text("access_token"); until(user) != 80*day || until(page) != 80*day || until(renewed) != 80*day {
		t.Errorf("after ten days it ends in %s, of the page in %s, of a renewed token in %s", until(user), until(page), until(renewed))
	}
	if s.long(person, "email"); until(user) != 90*day {
		t.Errorf("after another login it ends in %s", until(user))
	}
	if system := s.platform.MintSystemUserFor(time.Hour); until(system) != 0 {
		t.Errorf("a system user's ends in %s", until(system))
	}
	order := func(path string, body map[string]any, want int) {
		t.Helper()
		if a := s.postJSON("/_sandbox/"+path, body); a.status != want {
			t.Errorf("%s: %d %s", path, a.status, a.raw)
		}
	}
	order("data_access", map[string]any{"person": person.Username, "expires_in": -60}, http.StatusOK)
	if until(user) != -time.Minute {
		t.Errorf("as ordered it ends in %s", until(user))
	}
	order("data_access", map[string]any{"person": s.people[9].Username}, http.StatusNotFound)
	order("permission", map[string]any{"person": person.Username, "permission": "email"}, http.StatusOK)
	order("permission", map[string]any{"person": person.Username, "permission": "flying"}, http.StatusNotFound)
	scopes := s.get("/debug_token", "input_token", user, "access_token", s.appToken()).ok().raw
	if strings.Contains(scopes, `"email"`) || !strings.Contains(scopes, `"pages_show_list"`) {
		t.Errorf("after email was taken back: %s", scopes)
	}
	order("permission", map[string]any{"person": person.Username, "permission": "email", "granted": true}, http.StatusOK)
	a := s.postJSON("/_sandbox/mint", map[string]any{"system_user": true, "expires_in": 60})
	minted := a.text("access_token")
	s.get("/v25.0/me", "access_token", minted).ok()
	s.later(2 * time.Minute)
	s.get("/v25.0/me", "access_token", minted).refused(190, 463)
}
