package atrest

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// The kinds of places.
const (
	KindDatabase = "database file"
	KindWAL      = "write-ahead log"
	KindRows     = "rows"
	KindServer   = "server's file"
	KindBackup   = "backup"
	KindLog      = "log file"
	KindConfig   = "configuration"
	KindAlso     = "also"
)

// A Look is one place that was looked at.
type Look struct {
	Kind  string `json:"kind"`
	Place string `json:"place"`
	Files int    `json:"files,omitempty"` // for a directory
	Bytes int64  `json:"bytes"`
}

// A Gap is something that was not looked into, and why.
type Gap struct {
	Kind  string `json:"kind"`
	Place string `json:"place"`
	Why   string `json:"why"`
	// Asked means that it belongs to what the search is about or was asked for, so
	// that without it the search is wanting.
	Asked bool `json:"asked,omitempty"`
	// Meant means that it was left out on purpose.
	Meant bool `json:"meant,omitempty"`
}

// State is what a gap means for the verdict.
func (g Gap) State() State {
	switch {
	case g.Asked:
		return Wanting
	case g.Meant:
		return OK
	}
	return Unknown
}

// A Finding is one value in one place, however often it stands there.
type Finding struct {
	What   What   `json:"what"`
	Form   string `json:"form"`
	Kind   string `json:"kind"`
	Place  string `json:"place"`
	Offset int64  `json:"offset"` // of the first; in rows, from the table's beginning
	Count  int64  `json:"count"`
	Hash   string `json:"sha256_prefix"`
}

// maxFindings bounds how many findings are kept apart; the rest are counted.
const maxFindings = 2000

// Survey walks over places with one search after the other and collects what it
// sees. It belongs to one goroutine.
type Survey struct {
	// Exclude are files that hold secrets by their purpose, by absolute path.
	Exclude map[string]bool
	// Progress is told after each piece that was read; nil means that nobody watches.
	Progress func(place string, bytes int64)

	search *Search
	again  bool
	looks  []Look
	gaps   []Gap
	found  map[findingKey]*Finding
	more   int64
	buf    []byte
}

type findingKey struct {
	what              What
	form, place, hash string
}

// Use makes s the search of the next walk. The places of a second walk are the
// same, so they are not listed again.
func (v *Survey) Use(s *Search) {
	v.again = v.search != nil
	v.search = s
}

// Looks, Gaps and Found are what the walks came to. More is how many findings
// were only counted.
func (v *Survey) Looks() []Look { return v.looks }

// Gaps returns what was not looked into.
func (v *Survey) Gaps() []Gap { return v.gaps }

// Found returns the findings, by place.
func (v *Survey) Found() (all []Finding, more int64) {
	for _, f := range v.found {
		all = append(all, *f)
	}
	slices.SortFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Place, b.Place), cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.What, b.What), cmp.Compare(a.Form, b.Form))
	})
	return all, v.more
}

// Miss notes that something was not looked into.
func (v *Survey) Miss(g Gap) {
	if !v.again {
		v.gaps = append(v.gaps, g)
	}
}

func (v *Survey) look(l Look) {
	if !v.again {
		v.looks = append(v.looks, l)
	}
}

func (v *Survey) scanner(kind, place string) *Scanner {
	return v.search.Scanner(func(m Match) {
		key := findingKey{m.What, m.Form, place, m.Hash}
		if f := v.found[key]; f != nil {
			f.Count++
			return
		}
		if v.found == nil {
			v.found = map[findingKey]*Finding{}
		}
		if len(v.found) == maxFindings {
			v.more++
			return
		}
		v.found[key] = &Finding{What: m.What, Form: m.Form, Kind: kind, Place: place, Offset: m.Offset, Count: 1, Hash: m.Hash}
	})
}

// Rows looks at every row of every table.
func (v *Survey) Rows(ctx context.Context, db Database) error {
	return db.EachTable(ctx, func(table string, read func(io.Writer) error) error {
		scanner := v.scanner(KindRows, table)
		err := read(scanner)
		_ = scanner.Close()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			v.Miss(Gap{Kind: KindRows, Place: table, Why: err.Error(), Asked: true})
		}
		v.look(Look{Kind: KindRows, Place: table, Bytes: scanner.Size()})
		v.tell(table, scanner.Size())
		return nil
	})
}

func (v *Survey) tell(place string, bytes int64) {
	if v.Progress != nil {
		v.Progress(place, bytes)
	}
}

