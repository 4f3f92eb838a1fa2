package main

import (
	"bytes"
	"crypto/rand"
	"encoding/csv"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/cases"
	"gatehouse/internal/connect"
	"gatehouse/internal/console"
	"gatehouse/internal/identity/factor/factortest"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/review"
	"gatehouse/internal/identity/stepup"
	"gatehouse/internal/public"
	"gatehouse/internal/secret"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// elsewhere is the host that hostile texts would have a browser ask.
const elsewhere = "evil.example"

// hostileText ends an attribute and an element and runs a script in two ways, as far as
// what the place takes has room for it: an operator's name has 100 bytes, a site's 60, and
// an address by e-mail no < and >. It begins with the place, so that one knows whose it is.
func hostileText(place string) string {
	const image = `<img data-pwned src=//` + elsewhere + ` onerror=__pwned=1>`
	switch place {
	case "email":
		return `'/onfocus='__pwned=1'/{{.}}@example.com`
	case "site":
		return place + `"'>` + image
	}
	return place + `"'></script><script>__pwned=1</script>` + image
}

// shownAs finds a place's hostile text in what a page shows, also as YAML quotes it.
func shownAs(place string) *regexp.Regexp {
	if place == "email" {
		return regexp.MustCompile(regexp.QuoteMeta(hostileText(place)))
	}
	return regexp.MustCompile(place + `\\?"'{1,2}` + regexp.QuoteMeta(strings.TrimPrefix(hostileText(place), place+`"'`)))
}

// hostileValues are what an address is given for a parameter: the first two by every
// page, the others by those that lead on to what an address says.
var hostileValues = []string{hostileText("query"), "javascript:__pwned=1", "//" + elsewhere + "/", "/" + hostileText("path")}

// findings is what a page is found to be. Its keys are those of inspect.
type findings struct {
	// Wrong are the signs that a text became something else.
	Wrong []string
	// Text is everything that can be read, Links where one can go by it, and Names are
	// the fields of its forms that go into an address.
	Text         string
	Links, Names []string
}

// inspect looks at a whole page: our own pages have no script in the text, no handler
// in an attribute, no frame, and lead to nobody else.
const inspect = `(() => {
	const out = {Wrong: [], Text: document.title + "\n" + document.body.textContent, Links: [], Names: []};
	if (window.__pwned !== undefined) out.Wrong.push("a script of a text ran: " + window.__pwned);
	for (const e of document.querySelectorAll("*")) {
		if (["iframe", "frame", "object", "embed", "base"].includes(e.localName) || e.localName === "script" && !e.getAttribute("src") || e.localName === "meta" && e.httpEquiv)
			out.Wrong.push("there is " + e.outerHTML);
		for (const a of e.attributes) {
			if (a.name.startsWith("on") || a.name === "srcdoc" || a.name === "data-pwned") out.Wrong.push("there is an attribute " + a.name + " of " + e.localName);
			if (!["href", "src", "action", "formaction", "xlink:href", "data"].includes(a.name)) continue;
			const to = URL.parse(a.value, document.baseURI);
			if (!to || !/^https?:$/.test(to.protocol) || !["localhost", "127.0.0.1"].includes(to.hostname)) out.Wrong.push(a.name + " of " + e.localName + " leads to " + a.value);
			else if (e.localName === "a" && to.origin === location.origin) out.Links.push(to.pathname + to.search);
		}
		if (["input", "textarea"].includes(e.localName)) out.Text += "\n" + e.value;
		if (e.name && e.form?.method === "get") out.Names.push(e.name);
		if (e.localName === "option" || e.title) out.Text += "\n" + (e.title || e.value);
	}
	return JSON.stringify(out);
})()`

// watcher is a browser whose pages' every sign of a text that was executed is noted. It
// does not obey pages' policies, which would hide that something was let in.
type watcher struct {
	*browser
	asked lockedStrings
	texts map[string]map[string]bool // by the hostile text's place, the routes that show it
	pages int
}

type lockedStrings struct {
	mu  sync.Mutex
	all []string
}

func (l *lockedStrings) add(s string) { l.mu.Lock(); l.all = append(l.all, s); l.mu.Unlock() }
func (l *lockedStrings) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.all
	l.all = nil
	return out
}

