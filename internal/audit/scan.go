package audit

import (
	"bytes"
	"strconv"

	"gatehouse"
)

// scanLeaf reads a leaf in canonical form whose strings hold no escapes, which
// is nearly all of them; ok is false for any other, which says nothing about
// it. Verification spends most of its time here: it is several times faster
// than package encoding/json. It may be lenient, because DecodeLeaf compares
// the bytes with what the result is written as.
func scanLeaf(data []byte) (l Leaf, ok bool) {
	s := scanner{rest: data, ok: true}
	l.Action = s.text(`{"action":"`)
	l.App = gatehouse.AppName(s.optional(`,"app":"`))
	l.Bytes = s.number(`,"bytes":`)
	l.Environment = gatehouse.Environment(s.optional(`,"env":"`))
	l.Facts = s.object(`,"facts":{"`)
	l.ID = s.text(`,"id":"`)
	l.Intent = s.optional(`,"intent":"`)
	l.Kind = s.text(`,"kind":"`)
	l.Operation = gatehouse.Operation(s.optional(`,"operation":"`))
	l.Personal = s.object(`,"personal":{"`)
	l.PersonalHash = s.optional(`,"personal_sha256":"`)
	l.Platform = gatehouse.Platform(s.optional(`,"platform":"`))
	l.Purpose = gatehouse.PurposeName(s.optional(`,"purpose":"`))
	l.Rule = s.optional(`,"rule":"`)
	l.SealedHash = s.optional(`,"sealed_sha256":"`)
	l.Service = gatehouse.ServiceName(s.optional(`,"service":"`))
	l.Status = int(s.number(`,"status":`))
	l.Time = s.number(`,"time":`)
	l.Version = int(s.number(`,"v":`))
	l.Verdict = s.optional(`,"verdict":"`)
	return l, s.ok && string(s.rest) == "}"
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
func (s *scanner) text(prefix string) string {
	if !s.is(prefix) {
		s.ok = false
		return ""
	}
	return s.string()
}

// optional consumes a member if it is there.
func (s *scanner) optional(prefix string) string {
	if !s.is(prefix) {
		return ""
	}
	return s.string()
}

// string consumes a string up to and with its closing quote.
func (s *scanner) string() string {
	end := bytes.IndexByte(s.rest, '"')
	if end < 0 || bytes.IndexByte(s.rest[:end], '\\') >= 0 {
		s.ok = false
		return ""
	}
	text := string(s.rest[:end])
	s.rest = s.rest[end+1:]
	return text
}

// number consumes a number if it is there.
func (s *scanner) number(prefix string) int64 {
	if !s.is(prefix) {
		return 0
	}
	end := 0
	for end < len(s.rest) && (s.rest[end] == '-' || s.rest[end] >= '0' && s.rest[end] <= '9') {
		end++
	}
	n, err := strconv.ParseInt(string(s.rest[:end]), 10, 64)
	if err != nil {
		s.ok = false
	}
	s.rest = s.rest[end:]
	return n
}

// object consumes an object of strings if it is there; prefix ends with the
// quote of its first name.
func (s *scanner) object(prefix string) map[string]string {
	if !s.is(prefix) {
		return nil
	}
	members := make(map[string]string, 4)
	for s.ok {
		name := s.string()
		members[name] = s.text(`:"`)
		if s.is(`}`) {
			break
		}
		if !s.is(`,"`) {
			s.ok = false
		}
	}
	return members
}
