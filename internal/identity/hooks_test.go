package identity

// HookTestOnlyCompose makes a form of the given parts with a right checksum.
func HookTestOnlyCompose(prefix, id, secretPart string) string {
	return compose(prefix, id, secretPart).Reveal()
}

// HookTestOnlyParse returns the form of s and the identifier in it.
func HookTestOnlyParse(s string) (Kind, string) { return parse(s) }

// HookTestOnlyEncodeBase62 writes bytes as a number of n characters.
func HookTestOnlyEncodeBase62(b []byte, n int) string { return encodeBase62(b, n) }

// HookTestOnlyRandom returns n random characters.
func HookTestOnlyRandom(n int) string { return randomBase62(n) }

// HookTestOnlyNewID returns a random identifier.
func HookTestOnlyNewID() string { return newID() }
