package factor

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // the form in which such lists are published; nothing rests on it
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	// maxLine is the longest line that such a list may have, in bytes.
	maxLine = 1024
	// samples is how many lines are looked at when a list is opened, to see that it
	// is in order.
	samples = 1000
	// hexSHA1 is the length of a SHA-1 in hexadecimal.
	hexSHA1 = 40
)

// Breached is a list of passwords that others know, in a file: one line for each,
// sorted bytewise, either the words themselves or their SHA-1 in hexadecimal (what
// follows a colon, such as a count, is ignored). It is searched where it lies and
// never loaded. It is safe for concurrent use.
type Breached struct {
	file   *os.File
	size   int64
	hashes bool
}

// OpenBreached opens such a list. It refuses one that is not in order, since what
// is in it would not be found. The file must not be changed while it is open;
// replacing it by another is no change.
func OpenBreached(path string) (*Breached, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the list of known passwords: %w", err)
	}
	b := &Breached{file: file}
	if err := b.look(); err != nil {
		return nil, errors.Join(fmt.Errorf("list of known passwords %s: %w", path, err), file.Close())
	}
	return b, nil
}

// Close ends its use.
func (b *Breached) Close() error { return b.file.Close() }

// look finds out what kind of list it is.
func (b *Breached) look() error {
	info, err := b.file.Stat()
	if err != nil {
		return err
	}
	if b.size = info.Size(); b.size == 0 || !info.Mode().IsRegular() {
		return errors.New("it is empty, or no file")
	}
	first, _, err := b.line(0)
	if err != nil {
		return err
	}
	key, _, _ := bytes.Cut(first, []byte(":"))
	_, err = hex.DecodeString(string(key))
	b.hashes = err == nil && len(key) == hexSHA1
	var before []byte
	for i := range int64(samples) {
		key, err := b.next(b.size * i / samples)
		switch {
		case err != nil:
			return err
		case key == nil:
			return nil
		case b.hashes && len(key) != hexSHA1:
			return errors.New("it begins with SHA-1 in hexadecimal and goes on with something else")
		case bytes.Compare(key, before) < 0:
			return errors.New("it is not in order; LC_ALL=C sort -u brings it there")
		}
		before = key
	}
	return nil
}

// Holds reports whether a password is in the list, as it is or in lower case.
func (b *Breached) Holds(password string) (bool, error) {
	for _, word := range []string{password, strings.ToLower(password)} {
		want := []byte(word)
		if b.hashes {
			sum := sha1.Sum(want) //nolint:gosec // see the import
			want = []byte(hex.EncodeToString(sum[:]))
		}
		if found, err := b.find(want); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// find searches by halving, for the first position whose next line is not less than
// want: with a list in order, that is so for every position behind it too.
func (b *Breached) find(want []byte) (bool, error) {
	low, high := int64(0), b.size
	for low < high {
		middle := low + (high-low)/2
		key, err := b.next(middle)
		switch {
		case err != nil:
			return false, err
		case key != nil && bytes.Compare(key, want) < 0:
			low = middle + 1
		default:
			high = middle
		}
	}
	key, err := b.next(low)
	return err == nil && key != nil && bytes.Equal(key, want), err
}

// next returns what is compared of the first line that starts at or after a
// position, nil if there is none.
func (b *Breached) next(at int64) ([]byte, error) {
	at, err := b.start(at)
	if err != nil || at >= b.size {
		return nil, err
	}
	line, _, err := b.line(at)
	if err != nil {
		return nil, err
	}
	if b.hashes {
		// Both spellings are in use, and each is in order.
		key, _, _ := bytes.Cut(line, []byte(":"))
		return bytes.ToLower(key), nil
	}
	return append([]byte{}, line...), nil // not nil, though it may be empty
}

// start returns where the first line starts that starts at or after a position.
func (b *Breached) start(at int64) (int64, error) {
	if at == 0 {
		return 0, nil
	}
	// A line starts at the position itself if a newline stands before it.
	_, next, err := b.line(at - 1)
	return next, err
}

// line returns the rest of the line that a position lies in, without its end, and
// where the next one starts.
func (b *Breached) line(at int64) ([]byte, int64, error) {
	buffer := make([]byte, maxLine)
	n, err := b.file.ReadAt(buffer, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	buffer = buffer[:n]
	end := bytes.IndexByte(buffer, '\n')
	switch {
	case end >= 0:
		return bytes.TrimSuffix(buffer[:end], []byte("\r")), at + int64(end) + 1, nil
	case errors.Is(err, io.EOF):
		return bytes.TrimSuffix(buffer, []byte("\r")), b.size, nil
	}
	return nil, 0, fmt.Errorf("it has a line of more than %d bytes", maxLine)
}
