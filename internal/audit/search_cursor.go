package audit

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"

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

// writeCursor writes where to go on in each log: the kind, the query's sum, and the
// places.
func writeCursor(kind byte, q *Query, places []int64) string {
	b := binary.BigEndian.AppendUint64([]byte{kind}, q.sum())
	for _, at := range places {
		b = binary.AppendUvarint(b, uint64(at))
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// readCursor returns the places of a cursor, nil for the empty one. A log that came later
// than the cursor has nothing yet: place 0.
func readCursor(cursor string, kind byte, q *Query, logs int) ([]int64, error) {
	if cursor == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(b) < 9 || len(b) > 9+10*maxLogs || b[0] != kind || binary.BigEndian.Uint64(b[1:]) != q.sum() {
		return nil, errCursor
	}
	places := make([]int64, 0, logs)
	for b = b[9:]; len(b) > 0; {
		at, n := binary.Uvarint(b)
		if n <= 0 || at > maxEntries || len(places) == logs {
			return nil, errCursor
		}
		places, b = append(places, int64(at)), b[n:]
	}
	for len(places) < logs {
		places = append(places, 0)
	}
	return places, nil
}
