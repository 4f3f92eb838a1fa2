package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// until waits until an expression of JavaScript is true on the page.
func (b *browser) until(what, expression string) {
	b.t.Helper()
	if got := b.eval(fmt.Sprintf(`new Promise((done) => {
		const until = Date.now() + 30000;
		const look = () => { if (%s) done("true"); else if (Date.now() > until) done("false"); else setTimeout(look, 100); };
		look();
	})`, expression)); got != "true" {
		b.fail(what, fmt.Errorf("it did not come"))
	}
}

// file returns what an address of the console answers, asked for by its page.
func (b *browser) file(path string) string {
	b.t.Helper()
	return b.eval(fmt.Sprintf(`fetch(%q).then((r) => r.text())`, path))
}

// gatehouse runs a command beside the demo and returns what it printed.
func (s *showcase) gatehouse(args ...string) string {
	s.t.Helper()
	c := exec.Command(os.Args[0], append(args, "--config", s.ready.Config)...)
	c.Env = append(os.Environ(), asProgram+"=1")
	out, err := c.Output()
	if err != nil {
		s.t.Fatalf("%v: %v", args, err)
	}
	return string(out)
}

// TestConsoleTraffic looks at the pages about what passes and whose it is, in a demo
// that has traffic, and does with them what an operator would.
func TestConsoleTraffic(t *testing.T) {
	s := startShowcase(t)
	b := s.owner()

	// The overview draws itself again when there are figures.
	b.open(s.at("/"))
	b.shows("Nothing needs doing now.", "Nearest deadline", "writable", "answers")
	b.until("the first plot", `document.querySelector(".plot svg polyline, .plot svg circle")`)
	if without := b.eval(`[...document.querySelectorAll(".tiles > *")].filter((e) => !e.matches("a[href]") && !e.querySelector("a[href]")).map((e) => e.innerText).join("; ")`); without != "" || b.eval(`String(document.querySelectorAll(".tiles > *").length > 15)`) != "true" {
		t.Errorf("figures that open nothing: %s", without)
	}
	lookAt(t, b, "overview", "")
	lookAt(t, b, "overview-day", s.at("/?of=day"))

	t.Run("calls", func(t *testing.T) {
		b.open(s.at("/calls"))
		b.shows("GET /2/users/me", "done")
		first := b.eval(`document.querySelector("tbody tr code").closest("[title]").title`)
		b.until("a call that was made meanwhile", `document.querySelector("tbody tr code").closest("[title]").title !== `+fmt.Sprintf("%q", first))
		lookAt(t, b, "calls", "")
		b.open(s.at("/calls?outcome=refuse"))
		b.shows("refused", "!200", "refuse/undeclared-call")
		lookAt(t, b, "calls-none", s.at("/calls?service=nobody"))
	})

	t.Run("flows", func(t *testing.T) {
		lookAt(t, b, "flows", s.at("/flows"))
		b.shows("collector.example", "stopped", "publish")
		var export struct{ Flows []map[string]any }
		if err := json.Unmarshal([]byte(b.file("/flows/export.json?days=30")), &export); err != nil || len(export.Flows) == 0 {
			t.Errorf("the export as JSON: %v, %d flows", err, len(export.Flows))
		}
		lines := strings.Split(strings.TrimSpace(b.file("/flows/export.csv?days=30")), "\n")
		if len(lines) != len(export.Flows)+1 || !strings.HasPrefix(lines[0], "kind,verdict,source") {
			t.Errorf("the export as CSV has %d lines: %s", len(lines), lines[0])
		}
	})

	t.Run("connections", func(t *testing.T) {
		b.open(s.at("/connections?state=healthy&app=demo-x"))
		b.shows("demo-x", "publish", "healthy")
		lookAt(t, b, "connections", s.at("/connections"))
		lookAt(t, b, "everything", s.at("/connections/everything"))
		b.shows("Cut off every connection", "X's app-only bearer")
		lookAt(t, b, "connections-none", s.at("/connections?state=reconnect_needed"))
		b.shows("No connection fits")
		b.open(s.at("/connections?state=healthy&app=demo-x"))
		b.press("tbody tr:last-child a")
		b.shows("Scopes", "tweet.read", "Handles", "Renewals", "In the log", "Revoke this connection")
		lookAt(t, b, "connection", "")
		b.fill("typed", "rewoke")
		b.allow("400")
		b.press(".dangerous button")
		b.shows("is not the word that was asked for, so nothing was done")
		b.button("Back")
		b.fill("typed", "revoke")
		b.press(".dangerous button")
		b.shows("It is revoked.", "revoked", "The platform confirmed", "!Revoke this connection")
		lookAt(t, b, "connection-revoked", "")
		b.shows("connect.revoke")
	})

	t.Run("people", func(t *testing.T) {
		lookAt(t, b, "people", s.at("/people"))
		b.fill("name", "nobody at all")
		b.button("Look up")
		b.shows("Nothing is held of anybody of this name.")
		b.fill("name", "grace")
		b.button("Look up")
		if strings.Contains(b.path(), "number") {
			t.Errorf("somebody whose grant is held is shown as a number: %s", b.path())
		}
		if !strings.Contains(b.text(), "Several people") {
			b.fail("finding grace", fmt.Errorf("there is one connection at each platform, so there are two people"))
		}
		lookAt(t, b, "people-several", "")
		b.press("tbody a")
		b.shows("grace", "Where their data went", "In the log", "Erase this person")
		if strings.Contains(b.path(), "grace") {
			t.Errorf("a name stands in an address: %s", b.path())
		}
		lookAt(t, b, "person", "")
		person := b.path()
		lookAt(t, b, "person-number", s.at("/people/number/1"))
		b.open(s.at(person))
		b.fill("typed", "erase")
		b.press(".dangerous button")
		b.shows("The duty is open", "Deadline", "Steps")
		duty := b.path()
		lookAt(t, b, "duty", "")
		for range 60 {
			if strings.Contains(b.text(), "Closed, with an entry of the log as proof") && strings.Contains(b.text(), "Proof") {
				break
			}
			b.eval(`new Promise((done) => setTimeout(() => done(""), 500))`)
			b.open(s.at(duty))
		}
		b.shows("done", "Everything that was held here is destroyed", "Proof")
		lookAt(t, b, "duty-done", "")
		b.press(".pairs a")
		b.shows("erased", "!grace", "!Erase this person", "That you looked is in the log.")
		lookAt(t, b, "person-erased", "")
		b.open(s.at("/people"))
		b.shows("Open duties")
	})

	// All of it is in the log, under the account of whoever did it.
	for _, action := range []string{"connect.revoke", "duty.open", "audit.search", "lineage.ask"} {
		entries := s.gatehouse("audit", "search", "--action", action, "--json", "-n", "200")
		if !strings.Contains(entries, `"operator":"`) {
			t.Errorf("no entry %s says which operator did it:\n%s", action, entries)
		}
		if strings.Contains(entries, "grace") || strings.Contains(entries, "ada@") {
			t.Errorf("an entry %s names somebody in clear:\n%s", action, entries)
		}
	}
	b.quiet()
}
