package fingerprint

// recent remembers what the index has of the last words that the sieve let through: the
// same few are everywhere in a text, and each costs a hash and a look into far memory.
//
// It belongs to one search and is empty when the next begins, so that nobody can tell
// by the time it takes what somebody else's text had in it. What the index adds,
// forgets or drops empties it before whoever asked for that is told.
type recent struct {
	words   [128]recentWord
	changes uint64 // of the index, when it was asked
}

// recentWord is one word, by all 64 bits of its fast hash.
type recentWord struct {
	fast  uint64
	mark  mark
	count uint8 // of found
	known bool
	found [2]found
}

// renew forgets everything if the index has changed since.
func (r *recent) renew(changes uint64) {
	if r.changes != changes {
		*r = recent{changes: changes}
	}
}

// matchWord is match for a word by itself.
func (t *stream) matchWord(w *word) {
	r := &t.scan.recent.words[w.fast>>8&127]
	if r.known && r.fast == w.fast {
		t.found = append(t.found[:0], r.found[:r.count]...)
	} else {
		t.b = t.appendWord(t.b[:0], w)
		m := t.scan.x.keys.oneOf(t.b, w.fast)
		t.found = t.scan.x.look(t.found[:0], m)
		if len(t.found) > len(r.found) {
			t.judge(m, int(w.start), int(w.end), ^uint(0))
			return
		}
		*r = recentWord{fast: w.fast, mark: m, count: uint8(len(t.found)), known: true}
		copy(r.found[:], t.found)
	}
	if len(t.found) > 0 {
		t.judge(r.mark, int(w.start), int(w.end), ^uint(0))
	}
}
