package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Whoever has no port as wanted gets one of its own.
func TestPortsOfTheDemoDiffer(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	taken := busy.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // TCP's
	ports := map[string]int{}
	for i := range 500 {
		ports[strconv.Itoa(i)] = taken
	}
	if err := freePorts(ports); err != nil {
		t.Fatal(err)
	}
	seen := map[int]string{taken: "somebody else"}
	for name, port := range ports {
		if other, twice := seen[port]; twice {
			t.Errorf("%s has port %d, and so has %s", name, port, other)
		}
		seen[port] = name
	}
	own, err := ownPort()
	if err != nil {
		t.Fatal(err)
	}
	ports = map[string]int{"a": own}
	if err := freePorts(ports); err != nil || ports["a"] != own {
		t.Errorf("nobody listens on %d: %v, %v", own, ports, err)
	}
}

// Between looking for free ports and listening another program may take one.
func TestDemoSaysThatAPortWasTaken(t *testing.T) {
	o := houseOptions(t.TempDir())
	o.json, o.out = true, io.Discard
	box, err := o.startSandbox(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	cfg, err := o.configure(box)
	if err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("tcp", cfg.Listen.Public)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	err = o.serve(t.Context(), cfg, box)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.HasPrefix(err.Error(), "another program took a port that was free a moment ago; start the demo again") {
		t.Errorf("a port that was taken: %v", err)
	}
}

// TestDemoStory: people come, a grant is withdrawn, the app is removed with a request for
// deletion that the app answers after a while, tokens die and their person comes back, and
// a review is open.
func TestDemoStory(t *testing.T) {
	h := &house{t: t, dir: t.TempDir()}
	h.config = filepath.Join(h.dir, "gatehouse.yaml")
	o := houseOptions(h.dir)
	o.json, o.out, o.pause = true, io.Discard, 200*time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- o.run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the demo ended with %v", err)
		}
	}()
	list := func(args ...string) []map[string]any {
		out, _, code := h.gatehouse(append(args, "--json")...)
		var rows []map[string]any
		if code != 0 || json.Unmarshal([]byte(out), &rows) != nil {
			return nil
		}
		return rows
	}
	has := func(rows []map[string]any, key string, value any) bool {
		return slices.ContainsFunc(rows, func(row map[string]any) bool { return row[key] == value })
	}
	eventually(t, "a connection that has to be made again", func() bool { return has(list("connect", "list"), "status", "reconnect_needed") })
	eventually(t, "an open duty of each kind", func() bool {
		rows := list("case", "list")
		return has(rows, "kind", "deauthorized") && has(rows, "kind", "deletion_requested")
	})
	eventually(t, "both duties done", func() bool {
		rows := list("case", "list")
		return len(rows) >= 2 && !has(rows, "state", "open")
	})
	eventually(t, "an open review", func() bool { return has(list("account", "review", "list"), "state", "open") })
	eventually(t, "twelve more people", func() bool { return len(list("connect", "list")) >= 30 })
	eventually(t, "nobody has to connect again", func() bool { return !has(list("connect", "list"), "status", "reconnect_needed") })
}

// The demo says where its figures are, and they are there.
func TestDemoSaysWhereItsFiguresAre(t *testing.T) {
	s := startShowcase(t)
	res, err := http.Get(s.ready.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), "gatehouse_build_info") {
		t.Errorf("%d, %v: %.300s", res.StatusCode, err, body)
	}
}
