package main

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// scriptless has the browser run no page's script. What the test evaluates still runs.
func (b *browser) scriptless() {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		b.fail("switching scripts off", err)
	}
}

// TestConsoleWithoutScript: somebody whose browser runs no script enrols with a password
// and codes, signs in, reads every page, and does what is dangerous.
func TestConsoleWithoutScript(t *testing.T) {
	s := startShowcase(t)
	link := s.invite(s.owner(), "Margaret Test", "margaret@example.com", "owner")
	b := newBrowser(t)
	b.scriptless()
	b.open(s.at("/sign-in"))
	b.open(link)
	b.fill("link", link) // which a script would have done
	b.button("Go on")
	b.fill("password", "seven herons by the river")
	b.fill("repeat", "seven herons by the river")
	b.button("Go on to the authenticator app")
	seed := seedOf(b)
	code := func(ahead time.Duration) string {
		t.Helper()
		c, err := demoCode(seed, time.Now().Add(ahead))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	b.fill("code", code(0))
	b.button("Finish")
	b.button("I have kept them")
	b.button("Sign out")
	b.shows("You are signed out.")
	b.open(s.at("/sign-in"))
	b.fill("email", "margaret@example.com")
	b.fill("password", "seven herons by the river")
	b.button("Go on to the code")
	b.fill("code", code(30*time.Second))
	b.button("Go on")
	b.shows("Margaret Test", "Overview")

	var pages []string
	if err := json.Unmarshal([]byte(b.eval(`JSON.stringify([...document.querySelectorAll("nav a")].map((a) => a.getAttribute("href")))`)), &pages); err != nil || len(pages) < 14 {
		t.Fatalf("%d pages are linked: %v", len(pages), err)
	}
	for _, page := range pages {
		b.open(s.at(page))
		if b.eval(`String(document.querySelector("main h1") !== null && document.querySelector("main").innerText.length > 50)`) != "true" {
			t.Errorf("%s shows nothing:\n%s", page, b.text())
		}
		// What only a script can do is not offered.
		if shown := b.eval(`[...document.querySelectorAll("[data-copy], [data-live-pause]")].filter((e) => e.checkVisibility()).map((e) => e.outerHTML).join("\n")`); shown != "" {
			t.Errorf("%s offers what takes a script: %s", page, shown)
		}
	}
	b.open(s.at("/connections?state=healthy&app=demo-x"))
	b.press("tbody tr:last-child a")
	b.fill("typed", "revoke")
	b.press(".dangerous button")
	b.shows("It is revoked.", "The platform confirmed")
	b.open(s.at("/log/state"))
	b.button("Verify now")
	b.shows("Verif")
	b.quiet()
}

// TestConsoleByKeyboard: every page is used with a keyboard alone. The first stop leads past
// the navigation, each stop is seen and has a mark around it, nothing holds the keyboard,
// and a form is sent from it.
func TestConsoleByKeyboard(t *testing.T) {
	s := startShowcase(t)
	b := s.owner()
	b.do("making the window wide", chromedp.EmulateViewport(1280, 900))
	press := func(keys string) {
		t.Helper()
		b.do("pressing a key", chromedp.KeyEvent(keys))
	}
	// at is where the keyboard is: what it shows, whether that is on the screen, and what
	// marks it.
	type stop struct {
		Text         string
		Seen, Marked bool
	}
	at := func() (st stop) {
		t.Helper()
		text := b.eval(`(() => {
			const e = document.activeElement;
			if (!e || e === document.body) return "{}";
			const r = e.getBoundingClientRect(), style = getComputedStyle(e);
			return JSON.stringify({
				Text: (e.getAttribute("aria-label") || e.textContent || e.name || e.tagName).trim().slice(0, 40),
				Seen: r.width > 0 && r.height > 0 && r.bottom > 0 && r.right > 0 && r.top < innerHeight && r.left < innerWidth,
				Marked: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 || style.boxShadow !== "none",
			});
		})()`)
		if err := json.Unmarshal([]byte(text), &st); err != nil {
			t.Fatal(err)
		}
		return st
	}
	for _, page := range []string{"/", "/calls", "/connections", "/people", "/log", "/keys", "/operators", "/reviews", "/account"} {
		b.open(s.at(page))
		press(kb.Tab)
		if first := at(); !strings.Contains(first.Text, "content") || !first.Seen {
			t.Errorf("%s: the first stop is %+v; it leads past the navigation", page, first)
		}
		press(kb.Enter)
		if got := b.eval(`location.hash + " " + String(document.querySelector(location.hash) !== null)`); got != "#main true" {
			t.Errorf("%s: the first stop leads to %s", page, got)
		}
		b.open(s.at(page))
		count := b.eval(`String([...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']")].filter((e) => e.checkVisibility() && !e.disabled).length)`)
		var stops []string
		for range 400 {
			press(kb.Tab)
			st := at()
			if st.Text == "" {
				break // past the last
			}
			stops = append(stops, st.Text)
			if !st.Seen || !st.Marked {
				t.Errorf("%s: at %+v the keyboard is not to be seen", page, st)
			}
		}
		if len(stops) < 15 || len(stops) == 400 {
			t.Errorf("%s has %d stops, of %s: %v", page, len(stops), count, stops)
		}
		if !slices.ContainsFunc(stops, func(text string) bool { return text == "Sign out" }) {
			t.Errorf("%s: the keyboard does not come to the button that signs out: %v", page, stops)
		}
	}
	b.open(s.at("/people"))
	b.do("going to the field", chromedp.Focus(chromedp.CSS("[name=name]")))
	press("nobody at all")
	ctx, cancel := context.WithTimeout(b.ctx, 2*time.Minute)
	defer cancel()
	if _, err := chromedp.RunResponse(ctx, chromedp.KeyEvent(kb.Enter)); err != nil {
		b.fail("sending the form", err)
	}
	b.shows("Nothing is held of anybody of this name.")
	b.quiet()
}
