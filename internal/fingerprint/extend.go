package fingerprint

// opening is a word with which values of several may begin, while words are missing.
type opening struct {
	word int32 // its index
	// count is how many words, this one first, have been looked up together, and digits
	// how many digits these have, if they may be a telephone number.
	count, digits uint8
	// hasAt is set when an at sign stands between them, unread while first and leads
	// are not known.
	hasAt, unread bool
	// leads are the shapes of the values that may begin here.
	leads uint32
	// first is the fast hash of what they begin with, all that of the words that have
	// been looked up together.
	first, all uint64
}

// extendAll looks for values of several words among the words before ready.
func (t *stream) extendAll(ready int, last bool) {
	s := t.scan.x.sieve.Load()
	t.readSigns(s, ready)
	kept := t.openings[:0]
	for i := range t.openings {
		if o := &t.openings[i]; !t.extend(s, o, ready, last) {
			kept = append(kept, *o)
		}
	}
	t.openings = kept
	t.done = ready
	if len(kept) > 0 {
		t.done = int(kept[0].word)
	}
	t.answer(s)
}

// readSigns finds what begins at signs that have their second already, for all at
// once.
func (t *stream) readSigns(s *sieve, ready int) {
	k := t.scan.x.keys
	for i := range t.openings {
		o := &t.openings[i]
		if at := int(o.word); o.unread && at+1 < ready && t.words[at].traits&isSign != 0 {
			o.first, _ = t.first(t.words[at:at+minSigns], k)
		}
	}
	for i := range t.openings {
		o := &t.openings[i]
		if at := int(o.word); o.unread && at+1 < ready && t.words[at].traits&isSign != 0 {
			o.unread = false
			o.leads = s.lead(o.first)
		}
	}
}

// shapesFrom are the shapes of values of that many words or more.
var shapesFrom = func() (from [maxExactWords + 1]uint32) {
	for n := 2; n <= maxExactWords; n++ {
		for m := n; m <= maxExactWords; m++ {
			from[n] |= 1 << exactShape[m]
			from[n] |= 1<<emailShape[m] | 1<<nameShape[m]
		}
		from[n] &^= 1 << shapeOne
	}
	return from
}()

// extend looks for values of several words that begin with an opening's; false if
// words are missing that may yet come.
func (t *stream) extend(s *sieve, o *opening, ready int, last bool) bool {
	i := int(o.word)
	k := t.scan.x.keys
	if o.unread {
		many := minSigns
		if t.words[i].traits&isTailed != 0 {
			many = minTailed
		}
		if i+many > ready && !last {
			return false
		}
		first, ok := t.first(t.words[i:min(i+many, ready)], k)
		if !ok {
			return true
		}
		o.first, o.leads, o.unread = first, s.lead(first), false
	}
	for n := int(o.count) + 1; ; n++ {
		if o.digits == notPhone && (n > maxExactWords || o.leads&shapesFrom[n] == 0) {
			return true
		}
		if i+n > ready {
			return last || t.isAlone(i, ready)
		}
		start, before, next := t.words[i].start, &t.words[i+n-2], &t.words[i+n-1]
		if next.start-before.end > maxNameGap || next.end-start > maxValue {
			return true
		}
		gap := t.raw[before.end:next.start]
		o.count = uint8(n)
		if o.digits != notPhone {
			t.extendPhone(o, n, gap)
		}
		if n > maxExactWords || o.leads&shapesFrom[n] == 0 {
			continue
		}
		o.all = k.link(o.all, next.fast)
		o.join(gap)
		if leads := o.shapes(n); leads != 0 {
			t.asks = append(t.asks, ask{quick: chain(o.first, o.all), how: asSeveral, start: start, end: next.end, words: uint8(n), first: o.word, leads: leads})
		}
	}
}

// join leaves of the leads what may have this between two words.
func (o *opening) join(gap []byte) {
	for _, c := range gap {
		o.leads &= follow[c]
		o.hasAt = o.hasAt || c == '@'
	}
	if len(gap) > maxGap {
		o.leads &= namesOnly
	}
}

