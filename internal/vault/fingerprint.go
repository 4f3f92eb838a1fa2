package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"gatehouse/internal/atrest"

	"github.com/tink-crypto/tink-go/v2/keyset"
)

// AddKeys gives the material of every domain key to a search, so that it can be
// found where it may not be. It does not hand a key out: patterns take in and
// give nothing back.
func (v *Vault) AddKeys(ctx context.Context, into *atrest.Patterns) error {
	rows, err := v.config.Store.DomainKeys(ctx)
	if err != nil {
		return fmt.Errorf("reading the domain keys: %w", err)
	}
	for _, row := range rows {
		if row.State == Destroyed {
			continue
		}
		if err := v.check(row); err != nil {
			return err
		}
		material, err := v.rootOf(row).Unwrap(ctx, row.Wrapped, domainContext(row.Environment, row.Domain, row.Version))
		if err != nil {
			return fmt.Errorf("unwrapping domain key %s version %d with root key %s: %w", row.Domain, row.Version, row.Root, err)
		}
		err = addKeyset(into, material)
		clear(material)
		if err != nil {
			return fmt.Errorf("domain key %s version %d: %w", row.Domain, row.Version, err)
		}
	}
	return nil
}

// AddRootKeyFile gives the material of a root key file to a search. The file
// itself holds it, and has to be left out of that search.
func AddRootKeyFile(path string, into *atrest.Patterns) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the root key file: %w", err)
	}
	defer clear(content)
	material, err := rootKeyMaterial(content)
	if err != nil {
		return fmt.Errorf("root key file %s: %w", path, err)
	}
	defer clear(material)
	if err := addKeyset(into, material); err != nil {
		return fmt.Errorf("root key file %s: %w", path, err)
	}
	return nil
}

// addKeyset adds each key of a keyset. In the serialised form of every kind of
// key that we make the raw key is the last field, so it is the end of the value.
func addKeyset(into *atrest.Patterns, material []byte) error {
	set, err := keyset.NewBinaryReader(bytes.NewReader(material)).Read()
	if err != nil {
		return errors.New("it is not a keyset") // the parser's text may quote it
	}
	for _, key := range set.GetKey() {
		value := key.GetKeyData().GetValue()
		if len(value) < keySize {
			return errors.New("it holds a key of an unknown form")
		}
		into.AddBytes(atrest.KeyMaterial, value[len(value)-keySize:])
		clear(value)
	}
	return nil
}
