package meta_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"gatehouse/internal/sandbox/world"
)

var input = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// clickThrough opens the consent page and submits its form like a browser.
func (s *site) clickThrough(page string, params []string, form url.Values) answer {
	s.t.Helper()
	a := s.get(page, params...)
	if a.status != http.StatusOK || !strings.Contains(a.header.Get("Content-Type"), "text/html") {
		s.t.Fatalf("the dialog answered %d %s: %s", a.status, a.header.Get("Content-Type"), a.raw)
	}
	for _, m := range input.FindAllStringSubmatch(a.raw, -1) {
		form.Add(html.UnescapeString(m[1]), html.UnescapeString(m[2]))
	}
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+page, strings.NewReader(form.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return s.do(r)
}

func (s *site) permissions(token string) map[string]string {
	s.t.Helper()
	all := make(map[string]string)
	for _, p := range s.get("/v25.0/me/permissions", "access_token", token).ok().list("data") {
		entry, _ := p.(map[string]any)
		name, _ := entry["permission"].(string)
		all[name], _ = entry["status"].(string)
	}
	return all
}

// A person clicks through the page and declines one permission. The app asks
// again, first the wrong way and then with auth_type=rerequest.
func TestDeclinedPermissionIsAskedAgainOnlyOnRerequest(t *testing.T) {
	s := start(t)
	person := s.people[3]
	params := []string{"client_id", s.apps.Facebook.AppID, "redirect_uri", callback, "state", "a b&c", "scope", "email,pages_show_list", "response_type", "code granted_scopes"}
	a := s.clickThrough("/v25.0/dialog/oauth", params, url.Values{"person": {person.Username}, "decision": {"allow"}, "scope": {"pages_show_list"}})
	target, err := url.Parse(a.header.Get("Location"))
	if err != nil || a.status != http.StatusFound {
		t.Fatalf("status %d, Location %v: %s", a.status, err, a.raw)
	}
	if got := target.Query().Get("state"); got != "a b&c" {
		t.Errorf("state came back as %q", got)
	}
	if target.Fragment != "_=_" {
		t.Errorf("fragment %q, want _=_", target.Fragment)
	}
	if yes, no := target.Query().Get("granted_scopes"), target.Query().Get("denied_scopes"); yes != "pages_show_list,public_profile" || no != "email" {
		t.Errorf("granted %q, denied %q", yes, no)
	}
	short := s.get("/v25.0/oauth/access_token", "client_id", s.apps.Facebook.AppID, "client_secret", s.apps.Facebook.AppSecret, "redirect_uri", callback, "code", target.Query().Get("code")).ok().text("access_token")
	if got := s.permissions(short); got["email"] != "declined" || got["pages_show_list"] != "granted" {
		t.Errorf("permissions %v", got)
	}
	if got := s.get("/v25.0/me", "access_token", short, "fields", "email").ok().at("email"); got != nil {
		t.Errorf("email %v was shown although it was declined", got)
	}
	again := s.short(person, "email,pages_show_list")
	if got := s.permissions(again)["email"]; got != "declined" {
		t.Errorf("without rerequest email became %s", got)
	}
	asked := s.short(person, "email", "auth_type", "rerequest")
	if got := s.permissions(asked)["email"]; got != "granted" {
		t.Errorf("with rerequest email is %s", got)
	}
	// Taking one back again leaves the rest.
	s.call(http.MethodDelete, "/v25.0/me/permissions/email", "access_token", asked).ok()
	if got := s.permissions(asked); got["email"] != "declined" || got["pages_show_list"] != "granted" {
		t.Errorf("after taking email back: %v", got)
	}
	s.call(http.MethodDelete, "/v25.0/me/permissions/email", "access_token", asked).refused(100, 0)
}

func TestDialogRefusals(t *testing.T) {
	s := start(t)
	good := map[string]string{"client_id": s.apps.Facebook.AppID, "redirect_uri": callback, "scope": "email"}
	for name, change := range map[string][2]string{
		"Invalid App ID":    {"client_id", "77"},
		"URL Blocked":       {"redirect_uri", callback + "x"},
		"Invalid Scopes":    {"scope", "email,everything"},
		"Invalid Parameter": {"response_type", "telepathy"},
	} {
		var params []string
		for k, v := range good {
			if k != change[0] {
				params = append(params, k, v)
			}
		}
		params = append(params, change[0], change[1])
		a := s.get("/dialog/oauth", params...)
		if a.status != http.StatusBadRequest || !strings.Contains(a.raw, "<h1>"+name+"</h1>") || a.header.Get("Location") != "" {
			t.Errorf("%s: %d, Location %q, %s", name, a.status, a.header.Get("Location"), a.raw)
		}
	}
	// Somebody who does not exist is asked again; nobody is logged in.
	a := s.get("/dialog/oauth", "client_id", s.apps.Facebook.AppID, "redirect_uri", callback, "scope", "email", "sandbox_person", "nobody-at-all", "sandbox_decision", "allow")
	if a.status != http.StatusOK || !strings.Contains(a.raw, "nobody of that user name") {
		t.Errorf("unknown person: %d %s", a.status, a.raw)
	}
}

func TestDenialAndTokenInTheFragment(t *testing.T) {
	s := start(t)
	a := s.get("/v25.0/dialog/oauth", "client_id", s.apps.Facebook.AppID, "redirect_uri", callback, "state", "7", "sandbox_person", s.people[1].Username, "sandbox_decision", "deny")
	target, err := url.Parse(a.header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	q := target.Query()
	if q.Get("error") != "access_denied" || q.Get("error_reason") != "user_denied" || q.Get("error_description") != "Permissions error." || q.Get("state") != "7" || q.Has("code") {
		t.Errorf("denial redirects with %v", q)
	}
	a = s.get("/v25.0/dialog/oauth", "client_id", s.apps.Facebook.AppID, "redirect_uri", callback, "state", "7", "response_type", "token", "scope", "email", "sandbox_person", s.people[1].Username)
	_, fragment, _ := strings.Cut(a.header.Get("Location"), "#")
	values, err := url.ParseQuery(fragment)
	if err != nil || values.Get("access_token") == "" || values.Get("expires_in") != "3600" || values.Get("state") != "7" {
		t.Fatalf("fragment %q: %v", fragment, err)
	}
	s.get("/v25.0/me", "access_token", values.Get("access_token")).ok()
}

// An unmodified golang.org/x/oauth2 client, which tries HTTP Basic first, and
// uses PKCE.
func TestOAuth2LibraryLogsIn(t *testing.T) {
	s := start(t)
	config := oauth2.Config{
		ClientID: s.apps.Facebook.AppID, ClientSecret: s.apps.Facebook.AppSecret, RedirectURL: callback, Scopes: []string{"email", "pages_show_list"},
		Endpoint: oauth2.Endpoint{AuthURL: s.url + "/v22.0/dialog/oauth", TokenURL: s.url + "/v22.0/oauth/access_token"},
	}
	verifier := oauth2.GenerateVerifier()
	address := config.AuthCodeURL("xyz", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("sandbox_person", s.people[4].Username))
	target, err := url.Parse(s.get(address).header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	code := target.Query().Get("code")
	if _, err := config.Exchange(t.Context(), code, oauth2.VerifierOption(oauth2.GenerateVerifier())); err == nil {
		t.Fatal("a wrong verifier was accepted")
	}
	token, err := config.Exchange(t.Context(), code, oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatalf("Exchange: %v", err)
	}
	if !token.Valid() || token.TokenType != "bearer" {
		t.Errorf("token %+v", token.TokenType)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v22.0/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	token.SetAuthHeader(r)
	if got := s.do(r).ok().text("name"); got != s.people[4].Name {
		t.Errorf("me is %q", got)
	}
	issued := s.ledger.All()
	if !slices.ContainsFunc(issued, func(i world.Issued) bool { return i.Value == token.AccessToken }) {
		t.Error("the token is not in the ledger")
	}
}
