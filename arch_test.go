package gatehouse_test

// This file is ARCHITECTURE.md's layout, executable. Do not edit it to make a
// build pass: a package that needs another is a decision about the architecture,
// which is written down in docs/decisions first.

import (
	"fmt"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// row is one package of the layout. A package may import only packages on
// earlier rows, and only those named.
type row struct {
	name string   // import path below the module; "gatehouse" is the root
	may  []string // packages of ours that its product code may import
	// testOnly packages are imported by tests, and by one another, only.
	testOnly bool
	// libraries are the third parties' packages that its product code may import, by
	// prefix. What a library is for decides who may use it.
	libraries []string
}

// layout is the architecture, in order.
var layout = []row{
	{name: "gatehouse"},
	{name: "internal/secret"},
	{name: "internal/policy", may: []string{"gatehouse"}},
	{name: "internal/platform"},
	{name: "internal/fingerprint", may: []string{"gatehouse"}, libraries: []string{"github.com/dchest/siphash"}},
	{name: "internal/observe", may: []string{"gatehouse", "internal/policy", "internal/platform"}},
	{name: "internal/config", may: []string{"gatehouse", "internal/secret", "internal/policy", "internal/platform"},
		libraries: []string{"go.yaml.in/yaml/v3"}},
	{name: "internal/wire", may: []string{"gatehouse", "internal/secret"}, libraries: []string{"golang.org/x/time/rate"}},
	{name: "internal/atrest", may: []string{"internal/secret"}},
	{name: "internal/audit", may: []string{"gatehouse", "internal/wire"}, libraries: []string{"golang.org/x/mod/sumdb"}},
	{name: "internal/metrics", may: []string{"gatehouse", "internal/secret", "internal/wire", "internal/audit"},
		libraries: []string{"github.com/prometheus/client_golang/prometheus", "github.com/prometheus/client_model"}},
	{name: "internal/metrics/otlp", may: []string{"gatehouse", "internal/secret", "internal/metrics"},
		libraries: []string{"github.com/prometheus/client_model", "go.opentelemetry.io/proto/slim/otlp", "google.golang.org/protobuf"}},
	{name: "internal/vault", may: []string{"gatehouse", "internal/secret", "internal/wire", "internal/atrest", "internal/audit"},
		libraries: []string{"github.com/tink-crypto/tink-go/v2", "golang.org/x/crypto/argon2"}},
	// Root keys that live elsewhere: what speaks to somebody is kept apart from what
	// holds keys, and so are the libraries that this takes.
	{name: "internal/vault/kms", may: []string{"gatehouse", "internal/secret", "internal/wire", "internal/vault"},
		libraries: []string{"github.com/aws/aws-sdk-go-v2/aws", "golang.org/x/oauth2", "github.com/miekg/pkcs11"}},
	// A second opinion on them: it imports nothing of ours.
	{name: "internal/vault/kms/kmstest", testOnly: true},
	{name: "internal/reconcile", may: []string{"gatehouse", "internal/platform", "internal/audit"}},
	{name: "internal/identity", may: []string{"gatehouse", "internal/secret", "internal/wire", "internal/audit"}},
	{name: "internal/identity/factor", may: []string{"gatehouse", "internal/secret"},
		libraries: []string{"github.com/go-webauthn/webauthn", "golang.org/x/crypto/argon2", "golang.org/x/text/unicode/norm"}},
	{name: "internal/identity/factor/factortest", testOnly: true, libraries: []string{"github.com/fxamacker/cbor/v2"}},
	{name: "internal/identity/stepup", may: []string{"gatehouse", "internal/secret", "internal/wire", "internal/audit", "internal/identity/factor"}},
	{name: "internal/identity/operator", may: []string{"gatehouse", "internal/secret", "internal/wire", "internal/audit", "internal/identity/factor"},
		libraries: []string{"github.com/coreos/go-oidc/v3", "golang.org/x/oauth2", "golang.org/x/text/unicode/norm"}},
	{name: "internal/identity/scim", may: []string{"gatehouse", "internal/secret", "internal/wire", "internal/audit", "internal/identity/operator"},
		libraries: []string{"github.com/scim2/filter-parser/v2", "golang.org/x/time"}},
	{name: "internal/identity/review", may: []string{"gatehouse", "internal/wire", "internal/audit", "internal/identity", "internal/identity/operator"},
		libraries: []string{"golang.org/x/mod/sumdb/note"}},
	{name: "internal/lineage", may: []string{"gatehouse", "internal/secret", "internal/wire", "internal/fingerprint", "internal/audit"}},
	{name: "internal/export", may: []string{"gatehouse", "internal/secret", "internal/wire", "internal/audit"},
		libraries: []string{"go.opentelemetry.io/proto/slim/otlp", "google.golang.org/protobuf"}},
	{name: "internal/cases", may: []string{"gatehouse", "internal/wire", "internal/audit"}},
	{name: "internal/outbox", may: []string{"gatehouse", "internal/secret", "internal/wire", "internal/atrest", "internal/audit", "internal/vault"}},
	{name: "internal/records", may: []string{"gatehouse", "internal/wire", "internal/audit", "internal/vault"}},
	{name: "internal/budget", may: []string{"gatehouse", "internal/platform"}},
	{name: "internal/connect", may: []string{"gatehouse", "internal/secret", "internal/platform", "internal/wire", "internal/atrest", "internal/audit", "internal/vault", "internal/budget"},
		libraries: []string{"golang.org/x/sync", "golang.org/x/time/rate"}},
	{name: "internal/notice", may: []string{"gatehouse", "internal/wire", "internal/audit", "internal/cases", "internal/connect"},
		libraries: []string{"golang.org/x/time/rate"}},
	{name: "internal/compliance", may: []string{"gatehouse", "internal/secret", "internal/platform", "internal/wire", "internal/audit", "internal/vault", "internal/connect"}},
	{name: "internal/gateway", may: []string{"gatehouse", "internal/secret", "internal/policy", "internal/platform", "internal/wire", "internal/audit", "internal/identity", "internal/budget", "internal/connect"},
		libraries: []string{"golang.org/x/time/rate"}},
	{name: "internal/egress", may: []string{"gatehouse", "internal/secret", "internal/policy", "internal/wire", "internal/audit", "internal/identity"},
		libraries: []string{"github.com/gobwas/ws", "github.com/klauspost/compress", "github.com/andybalholm/brotli", "golang.org/x/time/rate"}},
	{name: "internal/api", may: []string{"gatehouse", "internal/secret", "internal/wire", "internal/audit", "internal/identity", "internal/identity/stepup", "internal/lineage", "internal/outbox", "internal/cases", "internal/records", "internal/budget", "internal/connect"}},
	{name: "internal/public", may: []string{"gatehouse", "internal/secret", "internal/wire", "internal/audit", "internal/identity/factor", "internal/identity/stepup", "internal/cases", "internal/connect", "internal/notice"},
		libraries: []string{"golang.org/x/time/rate", "rsc.io/qr"}},
	// What people look at cannot reach keys, tokens or the file that is reviewed: it is
	// told what it shows. Of secrets it knows what a person types and a cookie holds.
	{name: "internal/console", may: []string{"gatehouse", "internal/secret", "internal/wire", "internal/identity/factor", "internal/identity/operator", "internal/identity/review"},
		libraries: []string{"golang.org/x/time/rate", "rsc.io/qr"}},

	{name: "internal/backup", may: []string{"gatehouse", "internal/wire", "internal/audit", "internal/vault"},
		libraries: []string{"github.com/tink-crypto/tink-go/v2", "golang.org/x/mod/sumdb"}},

	// The store implements what the packages above declare, and owns the drivers.
	{name: "internal/store", may: []string{"gatehouse", "internal/atrest", "internal/observe", "internal/audit", "internal/metrics", "internal/vault", "internal/reconcile", "internal/identity", "internal/identity/factor", "internal/identity/stepup", "internal/identity/operator", "internal/identity/scim", "internal/identity/review", "internal/lineage", "internal/export", "internal/outbox", "internal/cases", "internal/records", "internal/connect", "internal/notice", "internal/compliance", "internal/backup"},
		libraries: []string{"modernc.org/sqlite", "github.com/jackc/pgx/v5", "github.com/pressly/goose/v3"}},
	{name: "internal/store/storetest", may: []string{"internal/store"}, testOnly: true, libraries: []string{"github.com/jackc/pgx/v5"}},

	// The sandbox is a second opinion: it imports nothing of ours, so that a mistake
	// in platform cannot confirm itself.
	{name: "internal/sandbox/world"},
	{name: "internal/sandbox/x", may: []string{"internal/sandbox/world"}, libraries: []string{"github.com/getkin/kin-openapi"}},
	{name: "internal/sandbox/meta", may: []string{"internal/sandbox/world"}},
	{name: "internal/sandbox", may: []string{"internal/sandbox/world", "internal/sandbox/x", "internal/sandbox/meta"}, libraries: []string{"golang.org/x/sync"}},

	{name: "internal/connect/connecttest", testOnly: true, may: []string{
		"gatehouse", "internal/secret", "internal/wire", "internal/audit", "internal/vault", "internal/identity", "internal/identity/stepup", "internal/records", "internal/budget", "internal/cases", "internal/connect", "internal/notice",
		"internal/store", "internal/store/storetest", "internal/sandbox", "internal/sandbox/world", "internal/sandbox/x", "internal/sandbox/meta",
	}, libraries: []string{"golang.org/x/mod/sumdb"}},
	{name: "cmd/gatehouse", may: []string{
		"gatehouse", "internal/secret", "internal/policy", "internal/platform", "internal/fingerprint", "internal/observe", "internal/lineage", "internal/export", "internal/egress", "internal/config", "internal/wire", "internal/atrest", "internal/audit", "internal/metrics", "internal/metrics/otlp",
		"internal/vault", "internal/vault/kms", "internal/identity", "internal/identity/factor", "internal/identity/stepup", "internal/identity/operator", "internal/identity/scim", "internal/identity/review", "internal/cases", "internal/outbox", "internal/records", "internal/budget", "internal/connect", "internal/notice", "internal/compliance", "internal/gateway",
		"internal/api", "internal/public", "internal/console", "internal/backup", "internal/store", "internal/reconcile",
		"internal/sandbox", "internal/sandbox/world", "internal/sandbox/x", "internal/sandbox/meta",
	}, libraries: []string{"github.com/spf13/cobra", "golang.org/x/mod/sumdb", "golang.org/x/sync", "golang.org/x/term"}},
	{name: "examples", testOnly: true},
}

// testLibraries are what only tests may import.
var testLibraries = []string{
	"github.com/oauth2-proxy/mockoidc", "github.com/golang-jwt/jwt/v5",
	"github.com/google/go-cmp", "github.com/rogpeppe/go-internal", "github.com/transparency-dev/merkle", "github.com/getkin/kin-openapi", "golang.org/x/oauth2",
	"github.com/standard-webhooks/standard-webhooks/libraries", "github.com/golang-jwt/jwt/v5",
	"github.com/prometheus/common",
	"google.golang.org/grpc", "google.golang.org/protobuf", "github.com/leodido/go-syslog/v4", "github.com/coder/websocket", "github.com/hanwen/go-fuse/v2", "golang.org/x/net/html", "golang.org/x/net/http2", "github.com/chromedp/chromedp", "github.com/chromedp/cdproto",
}

// source is one Go file of the module.
type source struct {
	pkg     string // as in row.name
	file    string
	test    bool
	imports []string
}

const module = "gatehouse"

// checkLayout returns every import that the layout forbids.
func checkLayout(rows []row, files []source) []string {
	var wrong []string
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	at := map[string]int{}
	for i, r := range rows {
		for _, m := range r.may {
			if j, known := at[m]; !known || j >= i {
				complain("the layout lets %s import %s, which is not on an earlier row", r.name, m)
			}
		}
		at[r.name] = i
	}
	seen := map[string]bool{}
	for _, f := range files {
		i, known := at[f.pkg]
		if !known {
			if !seen[f.pkg] {
				complain("package %s is not in the layout", f.pkg)
			}
			seen[f.pkg] = true
			continue
		}
		seen[f.pkg] = true
		for _, imported := range f.imports {
			if why := forbidden(rows, at, rows[i], f, imported); why != "" {
				complain("%s imports %s: %s", f.file, imported, why)
			}
		}
	}
	for _, r := range rows {
		if !seen[r.name] {
			complain("the layout has a package %s that does not exist", r.name)
		}
	}
	return wrong
}

func forbidden(rows []row, at map[string]int, r row, f source, imported string) string {
	sandboxed := strings.HasPrefix(f.pkg, "internal/sandbox")
	if ours, ok := strings.CutPrefix(imported, module+"/"); ok || imported == module {
		if imported == module {
			ours = module
		}
		j, known := at[ours]
		switch {
		case !known:
			return "it is not in the layout"
		case sandboxed && !strings.HasPrefix(ours, "internal/sandbox"):
			return "the sandbox, and what tests it, imports nothing else of ours"
		case f.test && ours != "internal/config", r.name == ours:
			return ""
		case f.test && (f.pkg == "internal/config" || f.pkg == "cmd/gatehouse"):
			return ""
		case rows[j].testOnly && !r.testOnly:
			return "it is for tests only"
		case !slices.Contains(r.may, ours):
			return "the layout does not allow it"
		}
		return ""
	}
	if !strings.Contains(strings.SplitN(imported, "/", 2)[0], ".") {
		return "" // the standard library
	}
	under := func(prefix string) bool { return imported == prefix || strings.HasPrefix(imported, prefix+"/") }
	if slices.ContainsFunc(r.libraries, under) {
		return ""
	}
	if f.test || r.testOnly {
		// A test may use what any package may.
		if slices.ContainsFunc(testLibraries, under) || slices.ContainsFunc(rows, func(o row) bool { return slices.ContainsFunc(o.libraries, under) }) {
			return ""
		}
	}
	return "the layout does not give this library to this package"
}

// moduleDirs returns the directories of the module that hold Go files: without
// other modules, fixtures, hidden and generated directories.
func moduleDirs(t *testing.T) []string {
	t.Helper()
	dirs := map[string]bool{}
	err := filepath.WalkDir(".", func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			name := d.Name()
			_, noModule := os.Stat(filepath.Join(p, "go.mod"))
			if p != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules" || name == "dist" || noModule == nil) {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(p, ".go") {
			dirs[filepath.Dir(p)] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(dirs))
}

// sources reads the imports of every Go file of the module.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	for _, dir := range moduleDirs(t) {
		paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		pkg := filepath.ToSlash(dir)
		if pkg == "." {
			pkg = module
		}
		for _, p := range paths {
			parsed, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			s := source{pkg: pkg, file: p, test: strings.HasSuffix(p, "_test.go")}
			for _, i := range parsed.Imports {
				imported, err := strconv.Unquote(i.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				s.imports = append(s.imports, imported)
			}
			all = append(all, s)
		}
	}
	return all
}

