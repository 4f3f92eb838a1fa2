package main

import (
	"net/http"
	"strings"
	"testing"
)

// uses has a service use its key.
func (s *showcase) uses(key string) {
	s.t.Helper()
	cfg, err := readConfig(&options{config: s.ready.Config})
	if err != nil {
		s.t.Fatal(err)
	}
	client, err := demoClient(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.ready.App+"/gatehouse/v1/handles", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		s.t.Fatalf("a call with the key: %s", res.Status)
	}
}

// TestConsoleRules looks at the pages about what may pass and what it rests on, in a
// demo that has traffic, and does with them what an operator would.
func TestConsoleRules(t *testing.T) {
	s := startShowcase(t)
	b := s.owner()
	b.open(s.at("/calls"))
	b.until("a call", `document.querySelector("tbody tr code")`)

	t.Run("log", func(t *testing.T) {
		lookAt(t, b, "log", s.at("/log"))
		b.open(s.at("/log?action=call&severity=warning&since=24h"))
		b.shows("refuse", "!begun")
		b.allow("400")
		lookAt(t, b, "log-wrong", s.at("/log?code=nothing&rule=%27%3B+DROP+TABLE+x%3B--"))
		b.shows("no entry has such a code")
		lookAt(t, b, "log-none", s.at("/log?rule=%27%3B+DROP+TABLE+x%3B--&operation=%27+OR+1%3D1&destination=%27%22&fact=a%3D%27&since=24h"))
		b.shows("No entry fits")
		b.open(s.at("/log?action=call&verdict=done"))
		b.press("tbody td a")
		b.shows("Status of the answer", "What belongs to it", "Download the proof")
		if proof := b.file(b.path() + "/proof"); !strings.HasPrefix(proof, "c2sp.org/tlog-proof@v1") {
			t.Errorf("the proof is %.100q", proof)
		}
		b.press("tbody td a")
		b.shows("Sealed: ", "Open these fields")
		lookAt(t, b, "entry", "")
		b.button("Open these fields")
		b.shows("That you opened this is in the log", "!Sealed")
		lookAt(t, b, "entry-opened", "")
		b.open(s.at("/log?action=audit.reveal"))
		b.shows("audit.reveal")
		// That somebody's entries are looked for is recorded, once, and not among them.
		b.open(s.at("/connections"))
		connection := b.eval(`document.querySelector("tbody a").title`)
		b.open(s.at("/log?connection=" + connection))
		if rows := b.eval(`[...document.querySelectorAll("tbody td:nth-child(3)")].map((e) => e.innerText).join(" ")`); !strings.Contains(rows, "handle.create") || strings.Contains(rows, "audit.search") {
			t.Errorf("of connection %q the log has: %s", connection, rows)
		}
		b.open(s.at("/log?action=audit.search"))
		if n := b.eval(`String(document.querySelectorAll("tbody tr").length)`); n != "1" {
			t.Errorf("%s searches for somebody's entries are recorded, one was made", n)
		}
		lookAt(t, b, "in-doubt", s.at("/log/in-doubt?hours=24"))
		lookAt(t, b, "log-state", s.at("/log/state"))
		b.shows("writable", "not done yet")
		b.button("Verify now")
		b.until("the verification", `document.body.innerText.includes("complete and unaltered")`)
		b.shows("entries are as they were written")
		lookAt(t, b, "log-state-verified", "")
	})

	t.Run("keys", func(t *testing.T) {
		lookAt(t, b, "keys", s.at("/keys"))
		b.shows("Domain keys", "tokens@1", "personal@1", "root/")
		lookAt(t, b, "key", s.at("/keys/tokens"))
		b.fill("typed", "rotate")
		b.press(".dangerous button")
		b.shows("tokens@2 is active.")
		lookAt(t, b, "keys-rotated", "")
		b.open(s.at("/keys/tokens"))
		b.shows("tokens@2", "decrypt-only", "keys.rotate", "!Destroy tokens@1")
		// The keyring is made anew, and the page shows it without being loaded again.
		lookAt(t, b, "keyring", s.at("/keys/keyring"))
		b.fill("typed", "rotate")
		b.press(".dangerous button")
		b.shows("The keyring is being made anew.", "Making the keyring anew")
		b.until("the keyring is made anew", `document.querySelector("[data-live]").innerText.includes("keyring keys")`)
		b.shows("done", "keys of people")
		lookAt(t, b, "keys-moved", "")
		lookAt(t, b, "key-rotated", s.at("/keys/tokens@1"))
		b.shows("What needs it", "when a newer one seals", "!Destroy tokens@1")
	})

	t.Run("services", func(t *testing.T) {
		lookAt(t, b, "services", s.at("/services"))
		b.press("tbody tr a")
		b.shows("Make a key", "Cut off its handles", "Handles that work")
		lookAt(t, b, "service", "")
		service := b.path()
		b.button("Make a key")
		b.shows("It is not shown again.", "gth_svc_")
		lookAt(t, b, "service-key-made", "")
		id := b.eval(`document.querySelector("article .faint code").textContent`)
		lookAt(t, b, "service-key", s.at(service+"/keys/"+id))
		// The demo's own key is replaced, and works until it is finished.
		b.shows("Rotate this key", "Revoke this key", "!Its replacement")
		b.button("Make the new key")
		b.shows("It is not shown again.", "The old key works until")
		next := b.eval(`document.querySelector("article code").textContent`)
		lookAt(t, b, "service-key-rotated", "")
		b.button("Its page")
		b.shows("being replaced", "It was not used yet", "Nobody has the new key?", "Finish early")
		lookAt(t, b, "service-key-rotating", "")
		b.open(s.at(service + "/keys/" + id))
		b.eval(`String(document.querySelector("form[action$=again] input").value = "again")`)
		b.button("Make it again")
		b.shows("It is not shown again.", "!"+next)
		next = b.eval(`document.querySelector("article code").textContent`)
		s.uses(next)
		b.open(s.at(service + "/keys/" + id))
		b.eval(`String(document.querySelector("form[action$=end] input").value = "finish")`)
		b.button("End the old key")
		b.shows("The old key has ended.", "The old key ended", "!Finish early")
		lookAt(t, b, "service-key-finished", "")
		b.open(s.at(service))
		b.button("Make a key")
		id = b.eval(`document.querySelector("article .faint code").textContent`)
		b.open(s.at(service + "/keys/" + id))
		b.fill("typed", "revoke")
		b.press(".dangerous button")
		b.shows("The key is revoked.", "revoked")
		b.fill("typed", "cut off")
		b.press(".dangerous button")
		b.shows("Handles that were cut off")
	})

	t.Run("configuration", func(t *testing.T) {
		lookAt(t, b, "configuration", s.at("/configuration"))
		b.shows("the file is applied", "the same")
		b.eval(`String(document.querySelector("details:not(.menu)").open = true)`)
		b.shows("purposes:", "!#")
		lookAt(t, b, "configuration-text", "")
	})

	t.Run("purposes", func(t *testing.T) {
		lookAt(t, b, "purposes", s.at("/purposes"))
		b.shows("publish", "pages")
		lookAt(t, b, "purpose", s.at("/purposes/publish"))
		b.shows("POST /2/tweets", "declared", "Services that may call for it")
	})

	t.Run("third parties", func(t *testing.T) {
		lookAt(t, b, "destinations", s.at("/destinations"))
		b.shows("collector.example")
		lookAt(t, b, "destination", s.at("/destinations/collector.example"))
		b.shows("May receive", "Bytes sent")
	})
	b.quiet()
}
