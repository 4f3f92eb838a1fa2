package gateway_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/gateway"
	"gatehouse/internal/sandbox/world"
)

func (r *rig) fault(f world.Fault) {
	r.t.Helper()
	if err := r.faults.Add(f); err != nil {
		r.t.Fatal(err)
	}
}

// A platform that takes a call and never answers is not waited for.
func TestPlatformHangs(t *testing.T) {
	r := newRigWith(t, quotas{x: 1000, answer: 500 * time.Millisecond})
	h := r.xHandle()
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/2/users/me"}, Times: 1, Hang: true})
	r.call("GET", "/x/2/users/me", bearer(h)).refused(504, "upstream/timeout")
	r.check()
}

// What a platform can do wrong, each with its clear end.
func TestPlatformFaults(t *testing.T) {
	r := newRig(t)
	h, m := r.xHandle(), r.metaHandle()
	const me = "/x/2/users/me"
	match := world.FaultMatch{Path: "/2/users/me"}
	for name, c := range map[string]struct {
		fault  world.Fault
		status int
		rule   string
	}{
		"redirects":      {world.Fault{Redirect: "https://evil.example/"}, 502, "upstream/redirect"},
		"answers html":   {world.Fault{Status: 200, Body: "<html>hello</html>", ContentType: "text/html"}, 502, "upstream/content-type"},
		"answers nobody": {world.Fault{Status: 200, Body: "x", ContentType: "text/plain"}, 502, "upstream/content-type"},
		"not json":       {world.Fault{Status: 200, Body: "access_token=EAA&expires=1", ContentType: "application/json"}, 502, "upstream/not-json"},
		// Twice, because a GET is sent once more by net/http when a kept-alive
		// connection ends before its answer.
		"loses reply": {world.Fault{LoseReply: true, Times: 2}, 502, "upstream/connection"},
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			c.fault.Match, c.fault.Times = match, max(1, c.fault.Times)
			r.fault(c.fault)
			defer r.faults.Clear()
			r.call("GET", me, bearer(h)).refused(c.status, c.rule)
		})
	}
	for name, f := range map[string]world.Fault{"cuts the body": {CutBody: true}, "lies about length": {LieLength: true}} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			f.Match, f.Times = match, 1
			r.fault(f)
			defer r.faults.Clear()
			a := r.call("GET", me, bearer(h))
			if a.err == nil && a.status == 200 {
				t.Errorf("the caller took half a reply for a whole one: %s", a.body)
			}
		})
	}
	t.Run("error page", func(t *testing.T) {
		r.t = t
		r.fault(world.Fault{Match: match, Times: 1, Status: 503, Body: "<html>over capacity</html>", ContentType: "text/html"})
		if a := r.call("GET", me, bearer(h)); a.status != 503 || strings.Contains(a.body, "<html>") || !strings.Contains(a.body, "upstream/content-type") {
			t.Errorf("got %d: %s", a.status, a.body)
		}
	})
	t.Run("error that quotes the token", func(t *testing.T) {
		r.t = t
		token := ""
		r.call("GET", "/meta/v25.0/me", bearer(m)).ok()
		token = strings.TrimPrefix(r.last().Header.Get("Authorization"), "Bearer ")
		r.fault(world.Fault{Match: world.FaultMatch{Path: "/v25.0/me"}, Times: 1, Status: 400, ContentType: "application/json",
			Body: `{"error":{"message":"Malformed access token ` + token + `.","type":"OAuthException","code":100}}`})
		a := r.call("GET", "/meta/v25.0/me", bearer(m))
		if a.status != 400 || strings.Contains(a.body, token) || !strings.Contains(a.body, "Malformed access token") {
			t.Errorf("got %d: %s", a.status, a.body)
		}
	})
	t.Run("token where nobody expects it", func(t *testing.T) {
		r.t = t
		r.call("GET", "/meta/v25.0/me", bearer(m)).ok()
		token := strings.TrimPrefix(r.last().Header.Get("Authorization"), "Bearer ")
		r.fault(world.Fault{Match: world.FaultMatch{Path: "/v25.0/me"}, Times: 1, Status: 200, ContentType: "application/json",
			Body: `{"id":"1","echo":"you sent ` + token + `"}`})
		a := r.call("GET", "/meta/v25.0/me", bearer(m)).ok()
		if want := `{"id":"1","echo":"you sent ` + m + `"}`; a.body != want {
			t.Errorf("got %s, want %s", a.body, want)
		}
	})
	t.Run("token with two owners", func(t *testing.T) {
		r.t = t
		r.fault(world.Fault{Match: world.FaultMatch{Path: "/v25.0/me/accounts"}, Times: 1, Status: 200, ContentType: "application/json",
			Body: `{"data":[{"id":"1","access_token":"EAAzzzzzzzzzzzzzzzzzzzz","id":"2"}]}`})
		r.call("GET", "/meta/v25.0/me/accounts", bearer(m)).refused(502, "upstream/token")
	})
	t.Run("tokens of nobody in particular", func(t *testing.T) {
		r.t = t
		r.fault(world.Fault{Match: world.FaultMatch{Path: "/v25.0/me/accounts"}, Times: 1, Status: 200, ContentType: "application/json",
			Body: `{"data":[{"access_token":"EAAaaaaaaaaaaaaaaaaaaaa"},{"access_token":"EAAbbbbbbbbbbbbbbbbbbbb"}]}`})
		var pages struct {
			Data []struct {
				AccessToken string `json:"access_token"`
			}
		}
		r.call("GET", "/meta/v25.0/me/accounts", bearer(m)).ok(&pages)
		if len(pages.Data) != 2 || pages.Data[0].AccessToken == pages.Data[1].AccessToken {
			t.Errorf("two tokens became one handle: %+v", pages)
		}
	})
	t.Run("compressed", func(t *testing.T) {
		r.t = t
		r.seen.encoding.Store(true)
		defer r.seen.encoding.Store(false)
		r.call("GET", me, bearer(h)).refused(502, "upstream/encoding")
	})
	t.Run("token that has no owner", func(t *testing.T) {
		r.t = t
		r.fault(world.Fault{Match: world.FaultMatch{Path: "/v25.0/me"}, Times: 1, Status: 200, ContentType: "application/json",
			Body: `{"id":"1","client_secret":"0123456789abcdef0123456789abcdef"}`})
		r.call("GET", "/meta/v25.0/me", bearer(m)).refused(502, "upstream/token")
	})
	r.t = t
	r.check()
}

