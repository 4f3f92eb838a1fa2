package main

import (
	"bytes"
	crand "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/platform"
	"gatehouse/internal/sandbox"
	"gatehouse/internal/sandbox/world"
)

// beside makes another Gatehouse in front of the same sandbox: the one that a
// team moves to, or comes from.
func (h *house) beside() *house {
	h.t.Helper()
	other := &house{t: h.t, dir: h.t.TempDir(), stderr: &lockedBuffer{}, box: h.box}
	o := houseOptions(other.dir)
	cfg, err := o.configure(h.box)
	if err != nil {
		h.t.Fatal(err)
	}
	other.config = cfg.Path()
	if err := initialise(h.t.Context(), cfg, io.Discard); err != nil {
		h.t.Fatal(err)
	}
	if other.client, err = demoClient(cfg); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(other.kill)
	return other
}

// imported runs an import and returns its reports by line.
func (h *house) imported(want int, file string, args ...string) []importReport {
	h.t.Helper()
	out, errOut, code := h.gatehouse(append([]string{"connect", "import", file, "--json"}, args...)...)
	if code != want {
		h.t.Fatalf("import: exit status %d, want %d\n%s%s", code, want, out, errOut)
	}
	noTokens(h.t, h.box, "the report", []byte(out+errOut))
	var list []importReport
	for line := range strings.Lines(out) {
		var r importReport
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			h.t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

// handle makes a handle of a connection and returns it.
func (h *house) handle(connection, purpose string) string {
	h.t.Helper()
	out, errOut, code := h.gatehouse("service", "handle", "create", "--service", "demo", "--connection", connection, "--purpose", purpose)
	if code != 0 {
		h.t.Fatalf("handle create: %s", errOut)
	}
	return strings.TrimSpace(out)
}

// ownTokens writes a file of tokens as a team has them: X OAuth 1.0a pairs,
// Facebook users' and a system user's.
func ownTokens(t *testing.T, box *sandbox.Server, people int) string {
	t.Helper()
	var b strings.Builder
	for i, name := range box.People() {
		if i == people {
			break
		}
		token, tokenSecret := box.X.MintOAuth1(name)
		fmt.Fprintf(&b, `{"app":"demo-x","subject":"user-%d","kind":"oauth1","token":%q,"token_secret":%q,"purposes":["publish"]}`+"\n", i, token, tokenSecret)
		user, err := box.Meta.MintUserToken("facebook", name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, `{"id":"fb-%d","app":"demo-facebook","subject":"user-%d","access_token":%q,"purposes":["pages"]}`+"\n", i, i, user)
		if i == 0 {
			fmt.Fprintf(&b, `{"app":"demo-facebook","subject":"user-0","kind":"page","parent":"fb-0","access_token":%q,"purposes":["pages"]}`+"\n", firstPage(t, box, user))
		}
	}
	fmt.Fprintf(&b, "\n"+`{"app":"demo-facebook","subject":"acme","kind":"system_user","access_token":%q,"purposes":["pages"]}`+"\n", box.Meta.MintSystemUser())
	path := filepath.Join(t.TempDir(), "tokens.jsonl")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// firstPage asks Facebook for the token of a person's first page.
func firstPage(t *testing.T, box *sandbox.Server, user string) string {
	t.Helper()
	res, err := http.Get(box.MetaURL + "/v25.0/me/accounts?access_token=" + user)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var pages struct {
		Data []struct {
			AccessToken string `json:"access_token"`
		} `json:"data"`
	}
	if err := json.NewDecoder(res.Body).Decode(&pages); err != nil || len(pages.Data) == 0 {
		t.Fatalf("no page: %v", err)
	}
	return pages.Data[0].AccessToken
}

var confirmCode = regexp.MustCompile(`--confirm ([a-z0-9]{4}-[a-z0-9]{4})`)

// confirmed runs a command that asks for a confirmation, and then gives it.
func (h *house) confirmed(args ...string) (string, string, int) {
	h.t.Helper()
	out, errOut, code := h.gatehouse(args...)
	match := confirmCode.FindStringSubmatch(out)
	if code != exitFailed || match == nil {
		h.t.Fatalf("the first run: exit status %d\n%s%s", code, out, errOut)
	}
	return h.gatehouse(append(args, "--confirm", match[1])...)
}

// A team brings its tokens, takes them away again, and brings them to another
// Gatehouse, where calls work.
func TestTokensComeAndGo(t *testing.T) {
	h := newHouse(t)
	h.start()
	grant := h.connectPerson(demoX, "ada", h.box.People()[3])
	if status, _, err := h.call(t.Context(), http.MethodGet, "/x/2/users/me", grant.Handle, nil); status != http.StatusOK || err != nil {
		t.Fatalf("the first call: %d, %v", status, err)
	}
	h.kill()
	file := ownTokens(t, h.box, 1)
	for _, r := range h.imported(0, file, "--service", "demo", "--dry-run") {
		if r.Result != lineValid {
			t.Errorf("dry run: %+v", r)
		}
	}
	if n := h.connections(); n != 1 {
		t.Fatalf("after the dry run there are %d connections", n)
	}
	for _, want := range []importResult{lineImported, lineAlready} {
		list := h.imported(0, file, "--service", "demo")
		if len(list) != 4 || list[3].Line != 5 {
			t.Fatalf("%+v", list)
		}
		for _, r := range list {
			if r.Result != want || r.Connection == "" {
				t.Errorf("want %s: %+v", want, r)
			}
		}
	}
	h.brought(t, grant.Connection)
	noTokensInFiles(t, h.box, h.dir)
}

// connections counts.
func (h *house) connections() int {
	h.t.Helper()
	out, errOut, code := h.gatehouse("connect", "list", "--json")
	var list []any
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 {
		h.t.Fatalf("connect list: %s %v", errOut, err)
	}
	return len(list)
}

// brought exports everything and imports it elsewhere.
func (h *house) brought(t *testing.T, fromX string) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out.jsonl")
	export := []string{"connect", "export", "--all", "--out", out}
	if stdout, _, code := h.gatehouse(append(export, "--confirm", "aaaa-bbbb")...); code != exitFailed || !confirmCode.MatchString(stdout) {
		t.Errorf("a wrong code: exit status %d\n%s", code, stdout)
	}
	narrow, _, _ := h.gatehouse("connect", "export", fromX, "--out", out)
	if code := confirmCode.FindStringSubmatch(narrow); code == nil {
		t.Errorf("no code: %s", narrow)
	} else if _, _, status := h.gatehouse(append(export, "--confirm", code[1])...); status != exitFailed {
		t.Error("the code of another selection is taken")
	}
	if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("without a confirmation a file was written: %v", err)
	}
	stdout, errOut, code := h.confirmed(export...)
	if code != 0 || !strings.Contains(stdout, "EXPORTED the tokens of 5 connections") {
		t.Fatalf("export: exit status %d\n%s%s", code, stdout, errOut)
	}
	info, err := os.Stat(out)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info.Mode(), err)
	}
	if _, errOut, code := h.confirmed(export...); code != exitFailed || !strings.Contains(errOut, "exists") {
		t.Errorf("over an existing file: exit status %d, %s", code, errOut)
	}
	shown, _, _ := h.gatehouse("audit", "show", "--json", "-n", "1000")
	if n := strings.Count(shown, `"action": "connect.export"`) + strings.Count(shown, `"action":"connect.export"`); n != 10 {
		t.Errorf("%d entries about exports, want an intent and an outcome for each of 5", n)
	}
	other := h.beside()
	for _, r := range other.imported(0, out) {
		if r.Result != lineImported {
			t.Errorf("%+v", r)
			continue
		}
		purpose, path := "pages", "/meta/v25.0/me"
		if r.App == demoX {
			purpose, path = "publish", "/x/2/users/me"
		}
		bearer := other.handle(string(r.Connection), purpose)
		if other.process == nil {
			other.start()
		}
		if status, body, err := other.call(t.Context(), http.MethodGet, path, bearer, nil); status != http.StatusOK || err != nil {
			t.Errorf("%s %s: calling gives %d, %v %s", r.App, r.Kind, status, err, body)
		}
	}
}

