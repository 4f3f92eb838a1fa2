package main

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/store/storetest"
)

// TestAcceptingALog puts an older copy of the database in its place while nobody
// looks. The copy verifies; the program notices, makes no call, says so wherever an
// operator looks, also after a restart, and goes on when the operator has accepted
// it.
func TestAcceptingALog(t *testing.T) {
	h := newHouse(t)
	h.start()
	x := h.connectPerson(demoX, "ada", h.box.People()[0])
	if code := h.stop(); code != 0 {
		t.Fatalf("exit status %d", code)
	}
	if out, errOut, code := h.gatehouse("audit", "accept"); code != exitFailed || !strings.Contains(errOut, "nothing to accept") {
		t.Errorf("accepting an untouched log: %d %s%s", code, out, errOut)
	}
	file := filepath.Join(h.dir, "gatehouse.db")
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	call := func() (int, string) {
		t.Helper()
		status, b, err := h.call(t.Context(), http.MethodGet, "/x/2/users/me", x.Handle, nil)
		if err != nil {
			t.Fatal(err)
		}
		return status, string(b)
	}
	h.start()
	for range 3 {
		if status, b := call(); status != http.StatusOK && status != http.StatusTooManyRequests {
			t.Fatalf("%d %s", status, b)
		}
	}
	if code := h.stop(); code != 0 {
		t.Fatalf("exit status %d", code)
	}
	if err := os.WriteFile(file, old, 0o600); err != nil {
		t.Fatal(err)
	}
	// What an entry was found by that is not there any more.
	raw := storetest.OpenRaw(t, "sqlite:"+file)
	raw.ExecUncounted("INSERT INTO audit_search (seq, person, terms) VALUES (1000000, $1, $1)", []byte("somebody"))
	if out, _, code := h.gatehouse("audit", "verify"); code != 0 {
		t.Fatalf("the older copy does not verify, so this shows nothing: %s", out)
	}

	for range 2 { // a restart does not forget it
		out, errOut, code := h.gatehouse("doctor")
		if code != exitFailed || !strings.Contains(out, "rolled back") {
			t.Errorf("doctor: %d %s%s", code, out, errOut)
		}
	}
	if out, errOut, code := h.gatehouse("service", "key", "create", "demo"); code == 0 || !strings.Contains(errOut, "log/tampered") {
		t.Errorf("giving out a key: %d %s%s", code, out, errOut)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	run := exec.CommandContext(ctx, os.Args[0], "run", "--config", h.config)
	run.Env = append(os.Environ(), asProgram+"=1")
	if said, err := run.CombinedOutput(); err == nil || run.ProcessState.ExitCode() != exitFailed || !strings.Contains(string(said), "gatehouse audit accept") {
		t.Errorf("run: %v %s, want it to say what to do", err, said)
	}
	if out, errOut, code := h.gatehouse("audit", "accept", "--confirm", "0000-0000"); code != exitFailed || !strings.Contains(errOut, "not the code") {
		t.Errorf("a wrong code: %d %s%s", code, out, errOut)
	}
	out, errOut, code := h.gatehouse("audit", "accept")
	confirm := regexp.MustCompile(`--confirm (\S+)`).FindStringSubmatch(out)
	if code != exitFailed || confirm == nil || !strings.Contains(out, "rolled back") {
		t.Fatalf("audit accept: %d %s%s", code, out, errOut)
	}
	if out, errOut, code = h.gatehouse("audit", "accept", "--confirm", confirm[1]); code != 0 {
		t.Fatalf("audit accept --confirm: %d %s%s", code, out, errOut)
	}
	if _, rows := raw.Query("SELECT seq FROM audit_search WHERE seq = 1000000"); len(rows) != 0 {
		t.Error("whose the lost entries were is still known: others will have their numbers")
	}
	h.start()
	if status, b := call(); status != http.StatusOK && status != http.StatusTooManyRequests {
		t.Errorf("after it was accepted: %d %s", status, b)
	}
	show, _, _ := h.gatehouse("audit", "show", "-n", "1000")
	for _, action := range []string{"log.tampered", "log.accept"} {
		if strings.Count(show, action) != 1 {
			t.Errorf("%s is %d times in the log, want once\n%s", action, strings.Count(show, action), show)
		}
	}
	if out, errOut, code := h.gatehouse("doctor"); code != 0 && strings.Contains(out, "FAIL  log ") {
		t.Errorf("doctor afterwards: %s%s", out, errOut)
	}
}

// TestDatabaseIsDeletedWhileRunning: whoever goes on writing a deleted file writes
// for nobody.
func TestDatabaseIsDeletedWhileRunning(t *testing.T) {
	h := newHouse(t)
	h.start()
	x := h.connectPerson(demoX, "ada", h.box.People()[0])
	file := filepath.Join(h.dir, "gatehouse.db")
	if err := os.Rename(file, file+".elsewhere"); err != nil {
		t.Fatal(err)
	}
	var status int
	var b []byte
	for deadline := time.Now().Add(time.Minute); status != http.StatusServiceUnavailable && time.Now().Before(deadline); {
		var err error
		if status, b, err = h.call(t.Context(), http.MethodGet, "/x/2/users/me", x.Handle, nil); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(string(b), "log/tampered") {
		t.Errorf("%d %s, want it refused because the log is gone", status, b)
	}
	// The gates close a moment before that is written.
	eventually(t, "the program's own log says why", func() bool { return strings.Contains(h.stderr.String(), "deleted or replaced") })
}
