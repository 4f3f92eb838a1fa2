package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"gatehouse"
)

// FileConfig says where lines go and when a new file begins.
type FileConfig struct {
	// Path is the file that is written. Older ones lie beside it, with the time of
	// their end in the name.
	Path string
	// MaxBytes is after how much a new file begins, and Every how much time one is for,
	// counted in UTC: with 24 h, a new one begins at midnight. Zero means 100 MiB and
	// 24 h.
	MaxBytes int64
	Every    time.Duration
	// Keep is how many older files are kept; zero means all of them.
	Keep int
}

// A File is a sink that appends lines to a file of mode 0600. What it accepted is on
// disk. It is used by one goroutine; another process that has the file keeps it from
// being opened.
type File struct {
	config FileConfig
	file   *os.File
	// size is how long the file is, up to the last line that is whole.
	size int64
	// period is the time that the file is for.
	period time.Time
}

// NewFile returns the sink; the file is opened when something is sent.
func NewFile(c FileConfig) (*File, error) {
	if c.Path == "" || c.Keep < 0 {
		return nil, fmt.Errorf("setting up a file of JSON lines: a path is needed: %w", gatehouse.ErrInvalid)
	}
	orDefault(&c.MaxBytes, 100<<20)
	orDefault(&c.Every, 24*time.Hour)
	return &File{config: c}, nil
}

// errNotLines is what is said of a file that was there and is not one of these.
var errNotLines = errors.New("the file is there and does not hold lines of a log")

// Send implements Sink. When it returns without an error the lines are on disk; with
// one, none of them is in the file.
func (f *File) Send(ctx context.Context, entries []Entry) (Accepted, error) {
	if err := ctx.Err(); err != nil {
		return Accepted{}, err
	}
	if err := f.ready(); err != nil {
		return Accepted{}, errors.Join(&Failure{Class: Unwritable, Text: unwritableText(err), cause: err}, f.Close())
	}
	var lines []byte
	for i := range entries {
		lines = entries[i].AppendLine(lines)
	}
	_, err := f.file.Write(lines)
	if err == nil {
		err = f.file.Sync()
	}
	if err != nil {
		// What was written of it may be half a line, and is not accepted.
		err = errors.Join(err, f.file.Truncate(f.size))
		return Accepted{}, errors.Join(&Failure{Class: Unwritable, Text: unwritableText(err), Fewer: errors.Is(err, syscall.ENOSPC), cause: err}, f.Close())
	}
	f.size += int64(len(lines))
	return Accepted{Entries: len(entries)}, nil
}

// unwritableText says why in words that hold nothing but the file system's own.
func unwritableText(err error) string {
	switch {
	case errors.Is(err, errNotLines):
		return errNotLines.Error()
	case errors.Is(err, errLocked):
		return errLocked.Error()
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return "the file cannot be written: " + path.Err.Error()
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		return "the file cannot be moved aside: " + link.Err.Error()
	}
	return "the file cannot be written"
}

// Close implements Sink.
func (f *File) Close() error {
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}

// ready opens the file, or begins a new one when its time has come.
func (f *File) ready() error {
	if f.file != nil {
		// Somebody may have moved it away, as log rotation does.
		now, err := os.Lstat(f.config.Path)
		ours, ownErr := f.file.Stat()
		if err != nil || ownErr != nil || !os.SameFile(now, ours) {
			if err := f.Close(); err != nil {
				return err
			}
		}
	}
	if f.file == nil {
		if err := f.open(); err != nil {
			return err
		}
	}
	if f.size == 0 {
		f.period = f.now()
	}
	if f.size == 0 || f.size < f.config.MaxBytes && f.period.Equal(f.now()) {
		return nil
	}
	if err := f.rotate(); err != nil {
		return err
	}
	return f.open()
}

// now is the period that is under way.
func (f *File) now() time.Time { return time.Now().UTC().Truncate(f.config.Every) }

// errLocked is what is said of a file that another process writes.
var errLocked = errors.New("another process writes this file")

// open opens the file, cuts off what is no whole line, and locks it.
func (f *File) open() (err error) {
	file, err := os.OpenFile(f.config.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return errors.Join(err, errNotLines)
	}
	if syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return errLocked
	}
	size, err := repair(file)
	if err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(f.config.Path)); err != nil {
		return err
	}
	f.file, f.size, f.period = file, size, f.now()
	if size > 0 {
		f.period = info.ModTime().UTC().Truncate(f.config.Every)
	}
	return nil
}

// rotate gives the file the time as part of its name, and removes what is more than
// is kept.
func (f *File) rotate() error {
	if err := f.Close(); err != nil {
		return err
	}
	base, ext := splitExt(f.config.Path)
	aside := base + "-" + time.Now().UTC().Format(stamp) + ext
	if _, err := os.Lstat(aside); err == nil {
		return fmt.Errorf("%s: %w", aside, fs.ErrExist)
	}
	if err := os.Rename(f.config.Path, aside); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(f.config.Path)); err != nil {
		return err
	}
	return f.prune()
}

// stamp is the form of times in names, whose order is that of time.
const stamp = "20060102T150405.000000000Z"

func splitExt(path string) (base, ext string) {
	ext = filepath.Ext(path)
	return strings.TrimSuffix(path, ext), ext
}

// prune removes the oldest files beyond Keep: those only whose name is of this form.
func (f *File) prune() error {
	if f.config.Keep == 0 {
		return nil
	}
	dir := filepath.Dir(f.config.Path)
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	base, ext := splitExt(filepath.Base(f.config.Path))
	var old []string
	for _, n := range names {
		at, ok := strings.CutPrefix(n.Name(), base+"-")
		at, okExt := strings.CutSuffix(at, ext)
		if _, err := time.Parse(stamp, at); ok && okExt && err == nil && n.Type().IsRegular() {
			old = append(old, n.Name())
		}
	}
	slices.Sort(old)
	for len(old) > f.config.Keep {
		if err := os.Remove(filepath.Join(dir, old[0])); err != nil {
			return err
		}
		old = old[1:]
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// maxTail is how far from its end a file may not be whole: more than a batch.
const maxTail = 8 << 20

// repair cuts off what stands behind the last whole line of a file, which is what a
// crash in the middle of a write leaves, and returns the size. A file that is no
// lines of a log is left as it is, and refused.
func repair(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size, err := wholeLines(f, info.Size())
	if err != nil || size == info.Size() {
		return size, err
	}
	return size, errors.Join(f.Truncate(size), f.Sync())
}

// wholeLines returns how many of the first size bytes are whole lines.
func wholeLines(r io.ReaderAt, size int64) (int64, error) {
	// The first byte tells whether these are lines of a log at all.
	if first := make([]byte, 1); size > 0 {
		if _, err := r.ReadAt(first, 0); err != nil {
			return 0, err
		}
		if first[0] != '{' && first[0] != 0 {
			return 0, errNotLines
		}
	}
	tail := make([]byte, min(size, maxTail))
	from := size - int64(len(tail))
	if _, err := r.ReadAt(tail, from); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	for {
		tail = tail[:bytes.LastIndexByte(tail, '\n')+1]
		if len(tail) == 0 {
			break
		}
		// A file system may also leave zeros where it had no time to write.
		begin := bytes.LastIndexByte(tail[:len(tail)-1], '\n') + 1
		if line := tail[begin : len(tail)-1]; begin == 0 && from > 0 || len(line) > 1 && line[0] == '{' && line[len(line)-1] == '}' {
			return from + int64(len(tail)), nil
		}
		tail = tail[:begin]
	}
	if from == 0 {
		return 0, nil
	}
	return 0, errNotLines // no line of a log is that long
}
