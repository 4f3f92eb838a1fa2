package x_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/sandbox/x"
)

// receiver is an app's webhook: it answers challenges and keeps events.
type receiver struct {
	*httptest.Server
	secret atomic.Value
	events chan string
	fail   atomic.Int32
}

func newReceiver(t *testing.T, secret string) *receiver {
	r := &receiver{events: make(chan string, 100)}
	r.secret.Store(secret)
	mac := func(body string) string {
		m := hmac.New(sha256.New, []byte(r.secret.Load().(string)))
		m.Write([]byte(body))
		return "sha256=" + base64.StdEncoding.EncodeToString(m.Sum(nil))
	}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if token := req.URL.Query().Get("crc_token"); req.Method == http.MethodGet && token != "" {
			_ = json.NewEncoder(w).Encode(map[string]string{"response_token": mac(token)})
			return
		}
		body, _ := io.ReadAll(req.Body)
		if got := req.Header.Get("X-Twitter-Webhooks-Signature"); got != mac(string(body)) {
			t.Errorf("event signed %q, want %q", got, mac(string(body)))
		}
		if r.fail.Add(-1) >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		r.events <- string(body)
	}))
	t.Cleanup(r.Close)
	return r
}

// event waits for the next event.
func (r *receiver) event(t *testing.T) (kind string, text string) {
	t.Helper()
	select {
	case body := <-r.events:
		var event struct {
			Data struct {
				Type string `json:"event_type"`
			}
		}
		if err := json.Unmarshal([]byte(body), &event); err != nil {
			t.Fatalf("event %s: %v", body, err)
		}
		return event.Data.Type, body
	case <-time.After(time.Minute):
		t.Fatal("no event came")
		return "", ""
	}
}

// running keeps the platform's deliveries going for the test.
func (d *desk) running() {
	ctx, cancel := context.WithCancel(d.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = d.x.Run(ctx)
	}()
	d.t.Cleanup(func() {
		cancel()
		<-done
	})
}

func TestWebhooks(t *testing.T) {
	d := newDesk(t, x.Config{})
	d.running()
	app := d.x.AppBearer()
	access, _ := d.login(person(0), everything)
	r := newReceiver(t, d.app.ConsumerSecret)
	made := d.call(http.MethodPost, "/2/webhooks", app, map[string]string{"url": r.URL + "/hook"}).expect(t, http.StatusOK)
	id := made.at(t, "data", "id").(string)
	if made.at(t, "data", "valid") != true {
		t.Errorf("created = %s", made.body)
	}
	if list := d.call(http.MethodGet, "/2/webhooks", app, nil); list.at(t, "data", 0, "id") != id || list.at(t, "meta", "result_count") != 1.0 {
		t.Errorf("list = %s", list.body)
	}
	subscribe := func(bearer, kind, user string) answer {
		return d.call(http.MethodPost, "/2/activity/subscriptions", bearer, map[string]any{
			"event_type": kind, "filter": map[string]string{"user_id": user}, "tag": "t", "webhook_id": id,
		})
	}
	me := d.id(0)
	subscribe(app, "post.create", me).expect(t, http.StatusOK)
	subscribe(app, "post.create", me).expect(t, http.StatusConflict)
	subscribe(app, "dm.received", me).expect(t, http.StatusForbidden)
	subscribe(access, "dm.received", me).expect(t, http.StatusOK)
	subscribe(app, "follow.follow", me).expect(t, http.StatusOK)
	subscribe(app, "oauth.revoke", "").expect(t, http.StatusOK)
	subscribe(app, "post.create", "").expect(t, http.StatusBadRequest)
	subscribe(app, "nothing.known", me).expect(t, http.StatusBadRequest)
	subscribe(app, "post.delete", "99").expect(t, http.StatusNotFound)
	stream, _ := d.tail("/2/activity/stream", app)

	d.call(http.MethodPost, "/2/tweets", access, map[string]string{"text": "señal 📡"}).expect(t, http.StatusCreated)
	if kind, body := r.event(t); kind != "post.create" || !strings.Contains(body, "señal 📡") || !strings.Contains(body, `"tag":"t"`) {
		t.Errorf("event = %s", body)
	}
	next(t, stream, "event on the stream", func(line string) bool { return strings.Contains(line, "señal 📡") })
	other, _ := d.login(person(1), everything)
	d.call(http.MethodPost, "/2/tweets", other, map[string]string{"text": "nobody asked"}).expect(t, http.StatusCreated)
	r.fail.Store(2) // the first two attempts fail
	d.call(http.MethodPost, "/2/dm_conversations/with/"+me+"/messages", other, map[string]string{"text": "psst"}).expect(t, http.StatusCreated)
	if kind, body := r.event(t); kind != "dm.received" || !strings.Contains(body, "psst") {
		t.Errorf("event = %s", body)
	}
	d.x.RevokePerson(person(1))
	if kind, body := r.event(t); kind != "oauth.revoke" || !strings.Contains(body, d.id(1)) || !strings.Contains(body, d.app.ID) {
		t.Errorf("event = %s", body)
	}
	now := time.Now().UTC()
	d.call(http.MethodPost, "/2/webhooks/replay", app, map[string]string{
		"webhook_id": id, "from_date": now.Add(-time.Minute).Format("200601021504"), "to_date": now.Add(time.Minute).Format("200601021504"),
	}).expect(t, http.StatusOK)
	for _, want := range []string{"post.create", "dm.received", "oauth.revoke"} {
		if kind, _ := r.event(t); kind != want {
			t.Errorf("replayed %s, want %s", kind, want)
		}
	}
	d.call(http.MethodPost, "/2/webhooks/replay", app, map[string]string{"webhook_id": id, "from_date": "x", "to_date": "y"}).expect(t, http.StatusBadRequest)
	list := d.call(http.MethodGet, "/2/activity/subscriptions", app, nil).expect(t, http.StatusOK)
	if list.at(t, "meta", "result_count") != 4.0 {
		t.Errorf("subscriptions = %s", list.body)
	}
	d.call(http.MethodDelete, "/2/activity/subscriptions/"+list.at(t, "data", 0, "subscription_id").(string), app, nil).expect(t, http.StatusOK)
	d.call(http.MethodPut, "/2/webhooks/"+id, app, nil).expect(t, http.StatusOK)
	r.secret.Store("rotated on one side only")
	d.call(http.MethodPut, "/2/webhooks/"+id, app, nil).expect(t, http.StatusBadRequest)
	if reply := d.call(http.MethodGet, "/2/webhooks", app, nil); reply.at(t, "data", 0, "valid") != false {
		t.Errorf("after a failed challenge: %s", reply.body)
	}
	d.call(http.MethodDelete, "/2/webhooks/"+id, app, nil).expect(t, http.StatusOK)
	if reply := d.call(http.MethodGet, "/2/activity/subscriptions", app, nil); reply.at(t, "meta", "result_count") != 0.0 {
		t.Errorf("subscriptions of a deleted webhook: %s", reply.body)
	}
}

