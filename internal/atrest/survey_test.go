package atrest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/atrest"
)

const planted = "a-secret-that-was-planted-here"

func write(t *testing.T, path string, content []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func zipped(text string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.Bytes()
}

// A directory is read to its bottom; what is left out, cannot be followed or
// cannot be opened is said.
func TestSurveyOfATree(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a/b/c/deep"), []byte("x"+planted))
	write(t, filepath.Join(dir, "packed.gz"), zipped(strings.Repeat("y", 700_000)+planted))
	write(t, filepath.Join(dir, "near"), []byte(planted[1:]))
	own := write(t, filepath.Join(dir, "own"), []byte(planted))
	write(t, filepath.Join(dir, "closed.xz"), []byte("\xfd7zXZ\x00..."))
	write(t, filepath.Join(dir, "torn.gz"), zipped(planted + strings.Repeat("z", 10))[:30])
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	v := &atrest.Survey{Exclude: map[string]bool{own: true}}
	for range 2 { // what is walked again is not listed again
		v.Use(searchFor(atrest.ClientSecret, planted))
		if err := v.Path(t.Context(), atrest.KindAlso, dir); err != nil {
			t.Fatal(err)
		}
	}
	found, more := v.Found()
	if more != 0 || len(found) != 2 || found[0].Place != filepath.Join(dir, "a/b/c/deep") || found[0].Offset != 1 ||
		found[1].Place != filepath.Join(dir, "packed.gz")+" (gzip)" || found[1].Offset != 700_000 || found[1].Count != 2 {
		t.Errorf("found %+v, %d more", found, more)
	}
	if looks := v.Looks(); len(looks) != 1 || looks[0].Files != 5 || looks[0].Bytes == 0 {
		t.Errorf("looked at %+v, want one directory of 5 files", looks)
	}
	states := map[string]atrest.State{}
	for _, g := range v.Gaps() {
		states[filepath.Base(g.Place)] = g.State()
	}
	want := map[string]atrest.State{"own": atrest.OK, "closed.xz": atrest.Wanting, "torn.gz": atrest.Wanting, filepath.Base(dir): atrest.Unknown}
	if len(states) != len(want) || len(v.Gaps()) != len(want) {
		t.Errorf("gaps %+v, want %+v", v.Gaps(), want)
	}
	for name, state := range want {
		if states[name] != state {
			t.Errorf("gap %s is %q, want %q", name, states[name], state)
		}
	}
}

// A search that is told to stop stops.
func TestSurveyStops(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "f"), make([]byte, 1<<20))
	ctx, cancel := context.WithCancel(t.Context())
	v := &atrest.Survey{Progress: func(string, int64) { cancel() }}
	v.Use(searchFor(atrest.ClientSecret, planted))
	if err := v.Path(ctx, atrest.KindAlso, path); !errors.Is(err, context.Canceled) {
		t.Errorf("Path: %v, want canceled", err)
	}
}

// tables is a database of one table with this content and, if shut, of one that
// cannot be read.
type tables struct {
	content string
	shut    bool
}

func (d tables) EachTable(_ context.Context, visit func(string, func(io.Writer) error) error) error {
	err := visit("open", func(w io.Writer) error { _, err := io.WriteString(w, d.content); return err })
	if err != nil || !d.shut {
		return err
	}
	return visit("closed", func(io.Writer) error { return errors.New("no permission") })
}
func (tables) Server(context.Context) (atrest.Server, error) { return atrest.Server{}, nil }
func (tables) Settle(context.Context) error                  { return nil }

// The verdict is the worst of what was seen: a table that cannot be read, a canary
// that was not seen, or a fact that is wanting are never "ok", nor is a fact that
// is not known.
func TestVerdict(t *testing.T) {
	sealed := "the sealed form of a canary"
	fact := func(s atrest.State) []atrest.Fact { return []atrest.Fact{{Name: "a", State: s}} }
	for name, c := range map[string]struct {
		files []string // contents of database files
		facts []atrest.Fact
		rows  *tables
		gap   *atrest.Gap
		none  bool // no control is demanded
		want  string
	}{
		"all well":              {files: []string{sealed}, none: true, want: atrest.Clean},
		"unknown fact":          {files: []string{sealed}, none: true, facts: fact(atrest.Unknown), want: atrest.Open},
		"wanting fact":          {files: []string{sealed}, none: true, facts: fact(atrest.Wanting), want: atrest.Lacking},
		"control not in rows":   {files: []string{sealed}, want: atrest.Lacking},
		"control not in files":  {files: []string{"else"}, rows: &tables{content: sealed}, want: atrest.Lacking},
		"control in both":       {files: []string{sealed}, rows: &tables{content: sealed}, want: atrest.Clean},
		"control without files": {rows: &tables{content: sealed}, want: atrest.Clean},
		"left out on purpose":   {none: true, gap: &atrest.Gap{Meant: true}, want: atrest.Clean},
		"not looked into":       {none: true, gap: &atrest.Gap{}, want: atrest.Open},
		"asked and not looked":  {none: true, gap: &atrest.Gap{Asked: true}, want: atrest.Lacking},
		"plain":                 {files: []string{planted}, none: true, want: atrest.Found},
		"plain in a row":        {none: true, rows: &tables{content: planted}, want: atrest.Found},
		"unreadable table":      {none: true, rows: &tables{shut: true}, want: atrest.Lacking},
	} {
		p := atrest.NewPatterns()
		p.AddBytes(atrest.SealedCanary.Of("road"), []byte(sealed))
		p.AddBytes(atrest.Canary.Of("road"), []byte(planted))
		v := new(atrest.Survey)
		v.Use(p.Search(true))
		for _, content := range c.files {
			if err := v.Path(t.Context(), atrest.KindDatabase, write(t, filepath.Join(t.TempDir(), "db"), []byte(content))); err != nil {
				t.Fatal(err)
			}
		}
		if c.rows != nil {
			if err := v.Rows(t.Context(), c.rows); err != nil {
				t.Fatal(err)
			}
			if gaps := v.Gaps(); c.rows.shut && (len(gaps) != 1 || gaps[0].Place != "closed") {
				t.Errorf("%s: gaps %+v", name, gaps)
			}
		}
		if c.gap != nil {
			v.Miss(*c.gap)
		}
		r := &atrest.Report{Started: time.Now(), Facts: c.facts}
		roads := []string{"road"}
		if c.none {
			roads = nil
		}
		r.Fill(v, roads)
		if r.Verdict != c.want {
			t.Errorf("%s: verdict %q, want %q", name, r.Verdict, c.want)
		}
	}
}
