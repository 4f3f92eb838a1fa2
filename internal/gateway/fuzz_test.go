package gateway

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/identity"
	"gatehouse/internal/platform"
)

// FuzzOutgoing sends arbitrary requests through everything that happens before a
// credential is opened. Whatever they look like, nothing panics, and what would
// go to the platform holds no handle, none of the parameters in which credentials
// stand, and no header that is not listed.
func FuzzOutgoing(f *testing.F) {
	const handle = "gth_hnd_0123456789abcdefghijkl_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGxxxxxx"
	add := func(method, target, contentType, authorization, body string) {
		f.Add(method, target, contentType, authorization, body)
	}
	add("GET", "/x/2/users/me", "", "Bearer "+handle, "")
	add("GET", "/meta/v25.0/me?fields=id&access_token="+handle, "", "", "")
	add("POST", "/meta/v25.0/1234567/feed", "application/x-www-form-urlencoded", "", "message=a&access_token="+handle+"&appsecret_proof=x")
	add("POST", "/meta/v25.0/1234567/feed", "application/json", "", `{"message":"a","access_token":"`+handle+`"}`)
	add("POST", "/meta/v25.0/1234567/photos", "multipart/form-data; boundary=b", "", "--b\r\nContent-Disposition: form-data; name=\"access_token\"\r\n\r\n"+handle+"\r\n--b\r\nContent-Disposition: form-data; name=\"source\"; filename=\"a\"\r\nContent-Type: image/png\r\n\r\nPNG\r\n--b--\r\n")
	add("POST", "/2/tweets", "application/json", "Bearer "+handle, `{"text":"`+handle+`"}`)
	add("POST", "/x/2/media/upload", "video/mp4", "Bearer "+handle, "xxgth_hnd_xx")
	add("GET", "/me?access_token[0]="+handle, "", "OAuth "+handle, "")
	add("POST", "/x/2/oauth2/token", "application/x-www-form-urlencoded", "Basic eDp5", "refresh_token="+handle)
	add("GET", "/x/2/tweets?ids=1%26access_token%3D"+handle, "", "Bearer "+handle, "")
	config := Config{Limits: Limits{InspectBytes: 1 << 16, BodyBytes: 1 << 20}}
	config.Limits.fill()
	upstreams := map[platform.Name]bases{}
	for _, p := range platform.Names() {
		upstreams[p] = bases{}
		for _, role := range platform.Roles(p) {
			u, _ := url.Parse(platform.BaseURL(p, role))
			upstreams[p][role] = u
		}
	}
	g := &Gateway{config: config, upstreams: upstreams}
	f.Fuzz(func(t *testing.T, method, target, contentType, authorization, body string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || strings.ContainsAny(target, " \r\n\x00#") {
			return // net/http would not have let it in
		}
		r := &http.Request{
			Method: method, URL: u, RequestURI: target, Host: "gw.example", RemoteAddr: "127.0.0.1:1",
			Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
		}
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		r.Header.Set("Cookie", "a=b")
		c := &call{gateway: g, settings: &Settings{}, w: httptest.NewRecorder(), r: r}
		if c.read(context.Background()) != nil {
			return
		}
		if c.at.platform == "" {
			c.at.platform = platform.X
			if c.asGraph {
				c.at.platform = platform.Facebook
			}
		}
		c.handle.Platform = gatehouse.Platform(c.at.platform)
		if c.classify(context.Background()) != nil || c.class.Endpoint != platform.None || c.class.Batch || c.inspect(context.Background()) != nil {
			return
		}
		out, up, err := c.outgoing(context.Background(), nil)
		if err != nil || leaksHandle(out) != nil {
			return
		}
		base := upstreams[c.at.platform]
		if !strings.HasPrefix(out.URL.String(), base[c.class.Role].String()) && !strings.HasPrefix(out.URL.String(), base[platform.RoleAPI].String()) {
			t.Fatalf("the request leaves for %s", out.URL.Host)
		}
		var sent []byte
		if out.Body != nil {
			sent, err = io.ReadAll(out.Body)
			if err != nil || up.failure() != nil {
				return // broken off on the way: the platform sees no whole request
			}
		}
		query, err := url.QueryUnescape(out.URL.RawQuery)
		if err != nil {
			t.Fatalf("the query that leaves is malformed: %q", out.URL.RawQuery)
		}
		if identity.Holds(query) || identity.Holds(out.URL.Path) || identity.HoldsBytes(sent) {
			t.Fatalf("a handle leaves: %q %q %q", out.URL.Path, query, sent)
		}
		for name := range out.URL.Query() {
			if stripped[c.at.platform][name] {
				t.Fatalf("parameter %q leaves", name)
			}
		}
		for name, values := range out.Header {
			if name == "Cookie" || name == "Authorization" || identity.Holds(strings.Join(values, " ")) {
				t.Fatalf("header %s leaves", name)
			}
		}
	})
}

// FuzzReferences holds that no reference to anything but an id passes.
func FuzzReferences(f *testing.F) {
	f.Add("?ids={result=a:$.data.*.id}", "message={result=a:$.data.0.access_token}")
	f.Add("me%7Bresult%3Da%3A%24.id%7D", "{result={result=a:$.id}")
	f.Fuzz(func(t *testing.T, relative, body string) {
		item := platform.BatchItem{Method: "POST", RelativeURL: relative, Body: body}
		if checkReferences(item) != nil {
			return
		}
		for _, text := range []string{relative, body} {
			decoded, err := url.QueryUnescape(text)
			if err != nil {
				t.Fatalf("%q passes although it cannot be decoded", text)
			}
			if strings.Contains(decoded, "{result=") && strings.Contains(decoded, "token}") {
				t.Fatalf("a reference to a token passes: %q", decoded)
			}
		}
	})
}

// FuzzGuard holds that a handle is found however reads divide it.
func FuzzGuard(f *testing.F) {
	f.Add([]byte("xxxgth_hnd_yyy"), 3)
	f.Add([]byte("gth_svc_"), 1)
	f.Add([]byte("gth_gth_hnd"), 2)
	f.Fuzz(func(t *testing.T, content []byte, size int) {
		if size < 1 || size > 64 {
			return
		}
		g := &guardReader{r: strings.NewReader(string(content))}
		var passed []byte
		p := make([]byte, size)
		for {
			n, err := g.Read(p)
			passed = append(passed, p[:n]...)
			if err != nil {
				break
			}
		}
		if identity.HoldsBytes(passed) {
			t.Fatalf("%q passed in reads of %d", passed, size)
		}
		if !identity.HoldsBytes(content) && string(passed) != string(content) {
			t.Fatalf("%q became %q", content, passed)
		}
	})
}