func newWatcher(t *testing.T, agent string) *watcher {
	t.Helper()
	w := &watcher{browser: newBrowser(t), texts: map[string]map[string]bool{}}
	w.allow("the server responded with a status of 4") // what hostile addresses get
	requests := chromedp.Events(w.ctx, network.RequestWillBeSent)
	go func() {
		for r, err := range requests {
			if err != nil {
				return
			}
			u, err := url.Parse(r.Request.URL)
			if err != nil || (u.Scheme != "data" && u.Hostname() != "localhost" && u.Hostname() != "127.0.0.1") { // Chromium's own arrows are data
				w.asked.add(r.Request.URL)
			}
		}
	}()
	w.bypass(true)
	if _, err := chromedp.Call(w.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
		Source: `for (const name of ["alert", "confirm", "prompt", "print", "open"]) window[name] = () => { window.__pwned = name; };`,
	}); err != nil {
		w.fail("watching for dialogs", err)
	}
	if _, err := chromedp.Call(w.ctx, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{UserAgent: agent}); err != nil {
		w.fail("naming the browser", err)
	}
	return w
}

// bypass has the browser obey pages' policies, or not.
func (w *watcher) bypass(on bool) {
	w.t.Helper()
	if _, err := chromedp.Call(w.ctx, page.SetBypassCSP, page.SetBypassCSPParams{Enabled: on}); err != nil {
		w.fail("passing by the pages' policies", err)
	}
}

// inspect returns what the page that is shown is found to be.
func (w *watcher) inspect() findings {
	w.t.Helper()
	var found findings
	text := w.eval(inspect)
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		w.t.Fatalf("the findings says %q: %v", text, err)
	}
	for _, address := range w.asked.take() {
		found.Wrong = append(found.Wrong, "the browser asked for "+address)
	}
	return found
}

// look inspects the page that is shown, which is of a route, and fails the test if
// anything is wrong with it.
func (w *watcher) look(route string, places ...string) findings {
	w.t.Helper()
	found := w.inspect()
	w.pages++
	for _, wrong := range found.Wrong {
		w.t.Errorf("%s at %s: %s", route, w.path(), wrong)
	}
	for _, place := range places {
		if shownAs(place).MatchString(found.Text) {
			if w.texts[place] == nil {
				w.texts[place] = map[string]bool{}
			}
			w.texts[place][route] = true
		}
	}
	w.quiet()
	return found
}

// hostilePlatform stands before the sandbox's X and gives a person a hostile name.
func hostilePlatform(t *testing.T, to, person string) string {
	t.Helper()
	at, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	name, err := json.Marshal(hostileText("name"))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(at)
			r.Out.Host = r.In.Host
			r.Out.Header.Del("Accept-Encoding")
		},
		ModifyResponse: func(res *http.Response) error {
			if !strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
				return nil
			}
			b, err := io.ReadAll(res.Body)
			if err != nil {
				return err
			}
			b = bytes.ReplaceAll(b, []byte(`"`+person+`"`), name)
			res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
			res.Header.Set("Content-Length", strconv.Itoa(len(b)))
			return nil
		},
	})
	t.Cleanup(s.Close)
	return s.URL
}