// A page's photo as multipart: the handle in a field, the file streamed on.
func TestMultipartUpload(t *testing.T) {
	r := newRig(t)
	h := r.metaHandle()
	page := r.accounts(h)[0]
	picture := make([]byte, 2<<20)
	_, _ = rand.Read(picture)
	form := func(fields []string, after ...string) (string, string) {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		for i := 0; i < len(fields); i += 2 {
			_ = w.WriteField(fields[i], fields[i+1])
		}
		part, _ := w.CreatePart(textproto.MIMEHeader{"Content-Disposition": {`form-data; name="source"; filename="p.png"`}, "Content-Type": {"image/png"}})
		_, _ = part.Write(picture)
		for i := 0; i < len(after); i += 2 {
			_ = w.WriteField(after[i], after[i+1])
		}
		_ = w.Close()
		return w.FormDataContentType(), b.String()
	}
	path := "/meta/v25.0/" + page.ID + "/photos"
	ct, b := form([]string{"access_token", page.AccessToken, "message", "look 📷"}, "alt_text_custom", "a picture")
	r.call("POST", path, body(ct, b)).ok()
	got := r.last()
	if !strings.Contains(got.Body, string(picture)) || !strings.Contains(got.Body, "look 📷") || !strings.Contains(got.Body, "a picture") || strings.Contains(got.Body, "access_token") {
		t.Errorf("the platform got %d bytes", len(got.Body))
	}
	ct, b = form([]string{"message", "x"}, "method", "delete")
	r.call("POST", path, bearer(page.AccessToken), body(ct, b)).refused(400, "refuse/multipart")
	ct, b = form([]string{"message", "x"}, "access_token", page.AccessToken)
	r.call("POST", path, bearer(page.AccessToken), body(ct, b)).refused(400, "refuse/multipart")
	ct, b = form([]string{"message", "x"}, "note", page.AccessToken)
	r.call("POST", path, bearer(page.AccessToken), body(ct, b)).refused(400, "refuse/handle-inside")
	r.call("POST", path, bearer(page.AccessToken), body("multipart/form-data", "x")).refused(415, "refuse/content-type")
	part := func(header, value string) option {
		return body("multipart/form-data; boundary=b", "--b\r\n"+header+"\r\n\r\n"+value+"\r\n--b--\r\n")
	}
	for header, rule := range map[string]string{
		`Content-Disposition: form-data; name*=utf-8''message`:                            "refuse/multipart",
		`Content-Disposition: form-data; name="a"; name="b"`:                              "refuse/multipart",
		`Content-Disposition: form-data; filename="x"`:                                    "refuse/multipart",
		`Content-Disposition: form-data; name="batch"; filename="b.json"`:                 "refuse/multipart",
		`Content-Disposition: form-data; name="` + page.AccessToken + `"`:                 "refuse/handle-inside",
		"Content-Disposition: form-data; name=\"m\"\r\nContent-Transfer-Encoding: base64": "refuse/multipart",
	} {
		r.call("POST", path, bearer(page.AccessToken), part(header, "x")).refused(400, rule)
	}
	r.call("POST", path, bearer(page.AccessToken), part("Content-Disposition: form-data; name=\"message\"\r\nX-Part: "+page.AccessToken, "x"))
	if got := r.last().Body; strings.Contains(got, "X-Part") || !strings.Contains(got, "message") {
		t.Errorf("the platform got the part %q", got)
	}
	r.seen.reset() // the broken-off uploads were seen up to the handle only
	r.check()
}

