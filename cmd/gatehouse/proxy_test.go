package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/observe"
)

// Somebody without a key can have the proxy hold a header, but no long one.
func TestHeadersBeforeTheKey(t *testing.T) {
	h := newHouse(t)
	h.start()
	address, err := url.Parse(h.ready["proxy_listener"])
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(h.ready["ca_file"])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	for length, want := range map[int]string{12 << 10: "407", 24 << 10: "431"} {
		conn, err := tls.Dial("tcp", address.Host, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nX-A: %s\r\n\r\n", strings.Repeat("a", length)); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || !strings.Contains(line, want) {
			t.Errorf("%d bytes: %q, %v, want %s", length, line, err, want)
		}
	}
}

// A program that knows nothing of Gatehouse but HTTPS_PROXY, through the running
// command: to whom it may send, to whom it may not, and after a reload.
func TestAppBehindTheProxy(t *testing.T) {
	party := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello from ", r.Host) }))
	t.Cleanup(party.Close)
	ca := filepath.Join(t.TempDir(), "party.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: party.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	// httptest's certificate is for example.com.
	declare := "third_parties:\n  example.com: {purposes: [publish], address: " + fmt.Sprintf("%q", party.Listener.Addr()) + "}\n  refused.example: {purposes: [pages]}\n  collector"
	h := newHouseWith(t, "third_parties:\n  collector", declare)
	h.start()
	h.api() // makes the key
	began := time.Now().Add(-time.Second)
	proxy, err := url.Parse(h.ready["proxy_listener"])
	if err != nil || proxy.Scheme != "https" {
		t.Fatalf("the ready line says %v", h.ready)
	}
	curl := func(purpose, address string) (string, error) {
		t.Helper()
		u := *proxy
		u.User = url.UserPassword(purpose, h.key)
		c := exec.Command("curl", "-sS", "--max-time", "20", "--cacert", ca, "--proxy-cacert", h.ready["ca_file"], address)
		c.Env = append(os.Environ(), "HTTPS_PROXY="+u.String(), "http_proxy="+u.String())
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if out, err := curl("publish", "https://example.com/x"); err != nil || out != "hello from example.com" {
		t.Fatalf("%v: %s\n%s", err, out, h.stderr)
	}
	for address, purpose := range map[string]string{"https://example.org/": "publish", "https://refused.example/": "publish", "https://example.com/": "pages"} {
		if out, err := curl(purpose, address); err == nil || !strings.Contains(out, "403") {
			t.Errorf("%s for %s: %v %s", address, purpose, err, out)
		}
	}
	if out, err := curl("publish", "https://api.x.com/2/users/me"); err == nil {
		t.Errorf("a platform through the proxy: %s", out)
	}

	want := map[string]string{
		"example.com": "allow", "example.org publish": "refuse/unknown-destination", "example.com pages": "refuse/destination-purpose",
		"refused.example publish": "refuse/destination-purpose", "api.x.com publish": "egress/platform-host",
	}
	out := h.tunnelsInLog(want)
	if strings.Contains(out, h.key) || strings.Contains(h.stderr.String(), h.key) || strings.Contains(h.stderr.String(), "example.org") {
		t.Error("the log holds the key, or a host that a caller chose")
	}

	// A reload takes it away.
	text, err := os.ReadFile(h.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.config, bytes.Replace(text, []byte("example.com: {purposes: [publish],"), []byte("example.com: {purposes: [pages],"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.process.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); !strings.Contains(h.stderr.String(), "third_parties.example.com.purposes gains pages"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no word of the reload:\n%s", h.stderr)
		}
	}
	if out, err := curl("publish", "https://example.com/x"); err == nil {
		t.Errorf("after the reload: %s", out)
	}
	if out, err := curl("pages", "https://example.com/x"); err != nil || out != "hello from example.com" {
		t.Errorf("after the reload: %v %s", err, out)
	}
	if code := h.stop(); code != 0 {
		t.Errorf("it ended with %d:\n%s", code, h.stderr)
	}
	if out, errOut, code := h.gatehouse("audit", "verify"); code != 0 {
		t.Errorf("audit verify: %s%s", out, errOut)
	}
	h.partiesUnused()
	h.partiesUsed(began)
}

// partiesUnused checks which third parties of TestAppBehindTheProxy are listed: one was
// sent something, one was refused, one never asked for.
func (h *house) partiesUnused() {
	h.t.Helper()
	unused := func(args ...string) (hosts []string) {
		h.t.Helper()
		out, errOut, _ := h.gatehouse(append([]string{"policy", "unused", "--json"}, args...)...)
		var answer unusedAnswer
		if err := json.Unmarshal([]byte(out), &answer); err != nil {
			h.t.Fatalf("policy unused: %v\n%s%s", err, out, errOut)
		}
		for _, f := range answer.Unused {
			if f.Kind == observe.UnusedParty {
				hosts = append(hosts, f.Name)
			}
		}
		return hosts
	}
	if got := unused(); !slices.Equal(got, []string{"collector.example", "refused.example"}) {
		h.t.Errorf("unused third parties: %v", got)
	}
	if got := unused("--since", time.Now().AddDate(0, 0, 2).Format(time.DateOnly)); len(got) != 3 {
		h.t.Errorf("unused third parties since the day after tomorrow: %v", got)
	}
}

// partiesUsed checks when the third parties of TestAppBehindTheProxy are said to have
// been used last.
func (h *house) partiesUsed(began time.Time) {
	h.t.Helper()
	var list []thirdParty
	if err := json.Unmarshal([]byte(h.must("egress", "list", "--json")), &list); err != nil {
		h.t.Fatal(err)
	}
	for _, p := range list {
		if p.LastUsed == nil {
			h.t.Fatalf("%s: last_used is null", p.Host)
		}
		at, err := time.Parse(time.RFC3339Nano, *p.LastUsed)
		if used := p.Host == "example.com"; used && (err != nil || at.Before(began) || at.After(time.Now())) || !used && *p.LastUsed != "" {
			h.t.Errorf("%s was last used %q", p.Host, *p.LastUsed)
		}
	}
	if len(list) != 3 {
		h.t.Errorf("%d third parties", len(list))
	}
	// Its tunnel's end counts, to the very moment.
	db, err := openStore(h.t.Context(), h.load())
	if err != nil {
		h.t.Fatal(err)
	}
	defer db.Close()
	logs, err := searchLogs(h.t.Context(), db, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	ended, err := newestEntry(h.t.Context(), logs, audit.Query{Destination: "example.com", Kind: audit.KindOutcome})
	if err != nil || ended.IsZero() {
		h.t.Fatalf("the tunnel has no outcome: %v", err)
	}
	for since, want := range map[time.Time]int{ended: 1, ended.Add(time.Microsecond): 0} {
		last, err := lastSent(h.t.Context(), db, []string{"example.com", "refused.example"}, since)
		if err != nil || len(last) != want || want == 1 && !last["example.com"].Equal(ended) {
			h.t.Errorf("since %v: %v, %v, want %d", since, last, err, want)
		}
	}
	for line := range strings.Lines(h.must("egress", "list")) {
		host := strings.Fields(line)[0]
		if never := strings.HasSuffix(strings.TrimSpace(line), " -"); host != "HOST" && never == (host == "example.com") {
			h.t.Errorf("egress list says %s", line)
		}
	}
	// Without the database, what is declared is told all the same.
	text, err := os.ReadFile(h.config)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(h.config, bytes.Replace(text, []byte("gatehouse.db"), []byte("nowhere.db"), 1), 0o600); err != nil {
		h.t.Fatal(err)
	}
	out, errOut, code := h.gatehouse("egress", "list", "--json")
	if code != 0 || strings.Count(out, `"last_used": null`) != 3 || !strings.Contains(errOut, "warning: when they were last used is not known") {
		h.t.Errorf("without a database: %d\n%s%s", code, out, errOut)
	}
}

// tunnelsInLog waits until the log says what is wanted of each host (refusals join the
// next group of entries), and returns what it says.
func (h *house) tunnelsInLog(want map[string]string) string {
	h.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		out, errOut, code := h.gatehouse("audit", "show", "--action", "egress.tunnel", "--json", "--people")
		var entries []shownEntry
		if code != 0 || json.Unmarshal([]byte(out), &entries) != nil {
			h.t.Fatalf("audit show: %s", errOut)
		}
		seen := map[string]string{}
		for _, e := range entries {
			switch e.Kind {
			case audit.KindIntent:
				seen[e.Facts["host"]] = e.Verdict
			case audit.KindEvent:
				seen[e.Facts["host"]+e.People["host"]+" "+string(e.Purpose)] = e.Rule
			}
		}
		if maps.Equal(seen, want) {
			return out
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("the log says %v; want %v\n%s", seen, want, out)
		}
	}
}
