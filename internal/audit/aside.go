package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"gatehouse"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// The directory of Config.Aside holds, beside the reserve and the spools:
const (
	// seenFile is the newest signed checkpoint that this machine has seen stored.
	// A log that does not lead to it was rolled back while nobody looked.
	seenFile = "seen"
	// alertFile is there from when tampering was noticed until an operator has
	// accepted the log as it is; acceptedFile until that is on record.
	alertFile, acceptedFile = "tampered", "accepted"
)

// An Alert is what was noticed of tampering, as it is kept until an operator has
// looked.
type Alert struct {
	Time time.Time `json:"time"`
	What string    `json:"what"`
	// Size is how many entries the log had, as far as is known, and Note the signed
	// checkpoint of them: evidence.
	Size int64  `json:"size"`
	Note string `json:"note,omitempty"`
}

// aside is the directory; the empty one keeps nothing.
type aside string

func (a aside) path(name string) string { return filepath.Join(string(a), name) }

func (a aside) make() error {
	if a == "" {
		return nil
	}
	if err := os.MkdirAll(string(a), 0o700); err != nil {
		return fmt.Errorf("making the directory beside the log: %w", err)
	}
	return nil
}

// replace makes a file appear whole or not at all.
func (a aside) replace(name string, content []byte, durable bool) error {
	f, err := os.CreateTemp(string(a), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil && durable {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), a.path(name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if durable {
		return syncDir(string(a))
	}
	return nil
}

// see keeps the newest checkpoint. It need not survive a power failure: an older
// one shows less, and nothing that is wrong.
func (a aside) see(signed []byte) error {
	if a == "" || len(signed) == 0 {
		return nil
	}
	return a.replace(seenFile, signed, false)
}

// seen returns what the newest checkpoint commits to, if there is one of this
// log's key; a file that was cut off by a power failure is none.
func (a aside) seen(signer note.Signer) (size int64, root tlog.Hash, ok bool) {
	if a == "" {
		return 0, root, false
	}
	signed, err := readFile(a.path(seenFile), 4096)
	if err != nil {
		return 0, root, false
	}
	lines := strings.Split(string(signed), "\n")
	if len(lines) < 4 {
		return 0, root, false
	}
	size, err = strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 {
		return 0, root, false
	}
	if root, err = tlog.ParseHash(lines[2]); err != nil {
		return 0, root, false
	}
	again, err := signCheckpoint(signer, size, root)
	return size, root, err == nil && bytes.Equal(again, signed)
}

// alert keeps what was noticed. The first word stands.
func (a aside) alert(what string, size int64, signed []byte) error {
	if a == "" || a.alerted() {
		return nil
	}
	content, err := json.Marshal(Alert{Time: time.Now().UTC().Truncate(time.Second), What: what, Size: size, Note: string(signed)})
	if err != nil {
		return err
	}
	return a.replace(alertFile, append(content, '\n'), true)
}

func (a aside) alerted() bool {
	if a == "" {
		return false
	}
	_, err := os.Lstat(a.path(alertFile))
	return err == nil
}

// ReadAlert returns what was noticed of tampering and not accepted, or
// ErrNotFound. dir is the directory of Config.Aside.
func ReadAlert(dir string) (Alert, error) { return aside(dir).read(alertFile) }

// ReadAccepted returns what was accepted and is not on record yet, or
// ErrNotFound.
func ReadAccepted(dir string) (Alert, error) { return aside(dir).read(acceptedFile) }

func (a aside) read(name string) (alert Alert, err error) {
	content, err := readFile(a.path(name), 64<<10)
	if errors.Is(err, os.ErrNotExist) {
		return alert, fmt.Errorf("no tampering with the log was noticed: %w", gatehouse.ErrNotFound)
	}
	if err != nil {
		return alert, fmt.Errorf("reading what was noticed of tampering: %w", err)
	}
	if json.Unmarshal(content, &alert) != nil {
		// Somebody wrote in it. That it is there says what matters.
		alert.What = "the file that says what was noticed was changed"
	}
	return alert, nil
}

// Accept ends the state that tampering brought about: the log as it is now is what
// a later one has to lead to. Whoever calls it records that (log.accept), and
// then calls Accepted.
func Accept(dir string) error {
	a := aside(dir)
	if err := errors.Join(remove(a.path(seenFile)), remove(a.path(crossFile))); err != nil {
		return fmt.Errorf("accepting the log: %w", err)
	}
	if err := os.Rename(a.path(alertFile), a.path(acceptedFile)); err != nil {
		return fmt.Errorf("accepting the log: %w", err)
	}
	return syncDir(dir)
}

// Accepted ends what Accept began.
func Accepted(dir string) error { return remove(aside(dir).path(acceptedFile)) }

// ForgetSeen removes what this machine has seen of a log that an operator has
// replaced on purpose, by restoring a backup.
func ForgetSeen(dir string) error {
	return errors.Join(remove(aside(dir).path(seenFile)), remove(aside(dir).path(crossFile)), remove(aside(dir).path(alertFile)))
}

func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := readBounded(f, limit)
	return data, errors.Join(err, f.Close())
}

func readBounded(f *os.File, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes: %w", f.Name(), limit, gatehouse.ErrInvalid)
	}
	return data, err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