// Videos go to the platform's second host, whichever address they came to.
func TestVideoHost(t *testing.T) {
	r := newRig(t)
	page := r.accounts(r.metaHandle())[0]
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	_ = w.WriteField("description", "moving")
	part, _ := w.CreateFormFile("source", "v.mp4")
	_, _ = part.Write(bytes.Repeat([]byte("mp4"), 1000))
	_ = w.Close()
	upload := body(w.FormDataContentType(), b.String())
	for path, options := range map[string][]option{
		"/meta/v25.0/" + page.ID + "/videos": {bearer(page.AccessToken), upload},
		"/v25.0/" + page.ID + "/videos":      {bearer(page.AccessToken), upload, asHost("graph-video.facebook.com")},
	} {
		a := r.call("POST", path, options...)
		if a.status != 200 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
		if got := r.last().Path; got != "/video/v25.0/"+page.ID+"/videos" {
			t.Errorf("%s went to %s", path, got)
		}
	}
	r.check()
}

// Media goes to X as it is, and a handle in it does not.
func TestMediaUpload(t *testing.T) {
	r := newRig(t)
	h := r.xHandle()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	_ = w.WriteField("media_category", "tweet_image")
	part, _ := w.CreateFormFile("media", "p.png")
	_, _ = part.Write(bytes.Repeat([]byte{0x89, 'P', 'N', 'G'}, 300<<10))
	_ = w.Close()
	r.call("POST", "/x/2/media/upload", bearer(h), body(w.FormDataContentType(), b.String())).ok()
	if got := r.last(); got.Body != b.String() {
		t.Errorf("X got %d bytes, want %d", len(got.Body), b.Len())
	}
	large := `{"media":"` + strings.Repeat("QUJD", 400<<10) + `","media_category":"tweet_image"}`
	if a := r.call("POST", "/x/2/media/upload", bearer(h), body("application/json", large)); a.status >= 500 {
		t.Errorf("got %d: %s", a.status, a.body)
	}
	if got := r.last(); len(got.Body) != len(large) {
		t.Errorf("X got %d bytes, want %d", len(got.Body), len(large))
	}
	r.call("POST", "/x/2/media/upload", bearer(h), body("video/mp4", strings.Repeat("x", 100<<10)+h)).refused(400, "refuse/handle-inside")
	r.check()
}

