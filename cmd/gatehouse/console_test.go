package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse/internal/secret"

	"github.com/chromedp/chromedp"
)

// showcase is a running demo, as somebody who tries Gatehouse has it.
type showcase struct {
	t      *testing.T
	ready  demoReady
	stderr *lockedBuffer
}

// startShowcase starts a demo, in a process of its own, that ends with the test.
func startShowcase(t *testing.T) *showcase {
	t.Helper()
	for try := 1; ; try++ {
		s, err := startShowcaseOnce(t)
		if err == nil {
			return s
		}
		// Demos of other packages' tests look for the same ports in the same moment.
		if try == 5 || !strings.Contains(s.stderr.String(), "another program took a port") {
			t.Fatalf("no ready line: %v\n%s", err, s.stderr)
		}
	}
}

func startShowcaseOnce(t *testing.T) (*showcase, error) {
	t.Helper()
	s := &showcase{t: t, stderr: &lockedBuffer{}}
	process := exec.Command(os.Args[0], "demo", "--json", "--still", "--dir", filepath.Join(t.TempDir(), "demo"))
	process.Env = append(os.Environ(), asProgram+"=1")
	process.Stderr = s.stderr
	out, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		_ = process.Wait()
		return s, err
	}
	t.Cleanup(func() {
		_ = process.Process.Signal(syscall.SIGTERM)
		if err := process.Wait(); err != nil {
			t.Errorf("the demo ended with %v\n%s", err, s.stderr)
		}
	})
	if err := json.Unmarshal(line, &s.ready); err != nil {
		t.Fatalf("ready line %q: %v", line, err)
	}
	return s, nil
}

// at returns the address of a page of the console.
func (s *showcase) at(path string) string { return s.ready.Console + path }

// owner returns a browser that the demo's link signed in.
func (s *showcase) owner() *browser {
	s.t.Helper()
	b := newBrowser(s.t)
	b.open(s.ready.Operator)
	if !strings.HasPrefix(b.eval("location.href"), s.ready.Console) {
		b.fail("opening the operator link", io.ErrUnexpectedEOF)
	}
	return b
}

// invite has the browser of an owner invite somebody and returns the link.
func (s *showcase) invite(b *browser, name, email, role string) string {
	s.t.Helper()
	b.open(s.at("/operators/invite"))
	b.fill("name", name)
	b.fill("email", email)
	b.eval(`String(document.querySelector("[name=role][value=` + role + `]").click())`)
	b.button("Make the link")
	link := regexp.MustCompile(`http://localhost:\d+/enrol#\S+`).FindString(b.text())
	if link == "" {
		b.fail("inviting", io.ErrUnexpectedEOF)
	}
	return link
}

// seedOf returns the key of an authenticator app that a page shows.
func seedOf(b *browser) secret.Text {
	b.t.Helper()
	return secret.New(strings.ReplaceAll(b.eval(`document.querySelector("article .hint code").textContent`), " ", ""))
}

