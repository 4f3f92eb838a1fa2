package operator

import (
	"context"
	"errors"
	"fmt"

	"gatehouse"
)

// KnownBrowser reports whether somebody has signed in with a browser, whoever it was. It
// says nothing about who sits before it now.
func (d *Directory) KnownBrowser(ctx context.Context, b Browser) (bool, error) {
	binding, err := d.binding(ctx, b)
	if errors.Is(err, gatehouse.ErrInvalid) {
		return false, nil // no cookie of ours
	}
	if err != nil {
		return false, err
	}
	known, err := d.config.Store.KnowsBrowser(ctx, binding)
	if err != nil {
		return false, fmt.Errorf("looking for a browser: %w", err)
	}
	return known, nil
}
