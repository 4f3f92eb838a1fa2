package audit

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"gatehouse"
)

// An Opened is the value of one personal field with the salt that its commitment
// was made with: whoever holds both can check the field against the leaf, and
// learns nothing about the others.
type Opened struct {
	// Salt has saltSize bytes.
	Salt  []byte `json:"salt"`
	Value string `json:"value"`
}

// saltSize is the size of a salt: 128 bits, so that nobody can try out values.
const saltSize = 16

// fieldDomain separates these hashes from all others.
const fieldDomain = "gatehouse/personal/v2\n"

// hashText is how hashes are written in leaves: in hexadecimal, because in any base of
// more letters some of them have the shape of a platform's token, which the search for
// secrets in plain would report.
func hashText(sum [sha256.Size]byte) string { return hex.EncodeToString(sum[:]) }

// Commitment is what a leaf holds of a personal field: SHA-256 over the salt, the
// domain's name, the field's name and a line feed, and the value. Without the salt,
// which is sealed under the person's key and destroyed with it, it says nothing
// about the value and joins no two entries.
func Commitment(name string, o Opened) string {
	b := make([]byte, 0, 256)
	b = append(append(append(append(append(b, o.Salt...), fieldDomain...), name...), '\n'), o.Value...)
	return hashText(sha256.Sum256(b))
}

// sealedHash is what a leaf holds of the sealed fields. What is sealed is random to
// anybody without the key, so once that is destroyed the hash says nothing.
func sealedHash(sealed []byte) string {
	return hashText(sha256.Sum256(sealed))
}

func isHash[T string | []byte](s T) bool {
	if len(s) != 2*sha256.Size {
		return false
	}
	all := true
	for i := range len(s) {
		all = all && hexDigits[s[i]]
	}
	return all
}

// hexDigits are those of hashes.
var hexDigits = [256]bool{
	'0': true, '1': true, '2': true, '3': true, '4': true, '5': true, '6': true, '7': true, '8': true, '9': true,
	'a': true, 'b': true, 'c': true, 'd': true, 'e': true, 'f': true,
}

// maxField bounds a field's name.
const maxField = 32

// validField reports whether a personal field may have this name: a lower-case word.
func validField[T string | []byte](name T) bool {
	if len(name) == 0 || len(name) > maxField {
		return false
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// padding is what the length of the sealed text is a multiple of, so that it does
// not tell an erased person's entries from those of others.
const padding = 64

// commit returns the commitments to fields, and the text to be sealed that opens
// them: a JSON object of Opened by name, filled up with spaces.
func commit(fields map[string]string) (commitments map[string]string, text []byte) {
	salts := make([]byte, saltSize*len(fields))
	_, _ = rand.Read(salts) // never fails
	commitments = make(map[string]string, len(fields))
	text = append(make([]byte, 0, 256), '{')
	for i, name := range slices.Sorted(maps.Keys(fields)) {
		o := Opened{Salt: salts[saltSize*i : saltSize*(i+1)], Value: fields[name]}
		commitments[name] = Commitment(name, o)
		if i > 0 {
			text = append(text, ',')
		}
		text = append(appendString(text, name), `:{"salt":"`...)
		text = base64.StdEncoding.AppendEncode(text, o.Salt)
		text = append(appendString(append(text, `","value":`...), o.Value), '}')
	}
	text = append(text, '}')
	for len(text)%padding != 0 {
		text = append(text, ' ')
	}
	return commitments, text
}

// OpenFields reads what was sealed with an entry, given the opened text, and checks
// every field against its commitment in the leaf. A leaf of version 1 commits to
// none of them by itself: their salts are nil.
func OpenFields(l *Leaf, text []byte) (map[string]Opened, error) {
	if l.Version == 1 {
		var v1 struct {
			Fields map[string]string `json:"fields"`
		}
		if err := json.Unmarshal(text, &v1); err != nil {
			return nil, errFields
		}
		fields := make(map[string]Opened, len(v1.Fields))
		for name, value := range v1.Fields {
			fields[name] = Opened{Value: value}
		}
		return fields, nil
	}
	var fields map[string]Opened
	if err := json.Unmarshal(text, &fields); err != nil || len(fields) != len(l.Personal) {
		return nil, errFields
	}
	for name, o := range fields {
		if !o.Opens(l, name) {
			return nil, errFields
		}
	}
	return fields, nil
}

// errFields does not repeat what was opened.
var errFields = fmt.Errorf("what was sealed with the entry does not open its commitments: %w", gatehouse.ErrInvalid)

// Opens reports whether the leaf holds the commitment to o under the name.
func (o Opened) Opens(l *Leaf, name string) bool {
	want, ok := l.Personal[name]
	return ok && len(o.Salt) == saltSize && subtle.ConstantTimeCompare([]byte(Commitment(name, o)), []byte(want)) == 1
}

// commitmentV1 is what a leaf of version 1 holds of its personal part: SHA-256 over
// the ciphertext's length (four bytes, big-endian), the ciphertext, and the search
// key.
func commitmentV1(personal []byte, search string) string {
	h := sha256.New()
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(personal)))
	h.Write(n[:])
	h.Write(personal)
	h.Write([]byte(search))
	return hex.EncodeToString(h.Sum(nil))
}
