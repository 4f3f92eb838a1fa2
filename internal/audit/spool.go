package audit

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"gatehouse"

	"golang.org/x/mod/sumdb/note"
)

// A Deed is what takes access away and could not be stored: what is to be done
// as soon as it can be, before anything else.
type Deed struct {
	// Kind is a word of whoever does it, such as "connection".
	Kind string `json:"kind"`
	// Target is the id of what is cut off.
	Target string `json:"target"`
	// Reason is a text for the store, never for the log.
	Reason string `json:"reason,omitempty"`
}

// A spool keeps, in a file beside the store, entries that the log could not take:
// that access was taken away, and that the gates were closed. Each process has a
// file of its own, which it locks as long as it lives; one that nobody locks is
// taken over by whoever writes the log, and removed once all of it is there.
//
// The file is made of zeros beforehand, so that a full disk has room for it. A
// line is the log's signature over the rest of it, a space, and JSON that holds
// the SHA-256 of the line before; the first zero byte ends them.
type spool struct {
	dir    string
	signer note.Signer

	// owed is how many deeds there are.
	owed atomic.Int64
	// overdue says that a write was not waited for any longer and has not ended.
	overdue atomic.Bool

	mu   sync.Mutex
	file *os.File // nil until it is needed
	at   int64
	prev string
	// rows are the ids that are not in the log yet, and deeds what is not done.
	rows  map[string]bool
	deeds map[string]Deed
}

const (
	// spoolName begins the name of each spool's file, badName that of one that was
	// changed by somebody else.
	spoolName, badName = "spool-", "changed-"
	// spoolAhead is how much of it is made beforehand, maxSpool how long it gets.
	spoolAhead = 1 << 20
	maxSpool   = 16 << 20
	// spoolDomain begins what is signed, so that no line of a spool can pass for a
	// checkpoint, nor the other way round.
	spoolDomain = "gatehouse spool 1\n"
)

// spoolLine is one entry of a spool.
type spoolLine struct {
	// Prev is SHA-256 of the line before, in hexadecimal; empty in the first.
	Prev string `json:"prev"`
	Row  Row    `json:"row"`
	Deed *Deed  `json:"deed,omitempty"`
}

var errNoSpool = fmt.Errorf("nothing can be kept beside the log: %w", gatehouse.ErrUnavailable)

func newSpool(dir string, signer note.Signer) *spool {
	return &spool{dir: dir, signer: signer, rows: map[string]bool{}, deeds: map[string]Deed{}}
}

// prepare makes the file, if there is none.
func (s *spool) prepare() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.make()
}

func (s *spool) make() error {
	if s.dir == "" {
		return errNoSpool
	}
	for s.file == nil {
		path := filepath.Join(s.dir, spoolName+rand.Text())
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if err != nil {
			return fmt.Errorf("making a spool: %w: %w", gatehouse.ErrUnavailable, err)
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
			return errors.Join(fmt.Errorf("locking a spool: %w: %w", gatehouse.ErrUnavailable, err), f.Close())
		}
		// Before it was locked, another process may have taken it for one that
		// nobody has.
		mine, err := f.Stat()
		if there, gone := os.Stat(path); err != nil || gone != nil || !os.SameFile(mine, there) {
			_ = f.Close()
			continue
		}
		if err := errors.Join(zero(f, 0, spoolAhead), syncDir(s.dir)); err != nil {
			return errors.Join(fmt.Errorf("making a spool: %w: %w", gatehouse.ErrUnavailable, err), f.Close(), os.Remove(path))
		}
		s.file, s.at, s.prev = f, 0, ""
	}
	return nil
}

// add makes a row durable, and what is to be done with it.
func (s *spool) add(row Row, deed *Deed) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.make(); err != nil {
		return err
	}
	line, err := signLine(s.signer, spoolLine{Prev: s.prev, Row: row, Deed: deed})
	if err != nil {
		return err
	}
	if s.at+int64(len(line)) > maxSpool {
		return fmt.Errorf("the spool has %d bytes: %w", s.at, gatehouse.ErrUnavailable)
	}
	_, err = s.file.WriteAt(line, s.at)
	if err = errors.Join(err, s.file.Sync()); err != nil {
		// What was written of it is overwritten by the next line, or ends the file.
		_, _ = s.file.WriteAt(make([]byte, len(line)), s.at)
		return fmt.Errorf("writing the spool: %w: %w", gatehouse.ErrUnavailable, err)
	}
	s.at += int64(len(line))
	s.prev = digest(line)
	s.rows[row.ID] = true
	if deed != nil {
		s.deeds[row.ID] = *deed
		s.owed.Add(1)
	}
	return nil
}

// written notes that rows are in the log.
func (s *spool) written(rows []Row) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.rows) == 0 {
		return nil
	}
	for _, r := range rows {
		delete(s.rows, r.ID)
	}
	return s.clear()
}

// done notes that a deed is done.
func (s *spool) done(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, owed := s.deeds[id]; owed {
		delete(s.deeds, id)
		s.owed.Add(-1)
	}
	return s.clear()
}

