package config

import (
	"strings"
	"testing"
)

func TestTextHasNoComments(t *testing.T) {
	in := "# the key is hunter2\nenvironment: development # hunter2\n\n# hunter2\nstore: env:DSN\npurposes:\n  # hunter2\n  a:\n    - x # hunter2\n    # hunter2\n  # hunter2\n# hunter2\n"
	got, err := Text([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	if want := "environment: development\nstore: env:DSN\npurposes:\n  a:\n    - x\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := Text([]byte("a: [")); err == nil || strings.Contains(err.Error(), "a: [") {
		t.Errorf("of what is no YAML: %v", err)
	}
	// What is shown is still what was written.
	example, err := Text([]byte(Example()))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Text([]byte(example)); err != nil || again != example || strings.Contains(example, "#") && !strings.Contains(Example(), "'#") {
		t.Errorf("the example's text is not stable, or has comments: %v\n%s", err, example)
	}
}
