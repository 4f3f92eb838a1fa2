package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/config"
	"gatehouse/internal/lineage"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"
)

// another is the same text but for one character behind its middle.
func another(text string) string {
	b := []byte(text)
	for i := len(b) / 2; ; i++ {
		switch c := b[i]; {
		case c >= 'a' && c < 'z', c >= 'A' && c < 'Z', c >= '0' && c < '9':
			b[i]++
			return string(b)
		}
	}
}

// A credential of a platform's, of the app's registration or of Gatehouse's does not
// leave, wherever and however it is written, and one that looks like it does.
func TestNoTokenLeaves(t *testing.T) {
	h := newHouse(t)
	party, open := newStranger(t, "party.example", false), newStranger(t, "open.example", true)
	h.edit(widen(party.declare("pseudonymous-id, username, name, email, phone, profile-link, post-id, message-id") + open.declare("")))
	h.start()
	x := h.connectPerson(demoX, "ada", h.box.People()[0])
	h.connectPerson(demoFacebook, "ada", h.box.People()[0])
	apps := h.box.Apps()
	secrets := map[string]string{
		"X's access token": h.issued("x access token"), "X's refresh token": h.issued("x refresh token"),
		"Facebook's token": h.issued("facebook user token"), "X's client secret": apps.X.ClientSecret, "X's consumer secret": apps.X.ConsumerSecret,
		"Facebook's app secret": apps.Facebook.AppSecret, "Facebook's app token": apps.Facebook.AppID + "|" + apps.Facebook.AppSecret,
		"a handle": x.Handle, "a service key": h.key,
	}
	clients := []*http.Client{h.outside("publish", false), h.outside("publish", true)}
	for name, text := range secrets {
		ours := strings.HasPrefix(text, "gth_")
		for i, d := range disguises() {
			for _, s := range []*stranger{party, open} {
				base := "https://" + s.host
				if s == open {
					base = "http://" + s.host
					if d.name == "gzip" || d.name == "trailer" {
						continue // over plain http, neither passes at all
					}
				}
				client := clients[i%2]
				rule, document := refusal(t, client, d.make(t, base, text))
				if rule != "lineage/stopped" && !(ours && rule == "refuse/handle-inside") && !(rule == "cut" && begins(d)) {
					t.Errorf("%s in %s of %s: %q", name, d.name, base, rule)
				}
				if strings.Contains(document, text) {
					t.Errorf("%s in %s of %s: the refusal says it", name, d.name, base)
				}
				// Of ours, what begins like one is refused already.
				if ours {
					continue
				}
				if rule, _ := refusal(t, client, d.make(t, base, another(text))); rule != "" {
					t.Errorf("not quite %s in %s of %s: %q", name, d.name, base, rule)
				}
			}
		}
		n := talk(t, clients[0], "wss://party.example/socket", []byte("hello"), []byte(`{"token":"`+text+`"}`))
		m := talk(t, clients[0], "wss://party.example/socket", []byte("hello"), []byte(base64.StdEncoding.EncodeToString([]byte(text))))
		if n != 1 || m != 1 {
			t.Errorf("%s in a message: %d and %d were answered, want 1", name, n, m)
		}
		for _, s := range []*stranger{party, open} {
			s.without(t, name, text)
		}
	}

	// In report mode, too.
	h.stop()
	h.edit(func(text string) string {
		return text + "mode: report\nuntil: " + time.Now().AddDate(0, 0, 20).Format(time.DateOnly) + "\n"
	})
	h.start()
	client := h.outside("publish", true)
	for name, text := range secrets {
		eventually(t, "it is stopped in report mode: "+name, func() bool {
			rule, _ := refusal(t, client, outgoing(t, http.MethodPost, "https://party.example/report", strings.NewReader(base64.StdEncoding.EncodeToString([]byte(text)))))
			return rule == "lineage/stopped"
		})
	}
	if code := h.stop(); code != 0 {
		t.Errorf("it ended with %d:\n%s", code, h.stderr)
	}
	out := h.must("lineage", "destination", "party.example", "--csv")
	if !strings.Contains(out, "secret") {
		t.Errorf("the flows: %s", out)
	}
	h.must("audit", "verify")
	noTokens(t, h.box, "the flows", []byte(out))
	noTokens(t, h.box, "the program's log", []byte(h.stderr.String()))
	noTokensInFiles(t, h.box, h.dir)
}

// begins reports whether a destination may see a beginning of the request, so that what
// follows is cut off.
func begins(d disguise) bool { return strings.HasPrefix(d.name, "chunks") || d.name == "trailer" }

