package audit

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"gatehouse"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Segment is how many entries are archived and pruned together: those below one full
// tile of level 1.
const Segment = tileWidth * tileWidth

// A Manifest is what an archive says about itself, signed with the log's key.
type Manifest struct {
	// Checkpoint is the size of the checkpoint in the archive, which covers Last.
	Checkpoint int64 `json:"checkpoint"`
	// First and Last are the indexes of the first and the last entry in it. First is
	// a multiple of 256, and so is Last + 1 unless it is the log's end.
	First int64 `json:"first"`
	// From and To are the times of these two entries, in microseconds since 1970.
	From   int64  `json:"from"`
	Last   int64  `json:"last"`
	Origin string `json:"origin"`
	To     int64  `json:"to"`
	// Version is 1.
	Version int `json:"v"`
}

// Entries returns how many entries the archive holds.
func (m *Manifest) Entries() int64 { return m.Last - m.First + 1 }

const (
	// manifestDomain begins what is signed, so that no manifest passes for a
	// checkpoint, nor the other way round.
	manifestDomain = "gatehouse archive 1\n"
	// manifestPath is the manifest's name in the archive, its first file; the
	// checkpoint comes next.
	manifestPath = "manifest"
	// sealedPrefix takes the place of "tile/entries/" in the name of the file that
	// holds the sealed fields of a bundle's entries.
	sealedPrefix = "sealed/"

	bundlePrefix = "tile/entries/"
)

var errManifest = fmt.Errorf("this is no archive of a log's entries, or its manifest is not signed by the log's key: %w", gatehouse.ErrInvalid)

// sign returns the manifest as a signed note.
func (m *Manifest) sign(signer note.Signer) ([]byte, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding an archive's manifest: %w", err)
	}
	signed, err := note.Sign(&note.Note{Text: manifestDomain + string(text) + "\n"}, signer)
	if err != nil {
		return nil, fmt.Errorf("signing an archive's manifest: %w", err)
	}
	return signed, nil
}

// ParseManifest verifies a signed manifest, of which it accepts one spelling.
func ParseManifest(signed []byte, verifier note.Verifier) (*Manifest, error) {
	n, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return nil, errManifest
	}
	text, ok := strings.CutPrefix(n.Text, manifestDomain)
	if !ok {
		return nil, errManifest
	}
	var m Manifest
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return nil, errManifest
	}
	again, err := json.Marshal(m)
	if err != nil || string(again)+"\n" != text || m.Version != 1 || m.Origin != verifier.Name() ||
		m.First < 0 || m.First%tileWidth != 0 || m.Last < m.First || m.Last >= m.Checkpoint ||
		(m.Last+1)%tileWidth != 0 && m.Last+1 != m.Checkpoint {
		return nil, errManifest
	}
	return &m, nil
}

// An Archiver copies entries of a log into a file that proves by itself that they
// stand in the log: a tar, compressed with gzip, whose files are those that a log
// is served as. What belongs to people stays sealed under their keys, so that an
// erased person's fields are gone from every archive, too; what entries are found by
// is left out, and so is all that lies beside entries of version 1.
type Archiver struct {
	// Rows and Source are the log.
	Rows   VerifyStore
	Source Source
	Signer note.Signer
	// Verifier is that of the log's key.
	Verifier note.Verifier
	// Each, if not nil, is shown every entry, after it was checked.
	Each func(index int64, l *Leaf) error
	// Progress, if not nil, is called now and then.
	Progress func(done, total int64)
}

