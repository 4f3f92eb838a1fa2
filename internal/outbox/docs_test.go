package outbox_test

import (
	"bufio"
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/outbox"
	"gatehouse/internal/store/storetest"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// The receiver that docs/events.md shows takes what we send, each event once,
// and refuses what is forged, old, or signed with another secret.
func TestDocumentedReceiver(t *testing.T) {
	document := must(os.ReadFile("../../docs/events.md"))(t)
	_, rest, _ := bytes.Cut(document, []byte("```js\n"))
	program, _, found := bytes.Cut(rest, []byte("```\n"))
	if !found {
		t.Fatal("docs/events.md shows no program")
	}
	path := filepath.Join(t.TempDir(), "receiver.mjs")
	if err := os.WriteFile(path, program, 0o600); err != nil {
		t.Fatal(err)
	}
	proxy := newApp(t, nil) // sees what is sent, and hands it on
	w := newWorld(t, storetest.SQLite(t), proxy.URL+"/events")

	node := exec.CommandContext(t.Context(), "node", path)
	node.Env = append(os.Environ(), "PORT=0", "EVENTS_SECRET="+w.secret())
	node.Stderr = os.Stderr
	out := must(node.StdoutPipe())(t)
	if err := node.Start(); err != nil {
		t.Fatalf("the documented receiver needs Node.js (scripts/setup installs it): %v", err)
	}
	t.Cleanup(func() {
		_ = node.Process.Kill()
		_ = node.Wait()
	})
	lines := bufio.NewScanner(out)
	lines.Scan()
	port, found := strings.CutPrefix(lines.Text(), "listening ")
	if !found {
		t.Fatalf("the receiver says %q", lines.Text())
	}
	post := func(d delivery) int {
		t.Helper()
		req := must(http.NewRequest(http.MethodPost, "http://127.0.0.1:"+port+"/", bytes.NewReader(d.body)))(t)
		req.Header = d.header.Clone()
		reply := must(http.DefaultClient.Do(req))(t)
		reply.Body.Close()
		return reply.StatusCode
	}
	proxy.mu.Lock()
	proxy.answer = func(rw http.ResponseWriter, d delivery, _ int) { rw.WriteHeader(post(d)) }
	proxy.mu.Unlock()

	w.put("one", "")
	w.run()
	eventually(t, proxy, "it is delivered", func() bool { return w.state("one").State == outbox.Delivered })
	d := proxy.deliveries()[0]
	if got := post(d); got != http.StatusNoContent { // a second time, as after a crash
		t.Errorf("delivered again: %d", got)
	}
	for name, change := range map[string]func(*delivery){
		"another body":    func(d *delivery) { d.body = append(bytes.Clone(d.body), ' ') },
		"another id":      func(d *delivery) { d.header.Set("webhook-id", "two") },
		"another time":    func(d *delivery) { d.header.Set("webhook-timestamp", "1000000000") },
		"no time":         func(d *delivery) { d.header.Del("webhook-timestamp") },
		"no signature":    func(d *delivery) { d.header.Del("webhook-signature") },
		"empty signature": func(d *delivery) { d.header.Set("webhook-signature", "v1,") },
		"another version": func(d *delivery) {
			d.header.Set("webhook-signature", strings.Replace(d.header.Get("webhook-signature"), "v1,", "v1a,", 1))
		},
	} {
		forged := delivery{header: d.header.Clone(), body: d.body}
		change(&forged)
		if got := post(forged); got != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, got)
		}
	}
	// Signed with the right secret at a time that is not now: a replay, and a near
	// miss of one.
	library := must(standardwebhooks.NewWebhook(w.secret()))(t)
	for age, want := range map[time.Duration]int{6 * time.Minute: 401, -6 * time.Minute: 401, 4 * time.Minute: 204, -4 * time.Minute: 204} {
		at := time.Now().Add(-age)
		old := delivery{header: d.header.Clone(), body: d.body}
		old.header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
		old.header.Set("webhook-signature", must(library.Sign("one", at, d.body))(t))
		if got := post(old); got != want {
			t.Errorf("signed %s ago: %d, want %d", age, got, want)
		}
	}
	if err := w.RotateSecret(t.Context(), outbox.MaxOverlap); err != nil { // both sign
		t.Fatal(err)
	}
	w.put("two", "")
	eventually(t, proxy, "the next is delivered", func() bool { return w.state("two").State == outbox.Delivered })
	if err := w.RotateSecret(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	w.put("three", "")
	eventually(t, proxy, "one with a new secret is refused", func() bool { return w.state("three").Class == "status/401" })
	_ = node.Process.Kill()
	var said []string
	for lines.Scan() {
		said = append(said, lines.Text())
	}
	if want := "event test.event one {\"n\":1}|event test.event two {\"n\":1}"; strings.Join(said, "|") != want {
		t.Errorf("the receiver acted on %q", said)
	}
}
