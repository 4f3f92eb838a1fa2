package main

import (
	"context"
	"encoding/json"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/backup"
	"gatehouse/internal/store/storetest"
)

// opens calls for a person through a node, which has to open what any node sealed.
func (h *house) opens(name string, g *demoGrant) {
	h.t.Helper()
	for {
		status, body, err := h.call(h.t.Context(), http.MethodGet, "/x/2/users/me", g.Handle, nil)
		if err == nil && status == http.StatusTooManyRequests {
			continue // the load beside it
		}
		if err != nil || status != http.StatusOK {
			h.t.Errorf("%s's token through %s: %d %s, %v", name, filepath.Base(h.config), status, body, err)
		}
		return
	}
}

// TestNodesBackedUp has two nodes seal for one another while keys are rotated and
// rewrapped from both, takes a backup on one of them, and restores it from the other.
func TestNodesBackedUp(t *testing.T) {
	blue := newHouseWith(t, "store: sqlite:gatehouse.db", "node: blue\nstore: "+storetest.EmptyPostgres(t))
	// The load is as fast as it can be, and people connect beside it.
	blue.edit(strings.NewReplacer("rate: 200/s", "rate: 100000/s").Replace)
	to, keys := t.TempDir(), t.TempDir()
	blue.withBackupsIn(to, keys)
	blue.start()
	people := blue.box.People()
	ada := blue.connectPerson(demoX, "ada", people[0])
	green := blue.node("blue", "green")
	green.start()
	// Begun at the one; the platform leads the browser back to the other.
	grace := green.connectPerson(demoX, "grace", people[1])

	ctx, end := context.WithCancel(t.Context())
	defer end()
	load := loadOf(ctx, t, ada.Handle, 0, blue, green)
	more := loadOf(ctx, t, grace.Handle, 0, blue, green)
	both := []*house{blue, green}
	for i, key := range []string{"tokens", "personal", "system", "keyring"} {
		both[i%2].must("keys", "rotate", key)
		both[i%2].opens("ada", ada)
		both[(i+1)%2].opens("grace", grace)
	}
	done := make(chan string, len(both))
	for _, h := range both {
		go func() {
			_, errOut, code := h.gatehouse("keys", "rewrap")
			if code == exitDone {
				errOut = ""
			}
			done <- errOut
		}()
	}
	// One works on keys at a time: whoever meets the other at it is told so.
	busy := 0
	for range both {
		errOut := <-done
		switch {
		case strings.Contains(errOut, "keys/busy"):
			busy++
		case errOut != "":
			t.Errorf("keys rewrap on both nodes at once: %s", errOut)
		}
	}
	if busy == len(both) {
		t.Error("keys rewrap on both nodes at once: each was told that the other is at it")
	}
	// Sealed under the new keys by one node; the other has to learn of them.
	hedy := blue.connectVia(blue.appOf(), demoX, "hedy", people[2])
	for _, h := range both {
		h.opens("ada", ada)
		h.opens("grace", grace)
		h.opens("hedy", hedy)
	}
	if out := green.must("keys", "status"); !strings.Contains(out, "personal@1: nothing needs it") || !strings.Contains(out, "system@1: nothing needs it") {
		t.Errorf("after both rewrapped: %s", out)
	}

	checkpoints := map[string]string{}
	for _, node := range []string{"blue", "green"} {
		checkpoints[node] = filepath.Join(blue.dir, "checkpoint-"+node)
		if err := writeFileSync(checkpoints[node], []byte(blue.must("audit", "show", "--checkpoint", "--node", node)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var made backup.Made
	if err := json.Unmarshal([]byte(blue.must("backup", "--json")), &made); err != nil || made.Manifest.Connections != 3 {
		t.Fatalf("the backup under load: %v, %+v", err, made.Manifest)
	}
	end()
	load.Wait()
	more.Wait()
	green.must("backup", "verify", made.Path)
	green.must("restore", "--drill", made.Path)

	// Erased on one node after the backup, which the other one took.
	out, _, _ := green.gatehouse("person", "erase", "subject:hedy")
	confirm := regexp.MustCompile(`--confirm (\S+)`).FindStringSubmatch(out)
	if confirm == nil {
		t.Fatalf("person erase: %s", out)
	}
	green.must("person", "erase", "subject:hedy", "--confirm", confirm[1])
	eventually(t, "hedy is erased", func() bool { return strings.Contains(blue.must("case", "list", "--state", "done", "--json"), `"done"`) })
	logs := func() (v verifiedLogs) {
		t.Helper()
		out, errOut, code := blue.gatehouse("audit", "verify", "--json", "--checkpoint", checkpoints["blue"], "--checkpoint", checkpoints["green"])
		if err := json.Unmarshal([]byte(out), &v); err != nil || code != exitDone || len(v.Logs) != 2 {
			t.Fatalf("audit verify: exit status %d\n%s%s", code, out, errOut)
		}
		return v
	}
	before := logs()
	for _, h := range both {
		if code := h.stop(); code != exitDone {
			t.Fatalf("%s ends with %d\n%s", h.config, code, h.stderr)
		}
	}

	// The database is lost. The node that did not take the backup restores it.
	dsn := storetest.EmptyPostgres(t)
	for _, h := range both {
		h.edit(func(text string) string {
			return regexp.MustCompile(`(?m)^store: .*$`).ReplaceAllLiteralString(text, "store: "+dsn)
		})
	}
	if out := green.must("restore", made.Path); !strings.Contains(out, "3 connections; 1 people erased again") {
		t.Errorf("restore said %q", out)
	}
	after := logs()
	for i, l := range after.Logs {
		if l.Node != before.Logs[i].Node || l.Size < 50 || l.Size > before.Logs[i].Size {
			t.Errorf("restored is a log of %+v, of what was %+v", l, before.Logs[i])
		}
	}
	green.start()
	// The other one was not there, and has seen a newer log than it finds.
	blue.refused("this machine has seen", "service", "list")
	var noticed struct{ Confirm string }
	out, _, _ = blue.gatehouse("audit", "accept", "--json")
	if err := json.Unmarshal([]byte(out), &noticed); err != nil {
		t.Fatal(out, err)
	}
	blue.must("audit", "accept", "--confirm", noticed.Confirm)
	blue.start()
	for _, h := range both {
		h.opens("ada", ada)
		h.opens("grace", grace)
		if status, body, err := h.call(t.Context(), http.MethodGet, "/x/2/users/me", hedy.Handle, nil); err != nil || status < 400 {
			t.Errorf("a call for who was erased: %d %s, %v", status, body, err)
		}
	}
	var shown []struct{ Node, Kind string }
	if err := json.Unmarshal([]byte(blue.must("audit", "show", "--action", "call", "-n", "5000", "--json")), &shown); err != nil {
		t.Fatal(err)
	}
	for _, node := range []string{"blue", "green"} {
		if !slices.ContainsFunc(shown, func(e struct{ Node, Kind string }) bool { return e.Node == node && e.Kind == "intent" }) {
			t.Errorf("no call of %s is in the restored logs", node)
		}
	}
	for _, h := range both {
		if code := h.stop(); code != exitDone {
			t.Errorf("%s ends with %d\n%s", h.config, code, h.stderr)
		}
	}
	logs()
}
