package audit_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"

	"golang.org/x/mod/sumdb/note"
)

// proofOf returns the proof of an entry, with all its personal fields opened if the
// test's own seal was used.
func proofOf(t *testing.T, db *store.DB, v note.Verifier, id string) []byte {
	t.Helper()
	seq, err := db.Audit().Find(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	view, err := audit.Newest(t.Context(), audit.NewSource(db.Audit()), v)
	if err != nil {
		t.Fatal(err)
	}
	p, err := view.Prove(t.Context(), seq)
	if err != nil {
		t.Fatal(err)
	}
	row, err := db.Audit().Entry(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if _, text, ok := bytes.Cut(row.Personal, []byte("|audit/"+id+"|")); ok {
		leaf, err := audit.DecodeLeaf(row.Leaf)
		if err != nil {
			t.Fatal(err)
		}
		if p.Extra.Opened, err = audit.OpenFields(leaf, text); err != nil {
			t.Fatal(err)
		}
	}
	data, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// grown makes a log of n entries and returns their ids.
func grown(t testing.TB, db *store.DB, private string, n int) (ids []string) {
	t.Helper()
	log, stop := run(t, config(t, db.Audit(), private))
	for range n - 1 {
		ids = append(ids, log.Refusal(audit.Entry{Action: "call", Rule: "publish/undeclared", Service: "scheduler"}))
	}
	id, err := log.Record(t.Context(), call())
	if err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	return append(ids, id)
}

func TestProofsOfEntries(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		db := storetest.Open(t, dsn)
		private, verifier := newKey(t)
		ids := grown(t, db, private, 700)
		for _, n := range []int{0, 1, 255, 256, 511, 512, 698, 699} {
			checked, err := audit.CheckProof(proofOf(t, db, verifier, ids[n]), verifier)
			if err != nil || checked.Seq != int64(n) || checked.Leaf.ID != ids[n] || checked.Size != 700 {
				t.Errorf("entry %d: %+v, %v", n, checked, err)
			}
			if n == 699 && (checked.Opened["connection"] != "connection-1" || checked.Opened["handle"] != "handle-1") {
				t.Errorf("opened %v", checked.Opened)
			}
		}
		view, err := audit.Newest(t.Context(), audit.NewSource(db.Audit()), verifier)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int64{-1, 700} {
			if _, err := view.Prove(t.Context(), n); !errors.Is(err, gatehouse.ErrNotFound) {
				t.Errorf("proving entry %d of 700: %v", n, err)
			}
		}
	})
}

// TestChangedProofs changes every byte of a proof's file, and gives it other parts.
func TestChangedProofs(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	private, verifier := newKey(t)
	ids := grown(t, db, private, 300)
	good := proofOf(t, db, verifier, ids[299])
	want, err := audit.CheckProof(good, verifier)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		evil := bytes.Clone(good)
		evil[i] ^= 1 << (i % 8)
		got, err := audit.CheckProof(evil, verifier)
		// The extra data has several spellings, so a change there may mean the same.
		if err == nil && (got.Leaf.ID != want.Leaf.ID || got.Opened["connection"] != want.Opened["connection"] || got.Opened["handle"] != want.Opened["handle"]) {
			t.Fatalf("byte %d was changed, and the proof shows %+v", i, got)
		}
	}
	other := proofOf(t, db, verifier, ids[0])
	reveal := func(p *audit.Proof, name, value string) {
		o := p.Extra.Opened[name]
		o.Value = value
		p.Extra.Opened[name] = o
	}
	for name, change := range map[string]func(p, o *audit.Proof){
		"another entry":          func(p, o *audit.Proof) { p.Extra.Entry = o.Extra.Entry },
		"another index":          func(p, _ *audit.Proof) { p.Index-- },
		"an index beyond":        func(p, _ *audit.Proof) { p.Index = 300 },
		"another path":           func(p, o *audit.Proof) { p.Hashes = o.Hashes },
		"a hash less":            func(p, _ *audit.Proof) { p.Hashes = p.Hashes[1:] },
		"a hash more":            func(p, _ *audit.Proof) { p.Hashes = append(p.Hashes, p.Hashes[0]) },
		"another value":          func(p, _ *audit.Proof) { reveal(p, "connection", "connection-2") },
		"a field that is not":    func(p, _ *audit.Proof) { p.Extra.Opened["subject"] = p.Extra.Opened["handle"] },
		"a field's other name":   func(p, _ *audit.Proof) { p.Extra.Opened["handle"] = p.Extra.Opened["connection"] },
		"an unsigned checkpoint": func(p, _ *audit.Proof) { p.Checkpoint, _, _ = bytes.Cut(p.Checkpoint, []byte("—")) },
	} {
		p, err := audit.ParseProof(good)
		if err != nil {
			t.Fatal(err)
		}
		o, err := audit.ParseProof(other)
		if err != nil {
			t.Fatal(err)
		}
		change(p, o)
		evil, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := audit.CheckProof(evil, verifier); !errors.Is(err, audit.ErrTampered) && !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, stranger := newKey(t)
	if _, err := audit.CheckProof(good, stranger); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("with another log's key: %v", err)
	}
	for name, evil := range map[string]string{
		"nothing":           "",
		"no extra data":     strings.Replace(string(good), "extra ", "extra", 1),
		"a second version":  strings.Replace(string(good), "@v1", "@v2", 1),
		"an index in hex":   strings.Replace(string(good), "index 299", "index 0x12b", 1),
		"an index of zeros": strings.Replace(string(good), "index 299", "index 0299", 1),
		"a short hash":      strings.Replace(string(good), "index 299\n", "index 299\nAAAA\n", 1),
		"unknown members":   strings.Replace(string(good), "extra ", "extra "+base64.StdEncoding.EncodeToString([]byte(`{"entries":1}`))+"\nx ", 1),
	} {
		if _, err := audit.ParseProof([]byte(evil)); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseProof(f *testing.F) {
	f.Add([]byte("c2sp.org/tlog-proof@v1\nextra e30=\nindex 0\n\nx\n"))
	f.Add([]byte("c2sp.org/tlog-proof@v1\nextra eyJlbnRyeSI6IngifQ==\nindex 12\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := audit.ParseProof(data)
		if err != nil {
			return
		}
		again, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if q, err := audit.ParseProof(again); err != nil || q.Index != p.Index || q.Extra.Entry != p.Extra.Entry || !bytes.Equal(q.Checkpoint, p.Checkpoint) {
			t.Errorf("read %+v, wrote it, and read %+v, %v", p, q, err)
		}
	})
}

func TestTilePaths(t *testing.T) {
	for _, c := range []struct {
		level int
		index int64
		width int
		path  string
	}{
		{0, 0, 256, "tile/0/000"},
		{0, 1234067, 256, "tile/0/x001/x234/067"},
		{1, 999, 17, "tile/1/999.p/17"},
		{-1, 1000, 1, "tile/entries/x001/000.p/1"},
		{7, 12, 255, "tile/7/012.p/255"},
	} {
		if got := audit.TilePath(c.level, c.index, c.width); got != c.path {
			t.Errorf("TilePath(%d, %d, %d) = %s, want %s", c.level, c.index, c.width, got, c.path)
		}
		if level, index, width, err := audit.ParseTilePath(c.path); err != nil || level != c.level || index != c.index || width != c.width {
			t.Errorf("ParseTilePath(%s) = %d, %d, %d, %v", c.path, level, index, width, err)
		}
	}
	for _, path := range []string{
		"", "tile", "tile/", "tile/0", "tile/0/", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/00/000", "tile/8/000", "tile/-1/000", "tile/+1/000",
		"tile/0/x000/001", "tile/0/001/234", "tile/0/x001/x234", "tile/0/001.p/0", "tile/0/001.p/256", "tile/0/001.p/01", "tile/0/001.p/", "tile/data/000",
		"tile/0/+01", "tile/0/../000", "/tile/0/000", "tile/0/000/", "tile/0/x999/x999/x999/x999/x999/x999/999",
	} {
		if _, _, _, err := audit.ParseTilePath(path); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("ParseTilePath(%s): %v", path, err)
		}
	}
}

func FuzzParseTilePath(f *testing.F) {
	f.Add("tile/0/x001/x234/067.p/9")
	f.Add("tile/entries/000")
	f.Fuzz(func(t *testing.T, path string) {
		level, index, width, err := audit.ParseTilePath(path)
		if err == nil && audit.TilePath(level, index, width) != path {
			t.Errorf("%q is read as %d, %d, %d", path, level, index, width)
		}
	})
}

func FuzzUnbundle(f *testing.F) {
	f.Add([]byte("\x00\x01a\x00\x00"), 2)
	f.Fuzz(func(t *testing.T, data []byte, width int) {
		leaves, err := audit.Unbundle(data, width)
		if err != nil {
			return
		}
		var again []byte
		for _, l := range leaves {
			again = append(append(again, byte(len(l)>>8), byte(len(l))), l...)
		}
		if !bytes.Equal(again, data) || len(leaves) != width {
			t.Errorf("%q is read as %q", data, leaves)
		}
	})
}

// TestWhatIsServedAgreesWithTheLog reads every resource of a log with tiles of two
// levels, in the sizes around the borders.
func TestSourceOfAStore(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	private, verifier := newKey(t)
	source := audit.NewSource(db.Audit())
	if _, err := audit.Newest(t.Context(), source, verifier); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("a log without a checkpoint: %v", err)
	}
	var points []audit.Point
	for _, n := range []int{1, 254, 1, 1, 255, 10} {
		grown(t, db, private, n)
		view, err := audit.Newest(t.Context(), source, verifier)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range append(points, audit.Point{Root: [32]byte{0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55}}) {
			if err := view.GrownFrom(p); err != nil {
				t.Errorf("%d entries after %d: %v", view.Size, p.Size, err)
			}
			p.Root[3] ^= 1
			if err := view.GrownFrom(p); !errors.Is(err, audit.ErrTampered) {
				t.Errorf("%d entries after other %d: %v", view.Size, p.Size, err)
			}
		}
		if err := view.GrownFrom(audit.Point{Size: view.Size + 1}); !errors.Is(err, audit.ErrTampered) {
			t.Errorf("%d entries after more: %v", view.Size, err)
		}
		points = append(points, view.Point)
		for i := range view.Size {
			if _, _, err := view.Entry(t.Context(), i); err != nil {
				t.Fatalf("entry %d of %d: %v", i, view.Size, err)
			}
		}
	}
	for _, path := range []string{"tile/0/002.p/20", "tile/0/002.p/11", "tile/0/002", "tile/1/000.p/3", "tile/1/000", "tile/2/000.p/1", "tile/entries/003.p/1", "tile/entries/002", "other", "checkpoint/"} {
		if data, err := source(t.Context(), path); !errors.Is(err, gatehouse.ErrNotFound) && !strings.HasSuffix(path, "002.p/11") {
			t.Errorf("%s of a log of 522 entries: %d bytes, %v", path, len(data), err)
		}
	}
	// A source that lies about any tile or bundle is found out.
	for _, path := range []string{"tile/0/000", "tile/0/002.p/10", "tile/1/000.p/2", "tile/entries/000"} {
		liar := func(ctx context.Context, p string) ([]byte, error) {
			data, err := source(ctx, p)
			if p == path {
				data = bytes.Clone(data)
				data[40] ^= 1
			}
			return data, err
		}
		view, err := audit.Newest(t.Context(), liar, verifier)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := view.Entry(t.Context(), 0); err == nil {
			t.Errorf("%s was changed, and entry 0 is proved", path)
		} else if !errors.Is(err, audit.ErrTampered) {
			t.Errorf("%s was changed: %v", path, err)
		}
	}
	// One that has only full tiles, as a log may after a while.
	old := points[2] // 256 entries and a checkpoint of 255 before
	view, err := audit.Newest(t.Context(), source, verifier)
	if err != nil {
		t.Fatal(err)
	}
	pruned := func(ctx context.Context, p string) ([]byte, error) {
		if strings.Contains(p, ".p/") && !strings.Contains(p, "/002.p/") && !strings.HasPrefix(p, "tile/1/") {
			return nil, fmt.Errorf("gone: %w", gatehouse.ErrNotFound)
		}
		return source(ctx, p)
	}
	if err := audit.NewView(t.Context(), pruned, view.Point, view.Note).GrownFrom(old); err != nil {
		t.Errorf("without partial tiles: %v", err)
	}
}
