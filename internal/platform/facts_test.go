package platform_test

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/internal/platform"
)

func TestHosts(t *testing.T) {
	for _, test := range []struct {
		p    platform.Name
		role platform.Role
		want string
	}{
		{platform.X, platform.RoleAPI, "https://api.x.com"},
		{platform.X, platform.RoleToken, "https://api.x.com"},
		{platform.X, platform.RoleConsent, "https://x.com"},
		{platform.Facebook, platform.RoleVideo, "https://graph-video.facebook.com"},
		{platform.Facebook, platform.RoleUpload, "https://rupload.facebook.com"},
		{platform.Instagram, platform.RoleToken, "https://api.instagram.com"},
		{platform.Instagram, platform.RoleVideo, "https://graph.instagram.com"},
		{platform.Threads, platform.RoleToken, "https://graph.threads.net"},
		{"other", platform.RoleAPI, ""},
	} {
		if got := platform.BaseURL(test.p, test.role); got != test.want {
			t.Errorf("%s %s: %q, want %q", test.p, test.role, got, test.want)
		}
	}
	if p, r, ok := platform.HostOf("api.twitter.com"); p != platform.X || r != platform.RoleAPI || !ok {
		t.Errorf("api.twitter.com: %s %s %v", p, r, ok)
	}
	if p, r, ok := platform.HostOf("rupload.facebook.com"); p != platform.Facebook || r != platform.RoleUpload || !ok {
		t.Errorf("rupload: %s %s %v", p, r, ok)
	}
	for _, host := range []string{"api.x.com.evil.example", "evil.example", "", "API.X.COM"} {
		if _, _, ok := platform.HostOf(host); ok {
			t.Errorf("%q is a platform's host", host)
		}
	}
	if d := cmp.Diff([]platform.Role{platform.RoleAPI, platform.RoleConsent}, platform.Roles(platform.X)); d != "" {
		t.Errorf("roles (-want +got):\n%s", d)
	}
}

func TestHeaders(t *testing.T) {
	for _, name := range []string{"Content-Type", "accept", "If-None-Match", "User-Agent"} {
		if !platform.RequestHeader(platform.X, name) {
			t.Errorf("request header %s is held back", name)
		}
	}
	for _, name := range append(platform.CredentialHeaders(), "X-Forwarded-For", "Forwarded", "Via", "Connection", "Accept-Encoding", "X-Http-Method-Override", "Traceparent", "Host", "Origin", "Referer") {
		if platform.RequestHeader(platform.X, name) || platform.RequestHeader(platform.Facebook, name) {
			t.Errorf("request header %s goes out", name)
		}
	}
	if !platform.RequestHeader(platform.Facebook, "file_offset") || platform.RequestHeader(platform.X, "file_offset") {
		t.Error("upload headers belong to Meta alone")
	}
	for _, test := range []struct {
		p    platform.Name
		name string
		want bool
	}{
		{platform.X, "x-rate-limit-reset", true}, {platform.Facebook, "x-rate-limit-reset", false},
		{platform.Facebook, "X-App-Usage", true}, {platform.X, "X-App-Usage", false},
		{platform.Threads, "X-Business-Use-Case-Usage", true}, {platform.X, "ETag", true},
		{platform.X, "Set-Cookie", false}, {platform.Facebook, "WWW-Authenticate", false}, {platform.X, "Location", false},
		{"other", "Content-Type", true}, {"other", "X-App-Usage", false},
	} {
		if got := platform.ReplyHeader(test.p, test.name); got != test.want {
			t.Errorf("%s %s: %v", test.p, test.name, got)
		}
	}
	for _, test := range []struct{ method, name, value, want string }{
		{"POST", "X-HTTP-Method-Override", "delete", "DELETE"},
		{"POST", "X-HTTP-Method-Override", "POST", ""},
		{"GET", "X-Method-Override", "PUT", "PUT"},
		{"GET", "X-Other", "PUT", ""},
	} {
		h := http.Header{}
		h.Set(test.name, test.value)
		if got := platform.HeaderOverride(test.method, h); got != test.want {
			t.Errorf("%s with %s: %s is %q, want %q", test.method, test.name, test.value, got, test.want)
		}
	}
}

