package audit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"gatehouse"
)

// Kinds of cursors.
const (
	cursorPage = 'p'
	cursorTail = 't'
)

// maxLogs bounds how many logs a cursor may name.
const maxLogs = 1024

// errCursor does not repeat what was given.
var errCursor = fmt.Errorf("searching the log: cursor: it is not one of this search: %w", gatehouse.ErrInvalid)

// markSize is how much of a cursor is its mark.
const markSize = 16

// cursorKind is the kind under which the index' hash makes cursors' key. No value of an
// entry has it.
const cursorKind = "log-cursor"

// mark is what makes a cursor one of a query of a caller: whoever has one can neither
// raise its places, and see without a record what came since, nor give it to others.
// Without the key of the index it tells cursors apart and proves nothing.
func (s *Searcher) mark(q *Query, body []byte) []byte {
	var key []byte
	if s.hash != nil {
		key = s.hash(cursorKind, "")
	}
	h := hmac.New(sha256.New, key)
	part := func(b []byte) {
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		_, _ = h.Write(b)
	}
	// A query is made of texts and times, which always have a form.
	text, _ := json.Marshal(q)
	part([]byte(s.caller))
	part(text)
	part(body)
	for _, f := range q.Found {
		person, term := f.keys()
		part(person)
		part(term)
		part([]byte(f.Connection))
	}
	return h.Sum(nil)[:markSize]
}

// writeCursor writes where to go on in each log: the kind, for a tail when it was
// recorded, the places, and the mark.
func (s *Searcher) writeCursor(kind byte, q *Query, recorded time.Time, places []int64) string {
	b := []byte{kind}
	if kind == cursorTail {
		b = binary.AppendUvarint(b, uint64(max(recorded.Unix(), 0)))
	}
	for _, at := range places {
		b = binary.AppendUvarint(b, uint64(at))
	}
	return base64.RawURLEncoding.EncodeToString(append(b, s.mark(q, b)...))
}

// readCursor returns the places of a cursor, nil for the empty one. A log that came later
// than the cursor has nothing yet: place 0.
func (s *Searcher) readCursor(cursor string, kind byte, q *Query) (places []int64, recorded time.Time, err error) {
	if cursor == "" {
		return nil, time.Time{}, nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(b) < 1+markSize || len(b) > 1+10*(maxLogs+1)+markSize || b[0] != kind {
		return nil, time.Time{}, errCursor
	}
	body, mark := b[:len(b)-markSize], b[len(b)-markSize:]
	if !hmac.Equal(mark, s.mark(q, body)) {
		return nil, time.Time{}, errCursor
	}
	rest := body[1:]
	if kind == cursorTail {
		at, n := binary.Uvarint(rest)
		if n <= 0 || at > 1<<40 {
			return nil, time.Time{}, errCursor
		}
		if at > 0 {
			recorded = time.Unix(int64(at), 0).UTC()
		}
		rest = rest[n:]
	}
	logs := len(s.logs)
	places = make([]int64, 0, logs)
	for len(rest) > 0 {
		at, n := binary.Uvarint(rest)
		if n <= 0 || at > maxEntries || len(places) == logs {
			return nil, time.Time{}, errCursor
		}
		places, rest = append(places, int64(at)), rest[n:]
	}
	for len(places) < logs {
		places = append(places, 0)
	}
	return places, recorded, nil
}
