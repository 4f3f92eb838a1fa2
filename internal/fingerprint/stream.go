package fingerprint

// stream searches one text: that which was written, or what base64 or hexadecimal
// digits in another stream stand for.
type stream struct {
	reader
	scan *scan
	// depth is how many layers of base64 and hexadecimal it is in; form is the
	// innermost, around are those around that, and outer names all of them.
	depth               int
	form, around, outer string
	runs                runs
	// runEnd is the index behind the last digit that runs has read.
	runEnd int
	// looked is how many of the words have been looked up by themselves, done how
	// many are done with altogether.
	looked, done int
	// lastAt and noAt are what findAt found.
	lastAt, noAt int
	// openings are the words with which values may begin that are not complete.
	openings []opening
	// asks are questions that wait to be put together.
	asks []ask
	// b is room for normal forms, found for what the index has.
	b     []byte
	found []found
}

const (
	// block is how much is taken in at once.
	block = 4096
	// ahead is how much behind a word must be known to judge what it is part of,
	// behind how much before it is kept for that.
	ahead  = 10
	behind = 16
)

func newStream(s *scan, depth int) *stream {
	t := &stream{scan: s, depth: depth}
	t.kinds = basic()
	t.begin(0, "", "")
	return t
}

// begin makes it ready for a new text, the first byte of which is at the offset or
// before.
func (t *stream) begin(at int64, form, around string) {
	t.reset(at)
	if t.form != form || t.around != around {
		t.form, t.around, t.outer = form, around, ""
		if form != "" {
			t.outer = " in " + form + around
		}
	}
	t.looked, t.done, t.runEnd = 0, 0, 0
	t.openings, t.asks = t.openings[:0], t.asks[:0]
	t.runs.length, t.runs.fed, t.runs.acc, t.runs.good, t.runs.hex, t.runs.open = 0, 0, 0, 0, 0, 0
	t.runs.line, t.runs.broken, t.runs.behind = 0, noBreak, false
}

// write takes in bytes that follow one another in the source.
func (t *stream) write(p []byte) {
	for len(p) > 0 {
		n := min(len(p), block)
		t.put(p[:n])
		p = p[n:]
		t.process(false)
	}
}

// process looks up what can be looked up by now; last says that nothing follows.
func (t *stream) process(last bool) {
	if last {
		t.finish()
	}
	end := len(t.raw)
	if !last {
		end = t.settled()
	}
	var m masks
	for t.read < end {
		n := t.piece(end, &m, last)
		if n == 0 {
			break
		}
		t.cutWords(n, &m)
		t.cutRuns(n, &m)
		t.read += n
	}
	for p := range t.runs.out {
		if t.runs.open>>p&1 != 0 {
			t.pour(p)
		}
	}
	if last {
		t.close(t.read)
		t.endRun()
	}
	ready := len(t.words)
	if !last {
		for ready > t.looked && int(t.words[ready-1].end)+ahead > t.read {
			ready--
		}
	}
	t.lookUp(ready)
	t.extendAll(ready, last)
	t.tidy()
}

// tidy gives up what nobody needs any more.
func (t *stream) tidy() {
	if t.done > 0 {
		t.words = append(t.words[:0], t.words[t.done:]...)
		t.looked -= t.done
		for i := range t.openings {
			t.openings[i].word -= int32(t.done)
		}
		t.done = 0
	}
	if len(t.raw) < 2*block {
		return
	}
	// Rows of digits are read back from where they may begin to be text.
	keep := min(t.pending(), t.read-minHex-lineBreakLength) - behind
	if keep <= 0 {
		return
	}
	t.cut(keep)
	t.read -= keep
	t.runEnd = max(0, t.runEnd-keep)
	if t.begun != none {
		// How long it is need not be known for ever.
		t.begun = max(t.begun-keep, -1<<30)
	}
	for i := range t.words {
		t.words[i].start -= int32(keep)
		t.words[i].end -= int32(keep)
	}
}

// pending returns the index from which on words are not done with. What is too long
// to be a value is.
func (t *stream) pending() int {
	for i := range t.words {
		if w := &t.words[i]; w.end-w.start <= maxValue {
			return int(w.start)
		}
	}
	if t.begun != none && t.read-t.begun <= maxValue {
		return t.begun
	}
	return t.read
}

// held returns the offset from which on what has come may yet become part of a hit:
// what is not looked up, and what may go on.
func (t *stream) held() int64 {
	from := t.pending()
	if t.depth < depth {
		from = min(from, max(t.read-min(t.runs.length, minHex)-lineBreakLength, 0))
	}
	held := t.offset(from)
	for p, out := range t.runs.out {
		if t.runs.open>>p&1 != 0 {
			held = min(held, out.held())
		}
	}
	return held
}