// A line at fault is named with its member, repeats nothing, and keeps no other
// line from coming in.
func TestImportReport(t *testing.T) {
	h := newHouse(t)
	token, tokenSecret := h.box.X.MintOAuth1(h.box.People()[0])
	user, err := h.box.Meta.MintUserToken("facebook", h.box.People()[0])
	if err != nil {
		t.Fatal(err)
	}
	// Facebook is asked with the token in the address.
	if err := h.box.Fault(world.Fault{Match: world.FaultMatch{Path: "/v25.0/debug_token"}, LoseReply: true}); err != nil {
		t.Fatal(err)
	}
	lines := []struct{ line, want string }{
		{`{"app":"demo-facebook","subject":"u","access_token":"` + user + `","purposes":["pages"]}`, "platform"},
		{`{"app":"demo-x","subject":"u","access_token":"` + token + `","purposes":["publish"],"pasword":"x"}`, "pasword: there is no such member"},
		{token, "JSON object"},
		{`{"app":"demo-x","subject":"u","service":"` + token + `","access_token":"a","purposes":["publish"]}`, "service: there is none"},
		{`{"app":"demo-x","subject":"u","access_token":"a","purposes":["pages"]}`, "purposes: pages uses app demo-facebook"},
		{`{"app":"` + token + `","subject":"u","access_token":"a","purposes":["publish"]}`, "token is of another"},
		{`{"app":"demo-x","subject":"u","kind":"oauth1","token":"` + token + `","token_secret":"wrong","purposes":["publish"]}`, "token: the platform does not accept it"},
		{`{"app":"demo-x","subject":"` + strings.Repeat("u", 100_000) + `"}`, "longer than 64 KiB"},
		{`{"app":"demo-facebook","subject":"u","kind":"page","parent":"nobody","access_token":"a","purposes":["pages"]}`, "parent: there is no usable"},
		{`{"app":"demo-x","subject":"u","kind":"oauth1","token":"` + token + `","token_secret":"` + tokenSecret + `","purposes":["publish"]}`, ""},
	}
	for range 5 { // the same token, at the same time
		lines = append(lines, lines[len(lines)-1])
	}
	var file strings.Builder
	for _, l := range lines {
		file.WriteString(l.line + "\n")
	}
	path := filepath.Join(t.TempDir(), "tokens.jsonl")
	if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	list := h.imported(exitFailed, path, "--service", "demo")
	if len(list) != len(lines) {
		t.Fatalf("%d reports for %d lines", len(list), len(lines))
	}
	for i, l := range lines {
		if r := list[i]; r.Line != i+1 || (r.Error == "") != (l.want == "") || !strings.Contains(r.Error, l.want) {
			t.Errorf("line %d: %+v, want %q", i+1, r, l.want)
		}
	}
	// From standard input, and in words.
	c := exec.Command(os.Args[0], "connect", "import", "-", "--service", "demo", "--config", h.config)
	c.Env = append(os.Environ(), asProgram+"=1")
	c.Stdin = strings.NewReader(lines[len(lines)-1].line) // without a line's end
	out, err := c.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("1 already")) {
		t.Errorf("from standard input: %v\n%s", err, out)
	}
}