// TestConsoleAccounts is an operator's life in a real browser: a link, a passkey or a
// password with codes, signing in by each, recovery, and the pages about accounts.
func TestConsoleAccounts(t *testing.T) {
	s := startShowcase(t)
	owner := s.owner()
	for name, path := range map[string]string{"health": "/health", "account": "/account", "account-app": "/account/app", "operators": "/operators", "invite": "/operators/invite", "approvals": "/operators/approvals", "prove": "/prove?return=/operators"} {
		lookAt(t, owner, name, s.at(path))
	}
	owner.open(s.at("/no-such-page"))
	owner.allow("404")
	lookAt(t, owner, "not-found", "")

	t.Run("passkey", func(t *testing.T) {
		link := s.invite(owner, "Linus Test", "linus@example.com", "security")
		lookAt(t, owner, "invited", "")
		b := newBrowser(t)
		b.authenticator()
		b.open(link)
		if got := b.eval("location.hash + location.search"); got != "" {
			t.Errorf("the address keeps the link's secret: %s", got)
		}
		lookAt(t, b, "enrol-link", "")
		b.button("Go on")
		lookAt(t, b, "enrol", "")
		b.button("Make a passkey")
		b.shows("Your account is ready", "Linus Test")
		b.button("Sign out")
		b.shows("You are signed out.")
		b.open(s.at("/account"))
		if got := b.path(); got != "/sign-in?return=%2Faccount" {
			t.Errorf("nobody asks for an account and is at %s", got)
		}
		lookAt(t, b, "sign-in", "")
		b.button("Use a passkey")
		b.shows("Linus Test", "linus@example.com", "security")
		if got := b.path(); got != "/account" {
			t.Errorf("signed in, the browser is at %s", got)
		}
		// The link was used up.
		other := newBrowser(t)
		other.allow("401")
		other.open(link)
		other.button("Go on")
		other.shows("This link does not work")
		lookAt(t, other, "link-used", "")
		b.quiet()
		other.quiet()
	})

	t.Run("password and codes", func(t *testing.T) {
		link := s.invite(owner, "Margaret Test", "margaret@example.com", "auditor")
		b := newBrowser(t)
		b.open(s.at("/enrol")) // and then the link, in the same page
		b.open(link)
		b.button("Go on")
		b.fill("password", "short")
		b.fill("repeat", "short")
		b.eval(`String(document.querySelector("[name=password]").removeAttribute("minlength"))`)
		b.allow("400")
		b.button("Go on to the authenticator app")
		b.shows("too short")
		lookAt(t, b, "enrol-again", "")
		b.fill("password", "seven herons by the river")
		b.fill("repeat", "seven herons by the river")
		b.button("Go on to the authenticator app")
		lookAt(t, b, "enrol-app", "")
		seed := seedOf(b)
		code := func(ahead time.Duration) string {
			t.Helper()
			c, err := demoCode(seed, time.Now().Add(ahead))
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		first := code(0)
		b.fill("code", first)
		b.button("Finish")
		lookAt(t, b, "recovery-codes", "")
		recovery := b.eval(`document.querySelector(".codes li").textContent`)
		b.button("I have kept them")
		b.button("Sign out")

		password := func(email, password string) {
			t.Helper()
			b.open(s.at("/sign-in"))
			b.fill("email", email)
			b.fill("password", password)
			b.button("Go on to the code")
		}
		b.allow("401")
		password("margaret@example.com", "another password")
		b.shows("That did not work.")
		unknown := b.text()
		password("nobody@example.com", "another password")
		if known := b.text(); known != unknown {
			t.Errorf("a stranger sees another page than an operator with a wrong password:\n%s\n\n%s", known, unknown)
		}
		lookAt(t, b, "sign-in-wrong", "")

		password("margaret@example.com", "seven herons by the river")
		lookAt(t, b, "code", "")
		b.fill("code", first) // was used when it was set up
		b.button("Go on")
		b.shows("That did not work.")
		password("margaret@example.com", "seven herons by the river")
		b.fill("code", code(30*time.Second))
		b.button("Go on")
		b.shows("Margaret Test")
		b.button("Sign out")
		for _, works := range []bool{true, false} {
			password("margaret@example.com", "seven herons by the river")
			b.fill("code", recovery)
			b.button("Go on")
			if got := b.path() != "/sign-in/code"; got != works {
				t.Errorf("a recovery code signs in: %v, want %v", got, works)
			}
			if works {
				b.button("Sign out")
			}
		}
		b.quiet()
	})

	t.Run("hostile names", func(t *testing.T) {
		hostile := `"><img src=x onerror="window.done=1"><script>window.done=1</script>{{.}}` + "`${window.done=1}`'"
		s.invite(owner, hostile, "hostile@example.com", "developer")
		for _, path := range []string{"", "/operators", "/operators/approvals"} {
			if path != "" {
				owner.open(s.at(path))
			}
			if got := owner.eval(`String(window.done)`); got != "undefined" {
				t.Errorf("at %s something of a name was executed", owner.path())
			}
		}
		owner.open(s.at("/operators"))
		owner.shows(hostile)
		owner.eval(`String([...document.querySelectorAll("td a")].find((a) => a.textContent.startsWith('">')).setAttribute("id", "hostile"))`)
		owner.press("#hostile")
		owner.shows(hostile, "Remove this operator")
		lookAt(t, owner, "operator-hostile", "")
	})

	t.Run("roles", func(t *testing.T) {
		owner.open(s.at("/operators"))
		owner.eval(`String([...document.querySelectorAll("td a")].find((a) => a.textContent === "Grace Demo").setAttribute("id", "grace"))`)
		owner.press("#grace")
		lookAt(t, owner, "operator", "")
		owner.button("Suspend")
		owner.shows("suspended", "Let sign in again")
		owner.button("Let sign in again")
		owner.shows("active")
		// The typed word is demanded.
		owner.allow("400")
		owner.eval(`String(document.querySelector("form[action$=remove] input").setAttribute("name", "typed"))`)
		owner.eval(`String(document.querySelector("form[action$=remove] input").value = "no")`)
		owner.button("Remove Grace Demo")
		owner.shows("nothing was done")
		lookAt(t, owner, "not-typed", "")
		owner.button("Back")
		owner.eval(`String(document.querySelector("form[action$=remove] input").value = "remove")`)
		owner.button("Remove Grace Demo")
		owner.shows("The operator was removed.", "!Grace Demo", "Edsger Demo")
	})
	owner.quiet()
}

// TestConsoleThemes: a choice of colours is kept, also without a script.
func TestConsoleThemes(t *testing.T) {
	s := startShowcase(t)
	b := newBrowser(t)
	b.open(s.at("/sign-in"))
	b.button("Dark")
	if got := b.eval(`document.documentElement.dataset.theme + " " + getComputedStyle(document.body).backgroundColor`); got != "dark rgb(18, 22, 26)" {
		t.Errorf("dark is %s", got)
	}
	b.open(s.at("/sign-in"))
	if got := b.eval(`document.documentElement.dataset.theme`); got != "dark" {
		t.Errorf("the choice was not kept: %q", got)
	}
	b.button("System")
	if got := b.eval(`String(document.documentElement.dataset.theme)`); got != "undefined" {
		t.Errorf("the system's colours are %q", got)
	}
	b.quiet()
}

// TestOperatorLink: the demo's link signs in one browser, once, on this machine; a
// program that runs has no such path on any listener.
func TestOperatorLink(t *testing.T) {
	s := startShowcase(t)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	get := func(c *http.Client, address string, change func(*http.Request)) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(r)
		}
		res, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, res.Request.URL.Path + "\n" + string(body)
	}
	path := strings.TrimPrefix(s.ready.Operator, "http://localhost")
	path = path[strings.Index(path, "/"):]
	// Another name for this machine is somebody else's.
	if status, _ := get(http.DefaultClient, s.ready.Operator, func(r *http.Request) { r.Host = "evil.example" }); status != http.StatusForbidden {
		t.Errorf("by another name: %d", status)
	}
	if status, _ := get(http.DefaultClient, s.ready.Operator[:len(s.ready.Operator)-1]+"0", nil); status != http.StatusGone {
		t.Errorf("a wrong token: %d", status)
	}
	if status, page := get(client, s.ready.Operator, nil); status != http.StatusOK || !strings.Contains(page, "Ada Demo") {
		t.Errorf("the link: %d %s", status, page)
	}
	if status, _ := get(http.DefaultClient, s.ready.Operator, nil); status != http.StatusGone {
		t.Errorf("the link a second time: %d", status)
	}

	h := newHouse(t)
	h.start()
	for _, listener := range []string{"app_listener", "public", "console"} {
		for _, p := range []string{path, doorPath + "x"} {
			status, page := get(h.client, h.ready[listener]+p, nil)
			if status < 400 && !strings.HasPrefix(page, "/sign-in\n") || strings.Contains(page, "Ada Demo") {
				t.Errorf("%s answers %s with %d: %s", listener, p, status, page)
			}
		}
	}
}

