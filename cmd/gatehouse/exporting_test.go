package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A sink that the configuration names later gets what was written since it has a cursor,
// without a restart; one that it names no longer gets no more, and goes on where it was
// when it is named again.
func TestSinksAreReloaded(t *testing.T) {
	h := newHouse(t)
	plain, err := os.ReadFile(h.config)
	if err != nil {
		t.Fatal(err)
	}
	first, second := filepath.Join(t.TempDir(), "first.jsonl"), filepath.Join(t.TempDir(), "second.jsonl")
	read := func(path string) string {
		b, _ := os.ReadFile(path) // not there yet
		return string(b)
	}
	reload := func(sinks string, done func() bool) {
		t.Helper()
		if err := os.WriteFile(h.config, append(plain[:len(plain):len(plain)], sinks...), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := h.process.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the sinks are not those of %q\n%s", sinks, h.stderr)
			}
		}
	}
	has := func(path string) func() bool {
		return func() bool { return strings.Contains(read(path), `"config.apply"`) }
	}
	h.start()
	to := func(name, path string) string { return "    - {name: " + name + ", kind: jsonl, path: " + path + "}\n" }
	reload("audit:\n  export:\n"+to("first", first), has(first))
	reload("audit:\n  export:\n"+to("second", second), has(second))
	before := read(first)
	reload("audit:\n  export:\n"+to("second", second), func() bool { return strings.Count(read(second), "\n") > strings.Count(before, "\n")+1 })
	if read(first) != before {
		t.Error("a sink that is not named any more got entries")
	}
	reload("audit:\n  export:\n"+to("second", second)+to("first", first), func() bool { return read(first) != before })
	if !strings.HasPrefix(read(first), before) {
		t.Error("the sink did not go on where it was")
	}
	if strings.Contains(h.stderr.String(), "needs a restart") {
		t.Errorf("a change is said to need a restart:\n%s", h.stderr)
	}
}

// A directory without a log is a mistake, of which is said what to do; one that has one
// is watched.
func TestWatchingAWrongDirectory(t *testing.T) {
	h := newHouse(t)
	key := filepath.Join(h.dir, logKeyFile)
	tiles := filepath.Join(t.TempDir(), "tiles")
	if out, errOut, code := h.gatehouse("audit", "export", "--tiles", tiles); code != 0 {
		t.Fatalf("exporting: %d\n%s%s", code, out, errOut)
	}
	for dir, want := range map[string]int{tiles: 0, t.TempDir(): 1, filepath.Join(tiles, "none"): 1} {
		_, errOut, code := h.gatehouse("audit", "watch", "--url", dir, "--key", key, "--state", t.TempDir(), "--once")
		if code != want || want == 1 && !strings.Contains(errOut, "audit export --tiles") {
			t.Errorf("%s: exit status %d, want %d\n%s", dir, code, want, errOut)
		}
	}
}
