package examples_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// exchange is one call as a client made it, and what the client received.
type exchange struct {
	method, uri string
	header      http.Header
	status      int
	body        []byte
}

// wiretap stands between the clients and Gatehouse and hears what they receive.
type wiretap struct {
	url, caFile string
	client      *http.Client // trusts Gatehouse
	mu          sync.Mutex
	heard       []exchange
}

func newWiretap(d *demo) *wiretap {
	t := d.t
	target, err := url.Parse(d.ready.App)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(d.ready.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	w := &wiretap{client: &http.Client{Transport: transport, Timeout: time.Minute}}
	server := httptest.NewTLSServer(&httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // by which links lead back, and signatures are checked
		},
		ModifyResponse: func(res *http.Response) error {
			body, err := io.ReadAll(res.Body)
			res.Body = io.NopCloser(bytes.NewReader(body))
			w.mu.Lock()
			defer w.mu.Unlock()
			w.heard = append(w.heard, exchange{res.Request.Method, res.Request.URL.RequestURI(), res.Request.Header.Clone(), res.StatusCode, body})
			return err
		},
	})
	t.Cleanup(server.Close)
	w.url, w.caFile = server.URL, filepath.Join(t.TempDir(), "ca.pem")
	both := append(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})...)
	if err := os.WriteFile(w.caFile, both, 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

// take returns what was heard since it was last asked.
func (w *wiretap) take() []exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	heard := w.heard
	w.heard = nil
	return heard
}

// again makes a call that a client made, past the wiretap.
func (w *wiretap) again(t *testing.T, d *demo, e exchange) exchange {
	t.Helper()
	req, err := http.NewRequest(e.method, d.ready.App+e.uri, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = e.header.Clone()
	res, err := w.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if e.body, err = io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	e.status = res.StatusCode
	return e
}

var purposesSection = regexp.MustCompile(`(?s)\npurposes:\n.*\nservices:`)

// configure changes the configuration, checks it, and has the demo apply it.
func (d *demo) configure(change func(text string) string) {
	d.t.Helper()
	text, err := os.ReadFile(d.ready.Config)
	if err != nil {
		d.t.Fatal(err)
	}
	changed := change(string(text))
	if changed == string(text) {
		d.t.Fatal("the change changes nothing")
	}
	if err := os.WriteFile(d.ready.Config, []byte(changed), 0o600); err != nil {
		d.t.Fatal(err)
	}
	d.gatehouse("config", "check")
	const applied = `"configuration applied"`
	before := bytes.Count(d.log.Bytes(), []byte(applied))
	if err := d.process.Process.Signal(syscall.SIGHUP); err != nil {
		d.t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); bytes.Count(d.log.Bytes(), []byte(applied)) == before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			d.t.Fatalf("the configuration was not applied:\n%s", last(d.log.Bytes(), 3000))
		}
	}
}

