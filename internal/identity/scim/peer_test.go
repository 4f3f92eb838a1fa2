package scim_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/scim"
	"gatehouse/internal/store/storetest"
)

// TestPeers has two libraries that are not ours (tools/scimpeer) judge what we say: the
// schemas, every resource and error, and what each kind of PATCH makes of a user.
func TestPeers(t *testing.T) {
	tool := filepath.Join("..", "..", "..", "tools", "scimpeer")
	if _, err := os.Stat(filepath.Join(tool, "node_modules", "scimmy")); err != nil {
		t.Fatalf("SCIMMY is not installed; scripts/setup installs it: %v", err)
	}
	w := newWorld(t, storetest.SQLite(t), options{groups: map[string]operator.Role{"peers": operator.Auditor}, limits: scim.Limits{PerSecond: 10000}})
	w.operator("owner@example.com", operator.Owner)
	for _, name := range []string{"a@example.com", "b@example.com", "c@example.com"} {
		w.made(name)
	}
	c := exec.CommandContext(t.Context(), "node", filepath.Join(tool, "peer.mjs"), w.server.URL+"/scim/v2")
	c.Env = append(os.Environ(), "SCIM_TOKEN="+w.token.Reveal())
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
