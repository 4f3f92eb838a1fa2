package gateway_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/gateway"
)

// mistype returns a handle with two other characters in it.
func mistype(handle string) string {
	wrong := "zz"
	if handle[20:22] == wrong {
		wrong = "yy"
	}
	return handle[:20] + wrong + handle[22:]
}

// Whoever calls without a good handle learns why, and the platform hears nothing.
func TestHandlesThatAreRefused(t *testing.T) {
	r := newRig(t)
	c := r.connection("main-x", "publish", r.people[0].Username)
	_, good := r.handle(c, "publish")
	_, short := r.handle(c, "publish", time.Millisecond)
	revoked, revokedText := r.handle(c, "publish")
	if err := r.handles.RevokeHandle(r.ctx, revoked.ID); err != nil {
		t.Fatal(err)
	}
	_, undeclared := r.handle(c, "gone")
	key, err := r.handles.NewServiceKey(r.ctx, scheduler)
	if err != nil {
		t.Fatal(err)
	}
	foreign := newRig(t).xHandle() // of another environment's database
	time.Sleep(5 * time.Millisecond)
	r.seen.reset()
	for name, c := range map[string]struct {
		handle string
		status int
		rule   string
	}{
		"expired":          {short, 401, "identity/handle-expired"},
		"revoked":          {revokedText, 401, "identity/handle-revoked"},
		"other database":   {foreign, 401, "identity/handle-unknown"},
		"cut off":          {good[:len(good)-3], 401, "identity/handle-malformed"},
		"mistyped":         {mistype(good), 401, "identity/handle-malformed"},
		"service key":      {key.Reveal(), 401, "identity/handle-malformed"},
		"platform's token": {"EAABsbCS1234567890", 401, "refuse/not-a-handle"},
		"empty":            {"", 401, "refuse/no-handle"},
		"unknown purpose":  {undeclared, 403, "refuse/unknown-purpose"},
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			r.call("GET", "/x/2/users/me", bearer(c.handle)).refused(c.status, c.rule)
		})
	}
	r.t = t
	r.call("GET", "/x/2/users/me").refused(401, "refuse/no-handle")
	if n := r.seen.count(); n != 0 {
		t.Errorf("%d requests reached the platform", n)
	}
	r.check()
}