// A caller that hangs up leaves an outcome behind.
func TestCallerHangsUp(t *testing.T) {
	r := newRig(t)
	h := r.xHandle()
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/2/users/me"}, Times: 1, Hang: true})
	r.seen.reset()
	ctx, hangUp := context.WithCancel(r.ctx)
	go func() {
		r.until("the platform has the call", func() bool { return r.arrived("GET", "/2/users/me") == 1 })
		hangUp()
	}()
	req, err := http.NewRequestWithContext(ctx, "GET", r.url+"/x/2/users/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	bearer(h)(req)
	if a := r.do(req); a.err == nil {
		t.Errorf("got %d", a.status)
	}
	r.check() // an intent without an outcome fails it
}

// A stream's objects and heartbeats pass at once, and it is cut when the handle
// is revoked.
func TestStream(t *testing.T) {
	r := newRig(t)
	h := r.xHandle()
	var app tokenReply
	r.call("POST", "/x/oauth2/token", bearer(h), body(formType, "grant_type=client_credentials")).ok(&app)
	open := func() (*http.Response, context.CancelFunc) {
		ctx, cancel := context.WithTimeout(r.ctx, time.Minute)
		req, _ := http.NewRequestWithContext(ctx, "GET", r.url+"/x/2/tweets/sample/stream", nil)
		bearer(app.AccessToken)(req)
		reply, err := r.client.Do(req)
		if err != nil || reply.StatusCode != 200 {
			var b []byte
			if err == nil {
				b, _ = io.ReadAll(reply.Body)
			}
			t.Fatalf("opening the stream: %v %s", err, b)
		}
		return reply, cancel
	}
	reply, cancel := open()
	defer cancel()
	defer reply.Body.Close()
	buffer := make([]byte, 4096)
	beats, objects := 0, 0
	for beats < 3 || objects < 1 {
		n, err := reply.Body.Read(buffer)
		if err != nil {
			t.Fatalf("after %d heartbeats and %d objects: %v", beats, objects, err)
		}
		if strings.TrimSpace(string(buffer[:n])) == "" {
			beats++
		} else {
			objects++
		}
	}
	revoked := time.Now()
	if _, err := r.revokeByText(app.AccessToken); err != nil {
		t.Fatal(err)
	}
	_, err := io.Copy(io.Discard, reply.Body)
	if err == nil {
		t.Error("the cut stream ended as if it were complete")
	}
	if took := time.Since(revoked); took > 30*time.Second {
		t.Errorf("the stream was cut after %s", took)
	}
	r.check()
}

// A stream ends with its handle's life, and when the gateway stops.
func TestStreamEnds(t *testing.T) {
	r := newRig(t)
	c := r.connection("main-x", "publish", r.people[0].Username)
	read := func(text string) error {
		req, _ := http.NewRequestWithContext(r.ctx, "GET", r.url+"/x/2/tweets/sample/stream", nil)
		bearer(text)(req)
		reply, err := r.client.Do(req)
		if err != nil {
			return err
		}
		defer reply.Body.Close()
		if reply.StatusCode != 200 {
			b, _ := io.ReadAll(reply.Body)
			return fmt.Errorf("status %d: %s", reply.StatusCode, b)
		}
		_, err = io.Copy(io.Discard, reply.Body)
		return err
	}
	_, short := r.handle(c, "publish", 1500*time.Millisecond)
	var app tokenReply
	r.call("POST", "/x/oauth2/token", bearer(short), body(formType, "grant_type=client_credentials")).ok(&app)
	begun := time.Now()
	if err := read(app.AccessToken); err == nil || strings.Contains(err.Error(), "status") {
		t.Errorf("the expired stream ended with %v", err)
	}
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("the stream outlived its handle by %s", took-1500*time.Millisecond)
	}
	_, long := r.handle(c, "publish")
	r.call("POST", "/x/oauth2/token", bearer(long), body(formType, "grant_type=client_credentials")).ok(&app)
	// The configuration takes the purpose away while the stream is open.
	time.AfterFunc(300*time.Millisecond, func() {
		without := r.config.Settings
		without.Services = map[gatehouse.ServiceName]gateway.Service{scheduler: {Purposes: []gatehouse.PurposeName{"pages"}}}
		if err := r.gateway.Apply(without); err != nil {
			t.Error(err)
		}
	})
	begun = time.Now()
	if err := read(app.AccessToken); err == nil || strings.Contains(err.Error(), "status") {
		t.Errorf("the stream without a purpose ended with %v", err)
	}
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("the stream outlived its purpose by %s", took)
	}
	if err := r.gateway.Apply(r.config.Settings); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(300*time.Millisecond, r.gateway.CloseStreams)
	if err := read(app.AccessToken); err == nil || strings.Contains(err.Error(), "status") {
		t.Errorf("the stream that the gateway stopped ended with %v", err)
	}
	r.check()
}
