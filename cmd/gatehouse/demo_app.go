package main

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"sort"
	"strings"
	"sync"
	"time"
)

// apiClient is what a user's app would write: it calls Gatehouse's own API over
// HTTP with a service key. The demo uses nothing that an app could not.
type apiClient struct {
	base string // the app listener
	key  string
	http *http.Client
}

// do sends in as JSON, if there is one, and decodes the reply into out.
func (a *apiClient) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, body) //nolint:gosec // the host is our own listener's, whatever the path
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+a.key)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := a.http.Do(req) //nolint:gosec // see above
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, b)
	}
	if out == nil || len(b) == 0 {
		return nil
	}
	return json.Unmarshal(b, out)
}

// demoGrant is one connected person at one platform, as the app knows them.
type demoGrant struct {
	Subject    string
	App        string // name of the registration: demo-x, demo-facebook
	Connection string
	Handle     string
	OAuth1     *oauth1Set
	Status     string     // as Gatehouse's events tell it; "" is healthy
	Next       string     // what to do about it, in words
	Pages      []demoPage // Facebook: the person's pages, each with a handle
}

type demoPage struct{ ID, Name, Handle string }

type oauth1Set struct {
	ConsumerKey    string `json:"consumer_key"`
	ConsumerSecret string `json:"consumer_secret"`
	Token          string `json:"token"`
	TokenSecret    string `json:"token_secret"`
}

// demoApp is the small app behind the demo: a page to connect accounts with,
// and the memory of the handles it got. mu guards what stands below it.
type demoApp struct {
	api      *apiClient
	self     string            // its own address
	purposes map[string]string // registration → purpose
	// eventSecret verifies events; "" accepts none.
	eventSecret string

	mu       sync.Mutex
	grants   []*demoGrant
	sessions map[string]string     // cookie → subject
	stepups  map[string]demoStepup // cookie → what its person was asked to prove
	takes    time.Duration         // how long it takes to delete somebody's data everywhere; zero is none
	duties   map[string]time.Time  // which deletions are under way, and since when
}

// Handler is the app's web site.
func (d *demoApp) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", d.home)
	mux.HandleFunc("GET /connect/{app}", d.connect)
	mux.HandleFunc("GET /connected", d.connected)
	mux.HandleFunc("POST "+eventsPath, d.event)
	mux.HandleFunc("GET /confirm", d.confirm)
	mux.HandleFunc("GET "+confirmedPath, d.confirmed)
	return mux
}

// connect begins a connection for the subject of this browser's session.
func (d *demoApp) connect(w http.ResponseWriter, r *http.Request) {
	app := r.PathValue("app")
	purpose, ok := d.purposes[app]
	if !ok {
		http.Error(w, "no such platform", http.StatusNotFound)
		return
	}
	subject := strings.TrimSpace(r.FormValue("subject"))
	if subject == "" {
		subject = "visitor-" + strings.ToLower(rand.Text()[:6])
	}
	d.session(w, subject)

	var begun struct {
		URL string `json:"url"`
	}
	err := d.api.do(r.Context(), http.MethodPost, "/gatehouse/v1/connections", map[string]any{
		"app": app, "subject": subject, "purposes": []string{purpose}, "return_to": d.self + "/connected",
	}, &begun)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	http.Redirect(w, r, begun.URL, http.StatusSeeOther)
}

// demoSession is the cookie of the app's own session.
const demoSession = "demo_session"

// session signs a subject in, as far as the demo goes.
func (d *demoApp) session(w http.ResponseWriter, subject string) string {
	cookie := rand.Text()
	d.mu.Lock()
	d.sessions[cookie] = subject
	d.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: demoSession, Value: cookie, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	return cookie
}

