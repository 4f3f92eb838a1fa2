package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

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
