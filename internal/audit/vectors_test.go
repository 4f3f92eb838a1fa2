package audit_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/audit"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// The vectors of docs/log-format.md. tools/logverify, which shares no code with this
// package, has to agree on each of them.
const vectors = "testdata/vectors"

var update = flag.Bool("update", false, "write the vectors anew")

// A leafVector is an entry with what opens its personal fields.
type leafVector struct {
	Leaf     string                  `json:"leaf"`
	Hash     string                  `json:"hash_hex"`
	Personal map[string]audit.Opened `json:"personal,omitempty"`
}

// A proofVector is a proof's file and what becomes of it: ok, invalid (it is not of the
// form, or no checkpoint of this log) or tampered (a part does not fit).
type proofVector struct {
	File   string            `json:"file"`
	Expect string            `json:"expect"`
	Index  int64             `json:"index,omitempty"`
	Opened map[string]string `json:"opened,omitempty"`
	// Witness says that the witness has co-signed.
	Witness bool   `json:"witness,omitempty"`
	Why     string `json:"why,omitempty"`
}

// memory is a log in memory, as a TileStore.
type memory struct {
	leaves, hashes [][]byte
	tiles          map[int][]audit.Tile
	tree           audit.TestTree
	head           audit.Head
}

func (m *memory) append(leaf []byte) {
	h := audit.LeafHash(leaf)
	m.leaves, m.hashes = append(m.leaves, leaf), append(m.hashes, h[:])
	for _, t := range m.tree.Push(h) {
		if m.tiles == nil {
			m.tiles = map[int][]audit.Tile{}
		}
		t.Hashes = bytes.Clone(t.Hashes)
		m.tiles[t.Level] = append(m.tiles[t.Level], t)
	}
}

func (m *memory) sign(t *testing.T, signer note.Signer) {
	t.Helper()
	root := m.tree.Root()
	text := fmt.Sprintf("%s\n%d\n%s\n", signer.Name(), len(m.leaves), base64.StdEncoding.EncodeToString(root[:]))
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		t.Fatal(err)
	}
	m.head = audit.Head{Size: int64(len(m.leaves)), Note: signed}
}

func (m *memory) Head(context.Context) (audit.Head, error) { return m.head, nil }
func (m *memory) Leaves(_ context.Context, from, to int64) ([][]byte, error) {
	return m.leaves[min(from, int64(len(m.leaves))):min(to, int64(len(m.leaves)))], nil
}
func (m *memory) Hashes(_ context.Context, from, to int64) ([][]byte, error) {
	return m.hashes[min(from, int64(len(m.leaves))):min(to, int64(len(m.leaves)))], nil
}
func (m *memory) Tiles(_ context.Context, level int, from int64, limit int) ([]audit.Tile, error) {
	all := m.tiles[level]
	all = all[min(from, int64(len(all))):]
	return all[:min(limit, len(all))], nil
}

// directory is a source and what writes into it.
func directory(dir string) (audit.Source, func(string, []byte) error) {
	source := func(_ context.Context, path string) ([]byte, error) {
		b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(path)))
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", gatehouse.ErrNotFound, err)
		}
		return b, err
	}
	put := func(path string, content []byte) error {
		name := filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		return os.WriteFile(name, content, 0o644)
	}
	return source, put
}

// vectorLeaves are entries of both versions and every kind, with fixed salts.
func vectorLeaves() (all []leafVector) {
	add := func(l audit.Leaf, personal map[string]audit.Opened) {
		l.ID, l.Time, l.Environment = fmt.Sprintf("06h0dyxv57fwk89q3fc77f%04d", len(all)), 1795000000000000+int64(len(all))*1000, "production"
		if l.Version == 0 {
			l.Version = 2
		}
		for name, o := range personal {
			if l.Personal == nil {
				l.Personal, l.SealedHash = map[string]string{}, strings.Repeat("a0", 32)
			}
			l.Personal[name] = audit.Commitment(name, o)
		}
		leaf := audit.AppendLeaf(nil, &l)
		hash := audit.LeafHash(leaf)
		all = append(all, leafVector{string(leaf), hex.EncodeToString(hash[:]), personal})
	}
	salt := func(n byte) []byte { return bytes.Repeat([]byte{n}, 16) }
	add(audit.Leaf{Action: "init", Kind: audit.KindEvent, Verdict: "done", Facts: map[string]string{"version": "1.0"}}, nil)
	add(audit.Leaf{Action: "call", Kind: audit.KindIntent, Service: "scheduler", Purpose: "publish", Platform: gatehouse.X, App: "main-x",
		Operation: "GET /2/users/me", Verdict: "allow", Rule: "publish/1"},
		map[string]audit.Opened{"connection": {Salt: salt(1), Value: "con5f2k"}, "handle": {Salt: salt(2), Value: "hnd9x1c"}})
	add(audit.Leaf{Action: "call", Kind: audit.KindOutcome, Intent: "06h0dyxv57fwk89q3fc77f0001", Verdict: "done", Status: 200, Bytes: 1234}, nil)
	add(audit.Leaf{Action: "seal", Kind: audit.KindEvent, Verdict: "done", Facts: map[string]string{"b": "2", "a": "quote\" back\\ tab\t nul\x00 \u2028 <&> ünï 🦊"}},
		map[string]audit.Opened{"subject": {Salt: salt(3), Value: "customer 42 \u2028 🦊"}, "labels": {Salt: salt(4), Value: ""}})
	add(audit.Leaf{Version: 1, Action: "handle.create", Kind: audit.KindEvent, Verdict: "done", PersonalHash: strings.Repeat("ab", 32)}, nil)
	for range 295 {
		add(audit.Leaf{Action: "call", Kind: audit.KindEvent, Verdict: "refuse", Rule: "publish/undeclared"}, nil)
	}
	return all
}