// connected is where the browser comes back to with a one-time code.
func (d *demoApp) connected(w http.ResponseWriter, r *http.Request) {
	if e := r.FormValue("error"); e != "" {
		if e == "access_denied" {
			e = "the person did not agree, so nothing was connected"
		}
		d.render(w, "The platform says: "+e+".")
		return
	}
	var subject string
	if c, err := r.Cookie(demoSession); err == nil {
		d.mu.Lock()
		subject = d.sessions[c.Value]
		d.mu.Unlock()
	}
	if subject == "" {
		http.Error(w, "no session here: begin on the first page", http.StatusForbidden)
		return
	}
	if err := d.redeem(r.Context(), r.FormValue("code"), subject); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// redeem turns the one-time code into a connection and makes a handle for it.
func (d *demoApp) redeem(ctx context.Context, code, subject string) error {
	var con struct {
		ID  string `json:"id"`
		App string `json:"app"`
	}
	err := d.api.do(ctx, http.MethodPost, "/gatehouse/v1/connections/redeem", map[string]string{"code": code, "subject": subject}, &con)
	if err != nil {
		return err
	}
	var handle struct {
		Handle string     `json:"handle"`
		OAuth1 *oauth1Set `json:"oauth1"`
	}
	err = d.api.do(ctx, http.MethodPost, "/gatehouse/v1/handles", map[string]any{"connection": con.ID, "purpose": d.purposes[con.App]}, &handle)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.grants = append(d.grants, &demoGrant{
		Subject: subject, App: con.App, Connection: con.ID, Handle: handle.Handle, OAuth1: handle.OAuth1,
	})
	return nil
}

// granted returns the grants at one registration, oldest first.
func (d *demoApp) granted(app string) []*demoGrant {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []*demoGrant
	for _, g := range d.grants {
		if g.App == app {
			out = append(out, g)
		}
	}
	return out
}

//go:embed demo_app.html
var demoAppHTML string

var demoAppPage = template.Must(template.New("demo").Funcs(template.FuncMap{
	"platform": func(app string) string { return map[string]string{demoX: "X", demoFacebook: "Facebook"}[app] },
}).Parse(demoAppHTML))

func (d *demoApp) home(w http.ResponseWriter, _ *http.Request) { d.render(w, "") }

func (d *demoApp) render(w http.ResponseWriter, message string) { d.show(w, message, nil) }

func (d *demoApp) show(w http.ResponseWriter, message string, confirmed *confirmation) {
	d.mu.Lock()
	page := struct {
		Message   string
		Confirmed *confirmation
		Apps      []string
		Grants    []*demoGrant
		Base      string
	}{Message: message, Confirmed: confirmed, Grants: append([]*demoGrant(nil), d.grants...), Base: d.api.base}
	d.mu.Unlock()
	for app := range d.purposes {
		page.Apps = append(page.Apps, app)
	}
	sort.Strings(page.Apps)
	var b bytes.Buffer
	if err := demoAppPage.Execute(&b, page); err != nil {
		http.Error(w, "this page cannot be shown", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	_, _ = w.Write(b.Bytes()) // a browser that went away is not our failure
}

// errNoConsent means that the walk through the consent page ended elsewhere.
var errNoConsent = errors.New("the browser did not come back to the app")

// consentAs walks a person's browser through the whole connection: the app, the
// start page, the platform's consent page (where the sandbox lets a script
// answer in the address) and back.
func (d *demoApp) consentAs(ctx context.Context, browser *http.Client, app, subject, person string) error {
	answer := func(req *http.Request, _ []*http.Request) error {
		if strings.Contains(req.URL.Path, "/oauth2/authorize") || strings.Contains(req.URL.Path, "/dialog/oauth") || strings.HasSuffix(req.URL.Path, "/oauth/authorize") {
			q := req.URL.Query()
			q.Set("sandbox_person", person)
			q.Set("sandbox_decision", "allow")
			req.URL.RawQuery = q.Encode()
		}
		return nil
	}
	walker := *browser
	walker.CheckRedirect = answer
	before := len(d.granted(app))
	u := d.self + "/connect/" + url.PathEscape(app) + "?subject=" + url.QueryEscape(subject)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return err
	}
	res, err := walker.Do(req)
	if err != nil {
		return fmt.Errorf("connecting %s at %s: %w", subject, app, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK || len(d.granted(app)) == before {
		return fmt.Errorf("connecting %s at %s: %w: %s %s", subject, app, errNoConsent, res.Status, text)
	}
	return nil
}
