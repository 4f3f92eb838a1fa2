package export_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/export"
	"gatehouse/internal/store/storetest"
)

// A line is what a reader sees.
type line struct {
	Index  int64           `json:"index"`
	Leaf   json.RawMessage `json:"leaf"`
	Hash   string          `json:"leaf_hash"`
	Origin string          `json:"origin"`
}

func lines(t testing.TB, b []byte) []line {
	t.Helper()
	var all []line
	for text := range bytes.Lines(b) {
		var l line
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&l); err != nil || !bytes.HasSuffix(text, []byte("\n")) {
			t.Fatalf("no line: %q, %v", text, err)
		}
		if l.Hash != leafHash(l.Leaf) {
			t.Fatalf("line %d: the leaf does not have its hash", l.Index)
		}
		all = append(all, l)
	}
	return all
}

func indexes(all []line) []int64 {
	got := make([]int64, len(all))
	for i, l := range all {
		got[i] = l.Index
	}
	return got
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newFile(t testing.TB, c export.FileConfig) *export.File {
	t.Helper()
	f, err := export.NewFile(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// leafOf is a leaf as a log holds it, with a time that is told apart by n.
func leafOf(n int64) []byte {
	return fmt.Appendf(nil, `{"action":"init","env":"production","id":"06h0dyvhg3fs7nz5jeqkyz7s9w","kind":"event","time":%d,"v":2}`, 1767323045000000+n)
}

func entries(from, n int64) []export.Entry {
	all := make([]export.Entry, n)
	for i := range all {
		all[i] = export.NewEntry(origin, from+int64(i), leafOf(from+int64(i)))
		if all[i].Leaf == nil {
			panic("the tests' leaf is none")
		}
	}
	return all
}

func TestLine(t *testing.T) {
	e := entries(7, 1)[0]
	want := `{"index":7,"leaf":` + string(leafOf(7)) + `,"leaf_hash":"` + leafHash(leafOf(7)) + `","origin":"` + origin + `"}` + "\n"
	if got := string(e.AppendLine(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestFileOfALog(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	r.calls(100)
	path := filepath.Join(t.TempDir(), "log.jsonl")
	stop := r.export(r.config(export.Target{Name: "file", Sink: newFile(t, export.FileConfig{Path: path})}))
	r.reached("file", 100)
	stop()
	exactly(t, indexes(lines(t, readFile(t, path))), 100)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestHalfLinesAreCut(t *testing.T) {
	whole := func(n int64) string {
		var b []byte
		for _, e := range entries(0, n) {
			b = e.AppendLine(b)
		}
		return string(b)
	}
	for name, c := range map[string]struct {
		content string
		keep    int // bytes
		refused bool
	}{
		"nothing":              {"", 0, false},
		"whole":                {whole(3), len(whole(3)), false},
		"half a line":          {whole(2) + `{"index":2,"le`, len(whole(2)), false},
		"a line without end":   {strings.TrimSuffix(whole(3), "\n"), len(whole(2)), false},
		"only half a line":     {`{"index":0`, 0, false},
		"zeros":                {whole(2) + strings.Repeat("\x00", 5000), len(whole(2)), false},
		"only zeros":           {strings.Repeat("\x00", 5000), 0, false},
		"zeros and half lines": {whole(1) + "\x00\x00\x00ab\":1}\n" + `{"index":`, len(whole(1)), false},
		"a text":               {"Dear Ada,\nsend money\n", 0, true},
		"endless":              {"{" + strings.Repeat("a", export.MaxTailTestOnly), 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log.jsonl")
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			f := newFile(t, export.FileConfig{Path: path})
			_, err := f.Send(t.Context(), entries(50, 2))
			got := readFile(t, path)
			var failure *export.Failure
			if c.refused {
				if !errors.As(err, &failure) || failure.Class != export.Unwritable || !strings.Contains(failure.Text, "does not hold lines") {
					t.Errorf("it is written on: %v", err)
				}
				if string(got) != c.content {
					t.Error("what is no file of ours was changed")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if string(got[:c.keep]) != c.content[:c.keep] || len(lines(t, got[c.keep:])) != 2 {
				t.Errorf("the file is now %q", got)
			}
			lines(t, got)
		})
	}
}

// Whatever a file holds: what is kept is a beginning of it that ends with a line, and
// nothing is cut twice.
func FuzzWholeLines(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("{}\n{\"a\":1}\n{\"b"))
	f.Add([]byte("{}\n\x00\x00\x00"))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		n, err := export.WholeLinesTestOnly(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			return
		}
		kept := content[:n]
		if n > 0 && !bytes.HasSuffix(kept, []byte("}\n")) {
			t.Fatalf("%q is kept of %q", kept, content)
		}
		if again, err := export.WholeLinesTestOnly(bytes.NewReader(kept), n); err != nil || again != n {
			t.Fatalf("%q is cut again, to %d, %v", kept, again, err)
		}
		// A line that is whole is never cut off.
		if whole := append(bytes.Clone(kept), "{\"index\":1}\n"...); n > 0 {
			if m, err := export.WholeLinesTestOnly(bytes.NewReader(whole), int64(len(whole))); err != nil || m != int64(len(whole)) {
				t.Fatalf("a whole line is cut from %q: %d, %v", whole, m, err)
			}
		}
	})
}

func names(t testing.TB, dir string) (all []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		all = append(all, e.Name())
	}
	return all
}

func TestRotation(t *testing.T) {
	// The bubble's clock begins at midnight, 2000-01-01 UTC.
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		for name, content := range map[string]string{"log-20.jsonl": "somebody else's", "log-20000101T000000.000000000Z.txt": "also"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(dir, "log.jsonl")
		f := newFile(t, export.FileConfig{Path: path, MaxBytes: 1000, Every: 24 * time.Hour, Keep: 2})
		next := int64(0)
		send := func(n int64, files int) {
			t.Helper()
			if a, err := f.Send(t.Context(), entries(next, n)); err != nil || a.Entries != int(n) {
				t.Fatalf("entry %d: %v, %#v", next, a, err)
			}
			next += n
			if got := names(t, dir); len(got) != 2+files {
				t.Fatalf("after %d entries: %v, want %d files of ours", next, got, files)
			}
		}
		send(1, 1)
		time.Sleep(24*time.Hour - time.Minute)
		send(1, 1) // the same day
		time.Sleep(2 * time.Minute)
		send(1, 2) // midnight passed
		send(8, 2)
		time.Sleep(time.Second)
		send(1, 3) // the one before was full
		send(9, 3)
		time.Sleep(time.Second)
		send(1, 3) // the oldest went
		got := names(t, dir)
		if got[0] != "log-20.jsonl" && got[1] != "log-20.jsonl" {
			t.Errorf("a file of somebody else was removed: %v", got)
		}
		var kept []int64
		for _, name := range got {
			if strings.HasSuffix(name, ".jsonl") && name != "log-20.jsonl" {
				kept = append(kept, indexes(lines(t, readFile(t, filepath.Join(dir, name))))...)
			}
		}
		if len(kept) != 20 || kept[0] != 2 || kept[len(kept)-1] != 21 {
			t.Errorf("kept are %v", kept)
		}
	})
}

// Somebody moves the file away, as logrotate does: a new one begins.
func TestFileIsMovedAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.jsonl")
	f := newFile(t, export.FileConfig{Path: path})
	for i := range int64(2) {
		if _, err := f.Send(t.Context(), entries(i, 1)); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path, fmt.Sprintf("%s.%d", path, i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range int64(2) {
		if got := indexes(lines(t, readFile(t, fmt.Sprintf("%s.%d", path, i)))); len(got) != 1 || got[0] != i {
			t.Errorf("file %d holds %v", i, got)
		}
	}
}

func TestFilesThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	locked := filepath.Join(dir, "locked")
	if _, err := newFile(t, export.FileConfig{Path: locked}).Send(t.Context(), entries(0, 1)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ path, text string }{
		"no directory":      {filepath.Join(dir, "none", "log"), "no such file"},
		"a directory":       {dir, "is a directory"},
		"a link":            {link, "too many"},
		"of somebody else":  {locked, "another process"},
		"a full device":     {"/dev/full", "does not hold lines"},
		"target, near miss": {target, ""},
	} {
		_, err := newFile(t, export.FileConfig{Path: c.path}).Send(t.Context(), entries(0, 1))
		var failure *export.Failure
		switch {
		case c.text == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.text != "" && (!errors.As(err, &failure) || failure.Class != export.Unwritable || !strings.Contains(failure.Text, c.text)):
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]export.FileConfig{"no path": {}, "less than none": {Path: "x", Keep: -1}} {
		if _, err := export.NewFile(c); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