// TestDoorLifetime: the link is over after ten minutes, and no demo of another kind
// has one.
func TestDoorLifetime(t *testing.T) {
	now := time.Now()
	d := &demoDoor{token: "t", until: now.Add(doorLife)}
	if d.take("t", now.Add(doorLife)) || d.take("u", now) || d.take("", now) {
		t.Error("the link works when it should not")
	}
	if !d.take("t", now.Add(doorLife-time.Second)) || d.take("t", now) {
		t.Error("the link works once, before its end")
	}
	h := newHouse(t)
	for name, change := range map[string]func(s *server){
		"a real platform":     func(s *server) { s.cfg.Sandbox.X = "" },
		"a real Meta":         func(s *server) { s.cfg.Sandbox.Meta = "" },
		"production":          func(s *server) { s.cfg.Environment = "production" },
		"a console elsewhere": func(s *server) { s.cfg.Console.URL = "https://ops.example.com" },
	} {
		s := &server{parts: &parts{cfg: h.load()}}
		change(s)
		if _, err := newDemoDoor(t.Context(), s); err == nil || !strings.Contains(err.Error(), "only a demo") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFirstOwner is the way in to a program that runs: init's link, a passkey, and back
// in after a restart. The sealed program shows nothing.
func TestFirstOwner(t *testing.T) {
	h := newHouse(t)
	out, errOut, code := h.gatehouse("init")
	if code != 0 {
		t.Fatalf("init: %s %s", out, errOut)
	}
	h.start()
	link := regexp.MustCompile(`http://localhost:\d+/enrol#\S+`).FindString(out)
	if link == "" || !strings.HasPrefix(link, h.ready["console"]+"/") {
		t.Fatalf("no link to %s in %s", h.ready["console"], out)
	}
	b := newBrowser(t)
	b.authenticator()
	b.open(link)
	b.button("Go on")
	lookAt(t, b, "enrol-first", "")
	b.fill("name", "Ada First")
	b.fill("email", "ada@example.com")
	b.button("Go on")
	b.button("Make a passkey")
	b.shows("Ada First", "Your account is ready")
	b.open(h.ready["console"] + "/account")
	b.shows("owner", "Chrome on Linux")
	// Its own address leads to its name.
	b.open(strings.Replace(h.ready["console"], "localhost", "127.0.0.1", 1) + "/account")
	if got := b.eval("location.host"); !strings.HasPrefix(got, "localhost:") {
		t.Errorf("by its address the console is at %s", got)
	}
	b.allow("ERR_CONNECTION_REFUSED") // a live page asks while nobody is there
	h.stop()
	h.start()
	b.open(h.ready["console"] + "/account")
	b.shows("Ada First") // the session outlives the program
	b.button("Sign out")
	b.button("Use a passkey")
	b.shows("Ada First")
	noTokensInFiles(t, h.box, h.dir)
	b.quiet()
	h.stop()
}

// TestConsoleFromElsewhere: a link of another site leads to the page and not to the
// sign-in, a form of another site does nothing, and a frame shows nothing.
func TestConsoleFromElsewhere(t *testing.T) {
	s := startShowcase(t)
	b := s.owner()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, `<!doctype html><title>Elsewhere</title><a href="`+s.at("/account")+`">your account</a>
<form method="post" action="`+s.at("/theme")+`"><input type="hidden" name="theme" value="dark"><button>win a prize</button></form>
<iframe src="`+s.at("/account")+`"></iframe>`)
	}))
	defer elsewhere.Close()
	b.allow("frame-ancestors")
	b.allow("403")
	b.allow("favicon")
	for range 2 { // and the session outlives it
		b.open(elsewhere.URL)
		// Of the frame the browser says that it may not show it.
		if !b.hears("frame-ancestors 'none'") {
			t.Error("another site framed a page of ours")
		}
		b.button("your account")
		b.do("being sent around", chromedp.WaitVisible(chromedp.CSS("#factors")))
		b.shows("Ada Demo", "Your account", "this one")
	}
	b.open(elsewhere.URL)
	b.button("win a prize")
	b.shows("This came from a page of another site, and was not done.")
	b.open(s.at("/account"))
	if got := b.eval(`String(document.documentElement.dataset.theme)`); got != "undefined" {
		t.Errorf("a form of another site was done: the colours are %s", got)
	}
}
