package kms

import "time"

// HookTestOnlyParseTransit parses a transit ciphertext.
func HookTestOnlyParseTransit(b []byte) (int, bool) { return parseTransit(b) }

// HookTestOnlyParsePKCS11 parses a PKCS#11 URI and returns its parts.
func HookTestOnlyParsePKCS11(uri string) ([3]string, error) {
	k, err := parsePKCS11(uri)
	return [3]string{k.token, k.object, k.module}, err
}

// HookTestOnlyMachineToken reads an answer of a metadata server.
func (g *GCP) HookTestOnlyMachineToken(body string) (string, time.Time, error) {
	t, err := g.machineToken(answer{200, []byte(body)})
	return t.text.Reveal(), t.ends, err
}

// HookTestOnlyPass lets time pass for the token that is held.
func (t *Transit) HookTestOnlyPass(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lease.renewAt, t.lease.ends = t.lease.renewAt.Add(-d), t.lease.ends.Add(-d)
}
