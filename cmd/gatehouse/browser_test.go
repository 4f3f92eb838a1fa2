package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
)

// browser is a Chromium with one tab, as a person has it in front of them. What its
// console says, such as that the page's policy stopped something, fails the test.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu sync.Mutex
	// said are what the page's console said since the last look; guarded by mu.
	said []string
	// allowed are parts of messages that are expected.
	allowed []string
}

// newBrowser starts Chromium with an empty profile.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Fatal("this test looks at pages with Chromium, which is not installed: scripts/setup installs it")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("hide-scrollbars", true))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium's own refuses root
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(stop)
	// A test types before a browser on a busy machine has looked for what has autofocus.
	b := &browser{t: t, allowed: []string{"Autofocus processing was blocked because a document already has a focused element"}}
	tab, closeTab := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		_ = chromedp.Cancel(tab) // waits for the process, whose profile is removed next
		closeTab()
	})
	b.ctx = tab
	// The browser lives as long as the context that it was first used with.
	if err := chromedp.Do(tab, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("starting Chromium: %v", err)
	}
	messages := chromedp.Console(tab)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			b.mu.Lock()
			b.said = append(b.said, fmt.Sprint(m))
			b.mu.Unlock()
		}
	}()
	return b
}

// allow expects messages of the page's console that have a text in them.
func (b *browser) allow(text string) { b.allowed = append(b.allowed, text) }

// hears waits until the page's console says something that has a text in it.
func (b *browser) hears(text string) bool {
	b.t.Helper()
	b.allow(text)
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		b.mu.Lock()
		i := slices.IndexFunc(b.said, func(m string) bool { return strings.Contains(m, text) })
		if i >= 0 {
			b.said = slices.Delete(b.said, i, i+1)
		}
		b.mu.Unlock()
		if i >= 0 {
			return true
		}
	}
	return false
}

// quiet fails the test if the page's console said anything that was not expected.
func (b *browser) quiet() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.said {
		expected := false
		for _, a := range b.allowed {
			expected = expected || strings.Contains(m, a)
		}
		if !expected {
			b.t.Errorf("the browser's console says: %s", m)
		}
	}
	b.said = nil
}

// do runs steps within two minutes.
func (b *browser) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 2*time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.fail(what, err)
	}
}

// fail ends the test with what the page shows.
func (b *browser) fail(what string, err error) {
	b.t.Helper()
	shown := struct{ At, Text string }{}
	if text, lookErr := chromedp.Run(b.ctx, chromedp.Evaluate[string](`JSON.stringify({At: location.href, Text: document.body?.innerText ?? ""})`)); lookErr == nil {
		_ = json.Unmarshal([]byte(text), &shown)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.t.Fatalf("%s: %v\nat %s, which shows:\n%s\nconsole: %v", what, err, shown.At, shown.Text, b.said)
}

// open goes to an address.
func (b *browser) open(address string) {
	b.t.Helper()
	b.do("opening "+address, chromedp.Navigate(address))
}

// fill puts a value into the field of a name.
func (b *browser) fill(name, value string) {
	b.t.Helper()
	field := chromedp.CSS(`[name="` + name + `"]:not([type=hidden])`)
	b.do("filling "+name, chromedp.WaitVisible(field), chromedp.Clear(field), chromedp.SendKeys(field, value))
}

// press presses what a selector finds, and waits for the page that follows.
func (b *browser) press(selector string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 2*time.Minute)
	defer cancel()
	if _, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible)); err != nil {
		b.fail("pressing "+selector, err)
	}
}

// button presses the button, or link, that shows a text, and waits for the page that follows.
func (b *browser) button(text string) {
	b.t.Helper()
	found := b.eval(fmt.Sprintf(`(() => {
		for (const e of document.querySelectorAll("[data-pressed]")) e.removeAttribute("data-pressed");
		const e = [...document.querySelectorAll("button, a, summary")].find((e) => e.textContent.trim() === %q && e.checkVisibility());
		e?.setAttribute("data-pressed", "");
		return String(Boolean(e));
	})()`, text))
	if found != "true" {
		b.fail("pressing "+text, fmt.Errorf("there is no such button"))
	}
	b.press("[data-pressed]")
}

// eval returns what an expression of JavaScript is, as text.
func (b *browser) eval(expression string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 2*time.Minute)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[string](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.fail("evaluating", err)
	}
	return value
}