// Path looks at a file, or at every file below a directory. It follows the path
// itself if that is a symbolic link, and no others. A path that cannot be read is
// a gap; the only errors are those of ctx.
func (v *Survey) Path(ctx context.Context, kind, path string) error {
	real, err := filepath.EvalSymlinks(path)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		v.Miss(Gap{Kind: kind, Place: path, Why: err.Error(), Asked: true})
		return ctx.Err()
	}
	info, err := os.Stat(real)
	switch {
	case err != nil:
		v.Miss(Gap{Kind: kind, Place: path, Why: err.Error(), Asked: true})
	case info.IsDir():
		return v.tree(ctx, kind, path, real)
	case !info.Mode().IsRegular():
		v.Miss(Gap{Kind: kind, Place: path, Why: "not a regular file", Asked: true})
	case v.Exclude[real]:
		v.Miss(Gap{Kind: kind, Place: path, Why: "left out: it holds a secret by its purpose", Meant: true})
	default:
		n, err := v.file(ctx, kind, real)
		if err != nil {
			v.Miss(Gap{Kind: kind, Place: path, Why: err.Error(), Asked: true})
		}
		v.look(Look{Kind: kind, Place: path, Bytes: n})
	}
	return ctx.Err()
}

func (v *Survey) tree(ctx context.Context, kind, path, real string) error {
	l := Look{Kind: kind, Place: path}
	links := 0
	err := filepath.WalkDir(real, func(p string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, fs.ErrNotExist):
			return nil // it was taken away meanwhile
		case err != nil:
			v.Miss(Gap{Kind: kind, Place: p, Why: err.Error(), Asked: true})
			return nil
		case d.Type()&fs.ModeSymlink != 0:
			links++
		case !d.Type().IsRegular():
		case v.Exclude[p]:
			v.Miss(Gap{Kind: kind, Place: p, Why: "left out: it holds a secret by its purpose", Meant: true})
		default:
			n, err := v.file(ctx, kind, p)
			if err != nil && !errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil {
				v.Miss(Gap{Kind: kind, Place: p, Why: err.Error(), Asked: true})
			}
			l.Files++
			l.Bytes += n
		}
		return nil
	})
	if links > 0 {
		v.Miss(Gap{Kind: kind, Place: path, Why: fmt.Sprintf("%d symbolic links in it are not followed", links)})
	}
	v.look(l)
	return err
}

// file searches one file, and what is inside if it is compressed by a method that
// is known here.
func (v *Survey) file(ctx context.Context, kind, path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	r := bufio.NewReaderSize(f, 4096)
	head, err := r.Peek(16)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	head = bytes.Clone(head)
	n, err := v.stream(ctx, kind, path, r)
	if err != nil {
		return n, err
	}
	method, opens := packing(head)
	if method == "" {
		return n, nil
	}
	if opens == nil {
		v.Miss(Gap{Kind: kind, Place: path, Why: method + ": what is inside is not looked into; unpack it and name that with --also", Asked: true})
		return n, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return n, err
	}
	inside, err := opens(f)
	if err == nil {
		_, err = v.stream(ctx, kind, path+" ("+method+")", inside)
	}
	if err != nil {
		return n, fmt.Errorf("what is inside (%s) was looked into up to an error: %w", method, err)
	}
	return n, nil
}

// packings are the beginnings of files whose content cannot be seen from outside.
var packings = []struct {
	magic, method string
	opens         func(io.Reader) (io.Reader, error)
}{
	{"\x1f\x8b\x08", "gzip", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
	{"BZh", "bzip2", func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }},
	{"\x28\xb5\x2f\xfd", "zstd", nil},
	{"\xfd7zXZ\x00", "xz", nil},
	{"PK\x03\x04", "zip", nil},
	{"7z\xbc\xaf\x27\x1c", "7z", nil},
	{"\x04\x22\x4d\x18", "lz4", nil},
	{"PGDMP", "pg_dump's own format", nil},
}

func packing(head []byte) (string, func(io.Reader) (io.Reader, error)) {
	for _, p := range packings {
		if bytes.HasPrefix(head, []byte(p.magic)) {
			return p.method, p.opens
		}
	}
	return "", nil
}

func (v *Survey) stream(ctx context.Context, kind, place string, r io.Reader) (int64, error) {
	if v.buf == nil {
		v.buf = make([]byte, 256<<10)
	}
	scanner := v.scanner(kind, place)
	defer func() { _ = scanner.Close() }()
	for ctx.Err() == nil {
		n, err := r.Read(v.buf)
		_, _ = scanner.Write(v.buf[:n])
		v.tell(place, int64(n))
		if errors.Is(err, io.EOF) {
			return scanner.Size(), nil
		}
		if err != nil {
			return scanner.Size(), err
		}
	}
	return scanner.Size(), ctx.Err()
}
