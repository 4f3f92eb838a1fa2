package audit

import (
	"bytes"
	"encoding/binary"

	"gatehouse"
)

// A leafScan holds the parts of a leaf as pieces of its bytes, so that verification,
// which reads every leaf, need not allocate for each.
type leafScan struct {
	action, app, env, id, intent, kind, operation     []byte
	personalHash, platform, purpose, rule, sealedHash []byte
	service, verdict                                  []byte
	// facts and personal are the objects from behind the quote of the first name up to
	// the closing brace; nil if the object is not there.
	facts, personal              []byte
	bytes, status, time, version int64
}

// scanLeaf reads a leaf in canonical form whose strings are ASCII without escapes,
// which is nearly all of them; ok is false for any other, which says nothing about
// it. What it accepts is exactly what appendJSON writes of the result, and
// consistent: a fuzz target compares the two.
func scanLeaf(data []byte) (l leafScan, ok bool) {
	s := scanner{rest: data, ok: isPlain(data)}
	l.action = s.text(`{"action":"`)
	l.app = s.optional(`,"app":"`)
	l.bytes = s.optionalNumber(`,"bytes":`)
	l.env = s.optional(`,"env":"`)
	l.facts = s.object(`,"facts":{"`, nil)
	l.id = s.text(`,"id":"`)
	l.intent = s.optional(`,"intent":"`)
	l.kind = s.text(`,"kind":"`)
	l.operation = s.optional(`,"operation":"`)
	l.personal = s.object(`,"personal":{"`, func(name, value []byte) bool { return validField(name) && isHash(value) })
	l.personalHash = s.optional(`,"personal_sha256":"`)
	l.platform = s.optional(`,"platform":"`)
	l.purpose = s.optional(`,"purpose":"`)
	l.rule = s.optional(`,"rule":"`)
	l.sealedHash = s.optional(`,"sealed_sha256":"`)
	l.service = s.optional(`,"service":"`)
	l.status = s.optionalNumber(`,"status":`)
	l.time = s.number(`,"time":`)
	l.version = s.number(`,"v":`)
	l.verdict = s.optional(`,"verdict":"`)
	if !s.ok || string(s.rest) != "}" {
		return l, false
	}
	switch l.version {
	case 1:
		ok = l.personal == nil && l.sealedHash == nil
	case leafVersion:
		ok = l.personalHash == nil && (l.personal != nil) == (l.sealedHash != nil) && (l.sealedHash == nil || isHash(l.sealedHash))
	}
	return l, ok
}

// leaf returns what was scanned as a Leaf of its own.
func (l *leafScan) leaf() Leaf {
	return Leaf{
		Action: string(l.action), App: gatehouse.AppName(l.app), Bytes: l.bytes, Environment: gatehouse.Environment(l.env),
		Facts: members(l.facts), ID: string(l.id), Intent: string(l.intent), Kind: string(l.kind),
		Operation: gatehouse.Operation(l.operation), Personal: members(l.personal), PersonalHash: string(l.personalHash),
		Platform: gatehouse.Platform(l.platform), Purpose: gatehouse.PurposeName(l.purpose), Rule: string(l.rule),
		SealedHash: string(l.sealedHash), Service: gatehouse.ServiceName(l.service), Status: int(l.status),
		Time: l.time, Version: int(l.version), Verdict: string(l.verdict),
	}
}

// members makes a map of an object's members.
func members(object []byte) map[string]string {
	if object == nil {
		return nil
	}
	m := make(map[string]string, 4)
	for s := (scanner{rest: object, ok: true}); ; {
		name := s.string()
		m[string(name)] = string(s.text(`:"`))
		if !s.is(`,"`) {
			return m
		}
	}
}

// scanner consumes rest from the front; ok turns false at the first surprise.
type scanner struct {
	rest []byte
	ok   bool
}

// is consumes a prefix if it is there.
func (s *scanner) is(prefix string) bool {
	if !s.ok || len(s.rest) < len(prefix) || string(s.rest[:len(prefix)]) != prefix {
		return false
	}
	s.rest = s.rest[len(prefix):]
	return true
}

// text consumes a member that has to be there; prefix ends with its quote.
func (s *scanner) text(prefix string) []byte {
	if !s.is(prefix) {
		s.ok = false
		return nil
	}
	return s.string()
}

// optional consumes a member if it is there. It is not written when it is empty.
func (s *scanner) optional(prefix string) []byte {
	if !s.is(prefix) {
		return nil
	}
	text := s.string()
	s.ok = s.ok && len(text) > 0
	return text
}

// string consumes a string up to and with its closing quote.
func (s *scanner) string() []byte {
	end := bytes.IndexByte(s.rest, '"')
	if end < 0 {
		s.ok = false
		return nil
	}
	text := s.rest[:end:end]
	s.rest = s.rest[end+1:]
	return text
}

// isPlain reports whether all bytes are ASCII, and none a control character or a
// backslash. It looks at eight at once.
func isPlain(data []byte) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for ; len(data) >= 8; data = data[8:] {
		w := binary.LittleEndian.Uint64(data)
		// A byte is below 0x20, or 0 after the exclusive or, where the subtraction borrows.
		if ((w-0x20*ones)|((w^'\\'*ones)-ones)|w)&high != 0 {
			return false
		}
	}
	for _, c := range data {
		if c < ' ' || c == '\\' || c >= 0x80 {
			return false
		}
	}
	return true
}

// optionalNumber consumes a number if it is there. It is not written when it is 0.
func (s *scanner) optionalNumber(prefix string) int64 {
	if len(s.rest) < len(prefix) || string(s.rest[:len(prefix)]) != prefix {
		return 0
	}
	n := s.number(prefix)
	s.ok = s.ok && n != 0
	return n
}

// number consumes a number that has to be there, as strconv writes it.
func (s *scanner) number(prefix string) int64 {
	if !s.is(prefix) {
		s.ok = false
		return 0
	}
	negative := s.is("-")
	var n int64
	digits := 0
	for digits < len(s.rest) && s.rest[digits] >= '0' && s.rest[digits] <= '9' && digits < maxDigits {
		n = 10*n + int64(s.rest[digits]-'0')
		digits++
	}
	// Without a sign before 0, nor a 0 before other digits.
	s.ok = s.ok && digits > 0 && (s.rest[0] != '0' || digits == 1 && !negative)
	s.rest = s.rest[digits:]
	if negative {
		n = -n
	}
	return n
}

// maxDigits keeps numbers from overflowing; longer ones are read the other way.
const maxDigits = 18

// object consumes an object of strings if it is there, whose names are in order;
// prefix ends with the quote of its first name. valid may be nil.
func (s *scanner) object(prefix string, valid func(name, value []byte) bool) []byte {
	if !s.is(prefix) {
		return nil
	}
	all := s.rest
	var last []byte
	for first := true; s.ok; first = false {
		name := s.string()
		value := s.text(`:"`)
		s.ok = s.ok && (first || bytes.Compare(last, name) < 0) && (valid == nil || valid(name, value))
		if s.is(`}`) {
			return all[:len(all)-len(s.rest)-1]
		}
		if !s.is(`,"`) {
			s.ok = false
		}
		last = name
	}
	return nil
}
