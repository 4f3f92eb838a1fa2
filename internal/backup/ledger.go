package backup

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gatehouse"
	"gatehouse/internal/vault"

	"golang.org/x/mod/sumdb/note"
)

// A Line is one erasure in the ledger: its number (from 1, without a gap), when it
// was decided, and the person, a random identifier that leads to nobody once their
// key is gone. Text is the line itself, without its end; it holds the hash of the
// line before it and a signature by the log's key.
type Line struct {
	Seq    int64
	At     time.Time
	Person gatehouse.PersonID
	Text   string
}

// A ledger is a text: a signed first line, then a line for each erasure,
//
//	<number> <time> <person> <SHA-256 of the line before> <signature>
//
// What is signed begins with ledgerHeader, so that no checkpoint and no manifest
// can be taken for a line.
const (
	ledgerHeader = "gatehouse-erasures-1"
	ledgerTime   = "2006-01-02T15:04:05.000000Z"
	maxLine      = 1024
	lockWait     = 10 * time.Second
)

var personForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// LedgerName is the name of an environment's ledger in a directory.
func LedgerName(env gatehouse.Environment) string { return "gatehouse-" + string(env) + ".erasures" }

// Ledger writes the ledger: into the database first, then to the directories. It
// is safe for concurrent use, by several processes on one database too.
type Ledger struct {
	store  LedgerStore
	signer note.Signer
	env    gatehouse.Environment
	dirs   []string
}

// NewLedger returns the ledger of a database. Every line is copied to each of
// dirs, which may be none.
func NewLedger(store LedgerStore, signer note.Signer, env gatehouse.Environment, dirs []string) *Ledger {
	return &Ledger{store, signer, env, dirs}
}

// Add makes a person's erasure durable in the database, whence Ship takes it.
// Repeating it is no error. It comes before the destruction: a backup between the
// two then names a person whom a restore must erase.
func (l *Ledger) Add(ctx context.Context, person gatehouse.PersonID) error {
	if !personForm.MatchString(string(person)) {
		return fmt.Errorf("writing an erasure down: the person's identifier has another form: %w", gatehouse.ErrInvalid)
	}
	for {
		_, err := l.store.LedgerOf(ctx, person)
		if !errors.Is(err, gatehouse.ErrNotFound) {
			return err
		}
		last, err := l.store.LedgerHead(ctx)
		if err != nil {
			return err
		}
		head, err := l.head(last)
		if err != nil {
			return err
		}
		line, err := l.line(head, time.Now(), person)
		if err != nil {
			return err
		}
		// After a conflict: another process was faster.
		if err := l.store.AddLine(ctx, line); !errors.Is(err, gatehouse.ErrConflict) {
			return err
		}
	}
}

// line writes the line that follows head.
func (l *Ledger) line(head Head, at time.Time, person gatehouse.PersonID) (Line, error) {
	at = at.UTC().Truncate(time.Microsecond)
	fields := []string{strconv.FormatInt(head.Seq+1, 10), at.Format(ledgerTime), string(person), head.Hash}
	signature, err := l.signer.Sign(signedText(l.signer.Name(), fields...))
	if err != nil {
		return Line{}, fmt.Errorf("signing an erasure: %w", err)
	}
	text := strings.Join(append(fields, base64.StdEncoding.EncodeToString(signature)), " ")
	return Line{head.Seq + 1, at, person, text}, nil
}

// header is the ledger's first line.
func (l *Ledger) header() (string, error) {
	signature, err := l.signer.Sign(signedText(l.signer.Name()))
	if err != nil {
		return "", fmt.Errorf("signing the ledger: %w", err)
	}
	return ledgerHeader + " " + l.signer.Name() + " " + base64.StdEncoding.EncodeToString(signature), nil
}

func signedText(origin string, fields ...string) []byte {
	return []byte(ledgerHeader + "\n" + origin + "\n" + strings.Join(fields, "\n") + "\n")
}

// head returns what stands for a ledger that ends with a line.
func (l *Ledger) head(last Line) (Head, error) {
	if last.Seq > 0 {
		return Head{last.Seq, lineHash(last.Text)}, nil
	}
	header, err := l.header()
	return Head{0, lineHash(header)}, err
}

func lineHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// Ship brings every directory up to date. A directory that cannot be reached
// does not keep the others; its error is ErrUnavailable.
func (l *Ledger) Ship(ctx context.Context) error {
	var failed error
	for _, dir := range l.dirs {
		failed = errors.Join(failed, l.ShipTo(ctx, dir))
	}
	return failed
}

