package public_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"gatehouse"
	"gatehouse/internal/cases"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/public"
	"gatehouse/internal/wire"
)

func (w *world) status(id gatehouse.ConnectionID) connect.Status {
	w.t.Helper()
	c, err := w.Connections.Get(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return c.Status
}

// post sends a body and returns the status and the answer.
func (w *world) post(path, contentType, body string, header ...string) (int, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	reply, answer := w.do(http.DefaultClient, req)
	return reply.StatusCode, answer
}

// A person removes the app in Facebook's settings and asks for deletion: the
// sandbox calls both addresses, and its person can read the page that it is given.
func TestDeletionThroughFacebook(t *testing.T) {
	w := newWorld(t, 0)
	c := w.Connect("user-7", "pages", connecttest.Person(1))
	if !w.Meta.SetCallbacks("facebook", w.url+"/_gatehouse/webhooks/facebook", w.url+"/_gatehouse/deletion/facebook") {
		t.Fatal("the sandbox has no such product")
	}
	removal, ok := w.Meta.RemoveApp(t.Context(), "facebook", connecttest.Person(1), true)
	if !ok || removal.Problem != "" || removal.Deletion != http.StatusOK {
		t.Fatalf("what came of the removal: %+v", removal)
	}
	if got := w.status(c.ID); got != connect.Revoked {
		t.Errorf("the connection is %s", got)
	}
	read := func(want ...string) {
		t.Helper()
		reply, page := w.get(http.DefaultClient, removal.URL)
		if reply.StatusCode != http.StatusOK || !strings.HasPrefix(reply.Header.Get("Content-Type"), "text/html") {
			t.Fatalf("the page gives %d: %s", reply.StatusCode, page)
		}
		for _, text := range append(want, removal.Code) {
			if !strings.Contains(page, text) {
				t.Errorf("the page does not say %q:\n%s", text, page)
			}
		}
		for _, secret := range []string{string(c.ID), string(c.Person), c.PlatformUser, "user-7", c.Name, "<script", " style="} {
			if secret != "" && strings.Contains(page, secret) {
				t.Errorf("the page shows %q", secret)
			}
		}
	}
	read("Your data is being deleted", "has been asked to delete its own copy")
	d, err := w.duties.ByCode(t.Context(), removal.Code)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.duties.Answer(t.Context(), d.ID, "scheduler"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.duties.Advance(t.Context(), d.ID); err != nil {
		t.Fatal(err)
	}
	read("Your data has been deleted", "has deleted its own copy", "have been destroyed")

	refused, err := w.duties.Open(t.Context(), cases.Request{Kind: cases.DeletionRequested, Origin: cases.FromPlatform, App: "pages", Platform: gatehouse.Facebook, Person: c.Person, Key: "another"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.duties.Refuse(t.Context(), refused.ID, "<b>a court</b> has ordered it"); err != nil {
		t.Fatal(err)
	}
	removal.Code, removal.URL = refused.Code, w.url+"/_gatehouse/deletion/"+refused.Code
	read("was not carried out", "&lt;b&gt;a court&lt;/b&gt; has ordered it")
}

func TestNoticesAreJudged(t *testing.T) {
	w := newWorld(t, 0)
	const form, js = "application/x-www-form-urlencoded", "application/json"
	secret := w.Meta.Apps().Facebook.AppSecret
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(`{"object":"user","entry":[{"id":"1"}]}`))
	right := "sha256=" + hex.EncodeToString(mac.Sum(nil))
	for name, test := range map[string]struct {
		path, contentType, body string
		header                  []string
		status                  int
		rule                    string
	}{
		"a right event":       {"webhooks/facebook", js, `{"object":"user","entry":[{"id":"1"}]}`, []string{"X-Hub-Signature-256", right}, 200, ""},
		"for the named app":   {"webhooks/facebook/pages", js, `{"object":"user","entry":[{"id":"1"}]}`, []string{"X-Hub-Signature-256", right}, 200, ""},
		"for another app":     {"webhooks/facebook/insta", js, `{"object":"user","entry":[{"id":"1"}]}`, []string{"X-Hub-Signature-256", right}, 403, "notice/signature"},
		"another platform's":  {"webhooks/threads", js, `{"object":"user","entry":[{"id":"1"}]}`, []string{"X-Hub-Signature-256", right}, 403, "notice/signature"},
		"no signature":        {"webhooks/facebook", js, `{"object":"user","entry":[{"id":"1"}]}`, nil, 403, "notice/signature"},
		"two signatures":      {"webhooks/facebook", js, `{"object":"user","entry":[{"id":"1"}]}`, []string{"X-Hub-Signature-256", right, "X-Hub-Signature-256", right}, 403, "notice/signature"},
		"a changed body":      {"webhooks/facebook", js, `{"object":"user","entry":[{"id":"2"}]}`, []string{"X-Hub-Signature-256", right}, 403, "notice/signature"},
		"encoded":             {"webhooks/facebook", js, `{}`, []string{"Content-Encoding", "gzip"}, 415, "notice/encoding"},
		"too large":           {"webhooks/facebook", js, strings.Repeat("a", 4<<20+1), nil, 413, ""},
		"an unknown platform": {"webhooks/oauth2", js, `{}`, nil, 404, "notice/unknown-address"},
		"nobody's":            {"webhooks/y/x", js, `{}`, nil, 404, "notice/unknown-address"},
		"an unsigned form":    {"webhooks/facebook", form, "signed_request=abc.def", nil, 403, "notice/signature"},
		"an empty form":       {"webhooks/facebook", form, "", nil, 400, "notice/signed-request"},
		"two requests":        {"deletion/facebook", form, "signed_request=a.b&signed_request=c.d", nil, 400, "notice/signed-request"},
		"an unsigned request": {"deletion/facebook", form, "signed_request=abc.def", nil, 403, "notice/signature"},
		"a large form":        {"deletion/facebook", form, "signed_request=" + strings.Repeat("a", 65<<10), nil, 413, ""},
		"deletion at X":       {"deletion/x", form, "signed_request=abc.def", nil, 403, "notice/platform"},
		"deletion at nobody":  {"deletion/nowhere", form, "signed_request=abc.def", nil, 404, "notice/unknown-address"},
	} {
		status, answer := w.post("/_gatehouse/"+test.path, test.contentType, test.body, test.header...)
		if status != test.status || (test.rule != "" && !strings.Contains(answer, test.rule)) {
			t.Errorf("%s gives %d %s, want %d %s", name, status, answer, test.status, test.rule)
		}
	}
	for path, want := range map[string]int{
		"webhooks/x?crc_token=abc": 200, "webhooks/x": 400, "webhooks/x?crc_token=a&crc_token=b": 400, "webhooks/x?crc_token=%7B%7D": 400,
		"webhooks/x/public-x?crc_token=abc": 404, "webhooks/facebook": 400, "webhooks/facebook?hub.mode=subscribe&hub.challenge=1&hub.verify_token=guess": 403,
		"deletion/ABCDEFGHIJKLMNOPQRSTUVWXYZ": 404, "deletion/short": 404,
	} {
		if reply, answer := w.get(stay, w.url+"/_gatehouse/"+path); reply.StatusCode != want {
			t.Errorf("looking at %s gives %d, want %d: %s", path, reply.StatusCode, want, answer)
		}
	}
	token, err := w.Connections.VerifyToken(t.Context(), "pages")
	if err != nil {
		t.Fatal(err)
	}
	query := url.Values{"hub.mode": {"subscribe"}, "hub.challenge": {"1158201444<b>"}, "hub.verify_token": {token.Reveal()}}
	reply, answer := w.get(stay, w.url+"/_gatehouse/webhooks/facebook?"+query.Encode())
	if reply.StatusCode != http.StatusOK || answer != "1158201444<b>" || !strings.HasPrefix(reply.Header.Get("Content-Type"), "text/plain") || reply.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("the verification gives %d %q as %s", reply.StatusCode, answer, reply.Header.Get("Content-Type"))
	}
	// The challenge's answer is X's own formula.
	x := hmac.New(sha256.New, []byte(w.X.App().ConsumerSecret))
	x.Write([]byte("abc"))
	if _, answer := w.get(stay, w.url+"/_gatehouse/webhooks/x?crc_token=abc"); !strings.Contains(answer, base64.StdEncoding.EncodeToString(x.Sum(nil))) {
		t.Errorf("the challenge is answered with %s", answer)
	}
	for _, secret := range []string{token.Reveal(), secret, "abc.def", "entry"} {
		if strings.Contains(w.log.String(), secret) {
			t.Error("the access log holds what a notice said")
		}
	}
}

// A source that sends what nobody signed is turned away before it is read; one that
// is slow takes few places; the platforms get through.
func TestStrangersAreKeptAway(t *testing.T) {
	w := newWorld(t, 0)
	p, err := public.New(public.Config{Connections: w.Connections, Cases: w.duties, Notices: w.notices, PerMinute: 5})
	if err != nil {
		t.Fatal(err)
	}
	h := p.Handler()
	ask := func(remote string, body io.Reader) int {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/_gatehouse/webhooks/facebook", body)
		req.RemoteAddr = remote
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		return rec.Code
	}
	for i := range 6 {
		want := http.StatusForbidden
		if i == 5 {
			want = http.StatusTooManyRequests
		}
		if got := ask("192.0.2.1:1000", strings.NewReader("{}")); got != want {
			t.Errorf("request %d gives %d, want %d", i, got, want)
		}
	}
	if got := ask("192.0.2.2:1000", strings.NewReader("{}")); got != http.StatusForbidden {
		t.Errorf("another source gets %d", got)
	}
	// Eight of one source may be read at once.
	release := make(chan struct{})
	entered := make(chan struct{}, 8)
	var slow sync.WaitGroup
	for range 8 {
		slow.Go(func() { ask("192.0.2.3:1000", &waiting{entered: entered, release: release}) })
	}
	for range 8 {
		<-entered
	}
	if got := ask("192.0.2.3:1000", strings.NewReader("{}")); got != http.StatusTooManyRequests {
		t.Errorf("the ninth gets %d", got)
	}
	if got := ask("192.0.2.4:1000", strings.NewReader("{}")); got != http.StatusForbidden {
		t.Errorf("another source gets %d meanwhile", got)
	}
	close(release)
	slow.Wait()
}

// Who begins a notice and falls silent has held a place for as long as one may be
// held. That is the sender's doing, and soon the sender is turned away; what breaks
// off at once is not dearer than what nobody signed.
func TestSilentSendersAreKeptAway(t *testing.T) {
	w := newWorld(t, 0)
	p, err := public.New(public.Config{Connections: w.Connections, Cases: w.duties, Notices: w.notices, PerMinute: 20})
	if err != nil {
		t.Fatal(err)
	}
	h := p.Handler()
	ask := func(remote, path string, failure error) int {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/_gatehouse/"+path, iotest.ErrReader(failure))
		req.RemoteAddr = remote
		if strings.HasPrefix(path, "deletion") {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		return rec.Code
	}
	for i, path := range []string{"webhooks/x", "deletion/facebook", "webhooks/facebook"} {
		want := http.StatusRequestTimeout
		if i == 2 {
			want = http.StatusTooManyRequests
		}
		if got := ask("192.0.2.1:1000", path, os.ErrDeadlineExceeded); got != want {
			t.Errorf("silence %d gives %d, want %d", i, got, want)
		}
	}
	for i := range 5 {
		if got := ask("192.0.2.2:1000", "webhooks/x", io.ErrUnexpectedEOF); got == http.StatusTooManyRequests {
			t.Errorf("break %d gives %d", i, got)
		}
	}
}

// waiting is a body that does not come.
type waiting struct {
	entered chan<- struct{}
	release <-chan struct{}
	told    bool
}

func (r *waiting) Read([]byte) (int, error) {
	if !r.told {
		r.told = true
		r.entered <- struct{}{}
	}
	<-r.release
	return 0, io.EOF
}

// What a platform is told in answer to a deletion request is what it documents.
func TestDeletionAnswer(t *testing.T) {
	w := newWorld(t, 0)
	payload := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"algorithm":"HMAC-SHA256","issued_at":%d,"user_id":"218471"}`, time.Now().Unix()))
	mac := hmac.New(sha256.New, []byte(w.Meta.Apps().Facebook.AppSecret))
	mac.Write([]byte(payload))
	body := "signed_request=" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) + "." + payload
	var first string
	for range 2 { // idempotent
		status, answer := w.post("/_gatehouse/deletion/facebook", "application/x-www-form-urlencoded", body)
		var reply struct {
			URL  string `json:"url"`
			Code string `json:"confirmation_code"`
		}
		d := json.NewDecoder(bytes.NewReader([]byte(answer)))
		d.DisallowUnknownFields()
		if err := d.Decode(&reply); err != nil || status != http.StatusOK || reply.Code == "" || !strings.HasSuffix(reply.URL, reply.Code) {
			t.Fatalf("the answer is %d %s, %v", status, answer, err)
		}
		if first == "" {
			first = reply.Code
		} else if reply.Code != first {
			t.Errorf("asking again gives another code")
		}
		if got, page := w.get(stay, reply.URL); got.StatusCode != http.StatusOK || !strings.Contains(page, "No data of yours is held") {
			t.Errorf("the page of somebody unknown is %d %s", got.StatusCode, page)
		}
	}
}

// Gatehouse registers its own address at X, again and again without harm; X checks
// it, tells that a person removed the app, and the person is cut off.
func TestXWebhookIsRegistered(t *testing.T) {
	w := newWorld(t, 0)
	c := w.Connect("user-7", "publish", connecttest.Person(1))
	w.DeliverX()
	address := w.url + "/_gatehouse/webhooks/x"
	var first connect.Webhook
	for range 2 {
		hook, err := w.Connections.XWebhook(t.Context(), "main-x", address)
		if err != nil || !hook.Valid || !hook.TellsRevocations || hook.URL != address {
			t.Fatalf("registering gives %+v, %v", hook, err)
		}
		if first.ID == "" {
			first = hook
		}
		if hook != first {
			t.Errorf("the second time it is %+v", hook)
		}
	}
	w.X.RevokePerson(connecttest.Person(1))
	for until := time.Now().Add(time.Minute); w.status(c.ID) != connect.Revoked; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("the connection is still %s", w.status(c.ID))
		}
	}
	if list, err := w.duties.List(t.Context(), cases.Filter{}); err != nil || len(list) != 1 || list[0].Kind != cases.Deauthorized {
		t.Errorf("the duties are %+v, %v", list, err)
	}
	for app, rule := range map[gatehouse.AppName]string{"public-x": "connect/no-webhook", "pages": "connect/no-webhook", "nowhere": "connect/unknown-app"} {
		if _, err := w.Connections.XWebhook(t.Context(), app, address); wire.RuleOf(err) != rule {
			t.Errorf("for %s: %v", app, err)
		}
	}
}
