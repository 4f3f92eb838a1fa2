//go:build !pkcs11

package kms

import (
	"fmt"

	"gatehouse"
	"gatehouse/internal/vault"
)

// NewPKCS11 refuses: this binary was built without PKCS#11.
func NewPKCS11(c PKCS11Config) (vault.RootKey, error) {
	key, err := parsePKCS11(c.Key)
	if err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("root key %s: this binary was built without PKCS#11, which needs cgo; build one with CGO_ENABLED=1 go build -tags pkcs11 ./cmd/gatehouse: %w", key.id(), gatehouse.ErrInvalid)
}
