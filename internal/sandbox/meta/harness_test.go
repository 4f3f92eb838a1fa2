package meta_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/sandbox/meta"
	"gatehouse/internal/sandbox/world"
)

// callback is the redirect URI that the tests' app registered.
const callback = "https://app.example/callback?from=meta"

// site is a sandbox Meta on a listener, seen by a client that follows nothing.
type site struct {
	t        *testing.T
	platform *meta.Platform
	clock    *world.Clock
	ledger   *world.Ledger
	url      string
	client   *http.Client
	apps     meta.Apps
	people   []world.Person
}

// start runs a platform; change may adjust its configuration.
func start(t *testing.T, change ...func(*meta.Config)) *site {
	t.Helper()
	s := &site{t: t, clock: new(world.Clock), ledger: new(world.Ledger), people: world.People()}
	config := meta.Config{Clock: s.clock, Ledger: s.ledger, RedirectURIs: []string{callback}}
	for _, f := range change {
		f(&config)
	}
	platform, err := meta.New(config)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	server := httptest.NewServer(platform)
	s.platform, s.url, s.apps = platform, server.URL, platform.Apps()
	s.client = server.Client()
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(func() {
		server.Close()
		if err := platform.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// answer is a reply, read whole.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	raw    string
	body   map[string]any
}

// at walks into the JSON body: names, and "0", "1" for list items.
func (a answer) at(path ...string) any {
	a.t.Helper()
	var v any = map[string]any(a.body)
	for _, step := range path {
		switch inner := v.(type) {
		case map[string]any:
			v = inner[step]
		case []any:
			i := int(step[0] - '0')
			if i >= len(inner) {
				a.t.Fatalf("no item %s at %v in %s", step, path, a.raw)
			}
			v = inner[i]
		default:
			return nil
		}
	}
	return v
}

func (a answer) text(path ...string) string {
	a.t.Helper()
	s, _ := a.at(path...).(string)
	return s
}

func (a answer) list(path ...string) []any {
	a.t.Helper()
	l, ok := a.at(path...).([]any)
	if !ok {
		a.t.Fatalf("no list at %v in %s", path, a.raw)
	}
	return l
}

// ok fails the test unless the reply is 200.
func (a answer) ok() answer {
	a.t.Helper()
	if a.status != http.StatusOK {
		a.t.Fatalf("status %d: %s", a.status, a.raw)
	}
	return a
}

// refused fails the test unless the reply is the Graph error of that code and
// subcode.
func (a answer) refused(code, subcode int) answer {
	a.t.Helper()
	got, _ := a.at("error", "code").(float64)
	sub, _ := a.at("error", "error_subcode").(float64)
	if a.status < 400 || int(got) != code || int(sub) != subcode {
		a.t.Fatalf("got status %d, code %v/%v, want an error %d/%d: %s", a.status, got, sub, code, subcode, a.raw)
	}
	if a.text("error", "fbtrace_id") == "" || a.text("error", "message") == "" || a.text("error", "type") == "" {
		a.t.Fatalf("incomplete error: %s", a.raw)
	}
	return a
}

func (s *site) do(r *http.Request) answer {
	s.t.Helper()
	response, err := s.client.Do(r)
	if err != nil {
		s.t.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatalf("reading the reply to %s %s: %v", r.Method, r.URL.Path, err)
	}
	a := answer{t: s.t, status: response.StatusCode, header: response.Header, raw: string(raw)}
	if strings.Contains(response.Header.Get("Content-Type"), "json") && bytes.HasPrefix(raw, []byte("{")) {
		if err := json.Unmarshal(raw, &a.body); err != nil {
			s.t.Fatalf("reply to %s %s is not JSON: %v\n%s", r.Method, r.URL.Path, err, raw)
		}
	}
	return a
}

// get calls with parameters name, value, name, value …; a full URL is used as it
// is.
func (s *site) get(path string, params ...string) answer {
	s.t.Helper()
	return s.call(http.MethodGet, path, params...)
}

func (s *site) call(method, path string, params ...string) answer {
	s.t.Helper()
	target := path
	if !strings.HasPrefix(target, "http") {
		target = s.url + path
	}
	if len(params) > 0 {
		sep := "?"
		if strings.Contains(target, "?") {
			sep = "&"
		}
		target += sep + values(params).Encode()
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, target, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.do(r)
}

func (s *site) post(path string, params ...string) answer {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+path, strings.NewReader(values(params).Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return s.do(r)
}

func (s *site) postJSON(path string, v any) answer {
	s.t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+path, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	return s.do(r)
}

func values(params []string) url.Values {
	v := make(url.Values)
	for i := 0; i+1 < len(params); i += 2 {
		v.Add(params[i], params[i+1])
	}
	return v
}

// login answers a dialog by the shortcut and returns the redirect's parameters.
func (s *site) login(dialog, clientID, person, scope string, extra ...string) url.Values {
	s.t.Helper()
	params := append([]string{"client_id", clientID, "redirect_uri", callback, "state", "st/1", "scope", scope, "response_type", "code", "sandbox_person", person, "sandbox_decision", "allow"}, extra...)
	a := s.get(dialog, params...)
	if a.status != http.StatusFound {
		s.t.Fatalf("the dialog answered %d: %s", a.status, a.raw)
	}
	target, err := url.Parse(a.header.Get("Location"))
	if err != nil {
		s.t.Fatal(err)
	}
	if !strings.HasPrefix(target.String(), "https://app.example/callback?") {
		s.t.Fatalf("redirected to %s", target)
	}
	return target.Query()
}

const pageScopes = "public_profile,email,pages_show_list,pages_read_engagement,pages_read_user_content,pages_manage_posts,pages_manage_engagement,pages_manage_metadata,read_insights,leads_retrieval,pages_manage_ads,instagram_basic,instagram_content_publish,instagram_manage_comments,instagram_manage_insights"

// short logs a person in and returns the short-lived token of the code exchange.
func (s *site) short(person world.Person, scope string, extra ...string) string {
	s.t.Helper()
	code := s.login("/v25.0/dialog/oauth", s.apps.Facebook.AppID, person.Username, scope, extra...).Get("code")
	a := s.get("/v25.0/oauth/access_token", "client_id", s.apps.Facebook.AppID, "client_secret", s.apps.Facebook.AppSecret, "redirect_uri", callback, "code", code).ok()
	return a.text("access_token")
}

func (s *site) exchange(short string) answer {
	s.t.Helper()
	return s.get("/v25.0/oauth/access_token", "grant_type", "fb_exchange_token", "client_id", s.apps.Facebook.AppID, "client_secret", s.apps.Facebook.AppSecret, "fb_exchange_token", short)
}

// long logs a person in and returns a long-lived token.
func (s *site) long(person world.Person, scope string) string {
	s.t.Helper()
	return s.exchange(s.short(person, scope)).ok().text("access_token")
}

// page returns the id and token of the person's first page.
func (s *site) page(user string) (id, token string) {
	s.t.Helper()
	a := s.get("/v25.0/me/accounts", "access_token", user).ok()
	return a.text("data", "0", "id"), a.text("data", "0", "access_token")
}

func (s *site) appToken() string { return s.apps.Facebook.AppID + "|" + s.apps.Facebook.AppSecret }

// later moves the sandbox's clock ahead.
func (s *site) later(d time.Duration) { s.clock.SetSkew(s.clock.Skew() + d) }
