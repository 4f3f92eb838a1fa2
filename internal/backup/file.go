package backup

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/vault"

	"golang.org/x/mod/sumdb/note"
)

// A backup is one file: a first line, the parts, the signed manifest, and an end
// that says how long the manifest is.
const (
	fileMagic  = "gatehouse-backup-file-1\n"
	fileEnd    = "gatehouse-backup"
	footerSize = 8 + len(fileEnd)

	fileSuffix = ".backup"
	// partialSuffix marks a file that is being written. Nothing takes it for a
	// backup, and what is left of a process that died is removed after a day.
	partialSuffix = ".partial"
)

// newName returns the name of a file and the id of the backup in it.
func newName(env gatehouse.Environment, at time.Time) (name, id string) {
	id = at.UTC().Format("20060102T150405Z") + "-" + strings.ToLower(rand.Text()[:8])
	return "gatehouse-" + string(env) + "-" + id + fileSuffix, id
}

// fileWriter writes a backup under a temporary name.
type fileWriter struct {
	path string
	file *os.File
	size int64
	done bool
}

func create(path string) (*fileWriter, error) {
	f, err := os.OpenFile(path+partialSuffix, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("taking a backup: %w: %w", gatehouse.ErrUnavailable, err)
	}
	w := &fileWriter{path: path, file: f}
	if _, err := w.Write([]byte(fileMagic)); err != nil {
		return nil, errors.Join(fmt.Errorf("taking a backup: %w: %w", gatehouse.ErrUnavailable, err), w.discard())
	}
	return w, nil
}

// Write counts what goes to the file.
func (w *fileWriter) Write(b []byte) (int, error) {
	n, err := w.file.Write(b)
	w.size += int64(n)
	return n, err
}

// part writes one sealed part.
func (w *fileWriter) part(key dataKey, name string, fill func(*rowWriter) error) (Part, error) {
	digest, before := sha256.New(), w.size
	sealed := bufio.NewWriterSize(io.MultiWriter(w, digest), 1<<16)
	plain, err := key.seal(sealed, name)
	if err != nil {
		return Part{}, err
	}
	rows := &rowWriter{w: bufio.NewWriterSize(plain, 1<<16)}
	if err := fill(rows); err != nil {
		return Part{}, err
	}
	if err := errors.Join(rows.end(), plain.Close(), sealed.Flush()); err != nil {
		return Part{}, fmt.Errorf("%w: %w", gatehouse.ErrUnavailable, err)
	}
	return Part{Name: name, Rows: rows.rows, Size: w.size - before, SHA256: hex.EncodeToString(digest.Sum(nil))}, nil
}

// finish ends the file with the manifest and gives it its name, in this order:
// content on disk, then the name, then the name on disk.
func (w *fileWriter) finish(manifest []byte) (size int64, err error) {
	tail := binary.BigEndian.AppendUint64(manifest, uint64(len(manifest)))
	if _, err := w.Write(append(tail, fileEnd...)); err != nil {
		return 0, fmt.Errorf("%w: %w", gatehouse.ErrUnavailable, err)
	}
	if err := errors.Join(w.file.Sync(), w.file.Close()); err != nil {
		return 0, fmt.Errorf("%w: %w", gatehouse.ErrUnavailable, err)
	}
	step("synced")
	if err := os.Rename(w.file.Name(), w.path); err != nil {
		return 0, fmt.Errorf("%w: %w", gatehouse.ErrUnavailable, err)
	}
	w.done = true
	return w.size, vault.SyncDirectory(filepath.Dir(w.path))
}

// discard removes what was not finished.
func (w *fileWriter) discard() error {
	if w.done {
		return nil
	}
	w.done = true
	_ = w.file.Close()
	return os.Remove(w.file.Name())
}

// A File is a backup whose manifest was verified. Close it.
type File struct {
	Path     string
	Manifest Manifest
	file     *os.File
}

// OpenFile opens a backup and verifies its manifest and its length, not yet its
// parts.
func OpenFile(path string, verifier note.Verifier) (_ *File, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the backup: %w: %w", gatehouse.ErrNotFound, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("the backup %s: %w", path, errors.Join(err, f.Close()))
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	m, err := readManifest(f, info.Size(), verifier)
	if err != nil {
		return nil, err
	}
	return &File{Path: path, Manifest: m, file: f}, nil
}

// errCut is said of a file that does not end as a backup does.
var errCut = fmt.Errorf("it is cut short, has grown, or is no backup: %w", gatehouse.ErrInvalid)

