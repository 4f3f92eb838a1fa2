package main

import (
	"bytes"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/audit"
)

// What a search prints as it follows stands under the columns that it began with.
func TestFollowedEntriesAreAligned(t *testing.T) {
	entry := func(operation gatehouse.Operation) audit.Shown {
		var e audit.Shown
		e.Kind, e.Action, e.Verdict, e.Rule, e.Operation = "outcome", "call", "done", "RULE", operation
		return e
	}
	s := searchOptions{follow: true}
	p := &parts{}
	var out bytes.Buffer
	if err := s.print(t.Context(), p, &out, []audit.Shown{entry("GET /2/users/me")}, true); err != nil {
		t.Fatal(err)
	}
	if err := s.print(t.Context(), p, &out, []audit.Shown{entry("GET /me")}, false); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("printed %d lines, want 3: %s", len(lines), out.String())
	}
	at := strings.Index(lines[0], "RULE")
	for _, line := range lines[1:] {
		if strings.Index(line, "RULE") != at {
			t.Errorf("the columns are not aligned:\n%s", out.String())
		}
	}
}
