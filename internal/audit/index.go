package audit

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"hash"
	"slices"
	"sync"

	"gatehouse"
)

// An IndexHash is the keyed hash of a value of a kind ("connection", "con1"), of at
// least hashSize bytes. Without its key nobody can tell whose hash it is; the hash of
// a person is known only here.
type IndexHash func(kind, value string) []byte

// NewIndexHash returns the IndexHash of a key: HMAC-SHA-256. Every call takes several
// hashes, so the state that the key makes is kept.
func NewIndexHash(key []byte) IndexHash {
	key = bytes.Clone(key)
	states := sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}
	return func(kind, value string) []byte {
		h, ok := states.Get().(hash.Hash)
		if !ok {
			panic("audit: the pool holds something else")
		}
		defer states.Put(h)
		h.Reset()
		b := make([]byte, 0, 128)
		b = append(append(append(b, kind...), 0), value...)
		_, _ = h.Write(b) // never fails
		return h.Sum(b[:0])
	}
}

// hashSize is how many bytes of a keyed hash name the person of an entry, and
// termSize how many name one of its values.
const (
	hashSize = 16
	termSize = 8
)

// An Index is what an entry is found by. It lies beside the tree, no leaf depends on
// it, and it is deleted when the person is erased.
type Index struct {
	// Person is the keyed hash of the person, or of the connection where there is no
	// person, or of a host or an address where there is neither. Nil means that the entry is found by its leaf only.
	Person []byte
	// Terms are the keyed hashes of the other values, one after the other.
	Terms []byte
}

// kindPerson is the kind of a person's id.
const kindPerson = "person"

// indexed are the personal fields that entries are found by, in the order in which
// their hashes stand in Terms.
var indexed = []string{"connection", "handle", "subject", "event", "duty", "address", "host"}

// ownerless are the personal fields that an entry of nobody is found by: what a caller
// chose freely, such as a host that no configuration names.
var ownerless = []string{"host", "address"}

// index returns what an entry is to be found by.
func (l *Log) index(e *Entry) Index {
	keyed := l.config.Index
	if keyed == nil {
		return Index{}
	}
	var x Index
	connection := e.Search
	if connection == "" {
		connection = e.Personal["connection"]
	}
	switch {
	case e.Person != "":
		x.Person = keyed(kindPerson, string(e.Person))[:hashSize]
	case connection != "":
		x.Person = keyed("connection", connection)[:hashSize]
	default:
		for _, kind := range ownerless {
			if value := e.Personal[kind]; value != "" {
				x.Person = keyed(kind, value)[:hashSize]
				break
			}
		}
		return x
	}
	for _, kind := range indexed {
		value := e.Personal[kind]
		if kind == "connection" {
			value = connection
		}
		if value != "" {
			x.Terms = append(x.Terms, keyed(kind, value)[:termSize]...)
		}
	}
	return x
}

// Holds reports whether an entry that this is the index of has a personal field of that
// kind and value, such as the handle of an id.
func (x Index) Holds(hash IndexHash, kind, value string) bool {
	return x.has(hash(kind, value)[:termSize])
}

// has reports whether a term is among x's.
func (x Index) has(term []byte) bool {
	for t := range slices.Chunk(x.Terms, termSize) {
		if slices.Equal(t, term) {
			return true
		}
	}
	return false
}

// A Found says whose entries a Filter wants. The zero wants everybody's.
type Found struct {
	// Hash is that of the log's Config.
	Hash IndexHash
	// Person is the person, and Connection, if there is no person, the connection
	// whose entries are wanted.
	Person     gatehouse.PersonID
	Connection gatehouse.ConnectionID
	// Kind and Value, if not empty, leave out entries without this personal field,
	// such as the handle of this id. Without a person and a connection they choose, if
	// Kind is "host" or "address", the entries of nobody that hold it.
	Kind, Value string
}

// keys returns the hashes to look for.
func (f *Found) keys() (person, term []byte) {
	if f.Hash == nil {
		return nil, nil
	}
	if f.Person == "" && f.Connection == "" {
		if slices.Contains(ownerless, f.Kind) {
			return f.Hash(f.Kind, f.Value)[:hashSize], nil
		}
		return nil, nil
	}
	if f.Person != "" {
		person = f.Hash(kindPerson, string(f.Person))[:hashSize]
	} else {
		person = f.Hash("connection", string(f.Connection))[:hashSize]
	}
	if f.Kind != "" {
		term = f.Hash(f.Kind, f.Value)[:termSize]
	}
	return person, term
}

// PersonHash is the hash by which the entries of a person are found; IndexStore's
// OwnerOf returns it for an entry.
func PersonHash(hash IndexHash, person gatehouse.PersonID) []byte {
	return hash(kindPerson, string(person))[:hashSize]
}

// forgetBatch is how many rows one transaction forgets, so that writing the log does
// not wait for long.
const forgetBatch = 2000

// ForgetPerson deletes what leads from a person to their entries: what entries are
// found by, and of entries of the first version, which hold connections in clear
// beside the tree, those together with the sealed fields. It is for an erasure, after
// the person's key was destroyed; connections are the person's. Afterwards entries of
// the person that still wait to be written, in any process, are written without what
// they would be found by. It may be repeated, and interrupted anywhere.
func (l *Log) ForgetPerson(ctx context.Context, person gatehouse.PersonID, connections ...gatehouse.ConnectionID) error {
	return Forget(ctx, l.config.Store, l.config.Index, person, connections...)
}

// Forget is ForgetPerson without a log.
func Forget(ctx context.Context, s Store, hash IndexHash, person gatehouse.PersonID, connections ...gatehouse.ConnectionID) error {
	if person == "" {
		return fmt.Errorf("forgetting a person in the log: no person is named: %w", gatehouse.ErrInvalid)
	}
	keys := [][]byte{}
	if hash != nil {
		keys = append(keys, PersonHash(hash, person))
		// An entry that was written before its connection had a person.
		for _, id := range connections {
			keys = append(keys, hash("connection", string(id))[:hashSize])
		}
	}
	for _, key := range keys {
		if err := s.Forget(ctx, key); err != nil {
			return fmt.Errorf("forgetting a person in the log: %w", err)
		}
		for {
			n, err := s.DropIndex(ctx, key, forgetBatch)
			if err != nil {
				return fmt.Errorf("forgetting a person in the log: %w", err)
			}
			if n < forgetBatch {
				break
			}
		}
	}
	for _, id := range connections {
		for {
			n, err := s.BlankV1(ctx, string(id), forgetBatch)
			if err != nil {
				return fmt.Errorf("forgetting a person in the log: %w", err)
			}
			if n < forgetBatch {
				break
			}
		}
	}
	return nil
}
