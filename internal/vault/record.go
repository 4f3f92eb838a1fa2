package vault

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/secret"
)

// The sealed record:
//
//	format   1 byte: 1 under a person's key, 2 under a domain key
//	version  4 bytes, big endian: the version of that key
//	body     format 1: nonce (12), ciphertext, tag (16) of AES-256-GCM
//	         format 2: the ciphertext of the domain's Tink keyset
//
// The associated data names everything the record is bound to, see place.
const (
	formatPerson = 1
	formatDomain = 2

	headerSize = 5
	nonceSize  = 12
	tagSize    = 16
	keySize    = 32
)

// ErrUnreadable means that sealed data does not open: it was changed, cut or
// moved, or is sealed for another person, place or environment. Which of these
// it was cannot be known. It has no kind, since no caller can do anything about
// it.
var ErrUnreadable = errors.New("sealed data does not open: it was changed or cut, or belongs to another row, column, person or environment")

// ErrErased means that the person's key was destroyed, and with it everything
// that was sealed under it.
var ErrErased = fmt.Errorf("the person's key was destroyed: %w", gatehouse.ErrNotFound)

// Ref names the place of a sealed record: the column that holds it and the
// person it belongs to. An empty Person means a record of no person, sealed
// under the domain key Tokens.
type Ref struct {
	Table, Row, Column string
	Person             gatehouse.PersonID
}

func (r Ref) validate() error {
	if r.Table == "" || r.Row == "" || r.Column == "" {
		return fmt.Errorf("a sealed record needs a table, a row and a column: %w", gatehouse.ErrInvalid)
	}
	return nil
}

// place encodes what a sealed thing is bound to: the kind of thing first, then
// the parts, each with its length before it, so that no two lists of parts have
// the same encoding.
func place(kind string, parts ...string) []byte {
	size := 4 + len(kind)
	for _, part := range parts {
		size += 4 + len(part)
	}
	encoded := make([]byte, 0, size)
	encoded = appendPart(encoded, kind)
	for _, part := range parts {
		encoded = appendPart(encoded, part)
	}
	return encoded
}

func appendPart(encoded []byte, part string) []byte {
	encoded = binary.BigEndian.AppendUint32(encoded, uint32(len(part)))
	return append(encoded, part...)
}

// versionPart is a version as a part of a place.
func versionPart(version uint32) string {
	var encoded [4]byte
	binary.BigEndian.PutUint32(encoded[:], version)
	return string(encoded[:])
}

// The kinds of place. They keep records, log fields and keys apart even where
// one key seals several of them.
const (
	recordKind    = "gatehouse/record/1"
	fieldKind     = "gatehouse/field/1"
	systemKind    = "gatehouse/system/1"
	personKeyKind = "gatehouse/person-key/1"
	domainKeyKind = "gatehouse/domain-key/1"
	// Below Personal: what wraps what has changed, so a key of a person has a
	// second kind of place.
	dailyKeyKind         = "gatehouse/daily-key/1"
	keyringKeyKind       = "gatehouse/keyring-key/1"
	keyringPersonKeyKind = "gatehouse/person-key/2"
	deriveKind           = "gatehouse/derive/1"
)

func domainContext(env gatehouse.Environment, domain Domain, version uint32) []byte {
	return place(domainKeyKind, string(env), string(domain), versionPart(version))
}

func (v *Vault) recordPlace(ref Ref) []byte {
	return place(recordKind, string(v.config.Environment), ref.Table, ref.Row, ref.Column, string(ref.Person))
}

// Seal seals s for its place under the key of the person, or, when ref names no
// person, under the domain key Tokens.
func (v *Vault) Seal(ctx context.Context, ref Ref, s secret.Text) ([]byte, error) {
	if err := ref.validate(); err != nil {
		return nil, err
	}
	plaintext := []byte(s.Reveal())
	defer clear(plaintext)
	sealed, err := v.seal(ctx, Tokens, ref.Person, plaintext, v.recordPlace(ref))
	if err != nil {
		return nil, fmt.Errorf("sealing %s.%s: %w", ref.Table, ref.Column, err)
	}
	return sealed, nil
}

// Open opens what Seal sealed for the same place. It needs the receipt of a log
// entry: nothing is opened before the intent to do so is durable.
func (v *Vault) Open(ctx context.Context, r audit.Receipt, ref Ref, sealed []byte) (secret.Text, error) {
	if !r.Valid() {
		return secret.Text{}, fmt.Errorf("opening %s.%s without a durable log entry: %w", ref.Table, ref.Column, gatehouse.ErrDenied)
	}
	if err := ref.validate(); err != nil {
		return secret.Text{}, err
	}
	plaintext, err := v.open(ctx, Tokens, ref.Person, sealed, v.recordPlace(ref))
	if err != nil {
		return secret.Text{}, fmt.Errorf("opening %s.%s: %w", ref.Table, ref.Column, err)
	}
	defer clear(plaintext)
	return secret.New(string(plaintext)), nil
}