// ShipTo brings one directory up to date: every line that its ledger lacks is
// appended and on disk on return. A ledger whose end is not ours is refused and
// stays as it is.
func (l *Ledger) ShipTo(ctx context.Context, dir string) (err error) {
	path := filepath.Join(dir, LedgerName(l.env))
	defer func() {
		if err != nil {
			err = fmt.Errorf("bringing the ledger of erasures %s up to date: %w", path, err)
		}
	}()
	if err := needDir(dir, "the ledger's directory"); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("%w: %w", gatehouse.ErrUnavailable, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := lock(ctx, f); err != nil {
		return err
	}
	header, err := l.header()
	if err != nil {
		return err
	}
	last, partial, size, err := tail(f)
	if err != nil {
		return err
	}
	seq, err := l.ours(ctx, last, header)
	if err != nil {
		return err
	}
	next := []string{}
	if seq < 0 {
		next, seq = append(next, header), 0
	}
	for first := true; ; first = false {
		lines, err := l.store.LedgerAfter(ctx, seq, 500)
		if err != nil {
			return err
		}
		for _, line := range lines {
			next, seq = append(next, line.Text), line.Seq
		}
		// What an append that was interrupted left is the beginning of what comes next.
		if first && partial != "" && (len(next) == 0 || !strings.HasPrefix(next[0], partial)) {
			return errForeign
		}
		if len(next) == 0 {
			return nil
		}
		text := strings.Join(next, "\n") + "\n"
		if _, err := f.WriteAt([]byte(text), size); err != nil {
			return fmt.Errorf("%w: %w", gatehouse.ErrUnavailable, err)
		}
		if err := errors.Join(f.Sync(), vault.SyncDirectory(dir)); err != nil {
			return fmt.Errorf("%w: %w", gatehouse.ErrUnavailable, err)
		}
		step("line shipped")
		size += int64(len(text))
		next = next[:0]
	}
}

// lock keeps two processes from appending the same line twice. It goes with the
// file, so with the process, and is not waited for long: one that was stopped must
// not stop the erasures of others.
func lock(ctx context.Context, f *os.File) error {
	for deadline := time.Now().Add(lockWait); ; {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) || time.Now().After(deadline) {
			return fmt.Errorf("%w: locking it: %w", gatehouse.ErrUnavailable, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: locking it: %w", gatehouse.ErrUnavailable, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Check looks, without writing, whether every directory has every line.
func (l *Ledger) Check(ctx context.Context) error {
	var failed error
	for _, dir := range l.dirs {
		if err := l.checkDir(ctx, dir); err != nil {
			failed = errors.Join(failed, fmt.Errorf("the ledger of erasures in %s: %w", dir, err))
		}
	}
	return failed
}

func (l *Ledger) checkDir(ctx context.Context, dir string) error {
	newest, err := l.store.LedgerHead(ctx)
	if err != nil {
		return err
	}
	header, err := l.header()
	if err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(dir, LedgerName(l.env)))
	if err != nil {
		return fmt.Errorf("%w: %w", gatehouse.ErrUnavailable, err)
	}
	defer func() { _ = f.Close() }()
	last, _, _, err := tail(f)
	if err != nil {
		return err
	}
	seq, err := l.ours(ctx, last, header)
	if err == nil && max(seq, 0) < newest.Seq {
		err = fmt.Errorf("%d erasures are missing in it, and their duties wait for it: %w", newest.Seq-max(seq, 0), gatehouse.ErrUnavailable)
	}
	return err
}

// errForeign is said of a ledger that this database cannot go on with.
var errForeign = fmt.Errorf("what stands there is not what this database wrote: it was changed, or belongs to another database, or this database is older than it. Look at it with 'gatehouse backup ledger'; if it is another's, name another directory: %w", gatehouse.ErrConflict)

// ours returns the number of a ledger's last line after comparing it with the
// database's: 0 for the header, -1 for an empty file.
func (l *Ledger) ours(ctx context.Context, last, header string) (int64, error) {
	if last == "" {
		return -1, nil
	}
	if last == header {
		return 0, nil
	}
	number, _, _ := strings.Cut(last, " ")
	seq, err := strconv.ParseInt(number, 10, 64)
	if err != nil || seq < 1 {
		return 0, errForeign
	}
	lines, err := l.store.LedgerAfter(ctx, seq-1, 1)
	if err != nil {
		return 0, err
	}
	if len(lines) != 1 || lines[0].Text != last {
		return 0, errForeign
	}
	return seq, nil
}

// tail returns the last whole line of a file, what stands after it, and where that
// begins.
func tail(f *os.File) (last, partial string, size int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return "", "", 0, err
	}
	from := max(0, info.Size()-3*maxLine)
	b := make([]byte, info.Size()-from)
	if _, err := f.ReadAt(b, from); err != nil && !errors.Is(err, io.EOF) {
		return "", "", 0, fmt.Errorf("%w: %w", gatehouse.ErrUnavailable, err)
	}
	end := bytes.LastIndexByte(b, '\n')
	partial = string(b[end+1:])
	if end < 0 {
		if from > 0 {
			return "", "", 0, errForeign
		}
		return "", partial, 0, nil
	}
	begin := bytes.LastIndexByte(b[:end], '\n')
	if begin < 0 && from > 0 {
		return "", "", 0, errForeign
	}
	return string(b[begin+1 : end]), partial, from + int64(end) + 1, nil
}

// ReadLedger verifies a ledger from its first line to its last and calls visit, if
// not nil, for each erasure. A part of a line at its end, which an append that was
// interrupted leaves, is not counted. Any other difference from what was written
// is ErrInvalid, and named.
func ReadLedger(r io.Reader, verifier note.Verifier, visit func(Line, Head) error) (Head, error) {
	in := bufio.NewReaderSize(r, maxLine)
	header, err := ledgerLine(in)
	if err != nil {
		return Head{}, fmt.Errorf("the ledger's first line: %w", err)
	}
	if err := verifyHeader(header, verifier); err != nil {
		return Head{}, err
	}
	head := Head{0, lineHash(header)}
	for {
		text, err := ledgerLine(in)
		if errors.Is(err, io.EOF) {
			return head, nil
		}
		if err != nil {
			return head, fmt.Errorf("the ledger's line %d: %w", head.Seq+1, err)
		}
		line, err := parseLine(text, head, verifier)
		if err != nil {
			return head, fmt.Errorf("the ledger's line %d: %w", head.Seq+1, err)
		}
		head = Head{line.Seq, lineHash(text)}
		if visit != nil {
			if err := visit(line, head); err != nil {
				return head, err
			}
		}
	}
}

// ledgerLine returns the next whole line, or io.EOF.
func ledgerLine(in *bufio.Reader) (string, error) {
	b, err := in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", fmt.Errorf("it is too long: %w", gatehouse.ErrInvalid)
	}
	if err != nil {
		return "", err
	}
	return string(b[:len(b)-1]), nil
}

func verifyHeader(text string, verifier note.Verifier) error {
	fields := strings.Split(text, " ")
	if len(fields) != 3 || fields[0] != ledgerHeader || fields[1] != verifier.Name() || !signedBy(verifier, fields[2]) {
		return fmt.Errorf("the ledger's first line is not one that this log's key signed: %w", gatehouse.ErrInvalid)
	}
	return nil
}

// parseLine verifies the line that follows head.
func parseLine(text string, head Head, verifier note.Verifier) (Line, error) {
	fields := strings.Split(text, " ")
	if len(fields) != 5 || !signedBy(verifier, fields[4], fields[:4]...) {
		return Line{}, fmt.Errorf("it is not one that this log's key signed: it was changed: %w", gatehouse.ErrInvalid)
	}
	seq, err := strconv.ParseInt(fields[0], 10, 64)
	at, terr := time.Parse(ledgerTime, fields[1])
	if err != nil || terr != nil || !personForm.MatchString(fields[2]) {
		return Line{}, fmt.Errorf("it is malformed: %w", gatehouse.ErrInvalid)
	}
	if seq != head.Seq+1 || fields[3] != head.Hash {
		return Line{}, fmt.Errorf("it does not follow the line before it: lines were removed, inserted or reordered: %w", gatehouse.ErrInvalid)
	}
	return Line{seq, at, gatehouse.PersonID(fields[2]), text}, nil
}

func signedBy(verifier note.Verifier, signature string, fields ...string) bool {
	b, err := base64.StdEncoding.Strict().DecodeString(signature)
	return err == nil && verifier.Verify(signedText(verifier.Name(), fields...), b)
}
