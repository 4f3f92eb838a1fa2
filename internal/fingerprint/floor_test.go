package fingerprint

import "slices"

// CutAndHash returns a function that does to the next bytes of a text what a search
// must at least: it undoes escapes, cuts into words and hashes each. It looks nothing
// up and opens no base64. It returns how many words there were.
func (x *Index) CutAndHash() func(p []byte) int {
	t := newScan(x).root
	var m masks
	return func(p []byte) int {
		words := 0
		for len(p) > 0 {
			n := min(len(p), block)
			t.put(p[:n])
			p = p[n:]
			end := t.settled()
			for t.read < end {
				n := t.piece(end, &m, false)
				if n == 0 {
					break
				}
				t.cutWords(n, &m)
				t.read += n
			}
			t.raw = slices.Grow(t.raw, 8)
			for at := 0; at < len(t.words); at += batch {
				t.hash(t.words[at:min(at+batch, len(t.words))], &t.scan.batches)
			}
			words += len(t.words)
			t.words = t.words[:0]
			t.tidy()
		}
		return words
	}
}
