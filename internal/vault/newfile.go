package vault

import (
	"errors"
	"os"
	"path/filepath"
)

// WriteNewFile makes a file of mode 0600 that appears under its name only when all
// of it is on disk: half a key must not look like a key, whenever this is
// interrupted. It replaces nothing, since a hard link, unlike a renaming, cannot: a
// file that is there already is os.ErrExist.
func WriteNewFile(path string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Link(file.Name(), path)
	}
	return errors.Join(err, os.Remove(file.Name()), SyncDirectory(filepath.Dir(path)))
}

// SyncDirectory puts on disk which names a directory has.
func SyncDirectory(path string) error {
	directory, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}
