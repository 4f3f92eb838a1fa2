package vault

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"golang.org/x/crypto/argon2"
)

// A passphrase file is two lines. The first is this word, the key's id, and how the
// passphrase is stretched:
//
//	gatehouse-passphrase-key-1 pass-ID argon2id TIME MEMORY THREADS SALT
//
// (passes, KiB, lanes, base64). The second is the Tink keyset of the root key,
// sealed with AES-256-GCM under the stretched passphrase, with the first line as
// associated data, in base64. The passphrase itself wraps no domain key, so that
// another one can take its place without touching anything else.
const (
	passphraseHeader = "gatehouse-passphrase-key-1"
	saltSize         = 16

	// MinPassphrase is the least length of a new passphrase, in characters.
	MinPassphrase = 12
	// maxPassphrase bounds what is stretched.
	maxPassphrase = 1024
)

// PassphraseCost is how hard a guess at a passphrase is made (argon2id, RFC 9106).
type PassphraseCost struct {
	Time      uint32 // passes over the memory
	MemoryKiB uint32
	Threads   uint8
}

// Bounds of what a file may ask for: whoever can write it must not be able to make
// a start take all memory, or for ever.
const (
	maxPasses    = 64
	maxMemoryKiB = 1 << 20 // 1 GiB
	maxThreads   = 16
	maxWork      = 16 << 20 // passes x KiB: some ten seconds
)

func (c PassphraseCost) validate() error {
	if c.Time < 1 || c.Time > maxPasses || c.Threads < 1 || c.Threads > maxThreads ||
		c.MemoryKiB < 8*uint32(c.Threads) || c.MemoryKiB > maxMemoryKiB || uint64(c.Time)*uint64(c.MemoryKiB) > maxWork {
		return fmt.Errorf("its passphrase is stretched in a way that no Gatehouse does: %w", gatehouse.ErrInvalid)
	}
	return nil
}

// calibrated returns a cost of about a second here, and never less than RFC 9106's
// second recommendation (64 MiB, 3 passes, 4 lanes).
func calibrated() PassphraseCost {
	const aim = time.Second
	c := PassphraseCost{Time: 3, MemoryKiB: 64 << 10, Threads: 4}
	start := time.Now()
	clear(argon2.IDKey([]byte("calibration"), make([]byte, saltSize), 1, c.MemoryKiB, c.Threads, keySize))
	if pass := time.Since(start); pass > 0 {
		c.Time = uint32(min(max(int64(aim/pass), 3), 16))
	}
	return c
}

// CreatePassphraseFile makes a new root key, sealed under a passphrase, in a file of
// mode 0600 that must not exist yet. On return it is durable. The zero cost means
// one that is measured on this machine.
func CreatePassphraseFile(path string, passphrase secret.Text, cost PassphraseCost) error {
	if len([]rune(passphrase.Reveal())) < MinPassphrase || len(passphrase.Reveal()) > maxPassphrase {
		return fmt.Errorf("a passphrase has at least %d characters, and at most %d bytes: %w", MinPassphrase, maxPassphrase, gatehouse.ErrInvalid)
	}
	if cost == (PassphraseCost{}) {
		cost = calibrated()
	}
	if err := cost.validate(); err != nil {
		return err
	}
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return fmt.Errorf("making a root key: %w", err)
	}
	var material bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewBinaryWriter(&material)); err != nil {
		return fmt.Errorf("serialising the root key: %w", err)
	}
	defer clear(material.Bytes())
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // it never fails
	header := strings.Join([]string{
		passphraseHeader, "pass-" + strings.ToLower(rand.Text()[:16]), "argon2id",
		strconv.FormatUint(uint64(cost.Time), 10), strconv.FormatUint(uint64(cost.MemoryKiB), 10), strconv.FormatUint(uint64(cost.Threads), 10),
		base64.StdEncoding.EncodeToString(salt),
	}, " ")
	stretched, err := stretch(passphrase, salt, cost)
	if err != nil {
		return err
	}
	sealed, err := stretched.Encrypt(material.Bytes(), []byte(header))
	if err != nil {
		return fmt.Errorf("sealing the root key under its passphrase: %w", err)
	}
	if err := WriteNewFile(path, []byte(header+"\n"+base64.StdEncoding.EncodeToString(sealed)+"\n")); err != nil {
		if errors.Is(err, os.ErrExist) {
			return fmt.Errorf("passphrase file %s exists already and is not replaced: %w", path, gatehouse.ErrConflict)
		}
		return fmt.Errorf("writing the passphrase file: %w", err)
	}
	return nil
}

