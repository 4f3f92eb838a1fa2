package audit

import (
	"bytes"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"gatehouse"

	"golang.org/x/mod/sumdb/tlog"
)

// leafVersion is the version of the leaf's format that is written. Version 1,
// which logs of earlier programs hold, is still read: it committed to the sealed
// personal fields and the search key as one, instead of to each field.
const leafVersion = 2

// A Leaf is one entry as the tree holds it. Its bytes are canonical JSON
// (RFC 8785): keys in order, no space, no empty member, so that one content has
// one encoding and anybody can recompute it.
type Leaf struct {
	Action      string                `json:"action"`
	App         gatehouse.AppName     `json:"app,omitempty"`
	Bytes       int64                 `json:"bytes,omitempty"`
	Environment gatehouse.Environment `json:"env,omitempty"`
	Facts       map[string]string     `json:"facts,omitempty"`
	ID          string                `json:"id"`
	// Intent is the id of the intent that an outcome belongs to.
	Intent    string              `json:"intent,omitempty"`
	Kind      string              `json:"kind"`
	Operation gatehouse.Operation `json:"operation,omitempty"`
	// Personal are the names of the fields that belong to a person, each with the
	// commitment to its value; see Commitment.
	Personal map[string]string `json:"personal,omitempty"`
	// PersonalHash is what version 1 had in place of Personal and SealedHash.
	PersonalHash string                `json:"personal_sha256,omitempty"`
	Platform     gatehouse.Platform    `json:"platform,omitempty"`
	Purpose      gatehouse.PurposeName `json:"purpose,omitempty"`
	Rule         string                `json:"rule,omitempty"`
	// SealedHash is the hash of the sealed fields as they lie beside the tree, so
	// that nobody can swap them unnoticed; see sealedHash.
	SealedHash string                `json:"sealed_sha256,omitempty"`
	Service    gatehouse.ServiceName `json:"service,omitempty"`
	Status     int                   `json:"status,omitempty"`
	// Time is in microseconds since 1970, UTC.
	Time    int64  `json:"time"`
	Version int    `json:"v"`
	Verdict string `json:"verdict,omitempty"`
}

// When returns the leaf's time.
func (l *Leaf) When() time.Time { return time.UnixMicro(l.Time).UTC() }

// appendJSON appends the canonical form. It is written by hand because every
// call of every service passes here twice; a test compares it with package
// encoding/json over all fields.
func (l *Leaf) appendJSON(b []byte) []byte {
	b = append(b, `{"action":`...)
	b = appendString(b, l.Action)
	b = appendMember(b, `,"app":`, string(l.App))
	b = appendNumber(b, `,"bytes":`, l.Bytes)
	b = appendMember(b, `,"env":`, string(l.Environment))
	b = appendObject(b, `,"facts":{`, l.Facts)
	b = append(b, `,"id":`...)
	b = appendString(b, l.ID)
	b = appendMember(b, `,"intent":`, l.Intent)
	b = append(b, `,"kind":`...)
	b = appendString(b, l.Kind)
	b = appendMember(b, `,"operation":`, string(l.Operation))
	b = appendObject(b, `,"personal":{`, l.Personal)
	b = appendMember(b, `,"personal_sha256":`, l.PersonalHash)
	b = appendMember(b, `,"platform":`, string(l.Platform))
	b = appendMember(b, `,"purpose":`, string(l.Purpose))
	b = appendMember(b, `,"rule":`, l.Rule)
	b = appendMember(b, `,"sealed_sha256":`, l.SealedHash)
	b = appendMember(b, `,"service":`, string(l.Service))
	b = appendNumber(b, `,"status":`, int64(l.Status))
	b = append(b, `,"time":`...)
	b = strconv.AppendInt(b, l.Time, 10)
	b = append(b, `,"v":`...)
	b = strconv.AppendInt(b, int64(l.Version), 10)
	b = appendMember(b, `,"verdict":`, l.Verdict)
	return append(b, '}')
}

func appendMember(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	return appendString(append(b, key...), value)
}

func appendObject(b []byte, key string, members map[string]string) []byte {
	if len(members) == 0 {
		return b
	}
	b = append(b, key...)
	for i, name := range slices.Sorted(maps.Keys(members)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, name), ':')
		b = appendString(b, members[name])
	}
	return append(b, '}')
}

func appendNumber(b []byte, key string, n int64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendInt(append(b, key...), n, 10)
}

// appendString appends s as RFC 8785 writes strings. What is not UTF-8 becomes
// U+FFFD, because JSON cannot hold it.
func appendString(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r)
			i += size
			continue
		}
		i++
		switch {
		case c == '"', c == '\\':
			b = append(b, '\\', c)
		case c >= ' ':
			b = append(b, c)
		case c == '\b':
			b = append(b, '\\', 'b')
		case c == '\t':
			b = append(b, '\\', 't')
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\f':
			b = append(b, '\\', 'f')
		case c == '\r':
			b = append(b, '\\', 'r')
		default:
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&0xf])
		}
	}
	return append(b, '"')
}

// errLeaf is what decoding says of bytes that are no leaf. The bytes are not
// repeated.
var errLeaf = fmt.Errorf("the entry is not a leaf in canonical form: %w", gatehouse.ErrInvalid)

// DecodeLeaf reads a leaf's bytes and refuses all but the canonical form.
func DecodeLeaf(data []byte) (*Leaf, error) {
	if len(data) > maxLeaf {
		return nil, errLeaf
	}
	if scan, ok := scanLeaf(data); ok {
		l := scan.leaf()
		return &l, nil
	}
	return decodeLeaf(data)
}

// decodeLeaf is DecodeLeaf for what scanLeaf does not read.
func decodeLeaf(data []byte) (*Leaf, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var l Leaf
	if err := d.Decode(&l); err != nil {
		return nil, errLeaf
	}
	if l.Version != 1 && l.Version != leafVersion {
		return nil, fmt.Errorf("the entry has version %d, this program knows 1 to %d: %w", l.Version, leafVersion, gatehouse.ErrInvalid)
	}
	if !l.consistent() || !bytes.Equal(l.appendJSON(nil), data) {
		return nil, errLeaf
	}
	return &l, nil
}

// consistent reports whether the members are those of the leaf's version.
func (l *Leaf) consistent() bool {
	if l.Version == 1 {
		return len(l.Personal) == 0 && l.SealedHash == ""
	}
	if l.PersonalHash != "" || (len(l.Personal) > 0) != (l.SealedHash != "") || l.SealedHash != "" && !isHash(l.SealedHash) {
		return false
	}
	for name, commitment := range l.Personal {
		if !validField(name) || !isHash(commitment) {
			return false
		}
	}
	return true
}

// LeafHash is RFC 6962's hash of a leaf.
func LeafHash(leaf []byte) tlog.Hash { return tlog.RecordHash(leaf) }

// idText is an alphabet whose order is that of the bytes, without the letters
// that are read as digits.
var idText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// newID returns an id that sorts by time: six bytes of milliseconds, then ten
// random ones. Ids near in time are near in the index.
func newID(t time.Time) string {
	var b [16]byte
	_, _ = rand.Read(b[6:]) // never fails
	return encodeID(t, b)
}

func encodeID(t time.Time, b [16]byte) string {
	ms := uint64(t.UnixMilli())
	binary.BigEndian.PutUint16(b[0:], uint16(ms>>32))
	binary.BigEndian.PutUint32(b[2:], uint32(ms))
	return idText.EncodeToString(b[:])
}
