package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// shared finds the reference data beside the repository.
func shared(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("GATEHOUSE_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared")
	}
	return filepath.Join(dir, "platforms")
}

// The committed tables of X and of the Graph's parameters are what the generator makes of the documents today.
// Without the documents there is nothing to compare; [TestSmallDocuments] holds
// the generator itself.
func TestTablesAreCurrent(t *testing.T) {
	dir, committed := shared(t), filepath.Join("..", "..", "internal", "platform")
	if _, err := os.Stat(filepath.Join(dir, "x-operations.csv")); err != nil {
		return
	}
	out := t.TempDir()
	if err := run(out, filepath.Join(dir, "x-operations.csv"), filepath.Join(dir, "x-openapi.json"), filepath.Join(dir, "x-rate-limits.csv"), "", filepath.Join(dir, "meta")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"x_table.gen.go", "x_limits.gen.go", "x_names.gen.go", "graph_params.gen.go"} {
		got, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(committed, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is stale: run the generator again", name)
		}
	}
}

// The small documents are generated the same way everywhere.
func TestSmallDocuments(t *testing.T) {
	out := t.TempDir()
	if err := run(out, "testdata/x-operations.csv", "testdata/x-openapi.json", "testdata/x-rate-limits.csv", "testdata/sdk", "testdata/specs"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"x_table.gen.go", "x_limits.gen.go", "x_names.gen.go", "graph_table.gen.go", "graph_names.gen.go", "graph_params.gen.go"} {
		got, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", "want", strings.TrimSuffix(name, ".gen.go")+".golden")
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, test := range map[string]struct {
		err  error
		says string
	}{
		"no input":          {run(t.TempDir(), "", "", "", "", ""), "nothing to do"},
		"missing file":      {run(t.TempDir(), "no-such-file", "", "", "", ""), "no-such-file"},
		"short row":         {run(t.TempDir(), write("a", "method,path\nGET,/2\n"), "", "", "", ""), "columns"},
		"new pattern":       {run(t.TempDir(), "testdata/x-operations.csv", write("b", `{"paths":{"/2/a/{id}":{"get":{"parameters":[{"in":"path","name":"id","schema":{"pattern":"^new$"}}]}}}}`), "", "", ""), "new pattern"},
		"unknown window":    {run(t.TempDir(), "", "", write("c", "method,path,a,u,n\nGET,/2,5/month,,\n"), "", ""), "window"},
		"no objects at all": {run(t.TempDir(), "", "", "", t.TempDir(), ""), "no objects"},
	} {
		if test.err == nil || !strings.Contains(test.err.Error(), test.says) {
			t.Errorf("%s: %v, want an error that says %q", name, test.err, test.says)
		}
	}
}
