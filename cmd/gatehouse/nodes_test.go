package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/store/storetest"
)

// node returns another node of the same database: its configuration differs in its
// name and its addresses.
func (h *house) node(from, to string) *house {
	h.t.Helper()
	text, err := os.ReadFile(h.config)
	if err != nil {
		h.t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		switch {
		case line == "node: "+from:
			lines[i] = "node: " + to
		case strings.HasPrefix(line, "listen: "):
			lines[i] = `listen: {app: "127.0.0.1:0", public: "127.0.0.1:0"}`
		}
	}
	other := &house{t: h.t, dir: h.dir, config: filepath.Join(h.dir, to+".yaml"), box: h.box, key: h.key, client: h.client, stderr: &lockedBuffer{}}
	if err := os.WriteFile(other.config, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(other.kill)
	return other
}

// load has both nodes call for a person until ctx ends, or a number of times.
func loadOf(ctx context.Context, t *testing.T, handle string, times int, houses ...*house) *sync.WaitGroup {
	var load sync.WaitGroup
	for n := range 2 * len(houses) {
		load.Go(func() {
			for i := 0; ctx.Err() == nil && (times == 0 || i < times); i++ {
				status, body, err := houses[n/2].call(ctx, http.MethodGet, "/x/2/users/me", handle, nil)
				if err != nil && times == 0 {
					return // killed
				}
				if err != nil || status != http.StatusOK && status != http.StatusTooManyRequests {
					t.Errorf("a call gives %d %s, %v", status, body, err)
					return
				}
			}
		})
	}
	return &load
}

type verifiedLogs struct {
	Size         int64 `json:"size"`
	ProblemCount int64 `json:"problem_count"`
	Logs         []struct {
		Node         string `json:"node"`
		Size         int64  `json:"size"`
		ProblemCount int64  `json:"problem_count"`
	} `json:"logs"`
}

// TestTwoNodes runs two nodes on one PostgreSQL under load, kills one of them again and
// again, has every log checked from outside, and deletes one as a whole.
func TestTwoNodes(t *testing.T) {
	independent := verifierProgram(t)
	dsn := storetest.EmptyPostgres(t)
	blue := newHouseWith(t, "store: sqlite:gatehouse.db", "node: blue\naudit: {readers: [demo]}\nstore: "+dsn)
	file := func(name string) string { return filepath.Join(blue.dir, name) }
	blue.start()
	grant := blue.connectPerson(demoX, "ada", blue.box.People()[0])
	green := blue.node("blue", "green")
	green.start()
	for _, name := range []string{"log.pub", "log-blue.pub", "log-green.pub"} {
		if _, err := os.Stat(file(name)); err != nil {
			t.Errorf("the public key: %v", err)
		}
	}
	verified := func() (v verifiedLogs) {
		t.Helper()
		out, errOut, code := blue.gatehouse("audit", "verify", "--json")
		if err := json.Unmarshal([]byte(out), &v); err != nil || code != 0 {
			t.Fatalf("audit verify: exit status %d\n%s%s", code, out, errOut)
		}
		return v
	}
	load := loadOf(t.Context(), t, grant.Handle, 60, blue, green)
	for range 3 {
		verified()
	}
	load.Wait()

	const kills = 6
	for range kills {
		ctx, cancel := context.WithCancel(t.Context())
		load := loadOf(ctx, t, grant.Handle, 0, blue, green)
		time.Sleep(time.Duration(20+rand.IntN(120)) * time.Millisecond) // a random moment; nothing is asserted of it
		green.kill()
		cancel()
		load.Wait()
		verified()
		green.start()
	}
	v := verified()
	if len(v.Logs) != 2 || v.Logs[0].Node != "blue" || v.Logs[1].Node != "green" || v.Logs[0].Size < 200 || v.Logs[1].Size < 200 {
		t.Errorf("verified are %+v", v)
	}
	if v.Size > 20 {
		t.Errorf("log 0 has %d entries, although both nodes have logs of their own", v.Size)
	}

	// Each log is served below its node's name, exported, proved from, and watched.
	if err := os.WriteFile(file("service.key"), []byte(blue.key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, blue.ready["app_listener"]+"/gatehouse/v1/logs", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+blue.key)
	reply, err := blue.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	list, err := io.ReadAll(reply.Body)
	if err := errors.Join(err, reply.Body.Close()); err != nil || !bytes.Contains(list, []byte(`"path":"/gatehouse/v1/log/green"`)) {
		t.Errorf("the list of logs is %s, %v", list, err)
	}
	for _, node := range []string{"blue", "green"} {
		pub := file("log-" + node + ".pub")
		tiles := file("tiles-" + node)
		blue.must("audit", "export", "--node", node, "--tiles", tiles)
		if out, err := independent("-key", pub, tiles); err != nil || !strings.Contains(out, "ok: ") {
			t.Errorf("the independent verifier of the log of %s: %v %s", node, err, out)
		}
		blue.must("audit", "watch", "--once", "--url", blue.ready["app_listener"]+"/gatehouse/v1/log", "--node", node, "--ca-file", file(caFile),
			"--service-key-file", file("service.key"), "--key", pub, "--state", file("witness-"+node))
		blue.must("audit", "consistency", "--node", node, "1", file("witness-"+node+"/checkpoint"))
		blue.must("audit", "verify", "--since", file("witness-"+node+"/checkpoint"), "--checkpoint", file("witness-"+node+"/checkpoint"))
		if out := blue.must("audit", "show", "--checkpoint", "--node", node); !strings.Contains(out, "/"+node+"\n") {
			t.Errorf("the checkpoint of %s is %s", node, out)
		}
	}
	blue.refused("no log of this node", "audit", "export", "--node", "red", "--tiles", file("red"))
	var shown []struct {
		ID, Node, Kind string
		Facts          map[string]string
	}
	find := func(args ...string) {
		t.Helper()
		shown = nil
		if err := json.Unmarshal([]byte(blue.must(append([]string{"audit", "show", "-n", "5000", "--json"}, args...)...)), &shown); err != nil {
			t.Fatal(err)
		}
	}
	find("--action", "call")
	for _, node := range []string{"blue", "green"} {
		i := slices.IndexFunc(shown, func(e struct {
			ID, Node, Kind string
			Facts          map[string]string
		}) bool {
			return e.Node == node && e.Kind == "intent"
		})
		if i < 0 {
			t.Fatalf("no call of %s is shown", node)
		}
		proof := file("proof-" + node)
		blue.must("audit", "prove", shown[i].ID, "--out", proof, "--reveal", "connection")
		if out := blue.must("audit", "check-proof", proof, "--key", file("log-"+node+".pub")); !strings.Contains(out, grant.Connection) {
			t.Errorf("the proof says %s", out)
		}
	}
	blue.refused("no entry", "audit", "prove", "06h0dyvhg3fs7nz5jeqkyz7s9w")
	if out := blue.must("keys", "list"); !strings.Contains(out, "audit-signing-key/green") {
		t.Errorf("the list of keys lacks that of a node's log:\n%s", out)
	}
	if code := green.stop(); code != 0 {
		t.Errorf("green ends with %d", code)
	}
	if code := blue.stop(); code != 0 {
		t.Errorf("blue ends with %d", code)
	}
	for _, node := range []string{"blue", "green"} {
		other := map[string]string{"blue": "green", "green": "blue"}[node]
		find("--action", "log.cross")
		if !slices.ContainsFunc(shown, func(e struct {
			ID, Node, Kind string
			Facts          map[string]string
		}) bool {
			return e.Node == node && strings.HasSuffix(e.Facts["origin"], "/"+other)
		}) {
			t.Errorf("the log of %s has nothing of that of %s", node, other)
		}
	}

	// A whole log goes, and its line in the list with it.
	blue.start()
	raw := storetest.OpenRaw(t, dsn)
	const low, high = int64(2) << 40, int64(3)<<40 - 1
	for table, column := range map[string]string{"audit_entries": "seq", "audit_search": "seq", "audit_tiles": "idx", "audit_checkpoints": "num"} {
		raw.Exec("DELETE FROM "+table+" WHERE "+column+" BETWEEN $1 AND $2", low, high)
	}
	raw.Exec("DELETE FROM audit_head WHERE id = 3")
	raw.Exec("DELETE FROM audit_logs WHERE num = 2")
	if out, _, code := blue.gatehouse("audit", "verify"); code != 1 || !strings.Contains(out, "/green: is missing") {
		t.Errorf("a whole log is gone: %d %s", code, out)
	}
	eventually(t, "the other node notices that a log is gone", func() bool {
		status, body, err := blue.call(t.Context(), http.MethodGet, "/x/2/users/me", grant.Handle, nil)
		return err == nil && status == http.StatusServiceUnavailable && bytes.Contains(body, []byte("log/tampered"))
	})
	var noticed struct{ Confirm string }
	out, _, _ := blue.gatehouse("audit", "accept", "--json")
	if err := json.Unmarshal([]byte(out), &noticed); err != nil {
		t.Fatal(out, err)
	}
	blue.must("audit", "accept", "--confirm", noticed.Confirm)
	eventually(t, "the node goes on", func() bool {
		status, _, err := blue.call(t.Context(), http.MethodGet, "/x/2/users/me", grant.Handle, nil)
		return err == nil && status == http.StatusOK
	})
	if v := verified(); len(v.Logs) != 1 {
		t.Errorf("after it was accepted, verified are %+v", v)
	}
	// The node of the log that is gone knows that it had one. Accepted, it begins it anew.
	green.refused("this machine has seen", "service", "list")
	out, _, _ = green.gatehouse("audit", "accept", "--json")
	if err := json.Unmarshal([]byte(out), &noticed); err != nil {
		t.Fatal(out, err)
	}
	blue.must("audit", "accept", "--node", "green", "--confirm", noticed.Confirm)
	green.start()
	if v := verified(); len(v.Logs) != 2 || v.Logs[1].Node != "green" {
		t.Errorf("after it began anew, verified are %+v", v)
	}
}
