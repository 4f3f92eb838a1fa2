package fingerprint

import "testing"

// Whatever its size, a sieve lets through the first word of every value of several:
// where it is larger than what a mark says of that word, too.
func TestSieveLetsFirstWordsThrough(t *testing.T) {
	ks := newKeys(Key{9})
	for _, values := range []int{0, 1000, 1_000_000, 6_000_000} {
		s := newSieve(values)
		for n, shape := range map[string]uint8{"email": emailShape[3], "name": nameShape[2], "exact": exactShape[2]} {
			for i := range 200 {
				word := []byte{'a' + byte(i%26), 'a' + byte(i/26), n[0], n[1]}
				first := ks.quickOf(word)
				s.add(ks.severalOf(word, chain(first, ks.link(first, uint64(i)<<40)), shape))
				at := first >> (64 - quickBits) >> s.shift
				if shapesOf1[s.bits[at]>>leadsBit]>>shape&1 == 0 || s.lead(first)>>shape&1 == 0 {
					t.Fatalf("a sieve for %d values does not let %q through", values, word)
				}
			}
		}
		// Nor does it let through what it need not.
		wrong := 0
		for i := range 10_000 {
			word := []byte{byte(i), byte(i >> 8), 'x', 'y', 'z'}
			if s.lead(ks.quickOf(word)) != 0 {
				wrong++
			}
		}
		if wrong > 10_000*600>>(10+leadRoom)+100 {
			t.Errorf("a sieve for %d values takes %d of 10000 words for first ones", values, wrong)
		}
	}
}