// text returns what the page shows.
func (b *browser) text() string { b.t.Helper(); return b.eval(`document.body.innerText`) }

// path returns where the browser is, without scheme and host.
func (b *browser) path() string { b.t.Helper(); return b.eval(`location.pathname + location.search`) }

// shows fails unless the page shows every text, and none of those that begin with "!".
func (b *browser) shows(texts ...string) {
	b.t.Helper()
	page := b.text()
	for _, text := range texts {
		without := strings.TrimPrefix(text, "!")
		if strings.Contains(page, without) != (without == text) {
			b.t.Errorf("the page at %s is wrong about %q:\n%s", b.path(), text, page)
		}
	}
}

// authenticator gives the browser a passkey authenticator that always finds its
// person's finger.
func (b *browser) authenticator() webauthn.AuthenticatorID {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, webauthn.Enable, webauthn.EnableParams{}); err != nil {
		b.fail("enabling authenticators", err)
	}
	made, err := chromedp.Call(b.ctx, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
		HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
	}})
	if err != nil {
		b.fail("making an authenticator", err)
	}
	return made.AuthenticatorID
}

// pageWeight is the most that a page weighs with all that it loads, in bytes.
const pageWeight = 150_000

// lookAt opens a page, or takes the one that is shown if address is "", as people see it, light and dark, wide and as narrow as a phone:
// keeps a picture of each under artefacts/, and fails if it is wider than a phone, too
// heavy, or a barrier by axe's judgement.
func lookAt(t *testing.T, b *browser, name, address string) {
	t.Helper()
	dir := filepath.Join("..", "..", "artefacts", "console")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	axe, err := os.ReadFile(filepath.Join("..", "..", "tools", "axe", "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatalf("axe-core is not installed; scripts/setup installs it: %v", err)
	}
	if address != "" {
		b.open(address)
	}
	routed(t, name, b.eval(`location.pathname`))
	lookHere(t, b, name, dir, string(axe))
}

func lookHere(t *testing.T, b *browser, name, dir, axe string) {
	t.Helper()
	defer b.do("ending the emulation", chromedp.EmulateReset())
	for _, view := range []struct {
		name          string
		width, height int64
	}{{"wide", 1280, 800}, {"phone", 360, 740}} {
		for _, scheme := range []string{"light", "dark"} {
			b.do("emulating "+view.name, chromedp.EmulateViewport(view.width, view.height))
			if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
			}); err != nil {
				b.fail("emulating "+scheme, err)
			}
			if wide := b.eval(`String(document.documentElement.scrollWidth - document.documentElement.clientWidth)`); wide != "0" {
				t.Errorf("%s, %s: the page is %s pixels wider than the screen", name, view.name, wide)
			}
			picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
			if err != nil {
				b.fail("taking a picture of "+name, err)
			}
			if err := os.WriteFile(filepath.Join(dir, name+"-"+view.name+"-"+scheme+".png"), picture, 0o644); err != nil {
				t.Fatal(err)
			}
			if b.eval(`typeof axe`) == "undefined" {
				b.eval(axe + `;"loaded"`)
			}
			found := b.eval(`axe.run(document, {resultTypes: ["violations"]}).then((r) => JSON.stringify(r.violations.map((v) => ({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.map((n) => n.html + " – " + n.any.map((a) => a.message).join("; "))}))))`)
			var violations []struct {
				ID, Impact, Help string
				Nodes            []string
			}
			if err := json.Unmarshal([]byte(found), &violations); err != nil {
				t.Fatalf("axe said %q: %v", found, err)
			}
			for _, v := range violations {
				if v.Impact == "serious" || v.Impact == "critical" {
					t.Errorf("%s, %s, %s: %s (%s): %s\n  %s", name, view.name, scheme, v.ID, v.Impact, v.Help, strings.Join(v.Nodes, "\n  "))
				} else {
					t.Logf("%s, %s, %s: %s (%s): %s", name, view.name, scheme, v.ID, v.Impact, v.Help)
				}
			}
		}
	}
	weight := b.eval(`String([...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")].reduce((n, e) => n + e.decodedBodySize, 0))`)
	var bytes int
	if _, err := fmt.Sscan(weight, &bytes); err != nil || bytes == 0 || bytes > pageWeight {
		t.Errorf("%s weighs %s bytes; at most %d", name, weight, pageWeight)
	}
	b.quiet()
}