func TestStripParams(t *testing.T) {
	for _, test := range []struct {
		p        platform.Name
		in, rest string
		removed  url.Values
	}{
		{platform.Facebook, "", "", url.Values{}},
		{platform.Facebook, "fields=id%2Cname&a=1", "fields=id%2Cname&a=1", url.Values{}},
		{platform.Facebook, "a=1&access_token=h%20x&b=+", "a=1&b=+", url.Values{"access_token": {"h x"}}},
		{platform.Facebook, "access%5Ftoken=h", "", url.Values{"access_token": {"h"}}},
		{platform.Facebook, "Access_Token=h&access_token[]=i", "", url.Values{"access_token": {"h", "i"}}},
		{platform.Facebook, "access.token=h&+access+token=i&access_token%00x=j&code=123456", "code=123456", url.Values{"access_token": {"h", "i", "j"}}},
		{platform.Facebook, "appsecret_proof=p&appsecret_time=1&x=y", "x=y", url.Values{"appsecret_proof": {"p"}, "appsecret_time": {"1"}}},
		{platform.X, "oauth_token=t&token_type_hint=refresh_token&token=t", "token_type_hint=refresh_token", url.Values{"oauth_token": {"t"}, "token": {"t"}}},
		{platform.X, "pagination_token=a&next_token=b", "pagination_token=a&next_token=b", url.Values{}},
	} {
		rest, removed, err := platform.StripParams(test.p, test.in)
		if err != nil || rest != test.rest || !cmp.Equal(removed, test.removed) {
			t.Errorf("%s %q: %q, %v, %v; want %q, %v", test.p, test.in, rest, removed, err, test.rest, test.removed)
		}
	}
	for _, in := range []string{"%zz=1", "access_token=%zz"} {
		if _, _, err := platform.StripParams(platform.Facebook, in); !errors.Is(err, platform.ErrSyntax) {
			t.Errorf("%q: %v", in, err)
		}
	}
	for _, p := range platform.Names() {
		for _, name := range platform.CredentialParams(p) {
			if rest, _, err := platform.StripParams(p, name+"=x"); err != nil || rest != "" {
				t.Errorf("%s: %s stays: %q, %v", p, name, rest, err)
			}
		}
	}
	if got := platform.StripLink(platform.Facebook, "https://u:p@graph.facebook.com/1?access_token=E&after=x#f"); got != "https://graph.facebook.com/1?after=x#f" {
		t.Errorf("link: %q", got)
	}
	for _, link := range []string{"https://a b/", "https://graph.facebook.com/?%zz=1"} {
		if got := platform.StripLink(platform.Facebook, link); got != "" {
			t.Errorf("a link that cannot be read: %q", got)
		}
	}
	for _, name := range platform.CredentialMembers() {
		in := `{"` + name + `":"EAAB1"}`
		if out := rewrite(t, platform.Rewriter{}, in); strings.Contains(out, "EAAB1") {
			t.Errorf("member %s is not rewritten: %s", name, out)
		}
	}
}

func TestParseParams(t *testing.T) {
	got, err := platform.ParseParams("a=1&a=2&&b=100%&c=x%20y+z&d&e=f;g=h")
	want := url.Values{"a": {"1", "2"}, "b": {"100%"}, "c": {"x y z"}, "d": {""}, "e": {"f;g=h"}}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for in, want := range map[string]error{
		"%zz=1": platform.ErrSyntax, "a=1;method=delete": platform.ErrAmbiguous, "a;Access_Token=x": platform.ErrAmbiguous,
		"a=1;ids[]=2": platform.ErrAmbiguous,
	} {
		if _, err := platform.ParseParams(in); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", in, err, want)
		}
	}
}

func FuzzStripParams(f *testing.F) {
	f.Add("a=1&access_token=h&b=%41")
	f.Add("oauth_token=t;x=y")
	f.Fuzz(func(t *testing.T, raw string) {
		for _, p := range platform.Names() {
			rest, removed, err := platform.StripParams(p, raw)
			if err != nil {
				continue
			}
			if len(removed) == 0 && rest != raw {
				t.Fatalf("%q became %q", raw, rest)
			}
			params, err := platform.ParseParams(rest)
			if err != nil {
				continue
			}
			for name := range params {
				if slices.Contains(platform.CredentialParams(p), strings.ToLower(name)) {
					t.Fatalf("%q still has %s", rest, name)
				}
			}
			if again, _, err := platform.StripParams(p, rest); err != nil || again != rest {
				t.Fatalf("%q strips again to %q, %v", rest, again, err)
			}
		}
	})
}

func TestEdgeNodes(t *testing.T) {
	if nodes := platform.EdgeNodes("accounts"); !slices.Contains(nodes, "User") {
		t.Errorf("accounts: %v", nodes)
	}
	if nodes := platform.EdgeNodes("no_such_edge"); nodes != nil {
		t.Errorf("an unknown edge: %v", nodes)
	}
}

func TestUnknownPlatform(t *testing.T) {
	if _, err := platform.Classify("myspace", "GET", "/", nil); !errors.Is(err, platform.ErrUnknownPlatform) {
		t.Error(err)
	}
	if _, err := platform.NormalizeCall("myspace", "GET /a"); !errors.Is(err, platform.ErrUnknownPlatform) {
		t.Error(err)
	}
	if out := platform.Interpret("myspace", 503, nil, nil); out.Kind != platform.OutcomeTransient {
		t.Errorf("%+v", out)
	}
	if got := platform.Usage("myspace", nil); got != nil {
		t.Errorf("%+v", got)
	}
}
