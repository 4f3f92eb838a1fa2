package public_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/cases"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/identity/stepup"
	"gatehouse/internal/notice"
	"gatehouse/internal/public"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"
)

// world is the public listener over HTTP.
type world struct {
	*connecttest.World
	t   *testing.T
	url string
	log *bytes.Buffer

	duties  *cases.Cases
	notices *notice.Notices
	app     *connecttest.App
	stepups *stepup.Stepups
}

func newWorld(t *testing.T, perMinute int) *world {
	t.Helper()
	w := &world{t: t, log: &bytes.Buffer{}}
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { handler.ServeHTTP(rw, r) }))
	t.Cleanup(server.Close)
	// By a name, since browsers make no passkeys for numbers.
	w.url = strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	w.World = connecttest.New(t, storetest.SQLite(t), connecttest.Options{PublicURL: w.url})
	w.stepups = w.setUpStepups(w.url)
	// Before what it stands on ends: a platform may be sending something still.
	t.Cleanup(server.Close)
	w.duties, w.notices, w.app = w.Duties(0)
	p, err := public.New(public.Config{
		Connections: w.Connections, Cases: w.duties, Notices: w.notices, Stepups: w.stepups, Log: slog.New(slog.NewTextHandler(w.log, nil)), PerMinute: perMinute,
	})
	if err != nil {
		t.Fatal(err)
	}
	handler = p.Handler()
	return w
}

// browser keeps cookies and stops before it leaves for the app.
func (w *world) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: func(req *http.Request, _ []*http.Request) error {
		if req.URL.Hostname() == "app.example.com" {
			return http.ErrUseLastResponse
		}
		return nil
	}}
}

func (w *world) get(c *http.Client, address string) (*http.Response, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.do(c, req)
}

func (w *world) do(c *http.Client, req *http.Request) (*http.Response, string) {
	w.t.Helper()
	reply, err := c.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return reply, string(body)
}

// A person clicks the begin-link, fills in the platform's real consent form, and
// arrives at the app with a code.
func TestClickingThroughConsent(t *testing.T) {
	w := newWorld(t, 0)
	for _, purpose := range []gatehouse.PurposeName{"publish", "pages", "gallery", "threads"} {
		c := w.browser()
		consent, page := w.get(c, w.Begin("user-7", purpose).URL)
		if consent.StatusCode != http.StatusOK || !strings.Contains(page, "<form") {
			t.Fatalf("%s: the consent page is %d: %s", purpose, consent.StatusCode, page)
		}
		form := url.Values{"person": {connecttest.Person(1)}, "decision": {"allow"}}
		for _, field := range strings.Split(page, "<input")[1:] {
			name, value := attribute(field, "name"), attribute(field, "value")
			if kind := attribute(field, "type"); kind == "hidden" || kind == "checkbox" {
				form.Add(name, value)
			}
		}
		at := *consent.Request.URL
		at.RawQuery = ""
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at.String(), strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		reply, body := w.do(c, req)
		to, err := url.Parse(reply.Header.Get("Location"))
		if err != nil || reply.StatusCode != http.StatusSeeOther || to.Host != "app.example.com" || body != "" {
			t.Fatalf("%s: the browser got %d to %s: %s", purpose, reply.StatusCode, to.Host, body)
		}
		q := to.Query()
		if _, err := w.Connections.Redeem(t.Context(), secret.New(q.Get("code")), "user-7", "scheduler"); err != nil {
			t.Errorf("%s: redeeming: %v", purpose, err)
		}
		if strings.Contains(w.log.String(), q.Get("code")) {
			t.Errorf("%s: the access log holds the code", purpose)
		}
	}
}

// attribute returns an attribute of a start tag, as far as this test needs it.
func attribute(tag, name string) string {
	tag, _, _ = strings.Cut(tag, ">")
	_, rest, _ := strings.Cut(tag, " "+name+`="`)
	value, _, _ := strings.Cut(rest, `"`)
	return strings.NewReplacer("&#43;", "+", "&amp;", "&", "&#34;", `"`, "&#39;", "'", "&lt;", "<", "&gt;", ">").Replace(value)
}

