package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"gatehouse"
)

// A reserve is a file that holds space back on the log's disk. When the disk is
// full it is removed, and what takes access away is written into its place; the
// gates stay closed until as much can be held back again. So whoever fills the
// disk cannot use it up by calls.
type reserve struct {
	path string
	size int64

	mu sync.Mutex
}

// reserveFile is its name in the directory of Config.Aside.
const reserveFile = "reserve"

func newReserve(dir string, size int64) *reserve {
	if dir == "" || size <= 0 {
		return nil
	}
	return &reserve{path: filepath.Join(dir, reserveFile), size: size}
}

// held reports whether the space is held back. A nil reserve lacks nothing.
func (r *reserve) held() bool {
	if r == nil {
		return true
	}
	info, err := os.Stat(r.path)
	return err == nil && info.Size() >= r.size
}

// hold holds the space back, if it is not. The blocks are written, not only
// announced: a file of holes would hold nothing.
func (r *reserve) hold() error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held() {
		return nil
	}
	temp := r.path + ".new"
	var err error
	// Whether there is room is asked and not tried. Trying would use up, again and again
	// for a moment, the space that was released; in such a moment what takes access away
	// could not be stored. So a quarter of it is to be left beside, too.
	if left, known := room(filepath.Dir(r.path)); known && left < uint64(r.size)+uint64(r.size)/4 {
		err = syscall.ENOSPC
	}
	if err == nil {
		err = fill(temp, r.size)
	}
	if err == nil {
		err = os.Rename(temp, r.path)
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("holding back %d bytes for the log: %w: %w", r.size, gatehouse.ErrUnavailable, err), remove(temp))
	}
	return err
}

// release gives the space up. It reports whether there was any.
func (r *reserve) release() bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return os.Remove(r.path) == nil
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// fill makes a file of zeros, durable.
func fill(path string, size int64) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return zero(f, 0, size)
}

// zero overwrites a part of a file with zeros, durably.
func zero(f *os.File, from, to int64) error {
	zeros := bytes.Repeat([]byte{0}, 64<<10)
	for at := from; at < to; {
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), to-at)], at)
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return f.Sync()
}
