package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"gatehouse/internal/console"
	"gatehouse/internal/identity/factor/factortest"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
)

// fill leaves the running program so much room in each of its files as the largest has,
// and no more; limitless gives the room back. A limit on files' size stands for the disk.
func (h *house) fill(limit uint64) {
	h.t.Helper()
	limits := [2]uint64{limit, limitless} // the soft one, and the hard one, which stays
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(h.process.Process.Pid), syscall.RLIMIT_FSIZE, uintptr(unsafe.Pointer(&limits)), 0, 0, 0)
	if errno != 0 {
		h.t.Fatalf("limiting the size of files: %v", errno)
	}
}

const limitless = ^uint64(0)

// largest is the size of the largest file below the program's directory.
func (h *house) largest() (size uint64) {
	h.t.Helper()
	err := filepath.WalkDir(h.dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			size = max(size, uint64(info.Size()))
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return size
}

// desk is an operator's browser at the console of a running program.
type desk struct {
	h              *house
	email          string
	token, binding secret.Text
	password       secret.Text
	codes          []secret.Text
}

// deskOf enrols an operator by a link.
func deskOf(h *house, p *parts, email string, link secret.Text) *desk {
	h.t.Helper()
	d := &desk{h: h, email: email, binding: secret.New(rand.Text()), password: secret.New(rand.Text())}
	var err error
	if d.codes, d.token, err = enrolDemo(h.t.Context(), p.operators, d.browser(), link, d.password); err != nil {
		h.t.Fatal(err)
	}
	return d
}

func (d *desk) browser() operator.Browser { return demoBrowser(d.binding, "test") }

// ask sends a form, or without one gets a page, and returns the status, the page and the
// cookies that it sets.
func (d *desk) ask(path string, form url.Values) (int, string, []*http.Cookie) {
	d.h.t.Helper()
	cfg := d.h.load()
	at, err := url.Parse(cfg.ConsoleURL())
	if err != nil {
		d.h.t.Fatal(err)
	}
	method, body := http.MethodGet, ""
	if form != nil {
		method, body = http.MethodPost, form.Encode()
	}
	r, err := http.NewRequestWithContext(d.h.t.Context(), method, at.String()+path, strings.NewReader(body))
	if err != nil {
		d.h.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.Header.Set("Origin", at.String())
	session, browser := console.CookieNames(at, cfg.Environment)
	r.AddCookie(&http.Cookie{Name: browser, Value: d.binding.Reveal()})
	if !d.token.IsZero() {
		r.AddCookie(&http.Cookie{Name: session, Value: d.token.Reveal()})
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	res, err := client.Do(r)
	if err != nil {
		d.h.t.Fatal(err)
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil {
		d.h.t.Fatal(err)
	}
	return res.StatusCode, string(page), res.Cookies()
}

// signIn has the operator sign in anew, in the same browser, with the password and a
// recovery code, and reports the answer of the last step and whether it opened a session.
func (d *desk) signIn(code secret.Text) (in bool, status int, page string) {
	d.h.t.Helper()
	fresh := &desk{h: d.h, binding: d.binding}
	status, page, _ = fresh.ask("/sign-in/password", url.Values{"email": {d.email}, "password": {d.password.Reveal()}, "return": {""}})
	half := regexp.MustCompile(`name="half" value="([^"]+)"`).FindStringSubmatch(page)
	if half == nil {
		return false, status, page
	}
	status, page, cookies := fresh.ask("/sign-in/code", url.Values{"half": {half[1]}, "code": {code.Reveal()}, "return": {""}})
	for _, c := range cookies {
		fresh.token = secret.New(c.Value)
		if got, _, _ := fresh.ask("/account", nil); got == http.StatusOK {
			d.token = fresh.token
			return true, status, page
		}
	}
	return false, status, page
}

// read is a page that a person gets, and where.
func read(t *testing.T, res *http.Response, err error) (at string, status int, page string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.Request.URL.String(), res.StatusCode, string(b)
}

// askedAgain has somebody set a second factor up and be asked for it again: their browser,
// the page that asks, and one of their recovery codes.
func askedAgain(t *testing.T, app *demoApp, subject string) (user *http.Client, at, spare string) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	user = &http.Client{Jar: jar}
	get := func(address string) (string, string) {
		t.Helper()
		res, err := user.Get(address)
		at, _, page := read(t, res, err)
		return at, page
	}
	post := func(address string, form url.Values) string {
		t.Helper()
		res, err := user.PostForm(address, form)
		_, _, page := read(t, res, err)
		return page
	}
	ask := app.self + "/confirm?subject=" + subject
	at, _ = get(ask)
	page := post(at+"/totp", nil)
	key := regexp.MustCompile(`<p class="key"><code>([A-Z2-7 ]+)</code>`).FindStringSubmatch(page)
	if key == nil {
		t.Fatalf("the page is %s", page)
	}
	page = post(at+"/confirm", url.Values{"code": {factortest.Code(t, strings.ReplaceAll(key[1], " ", ""), time.Now())}})
	codes := regexp.MustCompile(`<li><code>([^<]+)</code>`).FindStringSubmatch(page)
	if codes == nil {
		t.Fatalf("no recovery codes in %s", page)
	}
	post(at+"/continue", nil)
	at, _ = get(ask)
	return user, at, codes[1]
}

// TestFullDiskForPeople fills the disk under a running program while an operator signs in,
// a review is decided, a restore is approved, somebody proves their second factor and an
// identity provider suspends a leaver. Who is in may look; nothing is done that is not
// recorded, no code is used up, and each answer says what is the matter; the leaver is out.
// With room again, and without a new start, all of it goes on, and is there after a crash.
func TestFullDiskForPeople(t *testing.T) {
	h := newHouseWith(t, "listen:", "operators: {scim: {enabled: true}}\nlisten:")
	var made struct{ Token, URL string }
	if err := json.Unmarshal([]byte(h.must("account", "scim-token", "create", "--json")), &made); err != nil {
		t.Fatal(err)
	}
	h.start()
	app := h.appOf()
	listening(t, app)
	x := h.connectVia(app, demoX, "ada", h.box.People()[0])
	provider := func(method, path, body string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, made.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Authorization": {"Bearer " + made.Token}, "Content-Type": {"application/scim+json"}}
		res, err := h.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}

	// Before: two operators with a proposal and a review, and one whom the provider keeps.
	var eveID struct{ ID string }
	if status, b := provider("POST", "/Users", `{"userName": "eve@example.com", "displayName": "Eve"}`); status != 201 || json.Unmarshal([]byte(b), &eveID) != nil {
		t.Fatalf("%d %s", status, b)
	}
	p, err := assemble(t.Context(), h.load(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	invited := func(email string, role operator.Role) *desk {
		t.Helper()
		link, _, err := p.operators.Invite(t.Context(), operator.Host(), operator.Invitation{Name: email, Email: email, Role: role})
		if err != nil {
			t.Fatal(err)
		}
		return deskOf(h, p, email, link)
	}
	ada, bob := invited("ada@example.com", operator.Owner), invited("bob@example.com", operator.Security)
	_, link, _ := strings.Cut(strings.TrimSpace(h.must("account", "invite", "--again", "eve@example.com")), "#")
	eve := deskOf(h, p, "eve@example.com", secret.New(link))
	session, _, err := p.operators.Session(t.Context(), ada.browser(), ada.token)
	if err != nil {
		t.Fatal(err)
	}
	proposal, err := p.operators.Propose(t.Context(), operator.By(session), operator.ProposalToRestore("20261126T045900Z-k3j5h2aa", strings.Repeat("0a", 32)))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	var begun struct{ ID string }
	if err := json.Unmarshal([]byte(h.must("account", "review", "start", "--json")), &begun); err != nil {
		t.Fatal(err)
	}
	_, rights, _ := ada.ask("/reviews/"+begun.ID, nil)
	shown := regexp.MustCompile(`name="shown" value="(\d+)(:[^"]*)?"`).FindStringSubmatch(rights)
	if shown == nil {
		t.Fatalf("the page of the review is\n%s", rights)
	}
	decide := url.Values{"shown": {shown[1] + shown[2]}, "d-" + shown[1]: {"keep"}, "reason": {"needed"}, "back": {""}, "rest": {""}}
	decisions := func() int {
		return strings.Count(h.must("account", "review", "show", begun.ID, "--json"), `"confirmed"`)
	}
	kept := decisions()

	// Somebody has a second factor, and is asked for it.
	user, at, spare := askedAgain(t, app, "grace")

	// The disk is full: the log can be written no more.
	h.fill(h.largest() + 64<<10)
	refused := 0
	for calls := 0; refused < 20; calls++ {
		status, b, err := h.call(t.Context(), http.MethodGet, "/x/2/users/me", x.Handle, nil)
		if err != nil || calls > 100_000 {
			t.Fatalf("call %d: %v", calls, err)
		}
		if status == http.StatusServiceUnavailable {
			refused++
		} else if status != http.StatusOK && status != http.StatusTooManyRequests {
			t.Fatalf("status %d: %s", status, b)
		}
	}
	says := func(what string, status int, answer string) {
		t.Helper()
		if status != http.StatusServiceUnavailable || !strings.Contains(answer, "record") {
			t.Errorf("%s on a full disk: %d, and the answer does not say why:\n%s", what, status, answer)
		}
	}
	if status, page, _ := ada.ask("/account", nil); status != http.StatusOK {
		t.Errorf("an operator who looks on a full disk: %d\n%s", status, page)
	}
	in, status, page := bob.signIn(bob.codes[0])
	if in {
		t.Error("an operator signed in, and the log cannot say so")
	}
	says("signing in", status, page)
	status, page, _ = ada.ask("/reviews/"+begun.ID+"/decide", decide)
	says("deciding in a review", status, page)
	status, page, _ = bob.ask("/operators/approvals/approve", url.Values{"approval": {string(proposal.ID)}})
	says("approving", status, page)
	prove := func() (int, string) {
		t.Helper()
		res, err := user.PostForm(at+"/code", url.Values{"code": {spare}})
		_, status, page := read(t, res, err)
		return status, page
	}
	status, page = prove()
	says("proving a second factor", status, page)
	if err := h.api().do(t.Context(), http.MethodPost, "/gatehouse/v1/stepups", map[string]any{"subject": "grace", "return_url": app.self + confirmedPath}, nil); err == nil || !strings.Contains(err.Error(), "log/unwritable") {
		t.Errorf("asking for a step-up on a full disk: %v", err)
	}
	leaving := `{"Operations": [{"op": "replace", "path": "active", "value": false}]}`
	status, page = provider("PATCH", "/Users/"+eveID.ID, leaving)
	if status != http.StatusOK && !strings.Contains(page, "noted beside it") {
		t.Errorf("suspending on a full disk: %d %s, want it done, or noted", status, page)
	}
	if status, _, _ := eve.ask("/account", nil); status == http.StatusOK {
		t.Error("who was suspended on a full disk reads pages")
	}
	if n := decisions(); n != kept {
		t.Errorf("%d rights are confirmed, and the log cannot say so", n-kept)
	}
	if out := h.must("account", "approvals", "--json"); !strings.Contains(out, `"waiting"`) {
		t.Errorf("the approvals are %s", out)
	}

	// There is room again: the program goes on by itself.
	h.fill(limitless)
	eventually(t, "calls go on", func() bool {
		status, _, err := h.call(t.Context(), http.MethodGet, "/x/2/users/me", x.Handle, nil)
		return err == nil && status == http.StatusOK
	})
	if in, status, page := bob.signIn(bob.codes[0]); !in {
		t.Errorf("signing in with the same code: %d\n%s", status, page)
	}
	if status, page, _ := ada.ask("/reviews/"+begun.ID+"/decide", decide); status != http.StatusSeeOther {
		t.Errorf("deciding: %d\n%s", status, page)
	}
	if status, page, _ := bob.ask("/operators/approvals/approve", url.Values{"approval": {string(proposal.ID)}}); status != http.StatusSeeOther {
		t.Errorf("approving: %d\n%s", status, page)
	}
	if status, page := prove(); status != http.StatusOK || !strings.Contains(page, "recovery") {
		t.Errorf("proving with the same code: %d\n%s", status, page)
	}
	if status, b := provider("PATCH", "/Users/"+eveID.ID, leaving); status != http.StatusOK {
		t.Errorf("suspending again: %d %s", status, b)
	}
	h.kill()

	// What was acknowledged is there after a crash.
	out, errOut, code := h.gatehouse("audit", "verify")
	if code != 0 {
		t.Fatalf("audit verify: %d\n%s%s", code, out, errOut)
	}
	h.start()
	if n := decisions(); n != kept+1 {
		t.Errorf("%d rights are confirmed since the beginning, want one", n-kept)
	}
	if out := h.must("account", "approvals", "--json"); !strings.Contains(out, `"approved"`) {
		t.Errorf("the approvals are %s", out)
	}
	if out := h.must("account", "show", "eve@example.com", "--json"); !strings.Contains(out, `"suspended"`) || !strings.Contains(out, `"scim"`) {
		t.Errorf("the leaver is %s", out)
	}
	if status, _, _ := eve.ask("/account", nil); status == http.StatusOK {
		t.Error("who was suspended on a full disk is in again")
	}
	if status, _, _ := bob.ask("/account", nil); status != http.StatusOK {
		t.Errorf("bob's session: %d", status)
	}
	if out := h.must("audit", "show", "--json", "-n", "100000"); !strings.Contains(out, `"action": "log.close"`) {
		t.Error("the log does not say that it could not be written")
	}
}