// stay is a browser that follows no redirect.
var stay = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func TestCookieBindsTheBrowser(t *testing.T) {
	w := newWorld(t, 0)
	begun := w.Begin("user-7", "publish")
	reply, _ := w.get(stay, begun.URL)
	cookies := reply.Cookies()
	if reply.StatusCode != http.StatusSeeOther || len(cookies) != 1 {
		t.Fatalf("starting gives %d with %d cookies", reply.StatusCode, len(cookies))
	}
	k := cookies[0]
	if k.Name != connect.CookieName(begun.ID, false) || !k.HttpOnly || k.SameSite != http.SameSiteLaxMode || k.MaxAge != 600 || k.Path != "/" || k.Domain != "" || k.Secure {
		t.Errorf("the cookie is %v", k)
	}
	b := w.Browser(reply.Header.Get("Location"), secret.New(k.Value))
	back := w.url + connect.CallbackPath + "main-x?" + b.Decide(connecttest.Person(1), "allow", "").Encode()
	ask := func(values ...string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, back, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			req.AddCookie(&http.Cookie{Name: k.Name, Value: v})
		}
		reply, body := w.do(stay, req)
		return reply.StatusCode, body
	}
	for _, values := range [][]string{nil, {"guess"}, {k.Value, "second"}, {"second", k.Value}} {
		if status, body := ask(values...); status != http.StatusForbidden || !strings.Contains(body, "connect/other-browser") {
			t.Errorf("%d cookies give %d: %s", len(values), status, body)
		}
	}
	if status, _ := ask(k.Value); status != http.StatusSeeOther {
		t.Errorf("the right cookie gives %d", status)
	}
	if status, body := ask(k.Value); status != http.StatusForbidden || !strings.Contains(body, "connect/state-used") {
		t.Errorf("a second time gives %d: %s", status, body)
	}
}

// Over https the cookie has the form that browsers guard most.
func TestCookieOverHTTPS(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{PublicURL: "https://app.example.com"})
	duties, notices, _ := w.Duties(0)
	p, err := public.New(public.Config{Connections: w.Connections, Cases: duties, Notices: notices})
	if err != nil {
		t.Fatal(err)
	}
	begun := w.Begin("user-7", "publish")
	rec := httptest.NewRecorder()
	p.Handler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, connect.StartPath+begun.ID, nil))
	if set := rec.Header().Get("Set-Cookie"); !strings.HasPrefix(set, "__Host-gatehouse-"+begun.ID+"=") || !strings.Contains(set, "; Secure") ||
		!strings.Contains(set, "; Path=/;") || strings.Contains(set, "Domain") {
		t.Errorf("the cookie is set with %q", strings.SplitN(set, ";", 2)[1])
	}
}

// Every answer, good or bad, is closed to scripts, frames, caches and referrers.
func TestAnswersAreClosed(t *testing.T) {
	w := newWorld(t, 0)
	for path, status := range map[string]int{
		strings.TrimPrefix(w.Begin("user-7", "publish").URL, w.url): http.StatusSeeOther,
		connect.StartPath + "unknown":                               http.StatusNotFound,
		connect.CallbackPath + "main-x":                             http.StatusForbidden,
		connect.CallbackPath + "nowhere?state=x":                    http.StatusNotFound,
		"/_gatehouse/nothing":                                       http.StatusNotFound,
		"/_gatehouse/connect/style.css":                             http.StatusOK,
	} {
		reply, body := w.get(stay, w.url+path)
		h := reply.Header
		if reply.StatusCode != status {
			t.Errorf("%s gives %d, want %d", path, reply.StatusCode, status)
		}
		if h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "no-referrer" || h.Get("X-Frame-Options") != "DENY" ||
			h.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none';") {
			t.Errorf("%s has headers %v", path, h)
		}
		if strings.Contains(body, "<script") || strings.Contains(body, " style=") || (status >= 400 && !strings.Contains(body, "<h1>")) {
			t.Errorf("%s shows %s", path, body)
		}
	}
}

// Nothing that a visitor sends is shown to anybody.
func TestPagesRepeatNothing(t *testing.T) {
	w := newWorld(t, 0)
	const canary = `"><img src=x onerror=alert(1)>`
	for _, path := range []string{
		connect.StartPath + url.PathEscape(canary), connect.CallbackPath + url.PathEscape(canary),
		connect.CallbackPath + "main-x?state=" + url.QueryEscape(canary) + "&error=" + url.QueryEscape(canary) + "&error_description=" + url.QueryEscape(canary),
	} {
		if reply, body := w.get(stay, w.url+path); reply.StatusCode < 400 || strings.Contains(body, "onerror") {
			t.Errorf("%d %s", reply.StatusCode, body)
		}
	}
	if strings.Contains(w.log.String(), "onerror") {
		t.Error("the access log repeats what a visitor sent")
	}
}