// Write writes an archive of the bundles that hold the entries from first to last, as
// the newest checkpoint covers them. Every entry is checked against that checkpoint,
// and so is what is sealed with it; the error is ErrTampered if something is not as
// it was signed, and what was written then is of no use.
func (a *Archiver) Write(ctx context.Context, w io.Writer, first, last int64) (*Manifest, error) {
	kept := &keptTiles{source: a.Source, tiles: map[string][]byte{}}
	view, err := Newest(ctx, kept.get, a.Verifier)
	if err != nil {
		return nil, err
	}
	if first < 0 || last < first || last >= view.Size {
		return nil, fmt.Errorf("the log has %d entries, and those from %d to %d were to be archived: %w", view.Size, first, last, gatehouse.ErrInvalid)
	}
	m := &Manifest{
		Version: 1, Origin: a.Verifier.Name(), Checkpoint: view.Size,
		First: first &^ (tileWidth - 1), Last: min(last|(tileWidth-1), view.Size-1),
	}
	for _, end := range []struct {
		index int64
		time  *int64
	}{{m.First, &m.From}, {m.Last, &m.To}} {
		rows, err := a.rows(ctx, end.index, 1)
		if err != nil {
			return nil, err
		}
		l, err := DecodeLeaf(rows[0].Leaf)
		if err != nil {
			return nil, fmt.Errorf("reading entry %d: %w: %w", end.index, ErrTampered, err)
		}
		*end.time = l.Time
	}
	signed, err := m.sign(a.Signer)
	if err != nil {
		return nil, err
	}
	known := &archived{view: view, first: m.First, last: m.Last}
	if err := known.read(); err != nil {
		return nil, err
	}
	zipped := gzip.NewWriter(w)
	out := &tarFile{tar: tar.NewWriter(zipped), time: time.UnixMicro(m.To).UTC()}
	out.put(manifestPath, signed)
	out.put(CheckpointPath, view.Note)
	for _, path := range slices.Sorted(maps.Keys(kept.tiles)) {
		out.put(path, kept.tiles[path])
	}
	for from := m.First; from <= m.Last && out.err == nil; from += tileWidth {
		if a.Progress != nil {
			a.Progress(from-m.First, m.Entries())
		}
		rows, err := a.rows(ctx, from, int(min(tileWidth, m.Last+1-from)))
		if err != nil {
			return nil, err
		}
		if err := a.bundle(out, kept, known, rows); err != nil {
			return nil, err
		}
	}
	if a.Progress != nil {
		a.Progress(m.Entries(), m.Entries())
	}
	if err := errors.Join(out.err, out.tar.Close(), zipped.Close()); err != nil {
		return nil, fmt.Errorf("writing an archive: %w", err)
	}
	return m, nil
}