// gatehouse runs a command that must succeed.
func (d *demo) gatehouse(args ...string) []byte {
	d.t.Helper()
	out, err := exec.Command(d.program, append(args, "--config", d.ready.Config)...).CombinedOutput()
	if err != nil {
		d.t.Fatalf("gatehouse %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// has reports whether a reply holds a field, in any of its objects: on the Graph
// through its pages, on X in data.
func has(v any, path []string) bool {
	switch v := v.(type) {
	case []any:
		return slices.ContainsFunc(v, func(e any) bool { return has(e, path) })
	case map[string]any:
		if below, ok := v["data"]; ok && has(below, path) {
			return true
		}
		below, ok := v[path[0]]
		return ok && (len(path) == 1 || has(below, path[1:]))
	}
	return false
}

func holds(t *testing.T, e exchange, field string) bool {
	t.Helper()
	var v any
	if err := json.Unmarshal(e.body, &v); err != nil {
		t.Fatalf("%s %s: %v\n%s", e.method, e.uri, err, e.body)
	}
	return has(v, strings.Split(field, "."))
}

// of returns those exchanges that are the named operation.
func of(operation string, list []exchange) (out []exchange) {
	method, path, _ := strings.Cut(operation, " ")
	pattern := regexp.QuoteMeta(path)
	pattern = regexp.MustCompile(`\\\{[^}]*\\\}`).ReplaceAllString(pattern, `[0-9_]+`)
	form := regexp.MustCompile(`^(/x|/meta)?(/v[0-9.]+)?` + pattern + `$`)
	for _, e := range list {
		path, _, _ := strings.Cut(e.uri, "?")
		if e.method == method && form.MatchString(path) {
			out = append(out, e)
		}
	}
	return out
}

// without takes a field away from one call of a purposes section.
func without(t *testing.T, section, operation, field string) string {
	t.Helper()
	at := regexp.MustCompile(`(?s)- call: ` + regexp.QuoteMeta(operation) + `\n.*?fields: \[[^\]]*\]`).FindStringIndex(section)
	if at == nil {
		t.Fatalf("the suggestion has no %s with fields:\n%s", operation, section)
	}
	call := section[at[0]:at[1]]
	open := strings.LastIndexByte(call, '[')
	fields := strings.Split(strings.TrimSuffix(call[open+1:], "]"), ", ")
	rest := slices.DeleteFunc(slices.Clone(fields), func(f string) bool { return f == field })
	if len(rest) == len(fields) {
		t.Fatalf("%s has no field %s: %q", operation, field, fields)
	}
	return section[:at[0]] + call[:open] + "[" + strings.Join(rest, ", ") + "]" + section[at[1]:]
}

// TestNarrowestContracts is the way from report mode to narrow contracts: the
// clients work under a configuration that declares calls alone; what 'policy
// suggest' writes is put in its place and enforced; they still work; and each field
// that is then taken away is absent from what they receive.
func TestNarrowestContracts(t *testing.T) {
	d := startDemo(t)
	tap := newWiretap(d)
	goClient := filepath.Join(t.TempDir(), "client")
	build := exec.Command("go", "build", "-o", goClient, ".")
	build.Dir = "go-client"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	clients := []struct {
		dir     string
		command []string
		// What can be taken away without the client asking for it.
		operation, field string
	}{
		{"xdk", []string{"npm", "start", "--silent"}, "GET /2/tweets/search/recent", "edit_history_tweet_ids"},
		{"go-client", []string{goClient}, "GET /2/users/{id}/followers", "name"},
		{"curl", []string{"./main.sh"}, "GET /2/users/me", "name"},
		{"twitter-api-v2", []string{"npm", "start", "--silent"}, "POST /2/tweets", "text"},
		{"facebook-nodejs-business-sdk", []string{"npm", "start", "--silent"}, "POST /{page-id}/feed", "id"},
	}
	run := func(i int, extra ...string) []exchange {
		t.Helper()
		env := append([]string{
			"GATEHOUSE_URL=" + tap.url, "NODE_EXTRA_CA_CERTS=" + tap.caFile, "SSL_CERT_FILE=" + tap.caFile, "CURL_CA_BUNDLE=" + tap.caFile,
		}, extra...)
		d.client(clients[i].dir, env, clients[i].command[0], clients[i].command[1:]...)
		return tap.take()
	}

	d.configure(func(text string) string {
		loose := regexp.MustCompile(`, (params|body|fields): (\{[^}]*\}+|\[[^\]]*\])`)
		text = purposesSection.ReplaceAllStringFunc(text, func(s string) string { return loose.ReplaceAllString(s, "") })
		return strings.Replace(text, "\nlisten:", "\nmode: report\nuntil: "+time.Now().AddDate(0, 0, 30).Format(time.DateOnly)+"\nlisten:", 1)
	})
	for i := range clients {
		run(i, "REPORT=1")
	}
	// What was observed is stored when a configuration is applied.
	d.configure(func(text string) string { return strings.Replace(text, "rate: 200/s", "rate: 300/s", 1) })

	file := filepath.Join(t.TempDir(), "purposes.yaml")
	d.gatehouse("policy", "suggest", "--output", file)
	suggestion, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("suggested:\n%s", suggestion)
	narrow := func(section string) {
		t.Helper()
		d.configure(func(text string) string {
			text = regexp.MustCompile(`\nmode: report\nuntil: [^\n]*`).ReplaceAllString(text, "")
			return purposesSection.ReplaceAllLiteralString(text, "\n"+section[strings.Index(section, "purposes:"):]+"services:")
		})
	}
	narrow(string(suggestion))
	var heard []exchange
	for i := range clients {
		heard = append(heard, run(i)...)
	}

	for i, c := range clients {
		t.Run(c.dir, func(t *testing.T) {
			d.t = t
			had := of(c.operation, heard)
			if len(had) == 0 || !slices.ContainsFunc(had, func(e exchange) bool { return holds(t, e, c.field) }) {
				t.Fatalf("nobody receives %s of %s to begin with", c.field, c.operation)
			}
			narrow(without(t, string(suggestion), c.operation, c.field))
			got := of(c.operation, run(i))
			if len(got) == 0 {
				t.Fatalf("the client does not make %s", c.operation)
			}
			for _, e := range got {
				if e.status/100 != 2 || holds(t, e, c.field) {
					t.Errorf("with %s taken away, %s is answered %d\n%s", c.field, c.operation, e.status, e.body)
				}
			}
		})
	}
	d.t = t
	// Every field of every call that can be made again: it is absent, or who asks
	// for it is refused.
	tried := 0
	for _, m := range regexp.MustCompile(`(?s)- call: (GET [^\n]*)\n(?:[^-].*?)?fields: \[([^\]]+)\]`).FindAllStringSubmatch(string(suggestion), -1) {
		calls := of(m[1], heard)
		if len(calls) == 0 {
			continue // the demo's own traffic
		}
		for field := range strings.SplitSeq(m[2], ", ") {
			section := without(t, string(suggestion), m[1], field)
			if field == "id" && strings.Contains(m[2], "access_token") {
				section = without(t, section, m[1], "access_token") // which needs it
			}
			narrow(section)
			for _, e := range calls {
				if strings.HasPrefix(e.header.Get("Authorization"), "OAuth ") {
					continue // signed once
				}
				switch again := tap.again(t, d, e); {
				case again.status == http.StatusForbidden && bytes.Contains(again.body, []byte("refuse/undeclared-field")) && strings.Contains(e.uri, field):
				case again.status/100 != 2:
					t.Errorf("without %s, %s %s is answered %d\n%s", field, e.method, e.uri, again.status, again.body)
				case holds(t, again, field):
					t.Errorf("%s was taken away from %s, and is received:\n%s", field, m[1], again.body)
				}
				tried++
			}
		}
	}
	if tried < 15 {
		t.Errorf("only %d calls were made again", tried)
	}
	t.Logf("%d calls made again with a field less", tried)
}
