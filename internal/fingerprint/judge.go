package fingerprint

import "strings"

// match takes what the index has under a mark, if it has, for what stands between
// two indexes, and notes what may be a hit.
func (t *stream) match(m mark, start, end int) { t.matchKind(m, start, end, ^uint(0)) }

// matchKind is match for what can only be a value of some kinds of data.
func (t *stream) matchKind(m mark, start, end int, kinds uint) {
	t.found = t.scan.x.look(t.found[:0], m)
	t.judge(m, start, end, kinds)
}

// judge notes what may be a hit of what was found under a mark.
func (t *stream) judge(m mark, start, end int, kinds uint) {
	for len(t.found) > 0 {
		class := t.found[0].class
		s := sight{mark: m, class: class}
		rest := t.found[:0]
		for _, f := range t.found {
			switch {
			case f.class != class:
				rest = append(rest, f)
			case f.shared:
				s.shared = true
			case f.owner != 0:
				s.owners[s.count] = f.owner
				s.count++
			}
		}
		t.found = rest
		if class != classSecret && t.scan.x.ours[m] || kinds>>class&1 == 0 || !t.stands(class, start, end) {
			continue
		}
		s.weak = weak(class) || t.readsAsTime(class, start, end)
		t.place(&s, start, end)
		if class == className || class == classPhone {
			for _, c := range t.raw[start:end] {
				if c == '+' {
					s.undone |= fromForm
				}
			}
		}
		t.scan.see(s)
	}
}

// see notes a secret that needs no index.
func (t *stream) see(m mark, class uint8, start, end int) {
	s := sight{mark: m, class: class}
	t.place(&s, start, end)
	t.scan.see(s)
}

// place says of a sight where it stands, and in what form.
func (t *stream) place(s *sight, start, end int) {
	s.from, s.to = t.offset(start), t.offsetEnd(end)
	s.form, s.undone = t.outer, t.undone(start, end)
}

// offsetEnd returns the offset behind the last byte before the index. A byte of
// base64 lies in two digits.
func (t *stream) offsetEnd(end int) int64 {
	if t.depth == 0 {
		return t.offset(end)
	}
	return t.offset(end-1) + 2
}

// at returns the byte at an index, a space where there is none.
func (t *stream) at(i int) byte {
	if i < 0 || i >= len(t.raw) {
		return ' '
	}
	return t.raw[i]
}

// goesOn says whether an ASCII letter or digit, or a part of another, is there.
func (t *stream) goesOn(i int) bool {
	c := t.at(i)
	return isWord(c) || c >= 0x80
}

func (t *stream) digit(i int) bool { return t.at(i) >= '0' && t.at(i) <= '9' }

// stands says whether what stands between two indexes is a value of its kind, and
// not part of a longer one.
func (t *stream) stands(class uint8, start, end int) bool {
	before, behind := t.at(start-1), t.at(end)
	switch class {
	case classID, classPost, classMessage, classPhone:
		// A decimal number, an address, a version; a group of a UUID.
		return !(before == '.' && t.digit(start-2)) && !(behind == '.' && t.digit(end+1) && !t.wholeFloat(end)) &&
			!(behind == '-' && t.hex4(end+1) && t.at(end+5) == '-') && !(before == '-' && t.hex4(start-5) && t.at(start-6) == '-') &&
			!(class == classPhone && behind == '-' && t.digit(end+1))
	case classUsername:
		if before == '@' && t.goesOn(start-2) || behind == '@' && t.goesOn(end+1) {
			return false // of an address of e-mail
		}
		return !((before == '.' || before == '-') && t.goesOn(start-2)) && !((behind == '.' || behind == '-') && t.goesOn(end+1))
	case className:
		return behind != '@' || !t.goesOn(end+1)
	case classEmail:
		return !((before == '.' || before == '-') && t.goesOn(start-2)) && !((behind == '.' || behind == '-' || behind == '@') && t.goesOn(end+1))
	case classLink:
		if (behind == '.' || behind == '-') && t.goesOn(end+1) {
			return false
		}
		if before != '.' {
			return before != '-' && before != '@'
		}
		// Names of hosts that show the same as the one without.
		for _, host := range []string{"www", "m", "mobile", "web"} {
			from := start - 1 - len(host)
			if from >= 0 && strings.EqualFold(string(t.raw[from:start-1]), host) && !t.goesOn(from-1) && t.at(from-1) != '.' && t.at(from-1) != '-' {
				return true
			}
		}
		return false
	}
	return true
}

// wholeFloat says whether .0 and nothing more of a number follows: so tables write a
// column of ids in which one is missing.
func (t *stream) wholeFloat(end int) bool {
	return t.at(end) == '.' && t.at(end+1) == '0' && !t.goesOn(end+2) && !(t.at(end+2) == '.' && t.goesOn(end+3))
}

// hex4 says whether four hexadecimal digits stand at an index.
func (t *stream) hex4(i int) bool {
	for j := range 4 {
		if _, ok := unhex(t.at(i + j)); !ok {
			return false
		}
	}
	return true
}

// readsAsTime says whether a number is more likely a day (20240131) or a second of
// the years 2020 to 2030 than an id: those are everywhere, and ids of that length
// are dense enough to meet.
func (t *stream) readsAsTime(class uint8, start, end int) bool {
	if class != classID && class != classPost && class != classMessage {
		return false
	}
	b := t.raw[start:end]
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
		n = n*10 + int(c-'0')
		if n > 1<<40 {
			return false
		}
	}
	switch len(b) {
	case 8:
		month, day := n/100%100, n%100
		return n >= 19000101 && n < 20500000 && month >= 1 && month <= 12 && day >= 1 && day <= 31
	case 10:
		return n >= 1_577_836_800 && n < 1_893_456_000
	}
	return false
}