// readManifest reads and verifies the manifest of a file of so many bytes.
func readManifest(r io.ReaderAt, size int64, verifier note.Verifier) (Manifest, error) {
	least := int64(len(fileMagic) + footerSize)
	if size < least {
		return Manifest{}, errCut
	}
	magic, footer := make([]byte, len(fileMagic)), make([]byte, footerSize)
	if _, err := r.ReadAt(magic, 0); err != nil {
		return Manifest{}, err
	}
	if _, err := r.ReadAt(footer, size-int64(footerSize)); err != nil {
		return Manifest{}, err
	}
	length := binary.BigEndian.Uint64(footer)
	if string(magic) != fileMagic || string(footer[8:]) != fileEnd || length > maxManifest || int64(length) > size-least {
		return Manifest{}, errCut
	}
	signed := make([]byte, length)
	start := size - int64(footerSize) - int64(length)
	if _, err := r.ReadAt(signed, start); err != nil {
		return Manifest{}, err
	}
	m, err := ParseManifest(signed, verifier)
	if err != nil {
		return Manifest{}, err
	}
	// What lies between two parts would be outside every digest.
	at := int64(len(fileMagic))
	for _, p := range m.Parts {
		if at += p.Size; at > start {
			return Manifest{}, errCut
		}
	}
	if at != start {
		return Manifest{}, errCut
	}
	return m, nil
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

// Verify compares every part with its digest. It needs no key but the log's
// public one.
func (f *File) Verify(ctx context.Context, progress func(done, total int64)) error {
	var total, done int64
	for _, p := range f.Manifest.Parts {
		total += p.Size
	}
	buffer := make([]byte, 1<<18)
	for _, p := range f.Manifest.Parts {
		digest := sha256.New()
		in := f.section(p.Name)
		for {
			n, err := in.Read(buffer)
			digest.Write(buffer[:n])
			done += int64(n)
			if progress != nil {
				progress(done, total)
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err := errors.Join(err, ctx.Err()); err != nil {
				return fmt.Errorf("reading the part %s of the backup: %w", p.Name, err)
			}
		}
		if err := sameDigest(digest, p); err != nil {
			return err
		}
	}
	return nil
}

func sameDigest(digest hash.Hash, p Part) error {
	want, err := hex.DecodeString(p.SHA256)
	if err != nil || !bytes.Equal(digest.Sum(nil), want) {
		return fmt.Errorf("the part %s of the backup is damaged: its bytes are not those of the manifest: %w", p.Name, gatehouse.ErrInvalid)
	}
	return nil
}

// section returns the sealed bytes of a part.
func (f *File) section(name string) *io.SectionReader {
	at := int64(len(fileMagic))
	for _, p := range f.Manifest.Parts {
		if p.Name == name {
			return io.NewSectionReader(f.file, at, p.Size)
		}
		at += p.Size
	}
	return io.NewSectionReader(f.file, 0, 0)
}

// rows opens a part and calls begin with its table and visit with each of its
// rows, whose slice is used again; its values are not.
func (f *File) rows(key dataKey, p Part, begin func(Table) error, visit func([]any) error) error {
	plain, err := key.open(bufio.NewReaderSize(f.section(p.Name), 1<<16), p.Name)
	if err != nil {
		return err
	}
	in, err := newRowReader(plain)
	if err != nil {
		return fmt.Errorf("part %s: %w", p.Name, err)
	}
	if in.table.Name != p.Name {
		return fmt.Errorf("part %s holds another table: %w", p.Name, errStream)
	}
	if err := begin(in.table); err != nil {
		return err
	}
	row := make([]any, len(in.table.Columns))
	for {
		more, err := in.next(row)
		if err != nil {
			return fmt.Errorf("part %s: %w", p.Name, err)
		}
		if !more {
			break
		}
		if err := visit(row); err != nil {
			return err
		}
	}
	if in.rows != p.Rows {
		return fmt.Errorf("part %s has %d rows and the manifest says %d: %w", p.Name, in.rows, p.Rows, gatehouse.ErrInvalid)
	}
	return nil
}

// Listed is a file of a directory of backups.
type Listed struct {
	Path  string
	Bytes int64
	// Manifest is verified, unless Err says why not.
	Manifest Manifest
	Err      error
}

// List returns the backups of an environment in a directory, the oldest first.
// Only their manifests are looked at.
func List(dir string, env gatehouse.Environment, verifier note.Verifier) ([]Listed, error) {
	names, err := backupNames(dir, env)
	if err != nil {
		return nil, err
	}
	var list []Listed
	for _, name := range names {
		l := Listed{Path: filepath.Join(dir, name)}
		if info, err := os.Stat(l.Path); err == nil {
			l.Bytes = info.Size()
		}
		f, err := OpenFile(l.Path, verifier)
		if err == nil {
			l.Manifest, err = f.Manifest, f.Close()
		}
		l.Err = err
		list = append(list, l)
	}
	return list, nil
}

// backupNames returns the names of the files that are backups by their names.
func backupNames(dir string, env gatehouse.Environment) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the directory of backups: %w: %w", gatehouse.ErrUnavailable, err)
	}
	var names []string
	for _, e := range entries {
		if _, ok := backupID(e.Name(), env); ok && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil // ReadDir sorts, and a name begins with its time
}

// backupID returns the id that a file's name holds.
func backupID(name string, env gatehouse.Environment) (string, bool) {
	id, begins := strings.CutPrefix(name, "gatehouse-"+string(env)+"-")
	id, ends := strings.CutSuffix(id, fileSuffix)
	return id, begins && ends && idForm.MatchString(id)
}
