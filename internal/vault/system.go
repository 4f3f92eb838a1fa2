package vault

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"
)

// deriveSize is how many bytes Derive takes from the pseudo-random function.
const deriveSize = 32

// Derive computes a secret from the derive keyset, the label, which says what it
// is for, and the parts, which say whose it is: 64 lower-case hexadecimal
// digits, always the same for the same input in this environment. Nothing is
// stored. Parts may hold any bytes; their number and borders count.
func (v *Vault) Derive(ctx context.Context, label string, parts ...string) (secret.Text, error) {
	if label == "" {
		return secret.Text{}, fmt.Errorf("deriving a secret: the label is empty: %w", gatehouse.ErrInvalid)
	}
	ring, err := v.keyring(ctx)
	if err != nil {
		return secret.Text{}, fmt.Errorf("deriving a secret: %w", err)
	}
	v.use(Derive, ring.newest[Derive])
	input := place(deriveKind, append([]string{string(v.config.Environment), label}, parts...)...)
	output, err := ring.deriving.ComputePrimaryPRF(input, deriveSize)
	if err != nil {
		return secret.Text{}, fmt.Errorf("deriving a secret: %w", err)
	}
	defer clear(output)
	return secret.New(hex.EncodeToString(output)), nil
}

// PutSystem stores a secret that Gatehouse needs for itself, sealed under the
// domain key System, in place of an earlier one of that name.
func (v *Vault) PutSystem(ctx context.Context, name string, s secret.Text) error {
	if name == "" {
		return fmt.Errorf("storing a system secret: the name is empty: %w", gatehouse.ErrInvalid)
	}
	plaintext := []byte(s.Reveal())
	defer clear(plaintext)
	sealed, err := v.sealDomain(ctx, System, plaintext, v.systemPlace(name))
	if err != nil {
		return fmt.Errorf("sealing system secret %s: %w", name, err)
	}
	record := SystemRecord{Name: name, Sealed: sealed, Updated: time.Now()}
	if err := v.config.Store.PutSystemRecord(ctx, record); err != nil {
		return fmt.Errorf("storing system secret %s: %w", name, err)
	}
	return nil
}

// SwapSystem stores a system secret in the place of from, or, when from is zero, if
// there is none or an empty one. It is ErrConflict when another stands there by now:
// read it, and decide again. So processes that share a database agree on one.
func (v *Vault) SwapSystem(ctx context.Context, name string, from, to secret.Text) error {
	if name == "" {
		return fmt.Errorf("storing a system secret: the name is empty: %w", gatehouse.ErrInvalid)
	}
	var stands []byte
	record, err := v.config.Store.SystemRecord(ctx, name)
	switch {
	case errors.Is(err, gatehouse.ErrNotFound):
		if !from.IsZero() {
			return fmt.Errorf("replacing system secret %s: it is gone: %w", name, gatehouse.ErrConflict)
		}
	case err != nil:
		return fmt.Errorf("reading system secret %s: %w", name, err)
	default:
		have, err := v.openDomain(ctx, System, record.Sealed, v.systemPlace(name))
		if err != nil {
			return fmt.Errorf("opening system secret %s: %w", name, err)
		}
		same := secret.New(string(have)).Equal(from)
		clear(have)
		if !same {
			return fmt.Errorf("replacing system secret %s: there is another by now: %w", name, gatehouse.ErrConflict)
		}
		stands = record.Sealed
	}
	plaintext := []byte(to.Reveal())
	defer clear(plaintext)
	sealed, err := v.sealDomain(ctx, System, plaintext, v.systemPlace(name))
	if err != nil {
		return fmt.Errorf("sealing system secret %s: %w", name, err)
	}
	if err := v.config.Store.SwapSystemRecord(ctx, stands, SystemRecord{Name: name, Sealed: sealed, Updated: time.Now()}); err != nil {
		return fmt.Errorf("storing system secret %s: %w", name, err)
	}
	return nil
}

// System returns the system secret of that name, or ErrNotFound. It needs no
// receipt, because the log's own signing key is one of them.
func (v *Vault) System(ctx context.Context, name string) (secret.Text, error) {
	record, err := v.config.Store.SystemRecord(ctx, name)
	if err != nil {
		return secret.Text{}, fmt.Errorf("reading system secret %s: %w", name, err)
	}
	plaintext, err := v.openDomain(ctx, System, record.Sealed, v.systemPlace(name))
	if err != nil {
		return secret.Text{}, fmt.Errorf("opening system secret %s: %w", name, err)
	}
	defer clear(plaintext)
	return secret.New(string(plaintext)), nil
}

func (v *Vault) systemPlace(name string) []byte {
	return place(systemKind, string(v.config.Environment), name)
}
