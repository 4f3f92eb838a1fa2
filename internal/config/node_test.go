package config_test

import (
	"strings"
	"testing"

	"gatehouse/internal/config"
)

// A node's name becomes part of an origin, of paths and of file names.
func TestNameOfANode(t *testing.T) {
	if c, _ := load(t, minimal); c.Node != "" {
		t.Errorf("a node without a name is called %q", c.Node)
	}
	longest := "a" + strings.Repeat("1", 31)
	for _, name := range []string{"blue", "a", "node-2", longest, "tiles"} {
		if c, _ := load(t, minimal+"node: "+name+"\n"); c.Node != name {
			t.Errorf("node: %s gives %q", name, c.Node)
		}
	}
	for _, name := range []string{"Blue", "2a", "-a", "a_b", "a.b", "a/b", "'a b'", "a+b", longest + "1", "tile", "checkpoint", "ä"} {
		_, _, err := config.Parse("/etc/gatehouse/gatehouse.yaml", []byte(minimal+"node: "+name+"\n"), world())
		if err == nil || !strings.Contains(err.Error(), "node: ") {
			t.Errorf("node: %s gives %v, want a refusal that names the field", name, err)
		}
	}
}