// SealPersonal seals a personal field of the log under the person's key, or,
// when there is no person, under the domain key Personal. The context names
// where the field stands. What it seals Open does not open, and the other way
// round.
func (v *Vault) SealPersonal(ctx context.Context, person gatehouse.PersonID, context string, plaintext []byte) ([]byte, error) {
	sealed, err := v.seal(ctx, Personal, person, plaintext, v.fieldPlace(person, context))
	if err != nil {
		return nil, fmt.Errorf("sealing a personal field: %w", err)
	}
	return sealed, nil
}

// OpenPersonal opens what SealPersonal sealed. Reading the log's own fields is
// not an opening that the log would have to record.
func (v *Vault) OpenPersonal(ctx context.Context, person gatehouse.PersonID, context string, sealed []byte) ([]byte, error) {
	plaintext, err := v.open(ctx, Personal, person, sealed, v.fieldPlace(person, context))
	if err != nil {
		return nil, fmt.Errorf("opening a personal field: %w", err)
	}
	return plaintext, nil
}

func (v *Vault) fieldPlace(person gatehouse.PersonID, context string) []byte {
	return place(fieldKind, string(v.config.Environment), context, string(person))
}

// seal seals under the person's key, or without a person under the domain's.
func (v *Vault) seal(ctx context.Context, domain Domain, person gatehouse.PersonID, plaintext, at []byte) ([]byte, error) {
	if person == "" {
		return v.sealDomain(ctx, domain, plaintext, at)
	}
	primitive, version, err := v.personSealer(ctx, person)
	if err != nil {
		return nil, err
	}
	return sealPerson(primitive, version, plaintext, at), nil
}

// open opens what seal made. The key that the caller names decides which format
// is expected; the record's own word for it is only checked.
func (v *Vault) open(ctx context.Context, domain Domain, person gatehouse.PersonID, sealed, at []byte) ([]byte, error) {
	if person == "" {
		return v.openDomain(ctx, domain, sealed, at)
	}
	version, body, err := parseSealed(sealed, formatPerson)
	if err != nil {
		return nil, err
	}
	primitive, err := v.personOpener(ctx, person, version)
	if err != nil {
		return nil, err
	}
	return openPerson(primitive, body, at)
}

func (v *Vault) sealDomain(ctx context.Context, domain Domain, plaintext, at []byte) ([]byte, error) {
	primitive, version, err := v.sealer(ctx, domain)
	if err != nil {
		return nil, err
	}
	body, err := primitive.Encrypt(plaintext, at)
	if err != nil {
		return nil, fmt.Errorf("encrypting under domain key %s: %w", domain, err)
	}
	return append(appendHeader(make([]byte, 0, headerSize+len(body)), formatDomain, version), body...), nil
}

func (v *Vault) openDomain(ctx context.Context, domain Domain, sealed, at []byte) ([]byte, error) {
	version, body, err := parseSealed(sealed, formatDomain)
	if err != nil {
		return nil, err
	}
	primitive, err := v.opener(ctx, domain, version)
	if err != nil {
		return nil, err
	}
	plaintext, err := primitive.Decrypt(body, at)
	if err != nil {
		return nil, ErrUnreadable
	}
	return plaintext, nil
}

// RecordHeader is how a record begins that a version of a domain key seals.
func RecordHeader(version uint32) []byte { return appendHeader(nil, formatDomain, version) }

func appendHeader(sealed []byte, format byte, version uint32) []byte {
	return binary.BigEndian.AppendUint32(append(sealed, format), version)
}

// parseSealed splits a sealed record. It trusts nothing: the version only
// selects which key is tried.
func parseSealed(sealed []byte, format byte) (version uint32, body []byte, err error) {
	if len(sealed) < headerSize+nonceSize+tagSize || sealed[0] != format {
		return 0, nil, ErrUnreadable
	}
	version = binary.BigEndian.Uint32(sealed[1:headerSize])
	if version == 0 {
		return 0, nil, ErrUnreadable
	}
	return version, sealed[headerSize:], nil
}

// newPersonAEAD makes the primitive of a person's key: AES-256-GCM that draws a
// random nonce for each record and puts it before the ciphertext.
func newPersonAEAD(key []byte) (cipher.AEAD, error) {
	if len(key) != keySize {
		return nil, ErrUnreadable
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func sealPerson(primitive cipher.AEAD, version uint32, plaintext, at []byte) []byte {
	sealed := make([]byte, 0, headerSize+nonceSize+len(plaintext)+tagSize)
	sealed = appendHeader(sealed, formatPerson, version)
	return primitive.Seal(sealed, nil, plaintext, at)
}

func openPerson(primitive cipher.AEAD, body, at []byte) ([]byte, error) {
	plaintext, err := primitive.Open(nil, nil, body, at)
	if err != nil {
		return nil, ErrUnreadable
	}
	return plaintext, nil
}