func TestLayout(t *testing.T) {
	for _, wrong := range checkLayout(layout, sources(t)) {
		t.Error(wrong)
	}
}

// The test above is worth something only if it fails when it should.
func TestTheLayoutTestFails(t *testing.T) {
	rows := []row{
		{name: "gatehouse"}, {name: "internal/secret"}, {name: "internal/config", may: []string{"gatehouse"}},
		{name: "internal/wire", may: []string{"gatehouse"}, libraries: []string{"example.com/net"}},
		{name: "internal/wire/wiretest", testOnly: true, may: []string{"internal/wire"}},
		{name: "internal/sandbox"},
	}
	clean := func() []source {
		var files []source
		for _, r := range rows {
			files = append(files, source{pkg: r.name, file: path.Join(r.name, "a.go")})
		}
		return files
	}
	if wrong := checkLayout(rows, clean()); len(wrong) > 0 {
		t.Errorf("a clean tree is refused: %v", wrong)
	}
	for name, test := range map[string]struct {
		bad  source
		want string
	}{
		"not named":           {source{pkg: "internal/wire", file: "w.go", imports: []string{"gatehouse/internal/secret"}}, "w.go imports gatehouse/internal/secret: the layout does not allow it"},
		"a later row":         {source{pkg: "internal/secret", file: "s.go", imports: []string{"gatehouse/internal/wire"}}, "the layout does not allow it"},
		"unknown package":     {source{pkg: "internal/util", file: "u.go"}, "package internal/util is not in the layout"},
		"unknown import":      {source{pkg: "internal/wire", file: "w.go", imports: []string{"gatehouse/internal/util"}}, "it is not in the layout"},
		"tests' helper":       {source{pkg: "internal/wire", file: "w.go", imports: []string{"gatehouse/internal/wire/wiretest"}}, "it is for tests only"},
		"another's library":   {source{pkg: "internal/secret", file: "s.go", imports: []string{"example.com/net"}}, "does not give this library"},
		"a test's library":    {source{pkg: "internal/wire", file: "w.go", imports: []string{"github.com/google/go-cmp/cmp"}}, "does not give this library"},
		"unknown library":     {source{pkg: "internal/wire", file: "w_test.go", test: true, imports: []string{"github.com/stretchr/testify"}}, "does not give this library"},
		"sandbox":             {source{pkg: "internal/sandbox", file: "s.go", imports: []string{"gatehouse"}}, "imports nothing else of ours"},
		"sandbox's test":      {source{pkg: "internal/sandbox", file: "s_test.go", test: true, imports: []string{"gatehouse/internal/wire"}}, "imports nothing else of ours"},
		"config in a test":    {source{pkg: "internal/wire", file: "w_test.go", test: true, imports: []string{"gatehouse/internal/config"}}, "the layout does not allow it"},
		"library by a prefix": {source{pkg: "internal/wire", file: "w.go", imports: []string{"example.com/network"}}, "does not give this library"},
	} {
		wrong := checkLayout(rows, append(clean(), test.bad))
		if len(wrong) != 1 || !strings.Contains(wrong[0], test.want) {
			t.Errorf("%s: %q, want one with %q", name, wrong, test.want)
		}
	}
	if wrong := checkLayout(rows, clean()[1:]); len(wrong) != 1 {
		t.Errorf("a row without a package: %q", wrong)
	}
	backwards := append(slices.Clone(rows), row{name: "internal/a", may: []string{"internal/b"}}, row{name: "internal/b"})
	files := append(clean(), source{pkg: "internal/a"}, source{pkg: "internal/b"})
	if wrong := checkLayout(backwards, files); len(wrong) != 1 {
		t.Errorf("a row that names a later one: %q", wrong)
	}
}

// ARCHITECTURE.md and the table above must say the same.
func TestArchitectureDocumentAgrees(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	short := func(name string) string { return strings.TrimPrefix(name, "internal/") }
	documented := map[string]string{} // package to its "may import" cell
	names := regexp.MustCompile("`([a-z/]+)`")
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 {
			continue
		}
		for _, m := range names.FindAllStringSubmatch(cells[1], -1) {
			documented[m[1]] = strings.TrimSpace(strings.SplitN(cells[3], ";", 2)[0])
		}
	}
	for _, r := range layout {
		cell, ok := documented[short(r.name)]
		if !ok {
			if !r.testOnly {
				t.Errorf("ARCHITECTURE.md has no row for %s", r.name)
			}
			continue
		}
		switch cell {
		case "everyone", "whatever declares one", "each other, nothing else of ours":
			continue
		case "–":
			cell = ""
		}
		want := make([]string, len(r.may))
		for i, m := range r.may {
			want[i] = short(m)
		}
		var got []string
		if cell != "" {
			got = strings.Split(cell, ", ")
		}
		if !slices.Equal(got, want) {
			t.Errorf("ARCHITECTURE.md lets %s import %v, arch_test.go %v", r.name, got, want)
		}
	}
}
