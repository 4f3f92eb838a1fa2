package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"gatehouse/internal/config"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write the generated documents instead of comparing them")

// TestGeneratedDocuments holds the documents that are made from the code to the
// code. `make gen` renews them.
func TestGeneratedDocuments(t *testing.T) {
	for path, want := range map[string]string{
		"../../docs/configuration.md": configurationDocument(),
		"../../docs/commands.md":      commandsDocument(),
	} {
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("%v (make gen writes it)", err)
			continue
		}
		if string(got) != want {
			t.Errorf("%s is not what the code says; run make gen and read the difference", path)
		}
	}
}

func configurationDocument() string {
	return `# Configuration

One strict YAML file, reviewed like code. An unknown key, a duplicate, a secret that is
written out, a call that the platform does not have: each is an error with its line, and
all are shown at once by ` + "`gatehouse config check`" + `. ` + "`SIGHUP`" + ` applies purposes, services, who
may fetch events and read the log, the sinks of the log and the mode without a restart; each applied version's hash is in the log.

Relative paths are relative to the file. Secrets are references: ` + "`env:NAME` or `file:PATH`" + `.

This is what ` + "`gatehouse config example`" + ` prints (made from the code by ` + "`make gen`" + `):

` + "```yaml\n" + config.Example() + "```\n"
}

func commandsDocument() string {
	var b strings.Builder
	b.WriteString("# Commands\n\nMade from the program's help by `make gen`. Every command takes `--config FILE`; every\nlisting takes `--json`. Exit status: 0 done, 1 failed or found wanting, 2 wrong use.\n`gatehouse completion` prints completion for your shell.\n")
	root, _ := newRoot()
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
			return
		}
		if c.Runnable() || c == root {
			text := c.Long
			if text == "" {
				text = c.Short + "."
			}
			fmt.Fprintf(&b, "\n## %s\n\n```\n%s\n", c.CommandPath(), text)
			if c.Runnable() {
				fmt.Fprintf(&b, "\nUsage:\n  %s\n", c.UseLine())
			}
			if c.HasExample() {
				fmt.Fprintf(&b, "\nExample:\n%s\n", c.Example)
			}
			if flags := c.LocalNonPersistentFlags().FlagUsages(); flags != "" {
				fmt.Fprintf(&b, "\nFlags:\n%s", flags)
			}
			b.WriteString("```\n")
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	return b.String()
}
