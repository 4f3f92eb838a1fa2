package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/store"
)

func TestDifferingLines(t *testing.T) {
	long := func(from, to int) string {
		var b strings.Builder
		for i := from; i < to; i++ {
			fmt.Fprintf(&b, "%d\n", i)
		}
		return b.String()
	}
	show := func(a, b string) string {
		lines, more := differingLines(a, b)
		var out strings.Builder
		for _, l := range lines {
			out.WriteString(l.Mark() + l.Text + "|")
		}
		if more {
			out.WriteString("more")
		}
		return out.String()
	}
	for _, c := range []struct{ a, b, want string }{
		{"a\nb\n", "a\nb\n", ""},
		{"a\nb\nc\n", "a\nx\nc\n", " a|-b|+x| c|"},
		{"a\nb\n", "b\nc\n", "-a| b|+c|"},
		{"", "a\n", "-|+a|"},
		{long(0, 20), strings.Replace(strings.Replace(long(0, 20), "3\n", "x\n", 1), "15\n", "", 1), " 1| 2|-3|+x| 4| 5|⋮| 13| 14|-15| 16| 17|"},
	} {
		if got := show(c.a, c.b); got != c.want {
			t.Errorf("%q and %q: %q, want %q", c.a, c.b, got, c.want)
		}
	}
	if lines, more := differingLines(long(0, 3000), long(3000, 6000)); !more || len(lines) != maxDifference {
		t.Errorf("two long texts: %d lines, more is %v", len(lines), more)
	}
}

// TestAppliedConfigurations: each node has one row, with where its text differs, however
// often another reloads.
func TestAppliedConfigurations(t *testing.T) {
	_, p := consoleParts(t)
	ctx := t.Context()
	ours := appliedText(p.cfg)
	if ours == "" || strings.Contains(ours, "#") {
		t.Fatalf("the text in force is %q", ours)
	}
	now := time.Now().UTC()
	for i, one := range []store.AppliedConfiguration{
		{Log: p.own.Number, Hash: p.cfg.Hash(), Text: ours, At: now},
		{Log: 7, Node: "blue", Hash: "bb", Text: ours + "node: blue\n", At: now.Add(-time.Hour)},
		{Log: 8, Node: "green", Hash: "cc", At: now.Add(-2 * time.Hour)},
	} {
		if err := p.db.Configurations().Save(ctx, one); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	for range maxApplied + 1 {
		p.log.Refusal(audit.Entry{Action: "config.apply", Verdict: "done", Facts: map[string]string{"sha256": "zz"}})
	}
	view, err := configurationSource{p}.Configuration(ctx)
	if err != nil || len(view.Nodes) != 3 {
		t.Fatalf("%+v, %v", view.Nodes, err)
	}
	if n := view.Nodes[0]; n.Hash != p.cfg.Hash() || n.Unknown || n.Lines != nil {
		t.Errorf("this node: %+v", n)
	}
	n := view.Nodes[1]
	if last := len(n.Lines) - 1; n.Node != "blue" || n.Unknown || last < 0 || n.Lines[last].Mark()+n.Lines[last].Text != "+node: blue" {
		t.Errorf("another: %+v", n)
	}
	if n := view.Nodes[2]; n.Node != "green" || !n.Unknown || n.Lines != nil {
		t.Errorf("one without a text: %+v", n)
	}
	if err := os.WriteFile(p.cfg.Path(), []byte("# another\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text := appliedText(p.cfg); text != "" {
		t.Errorf("a file that is not what was read: %q", text)
	}
}

func TestWithoutUserinfo(t *testing.T) {
	for text, want := range map[string]string{
		"url: https://ops:hunter2@example.com/x": "url: https://ops:…@example.com/x", "url: 'https://example.com:8443/a@b'": "url: 'https://example.com:8443/a@b'",
		"store: postgres://gatehouse@db/x": "store: postgres://gatehouse@db/x",
	} {
		if got := withoutUserinfo(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
