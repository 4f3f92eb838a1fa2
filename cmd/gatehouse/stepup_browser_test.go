package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity/factor/factortest"
)

// A person in a real browser, with a real page's script and an authenticator: a first
// passkey, a proof, an authenticator app beside it, a recovery code, a proof that is
// recent enough, and a change of mind.
func TestStepupInABrowser(t *testing.T) {
	h := newHouse(t)
	h.start()
	app := h.appOf()
	b := newBrowser(t)
	b.allow("status of 422") // a wrong code's page
	b.authenticator()
	axe, err := os.ReadFile(filepath.Join("..", "..", "tools", "axe", "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatalf("axe-core is not installed; scripts/setup installs it: %v", err)
	}
	pictures := filepath.Join("..", "..", "artefacts", "stepup")
	if err := os.MkdirAll(pictures, 0o755); err != nil {
		t.Fatal(err)
	}
	look := func(name string) { t.Helper(); lookHere(t, b, name, pictures, string(axe)) }
	ask := func(button string) {
		t.Helper()
		b.open(app.self + "/")
		b.eval(`document.querySelector("#confirm [name=subject]").value = "ada"; ""`)
		b.button(button)
	}

	listening(t, app)
	ask("Delete my account")
	b.shows("Protect your account", "Delete everything that this app has of ada", "ada@example.com", "!Passkeys need a script")
	look("setup")
	b.button("Set up a passkey")
	b.shows("Keep these recovery codes", "they are not shown again")
	look("codes")
	codes := strings.Fields(b.eval(`[...document.querySelectorAll("#codes code")].map((c) => c.textContent).join(" ")`))
	if len(codes) != 10 {
		t.Fatalf("there are %d recovery codes", len(codes))
	}
	b.button("I have kept them. Continue")
	b.shows("Confirmed by ada, with a passkey: Delete everything that this app has of ada", "set up just now", "Recovery codes left: 10")
	b.quiet()

	ask("Delete my account")
	b.shows("Confirm that it is you", "Use your passkey", "!Code from your authenticator app")
	b.button("Use your passkey")
	b.shows("Confirmed by ada, with a passkey", "!set up just now")

	// This browser has just proved it.
	ask("…unless I proved it lately")
	b.shows("Confirmed by ada, with a passkey")

	ask("Add another factor")
	b.button("Use your passkey")
	b.shows("Add a second factor", "An authenticator app")
	look("add")
	b.button("Set up an app")
	b.shows("Set up your authenticator app", "scan this picture")
	key := strings.ReplaceAll(b.eval(`document.querySelector(".key code").textContent`), " ", "")
	look("confirm")
	b.fill("code", "000000")
	b.button("Done")
	b.shows("That code is not right")
	b.fill("code", factortest.Code(t, key, time.Now()))
	b.button("Done")
	b.shows("It is set up. Go on to the app.")
	look("saved")
	b.button("Continue")
	b.shows("Confirmed by ada, with an authenticator app", "set up just now", "Recovery codes left: 10")

	ask("Delete my account")
	b.shows("Use your passkey", "Code from your authenticator app")
	look("prove")
	b.fill("code", "000000")
	b.button("Confirm with the code")
	b.shows("That code is not right")
	look("wrong")
	b.fill("code", factortest.Code(t, key, time.Now().Add(30*time.Second)))
	b.button("Confirm with the code")
	b.shows("Confirmed by ada, with an authenticator app")

	ask("Delete my account")
	b.eval(`document.querySelector("details").open = true; document.querySelector("#recovery").value = "` + codes[0] + `"; ""`)
	look("recovery")
	b.button("Confirm with a recovery code")
	b.shows("Confirmed by ada, with a recovery code", "Recovery codes left: 9")

	ask("Delete my account")
	b.button("Cancel and go back")
	b.shows("Not confirmed: The person did not go on.")
	b.quiet()

	// The app was told of each new factor.
	out, errOut, code := h.gatehouse("events", "list", "--type", "stepup.enrolled", "--json")
	if code != 0 || strings.Count(out, `"stepup.enrolled"`) != 2 {
		t.Errorf("events: %d %s %s", code, out, errOut)
	}
	for _, secret := range append(codes, key) {
		if strings.Contains(h.stderr.String(), secret) {
			t.Error("the program's log holds a recovery code or a key")
		}
	}
}
