package main

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/vault"
)

// letGo ends the lease of a process that was killed, as half a minute would.
func (h *house) letGo() {
	h.t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(h.dir, "gatehouse.db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		h.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("DELETE FROM vault_leases"); err != nil {
		h.t.Fatal(err)
	}
}

// TestRotationUnderTraffic rotates every key that rotates, and moves to another
// root key, while calls go on, and kills the rotating command at random moments.
// No call fails; nothing is unreadable; what was interrupted comes to its end.
func TestRotationUnderTraffic(t *testing.T) {
	h := newHouse(t)
	h.start()
	grant := h.connectPerson(demoX, "ada", h.box.People()[0])
	ctx, stop := context.WithCancel(t.Context())
	var answered atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			status, body, err := h.call(t.Context(), http.MethodGet, "/x/2/users/me", grant.Handle, nil)
			if err != nil || status != http.StatusOK && status != http.StatusTooManyRequests {
				t.Errorf("a call during the rotation: %d %s %v", status, body, err)
				return
			}
			answered.Add(1)
			time.Sleep(2 * time.Millisecond)
		}
	}()
	for round := range 12 {
		key := []string{"tokens", "personal", "system", "keyring"}[round%4]
		c := exec.Command(os.Args[0], "keys", "rotate", key, "--config", h.config)
		c.Env = append(os.Environ(), asProgram+"=1")
		var errOut bytes.Buffer
		c.Stderr = &errOut
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		killed := make(chan struct{})
		timer := time.AfterFunc(time.Duration(rand.IntN(150))*time.Millisecond, func() {
			defer close(killed)
			_ = c.Process.Kill()
		})
		err := c.Wait()
		if timer.Stop() {
			close(killed)
		}
		<-killed
		if err != nil && !strings.Contains(err.Error(), "killed") && !strings.Contains(errOut.String(), "Another process works on keys") {
			t.Errorf("rotating %s: %v\n%s", key, err, errOut.String())
		}
		h.letGo()
	}
	if out, errOut, code := h.gatehouse("keys", "rewrap"); code != 0 {
		t.Errorf("coming to the end: %d %s%s", code, out, errOut)
	}
	stop()
	<-done
	if answered.Load() < 20 {
		t.Errorf("only %d calls were made meanwhile", answered.Load())
	}

	// From one root key to another, over a restart with both configured.
	if code := h.stop(); code != 0 {
		t.Fatalf("exit status %d", code)
	}
	h.moveRoot("root-2.key")
	h.start()
	if out, errOut, code := h.gatehouse("keys", "rewrap", "--root"); code != 0 && !strings.Contains(errOut, "Another process") {
		t.Fatalf("keys rewrap --root: %d %s%s", code, out, errOut)
	}
	status, body, err := h.call(t.Context(), http.MethodGet, "/x/2/users/me", grant.Handle, nil)
	if err != nil || status != http.StatusOK && status != http.StatusTooManyRequests {
		t.Errorf("a call under the new root key: %d %s %v", status, body, err)
	}
	if out, _, code := h.gatehouse("keys", "status"); code != 0 || !strings.Contains(out, "is not needed any more") {
		t.Errorf("keys status: %d\n%s", code, out)
	}
	if out, errOut, code := h.gatehouse("audit", "verify"); code != 0 {
		t.Errorf("audit verify: %d %s%s", code, out, errOut)
	}
}

// moveRoot makes another root key file and configures it before the old one.
func (h *house) moveRoot(name string) {
	h.t.Helper()
	old := h.load()
	text, err := os.ReadFile(h.config)
	if err != nil {
		h.t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("root_key: "+old.RootKey.String()),
		fmt.Appendf(nil, "root_key: file:%s\nprevious_root_keys: [{root_key: %q}]", name, old.RootKey.String()), 1)
	if err := os.WriteFile(h.config, text, 0o600); err != nil {
		h.t.Fatal(err)
	}
	if err := vault.CreateRootKeyFile(filepath.Join(h.dir, name)); err != nil {
		h.t.Fatal(err)
	}
}

// TestFullDiskDuringRotation lets the disk fill at many points of a rotation (a
// limit on the size of files stands for the disk). After each, everything works
// with room again, and the rotation can be ended.
func TestFullDiskDuringRotation(t *testing.T) {
	h := newHouse(t)
	h.start()
	grant := h.connectPerson(demoX, "ada", h.box.People()[0])
	if code := h.stop(); code != 0 {
		t.Fatalf("exit status %d", code)
	}
	failed, ended := 0, 0
	for blocks := 8; blocks <= 8192; blocks += blocks {
		c := exec.Command("sh", "-c", fmt.Sprintf(`ulimit -f %d; exec "$0" "$@"`, blocks), os.Args[0], "keys", "rotate", "keyring", "--config", h.config)
		c.Env = append(os.Environ(), asProgram+"=1")
		out, err := c.CombinedOutput()
		if err == nil {
			ended++
		} else {
			failed++
		}
		h.letGo()
		status, errOut, code := h.gatehouse("keys", "status")
		if code != 0 {
			t.Fatalf("after a full disk (%d blocks, %s): keys status: %d %s%s", blocks, out, code, status, errOut)
		}
		if out, errOut, code := h.gatehouse("keys", "rewrap"); code != 0 {
			t.Fatalf("with room again: keys rewrap: %d %s%s", code, out, errOut)
		}
	}
	if failed == 0 || ended == 0 {
		t.Errorf("%d rotations failed and %d came to their end; want some of both", failed, ended)
	}
	if out, errOut, code := h.gatehouse("audit", "verify"); code != 0 {
		t.Errorf("audit verify: %d %s%s", code, out, errOut)
	}
	h.start()
	status, body, err := h.call(t.Context(), http.MethodGet, "/x/2/users/me", grant.Handle, nil)
	if err != nil || status != http.StatusOK && status != http.StatusTooManyRequests {
		t.Errorf("a call afterwards: %d %s %v", status, body, err)
	}
}
