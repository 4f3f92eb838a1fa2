package gatehouse_test

// This file lists who may do what reaches outside the program or undoes a
// protection. Do not edit it to make a build pass: an entry is a decision, and
// its reason stands beside it.

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sink is something that only some packages may do.
type sink struct {
	what string
	// names are qualified identifiers of imported packages ("net.Dial*"; a final *
	// stands for anything), import paths ("import math/rand"), or methods
	// ("method Reveal").
	names []string
	// except are names that the patterns above cover and everybody may use.
	except []string
	// may are the packages, each with its reason.
	may map[string]string
}

const sandboxReason = "the sandbox is a program of its own, and imports nothing of ours"

var sinks = []sink{
	{
		what: "listens",
		names: []string{"net.Listen*", "crypto/tls.Listen", "crypto/tls.NewListener", "net/http.ListenAndServe*", "net/http.Serve", "net/http.ServeTLS",
			"net/http.Server"},
		except: []string{"net.Listener"},
		may: map[string]string{
			"internal/wire": "owns every listener", "internal/sandbox": sandboxReason,
			"internal/store/storetest": "looks for a free port for PostgreSQL",
		},
	},
	{
		what: "dials or resolves",
		names: []string{"net.Dial*", "net.Lookup*", "net.DefaultResolver", "net.Resolver", "crypto/tls.Dial*", "net/http.Get", "net/http.Head", "net/http.Post*",
			"net/http.DefaultClient", "net/http.DefaultTransport", "net/http.Transport"},
		may: map[string]string{
			"internal/wire": "owns every dial", "internal/sandbox": sandboxReason, "internal/sandbox/x": sandboxReason, "internal/sandbox/meta": sandboxReason,
			"internal/store/storetest": "waits for PostgreSQL to answer",
			"cmd/gatehouse":            "doctor asks whether its own listeners answer; keys unseal speaks to the running process over its socket; the demo plays the app and the browser, on loopback",
		},
	},
	{
		what:  "makes an HTTP client",
		names: []string{"net/http.Client{}"},
		may: map[string]string{
			"internal/wire": "owns every client", "internal/sandbox": sandboxReason, "internal/sandbox/x": sandboxReason, "internal/sandbox/meta": sandboxReason,
			"cmd/gatehouse":                "the demo plays the app and the browser, on loopback; keys unseal speaks over a Unix socket",
			"internal/connect/connecttest": "plays the browser",
		},
	},
	{
		what: "opens a database",
		names: []string{"database/sql.Open*", "github.com/jackc/pgx/v5.Connect*", "github.com/jackc/pgx/v5/pgxpool.New*",
			"github.com/jackc/pgx/v5/stdlib.*"},
		may: map[string]string{"internal/store": "owns SQL", "internal/store/storetest": "makes databases for tests"},
	},
	{
		what:  "reads or changes the environment",
		names: []string{"os.Getenv", "os.LookupEnv", "os.Environ", "os.ExpandEnv", "os.Setenv", "os.Unsetenv", "os.Clearenv", "syscall.Getenv"},
		may:   map[string]string{"cmd/gatehouse": "hands it to the configuration", "internal/store/storetest": "finds PostgreSQL"},
	},
	{
		what:  "starts a process",
		names: []string{"os/exec.Command*", "os/exec.Cmd{}", "os.StartProcess", "syscall.Exec", "syscall.ForkExec"},
		may:   map[string]string{"internal/store/storetest": "starts PostgreSQL"},
	},
	{
		what:  "ends the program",
		names: []string{"os.Exit", "log.Fatal*", "runtime.Goexit"},
		may:   map[string]string{"cmd/gatehouse": "main"},
	},
	{
		what:  "reveals a secret",
		names: []string{"method Reveal"},
		may: map[string]string{
			"internal/secret":            "compares and tests its own values",
			"internal/atrest":            "takes the fingerprints by which it is looked for in plain",
			"internal/vault":             "seals it; stretches the passphrase of a root key",
			"internal/vault/kms":         "logs in to key management systems and signs requests to them",
			"internal/lineage":           "takes the fingerprints by which it is recognised; keeps nothing",
			"internal/records":           "takes the keyed hash that finds a subject's person",
			"internal/connect":           "puts the platform's token on the outgoing request",
			"internal/identity":          "hashes what was presented",
			"internal/identity/factor":   "hashes passwords; computes the codes of a TOTP secret",
			"internal/identity/operator": "hashes what was presented; derives the seeds of one-time codes",
			"internal/identity/scim":     "hashes what was presented",
			"internal/compliance":        "writes the list of identifiers that X asks for, and calls the addresses it named",
			"internal/export":            "puts a credential for a sink of the log on the request to it",
			"internal/metrics/otlp":      "puts a credential for a collector on the request to it",
			"internal/outbox":            "puts an event's content into what the app gets, and signs it",
			"internal/wire":              "reads the local authority's key",
			"internal/config":            "returns values given by reference that are no secrets",
			"internal/gateway":           "writes a handle of ours in the place of the platform's token",
			"internal/api":               "shows a new handle once, in the reply that makes it",
			"internal/console":           "sets the cookie of a session; shows a new link, the key of an authenticator app and recovery codes once",
			"internal/public":            "sets the cookies that bind an attempt to its browser; shows recovery codes and the key of an authenticator app on the one page that is for them",
			"cmd/gatehouse":              "prints a new key once; opens the store and the log's signing key",
			"internal/identity/stepup":   "hashes what a browser presents, reads a passkey's record, derives the key that signs results",
		},
	},
	{
		what:  "writes to the default logger",
		names: []string{"log/slog.Default", "log/slog.SetDefault", "log/slog.Debug*", "log/slog.Info*", "log/slog.Warn*", "log/slog.Error*", "log/slog.Log", "log/slog.LogAttrs", "log.Print*", "log.Panic*", "log.Default"},
		may:   map[string]string{},
		// Levels are values.
		except: []string{"log/slog.LevelDebug"},
	},
	{
		what:  "prints to standard output",
		names: []string{"fmt.Print*", "fmt.Scan*"},
		may:   map[string]string{},
	},
	{
		what:  "makes a context out of nothing",
		names: []string{"context.Background", "context.TO*"},
		may: map[string]string{
			"cmd/gatehouse": "the root of all", "internal/store/storetest": "cleans up after the test's own context ended",
			"internal/connect/connecttest": "cleans up after the test's own context ended",
		},
	},
	{
		what:  "uses randomness that can be guessed",
		names: []string{"import math/rand", "import math/rand/v2"},
		may: map[string]string{
			"internal/connect": "jitter of renewals", "internal/compliance": "jitter of retries", "internal/outbox": "jitter of attempts", "internal/export": "jitter of attempts", "internal/metrics/otlp": "which calls are traced, and the ids of traces, which open nothing", "internal/store": "jitter of retries", "cmd/gatehouse": "the demo's traffic",
		},
	},
	{
		what:  "uses cryptography by hand",
		names: []string{"crypto/aes.*", "crypto/cipher.*", "import crypto/des", "import crypto/rc4", "import crypto/dsa"},
		may: map[string]string{
			"internal/vault":             "AES-256-GCM of the standard library under a person's key; keysets and their wrapping are Tink's",
			"internal/vault/kms/kmstest": "plays the systems that encrypt",
			"internal/fingerprint":       "one block of AES hides a fingerprint of 64 bits where it is stored",
		},
	},
	{
		what:  "weakens TLS",
		names: []string{"field InsecureSkipVerify", "field VerifyPeerCertificate", "crypto/tls.VersionTLS10", "crypto/tls.VersionTLS11", "crypto/tls.VersionSSL30"},
		may:   map[string]string{},
	},
	{
		what:  "steps outside the type system",
		names: []string{"import unsafe", "import reflect", "import plugin", "import C"},
		may:   map[string]string{"internal/config": "walks its own structs", "internal/api": "names the field in an error about JSON"},
	},
}