// Each request here tries to be read in two ways, or to do what is not declared.
func TestRequestsThatAreRefused(t *testing.T) {
	r := newRig(t)
	x, m := r.xHandle(), r.metaHandle()
	r.seen.reset()
	js := func(text string) option { return body("application/json", text) }
	form := func(text string) option { return body(formType, text) }
	for name, c := range map[string]struct {
		method, path string
		options      []option
		status       int
		rule         string
	}{
		"header and query":         {"GET", "/meta/v25.0/me?access_token=" + m, []option{bearer(m)}, 400, "refuse/two-credentials"},
		"query twice":              {"GET", "/meta/v25.0/me?access_token=" + m + "&access_token=" + m, nil, 400, "refuse/duplicate-parameter"},
		"query and form":           {"POST", "/meta/v25.0/1234/feed?access_token=" + m, []option{form("message=x&access_token=" + m)}, 400, "refuse/two-credentials"},
		"query and json":           {"POST", "/meta/v25.0/1234/feed?access_token=" + m, []option{js(`{"access_token":"` + m + `"}`)}, 400, "refuse/two-credentials"},
		"two headers":              {"GET", "/x/2/users/me", []option{bearer(x), header("Authorization", "Bearer "+x)}, 400, "refuse/two-credentials"},
		"unknown scheme":           {"GET", "/x/2/users/me", []option{header("Authorization", "Digest "+x)}, 401, "refuse/authorization"},
		"bracketed token":          {"GET", "/meta/v25.0/me?access_token[0]=" + m, []option{bearer(m)}, 400, "refuse/parameter-spelling"},
		"dotted token":             {"GET", "/meta/v25.0/me?access.token=" + m, []option{bearer(m)}, 400, "refuse/parameter-spelling"},
		"capital token":            {"GET", "/meta/v25.0/me?Access_Token=" + m, []option{bearer(m)}, 400, "refuse/parameter-spelling"},
		"semicolon":                {"GET", "/meta/v25.0/me?fields=id;access_token=x", []option{bearer(m)}, 400, "refuse/parameters"},
		"semicolon at X":           {"GET", "/x/2/tweets?ids=1;2", []option{bearer(x)}, 400, "refuse/parameters"},
		"two content types":        {"POST", "/x/2/tweets", []option{bearer(x), js(`{"text":"x"}`), header("Content-Type", formType)}, 415, "refuse/content-type"},
		"bad escape":               {"GET", "/meta/v25.0/me?fields=%zz", []option{bearer(m)}, 400, "refuse/parameters"},
		"not utf-8":                {"GET", "/meta/v25.0/me?fields=%ff", []option{bearer(m)}, 400, "refuse/parameters"},
		"duplicate key":            {"GET", "/x/2/tweets?ids=1&ids=2", []option{bearer(x)}, 400, "refuse/duplicate-parameter"},
		"dot segments":             {"GET", "/x/2/users/../users/me", []option{bearer(x)}, 400, "refuse/path"},
		"escaped dots":             {"GET", "/x/2/users/%2e%2e/me", []option{bearer(x)}, 400, "refuse/path"},
		"double slash":             {"GET", "/x//2/users/me", []option{bearer(x)}, 400, "refuse/path"},
		"escaped slash":            {"GET", "/x/2/users%2fme", []option{bearer(x)}, 400, "refuse/path"},
		"trailing dot":             {"GET", "/x/2/users/me.", []option{bearer(x)}, 400, "refuse/path"},
		"encoded letter":           {"GET", "/x/2/users/%6de", []option{bearer(x)}, 400, "refuse/path"},
		"nul":                      {"GET", "/x/2/users/me%00", []option{bearer(x)}, 400, "refuse/path"},
		"mixed case":               {"GET", "/x/2/Users/me", []option{bearer(x)}, 400, "refuse/path"},
		"unknown operation":        {"GET", "/x/2/secret/things", []option{bearer(x)}, 403, "refuse/unknown-operation"},
		"undeclared operation":     {"DELETE", "/x/2/lists/1", []option{bearer(x)}, 403, "refuse/undeclared-call"},
		"override header":          {"GET", "/x/2/users/me", []option{bearer(x), header("X-HTTP-Method-Override", "DELETE")}, 403, "refuse/method-override"},
		"override query":           {"GET", "/meta/v25.0/1234?method=delete", []option{bearer(m)}, 403, "refuse/method-override"},
		"override form":            {"POST", "/meta/v25.0/1234/feed", []option{bearer(m), form("method=delete")}, 403, "refuse/method-override"},
		"override json":            {"POST", "/meta/v25.0/1234/feed", []option{bearer(m), js(`{"method":"delete"}`)}, 403, "refuse/method-override"},
		"nested expansion":         {"GET", "/meta/v25.0/me?fields=id,accounts{photos{images}}", []option{bearer(m)}, 403, "refuse/undeclared-call"},
		"plain edge as field":      {"GET", "/meta/v25.0/me?fields=id,photos", []option{bearer(m)}, 403, "refuse/undeclared-call"},
		"ids of an edge":           {"GET", "/meta/v25.0/photos?ids=1,2", []option{bearer(m)}, 403, "refuse/undeclared-call"},
		"ids of user names":        {"GET", "/meta/v25.0/?ids=1,somebody", []option{bearer(m)}, 403, "refuse/undeclared-call"},
		"prefix disagrees":         {"GET", "/meta/v25.0/me", []option{bearer(x)}, 403, "refuse/route-disagrees"},
		"host disagrees":           {"GET", "/2/users/me", []option{bearer(m), asHost("api.x.com")}, 403, "refuse/route-disagrees"},
		"host and prefix":          {"GET", "/x/2/users/me", []option{bearer(x), asHost("graph.facebook.com")}, 400, "refuse/route-disagrees"},
		"root of the other":        {"GET", "/2/users/me", []option{bearer(m)}, 400, "refuse/route-disagrees"},
		"graph body at an X path":  {"POST", "/2/feed", []option{bearer(m), js(`{"method":"delete"}`)}, 400, "refuse/route-disagrees"},
		"X handle at a graph path": {"GET", "/v25.0/me", []option{bearer(x)}, 400, "refuse/route-disagrees"},
		"consent host":             {"GET", "/i/oauth2/authorize", []option{asHost("x.com")}, 400, "refuse/consent-page"},
		"not json":                 {"POST", "/x/2/tweets", []option{bearer(x), js(`{"text":`)}, 400, "refuse/not-json"},
		"not json for graph":       {"POST", "/meta/v25.0/1234/feed", []option{bearer(m), js(`message=x`)}, 400, "refuse/not-json"},
		"json list":                {"POST", "/meta/v25.0/1234/feed", []option{bearer(m), js(`[]`)}, 400, "refuse/not-json"},
		"json member twice":        {"POST", "/meta/v25.0/1234/feed", []option{bearer(m), js(`{"message":"a","message":"b"}`)}, 400, "refuse/duplicate-parameter"},
		"json not utf-8":           {"POST", "/meta/v25.0/1234/feed", []option{bearer(m), js("{\"message\":\"\xff\"}")}, 400, "refuse/not-json"},
		"json of many":             {"POST", "/meta/v25.0/1234/feed", []option{bearer(m), js("{" + strings.Repeat(`"a":1,`, 600) + `"b":1}`)}, 400, "refuse/not-json"},
		"json then more":           {"POST", "/meta/v25.0/1234/feed", []option{bearer(m), js(`{} {}`)}, 400, "refuse/not-json"},
		"content type":             {"POST", "/x/2/tweets", []option{bearer(x), body("text/plain", `{"text":"x"}`)}, 415, "refuse/content-type"},
		"no content type":          {"POST", "/x/2/tweets", []option{bearer(x), body("", `{"text":"x"}`)}, 415, "refuse/content-type"},
		"compressed":               {"POST", "/x/2/tweets", []option{bearer(x), js(`{"text":"x"}`), header("Content-Encoding", "gzip")}, 415, "refuse/content-type"},
		"handle in a post":         {"POST", "/x/2/tweets", []option{bearer(x), js(`{"text":"my handle is ` + x + `"}`)}, 400, "refuse/handle-inside"},
		"escaped handle":           {"POST", "/x/2/tweets", []option{bearer(x), js(`{"text":"` + strings.Replace(x, "gth", `\u0067th`, 1) + `"}`)}, 400, "refuse/handle-inside"},
		"handle in a field":        {"POST", "/meta/v25.0/1234/feed", []option{bearer(m), form("message=" + m)}, 400, "refuse/handle-inside"},
		"handle in the query":      {"GET", "/x/2/tweets/search/recent?query=" + x, []option{bearer(x)}, 400, "refuse/handle-inside"},
		"handle in the path":       {"GET", "/x/2/tweets/" + x, []option{bearer(x)}, 400, "refuse/handle-inside"},
		"large body":               {"POST", "/x/2/media/upload", []option{bearer(x), body("video/mp4", strings.Repeat("x", 5<<20))}, 413, "limit/body"},
		"large form":               {"POST", "/meta/v25.0/1234/feed", []option{bearer(m), form("message=" + strings.Repeat("x", 2<<20))}, 413, "limit/inspected-body"},
		"large json":               {"POST", "/meta/v25.0/1234/feed", []option{bearer(m), js(`{"message":"` + strings.Repeat("x", 2<<20) + `"}`)}, 413, "limit/inspected-body"},
		"oauth1 at facebook":       {"GET", "/meta/v25.0/me", []option{header("Authorization", `OAuth oauth_consumer_key="a", oauth_nonce="b"`)}, 401, "refuse/authorization"},
		"token operand elsewhere":  {"GET", "/x/2/tweets?ids=1&token=" + x, nil, 401, "refuse/no-handle"},
		"too many parameters":      {"GET", "/x/2/tweets?" + strings.Repeat("a=1&", 600), []option{bearer(x)}, 400, "refuse/parameters"},
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			p := r.call(c.method, c.path, c.options...).refused(c.status, c.rule)
			for _, h := range []string{x, m} {
				if strings.Contains(fmt.Sprint(p), h) {
					t.Error("the refusal repeats the handle")
				}
			}
		})
	}
	r.t = t
	if n := r.seen.count(); n != 0 {
		t.Errorf("%d requests reached a platform: %+v", n, r.last())
	}
	r.check()
}