// Everything is ended by one command that is killed halfway, and run again: no
// token works at a platform, no handle and no key works here.
func TestRevokeAllKilled(t *testing.T) {
	h := newHouse(t)
	h.start()
	grant := h.connectPerson(demoX, "ada", h.box.People()[9])
	key := h.key
	file := ownTokens(t, h.box, 8)
	handles := []string{grant.Handle}
	for _, r := range h.imported(0, file, "--service", "demo") {
		purpose := "pages"
		if r.App == demoX {
			purpose = "publish"
		}
		if r.Line%5 == 1 {
			handles = append(handles, h.handle(string(r.Connection), purpose))
		}
	}
	h.kill() // nothing else gives back what the killed command leaves
	out, errOut, code := h.gatehouse("connect", "revoke", "--all")
	if code != exitUsage || !strings.Contains(errOut, "--reason") {
		t.Errorf("without a reason: exit status %d\n%s%s", code, out, errOut)
	}
	revoke := []string{"connect", "revoke", "--all", "--reason", "laptop stolen", "--json"}
	out, _, _ = h.gatehouse(revoke...)
	match := confirmCode.FindStringSubmatch(out)
	if match == nil || !strings.Contains(out, "19 connections") {
		t.Fatalf("the first run: %s", out)
	}
	if out, errOut, code := h.gatehouse("connect", "revoke", "--all", "--reason", "another", "--confirm", match[1]); code != exitFailed {
		t.Errorf("the code of another reason is taken: %s%s", out, errOut)
	}
	revoke = append(revoke, "--confirm", match[1])
	// The answers take long, so that the kill finds some confirmed and some not.
	for _, path := range []string{"/1.1/oauth/invalidate_token", "/v25.0/me/permissions"} {
		if err := h.box.Fault(world.Fault{Match: world.FaultMatch{Path: path}, DelayReplyMS: 250, Times: -1}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		h.killedAfter(4, revoke)
	}
	h.box.ClearFaults()
	out, errOut, code = h.gatehouse(revoke...)
	var report sweepReport
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 0 {
		t.Fatalf("the last run: exit status %d, %v\n%s%s", code, err, out, errOut)
	}
	if len(report.Connections) != 19 || report.Outstanding != 0 || len(report.People) != 18 || report.Bearers[demoX] != "invalidated" {
		t.Errorf("%d connections, %d people, %d outstanding, %v", len(report.Connections), len(report.People), report.Outstanding, report.Bearers)
	}
	for _, key := range []string{"tokens", "personal", "system"} {
		if report.Keys[key] != 2 {
			t.Errorf("the keys that were rotated are %v", report.Keys)
		}
	}
	h.start()
	for _, handle := range handles {
		if status, _, err := h.call(t.Context(), http.MethodGet, "/x/2/users/me", handle, nil); status != http.StatusUnauthorized || err != nil {
			t.Errorf("a handle is answered %d, %v", status, err)
		}
	}
	if err := (&apiClient{base: h.ready["app_listener"], key: key, http: h.client}).do(t.Context(), http.MethodGet, "/gatehouse/v1/me", nil, nil); err == nil {
		t.Error("the service key works")
	}
	h.nothingAtThePlatforms()
	for _, r := range h.beside().imported(exitFailed, file, "--service", "demo", "--dry-run") {
		if r.Result != lineRefused {
			t.Errorf("a token that was imported still works at its platform: %+v", r)
		}
	}
	if out, errOut, code := h.gatehouse("audit", "verify"); code != 0 {
		t.Errorf("audit verify: %s%s", out, errOut)
	}
}

// killedAfter runs a command and kills it when the platforms have answered some
// requests.
func (h *house) killedAfter(answers int, args []string) {
	h.t.Helper()
	before := h.revocations()
	c := exec.Command(os.Args[0], append(args, "--config", h.config)...)
	c.Env = append(os.Environ(), asProgram+"=1")
	if err := c.Start(); err != nil {
		h.t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); h.revocations() < before+answers; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Error("the platforms were not asked")
			break
		}
	}
	if err := c.Process.Kill(); err != nil {
		h.t.Error(err)
	}
	if err := c.Wait(); err == nil {
		h.t.Error("the command had ended before it was killed")
	}
}