// uses returns what a file uses, in the notation of sink.names.
func uses(file *ast.File) map[string]token.Pos {
	found := map[string]token.Pos{}
	imported := map[string]string{} // local name to path
	for _, spec := range file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		found["import "+p] = spec.Pos()
		name := path.Base(p)
		if name == "v2" || name == "v3" || name == "v5" {
			name = path.Base(path.Dir(p))
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		imported[name] = p
	}
	qualified := func(e ast.Expr) string {
		s, ok := e.(*ast.SelectorExpr)
		if !ok {
			return ""
		}
		id, ok := s.X.(*ast.Ident)
		if !ok || imported[id.Name] == "" {
			return ""
		}
		return imported[id.Name] + "." + s.Sel.Name
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if q := qualified(n); q != "" {
				found[q] = n.Pos()
			} else {
				found["method "+n.Sel.Name] = n.Pos()
				found["field "+n.Sel.Name] = n.Pos()
			}
		case *ast.CompositeLit:
			if q := qualified(n.Type); q != "" {
				found[q+"{}"] = n.Pos()
			}
		case *ast.KeyValueExpr:
			if id, ok := n.Key.(*ast.Ident); ok {
				found["field "+id.Name] = n.Pos()
			}
		}
		return true
	})
	return found
}

func (s sink) covers(use string) bool {
	if slices.Contains(s.except, use) {
		return false
	}
	return slices.ContainsFunc(s.names, func(pattern string) bool {
		prefix, wild := strings.CutSuffix(pattern, "*")
		return use == pattern || wild && strings.HasPrefix(use, prefix)
	})
}