func stretch(passphrase secret.Text, salt []byte, cost PassphraseCost) (*subtle.AESGCM, error) {
	password := []byte(passphrase.Reveal())
	defer clear(password)
	key := argon2.IDKey(password, salt, cost.Time, cost.MemoryKiB, cost.Threads, keySize)
	defer clear(key)
	primitive, err := subtle.NewAESGCM(key)
	if err != nil {
		return nil, fmt.Errorf("stretching the passphrase: %w", err)
	}
	return primitive, nil
}

// SealedRoot is a root key that waits for its passphrase.
type SealedRoot struct {
	path, id string
	header   string
	cost     PassphraseCost
	salt     []byte
	sealed   []byte
}

// ErrPassphrase means that a passphrase does not open a root key: it is another
// one, or the file was changed.
var ErrPassphrase = fmt.Errorf("the passphrase does not open this root key: %w", gatehouse.ErrDenied)

// ReadPassphraseFile reads a passphrase file without opening it. It refuses what
// [NewFileRootKey] refuses of a key file, and a header that asks for more memory or
// time than any that we write.
func ReadPassphraseFile(path string) (*SealedRoot, error) {
	content, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	sealed, err := parsePassphrase(content)
	if err != nil {
		return nil, fmt.Errorf("passphrase file %s: %w", path, err)
	}
	sealed.path = path
	return sealed, nil
}

// parsePassphrase reads the content of a passphrase file. Its errors name what is
// wrong and repeat none of it.
func parsePassphrase(content []byte) (*SealedRoot, error) {
	invalid := func(what string) error { return fmt.Errorf("%s: %w", what, gatehouse.ErrInvalid) }
	if len(content) > maxRootKeyFile {
		return nil, invalid("too long for a root key")
	}
	header, rest, _ := strings.Cut(string(content), "\n")
	fields := strings.Split(header, " ")
	if len(fields) != 7 || fields[0] != passphraseHeader || !validKeyID(fields[1]) || fields[2] != "argon2id" {
		return nil, invalid("its first line is not that of a root key under a passphrase (" + passphraseHeader + ", an id, argon2id and its parameters)")
	}
	s := &SealedRoot{id: fields[1], header: header}
	passes, err1 := strconv.ParseUint(fields[3], 10, 32)
	memory, err2 := strconv.ParseUint(fields[4], 10, 32)
	threads, err3 := strconv.ParseUint(fields[5], 10, 8)
	if errors.Join(err1, err2, err3) != nil {
		return nil, invalid("the parameters in its first line are damaged")
	}
	s.cost = PassphraseCost{Time: uint32(passes), MemoryKiB: uint32(memory), Threads: uint8(threads)}
	if err := s.cost.validate(); err != nil {
		return nil, err
	}
	var err error
	if s.salt, err = base64.StdEncoding.Strict().DecodeString(fields[6]); err != nil || len(s.salt) != saltSize {
		return nil, invalid("the salt in its first line is damaged")
	}
	if s.sealed, err = base64.StdEncoding.Strict().DecodeString(strings.TrimRight(rest, "\r\n")); err != nil || len(s.sealed) == 0 {
		return nil, invalid("its second line is damaged")
	}
	return s, nil
}

// ID names the key, as [RootKey.ID] does once it is open.
func (s *SealedRoot) ID() string { return s.id }

// Open opens the root key, or returns ErrPassphrase. It takes about a second and
// as much memory as the file says.
func (s *SealedRoot) Open(passphrase secret.Text) (RootKey, error) {
	if n := len(passphrase.Reveal()); n == 0 || n > maxPassphrase {
		return nil, fmt.Errorf("passphrase file %s: %w", s.path, ErrPassphrase)
	}
	stretched, err := stretch(passphrase, s.salt, s.cost)
	if err != nil {
		return nil, err
	}
	material, err := stretched.Decrypt(s.sealed, []byte(s.header))
	if err != nil {
		return nil, fmt.Errorf("passphrase file %s: %w", s.path, ErrPassphrase)
	}
	defer clear(material)
	handle, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(material)))
	if err != nil {
		return nil, fmt.Errorf("passphrase file %s: its keyset is damaged: %w", s.path, gatehouse.ErrInvalid)
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("passphrase file %s: its keyset is not one for authenticated encryption: %w", s.path, gatehouse.ErrInvalid)
	}
	return &fileRootKey{id: s.id, aead: primitive, detail: "a key under a passphrase, file " + s.path}, nil
}
