package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatehouse/internal/config"
	"gatehouse/internal/sandbox"
)

// house is a Gatehouse in a process of its own, on a directory that outlives
// it, with the sandbox in the test's process.
type house struct {
	t      *testing.T
	dir    string
	config string
	box    *sandbox.Server
	key    string // of service "demo"
	client *http.Client
	// outsiders have tunnels, for which a program that stops would wait.
	outsiders []*http.Transport

	process *exec.Cmd
	stderr  *lockedBuffer
	ready   map[string]string
}

// lockedBuffer collects a child's output while a test may look at it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newHouse makes a Gatehouse with the demo's configuration; it does not run yet.
func newHouse(t *testing.T) *house {
	t.Helper()
	return newHouseOn(t, "sqlite:gatehouse.db")
}

// newHouseOn is newHouse on another store.
func newHouseOn(t *testing.T, dsn string) *house {
	t.Helper()
	return newHouseWith(t, "store: sqlite:gatehouse.db", "store: "+dsn)
}

// newHouseWith is newHouse with one line of its configuration changed.
func newHouseWith(t *testing.T, line, by string) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir(), stderr: &lockedBuffer{}}
	o := houseOptions(h.dir)
	box, err := o.startSandbox(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Close(); err != nil {
			t.Error(err)
		}
	})
	h.box = box
	cfg, err := o.configure(box)
	if err != nil {
		t.Fatal(err)
	}
	h.config = cfg.Path()
	text, err := os.ReadFile(h.config)
	if err != nil {
		t.Fatal(err)
	}
	// Tests that want figures say so by themselves.
	text = regexp.MustCompile(`(?m)^metrics: .*\n`).ReplaceAll(text, nil)
	text = bytes.Replace(text, []byte(line), []byte(by), 1)
	if err := os.WriteFile(h.config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg = h.load()
	if err := initialise(t.Context(), cfg, io.Discard); err != nil {
		t.Fatal(err)
	}
	if h.client, err = demoClient(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.kill)
	return h
}

// houseOptions are the demo's, with ports of its own below those that the system
// hands out: a house is stopped and started again, and must find its address free.
// X has no limits, so that each call gets as far as it can.
func houseOptions(dir string) demoOptions {
	return demoOptions{dir: dir, firstPort: 20000 + 10*rand.IntN(1200), xFactor: -1, pause: 5 * time.Second}
}

// load returns the configuration as the program sees it.
func (h *house) load() *config.Config {
	h.t.Helper()
	cfg, _, err := config.Load(h.config, resolver())
	if err != nil {
		h.t.Fatal(err)
	}
	return cfg
}

// start runs the program and waits for its ready line.
func (h *house) start() {
	h.t.Helper()
	h.startWith(os.Args[0])
}

// startWith starts the program through another one, such as a shell that sets a
// limit first.
func (h *house) startWith(name string, args ...string) {
	h.t.Helper()
	h.process = exec.Command(name, append(args, "run", "--config", h.config, "--json")...)
	h.process.Env = append(os.Environ(), asProgram+"=1")
	h.process.Stderr = h.stderr
	out, err := h.process.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.process.Start(); err != nil {
		h.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		h.t.Fatalf("no ready line: %v\n%s", err, h.stderr)
	}
	h.ready = nil
	if err := json.Unmarshal(line, &h.ready); err != nil {
		h.t.Fatalf("ready line %q: %v", line, err)
	}
}

// kill ends the program at once, as a power cut would end it.
func (h *house) kill() {
	if h.process == nil {
		return
	}
	if err := h.process.Process.Kill(); err != nil {
		h.t.Errorf("killing: %v", err)
	}
	_ = h.process.Wait() // "signal: killed" is what was asked for
	h.process = nil
	h.client.CloseIdleConnections()
}

// stop ends the program in order and returns its exit status.
func (h *house) stop() int {
	h.t.Helper()
	for _, transport := range h.outsiders {
		transport.CloseIdleConnections()
	}
	if err := h.process.Process.Signal(syscall.SIGTERM); err != nil {
		h.t.Fatal(err)
	}
	_ = h.process.Wait()
	code := h.process.ProcessState.ExitCode()
	h.process = nil
	h.client.CloseIdleConnections()
	return code
}

// gatehouse runs one command and returns what it printed and its exit status.
func (h *house) gatehouse(args ...string) (string, string, int) {
	h.t.Helper()
	c := exec.Command(os.Args[0], append(args, "--config", h.config)...)
	c.Env = append(os.Environ(), asProgram+"=1")
	var out, errOut bytes.Buffer
	c.Stdout, c.Stderr = &out, &errOut
	err := c.Run()
	if c.ProcessState == nil {
		h.t.Fatal(err)
	}
	return out.String(), errOut.String(), c.ProcessState.ExitCode()
}

// api returns a client of the app's API for the running program.
func (h *house) api() *apiClient {
	h.t.Helper()
	if h.key == "" {
		out, errOut, code := h.gatehouse("service", "key", "create", "demo")
		if code != 0 {
			h.t.Fatalf("service key create: %s", errOut)
		}
		h.key = strings.TrimSpace(out)
	}
	return &apiClient{base: h.ready["app_listener"], key: h.key, http: h.client}
}

// connectPerson walks a person's browser through consent and returns the
// grant, as a real app gets it.
func (h *house) connectPerson(registration, subject, username string) *demoGrant {
	h.t.Helper()
	app := &demoApp{
		api: h.api(), purposes: map[string]string{demoX: "publish", demoFacebook: "pages"}, sessions: map[string]string{},
		self: strings.TrimSuffix(h.load().Returns[0], "/connected"),
	}
	defer h.serve(app)()
	h.browse(app, registration, subject, username)
	return app.granted(registration)[0]
}

// serve has an app listen at its address until the returned function is called.
func (h *house) serve(app *demoApp) (end func()) {
	h.t.Helper()
	l, err := net.Listen("tcp", strings.TrimPrefix(app.self, "http://"))
	if err != nil {
		h.t.Fatal(err)
	}
	site := &http.Server{Handler: app.Handler(), ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = site.Serve(l)
	}()
	return func() {
		_ = site.Close()
		<-served
	}
}

// browse walks a person's browser through an app and consent.
func (h *house) browse(app *demoApp, registration, subject, username string) {
	h.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	browser := *h.client
	browser.Jar = jar
	if err := app.consentAs(h.t.Context(), &browser, registration, subject, username); err != nil {
		h.t.Fatalf("%v\n%s", err, h.stderr)
	}
}

// call makes one call with a handle.
func (h *house) call(ctx context.Context, method, path, handle string, body any) (int, []byte, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, h.ready["app_listener"]+path, r)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+handle)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := h.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, b, err
}

// noTokens fails the test if anything the sandbox ever issued stands in a text.
func noTokens(t *testing.T, box *sandbox.Server, where string, text []byte) {
	t.Helper()
	for _, issued := range box.Ledger() {
		if len(issued.Value) >= 16 && bytes.Contains(text, []byte(issued.Value)) {
			t.Errorf("%s holds a %s that the sandbox issued", where, issued.Kind)
		}
	}
}

// noTokensInFiles searches every file below dir, except those that the operator
// put there: the registrations' own secrets.
func noTokensInFiles(t *testing.T, box *sandbox.Server, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "-secret") {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		noTokens(t, box, fmt.Sprintf("file %s", d.Name()), content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