// checkSinks returns what a file of a package does that it may not.
func checkSinks(pkg string, fset *token.FileSet, file *ast.File, used map[string]bool) []string {
	var wrong []string
	for use, pos := range uses(file) {
		for _, s := range sinks {
			if !s.covers(use) {
				continue
			}
			if _, may := s.may[pkg]; !may {
				wrong = append(wrong, fmt.Sprintf("%s: %s %s (%s), which sinks_test.go does not allow it", fset.Position(pos), pkg, s.what, use))
			}
			used[s.what+" "+pkg] = true
		}
	}
	slices.Sort(wrong)
	return wrong
}

func TestSinks(t *testing.T) {
	used := map[string]bool{}
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
			if strings.HasSuffix(p, "_test.go") {
				continue
			}
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, p, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, wrong := range checkSinks(pkg, fset, file, used) {
				t.Error(wrong)
			}
		}
	}
	// A permission that nobody uses is one that somebody will.
	for _, s := range sinks {
		for pkg := range s.may {
			if !used[s.what+" "+pkg] {
				t.Errorf("sinks_test.go lets %s do what it does not: %s", pkg, s.what)
			}
		}
	}
}

func TestTheSinksTestFails(t *testing.T) {
	for code, want := range map[string]string{
		`import "net"; func f() { net.Dial("tcp", "x") }`:                         "dials",
		`import "net/http"; var c = &http.Client{}`:                               "makes an HTTP client",
		`import web "net/http"; func f() { web.Get("x") }`:                        "dials",
		`import "net/http"; var s http.Server`:                                    "listens",
		`import "database/sql"; func f() { sql.Open("a", "b") }`:                  "opens a database",
		`import "os"; var v = os.Getenv("A")`:                                     "reads or changes the environment",
		`import "os/exec"; var c = exec.Command("ls")`:                            "starts a process",
		`type t struct{}; func f(s interface{ Reveal() string }) { s.Reveal() }`:  "reveals a secret",
		`import "log/slog"; func f() { slog.Info("x") }`:                          "default logger",
		`import "fmt"; func f() { fmt.Println() }`:                                "prints to standard output",
		`import "context"; var c = context.Background()`:                          "makes a context",
		`import "math/rand/v2"; var n = rand.Int()`:                               "can be guessed",
		`import "crypto/cipher"; var f = cipher.NewGCM`:                           "cryptography by hand",
		`import "crypto/tls"; var c = tls.Config{InsecureSkipVerify: true}`:       "weakens TLS",
		`import "crypto/tls"; func f(c *tls.Config) { c.InsecureSkipVerify = 1 }`: "weakens TLS",
		`import "unsafe"; var p unsafe.Pointer`:                                   "type system",
		`import "os"; func f() { os.Exit(1) }`:                                    "ends the program",
	} {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, "bad.go", "package bad\n"+code, 0)
		if err != nil {
			t.Fatal(err)
		}
		wrong := checkSinks("internal/bad", fset, file, map[string]bool{})
		if len(wrong) != 1 || !strings.Contains(wrong[0], want) {
			t.Errorf("%s\n%q, want one with %q", code, wrong, want)
		}
	}
	fset := token.NewFileSet()
	near, err := parser.ParseFile(fset, "near.go", `package near
import ("net"; "net/http"; "log/slog"; "fmt"; "os")
var l net.Listener; var c *http.Client; var v = slog.LevelDebug; var e = fmt.Errorf("x"); var f = os.ReadFile`, 0)
	if err != nil {
		t.Fatal(err)
	}
	if wrong := checkSinks("internal/near", fset, near, map[string]bool{}); len(wrong) > 0 {
		t.Errorf("near misses are refused: %q", wrong)
	}
}