// shapes returns those of the leads that a value of so many words may have.
func (o *opening) shapes(n int) uint32 {
	leads := o.leads & (1<<exactShape[n] | 1<<emailShape[n] | 1<<nameShape[n])
	if !o.hasAt {
		leads &^= emailOnly
	}
	return leads
}

// isAlone says whether the word behind those that are ready, which is not ready yet,
// is too far away to belong to the same value as the one at i.
func (t *stream) isAlone(i, ready int) bool {
	next := t.read
	if len(t.words) > ready {
		next = int(t.words[ready].start)
	} else if t.begun != none {
		next = t.begun
	}
	return next-int(t.words[ready-1].end) > maxNameGap || t.read-int(t.words[i].start) > maxValue+ahead
}

// notPhone is a number of digits that no telephone number has.
const notPhone = 255

// beginsPhone says whether a telephone number in groups may begin with a number.
func (t *stream) beginsPhone(w *word) bool {
	at := int(w.start)
	if w.end-w.start >= maxPhone {
		return false
	}
	if t.raw[at] == '0' || at < 2 {
		return true
	}
	// Inside a row of groups, one with a sign of a beginning.
	c, before := t.raw[at-1], t.raw[at-2]
	return c == '+' || c == '(' || !phoneGap(t.raw[at-1:at]) || before < '0' || before > '9'
}

// phoneSigns may stand between groups of digits of a telephone number.
const phoneSigns = " -./()+"

// maxPhoneGap is how many of them may stand there.
const maxPhoneGap = 3

// phoneGap says whether this stands between groups of digits of one number.
func phoneGap(gap []byte) bool {
	if len(gap) == 0 || len(gap) > maxPhoneGap {
		return false
	}
	for _, c := range gap {
		switch c {
		case ' ', '-', '.', '/', '(', ')':
		case '+':
			// A space in a form; behind something else it begins another number.
			if len(gap) > 1 {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// askPhones asks for the telephone numbers that begin with the first of these words; false
// if that depends on words behind them.
func (t *stream) askPhones(words []word) bool {
	if !phoneFollows(words) || !t.beginsPhone(&words[0]) {
		return true
	}
	asked := len(t.asks)
	start, before := words[0].start, words[0].end
	t.b = append(t.b[:0], t.raw[start:before]...)
	address := before-start <= 3
	for i := range words[1:] {
		w := &words[1+i]
		gap := t.raw[before:w.start]
		before = w.end
		if w.traits&notDigit != 0 || !phoneGap(gap) || len(t.b)+int(w.end-w.start) > maxPhone+2 {
			return true
		}
		t.b = append(t.b, t.raw[w.start:w.end]...)
		address = address && w.end-w.start <= 3 && string(gap) == "."
		t.askPhone(start, w.end, address && i == 2)
	}
	t.asks = t.asks[:asked]
	return false
}

// askPhone asks for the telephone number that the digits in b may be, unless these are an
// address of IP.
func (t *stream) askPhone(start, end int32, address bool) {
	if len(t.b) < minPhone || address {
		return
	}
	if b := phoneDigits(t.b); len(b) >= minPhone && len(b) <= maxPhone {
		t.asks = append(t.asks, ask{quick: t.scan.x.keys.quickOf(b) >> (64 - quickBits), how: asPhone, start: start, end: end})
	}
}

// extendPhone looks up the telephone number that the opening's n groups of digits may be.
func (t *stream) extendPhone(o *opening, n int, gap []byte) {
	i := int(o.word)
	next := &t.words[i+n-1]
	total := int(o.digits) + int(next.end-next.start)
	if next.traits&notDigit != 0 || !phoneGap(gap) || total > maxPhone+2 {
		o.digits = notPhone
		return
	}
	o.digits = uint8(total)
	if total < minPhone {
		return
	}
	t.b = t.b[:0]
	address := n == 4
	for j, g := range t.words[i : i+n] {
		t.b = append(t.b, t.raw[g.start:g.end]...)
		address = address && g.end-g.start <= 3 && (j == 3 || string(t.raw[g.end:t.words[i+j+1].start]) == ".")
	}
	t.askPhone(t.words[i].start, next.end, address)
}
