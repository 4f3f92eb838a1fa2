package audit

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"gatehouse"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Bounds of an archive's files. maxArchiveTiles is how many tiles may stand before the
// first bundle: enough for a thousand million entries.
const (
	maxArchiveNote   = 64 << 10
	maxArchiveTiles  = 1 << 14
	maxArchiveBundle = tileWidth * (2 + maxLeaf)
	maxArchiveEnd    = 1 << 20 // programs fill up what they write
	maxArchiveSealed = tileWidth * (4 + 2*maxPersonal)
)

// An Archive reads a file of an Archiver.
type Archive struct {
	Verifier note.Verifier
	// Each, if not nil, is shown every entry with what is sealed with it (nil if
	// nothing is), after it was checked.
	Each func(index int64, leaf []byte, l *Leaf, sealed []byte) error
	// Keep, if not nil, says which tiles and bundles Source is to return beside those
	// that lead to the checkpoint.
	Keep func(path string) bool
	// Progress, if not nil, is called now and then.
	Progress func(done, total int64)

	// Manifest is there after Check.
	Manifest *Manifest
	tiles    map[string][]byte
	// roots are those of the full bundles.
	roots []tlog.Hash
	note  []byte
}

// Source returns what was kept of an archive that was checked.
func (a *Archive) Source(_ context.Context, path string) ([]byte, error) {
	if path == CheckpointPath {
		return a.note, nil
	}
	data, ok := a.tiles[path]
	if !ok {
		return nil, fmt.Errorf("the archive does not hold %s: %w", path, gatehouse.ErrNotFound)
	}
	return data, nil
}

// root returns the root of a segment that the archive holds.
func (a *Archive) root(first int64) tlog.Hash {
	var hashes []byte
	for _, h := range a.roots[(first-a.Manifest.First)/tileWidth:][:tileWidth] {
		hashes = append(hashes, h[:]...)
	}
	return tileRoot(hashes)
}

// Or returns a source that answers from the second what the first does not have.
func (s Source) Or(second Source) Source {
	return func(ctx context.Context, path string) ([]byte, error) {
		data, err := s(ctx, path)
		if errors.Is(err, gatehouse.ErrNotFound) {
			return second(ctx, path)
		}
		return data, err
	}
}

// Or returns the view with another source for what its own does not have.
func (v *View) Or(ctx context.Context, second Source) *View {
	return NewView(ctx, v.source.Or(second), v.Point, v.Note)
}

// ArchiveKey returns the one of some logs' keys that has signed an archive. It reads the
// beginning of the archive only.
func ArchiveKey(r io.Reader, keys []note.Verifier) (note.Verifier, error) {
	zipped, err := gzip.NewReader(r)
	if err != nil {
		return nil, errManifest
	}
	in := &tarReader{tar: tar.NewReader(zipped)}
	signed := in.take(manifestPath, maxArchiveNote)
	if in.err != nil {
		return nil, in.err
	}
	for _, key := range keys {
		if _, err := ParseManifest(signed, key); err == nil {
			return key, nil
		}
	}
	return nil, errManifest
}

// Check reads the whole archive and checks it with nothing but the log's key: the
// signatures, that every entry of the period stands in the log of the checkpoint, that
// none is missing, and that what is sealed is what the entries commit to. The error is
// ErrTampered if something is not as it was signed, and ErrInvalid if this is no
// archive.
func (a *Archive) Check(ctx context.Context, r io.Reader) error {
	zipped, err := gzip.NewReader(r)
	if err != nil {
		return errManifest
	}
	in := &tarReader{tar: tar.NewReader(zipped)}
	signed := in.take(manifestPath, maxArchiveNote)
	a.note = in.take(CheckpointPath, maxArchiveNote)
	if in.err != nil {
		return in.err
	}
	if a.Manifest, err = ParseManifest(signed, a.Verifier); err != nil {
		return err
	}
	m := a.Manifest
	point, err := OpenCheckpoint(a.note, a.Verifier)
	if err != nil {
		return err
	}
	if point.Size != m.Checkpoint {
		return fmt.Errorf("the archive's checkpoint is of %d entries, and its manifest names one of %d: %w", point.Size, m.Checkpoint, ErrTampered)
	}
	width := func(from int64) int { return int(min(tileWidth, m.Last+1-from)) }
	first := TilePath(entriesLevel, m.First/tileWidth, width(m.First))
	a.tiles = map[string][]byte{}
	// The tiles that lead to the checkpoint come first. Among them may be the first
	// bundle's own, if the log ends there.
	own := TilePath(0, m.First/tileWidth, width(m.First))
	for in.peek() != first && (in.peek() != own || len(a.tiles) == 0) {
		path := in.peek()
		level, _, _, err := ParseTilePath(path)
		if in.err != nil {
			return in.err
		}
		if _, twice := a.tiles[path]; err != nil || level == entriesLevel || twice || len(a.tiles) == maxArchiveTiles {
			return fmt.Errorf("the archive has a file where it should not be: %w", gatehouse.ErrInvalid)
		}
		a.tiles[path] = in.take(path, tileWidth*tlog.HashSize)
	}
	used := &keptTiles{source: a.Source, tiles: map[string][]byte{}}
	known := &archived{view: NewView(ctx, used.get, point, a.note), first: m.First, last: m.Last}
	switch err := known.read(); {
	case errors.Is(err, gatehouse.ErrNotFound):
		return fmt.Errorf("%w: %w", ErrTampered, err)
	case err != nil:
		return err
	case len(used.tiles) != len(a.tiles):
		// Nothing says that these are the log's.
		return fmt.Errorf("the archive holds tiles that prove nothing: %w", ErrTampered)
	}
	a.roots = known.full
	for from := m.First; from <= m.Last; from += tileWidth {
		if err := ctx.Err(); err != nil {
			return err
		}
		if a.Progress != nil {
			a.Progress(from-m.First, m.Entries())
		}
		if err := a.bundle(in, known, from, width(from)); err != nil {
			return err
		}
	}
	if in.peek() != "" {
		return fmt.Errorf("the archive goes on behind its last entry: %w", ErrTampered)
	}
	if !errors.Is(in.err, io.EOF) {
		return in.err
	}
	// What the compressed stream ends with is checked by reading up to there.
	switch _, err := io.CopyN(io.Discard, zipped, maxArchiveEnd); {
	case err == nil:
		return fmt.Errorf("the archive goes on behind its end: %w", ErrTampered)
	case !errors.Is(err, io.EOF):
		return cutOff(err)
	}
	if a.Progress != nil {
		a.Progress(m.Entries(), m.Entries())
	}
	return nil
}

