package main

import (
	"slices"
	"strings"
	"syscall"
	"testing"

	"gatehouse/internal/console"
	"gatehouse/internal/store/storetest"
)

// Two nodes of one installation have files of their own: the page Configuration says in
// which sections they differ, and not only that they do.
func TestConsoleComparesNodes(t *testing.T) {
	blue := newHouseWith(t, "store: sqlite:gatehouse.db", "node: blue\nstore: "+storetest.EmptyPostgres(t))
	blue.start()
	green := blue.node("blue", "green")
	green.start()
	cfg := blue.load()
	p, err := assemble(t.Context(), cfg, newLogger(cfg.Log))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	nodes := func() map[string]console.AppliedLine {
		t.Helper()
		view, err := configurationSource{p}.Configuration(t.Context())
		if err != nil || view.Node != "blue" {
			t.Fatalf("the configuration is %+v, %v", view, err)
		}
		out := map[string]console.AppliedLine{}
		for _, n := range view.Nodes {
			out[n.Node] = n
		}
		return out
	}
	eventually(t, "both nodes are compared", func() bool { return len(nodes()) == 2 })
	all := nodes()
	if n := all["blue"]; n.Hash != cfg.Hash() || n.Unknown || len(n.Differs) > 0 {
		t.Errorf("blue is %+v", n)
	}
	if n := all["green"]; n.Hash == cfg.Hash() || n.Unknown || !slices.Equal(n.Differs, []string{"listen", "node"}) {
		t.Errorf("green is %+v", n)
	}
	// Somebody changes one node and forgets the other.
	green.rewriteConfig("rate: 200/s", "rate: 100/s")
	if err := green.process.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "green differs in its services", func() bool { return slices.Equal(nodes()["green"].Differs, []string{"listen", "node", "services"}) })
}

func TestDifferingSections(t *testing.T) {
	for _, c := range []struct{ one, other, want string }{
		{"a: 1\nb: 2", "b: 2 # two\na: 1", ""}, {"a: 1\nb: 2", "a: 1\nb: 3", "b"}, {"a: 1", "a: 1\nc: 1", "c"}, {"a: 1\nc: 1", "a: 1", "c"}, {"b: 1\na: 1", "b: 2\na: 2", "a b"},
	} {
		got, err := differingSections(c.one, c.other)
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%q against %q: %q, want %q, %v", c.one, c.other, got, c.want, err)
		}
	}
}
