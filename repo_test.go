package gatehouse_test

// This file holds what the repository promises about itself.

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"gatehouse/internal/audit"
)

// make gen runs the tests of generated files with this flag.
var update = flag.Bool("update", false, "write generated files in place of comparing them")

const (
	maxFile     = 500 // lines; more needs a reason
	maxTestFile = 800
	neverFile   = 800 // no reason is good enough
	maxFunction = 100
	maxTestFunc = 200
)

// longFiles and longFunctions are the exceptions, each with its reason.
var (
	longFiles     = map[string]string{}
	longFunctions = map[string]string{}
)

// goFile is one parsed Go file.
type goFile struct {
	path string
	pkg  string
	test bool
	text []byte
	fset *token.FileSet
	ast  *ast.File
}

func goFiles(t *testing.T) []goFile {
	t.Helper()
	var all []goFile
	for _, dir := range moduleDirs(t) {
		paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			text, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			f := goFile{path: p, pkg: dir, test: strings.HasSuffix(p, "_test.go"), text: text, fset: token.NewFileSet()}
			if f.ast, err = parser.ParseFile(f.fset, p, text, parser.ParseComments|parser.SkipObjectResolution); err != nil {
				t.Fatal(err)
			}
			all = append(all, f)
		}
	}
	return all
}

func TestEveryPackageHasOnePackageComment(t *testing.T) {
	comments, product := map[string][]string{}, map[string]bool{}
	files := goFiles(t)
	for _, f := range files {
		product[f.pkg] = product[f.pkg] || !f.test
	}
	for _, f := range files {
		// A package of tests alone says in a test file what it is.
		if f.ast.Doc != nil && (!f.test || !product[f.pkg]) {
			comments[f.pkg] = append(comments[f.pkg], f.path)
			if text := f.ast.Doc.Text(); !strings.HasPrefix(text, "Package ") && !strings.HasPrefix(text, "Command ") {
				t.Errorf("%s: the package comment does not begin with Package or Command", f.path)
			}
		}
	}
	for pkg := range product {
		if len(comments[pkg]) != 1 {
			t.Errorf("package %s has %d package comments, want 1: %v", pkg, len(comments[pkg]), comments[pkg])
		}
	}
}

func TestFilesAndFunctionsAreShort(t *testing.T) {
	used := map[string]bool{}
	for _, f := range goFiles(t) {
		if ast.IsGenerated(f.ast) {
			continue
		}
		fileLimit, functionLimit := maxFile, maxFunction
		if f.test {
			fileLimit, functionLimit = maxTestFile, maxTestFunc
		}
		lines := bytes.Count(f.text, []byte("\n"))
		switch _, excused := longFiles[f.path]; {
		case lines > neverFile:
			t.Errorf("%s has %d lines: more than %d, for which no reason is good enough", f.path, lines, neverFile)
		case lines > fileLimit && !excused:
			t.Errorf("%s has %d lines, more than %d: split it by concept", f.path, lines, fileLimit)
		case lines > fileLimit:
			used[f.path] = true
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			length := f.fset.Position(fn.End()).Line - f.fset.Position(fn.Pos()).Line + 1
			name := f.path + ":" + fn.Name.Name
			if length <= functionLimit {
				continue
			}
			used[name] = true
			if _, excused := longFunctions[name]; !excused {
				t.Errorf("%s has %d lines, more than %d", name, length, functionLimit)
			}
		}
	}
	for _, excused := range []map[string]string{longFiles, longFunctions} {
		for name := range excused {
			if !used[name] {
				t.Errorf("%s is excused for a length that it does not have", name)
			}
		}
	}
}

func TestNothingIsSkipped(t *testing.T) {
	for _, f := range goFiles(t) {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && f.test && (s.Sel.Name == "Skip" || s.Sel.Name == "Skipf" || s.Sel.Name == "SkipNow") {
				if id, ok := s.X.(*ast.Ident); ok && (id.Name == "t" || id.Name == "b" || id.Name == "f") {
					t.Errorf("%s skips: what a test needs, make test installs", f.fset.Position(s.Pos()))
				}
			}
			return true
		})
	}
}

