package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/vault"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/streamingaead"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// An epoch is one day, in UTC. Its key wraps the keys of the backups that were
// begun in it, and lies in a file of its own, wrapped by the root key: alone it
// opens nothing. A day on which the root key changes has one for each: the name of
// an epoch is the day and a digest of the root key's id.
const (
	epochLength = 24 * time.Hour
	epochSuffix = ".epochkey"
	epochHeader = "gatehouse-epoch-key-1"
	maxEpochKey = 16 << 10
)

var epochForm = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9a-f]{8}$`)

// epochs is a directory of epoch keys.
type epochs struct {
	dir string
	// roots are the root keys at hand; the first wraps.
	roots []vault.RootKey
	env   gatehouse.Environment
}

// EpochDay returns the day that an epoch's name begins with, at its beginning; the
// zero time if there is none.
func EpochDay(epoch string) time.Time {
	if !epochForm.MatchString(epoch) {
		return time.Time{}
	}
	day, err := time.Parse(time.DateOnly, epoch[:len(time.DateOnly)])
	if err != nil {
		return time.Time{}
	}
	return day
}

func (e epochs) path(epoch string) string {
	return filepath.Join(e.dir, string(e.env)+"-"+epoch+epochSuffix)
}

// today returns the epoch of a time and its key, which is made if it is not there.
func (e epochs) today(ctx context.Context, at time.Time) (string, tink.AEAD, error) {
	if err := needDir(e.dir, "the directory of epoch keys"); err != nil {
		return "", nil, err
	}
	epoch := at.UTC().Format(time.DateOnly) + "-" + lineHash(e.roots[0].ID())[:8]
	key, err := e.open(ctx, epoch)
	if !errors.Is(err, gatehouse.ErrNotFound) {
		return epoch, key, err
	}
	if err := e.make(ctx, epoch); err != nil {
		return "", nil, err
	}
	// What is on disk counts: another process may have been faster.
	key, err = e.open(ctx, epoch)
	return epoch, key, err
}

func (e epochs) make(ctx context.Context, epoch string) error {
	handle, err := keyset.NewHandle(aead.XAES256GCM192BitNonceKeyTemplate())
	if err != nil {
		return fmt.Errorf("making an epoch key: %w", err)
	}
	var material bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewBinaryWriter(&material)); err != nil {
		return fmt.Errorf("making an epoch key: %w", err)
	}
	defer clear(material.Bytes())
	root := e.roots[0]
	wrapped, err := root.Wrap(ctx, material.Bytes(), e.place(epoch))
	if err != nil {
		return fmt.Errorf("wrapping an epoch key with root key %s: %w", root.ID(), err)
	}
	content := epochHeader + " " + root.ID() + "\n" + base64.StdEncoding.EncodeToString(wrapped) + "\n"
	if err := vault.WriteNewFile(e.path(epoch), []byte(content)); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("keeping an epoch key: %w: %w", gatehouse.ErrUnavailable, err)
	}
	return nil
}

// open returns an epoch's key. One that is not there is ErrNotFound: destroyed,
// or not at hand.
func (e epochs) open(ctx context.Context, epoch string) (tink.AEAD, error) {
	if !epochForm.MatchString(epoch) {
		return nil, fmt.Errorf("the epoch's name is wrong: %w", gatehouse.ErrInvalid)
	}
	f, err := os.Open(e.path(epoch))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the key of epoch %s is not in %s: it was destroyed when its retention ended, and then no backup of that day opens any more; or the directory is not the right one: %w", epoch, e.dir, gatehouse.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the key of epoch %s: %w", epoch, err)
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, maxEpochKey+1))
	if err != nil {
		return nil, fmt.Errorf("reading the key of epoch %s: %w", epoch, err)
	}
	id, wrapped, err := parseEpochKey(content)
	if err != nil {
		return nil, fmt.Errorf("the key of epoch %s: %w", epoch, err)
	}
	i := slices.IndexFunc(e.roots, func(r vault.RootKey) bool { return r.ID() == id })
	if i < 0 {
		return nil, fmt.Errorf("the key of epoch %s is wrapped by root key %s, and the root key given is %s (an older one is given as previous_root_keys): %w", epoch, id, e.roots[0].ID(), gatehouse.ErrConflict)
	}
	material, err := e.roots[i].Unwrap(ctx, wrapped, e.place(epoch))
	if err != nil {
		return nil, fmt.Errorf("unwrapping the key of epoch %s in environment %s: %w", epoch, e.env, err)
	}
	defer clear(material)
	handle, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(material)))
	if err != nil {
		return nil, fmt.Errorf("the key of epoch %s is damaged: %w", epoch, gatehouse.ErrInvalid)
	}
	return aead.New(handle)
}

func parseEpochKey(content []byte) (root string, wrapped []byte, err error) {
	damaged := fmt.Errorf("the file is damaged: %w", gatehouse.ErrInvalid)
	if len(content) > maxEpochKey {
		return "", nil, damaged
	}
	lines := strings.Split(string(content), "\n")
	if len(lines) != 3 || lines[2] != "" {
		return "", nil, damaged
	}
	root, ok := strings.CutPrefix(lines[0], epochHeader+" ")
	wrapped, err = base64.StdEncoding.Strict().DecodeString(lines[1])
	if !ok || root == "" || err != nil || len(wrapped) == 0 {
		return "", nil, damaged
	}
	return root, wrapped, nil
}

func (e epochs) place(epoch string) []byte {
	return place("gatehouse/backup-epoch-1", string(e.env), epoch)
}

// place is what a key is bound to: its kind and parts, whose borders count.
func place(kind string, parts ...string) []byte {
	var b []byte
	for _, p := range append([]string{kind}, parts...) {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(p))), p...)
	}
	return b
}

// list returns the epochs whose keys are in the directory. Their content does not
// matter: a destruction that was interrupted is found by the name.
func (e epochs) list() ([]string, error) {
	entries, err := os.ReadDir(e.dir)
	if err != nil {
		return nil, fmt.Errorf("reading the directory of epoch keys: %w: %w", gatehouse.ErrUnavailable, err)
	}
	var list []string
	for _, entry := range entries {
		epoch, begins := strings.CutPrefix(entry.Name(), string(e.env)+"-")
		epoch, ends := strings.CutSuffix(epoch, epochSuffix)
		if begins && ends && epochForm.MatchString(epoch) && entry.Type().IsRegular() {
			list = append(list, epoch)
		}
	}
	return list, nil
}

// destroy overwrites a key, then removes it: content first, since the name can
// come back from a copy of the directory, and the old blocks from the disk.
// A key that is gone is no error.
func (e epochs) destroy(epoch string) error {
	f, err := os.OpenFile(e.path(epoch), os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = overwrite(f)
	}
	if err == nil {
		step("epoch key overwritten")
		err = os.Remove(e.path(epoch))
	}
	if err != nil {
		return fmt.Errorf("destroying the key of epoch %s: %w: %w", epoch, gatehouse.ErrUnavailable, err)
	}
	step("epoch key removed")
	return vault.SyncDirectory(e.dir)
}

func overwrite(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	noise := make([]byte, info.Size())
	_, err = rand.Read(noise)
	if err == nil {
		_, err = f.WriteAt(noise, 0)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// dataKey is the key of one backup. It seals each part in its place.
type dataKey struct {
	stream tink.StreamingAEAD
	place  func(part string) []byte
}

// newDataKey makes a key and puts it, wrapped, into the manifest.
func newDataKey(m *Manifest, wrapping tink.AEAD) (dataKey, error) {
	handle, err := keyset.NewHandle(streamingaead.AES256GCMHKDF1MBKeyTemplate())
	if err != nil {
		return dataKey{}, fmt.Errorf("making the backup's key: %w", err)
	}
	var material bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewBinaryWriter(&material)); err != nil {
		return dataKey{}, fmt.Errorf("making the backup's key: %w", err)
	}
	defer clear(material.Bytes())
	if m.Key, err = wrapping.Encrypt(material.Bytes(), m.keyPlace()); err != nil {
		return dataKey{}, fmt.Errorf("wrapping the backup's key: %w", err)
	}
	return m.dataKey(handle)
}

// openDataKey returns the key that the manifest holds.
func openDataKey(m Manifest, wrapping tink.AEAD) (dataKey, error) {
	material, err := wrapping.Decrypt(m.Key, m.keyPlace())
	if err != nil {
		return dataKey{}, fmt.Errorf("the backup's key does not open with that of its epoch: %w", gatehouse.ErrInvalid)
	}
	defer clear(material)
	handle, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(material)))
	if err != nil {
		return dataKey{}, fmt.Errorf("the backup's key is damaged: %w", gatehouse.ErrInvalid)
	}
	return m.dataKey(handle)
}

func (m Manifest) dataKey(handle *keyset.Handle) (dataKey, error) {
	stream, err := streamingaead.New(handle)
	if err != nil {
		return dataKey{}, fmt.Errorf("the backup's key: %w", err)
	}
	env, id := string(m.Environment), m.ID
	return dataKey{stream, func(part string) []byte { return place("gatehouse/backup-part-1", env, id, part) }}, nil
}

func (m Manifest) keyPlace() []byte {
	return place("gatehouse/backup-key-1", string(m.Environment), m.ID, m.Epoch)
}

func (k dataKey) seal(w io.Writer, part string) (io.WriteCloser, error) {
	return k.stream.NewEncryptingWriter(w, k.place(part))
}

func (k dataKey) open(r io.Reader, part string) (io.Reader, error) {
	return k.stream.NewDecryptingReader(r, k.place(part))
}