// without fails the test if a text stands in what the stranger received, in any writing.
func (s *stranger) without(t *testing.T, name, text string) {
	t.Helper()
	std := base64.StdEncoding.EncodeToString([]byte(text))
	for _, writing := range []string{
		text, percented(text), percented(percented(text)), escapedJSON(text), entities(text), strings.TrimRight(std, "="),
		strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(std, "=")), fmt.Sprintf("%x", text), gzipped(t, text),
	} {
		if s.heard(writing) {
			t.Errorf("%s got %s as %.12q…", s.host, name, writing)
		}
	}
}

// A token is recognised as soon as the platform gave it: storing its fingerprint for
// others comes later, and nothing runs here that would.
func TestTokensAreRecognisedAtOnce(t *testing.T) {
	p := assembled(t, sealingConfig)
	newGuarding(p).token(t.Context(), "", secret.New("tok-8f7e6d5c4b3a2910"))
	for text, want := range map[string]string{"tok-8f7e6d5c4b3a2910": "lineage/stopped", "tok-8f7e6d5c4b3a2911": ""} {
		s := p.lineage.Search(lineage.Transfer{Service: "web", Destination: "a.example", Report: true})
		s.Text("header", "Authorization", "Bearer "+text)
		if err := s.End(t.Context()); wire.RuleOf(err) != want {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
		s.Close()
	}
}

// A token that was renewed is recognised before it can be used, and soon in other
// processes on the same database.
func TestRenewedTokensDoNotLeave(t *testing.T) {
	h := newHouseOn(t, storetest.EmptyPostgres(t))
	party, late := newStranger(t, "party.example", false), newStranger(t, "late.example", false)
	h.edit(widen(party.declare("") + late.declare("")))
	h.start()
	x := h.connectPerson(demoX, "ada", h.box.People()[0])
	second := h.second()
	second.start()

	before := h.issued("x access token")
	if !h.box.Revoke(before) {
		t.Fatal("the token cannot be revoked")
	}
	if status, b, err := h.call(t.Context(), http.MethodGet, "/x/2/users/me", x.Handle, nil); err != nil || status != http.StatusOK {
		t.Fatalf("after the token was revoked: %d %s, %v", status, b, err)
	}
	access, refresh := h.issued("x access token"), h.issued("x refresh token")
	if access == before {
		t.Fatal("the token was not renewed")
	}
	send := func(client *http.Client, s *stranger, text string) string {
		rule, _ := refusal(t, client, outgoing(t, http.MethodPost, "https://"+s.host+"/", strings.NewReader(`{"t":"`+escapedJSON(text)+`"}`)))
		return rule
	}
	client := h.outside("publish", true)
	for _, text := range []string{before, access, refresh} {
		if rule := send(client, party, text); rule != "lineage/stopped" {
			t.Errorf("in the process that renewed it: %q", rule)
		}
		if rule := send(client, party, another(text)); rule != "" {
			t.Errorf("not quite: %q", rule)
		}
	}
	other := second.outside("publish", true)
	for _, text := range []string{before, access, refresh} {
		eventually(t, "the other process recognises it", func() bool { return send(other, late, text) == "lineage/stopped" })
		if rule := send(other, party, text); rule != "lineage/stopped" {
			t.Errorf("in the other process: %q", rule)
		}
		party.without(t, "a token", text)
	}
	if code := second.stop(); code != 0 {
		t.Errorf("the other process ended with %d:\n%s", code, second.stderr)
	}
	h.stop()
	noTokens(t, h.box, "the program's log", []byte(h.stderr.String()+second.stderr.String()))
}

// second is another process on the same database, with listeners of its own.
func (h *house) second() *house {
	h.t.Helper()
	text, err := os.ReadFile(h.config)
	if err != nil {
		h.t.Fatal(err)
	}
	cfg := h.load()
	for _, address := range []string{cfg.Listen.App, cfg.Listen.Proxy, cfg.Listen.Public, cfg.Listen.Console} {
		at := strings.LastIndexByte(address, ':')
		port, err := strconv.Atoi(address[at+1:])
		if err != nil {
			h.t.Fatal(err)
		}
		text = bytes.ReplaceAll(text, []byte(address), []byte(address[:at+1]+strconv.Itoa(port+6)))
	}
	path := filepath.Join(h.dir, "second.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		h.t.Fatal(err)
	}
	if _, _, err := config.Load(path, resolver()); err != nil {
		h.t.Fatal(err)
	}
	s := &house{t: h.t, dir: h.dir, config: path, box: h.box, key: h.key, client: h.client, stderr: &lockedBuffer{}}
	h.t.Cleanup(s.kill)
	return s
}