// revocations counts the platforms' answers to revocations.
func (h *house) revocations() int {
	n := 0
	for _, r := range h.box.Requests(1000) {
		if strings.HasSuffix(r.Path, "/invalidate_token") || strings.HasSuffix(r.Path, "/oauth2/revoke") || (r.Method == http.MethodDelete && strings.HasSuffix(r.Path, "/permissions")) {
			n++
		}
	}
	return n
}

// nothingAtThePlatforms tries every bearer token that was ever issued.
func (h *house) nothingAtThePlatforms() {
	h.t.Helper()
	tried := 0
	for _, issued := range h.box.Ledger() {
		address := h.box.XURL + "/2/users/me"
		if strings.HasPrefix(issued.Value, "EAA") {
			address = h.box.MetaURL + "/v25.0/me"
		}
		req, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, address, nil)
		if err != nil {
			h.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+issued.Value)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			h.t.Fatal(err)
		}
		_ = res.Body.Close()
		tried++
		if res.StatusCode == http.StatusOK {
			h.t.Errorf("a %s still works", issued.Kind)
		}
	}
	if tried < 18 {
		h.t.Errorf("only %d tokens were tried", tried)
	}
}

// A client of X that signs gets its handle as an OAuth 1.0a set, on the command
// line too, and its signed calls pass.
func TestSignedHandle(t *testing.T) {
	h := newHouse(t)
	reports := h.imported(0, ownTokens(t, h.box, 1), "--service", "demo")
	create := []string{"service", "handle", "create", "--service", "demo", "--oauth1", "--json", "--connection"}
	if _, errOut, code := h.gatehouse(append(create, string(reports[1].Connection), "--purpose", "pages")...); code != exitFailed || !strings.Contains(errOut, "only X") {
		t.Errorf("for Facebook: exit status %d, %s", code, errOut)
	}
	out, errOut, code := h.gatehouse(append(create, string(reports[0].Connection), "--purpose", "publish")...)
	var made struct {
		ID     string    `json:"id"`
		OAuth1 oauth1Set `json:"oauth1"`
	}
	if err := json.Unmarshal([]byte(out), &made); err != nil || code != 0 || made.OAuth1.Token != made.ID {
		t.Fatalf("exit status %d, %v\n%s%s", code, err, out, errOut)
	}
	h.start()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.ready["app_listener"]+"/x/2/users/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	header, err := platform.SignOAuth1(platform.OAuth1Credentials{
		ConsumerKey: made.OAuth1.ConsumerKey, ConsumerSecret: made.OAuth1.ConsumerSecret, Token: made.OAuth1.Token, TokenSecret: made.OAuth1.TokenSecret,
	}, req.Method, req.URL, nil, crand.Text(), strconv.FormatInt(time.Now().Unix(), 10))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", header)
	res, err := h.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
		t.Errorf("the signed call: %d %s %v", res.StatusCode, body, err)
	}
}