// What the server's own parser lets through or stops of smuggling and size.
func TestRawRequests(t *testing.T) {
	r := newRig(t)
	h := r.xHandle()
	r.seen.reset()
	u, _ := url.Parse(r.url)
	send := func(raw string) string {
		conn, err := tls.Dial("tcp", u.Host, &tls.Config{RootCAs: r.pool})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		if _, err := io.WriteString(conn, raw); err != nil {
			return "closed"
		}
		reply, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return "closed"
		}
		defer reply.Body.Close()
		b, _ := io.ReadAll(reply.Body)
		return fmt.Sprintf("%d %s", reply.StatusCode, b)
	}
	// Go's client would leave it out; a raw caller does not.
	const sharp = "GET /x/2/tweets?ids=1#&ids=2 HTTP/1.1\r\n"
	head := "Host: gw\r\nAuthorization: Bearer " + h + "\r\n"
	for name, c := range map[string]struct{ raw, want string }{
		"two lengths":     {"POST /x/2/tweets HTTP/1.1\r\n" + head + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "400"},
		"length, chunked": {"POST /x/2/tweets HTTP/1.1\r\n" + head + "Content-Type: application/json\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", "501"},
		"absolute target": {"GET http://api.x.com/2/users/me HTTP/1.1\r\n" + head + "\r\n", "refuse/absolute-target"},
		"connect":         {"CONNECT api.x.com:443 HTTP/1.1\r\n" + head + "\r\n", "40"},
		"large header":    {"GET /x/2/users/me HTTP/1.1\r\n" + head + "X-A: " + strings.Repeat("a", 80<<10) + "\r\n\r\n", "431"},
		"backslash":       {"GET /x\\2\\users\\me HTTP/1.1\r\n" + head + "\r\n", "400"},
		"number sign":     {sharp + head + "\r\n", "refuse/parameters"},
		"two hosts":       {"GET /x/2/users/me HTTP/1.1\r\nHost: a\r\n" + head + "\r\n", "400"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := send(c.raw); !strings.Contains(got, c.want) {
				t.Errorf("got %.300s, want %s", got, c.want)
			}
		})
	}
	if n := r.seen.count(); n != 0 {
		t.Errorf("%d requests reached the platform", n)
	}
	r.check()
}