// textFiles calls visit with every text file that belongs to the repository.
func textFiles(t *testing.T, visit func(path string, text []byte)) {
	t.Helper()
	err := filepath.WalkDir(".", func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if name == ".git" || name == "node_modules" || name == "dist" {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || name == "package-lock.json" || name == "go.sum" {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if len(text) < 4<<20 && utf8.Valid(text) && !bytes.ContainsRune(text, 0) {
			visit(p, text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

var (
	// Spelled in parts, so that this file does not find itself.
	unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)
	numbered   = regexp.MustCompile(`\(#[0-9]+\)`)
	machine    = regexp.MustCompile(`(^|[^\w.-])(/wo` + `rk/|/tmp/br` + `ief|/ro` + `ot/|/ho` + `me/[a-z])`)
)

func TestNothingIsLeftForLater(t *testing.T) {
	textFiles(t, func(path string, text []byte) {
		if !strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, ".sql") && !strings.HasSuffix(path, ".sh") {
			return
		}
		for i, line := range strings.Split(string(text), "\n") {
			// mktemp's pattern is a row of that letter.
			if unfinished.MatchString(line) && !numbered.MatchString(line) && !strings.Contains(line, "mktemp") {
				t.Errorf("%s:%d: unfinished work without the number of an issue", path, i+1)
			}
		}
	})
}

func TestNoPathOfAMachine(t *testing.T) {
	textFiles(t, func(path string, text []byte) {
		for i, line := range strings.Split(string(text), "\n") {
			if machine.MatchString(line) {
				t.Errorf("%s:%d: a path that exists on one machine only: %s", path, i+1, strings.TrimSpace(line))
			}
		}
	})
}

func TestGoModReplacesNothing(t *testing.T) {
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		for _, word := range []string{"replace", "exclude", "retract", "toolchain"} {
			if strings.HasPrefix(strings.TrimSpace(line), word) {
				t.Errorf("go.mod has a %s: %s", word, line)
			}
		}
	}
}

// generated compares a file with what it should hold, or writes it.
func generated(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s is not current; run make gen and read what changes (%v)", path, err)
	}
}

// deps.txt is the modules in the binary. That it is committed makes a new one
// visible in review.
func TestGeneratedDeps(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./cmd/gatehouse")
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	modules := strings.Fields(string(out))
	slices.Sort(modules)
	modules = slices.DeleteFunc(slices.Compact(modules), func(m string) bool { return m == module })
	generated(t, "deps.txt", strings.Join(modules, "\n")+"\n")
}

func TestEveryLibraryHasItsReason(t *testing.T) {
	text, err := os.ReadFile("DEPENDENCIES.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, m := range regexp.MustCompile(`(?m)^\| ([a-z0-9.-]+\.[a-z]+/[^ ]+) \|`).FindAllStringSubmatch(string(text), -1) {
		documented = append(documented, m[1])
	}
	for _, f := range sources(t) {
		for _, imported := range f.imports {
			if !strings.Contains(strings.SplitN(imported, "/", 2)[0], ".") {
				continue // the standard library, or ours
			}
			if !slices.ContainsFunc(documented, func(m string) bool { return imported == m || strings.HasPrefix(imported, m+"/") }) {
				t.Errorf("%s imports %s, and DEPENDENCIES.md does not say what for", f.file, imported)
			}
		}
	}
}

func TestGeneratedLogEvents(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Log events

Every action that may stand in the audit log, what it means, and the codes of its entries.
Generated from the registry in ` + "`internal/audit` by `make gen`" + `; a name never gets a second meaning,
a code never another, and none is given again.

A code is ` + "`GH`" + `, three digits for the action, one for how it ended, and a letter for the severity.
How it ended: 0 begun, allowed or done; 1 refused; 2 failed or aborted; 3 let pass by report mode
only. The severities: **I**nfo, everyday; **N**otice, changes who may do what, or is rare;
**W**arning, to be looked at; **A**lert, needs somebody now. A code ` + "`GH000…`" + ` is that of an action
which the program that shows it is too old to know. Codes follow from action and verdict and are
shown beside an entry (` + "`audit show --json`, `audit search`" + `, the API); they stand in no leaf.

The controls are the practices of the platforms' security pages that an entry is evidence of.

| action | code | refused | failed | reported | controls | meaning |
| --- | --- | --- | --- | --- | --- | --- |
`)
	for _, a := range audit.Actions() {
		by := map[audit.Result]string{}
		for _, c := range a.Codes {
			by[c.Result] = "`" + c.Code + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s | %s |\n", a.Name, by[audit.Went], by[audit.Refused], by[audit.Failed], by[audit.Reported],
			strings.Join(a.Controls, ", "), strings.ReplaceAll(a.Meaning, "|", "\\|"))
	}
	generated(t, filepath.Join("docs", "log-events.md"), b.String())
}

// TestEveryActionIsWritten holds the registry of the log to the code: an action
// that nothing writes would promise a reader something that never happens.
func TestEveryActionIsWritten(t *testing.T) {
	written := map[string]bool{}
	for _, f := range sources(t) {
		if f.test || strings.HasSuffix(f.file, filepath.Join("audit", "action.go")) || strings.HasSuffix(f.file, filepath.Join("audit", "code.go")) {
			continue
		}
		text, err := os.ReadFile(f.file)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range audit.Actions() {
			if strings.Contains(string(text), `"`+a.Name+`"`) {
				written[a.Name] = true
			}
		}
	}
	for _, a := range audit.Actions() {
		if !written[a.Name] {
			t.Errorf("action %s is registered and nothing writes it", a.Name)
		}
	}
}
