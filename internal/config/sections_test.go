package config_test

import (
	"testing"

	"gatehouse/internal/config"

	"github.com/google/go-cmp/cmp"
)

func TestSections(t *testing.T) {
	sections := func(text string) map[string]string {
		t.Helper()
		out, err := config.Sections([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	one := sections(minimal)
	if len(one) < 3 {
		t.Fatalf("the sections are %v", one)
	}
	if d := cmp.Diff(one, sections("# a comment\n"+minimal+"\n# another\n")); d != "" {
		t.Errorf("with comments the sections differ: %s", d)
	}
	other := sections(minimal + "\nnode: blue\n")
	if other["node"] != `"blue"` {
		t.Errorf("the node is %q", other["node"])
	}
	delete(other, "node")
	if d := cmp.Diff(one, other); d != "" {
		t.Errorf("another entry changed: %s", d)
	}
	same, reordered := sections(minimal+"\nlimits: {handle_ttl: 1h, service_key_ttl: 2h}\n"), sections(minimal+"\nlimits:\n  service_key_ttl: 2h\n  handle_ttl: 1h # the same\n")
	if d := cmp.Diff(same, reordered); d != "" || same["limits"] == "" {
		t.Errorf("another layout differs: %s", d)
	}
	if d := cmp.Diff(same, sections(minimal+"\nlimits: {handle_ttl: 1h, service_key_ttl: 3h}\n")); d == "" {
		t.Error("another value is the same")
	}
	if _, err := config.Sections([]byte("a: [")); err == nil {
		t.Error("what is not YAML has sections")
	}
}
