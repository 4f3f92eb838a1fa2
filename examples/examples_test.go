// Package examples_test runs the example programs, which use client libraries
// written by others, against a real gatehouse demo. It needs Node.js, the
// examples' node_modules and curl: make setup installs them.
package examples_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// demo is a running gatehouse demo.
type demo struct {
	t       *testing.T
	program string
	process *exec.Cmd
	log     *buffer
	ready   struct {
		Dir         string          `json:"dir"`
		Config      string          `json:"config"`
		App         string          `json:"app_listener"`
		SandboxX    string          `json:"sandbox_x"`
		SandboxMeta string          `json:"sandbox_meta"`
		XHandle     string          `json:"x_handle"`
		MetaHandle  string          `json:"meta_handle"`
		XOAuth1     json.RawMessage `json:"x_oauth1"`
		ServiceKey  string          `json:"service_key"`
		CAFile      string          `json:"ca_file"`
	}
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) Bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.b.Bytes())
}

// startDemo builds the program as it is released and starts the demo.
func startDemo(t *testing.T) *demo {
	t.Helper()
	d := &demo{t: t, program: filepath.Join(t.TempDir(), "gatehouse")}
	build := exec.Command("go", "build", "-trimpath", "-o", d.program, "gatehouse/cmd/gatehouse")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	for try := 1; ; try++ {
		err := d.start()
		if err == nil {
			return d
		}
		// Demos of other packages' tests look for the same ports in the same moment.
		if said := d.log.Bytes(); try == 5 || !bytes.Contains(said, []byte("another program took a port")) {
			t.Fatalf("no ready line: %v\n%s", err, said)
		}
	}
}

// start starts the demo and waits for its ready line.
func (d *demo) start() error {
	t := d.t
	d.log = &buffer{}
	process := exec.Command(d.program, "demo", "--json", "--dir", filepath.Join(t.TempDir(), "demo"))
	d.process, process.Stderr = process, d.log
	out, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if process.ProcessState == nil {
			_ = process.Process.Kill()
			_ = process.Wait()
		}
	})
	begun := time.Now()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		_ = process.Wait()
		return err
	}
	if err := json.Unmarshal(line, &d.ready); err != nil {
		t.Fatalf("ready line %q: %v", line, err)
	}
	t.Logf("ready after %s", time.Since(begun).Round(time.Millisecond))
	return nil
}

// client runs an example in its directory and returns what it printed.
func (d *demo) client(dir string, extra []string, name string, args ...string) []byte {
	d.t.Helper()
	c := exec.Command(name, args...)
	c.Dir = dir
	c.Env = append(os.Environ(),
		"GATEHOUSE_URL="+d.ready.App, "X_HANDLE="+d.ready.XHandle, "META_HANDLE="+d.ready.MetaHandle, "X_OAUTH1="+string(d.ready.XOAuth1),
		"NODE_EXTRA_CA_CERTS="+d.ready.CAFile, "SSL_CERT_FILE="+d.ready.CAFile, "CURL_CA_BUNDLE="+d.ready.CAFile,
	)
	c.Env = append(c.Env, extra...)
	out, err := c.CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s: %v\n%s\nGatehouse said:\n%s", dir, err, out, last(d.log.Bytes(), 4000))
	}
	return out
}