// bundle reads and checks the three files of a bundle.
func (a *Archive) bundle(in *tarReader, known *archived, from int64, width int) error {
	index := from / tileWidth
	tilePath, path := TilePath(0, index, width), TilePath(entriesLevel, index, width)
	tile, early := a.tiles[tilePath]
	if !early {
		tile = in.take(tilePath, tileWidth*tlog.HashSize)
	}
	data := in.take(path, maxArchiveBundle)
	sealed := in.take(sealedPath(path), maxArchiveSealed)
	if in.err != nil {
		return in.err
	}
	leaves, err := Unbundle(data, width)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var hashes []byte
	for _, leaf := range leaves {
		h := LeafHash(leaf)
		hashes = append(hashes, h[:]...)
	}
	if err := known.check(from, hashes); err != nil {
		return err
	}
	if !bytes.Equal(tile, hashes) {
		return fmt.Errorf("%s does not follow from the entries: %w", tilePath, ErrTampered)
	}
	for kept, content := range map[string][]byte{tilePath: tile, path: data} {
		if a.Keep != nil && a.Keep(kept) {
			a.tiles[kept] = content
		}
	}
	for i, leaf := range leaves {
		l, err := DecodeLeaf(leaf)
		if err != nil {
			return fmt.Errorf("entry %d: %w: %w", from+int64(i), ErrTampered, err)
		}
		if len(sealed) < 4 || int64(len(sealed)-4) < int64(binary.BigEndian.Uint32(sealed)) {
			return fmt.Errorf("%s is cut off: %w", sealedPath(path), ErrTampered)
		}
		var own []byte
		end := 4 + int(binary.BigEndian.Uint32(sealed))
		if end > 4 {
			own = sealed[4:end]
		}
		sealed = sealed[end:]
		if err := sealedSuits(l, own); err != nil {
			return fmt.Errorf("%s: %w", entryName(from+int64(i), l.ID), err)
		}
		if a.Each != nil {
			if err := a.Each(from+int64(i), leaf, l, own); err != nil {
				return err
			}
		}
	}
	if len(sealed) > 0 {
		return fmt.Errorf("%s goes on behind its last entry: %w", sealedPath(path), ErrTampered)
	}
	return nil
}

// A tarReader takes files from a tar in the order in which they have to stand.
type tarReader struct {
	tar  *tar.Reader
	next *tar.Header
	err  error
}

// peek returns the name of the next file; empty at the end, or after an error.
func (r *tarReader) peek() string {
	if r.next == nil && r.err == nil {
		if r.next, r.err = r.tar.Next(); r.err != nil {
			r.next = nil
			if !errors.Is(r.err, io.EOF) {
				r.err = cutOff(r.err)
			}
		}
	}
	if r.next == nil {
		return ""
	}
	return r.next.Name
}

// take returns the content of the next file if it has this name.
func (r *tarReader) take(name string, most int64) []byte {
	switch at := r.peek(); {
	case at == "" && (r.err == nil || errors.Is(r.err, io.EOF)):
		r.err = fmt.Errorf("the archive ends before %s: %w", name, ErrTampered)
	case r.err != nil:
	case at != name:
		r.err = fmt.Errorf("the archive has another file where %s should be: %w", name, ErrTampered)
	case r.next.Typeflag != tar.TypeReg || r.next.Size > most:
		r.err = fmt.Errorf("the archive's file %s is no file of its kind: %w", name, ErrTampered)
	default:
		var b bytes.Buffer
		_, err := io.Copy(&b, r.tar)
		if r.next = nil; err != nil {
			r.err = cutOff(err)
		}
		return b.Bytes()
	}
	return nil
}

// cutOff is the error of a file that cannot be read to its end.
func cutOff(err error) error {
	return fmt.Errorf("the archive is cut off or damaged (%s): %w", strings.TrimPrefix(err.Error(), "gzip: "), ErrTampered)
}
