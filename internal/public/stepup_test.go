package public_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/identity/factor/factortest"
	"gatehouse/internal/identity/stepup"
	"gatehouse/internal/public"
	"gatehouse/internal/records"
	"gatehouse/internal/secret"
)

const stepupReturn = "https://app.example.com/back"

// setUpStepups makes step-ups for the world's public address.
func (w *world) setUpStepups(address string) *stepup.Stepups {
	w.t.Helper()
	kept, err := records.New(records.Config{
		Store: w.DB.Records(), Vault: w.Vault, Log: w.Log,
		May:   func(gatehouse.ServiceName, gatehouse.PurposeName) bool { return true },
		Keeps: func() map[gatehouse.PurposeName]time.Duration { return nil },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	passkeys, err := factor.NewPasskeys(factor.PasskeyConfig{Origin: address, Name: "An app"})
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := stepup.New(stepup.Config{
		Store: w.DB.Stepup(), Log: w.Log, Passkeys: passkeys, PublicURL: address, Keys: w.StepupKeys(kept),
		Settings: func() stepup.Settings {
			return stepup.Settings{
				Name: "An <app>", Services: []gatehouse.ServiceName{"web"}, Methods: stepup.Methods(),
				Returns: func(a string) bool { return a == stepupReturn },
			}
		},
		Tell: func(context.Context, stepup.Event) error { return nil },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// askStepup has the app ask, and returns the step-up's id and address.
func (w *world) askStepup(reason string) (string, string) {
	w.t.Helper()
	b, err := w.stepups.Begin(w.t.Context(), stepup.Ask{
		Service: "web", Subject: "ada", Reason: reason, Account: `ada"><script>@example.com`, ReturnTo: stepupReturn, State: "s1",
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return b.ID, b.URL
}

// submit sends a form as a browser of the origin does.
func (w *world) submit(c *http.Client, origin, address string, form url.Values) (*http.Response, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if origin != "" {
		req.Header.Set("Origin", origin)
		req.Header.Set("Sec-Fetch-Site", map[bool]string{true: "same-origin", false: "cross-site"}[origin == w.url])
	}
	return w.do(c, req)
}

// Who sends a form slowly keeps nothing for long.
func TestSlowForms(t *testing.T) {
	w := newWorld(t, 0)
	p, err := public.New(public.Config{Connections: w.Connections, Cases: w.duties, Notices: w.notices, Stepups: w.stepups})
	if err != nil {
		t.Fatal(err)
	}
	h := p.Handler()
	for failure, want := range map[error]int{os.ErrDeadlineExceeded: http.StatusRequestTimeout, io.ErrUnexpectedEOF: http.StatusBadRequest} {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, stepup.Path+"any/code", iotest.ErrReader(failure))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		if rec.Code != want {
			t.Errorf("%v gives %d, want %d", failure, rec.Code, want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, stepup.Path+"any/code", dripping{})
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		rec, began := httptest.NewRecorder(), time.Now()
		h.ServeHTTP(rec, req)
		if took := time.Since(began); rec.Code != http.StatusRequestTimeout || took > 15*time.Second {
			t.Errorf("a form that drips gives %d after %v", rec.Code, took)
		}
	})
}

// dripping is a body of a byte a second.
type dripping struct{}

func (dripping) Read(b []byte) (int, error) {
	time.Sleep(time.Second)
	return copy(b, "a"), nil
}

var keyOnPage = regexp.MustCompile(`<p class="key"><code>([A-Z2-7 ]+)</code>`)

// A person without a script sets up an authenticator app, and uses it.
func TestStepupWithoutScript(t *testing.T) {
	w := newWorld(t, 0)
	c := w.browser()
	id, address := w.askStepup("Delete the <b>account</b>")
	reply, page := w.get(c, address)
	if reply.StatusCode != http.StatusOK || !strings.Contains(page, "Protect your account") || !strings.Contains(page, "Delete the &lt;b&gt;account&lt;/b&gt;") || !strings.Contains(page, "An &lt;app&gt;") {
		t.Fatalf("%d: %s", reply.StatusCode, page)
	}
	if strings.Contains(page, "<script>") || regexp.MustCompile(`\son[a-z]+=|style=|javascript:`).MatchString(page) {
		t.Errorf("the page holds a script or style of its own: %s", page)
	}
	want := "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self' https://app.example.com"
	for name, value := range map[string]string{
		"Content-Security-Policy": want, "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
		"Cross-Origin-Opener-Policy": "same-origin",
	} {
		if got := reply.Header.Get(name); got != value {
			t.Errorf("%s: %s, want %s", name, got, value)
		}
	}
	reply, page = w.submit(c, w.url, address+"/totp", nil)
	key := keyOnPage.FindStringSubmatch(page)
	if reply.StatusCode != http.StatusOK || key == nil || !strings.Contains(page, `<svg class="qr"`) {
		t.Fatalf("%d: %s", reply.StatusCode, page)
	}
	app := strings.ReplaceAll(key[1], " ", "")
	if reply, page = w.submit(c, w.url, address+"/confirm", url.Values{"code": {"000000"}}); reply.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(page, `role="alert"`) || !strings.Contains(page, `<svg class="qr"`) {
		t.Errorf("a wrong code: %d: %s", reply.StatusCode, page)
	}
	reply, page = w.submit(c, w.url, address+"/confirm", url.Values{"code": {factortest.Code(t, app, time.Now())}})
	codes := regexp.MustCompile(`<li><code>([0-9a-z-]+)</code>`).FindAllStringSubmatch(page, -1)
	if reply.StatusCode != http.StatusOK || len(codes) != 10 {
		t.Fatalf("%d: %s", reply.StatusCode, page)
	}
	if _, page = w.get(c, address); strings.Contains(page, codes[0][1]) || !strings.Contains(page, "/continue") {
		t.Errorf("loaded again: %s", page)
	}
	reply, body := w.submit(c, w.url, address+"/continue", nil)
	to, err := url.Parse(reply.Header.Get("Location"))
	if err != nil || reply.StatusCode != http.StatusSeeOther || to.Host != "app.example.com" || to.Query().Get("state") != "s1" || body != "" {
		t.Fatalf("the browser got %d to %s: %s", reply.StatusCode, to, body)
	}
	if got := reply.Header.Get("Referrer-Policy"); got != "no-referrer" {
		t.Errorf("on the way back the referrer's policy is %s", got)
	}
	if _, err := w.stepups.Redeem(t.Context(), "web", id, secret.New(to.Query().Get("code")), "ada"); err != nil {
		t.Fatal(err)
	}
	// Now they have one.
	_, address = w.askStepup("")
	if reply, page = w.get(c, address); reply.StatusCode != http.StatusOK || !strings.Contains(page, "Confirm that it is you") || strings.Contains(page, "passkey") || strings.Contains(page, "<script") {
		t.Fatalf("%d: %s", reply.StatusCode, page)
	}
	reply, _ = w.submit(c, w.url, address+"/code", url.Values{"code": {codes[1][1]}})
	if to := reply.Header.Get("Location"); reply.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to, stepupReturn+"?code=") {
		t.Errorf("with a recovery code the browser got %d to %s", reply.StatusCode, to)
	}
	if reply, _ = w.get(c, address); reply.StatusCode != http.StatusConflict {
		t.Errorf("the link again: %d", reply.StatusCode)
	}
	for name, canary := range map[string]string{"key": app, "recovery code": codes[1][1], "code": to.Query().Get("code"), "state": "s1", "id": id} {
		if strings.Contains(w.log.String(), canary) {
			t.Errorf("the access log holds the %s", name)
		}
	}
}

// What the script does, without a browser.
func TestStepupWithPasskey(t *testing.T) {
	w := newWorld(t, 0)
	c := w.browser()
	device := factortest.New(t, w.url)
	for i, act := range []func([]byte) []byte{device.Register, device.Sign} {
		id, address := w.askStepup("")
		_, page := w.get(c, address)
		if !strings.Contains(page, `data-options="/_gatehouse/stepup/`+id+`/options"`) || !strings.Contains(page, `<script src="/_gatehouse/stepup/passkey.js" defer>`) {
			t.Fatalf("the page is %s", page)
		}
		reply, options := w.submit(c, w.url, address+"/options", nil)
		if reply.StatusCode != http.StatusOK || reply.Header.Get("Content-Type") != "application/json" {
			t.Fatalf("options: %d %s", reply.StatusCode, options)
		}
		reply, page = w.submit(c, w.url, address+"/passkey", url.Values{"answer": {string(act([]byte(options)))}})
		if i == 0 {
			if reply.StatusCode != http.StatusOK || !strings.Contains(page, "data-copy") {
				t.Fatalf("registered: %d %s", reply.StatusCode, page)
			}
			reply, _ = w.submit(c, w.url, address+"/continue", nil)
		}
		to, err := url.Parse(reply.Header.Get("Location"))
		if err != nil || to.Query().Get("code") == "" {
			t.Fatalf("the browser got %d to %s", reply.StatusCode, to)
		}
		if _, err := w.stepups.Redeem(t.Context(), "web", id, secret.New(to.Query().Get("code")), "ada"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStepupsThatAreRefused(t *testing.T) {
	w := newWorld(t, 0)
	c := w.browser()
	_, address := w.askStepup("")
	w.get(c, address)
	unknown := w.url + "/_gatehouse/stepup/stp" + strings.Repeat("a", 26)
	send := func(method, address string) (*http.Response, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		return w.do(c, req)
	}
	for name, test := range map[string]struct {
		status int
		reply  func() (*http.Response, string)
	}{
		"an unknown link":        {404, func() (*http.Response, string) { return w.get(c, unknown) }},
		"a link of no form":      {404, func() (*http.Response, string) { return w.get(c, w.url+"/_gatehouse/stepup/x") }},
		"an act by GET":          {405, func() (*http.Response, string) { return w.get(c, address+"/cancel") }},
		"the page by POST":       {405, func() (*http.Response, string) { return w.submit(c, w.url, address, nil) }},
		"the page by HEAD":       {405, func() (*http.Response, string) { return send(http.MethodHead, address) }},
		"an unknown act":         {405, func() (*http.Response, string) { return w.submit(c, w.url, address+"/approve", nil) }},
		"another site's form":    {403, func() (*http.Response, string) { return w.submit(c, "https://evil.example", address+"/cancel", nil) }},
		"another browser's form": {403, func() (*http.Response, string) { return w.submit(w.browser(), w.url, address+"/cancel", nil) }},
		"a field twice": {400, func() (*http.Response, string) {
			return w.submit(c, w.url, address+"/code", url.Values{"code": {"1", "2"}})
		}},
		"a large form": {413, func() (*http.Response, string) {
			return w.submit(c, w.url, address+"/passkey", url.Values{"answer": {strings.Repeat("x", 100<<10)}})
		}},
		"an answer to nothing": {409, func() (*http.Response, string) {
			return w.submit(c, w.url, address+"/passkey", url.Values{"answer": {"{}"}})
		}},
		"going on too early": {409, func() (*http.Response, string) { return w.submit(c, w.url, address+"/continue", nil) }},
	} {
		reply, body := test.reply()
		if reply.StatusCode != test.status {
			t.Errorf("%s: %d, want %d: %s", name, reply.StatusCode, test.status, body)
		}
		if reply.Header.Get("X-Frame-Options") != "DENY" || !strings.Contains(reply.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Errorf("%s: it can be framed", name)
		}
	}
	// The near miss, and what it leads to.
	reply, _ := w.submit(c, w.url, address+"/cancel", nil)
	if to := reply.Header.Get("Location"); reply.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to, stepupReturn+"?error=access_denied") {
		t.Errorf("cancelled: %d to %s", reply.StatusCode, to)
	}
}

// A cookie that somebody set beside ours counts for nothing.
func TestStepupCookies(t *testing.T) {
	w := newWorld(t, 0)
	c := w.browser()
	id, address := w.askStepup("")
	reply, _ := w.get(c, address)
	var ours *http.Cookie
	for _, cookie := range reply.Cookies() {
		if strings.HasSuffix(cookie.Name, id) {
			ours = cookie
		}
	}
	if ours == nil || !ours.HttpOnly || ours.SameSite != http.SameSiteLaxMode || ours.Path != "/" || ours.MaxAge != 3600 {
		t.Fatalf("the cookie is %+v", ours)
	}
	for n, status := range map[int]int{1: http.StatusSeeOther, 2: http.StatusForbidden} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address+"/cancel", nil)
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			req.AddCookie(&http.Cookie{Name: ours.Name, Value: ours.Value})
		}
		if n == 1 {
			defer func() {
				if reply, _ := w.do(&http.Client{CheckRedirect: c.CheckRedirect}, req); reply.StatusCode != status {
					t.Errorf("one cookie: %d, want %d", reply.StatusCode, status)
				}
			}()
			continue
		}
		if reply, _ := w.do(&http.Client{}, req); reply.StatusCode != status {
			t.Errorf("two cookies: %d, want %d", reply.StatusCode, status)
		}
	}
}

func TestStepupAssets(t *testing.T) {
	w := newWorld(t, 0)
	for name, kind := range map[string]string{"style.css": "text/css; charset=utf-8", "passkey.js": "text/javascript; charset=utf-8"} {
		reply, body := w.get(w.browser(), w.url+"/_gatehouse/stepup/"+name)
		if reply.StatusCode != http.StatusOK || reply.Header.Get("Content-Type") != kind || body == "" {
			t.Errorf("%s: %d %s", name, reply.StatusCode, reply.Header.Get("Content-Type"))
		}
	}
}