// writeVectors makes all files anew.
func writeVectors(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(vectors); err != nil {
		t.Fatal(err)
	}
	_, put := directory(vectors)
	seed := bytes.Repeat([]byte{7}, ed25519.SeedSize)
	private, public, err := note.GenerateKey(bytes.NewReader(seed), "gatehouse/production/vectors")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	verifier := mustVerifier(t, public)
	witnessPrivate, witnessPublic, err := audit.GenerateWitnessKey("witness.example.com")
	if err != nil {
		t.Fatal(err)
	}
	witness, err := audit.NewWitnessSigner(witnessPrivate)
	if err != nil {
		t.Fatal(err)
	}
	leaves := vectorLeaves()
	m := &memory{}
	for _, l := range leaves {
		m.append([]byte(l.Leaf))
	}
	m.sign(t, signer)
	log, putLog := directory(filepath.Join(vectors, "log"))
	x := audit.Exporter{Source: audit.NewSource(m), Verifier: verifier, Have: log, Put: putLog}
	view, err := x.Export(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	leafText, err := json.MarshalIndent(leaves[:6], "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	var cases []proofVector
	write := func(v proofVector, p *audit.Proof) {
		data, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		v.File += ".tlog-proof"
		cases = append(cases, v)
		if err := put(v.File, data); err != nil {
			t.Fatal(err)
		}
	}
	prove := func(n int64) *audit.Proof {
		p, err := view.Prove(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	write(proofVector{File: "first", Expect: "ok"}, prove(0))
	write(proofVector{File: "last", Expect: "ok", Index: 299}, prove(299))
	write(proofVector{File: "version-1", Expect: "ok", Index: 4}, prove(4))
	p := prove(1)
	p.Extra.Opened = map[string]audit.Opened{"connection": leaves[1].Personal["connection"]}
	write(proofVector{File: "one-field", Expect: "ok", Index: 1, Opened: map[string]string{"connection": "con5f2k"}}, p)
	p = prove(3)
	p.Extra.Opened = leaves[3].Personal
	write(proofVector{File: "all-fields", Expect: "ok", Index: 3, Opened: map[string]string{"subject": leaves[3].Personal["subject"].Value, "labels": ""}}, p)
	p = prove(1)
	w := audit.Witness{Source: log, Verifier: verifier, Signer: witness, Save: func([]byte) error { return nil },
		Load: func() ([]byte, error) { return nil, gatehouse.ErrNotFound }}
	sighting, err := w.Look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p.Checkpoint = sighting.Cosigned
	write(proofVector{File: "cosigned", Expect: "ok", Index: 1, Witness: true}, p)

	p = prove(1)
	p.Extra.Opened = map[string]audit.Opened{"connection": {Salt: leaves[1].Personal["connection"].Salt, Value: "con5f2l"}}
	write(proofVector{File: "another-value", Expect: "tampered", Why: "the opened value is not the one committed to"}, p)
	p = prove(1)
	p.Extra.Opened = map[string]audit.Opened{"handle": leaves[1].Personal["connection"]}
	write(proofVector{File: "another-name", Expect: "tampered", Why: "the value belongs to another field"}, p)
	p = prove(1)
	p.Extra.Opened = map[string]audit.Opened{"connection": {Salt: append(salted(leaves[1]), 'g'), Value: "con5f2k"}}
	write(proofVector{File: "longer-salt", Expect: "tampered", Why: "a salt has 16 bytes"}, p)
	p = prove(1)
	p.Extra.Entry = strings.Replace(p.Extra.Entry, `"allow"`, `"report"`, 1)
	write(proofVector{File: "another-entry", Expect: "tampered", Why: "the entry was changed"}, p)
	p = prove(1)
	p.Index = 2
	write(proofVector{File: "another-index", Expect: "tampered", Why: "the entry stands elsewhere"}, p)
	p = prove(1)
	p.Hashes = p.Hashes[:len(p.Hashes)-1]
	write(proofVector{File: "short-path", Expect: "tampered", Why: "a hash of the path is missing"}, p)
	p = prove(1)
	p.Checkpoint = bytes.Replace(p.Checkpoint, []byte("\n300\n"), []byte("\n301\n"), 1)
	write(proofVector{File: "another-size", Expect: "invalid", Why: "the checkpoint was changed after it was signed"}, p)
	text, err := json.MarshalIndent(cases, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string][]byte{
		"log.pub": []byte(public + "\n"), "witness.pub": []byte(witnessPublic + "\n"), "leaves.json": append(leafText, '\n'), "proofs.json": append(text, '\n'),
	} {
		if err := put(path, content); err != nil {
			t.Fatal(err)
		}
	}
}

func salted(l leafVector) []byte { return bytes.Clone(l.Personal["connection"].Salt) }

func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	verifier := mustVerifier(t, strings.TrimSpace(string(read(t, vectors+"/log.pub"))))
	witness, err := audit.NewWitnessVerifier(strings.TrimSpace(string(read(t, vectors+"/witness.pub"))))
	if err != nil {
		t.Fatal(err)
	}
	source, _ := directory(vectors + "/log")
	view, err := audit.Newest(t.Context(), source, verifier)
	if err != nil || view.Size != 300 {
		t.Fatalf("the log of the vectors: %v", err)
	}
	for n := range view.Size {
		if _, _, err := view.Entry(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(string(view.Note)) {
		if !strings.Contains(string(read(t, "../../docs/log-format.md")), line) {
			t.Errorf("docs/log-format.md shows another checkpoint, without %q", line)
		}
	}
	var leaves []leafVector
	if err := json.Unmarshal(read(t, vectors+"/leaves.json"), &leaves); err != nil {
		t.Fatal(err)
	}
	for i, v := range leaves {
		hash := audit.LeafHash([]byte(v.Leaf))
		leaf, err := audit.DecodeLeaf([]byte(v.Leaf))
		if err != nil || hex.EncodeToString(hash[:]) != v.Hash {
			t.Errorf("leaf %d: hash %x, %v", i, hash, err)
			continue
		}
		if again := audit.AppendLeaf(nil, leaf); string(again) != v.Leaf {
			t.Errorf("leaf %d is written as %s", i, again)
		}
		for name, o := range v.Personal {
			if !o.Opens(leaf, name) {
				t.Errorf("leaf %d: the field %s does not open its commitment", i, name)
			}
		}
	}
	var proofs []proofVector
	if err := json.Unmarshal(read(t, vectors+"/proofs.json"), &proofs); err != nil {
		t.Fatal(err)
	}
	for _, v := range proofs {
		got, err := audit.CheckProof(read(t, vectors+"/"+v.File), verifier, witness)
		outcome := "ok"
		switch {
		case errors.Is(err, audit.ErrTampered):
			outcome = "tampered"
		case errors.Is(err, gatehouse.ErrInvalid):
			outcome = "invalid"
		case err != nil:
			outcome = err.Error()
		}
		if outcome != v.Expect {
			t.Errorf("%s: %s (%v), want %s", v.File, outcome, err, v.Expect)
		}
		if err == nil && (got.Seq != v.Index || fmt.Sprint(got.Opened) != fmt.Sprint(v.Opened) || (len(got.Witnesses) == 1) != v.Witness) {
			t.Errorf("%s shows %+v", v.File, got)
		}
	}
}

// TestTileReaderOfTheField reads what is served with the tile reader of x/mod's sumdb,
// which knows nothing of this package.
func TestTileReaderOfTheField(t *testing.T) {
	source, _ := directory(vectors + "/log")
	lines := strings.Split(string(read(t, vectors+"/log/checkpoint")), "\n")
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		t.Fatal(err)
	}
	reader := tlog.TileHashReader(tlog.Tree{N: 300, Hash: root}, fieldReader{t, source})
	for _, n := range []int64{0, 255, 256, 299} {
		p, err := tlog.ProveRecord(300, n, reader)
		if err != nil {
			t.Fatal(err)
		}
		bundle := read(t, vectors+"/log/tile/entries/000")
		at := n
		if n >= 256 {
			bundle, at = read(t, vectors+"/log/tile/entries/001.p/44"), n-256
		}
		for range at {
			bundle = bundle[2+binary.BigEndian.Uint16(bundle):]
		}
		if err := tlog.CheckRecord(p, 300, root, n, tlog.RecordHash(bundle[2:2+binary.BigEndian.Uint16(bundle)])); err != nil {
			t.Errorf("entry %d: %v", n, err)
		}
	}
}

type fieldReader struct {
	t      *testing.T
	source audit.Source
}

func (fieldReader) Height() int                     { return 8 }
func (fieldReader) SaveTiles([]tlog.Tile, [][]byte) {}
func (r fieldReader) ReadTiles(tiles []tlog.Tile) (all [][]byte, err error) {
	for _, tile := range tiles {
		b, err := r.source(r.t.Context(), strings.Replace(tile.Path(), "tile/8/", "tile/", 1))
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}
