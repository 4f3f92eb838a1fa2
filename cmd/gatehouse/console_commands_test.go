package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestPagesNameCommandsThatExist reads what the console's pages tell people to type: each
// is a command of ours with flags that it has, and those that are whole take these
// arguments.
func TestPagesNameCommandsThatExist(t *testing.T) {
	var files []string
	for _, pattern := range []string{"console*.go", "../../internal/console/*.go", "../../internal/console/pages/*.html"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	// In code a command is all of a text, in a template all of a code element; elsewhere
	// it stands between quotes in a sentence.
	whole := regexp.MustCompile(`(?:Command: "|<code>)gatehouse ([^"<]+)(?:"|</code>)`)
	named := regexp.MustCompile(`'gatehouse ([a-z][a-z -]*[a-z])'`)
	n := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		check := func(line string, complete bool) {
			t.Helper()
			n++
			root, _ := newRoot()
			c, rest, err := root.Find(strings.Fields(line))
			switch {
			case err != nil || c.Parent() == nil || len(rest) > 0 && c.HasSubCommands() && rest[0] != "--help":
				t.Errorf("%s: there is no command %q: %v", file, line, err)
				return
			case len(rest) > 0 && rest[0] == "--help":
				return
			}
			if last := len(rest) - 1; !complete && last >= 0 && strings.HasPrefix(rest[last], "--") {
				rest = append(rest, "a value") // which the sentence leaves to the reader
			}
			if err := c.ParseFlags(rest); err != nil {
				t.Errorf("%s: gatehouse %s: %v", file, line, err)
			} else if err := c.ValidateArgs(c.Flags().Args()); complete && err != nil {
				t.Errorf("%s: gatehouse %s: %v", file, line, err)
			}
		}
		for _, m := range whole.FindAllStringSubmatch(string(text), -1) {
			// The name of what the page is about follows in the code.
			check(m[1], !strings.HasSuffix(m[1], " "))
		}
		for _, m := range named.FindAllStringSubmatch(string(text), -1) {
			check(m[1], false)
		}
	}
	if n < 15 {
		t.Errorf("only %d commands were found: are they written in another way now?", n)
	}
}
