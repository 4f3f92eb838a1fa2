package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store/storetest"
)

// verifierProgram builds tools/logverify, which shares no code with this program.
func verifierProgram(t *testing.T) func(args ...string) (string, error) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "logverify")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = filepath.Join("..", "..", "tools", "logverify")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building tools/logverify: %v\n%s", err, out)
	}
	return func(args ...string) (string, error) {
		out, err := exec.Command(program, args...).CombinedOutput()
		return string(out), err
	}
}

// The log is checked from outside, by our commands and by the independent verifier,
// while it is written under load; then a person of it is erased, and an attacker with
// every key that is left finds nothing of them.
func TestLogFromOutside(t *testing.T) {
	verify := verifierProgram(t)
	// Calls of a test follow one another faster than the demo's rate.
	h := newHouseWith(t, "rate: 200/s}", "rate: 100000/s}\naudit: {readers: [demo]}")
	h.start()
	app := h.appOf()
	ada := h.connectVia(app, demoX, "ada", h.box.People()[0])
	grace := h.connectVia(app, demoX, "grace", h.box.People()[1])
	file := func(name string) string { return filepath.Join(h.dir, name) }
	if err := os.WriteFile(file("service.key"), []byte(h.key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	pub, url := file(logKeyFile), h.ready["app_listener"]+"/gatehouse/v1/log"
	h.must("audit", "keygen", "--name", "witness.example.com", "--out", file("witness.key"))
	h.refused("is there already", "audit", "keygen", "--name", "witness.example.com", "--out", file("witness.key"))
	watch := []string{"audit", "watch", "--once", "--url", url, "--ca-file", file(caFile), "--service-key-file", file("service.key"), "--key", pub,
		"--state", file("witness"), "--witness-key", file("witness.key")}

	var load sync.WaitGroup
	for n := range 4 {
		load.Go(func() {
			for range 60 {
				handle := []string{ada.Handle, grace.Handle}[n%2]
				if status, body, err := h.call(t.Context(), http.MethodGet, "/x/2/users/me", handle, nil); err != nil || status != http.StatusOK {
					t.Errorf("a call gives %d %s, %v", status, body, err)
					return
				}
			}
		})
	}
	// Meanwhile it is watched, exported and read over HTTPS.
	for range 3 {
		h.must(watch...)
		h.must("audit", "export", "--tiles", file("tiles"))
		if out, err := verify("-key", pub, file("tiles")); err != nil || !strings.Contains(out, "ok: ") {
			t.Errorf("the independent verifier of the export: %v %s", err, out)
		}
	}
	load.Wait()
	var older struct{ Size int64 }
	if err := json.Unmarshal([]byte(h.must("audit", "watch", "--once", "--json", "--url", file("tiles"), "--key", pub, "--state", file("second"))), &older); err != nil || older.Size == 0 {
		t.Fatal(older, err)
	}
	h.must(watch...)
	if out := h.must("audit", "consistency", file("second/checkpoint"), file("witness/cosigned")); !strings.Contains(out, "by appending alone") {
		t.Errorf("consistency said %q", out)
	}
	h.must("audit", "consistency", "1", file("witness/checkpoint"), "--tiles", url, "--ca-file", file(caFile), "--service-key-file", file("service.key"), "--json")
	for want, args := range map[string][]string{
		"give the older one first":    {"consistency", file("witness/checkpoint"), "1"},
		"neither a file nor a number": {"consistency", "one", "2"},
		"give OLD and NEW":            {"consistency", "1"},
		"which public key":            {"check-proof", pub},
		"where to keep what was seen": {"watch", "--url", url, "--key", pub},
		"no address of a log":         {"watch", "--url", "https://a@b", "--key", pub, "--state", file("x")},
		"at least 1s":                 {"watch", "--url", url, "--key", pub, "--state", file("x"), "--interval", "1ms"},
		"where to write":              {"export"},
	} {
		if _, errOut, code := h.gatehouse(append([]string{"audit"}, args...)...); code != exitUsage || !strings.Contains(errOut, want) {
			t.Errorf("audit %v: %d %s, want wrong use and %q", args, code, errOut, want)
		}
	}
	h.must("audit", "verify", "--since", file("witness/checkpoint"))

	// An entry of ada is proved to somebody, with one field opened.
	var shown []struct {
		ID     string `json:"id"`
		Kind   string `json:"kind"`
		Intent string `json:"intent"`
	}
	find := func(args ...string) int {
		t.Helper()
		shown = nil
		if err := json.Unmarshal([]byte(h.must(append([]string{"audit", "show", "-n", "1000", "--json"}, args...)...)), &shown); err != nil {
			t.Fatal(err)
		}
		return len(shown)
	}
	// The last outcomes join the next group.
	eventually(t, "120 intents and their outcomes are found by the connection", func() bool {
		return find("--connection", ada.Connection, "--action", "call") >= 240
	})
	intent, outcome := shown[0].ID, ""
	for _, e := range shown {
		if e.Intent == intent {
			outcome = e.ID
		}
	}
	if find("--person", "subject:ada", "--action", "handle.create") == 0 {
		t.Error("the person is not found by the app's name")
	}
	h.must("audit", "prove", intent, "--checkpoint", file("witness/cosigned"), "--reveal", "connection", "--out", file("proof"))
	out := h.must("audit", "check-proof", file("proof"), "--key", pub, "--witness", file("witness.key.pub"))
	for _, want := range []string{"connection = " + ada.Connection, "co-signed by witness.example.com", "GET /2/users/me"} {
		if !strings.Contains(out, want) {
			t.Errorf("check-proof said %q, want %q in it", out, want)
		}
	}
	if strings.Contains(out, "handle =") {
		t.Errorf("a field that was not asked for is opened: %s", out)
	}
	if out, err := verify("-key", pub, "-witness", file("witness.key.pub"), "-proof", file("proof")); err != nil || !strings.Contains(out, "connection: "+ada.Connection) {
		t.Errorf("the independent verifier of the proof: %v %s", err, out)
	}
	if find("--action", "audit.reveal") != 2 {
		t.Errorf("opening is on record as %+v", shown)
	}
	h.refused("no such field", "audit", "prove", intent, "--reveal", "subject")
	h.refused("there is no entry", "audit", "prove", "nothing")
	h.refused("prove its intent, "+intent, "audit", "prove", outcome, "--reveal", "connection")
	h.must("audit", "prove", intent, "--out", file("without"))
	h.refused("has not co-signed", "audit", "check-proof", file("without"), "--key", pub, "--witness", file("witness.key.pub"))
	proof, err := os.ReadFile(file("proof"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file("forged"), []byte(strings.Replace(string(proof), "index ", "index 1", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	h.refused("", "audit", "check-proof", file("forged"), "--key", pub)

	// Who is not named as a reader, and who has no key, reads nothing.
	if res, err := h.client.Get(url + "/checkpoint"); err != nil || res.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a key: %v, %v", res.StatusCode, err)
	}

	// The person is erased; the proof still holds, and nothing is found any more.
	traces := func() int { return h.traces(ada, string(intent)) }
	out, _, _ = h.gatehouse("person", "erase", "subject:ada")
	confirm := regexp.MustCompile(`--confirm (\S+)`).FindStringSubmatch(out)
	if confirm == nil {
		t.Fatal(out)
	}
	if traces() == 0 {
		t.Fatal("before the erasure the attacker finds nothing: this test would prove nothing")
	}
	h.must("person", "erase", "subject:ada", "--confirm", confirm[1])
	eventually(t, "the duty is done", func() bool {
		out, _, _ := h.gatehouse("case", "list", "--state", "done", "--json")
		return strings.Contains(out, `"done"`)
	})
	for _, args := range [][]string{{"--connection", ada.Connection}, {"--person", "subject:ada"}} {
		if n := find(args...); n != 0 {
			t.Errorf("%v finds %d entries", args, n)
		}
	}
	if n := find("--connection", grace.Connection, "--action", "call"); n < 240 {
		t.Errorf("only %d entries of somebody else are left", n)
	}
	h.refused("person was erased", "audit", "prove", intent, "--reveal", "connection")
	h.must("audit", "check-proof", file("proof"), "--key", pub)
	h.must(watch...)
	h.must("audit", "verify", "--checkpoint", file("witness/checkpoint"))
	if h.stop() != exitDone {
		t.Errorf("stopping failed: %s", h.stderr)
	}
	if n := traces(); n != 0 {
		t.Errorf("after the erasure the attacker finds %d traces", n)
	}
	h.must("audit", "export", "--tiles", file("tiles"))
	if out, err := verify("-key", pub, file("tiles")); err != nil {
		t.Errorf("the independent verifier at the end: %v %s", err, out)
	}

	// A copy of the log that is behind, and one that nobody answers for.
	h.refused("", "audit", "watch", "--once", "--url", file("nowhere"), "--key", pub, "--state", file("third"))
	h.must("audit", "watch", "--once", "--url", file("tiles"), "--key", pub, "--state", file("second"))
	if err := os.WriteFile(file("tiles/checkpoint"), contentOf(t, file("witness/checkpoint")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errOut, code := h.gatehouse("audit", "watch", "--once", "--url", file("tiles"), "--key", pub, "--state", file("second")); code != exitFailed || !strings.Contains(errOut, "shortened") {
		t.Errorf("watching a log that was shortened: %d %s", code, errOut)
	}
	if _, err := os.Stat(file("second/conflict")); err != nil {
		t.Errorf("the evidence: %v", err)
	}
	status, err := os.ReadFile(file("second/status.json"))
	if err != nil || !strings.Contains(string(status), `"tampered"`) {
		t.Errorf("the status: %s, %v", status, err)
	}
}

// contentOf reads a file.
func contentOf(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// traces counts what leads from a person's ids to entries of the log, for somebody who
// has the database, the root key and so every key under it.
func (h *house) traces(g *demoGrant, entry string) (n int) {
	h.t.Helper()
	p, err := assemble(h.t.Context(), h.load(), slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			h.t.Error(err)
		}
	}()
	raw := storetest.OpenRaw(h.t, "sqlite:"+filepath.Join(h.dir, "gatehouse.db"))
	_, rows := raw.Query("SELECT person FROM connections WHERE id = $1", g.Connection)
	person := rows[0][0].(string) // the row of the connection is kept
	handle := ""
	if _, rows := raw.Query("SELECT id FROM handles WHERE connection = $1", g.Connection); len(rows) > 0 {
		handle = fmt.Sprint(rows[0][0])
	}
	ids := map[string]string{"person": person, "connection": g.Connection, "subject": "ada"}
	if handle != "" {
		ids["handle"] = handle
	}
	for _, table := range []string{"audit_entries", "audit_search"} {
		_, rows := raw.Query("SELECT * FROM " + table)
		for _, row := range rows {
			for _, value := range row {
				text := fmt.Sprint(value)
				if b, ok := value.([]byte); ok {
					text = string(b)
				}
				for kind, id := range ids {
					if kind != "subject" && strings.Contains(text, id) || strings.Contains(text, string(p.logIndex(kind, id)[:8])) {
						n++
						h.t.Logf("the %s stands in %s, entry %v", kind, table, row[0])
					}
				}
			}
		}
	}
	var everybody []gatehouse.PersonID
	if err := p.eachPerson(h.t.Context(), func(person gatehouse.PersonID) bool {
		everybody = append(everybody, person)
		return true
	}); err != nil {
		h.t.Fatal(err)
	}
	everybody = append(everybody, "", gatehouse.PersonID(person))
	_, rows = raw.Query("SELECT id, personal FROM audit_entries WHERE personal IS NOT NULL")
	for _, row := range rows {
		for _, key := range everybody {
			text, err := p.vault.OpenPersonal(h.t.Context(), key, audit.SealContext(row[0].(string)), row[1].([]byte))
			if err == nil && (strings.Contains(string(text), g.Connection) || strings.Contains(string(text), entry)) {
				n++
				h.t.Logf("the fields of %s open: %s", row[0], text)
			}
		}
	}
	return n
}
