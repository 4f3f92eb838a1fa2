package main

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// initConfig is the least that init needs.
const initConfig = `environment: development
public_url: http://127.0.0.1:8103
listen: {app: 127.0.0.1:8100}
store: sqlite:gatehouse.db
root_key: file:root.key
`

// An init that was killed, wherever it was, is run again and does the rest.
func TestInitKilledAndRunAgain(t *testing.T) {
	dir := func() string {
		d := t.TempDir()
		if err := os.WriteFile(filepath.Join(d, "gatehouse.yaml"), []byte(initConfig), 0o600); err != nil {
			t.Fatal(err)
		}
		return d
	}
	program := func(d string, args ...string) (*exec.Cmd, *strings.Builder) {
		c := exec.Command(os.Args[0], append(args, "--config", filepath.Join(d, "gatehouse.yaml"))...)
		c.Env = append(os.Environ(), asProgram+"=1")
		var out strings.Builder
		c.Stdout, c.Stderr = &out, &out
		return c, &out
	}
	whole := time.Now()
	if c, out := program(dir(), "init"); c.Run() != nil {
		t.Fatal(out)
	}
	life := time.Since(whole)

	killed := 0
	for range 40 {
		d := dir()
		c, _ := program(d, "init")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.Int64N(int64(life))))
		_ = c.Process.Kill() // it may have ended by itself
		var exit *exec.ExitError
		if errors.As(c.Wait(), &exit) && exit.ExitCode() == -1 {
			killed++
		}
		before, _ := os.ReadDir(d)
		if c, out := program(d, "init"); c.Run() != nil {
			t.Fatalf("with %v: %s", before, out)
		}
		if c, out := program(d, "audit", "verify"); c.Run() != nil {
			t.Fatalf("with %v: %s", before, out)
		}
	}
	if killed < 10 {
		t.Errorf("only %d of 40 were killed before their end", killed)
	}
}