func TestWebhooksThatAreRefused(t *testing.T) {
	d := newDesk(t, x.Config{WebhookHosts: map[string]string{"hooks.example": "127.0.0.1:1", "odd.example": "192.0.2.1:443"}})
	app := d.x.AppBearer()
	liar := newReceiver(t, "another secret")
	redirecting := httptest.NewServer(http.RedirectHandler(liar.URL, http.StatusFound))
	t.Cleanup(redirecting.Close)
	for target, want := range map[string]string{
		"":                               "UrlValidationFailed",
		"https://192.0.2.7/hook":         "UrlValidationFailed",
		"https://elsewhere.example/hook": "UrlValidationFailed",
		"http://hooks.example/hook":      "UrlValidationFailed",
		"https://hooks.example:444/hook": "UrlValidationFailed",
		"ftp://127.0.0.1:21/hook":        "UrlValidationFailed",
		"https://u:p@127.0.0.1/hook":     "UrlValidationFailed",
		"https://hooks.example/hook":     "CrcValidationFailed", // nobody listens there
		"https://odd.example/hook":       "CrcValidationFailed", // mapped away from this machine: never dialled
		liar.URL:                         "CrcValidationFailed",
		redirecting.URL:                  "CrcValidationFailed",
	} {
		if reply := d.call(http.MethodPost, "/2/webhooks", app, map[string]string{"url": target}).expect(t, http.StatusBadRequest); !strings.Contains(reply.body, want) {
			t.Errorf("%q: %s, want %s", target, reply.body, want)
		}
	}
	good := newReceiver(t, d.app.ConsumerSecret)
	d.call(http.MethodPost, "/2/webhooks", app, map[string]string{"url": good.URL}).expect(t, http.StatusOK)
	if reply := d.call(http.MethodPost, "/2/webhooks", app, map[string]string{"url": good.URL}).expect(t, http.StatusBadRequest); !strings.Contains(reply.body, "DuplicateUrlFailed") {
		t.Errorf("duplicate: %s", reply.body)
	}
	for i := range 4 {
		d.call(http.MethodPost, "/2/webhooks", app, map[string]string{"url": good.URL + "/" + strings.Repeat("x", i+1)}).expect(t, http.StatusOK)
	}
	if reply := d.call(http.MethodPost, "/2/webhooks", app, map[string]string{"url": good.URL + "/last"}).expect(t, http.StatusBadRequest); !strings.Contains(reply.body, "WebhookLimitExceeded") {
		t.Errorf("a sixth webhook: %s", reply.body)
	}
	if reply := d.call(http.MethodDelete, "/2/webhooks/12", app, nil); !strings.Contains(reply.body, "Not Found Error") {
		t.Errorf("unknown webhook: %s", reply.body)
	}
}