// Headers go up by a list, and come down by a list.
func TestHeaders(t *testing.T) {
	r := newRig(t)
	h := r.xHandle()
	reply := r.call("GET", "/x/2/users/me", bearer(h),
		header("Cookie", "session=1"), header("X-Forwarded-For", "10.0.0.1"), header("Forwarded", "for=10.0.0.1"), header("Via", "x"),
		header("X-Api-Key", "k"), header("Proxy-Authorization", "Basic eA=="), header("Accept-Language", "de"), header("Range", "bytes=0-1"),
		header("Connection", "Range, X-Custom"), header("X-Custom", "1"), header("Origin", "https://evil.example"), header("Referer", "https://app.example/x?secret"),
		header("User-Agent", "my-sdk/1.0"), header("X-B3-Traceid", "1"), header("Host", "ignored")).ok()
	got := r.last().Header
	for _, name := range []string{"Cookie", "X-Forwarded-For", "Forwarded", "Via", "X-Api-Key", "Proxy-Authorization", "X-Custom", "Origin", "Referer", "X-B3-Traceid", "Range"} {
		if got.Get(name) != "" {
			t.Errorf("%s reached the platform", name)
		}
	}
	if got.Get("Accept-Language") != "de" || got.Get("User-Agent") != "my-sdk/1.0 Gatehouse" {
		t.Errorf("what reached the platform: %v", got)
	}
	for _, name := range []string{"Set-Cookie", "Strict-Transport-Security", "X-New-And-Unknown"} {
		if reply.header.Get(name) != "" {
			t.Errorf("%s came back", name)
		}
	}
	if !strings.Contains(reply.header.Get("Cache-Control"), "no-store") && !strings.Contains(reply.header.Get("Cache-Control"), "no-cache") {
		t.Errorf("a person's data may be cached: %q", reply.header.Get("Cache-Control"))
	}
	r.check()
}