func last(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// issued returns every secret that a sandbox listener ever issued.
func (d *demo) issued(base string) map[string]string {
	d.t.Helper()
	res, err := http.Get(base + "/_sandbox/ledger")
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	var list []struct{ Kind, Value string }
	if err := json.NewDecoder(res.Body).Decode(&list); err != nil {
		d.t.Fatal(err)
	}
	out := map[string]string{}
	for _, i := range list {
		out[i.Value] = i.Kind
	}
	return out
}

// TestClients runs every example against one demo and then looks for the
// platforms' tokens wherever one could have gone.
func TestClients(t *testing.T) {
	d := startDemo(t)
	var seen bytes.Buffer
	for _, run := range []struct {
		dir   string
		env   []string
		args  []string
		wants []string
	}{
		{"xdk", nil, []string{"npm", "start", "--silent"}, []string{"me: @", "post: ", "search: ", "followers: "}},
		{"go-client", nil, []string{"go", "run", "."}, []string{"me: @", "post: ", "search: ", "followers: ", "oauth1: @"}},
		{"curl", nil, []string{"./main.sh"}, []string{"me: ok", "post: ok", "search: ok", "batch: ok", "paging: leads back", "undeclared call: refused"}},
		{"facebook-nodejs-business-sdk", []string{"LOGOUT=1"}, []string{"npm", "start", "--silent"}, []string{"me: ", "pages: ", "feed: ", "batch: 2", "logout: revoked"}},
		{"twitter-api-v2", []string{"LOGOUT=1"}, []string{"npm", "start", "--silent"}, []string{"me: @", "post: ", "search: ", "followers: ", "oauth1: @", "logout: revoked"}},
	} {
		t.Run(run.dir, func(t *testing.T) {
			d.t = t
			env := run.env
			if run.dir == "go-client" {
				// SSL_CERT_FILE is for the program, not for the go command.
				bin := filepath.Join(t.TempDir(), "client")
				build := exec.Command("go", "build", "-o", bin, ".")
				build.Dir = run.dir
				if out, err := build.CombinedOutput(); err != nil {
					t.Fatalf("building: %v\n%s", err, out)
				}
				run.args = []string{bin}
			}
			out := d.client(run.dir, env, run.args[0], run.args[1:]...)
			for _, want := range run.wants {
				if !strings.Contains(string(out), want) {
					t.Errorf("%s does not say %q:\n%s", run.dir, want, out)
				}
			}
			seen.Write(out)
		})
	}
	d.t = t
	tokens := d.issued(d.ready.SandboxX)
	for value, kind := range d.issued(d.ready.SandboxMeta) {
		tokens[value] = kind
	}
	if len(tokens) < 10 {
		t.Fatalf("the sandbox says that it issued %d secrets; the search below would prove nothing", len(tokens))
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", d.process.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	places := map[string][]byte{"the clients' output": seen.Bytes(), "the command line": cmdline}

	verify := exec.Command(d.program, "audit", "verify", "--config", d.ready.Config)
	if out, err := verify.CombinedOutput(); err != nil {
		t.Errorf("audit verify: %v\n%s", err, out)
	}
	// What the clients' run has left in storage, searched for every secret, token shape
	// and marker. That this machine's disk may not be encrypted is no finding.
	var atRest struct {
		Verdict   string
		Found     []any
		LookedFor struct{ Secrets, Connections int } `json:"looked_for"`
	}
	search := exec.Command(d.program, "doctor", "--at-rest", "--json", "--config", d.ready.Config)
	out, err := search.Output()
	if bad := json.Unmarshal(out, &atRest); bad != nil || atRest.Verdict == "found" || len(atRest.Found) > 0 || atRest.LookedFor.Connections < 5 {
		t.Errorf("doctor --at-rest: %v, %v\n%s", err, bad, out)
	}
	if err := d.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := d.process.Wait(); err != nil {
		t.Errorf("the demo did not end cleanly: %v\n%s", err, last(d.log.Bytes(), 2000))
	}
	places["the log"] = d.log.Bytes()
	show := exec.Command(d.program, "audit", "show", "-n", "100000", "--json", "--config", d.ready.Config)
	entries, err := show.Output()
	if err != nil {
		t.Errorf("audit show: %v", err)
	}
	places["audit show"] = entries
	if !bytes.Contains(entries, []byte("GET /2/users/me")) {
		t.Error("operation names do not stand in clear in the log")
	}
	err = filepath.WalkDir(d.ready.Dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		b, err := io.ReadAll(f)
		places["file "+e.Name()] = b
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for place, text := range places {
		for value, kind := range tokens {
			// The registrations' own secrets are the operator's: the demo, as the
			// operator, wrote them into files of their own.
			if strings.HasSuffix(place, "-secret") && strings.HasSuffix(kind, " secret") {
				continue
			}
			if len(value) >= 16 && bytes.Contains(text, []byte(value)) {
				t.Errorf("%s holds a %s that the sandbox issued", place, kind)
			}
		}
	}
}
