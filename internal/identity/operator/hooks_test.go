package operator

import "context"

// HookTestOnlyUnpack reads a ceremony of signing in, and reports whether it is one.
func (d *Directory) HookTestOnlyUnpack(ctx context.Context, packed string, browser Hash) (bool, error) {
	_, _, err := d.unpack(ctx, ceremonySignIn, browser, packed)
	return err == nil, err
}

// HookTestOnlyEmail and HookTestOnlyName clean what somebody typed.
func HookTestOnlyEmail(s string) (email, key string, err error) { return cleanEmail(s) }

// HookTestOnlyName cleans a name.
func HookTestOnlyName(s string) (string, error) { return cleanName(s) }

// HookTestOnlyAgent cleans what a browser says of itself.
func HookTestOnlyAgent(s string) string { return cleanAgent(s) }

// HookTestOnlyNetwork is what of an address is counted.
var HookTestOnlyNetwork = network