// rows reads n entries from an index on.
func (a *Archiver) rows(ctx context.Context, from int64, n int) ([]Row, error) {
	var rows []Row
	err := a.Rows.Snapshot(ctx, func(r Reader) (err error) {
		rows, err = r.Entries(ctx, from, n)
		return err
	})
	if err == nil && (len(rows) != n || rows[0].Seq != from || rows[n-1].Seq != from+int64(n)-1) {
		err = fmt.Errorf("entries %d to %d are not all there; they were pruned, or removed: %w", from, from+int64(n)-1, gatehouse.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the log's entries: %w", err)
	}
	return rows, nil
}

// bundle checks the entries of a bundle and writes its three files.
func (a *Archiver) bundle(out *tarFile, kept *keptTiles, known *archived, rows []Row) error {
	var leaves [][]byte
	var hashes, sealed []byte
	for i := range rows {
		r := &rows[i]
		h := LeafHash(r.Leaf)
		leaves, hashes = append(leaves, r.Leaf), append(hashes, h[:]...)
		l, err := DecodeLeaf(r.Leaf)
		if err != nil {
			return fmt.Errorf("%s: %w: %w", entryName(r.Seq, r.ID), ErrTampered, err)
		}
		personal := r.Personal
		if l.Version == 1 {
			personal = nil // It may be sealed under a key that outlives the person.
		} else if err := sealedSuits(l, personal); err != nil {
			return fmt.Errorf("%s: %w", entryName(r.Seq, r.ID), err)
		}
		sealed = append(binary.BigEndian.AppendUint32(sealed, uint32(len(personal))), personal...)
		if a.Each != nil {
			if err := a.Each(r.Seq, l); err != nil {
				return err
			}
		}
	}
	from := rows[0].Seq
	if err := known.check(from, hashes); err != nil {
		return err
	}
	index, width := from/tileWidth, len(rows)
	if path := TilePath(0, index, width); kept.tiles[path] == nil {
		out.put(path, hashes)
	}
	path := TilePath(entriesLevel, index, width)
	out.put(path, bundle(leaves))
	out.put(sealedPath(path), sealed)
	return nil
}

// sealedPath returns the name of the file with the sealed fields of a bundle.
func sealedPath(bundle string) string { return sealedPrefix + strings.TrimPrefix(bundle, bundlePrefix) }

// sealedSuits checks sealed fields against an entry of version 2.
func sealedSuits(l *Leaf, sealed []byte) error {
	if (l.SealedHash == "") != (sealed == nil) || sealed != nil && sealedHash(sealed) != l.SealedHash {
		return fmt.Errorf("what is sealed with it is not what it commits to: %w", ErrTampered)
	}
	return nil
}

// keptTiles reads from a source and keeps every tile that was read: those that it
// takes to check what was checked.
type keptTiles struct {
	source Source
	tiles  map[string][]byte
}

func (k *keptTiles) get(ctx context.Context, path string) ([]byte, error) {
	data, err := k.source(ctx, path)
	if err == nil && path != CheckpointPath && !strings.HasPrefix(path, bundlePrefix) {
		k.tiles[path] = bytes.Clone(data)
	}
	return data, err
}

// archived are the hashes of the bundles of an archive, as its checkpoint covers them.
type archived struct {
	view        *View
	first, last int64
	// full are the roots of full bundles, and part the hashes of the entries of the
	// last one if it is not full.
	full []tlog.Hash
	part []tlog.Hash
}

// hashBatch is how many hashes are checked against a checkpoint at a time.
const hashBatch = tileWidth

// read reads and checks them.
func (a *archived) read() error {
	end := a.last + 1
	var err error
	if a.full, err = a.hashes(tileHeight, a.first/tileWidth, end/tileWidth); err != nil {
		return err
	}
	a.part, err = a.hashes(0, end&^(tileWidth-1), end)
	return err
}

func (a *archived) hashes(level int, from, to int64) ([]tlog.Hash, error) {
	var all []tlog.Hash
	for ; from < to; from += hashBatch {
		var indexes []int64
		for n := from; n < min(to, from+hashBatch); n++ {
			indexes = append(indexes, tlog.StoredHashIndex(level, n))
		}
		hashes, err := a.view.hashes.ReadHashes(indexes)
		if err != nil {
			return nil, fmt.Errorf("reading the log's tiles: %w", broken(err))
		}
		all = append(all, hashes...)
	}
	return all, nil
}

// check compares the hashes of the entries of the bundle that begins at an index.
func (a *archived) check(from int64, hashes []byte) error {
	same := false
	if len(hashes) == tileWidth*tlog.HashSize {
		same = tileRoot(hashes) == a.full[(from-a.first)/tileWidth]
	} else {
		var want []byte
		for _, h := range a.part {
			want = append(want, h[:]...)
		}
		same = bytes.Equal(hashes, want)
	}
	if !same {
		return fmt.Errorf("entries %d to %d are not those that the checkpoint covers: %w", from, from+int64(len(hashes)/tlog.HashSize)-1, ErrTampered)
	}
	return nil
}

// A tarFile is a tar that is being written; err is the first error.
type tarFile struct {
	tar  *tar.Writer
	time time.Time
	err  error
}

func (f *tarFile) put(path string, content []byte) {
	if f.err != nil {
		return
	}
	f.err = f.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path, Size: int64(len(content)), Mode: 0o644, ModTime: f.time, Format: tar.FormatUSTAR})
	if f.err == nil {
		_, f.err = f.tar.Write(content)
	}
}
