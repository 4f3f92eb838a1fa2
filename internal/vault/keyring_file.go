package vault

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"gatehouse"
)

// The keyring file has two places of one block each, for the wrapped daily keys
// of even and of odd version: there are never more than two at a time. A place is
// written where it stands and never moved, so that on a file system that
// overwrites in place the old key is gone from the device when the write is
// durable. A new version goes into the other place, so that no write endangers
// the key in use.
const (
	keyringMagic = "gatehouse-keyring-1\n"
	keyringPlace = 4096
	keyringSize  = 2 * keyringPlace
	// After the magic: the version and the length of the wrapped key.
	keyringHead = len(keyringMagic) + 4 + 4
)

// keyringFile is the open keyring file.
type keyringFile struct {
	path string
	file *os.File
}

// openKeyringFile opens the file, or makes an empty one if create says that none
// is expected to exist. It refuses one that others can reach.
func openKeyringFile(path string, create bool) (*keyringFile, error) {
	file, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) && create {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, fmt.Errorf("making the directory of the keyring file: %w", err)
		}
		if err := WriteNewFile(path, make([]byte, keyringSize)); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, fmt.Errorf("making the keyring file: %w", err)
		}
		file, err = os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW, 0)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("the keyring file %s does not exist, and the keys of people cannot be opened without it: "+
			"put it back, of the same time as the database: %w", path, gatehouse.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the keyring file: %w", err)
	}
	f := &keyringFile{path: path, file: file}
	if err := f.check(); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *keyringFile) check() error {
	info, err := f.file.Stat()
	if err != nil {
		return fmt.Errorf("opening the keyring file: %w", err)
	}
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("the keyring file %s is not a regular file: %w", f.path, gatehouse.ErrInvalid)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("the keyring file %s has mode %04o, so others can reach it; chmod 600 it: %w", f.path, info.Mode().Perm(), gatehouse.ErrDenied)
	case info.Size() != keyringSize:
		return fmt.Errorf("the keyring file %s is not one, or is cut: it has %d bytes and not %d: %w", f.path, info.Size(), keyringSize, gatehouse.ErrInvalid)
	}
	return nil
}

// close gives up the lock too. Everything that matters was synced.
func (f *keyringFile) close() { _ = f.file.Close() }

// lock waits until no other process writes. It ends with the process.
func (f *keyringFile) lock() error {
	if err := syscall.Flock(int(f.file.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("locking the keyring file %s: %w", f.path, err)
	}
	return nil
}

func placeOf(version uint32) int64 { return int64(version%2) * keyringPlace }

// put writes a wrapped key into its place. It is durable on return.
func (f *keyringFile) put(version uint32, wrapped []byte) error {
	content := make([]byte, 0, keyringPlace)
	content = append(content, keyringMagic...)
	content = binary.BigEndian.AppendUint32(content, version)
	content = binary.BigEndian.AppendUint32(content, uint32(len(wrapped)))
	content = append(content, wrapped...)
	if len(content) > keyringPlace {
		return errors.New("a wrapped daily key is longer than its place")
	}
	return f.write(placeOf(version), content[:keyringPlace])
}

func (f *keyringFile) write(at int64, content []byte) error {
	_, err := f.file.WriteAt(content, at)
	if err = errors.Join(err, f.file.Sync()); err != nil {
		return fmt.Errorf("writing the keyring file: %w", err)
	}
	return nil
}

// get returns the wrapped key of a version. One that is not there is an error
// that says what to do.
func (f *keyringFile) get(version uint32) ([]byte, error) {
	has, wrapped, err := f.read(placeOf(version))
	if err != nil {
		return nil, err
	}
	if has != version {
		return nil, fmt.Errorf("the keyring file %s does not hold daily key version %d: it is not of the same time as the database; "+
			"put back the file and the database together: %w", f.path, version, errMoved)
	}
	return wrapped, nil
}

// read returns what stands in a place: version 0 if it is nothing.
func (f *keyringFile) read(at int64) (version uint32, wrapped []byte, err error) {
	content := make([]byte, keyringPlace)
	if _, err := f.file.ReadAt(content, at); err != nil && !errors.Is(err, io.EOF) {
		return 0, nil, fmt.Errorf("reading the keyring file: %w", err)
	}
	version, wrapped = parseKeyringPlace(content)
	return version, wrapped, nil
}

// parseKeyringPlace trusts nothing: what a half-written place holds is not a key,
// and what else is in it the unwrapping finds out.
func parseKeyringPlace(content []byte) (version uint32, wrapped []byte) {
	if len(content) < keyringHead || string(content[:len(keyringMagic)]) != keyringMagic {
		return 0, nil
	}
	version = binary.BigEndian.Uint32(content[len(keyringMagic):])
	length := binary.BigEndian.Uint32(content[len(keyringMagic)+4:])
	if length > uint32(len(content)-keyringHead) {
		return 0, nil
	}
	return version, content[keyringHead : keyringHead+int(length)]
}

// wipeAllBut overwrites the places of versions that are not to live.
func (f *keyringFile) wipeAllBut(live map[uint32]bool) error {
	for _, at := range []int64{0, keyringPlace} {
		content := make([]byte, keyringPlace)
		if _, err := f.file.ReadAt(content, at); err != nil {
			return fmt.Errorf("reading the keyring file: %w", err)
		}
		empty := true
		for _, b := range content {
			empty = empty && b == 0
		}
		if version, _ := parseKeyringPlace(content); empty || live[version] {
			continue
		}
		if err := f.write(at, make([]byte, keyringPlace)); err != nil {
			return err
		}
	}
	return nil
}