// rewriteConfig replaces texts of the house's configuration.
func (h *house) rewriteConfig(pairs ...string) {
	h.t.Helper()
	text, err := os.ReadFile(h.config)
	if err != nil {
		h.t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		if !bytes.Contains(text, []byte(pairs[i])) {
			h.t.Fatalf("the configuration has no %q", pairs[i])
		}
		text = bytes.ReplaceAll(text, []byte(pairs[i]), []byte(pairs[i+1]))
	}
	if err := os.WriteFile(h.config, text, 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// hostileHouse is a house whose every text that others choose is hostile.
type hostileHouse struct {
	*house
	routes  []console.Route
	console string
	owner   visitor
	// Paths that no page links to: of a link for an operator, of a refused duty in the
	// console and of the page that the person sees of it, of a finished review's evidence.
	enrol, duty, status, evidence string
}

func newHostileHouse(t *testing.T) *hostileHouse {
	t.Helper()
	h := &hostileHouse{house: newHouse(t)}
	h.rewriteConfig(
		"Publish what the person scheduled, and show how it went", strconv.Quote(hostileText("why")),
		"Publish to the person's pages, and show how it went", strconv.Quote(hostileText("why2")),
		"name: A small app", "name: "+strconv.Quote(hostileText("site")),
		strconv.Quote(h.box.XURL), strconv.Quote(hostilePlatform(t, h.box.XURL, h.box.People()[0])))
	cfg := h.load()
	p, err := assemble(t.Context(), cfg, newLogger(cfg.Log))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := p.identity.EnsureServices(t.Context(), serviceNames(cfg)); err != nil {
		t.Fatal(err)
	}
	pages, err := (&server{parts: p}).newConsole()
	if err != nil {
		t.Fatal(err)
	}
	h.routes, h.console = pages.Routes(), cfg.ConsoleURL()
	pages.Close()

	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	// A review that is over, with something left to do elsewhere, and then one that runs.
	var list bytes.Buffer
	rows := csv.NewWriter(&list)
	fail(rows.WriteAll([][]string{{"account", "role"}, {hostileText("listed"), hostileText("role")}}))
	_, err = p.reviews.Import(ctx, operator.Host(), "github", list.Bytes())
	fail(err)
	begun, err := p.reviews.Begin(ctx, operator.Host(), 24*time.Hour, time.Hour)
	fail(err)
	items, err := p.reviews.Items(ctx, begun.ID)
	fail(err)
	ruling := review.Ruling{Decision: review.Removed, Reason: hostileText("ruling")}
	for _, item := range items {
		ruling.Items = append(ruling.Items, item.Number)
	}
	fail(p.reviews.Decide(ctx, operator.Host(), begun.ID, ruling))
	_, err = p.reviews.Finish(ctx, operator.Host(), begun.ID)
	fail(err)
	h.evidence = "/reviews/" + string(begun.ID) + "/evidence"

	h.owner.binding = secret.New(rand.Text())
	link, _, err := p.operators.Invite(ctx, operator.Host(), operator.Invitation{Name: hostileText("owner"), Email: hostileText("email"), Role: operator.Owner})
	fail(err)
	_, h.owner.token, err = enrolDemo(ctx, p.operators, demoBrowser(h.owner.binding, hostileText("agent")), link, secret.New(rand.Text()))
	fail(err)
	link, _, err = p.operators.Invite(ctx, operator.Host(), operator.Invitation{Name: hostileText("invited"), Email: "x" + hostileText("email"), Role: operator.Developer})
	fail(err)
	h.enrol = link.Reveal()
	_, err = p.reviews.Begin(ctx, operator.Host(), 24*time.Hour, time.Hour)
	fail(err)

	person, err := p.vault.NewPerson(ctx)
	fail(err)
	duty, err := p.cases.Open(ctx, cases.Request{Kind: cases.Erasure, Origin: cases.FromOperator, App: demoX, Platform: gatehouse.X, Person: person, Key: hostileText("key")})
	fail(err)
	duty, err = p.cases.Refuse(ctx, duty.ID, hostileText("because"))
	fail(err)
	h.duty, h.status = "/people/duties/"+duty.ID, public.DeletionPath+duty.Code
	return h
}

// strangers asks for things with texts that strangers choose.
func (h *hostileHouse) strangers(handle string) {
	h.t.Helper()
	text := hostileText("call")
	for _, path := range []string{"/2/users/me?x=" + url.QueryEscape(text), "/2/" + url.PathEscape(text)} {
		req, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, h.ready["app_listener"]+path, nil)
		if err != nil {
			h.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+handle)
		for _, name := range []string{"User-Agent", "Gatehouse-Purpose", "Referer", "X-Forwarded-For", "X-Request-Id"} {
			req.Header.Set(name, text)
		}
		res, err := h.client.Do(req)
		if err != nil {
			h.t.Fatal(err)
		}
		_ = res.Body.Close()
	}
}

// kind returns what an address of the console answers with.
func (h *hostileHouse) kind(t *testing.T, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.console+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range h.cookies() {
		req.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() // of a live page, whose end nobody waits for
	if res.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%s: a browser may guess what it is", path)
	}
	kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	if res.StatusCode/100 == 3 {
		if to, err := url.Parse(res.Header.Get("Location")); err != nil || to.Host != "" {
			t.Errorf("%s sends people to %s", path, res.Header.Get("Location"))
		}
	}
	return res.StatusCode, kind
}

func (h *hostileHouse) cookies() map[string]string {
	at, err := url.Parse(h.console)
	if err != nil {
		h.t.Fatal(err)
	}
	session, binding := console.CookieNames(at, "development")
	return map[string]string{session: h.owner.token.Reveal(), binding: h.owner.binding.Reveal()}
}

// shownAt are the routes, by the place that a hostile text was put in, whose pages must
// show it: where none does, nothing was tried.
var shownAt = map[string][]string{
	"why": {"GET /purposes", "GET /purposes/{name}", "GET /reviews/{id}"}, "changed": {"GET /configuration"}, "wrong": {"GET /configuration"},
	"owner": {"GET /{$}", "GET /account", "GET /operators", "GET /operators/{id}", "GET /reviews/{id}"}, "email": {"GET /account", "GET /operators", "GET /prove"},
	"invited": {"GET /operators", "GET /operators/{id}", "GET /enrol"}, "agent": {"GET /account", "GET /operators/{id}"},
	"name": {"GET /people/{person}"}, "subject": {"GET /people/{person}", "GET /stepups/{person}"},
	"listed": {"GET /reviews/{id}", "GET /reviews/open"}, "role": {"GET /reviews/{id}", "GET /reviews/open"},
	"ruling": {"GET /reviews/{id}"}, "because": {"GET /people/duties/{duty}", public.DeletionPath}, "query": {"GET /log"},
	"site":   {stepup.Path + "setup", stepup.Path + "confirm", stepup.Path + "wrong", stepup.Path + "saved", stepup.Path + "prove"},
	"reason": {stepup.Path + "setup", stepup.Path + "prove"}, "account": {stepup.Path + "setup", stepup.Path + "prove"},
}

// stepup has the app ask for a step-up whose every text is hostile.
func (h *hostileHouse) stepup(returns string) (begun struct{ ID, URL string }) {
	h.t.Helper()
	if err := h.api().do(h.t.Context(), http.MethodPost, "/gatehouse/v1/stepups", map[string]any{
		"subject": hostileText("subject"), "reason": hostileText("reason"), "account": hostileText("account"), "state": hostileText("state"), "return_url": returns,
	}, &begun); err != nil {
		h.t.Fatal(err)
	}
	return begun
}

// stations goes through every station of a step-up in the watcher's browser: a first
// factor, a wrong code, recovery codes, and the proof.
func (h *hostileHouse) stations(w *watcher, places []string) {
	h.t.Helper()
	app := h.appOf()
	listening(h.t, app)
	returns := app.self + confirmedPath
	look := func(station string) { h.t.Helper(); w.look(stepup.Path+station, places...) }
	first := h.stepup(returns)
	w.open(first.URL)
	look("setup")
	w.button("Set up an app")
	look("confirm")
	key := strings.ReplaceAll(w.eval(`document.querySelector(".key code").textContent`), " ", "")
	w.fill("code", hostileText("typed"))
	w.button("Done")
	look("wrong")
	w.fill("code", factortest.Code(h.t, key, time.Now()))
	w.button("Done")
	look("saved")
	// The person's browser goes back to the app, which collects the result.
	w.button("I have kept them. Continue")
	back := w.eval(`location.search`)
	q, err := url.ParseQuery(strings.TrimPrefix(back, "?"))
	if err != nil || q.Get("state") != hostileText("state") {
		h.t.Fatalf("the browser comes back with %q, %v", back, err)
	}
	var result struct{ Subject string }
	if err := h.api().do(h.t.Context(), http.MethodGet, "/gatehouse/v1/stepups/"+first.ID+"?"+url.Values{"code": {q.Get("code")}, "subject": {hostileText("subject")}}.Encode(), nil, &result); err != nil || result.Subject != hostileText("subject") {
		h.t.Fatalf("redeemed for %q, %v", result.Subject, err)
	}
	w.open(h.stepup(returns).URL)
	look("prove")
	w.fill("code", hostileText("typed"))
	w.button("Confirm with the code")
	look("prove")
}

// publicRoute returns the path that a public page stands below.
func publicRoute(path string) string {
	for _, below := range []string{stepup.Path, connect.StartPath, connect.CallbackPath, public.DeletionPath, public.WebhooksPath} {
		if strings.HasPrefix(path, below) {
			return below
		}
	}
	return path
}

// leading are the routes of pages that lead on to what their address says.
var leading = map[string]bool{"GET /sign-in": true, "GET /prove": true}

// unopened are routes that no owner of this house sees a page of, and why.
var unopened = map[string]string{
	"GET /sign-in/provider": "no provider is configured",
}

// TestConsoleHostileTexts puts hostile texts wherever somebody else chooses a text, and
// opens every page of the console, and the public ones, in a browser that would execute
// them: no script, element or request may come of any, and the texts are shown as texts.
func TestConsoleHostileTexts(t *testing.T) {
	h := newHostileHouse(t)
	h.start()
	grant := h.connectPerson(demoX, hostileText("subject"), h.box.People()[0])
	h.strangers(grant.Handle)
	h.rewriteConfig("rate: 200/s", "rate: 100/s", `why2\"`, `changed\"`) // shown as what a reload would change
	w := newWatcher(t, hostileText("agent"))
	for name, value := range h.cookies() {
		if _, err := chromedp.Call(w.ctx, network.SetCookie, network.SetCookieParams{Name: name, Value: value, URL: h.console}); err != nil {
			w.fail("signing in", err)
		}
	}
	places := slices.Collect(maps.Keys(shownAt))

	routes := http.NewServeMux()
	for _, r := range h.routes {
		if strings.HasPrefix(r.Pattern, "GET ") {
			routes.HandleFunc(r.Pattern, func(http.ResponseWriter, *http.Request) {})
		}
	}
	routeOf := func(path string) string {
		_, pattern := routes.Handler(httptest.NewRequest(http.MethodGet, path, nil))
		return pattern
	}
	// Every route with what stands for its wildcards in the pages' own links, with as
	// many of each as may differ; then with hostile texts there and in its parameters.
	const most = 4
	opened, seen := map[string]int{}, map[string]bool{}
	var queue []string
	add := func(address string) {
		path, _, _ := strings.Cut(address, "?")
		if r := routeOf(path); r != "" && !seen[path] && opened[r] < most {
			seen[path] = true
			opened[r]++
			queue = append(queue, address)
		}
	}
	parameters := map[string]map[string]bool{}
	parametersOf := func(route string) map[string]bool {
		if parameters[route] == nil {
			parameters[route] = map[string]bool{}
		}
		return parameters[route]
	}
	note := func(route string, found findings) {
		for _, name := range found.Names {
			parametersOf(route)[name] = true
		}
		for _, link := range found.Links {
			u, err := url.Parse(link)
			if err != nil {
				t.Errorf("%s has a link %q: %v", route, link, err)
				continue
			}
			for name := range u.Query() {
				parametersOf(routeOf(u.Path))[name] = true
			}
			add(link)
		}
	}
	h.stations(w, places)
	// Whom a form finds.
	w.open(h.console + "/people")
	w.fill("name", hostileText("subject"))
	w.button("Look up")
	note("GET /people/{person}", w.look("GET /people/{person}", places...))
	add(w.path())
	w.open(h.console + "/stepups")
	w.fill("subject", hostileText("subject"))
	w.button("Look up")
	note("GET /stepups/{person}", w.look("GET /stepups/{person}", places...))
	add(w.path())
	w.open(h.console + "/enrol#" + h.enrol)
	w.button("Go on")
	note("GET /enrol", w.look("GET /enrol", places...))
	add("/enrol/" + h.enrol)
	add(h.duty)
	add(h.evidence)
	add("/people/number/1")
	for _, r := range h.routes {
		if path, get := strings.CutPrefix(r.Pattern, "GET "); get && !strings.Contains(strings.ReplaceAll(path, "{$}", ""), "{") {
			add(strings.ReplaceAll(path, "{$}", ""))
		}
	}
	pages := map[string]string{} // the routes of pages, with the path of one, that exists if any does
	fine := map[string]bool{}    // the routes that answered with what they are for
	for len(queue) > 0 {
		address := queue[0]
		queue = queue[1:]
		route := routeOf(strings.SplitN(address, "?", 2)[0])
		status, kind := h.kind(t, address)
		if kind != "text/html" {
			if !slices.Contains([]string{"", "text/event-stream", "text/csv", "application/json", "application/octet-stream", "text/css", "text/javascript", "image/svg+xml"}, kind) {
				t.Errorf("%s is %s", address, kind)
			}
			fine[route] = fine[route] || status < 400
			continue
		}
		if path, _, _ := strings.Cut(address, "?"); !fine[route] {
			pages[route] = path
		}
		fine[route] = fine[route] || status < 400
		w.open(h.console + address)
		note(route, w.look(route, places...))
	}
	for _, r := range h.routes {
		// The files of pages are ours alone, and every page loads them.
		if strings.HasPrefix(r.Pattern, "GET ") && !fine[r.Pattern] && unopened[r.Pattern] == "" && !strings.HasPrefix(r.Pattern, "GET /assets/") {
			t.Errorf("%s: no page of it was opened: have this test make what it shows", r.Pattern)
		}
	}
	t.Logf("%d pages of %d routes by their links", w.pages, len(pages))

	for route := range pages {
		path := strings.ReplaceAll(strings.TrimPrefix(route, "GET "), "{$}", "")
		if strings.Contains(path, "{") {
			w.open(h.console + wildcard.ReplaceAllString(path, strings.ReplaceAll(url.PathEscape(hostileText("path")), "$", "$$")))
			w.look(route, places...)
			path = pages[route]
		}
		values := hostileValues
		if !leading[route] {
			values = values[:2]
		}
		for i, value := range values {
			all := url.Values{}
			for _, name := range []string{"return", "next", "page", "after", "sort"} {
				all.Set(name, value)
			}
			for name := range parametersOf(route) {
				all.Set(name, value)
				if i == 0 {
					w.open(h.console + path + "?" + url.Values{name: {value}}.Encode())
					w.look(route, places...)
				}
			}
			w.open(h.console + path + "?" + all.Encode())
			w.look(route, places...)
		}
	}
	t.Logf("%d pages with hostile addresses too", w.pages)

	// What comes over a stream is put into the page by a script of ours.
	w.open(h.console + "/calls")
	rows := w.eval(`String(document.querySelectorAll("tbody tr").length)`)
	h.strangers(grant.Handle)
	w.until("calls over the stream", `document.querySelectorAll("tbody tr").length > `+rows)
	w.look("GET /calls", places...)

	// A file that cannot be applied.
	h.rewriteConfig("stepup:", strconv.Quote(hostileText("wrong"))+": 1\nstepup:")
	w.open(h.console + "/configuration")
	w.look("GET /configuration", places...)
	h.rewriteConfig(strconv.Quote(hostileText("wrong"))+": 1\n", "")

	// The public pages.
	at, escaped := h.load().PublicURL, url.PathEscape(hostileText("path"))
	query := url.Values{"state": {hostileText("query")}, "code": {hostileText("query")}, "error": {hostileText("query")}, "error_description": {hostileText("query")}}.Encode()
	for _, address := range []string{
		at + h.status, at + stepup.Path + escaped, at + connect.StartPath + escaped, at + connect.CallbackPath + escaped + "?" + query,
		at + connect.CallbackPath + demoX + "?" + query, at + connect.CallbackPath + demoFacebook + "?" + query,
		at + public.DeletionPath + escaped, at + public.WebhooksPath + escaped, at + "/_gatehouse/" + escaped,
	} {
		w.open(address)
		w.look(publicRoute(strings.TrimPrefix(address, at)), places...)
	}
	for place, routes := range shownAt {
		for _, route := range routes {
			if !w.texts[place][route] {
				t.Errorf("%s does not show the hostile text of %q; it stands in %v", route, place, slices.Sorted(maps.Keys(w.texts[place])))
			}
		}
	}

	// All of this would have been noticed; and was it let in, the page's policy is left.
	plant := `document.body.insertAdjacentHTML("beforeend", ` + strconv.Quote(hostileText("planted")) + `); ""`
	w.open(h.console + "/account")
	w.eval(plant)
	w.until("the planted script", `window.__pwned`)
	signs := strings.Join(w.inspect().Wrong, "\n")
	for _, sign := range []string{"a script of a text ran", "there is an attribute onerror", "there is an attribute data-pwned", "there is <script>", "src of img leads to //" + elsewhere, "the browser asked for http://" + elsewhere} {
		if !strings.Contains(signs, sign) {
			t.Errorf("a planted text is not noticed by %q:\n%s", sign, signs)
		}
	}
	w.bypass(false)
	w.allow("ERR_")
	w.allow("Content Security Policy")
	w.open(h.console + "/account")
	w.eval(`window.refused = 0; document.addEventListener("securitypolicyviolation", () => { window.refused++; }); ` + plant)
	w.until("the policy's refusal", `window.refused > 1`)
	if got := w.eval(`String(window.__pwned)`); got != "undefined" {
		t.Error("the page's policy lets a planted script run")
	}
	w.quiet()
}
