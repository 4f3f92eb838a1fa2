package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"gatehouse"
)

// probeKind is a kind of place of its own: what is wrapped as a probe unwraps as
// nothing else.
const probeKind = "gatehouse/probe/1"

// Probe asks a root key to wrap something, to unwrap it, and to refuse it in
// another place, and returns what the root key says about itself. Nothing is kept.
// A root key that ignores what it should bind to is ErrConflict.
func Probe(ctx context.Context, root RootKey) (string, error) {
	plaintext := []byte("probe " + rand.Text())
	here, there := place(probeKind, rand.Text()), place(probeKind, rand.Text())
	wrapped, err := root.Wrap(ctx, plaintext, here)
	if err != nil {
		return "", fmt.Errorf("wrapping a probe with root key %s: %w", root.ID(), err)
	}
	got, err := root.Unwrap(ctx, wrapped, here)
	if err != nil {
		return "", fmt.Errorf("unwrapping a probe with root key %s: %w", root.ID(), err)
	}
	if !bytes.Equal(got, plaintext) {
		return "", fmt.Errorf("root key %s unwraps something else than it wrapped: %w", root.ID(), gatehouse.ErrConflict)
	}
	if _, err := root.Unwrap(ctx, wrapped, there); err == nil {
		return "", fmt.Errorf("root key %s does not bind what it wraps to its place, so keys could be exchanged unnoticed; use a key that does (transit: aes256-gcm96): %w", root.ID(), gatehouse.ErrConflict)
	} else if errors.Is(err, gatehouse.ErrUnavailable) {
		return "", fmt.Errorf("asking root key %s to refuse a probe: %w", root.ID(), err)
	}
	if d, ok := root.(interface{ Detail() string }); ok {
		return d.Detail(), nil
	}
	return root.ID(), nil
}
