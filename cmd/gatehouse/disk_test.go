package main

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFullDisk fills the disk under a running program (a limit on the size of
// its files stands for the disk). Calls are refused from then on, because they
// cannot be recorded, with an answer that says so; nothing that was acknowledged
// is lost; who is cut off meanwhile is cut off before the next call is made; and
// with room again the program goes on.
func TestFullDisk(t *testing.T) {
	h := newHouse(t)
	h.start()
	x := h.connectPerson(demoX, "ada", h.box.People()[0])
	left := h.connectPerson(demoX, "ben", h.box.People()[1])
	var second struct {
		ID     string `json:"id"`
		Handle string `json:"handle"`
	}
	if err := h.api().do(t.Context(), http.MethodPost, "/gatehouse/v1/handles", map[string]any{"connection": x.Connection, "purpose": "publish"}, &second); err != nil {
		t.Fatal(err)
	}
	if code := h.stop(); code != 0 {
		t.Fatalf("exit status %d", code)
	}
	// The write-ahead log is what grows first. ulimit counts 512-byte blocks in
	// dash and 1024-byte blocks in bash: either way there is room for a spool, and it
	// is soon full.
	h.startWith("sh", "-c", `ulimit -f 2100; exec "$0" "$@"`, os.Args[0])

	answered, refused := 0, 0
	var problem struct{ Title, Detail, Rule string }
	for deadline := time.Now().Add(60 * time.Second); refused < 20 && time.Now().Before(deadline); {
		status, b, err := h.call(t.Context(), http.MethodGet, "/x/2/users/me", x.Handle, nil)
		if err != nil {
			t.Fatal(err)
		}
		switch status {
		case http.StatusOK, http.StatusTooManyRequests:
			answered++
			if refused > 0 {
				t.Error("a call was made although the log could not be written")
			}
		case http.StatusServiceUnavailable:
			refused++
			if err := json.Unmarshal(b, &problem); err != nil {
				t.Fatalf("the refusal is %q: %v", b, err)
			}
		default:
			t.Fatalf("status %d: %s", status, b)
		}
	}
	if answered == 0 || refused == 0 {
		t.Fatalf("%d calls answered, %d refused; want some of both\n%s", answered, refused, h.stderr)
	}
	if !strings.Contains(problem.Detail, "record") || problem.Rule != "log/unwritable" {
		t.Errorf("the refusal does not say why: %+v", problem)
	}
	status, health, err := h.call(t.Context(), http.MethodGet, "/gatehouse/v1/health", x.Handle, nil)
	if err != nil || status != http.StatusServiceUnavailable || !strings.Contains(string(health), `"status":"closed"`) || !strings.Contains(string(health), `"log":"unwritable"`) {
		t.Errorf("health: %d %s %v", status, health, err)
	}
	// A row may still fit in; if not, it is noted beside the database.
	for _, path := range []string{"/gatehouse/v1/handles/" + second.ID, "/gatehouse/v1/connections/" + left.Connection} {
		if err := h.api().do(t.Context(), http.MethodDelete, path, nil, nil); err != nil && !strings.Contains(err.Error(), "log/deferred") {
			t.Errorf("DELETE %s on a full disk: %v, want it done, or noted", path, err)
		}
	}
	if !strings.Contains(h.stderr.String(), "log") {
		t.Error("the program's own log says nothing of it")
	}
	h.kill()

	out, errOut, code := h.gatehouse("audit", "verify")
	if code != 0 {
		t.Fatalf("audit verify: %d\n%s%s", code, out, errOut)
	}
	h.start()
	if status, b, err := h.call(t.Context(), http.MethodGet, "/x/2/users/me", x.Handle, nil); err != nil || status != http.StatusOK && status != http.StatusTooManyRequests {
		t.Errorf("with room again: %d %s %v", status, b, err)
	}
	for handle, rule := range map[string]string{second.Handle: "identity/handle-revoked", left.Handle: "identity/handle-revoked"} {
		if status, b, err := h.call(t.Context(), http.MethodGet, "/x/2/users/me", handle, nil); err != nil || status != http.StatusUnauthorized || !strings.Contains(string(b), rule) {
			t.Errorf("a call by who was cut off on the full disk: %d %s %v", status, b, err)
		}
	}
	show, _, _ := h.gatehouse("audit", "show", "--json", "-n", "100000", "--operation", "GET /2/users/me")
	if n := strings.Count(show, `"kind": "intent"`); n < answered {
		t.Errorf("%d calls were answered and %d intents are in the log", answered, n)
	}
	// That calls were refused was kept beside the log by the process that was killed.
	if show, _, _ := h.gatehouse("audit", "show", "--json", "-n", "100000"); !strings.Contains(show, `"action": "log.close"`) {
		t.Error("the log does not say that it could not be written")
	}
}

// TestReadOnlyDirectory starts the program where it cannot write: it says which
// file it is about, and does not serve.
func TestReadOnlyDirectory(t *testing.T) {
	h := newHouse(t)
	program := os.Args[0]
	var credential *syscall.Credential
	if os.Geteuid() == 0 {
		// Root writes anywhere, so the program runs as somebody else.
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
		program = filepath.Join(t.TempDir(), "gatehouse")
		content, err := os.ReadFile(os.Args[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(program, content, 0o755); err != nil {
			t.Fatal(err)
		}
		for dir := h.dir; dir != "/"; dir = filepath.Dir(dir) {
			open(t, dir)
		}
		for dir := filepath.Dir(program); dir != "/"; dir = filepath.Dir(dir) {
			open(t, dir)
		}
		err = filepath.WalkDir(h.dir, func(path string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Chown(path, int(uid), int(uid))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(h.dir, "gatehouse.db"), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(h.dir, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(h.dir, 0o755) })

	c := exec.CommandContext(t.Context(), program, "run", "--config", h.config, "--json")
	c.Env = append(os.Environ(), asProgram+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	out, err := c.CombinedOutput()
	if c.ProcessState == nil {
		t.Fatal(err)
	}
	if c.ProcessState.ExitCode() != exitFailed {
		t.Fatalf("exit status %d, want %d\n%s", c.ProcessState.ExitCode(), exitFailed, out)
	}
	if strings.Contains(string(out), "app_listener") {
		t.Error("it said that it is ready")
	}
	if !strings.Contains(string(out), "gatehouse.db") {
		t.Errorf("the error does not name the file:\n%s", out)
	}
}

// open lets others pass through a directory that a test owns.
func open(t *testing.T, dir string) {
	t.Helper()
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm()&0o001 == 0 {
		if err := os.Chmod(dir, info.Mode().Perm()|0o011); err != nil {
			t.Fatal(err)
		}
	}
}
