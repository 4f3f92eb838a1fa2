package vault

import (
	"context"
	"crypto/cipher"
	"encoding/binary"
	"fmt"

	"gatehouse"
	"gatehouse/internal/audit"
)

// datumKind is the kind of place of what a Batch seals. It keeps the app's data
// apart from credentials: a Batch cannot open what Seal sealed, so that no token
// leaves the vault as anything but a secret.Text.
const datumKind = "gatehouse/datum/1"

// Place names what a datum is bound to beside the environment: the person whose
// key seals it, and the parts, in order. Their number and borders count.
type Place struct {
	Person gatehouse.PersonID
	Parts  []string
}

func (p Place) validate() error {
	if p.Person == "" || len(p.Parts) == 0 {
		return fmt.Errorf("a sealed datum needs a person and a place: %w", gatehouse.ErrInvalid)
	}
	return nil
}

// Batch seals and opens data of people under their keys, and unwraps each key
// once. It lives as long as the call that made it and no longer, since it holds
// those keys; it belongs to one goroutine.
type Batch struct {
	vault   *Vault
	sealers map[gatehouse.PersonID]sealingKey
	openers map[openingKey]cipher.AEAD
	at      []byte // the associated data of the datum at hand, its memory kept
}

type sealingKey struct {
	primitive cipher.AEAD
	version   uint32
}

type openingKey struct {
	person  gatehouse.PersonID
	version uint32
}

// Batch begins a batch.
func (v *Vault) Batch() *Batch {
	return &Batch{vault: v, sealers: map[gatehouse.PersonID]sealingKey{}, openers: map[openingKey]cipher.AEAD{}}
}

// Ready fetches the key that seals for a person now. Its error says why nothing
// could be sealed: ErrErased, ErrDenied for a key that is not in use, or
// ErrNotFound for a person without one.
func (b *Batch) Ready(ctx context.Context, person gatehouse.PersonID) error {
	_, err := b.sealer(ctx, person)
	return err
}

func (b *Batch) sealer(ctx context.Context, person gatehouse.PersonID) (sealingKey, error) {
	if key, ok := b.sealers[person]; ok {
		return key, nil
	}
	primitive, version, err := b.vault.personSealer(ctx, person)
	if err != nil {
		return sealingKey{}, err
	}
	key := sealingKey{primitive, version}
	b.sealers[person] = key
	b.openers[openingKey{person, version}] = primitive
	return key, nil
}

func (b *Batch) opener(ctx context.Context, person gatehouse.PersonID, version uint32) (cipher.AEAD, error) {
	if primitive, ok := b.openers[openingKey{person, version}]; ok {
		return primitive, nil
	}
	primitive, err := b.vault.personOpener(ctx, person, version)
	if err != nil {
		return nil, err
	}
	b.openers[openingKey{person, version}] = primitive
	return primitive, nil
}

// bind encodes what a datum is bound to, as place does, without an allocation
// for each.
func (b *Batch) bind(p Place) []byte {
	at := appendPart(b.at[:0], datumKind)
	at = appendPart(at, string(b.vault.config.Environment))
	at = appendPart(at, string(p.Person))
	for _, part := range p.Parts {
		at = appendPart(at, part)
	}
	b.at = at
	return at
}

// Seal seals plaintext for its place and appends the result to dst. The record
// has the form of every other under a person's key.
func (b *Batch) Seal(ctx context.Context, dst []byte, p Place, plaintext []byte) ([]byte, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	key, err := b.sealer(ctx, p.Person)
	if err != nil {
		return nil, fmt.Errorf("sealing a datum: %w", err)
	}
	dst = append(dst, formatPerson)
	dst = binary.BigEndian.AppendUint32(dst, key.version)
	return key.primitive.Seal(dst, nil, plaintext, b.bind(p)), nil
}

// Open opens what Seal sealed for the same place, and appends it to dst, which
// must not overlap sealed. It needs the receipt of a log entry: nothing is
// opened before the intent to do so is durable.
func (b *Batch) Open(ctx context.Context, r audit.Receipt, dst []byte, p Place, sealed []byte) ([]byte, error) {
	if !r.Valid() {
		return nil, fmt.Errorf("opening a datum without a durable log entry: %w", gatehouse.ErrDenied)
	}
	if err := p.validate(); err != nil {
		return nil, err
	}
	version, body, err := parseSealed(sealed, formatPerson)
	if err != nil {
		return nil, err
	}
	primitive, err := b.opener(ctx, p.Person, version)
	if err != nil {
		return nil, fmt.Errorf("opening a datum: %w", err)
	}
	plaintext, err := primitive.Open(dst, nil, body, b.bind(p))
	if err != nil {
		return nil, ErrUnreadable
	}
	return plaintext, nil
}

// SealedSize is how many bytes Batch.Seal makes of a plaintext of n bytes.
func SealedSize(n int) int { return headerSize + nonceSize + n + tagSize }
