package console

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"
)

// desk is a console with pages and an operator's browser in front of it.
type desk struct {
	t       *testing.T
	console *Console
	handler http.Handler
	cookies map[string]string
}

// roles stands for the directory until a session is asked for by its token.
type roles map[string]Account

func (r roles) Session(_ context.Context, _ Browser, token secret.Text) (Session, Account, error) {
	for name, a := range r {
		if token.Equal(secret.New(name)) {
			return Session{ID: name, Proved: time.Now(), Current: true}, a, nil
		}
	}
	return Session{}, Account{}, gatehouse.ErrDenied
}

// newDesk returns a console whose operator holds the permissions that are named.
func newDesk(t *testing.T, holds []Permission, pages ...Page) *desk {
	t.Helper()
	console, err := New(Config{
		URL: &url.URL{Scheme: "http", Host: "localhost:8102"}, Environment: "development", Pages: pages,
		Directory: roles{"ada": {ID: "op1", Name: "Ada", Permissions: holds}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(console.Close)
	return &desk{t: t, console: console, handler: console.Handler(), cookies: map[string]string{sessionCookie: "ada", bindingCookie: "b"}}
}

// reply is what a browser got.
type reply struct {
	status int
	header http.Header
	body   string
}

// get asks for a page as the browser would.
func (d *desk) get(path string) reply { return d.do(http.MethodGet, path, nil, nil) }

// post sends a form of ours.
func (d *desk) post(path string, fields ...string) reply {
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	return d.do(http.MethodPost, path, form, map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:8102"})
}

func (d *desk) do(method, path string, form url.Values, header map[string]string) reply {
	d.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r := httptest.NewRequestWithContext(d.t.Context(), method, "http://localhost:8102"+path, body)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	for name, value := range d.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(d.cookies, c.Name)
		} else {
			d.cookies[c.Name] = c.Value
		}
	}
	return reply{w.Code, w.Header(), w.Body.String()}
}

// shows fails unless the page has every text and none of the others (which begin
// with "!").
func (r reply) shows(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		without := strings.TrimPrefix(text, "!")
		if strings.Contains(r.body, without) != (without == text) {
			t.Errorf("status %d: the page is wrong about %q:\n%s", r.status, text, r.body)
		}
	}
}

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}