// The limits of a service: rate, position, source.
func TestServiceLimits(t *testing.T) {
	var service gateway.Service
	r := newRig(t, func(c *gateway.Config) {
		service = gateway.Service{Purposes: []gatehouse.PurposeName{"publish", "pages"}, Rate: 0.01, Burst: 2}
		c.Settings.Services = map[gatehouse.ServiceName]gateway.Service{scheduler: service}
	})
	h := r.xHandle()
	r.call("GET", "/x/2/users/me", bearer(h)).ok()
	r.call("GET", "/x/2/users/me", bearer(h)).ok()
	limited := r.call("GET", "/x/2/users/me", bearer(h))
	limited.refused(429, "limit/service-rate")
	if limited.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	apply := func(change func(*gateway.Service)) {
		t.Helper()
		s := service
		s.Rate = 0
		change(&s)
		settings := r.config.Settings
		settings.Services = map[gatehouse.ServiceName]gateway.Service{scheduler: s}
		if err := r.gateway.Apply(settings); err != nil {
			t.Fatal(err)
		}
	}
	apply(func(s *gateway.Service) { s.Accept = []string{"query"} })
	r.call("GET", "/x/2/users/me", bearer(h)).refused(403, "refuse/position")
	r.call("GET", "/x/2/users/me?access_token="+h).ok()
	apply(func(s *gateway.Service) { s.Sources = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })
	r.call("GET", "/x/2/users/me", bearer(h)).refused(403, "identity/source")
	apply(func(s *gateway.Service) { s.Sources = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	r.call("GET", "/x/2/users/me", bearer(h)).ok()
	apply(func(s *gateway.Service) { s.Purposes = []gatehouse.PurposeName{"pages"} })
	r.call("GET", "/x/2/users/me", bearer(h)).refused(403, "refuse/purpose-not-allowed")
	settings := r.config.Settings
	settings.Services = nil
	if err := r.gateway.Apply(settings); err != nil {
		t.Fatal(err)
	}
	r.call("GET", "/x/2/users/me", bearer(h)).refused(403, "refuse/unknown-service")
	r.check()
}

// Strangers cannot fill the log: beyond a rate they are refused without an entry
// of their own.
func TestStrangersAreBounded(t *testing.T) {
	r := newRig(t, func(c *gateway.Config) { c.Limits.UnknownPerSecond = 3 })
	last := answer{}
	for range 10 {
		last = r.call("GET", "/x/2/users/me")
	}
	if last.status != 429 || !strings.Contains(last.body, "limit/strangers") {
		t.Errorf("the tenth stranger got %d: %s", last.status, last.body)
	}
	r.check()
}
