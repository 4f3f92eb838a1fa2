package egress_test

import (
	"bytes"
	"testing"

	"gatehouse/internal/egress"
	"gatehouse/internal/wire"
)

// What is no ClientHello is refused at the first byte that shows it: nobody waits for
// the rest, and nothing more is read.
func TestHellosAreRefusedEarly(t *testing.T) {
	whole := helloFor(t, "segment.test")
	with := func(at int, b ...byte) []byte {
		out := bytes.Clone(whole)
		copy(out[at:], b)
		return out
	}
	for _, c := range []struct {
		name  string
		input []byte
		read  int // how much is taken
	}{
		{"another record", with(0, 23), 5},
		{"another version of records", with(1, 2), 5},
		{"an empty record", with(3, 0, 0), 5},
		{"a record longer than any", with(3, 0xff, 0xff), 5},
		{"another message", with(5, 2), len(whole)},
		{"a message longer than any", with(6, 1, 0, 0), len(whole)},
		{"records of one byte, another message", fragmented(with(5, 2)), 6},
	} {
		source := bytes.NewReader(append(c.input, make([]byte, 70_000)...))
		read, _, err := egress.HookTestOnlyReadHello(source)
		if wire.RuleOf(err) != "tunnel/no-tls" || len(read) != c.read {
			t.Errorf("%s: %d bytes were read, and %v; want %d", c.name, len(read), err, c.read)
		}
	}
	for name, input := range map[string][]byte{"as it comes": whole, "in another version of records": with(1, 3, 3), "in records of one byte": fragmented(whole)} {
		read, server, err := egress.HookTestOnlyReadHello(bytes.NewReader(append(bytes.Clone(input), "more"...)))
		if err != nil || server != "segment.test" || !bytes.Equal(read, input) {
			t.Errorf("%s: %d of %d bytes, %q, %v", name, len(read), len(input), server, err)
		}
	}
	if _, server, err := egress.HookTestOnlyReadHello(bytes.NewReader(twoNames(t, "a.test"))); err != nil || server != "a.test" {
		t.Errorf("one list of names: %q, %v", server, err)
	}
}
