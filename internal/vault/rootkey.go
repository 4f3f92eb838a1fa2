package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"gatehouse"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// RootKey wraps domain keys. Production has several kinds: a key file, a key under
// a passphrase, and key management systems (package kms). An implementation that
// cannot be reached, or whose answer makes no sense, returns an error that wraps
// gatehouse.ErrUnavailable: then the domain keys that are held go on serving for a
// while (see [Config.KeepWithoutRoot]). One that answers no, whether it denies us,
// the key is disabled, or the ciphertext or its context is wrong, returns an error
// that does not: then they are dropped. A method Detail() string may tell an
// operator more; see [Probe].
type RootKey interface {
	// ID names the key in rows and errors. It is not secret.
	ID() string
	// Wrap encrypts plaintext and binds it to context.
	Wrap(ctx context.Context, plaintext, context []byte) ([]byte, error)
	// Unwrap reverses Wrap; another key, ciphertext or context fails.
	Unwrap(ctx context.Context, ciphertext, context []byte) ([]byte, error)
}

// The key file is two lines: this word with the key's id, and the Tink keyset
// (binary serialisation) in base64.
const (
	rootKeyHeader  = "gatehouse-root-key-1"
	maxRootKeyFile = 4 << 10
)

// ErrMisfit is all that an unwrapping tells: which of key, ciphertext and
// context was wrong cannot be known.
var ErrMisfit = errors.New("the key does not fit: it is another root key, or what it wraps was changed or moved")

// fileRootKey is a root key read from a file.
type fileRootKey struct {
	id     string
	aead   tink.AEAD
	detail string
}

// CreateRootKeyFile makes a new root key in a file of mode 0600 that must not
// exist yet. On return the file and its directory entry are durable: nothing may
// be wrapped by a key that a power cut could take away.
func CreateRootKeyFile(path string) error {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return fmt.Errorf("making a root key: %w", err)
	}
	var material bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewBinaryWriter(&material)); err != nil {
		return fmt.Errorf("serialising the root key: %w", err)
	}
	content := make([]byte, 0, maxRootKeyFile)
	content = append(content, rootKeyHeader+" file-"+strings.ToLower(rand.Text()[:16])+"\n"...)
	content = base64.StdEncoding.AppendEncode(content, material.Bytes())
	content = append(content, '\n')
	clear(material.Bytes())
	defer clear(content)

	if err := WriteNewFile(path, content); err != nil {
		if errors.Is(err, os.ErrExist) {
			return fmt.Errorf("root key file %s exists already and is not replaced: %w", path, gatehouse.ErrConflict)
		}
		return fmt.Errorf("writing the root key file: %w", err)
	}
	return nil
}

// NewFileRootKey reads a root key file. It refuses a file that anyone but its
// owner may read or write, or whose owner is neither this process's user nor
// root.
func NewFileRootKey(path string) (RootKey, error) {
	content, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	defer clear(content)
	key, err := parseRootKey(content)
	if err != nil {
		return nil, fmt.Errorf("root key file %s: %w", path, err)
	}
	key.detail = "a key file, " + path
	return key, nil
}

// readKeyFile reads a file that only its owner, who is this process's user or root,
// may reach.
func readKeyFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("root key file %s does not exist (gatehouse init makes one): %w", path, gatehouse.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the root key file: %w", err)
	}
	defer func() { _ = file.Close() }()
	// The open file is asked, not the path, which could change in between.
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("opening the root key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("root key file %s is not a regular file: %w", path, gatehouse.ErrInvalid)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("root key file %s has mode %04o, so others can reach it; chmod 600 it: %w", path, mode, gatehouse.ErrDenied)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && !ownerTrusted(stat.Uid, os.Geteuid()) {
		return nil, fmt.Errorf("root key file %s belongs to user %d, not to the user who runs this (%d): %w", path, stat.Uid, os.Geteuid(), gatehouse.ErrDenied)
	}
	content, err := io.ReadAll(io.LimitReader(file, maxRootKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading the root key file: %w", err)
	}
	return content, nil
}

// ownerTrusted reports whether a key file of this owner may be used: root could
// replace it anyway.
func ownerTrusted(owner uint32, euid int) bool {
	return owner == 0 || int64(owner) == int64(euid)
}

// parseRootKey reads the content of a key file. Its errors name what is wrong
// and repeat none of it.
func parseRootKey(content []byte) (*fileRootKey, error) {
	material, err := rootKeyMaterial(content)
	if err != nil {
		return nil, err
	}
	defer clear(material)
	handle, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(material)))
	if err != nil {
		return nil, invalidRootKey("its keyset is damaged")
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, invalidRootKey("its keyset is not one for authenticated encryption")
	}
	header, _, _ := bytes.Cut(content, []byte("\n"))
	return &fileRootKey{id: strings.TrimPrefix(string(header), rootKeyHeader+" "), aead: primitive}, nil
}

func invalidRootKey(what string) error { return fmt.Errorf("%s: %w", what, gatehouse.ErrInvalid) }

// rootKeyMaterial checks the form of a key file and returns the keyset in it,
// which the caller wipes.
func rootKeyMaterial(content []byte) ([]byte, error) {
	if len(content) > maxRootKeyFile {
		return nil, invalidRootKey("too long for a root key")
	}
	header, rest, _ := bytes.Cut(content, []byte("\n"))
	word, id, found := strings.Cut(string(header), " ")
	if word != rootKeyHeader || !found || !validKeyID(id) {
		return nil, invalidRootKey("its first line is not that of a root key (" + rootKeyHeader + " and an id)")
	}
	material := make([]byte, base64.StdEncoding.DecodedLen(len(rest)))
	n, err := base64.StdEncoding.Decode(material, bytes.TrimRight(rest, "\r\n"))
	if err != nil || n == 0 {
		clear(material)
		return nil, invalidRootKey("its second line is damaged")
	}
	return material[:n], nil
}

func validKeyID(id string) bool {
	for _, c := range []byte(id) {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	return len(id) >= 1 && len(id) <= 64
}

func (k *fileRootKey) ID() string { return k.id }

// Detail says which file it is; see [Probe].
func (k *fileRootKey) Detail() string { return k.detail }

func (k *fileRootKey) Wrap(_ context.Context, plaintext, context []byte) ([]byte, error) {
	return k.aead.Encrypt(plaintext, context)
}

func (k *fileRootKey) Unwrap(_ context.Context, ciphertext, context []byte) ([]byte, error) {
	plaintext, err := k.aead.Decrypt(ciphertext, context)
	if err != nil {
		return nil, ErrMisfit
	}
	return plaintext, nil
}