// clear empties the file once nothing in it is wanted.
func (s *spool) clear() error {
	if s.file == nil || s.at == 0 || len(s.rows) > 0 || len(s.deeds) > 0 {
		return nil
	}
	err := zero(s.file, 0, s.at)
	if err == nil && s.at > spoolAhead {
		err = s.file.Truncate(spoolAhead)
	}
	if err != nil {
		return fmt.Errorf("emptying the spool: %w", err)
	}
	s.at, s.prev = 0, ""
	return nil
}

// owing returns what is to be done.
func (s *spool) owing() map[string]Deed {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]Deed, len(s.deeds))
	for id, d := range s.deeds {
		all[id] = d
	}
	return all
}

// close removes the file, unless something in it is wanted.
func (s *spool) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil
	}
	var err error
	if s.at == 0 {
		err = os.Remove(s.file.Name())
	}
	return errors.Join(err, s.file.Close())
}

// errSlowSpool is what a spool says whose disk does not answer.
var errSlowSpool = fmt.Errorf("the disk beside the log does not answer: %w", gatehouse.ErrUnavailable)

// addWithin is add that is not waited for longer than d, because no context ends a
// write on a disk that hangs; while one does, others are not begun. What one keeps
// that ends after all counts.
func (s *spool) addWithin(d time.Duration, row Row, deed *Deed) error {
	if s.overdue.Load() {
		return errSlowSpool
	}
	done := make(chan error, 1)
	var left atomic.Bool // whoever sets it first says what became of it
	go func() {
		err := s.add(row, deed)
		if left.CompareAndSwap(false, true) {
			done <- err
			return
		}
		s.overdue.Store(false)
	}()
	patience := time.NewTimer(d)
	defer patience.Stop()
	select {
	case err := <-done:
		return err
	case <-patience.C:
	}
	s.overdue.Store(true)
	if left.CompareAndSwap(false, true) {
		return errSlowSpool
	}
	s.overdue.Store(false)
	return <-done
}

func digest(line []byte) string {
	h := sha256.Sum256(line)
	return hex.EncodeToString(h[:])
}

func signLine(signer note.Signer, l spoolLine) ([]byte, error) {
	body, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("encoding a line of the spool: %w", err)
	}
	signature, err := signer.Sign(append([]byte(spoolDomain), body...))
	if err != nil {
		return nil, fmt.Errorf("signing a line of the spool: %w", err)
	}
	line := append([]byte(base64.StdEncoding.EncodeToString(signature)), ' ')
	return append(append(line, body...), '\n'), nil
}

// errSpool is what reading says of a spool that somebody else wrote in.
var errSpool = errors.New("the spool holds a line that this log did not write, or not there")

// readSpool returns the lines of a spool. One that was not written to its end (the
// process died in the middle) is none. After an error, the lines returned are
// those before.
func readSpool(data []byte, signer note.Signer) (lines []spoolLine, err error) {
	if end := bytes.IndexByte(data, 0); end >= 0 {
		data = data[:end]
	}
	prev := ""
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			return lines, nil
		}
		line := data[:end+1]
		data = data[end+1:]
		_, body, ok := bytes.Cut(line[:end], []byte{' '})
		var l spoolLine
		if !ok || json.Unmarshal(body, &l) != nil {
			return lines, errSpool
		}
		// Signatures are deterministic and the encoding is ours, so the line that we
		// would write has to be the one that stands there.
		want, err := signLine(signer, l)
		if err != nil {
			return lines, err
		}
		leaf, bad := DecodeLeaf(l.Row.Leaf)
		hash := LeafHash(l.Row.Leaf)
		if !bytes.Equal(want, line) || l.Prev != prev ||
			bad != nil || leaf.ID != l.Row.ID || !bytes.Equal(hash[:], l.Row.Hash) {
			return lines, errSpool
		}
		prev = digest(line)
		lines = append(lines, l)
	}
	return lines, nil
}

// orphans calls f for each spool that no process holds any more, and removes
// those for which it returns nil. For errLater it goes on with the next. f gets what was readable, and errSpool if
// somebody else wrote in it; such a spool is kept under another name.
func (s *spool) orphans(ctx context.Context, f func(lines []spoolLine, err error) error) error {
	if s.dir == "" {
		return nil
	}
	names, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(name.Name(), spoolName) || ctx.Err() != nil {
			continue
		}
		if err := s.orphan(filepath.Join(s.dir, name.Name()), f); err != nil {
			return err
		}
	}
	return nil
}

func (s *spool) orphan(path string, f func(lines []spoolLine, err error) error) (err error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil // its owner, or another process, has just removed it
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil // its process lives
	}
	data, err := readBounded(file, maxSpool)
	if err != nil {
		return err
	}
	lines, bad := readSpool(data, s.signer)
	switch err := f(lines, bad); {
	case errors.Is(err, errLater):
		return nil
	case err != nil:
		return err
	}
	if bad != nil {
		return os.Rename(path, filepath.Join(s.dir, badName+filepath.Base(path)))
	}
	return os.Remove(path)
}