func TestOtherMethods(t *testing.T) {
	w := newWorld(t, 0)
	begun := w.Begin("user-7", "publish")
	for _, method := range []string{http.MethodHead, http.MethodPost, http.MethodOptions} {
		req, err := http.NewRequestWithContext(t.Context(), method, begun.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		if reply, _ := w.do(stay, req); reply.StatusCode != http.StatusMethodNotAllowed || reply.Header.Get("Allow") != "GET" || len(reply.Cookies()) != 0 {
			t.Errorf("%s gives %d", method, reply.StatusCode)
		}
	}
}

func TestSourcesAreLimited(t *testing.T) {
	w := newWorld(t, 5)
	p, err := public.New(public.Config{Connections: w.Connections, Cases: w.duties, Notices: w.notices, PerMinute: 5})
	if err != nil {
		t.Fatal(err)
	}
	h := p.Handler()
	ask := func(remote string) int {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, connect.StartPath+"unknown", nil)
		req.RemoteAddr = remote
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		return rec.Code
	}
	for _, network := range []struct{ first, neighbour, stranger string }{
		{"192.0.2.1:%d", "[::ffff:192.0.2.1]:%d", "192.0.2.2:%d"},
		{"[2001:db8::1]:%d", "[2001:db8::2]:%d", "[2001:db8:0:1::1]:%d"},
	} {
		for i := range 5 {
			if code := ask(fmt.Sprintf(network.first, 1000+i)); code != http.StatusNotFound {
				t.Fatalf("request %d gives %d", i, code)
			}
		}
		for remote, want := range map[string]int{network.first: 429, network.neighbour: 429, network.stranger: 404} {
			if code := ask(fmt.Sprintf(remote, 7)); code != want {
				t.Errorf("%s gives %d, want %d", remote, code, want)
			}
		}
	}
	// Behind a proxy on this machine, one visitor must not use up the others'
	// budget.
	for _, proxy := range []string{"127.0.0.1:9", "[::1]:9", "[::ffff:127.0.0.1]:9"} {
		for i := range 20 {
			if code := ask(proxy); code != http.StatusNotFound {
				t.Fatalf("request %d through %s gives %d", i, proxy, code)
			}
		}
	}
}

// Where a proxy says whom it speaks for, each visitor has a budget, and so has whoever
// it does not tell apart.
func TestVisitorsBehindAProxy(t *testing.T) {
	w := newWorld(t, 5)
	p, err := public.New(public.Config{
		Connections: w.Connections, Cases: w.duties, Notices: w.notices, PerMinute: 2, Proxies: wire.Proxies{netip.MustParsePrefix("127.0.0.1/32")},
	})
	if err != nil {
		t.Fatal(err)
	}
	h := p.Handler()
	allowed := func(method, path, peer, said string) (n int) {
		for range 100 {
			req := httptest.NewRequestWithContext(t.Context(), method, path, nil)
			req.RemoteAddr = peer
			req.Header.Set("X-Forwarded-For", said)
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, req)
			if rec.Code != http.StatusTooManyRequests {
				n++
			}
		}
		return n
	}
	start := connect.StartPath + "unknown"
	for _, test := range []struct {
		name, peer, said string
		want             int
	}{
		{"a visitor", "127.0.0.1:1", "192.0.2.1", 2},
		{"who writes another address before", "127.0.0.1:1", "198.51.100.1, 192.0.2.1", 0},
		{"the next visitor", "127.0.0.1:1", "192.0.2.2", 2},
		{"a stranger who says that they are a proxy", "198.51.100.7:1", "192.0.2.3", 2},
		{"and again", "198.51.100.7:1", "192.0.2.4", 0},
		{"whom the proxy does not name", "127.0.0.1:1", "127.0.0.1", 2 * wire.LoopbackShare},
	} {
		if got := allowed(http.MethodGet, start, test.peer, test.said); got != test.want {
			t.Errorf("%s is allowed %d, want %d", test.name, got, test.want)
		}
	}
	// What no platform signed is counted by whom it came from too.
	for _, said := range []string{"192.0.2.1", "192.0.2.2"} {
		if got := allowed(http.MethodPost, public.WebhooksPath+"x", "127.0.0.1:1", said); got != 2 {
			t.Errorf("%s is allowed %d notices", said, got)
		}
	}
}
