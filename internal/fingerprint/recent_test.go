package fingerprint

import (
	"fmt"
	"testing"
	"time"

	"gatehouse"
)

// A search that has met a word must not go on to believe what the index had of it then.
func TestIndexChangesDuringSearch(t *testing.T) {
	const id = "1234567890123456"
	for name, step := range map[string]func(x *Index, e Entry) bool{
		"added": func(x *Index, e Entry) bool {
			x.Add(e)
			return true
		},
		"forgotten": func(x *Index, e Entry) bool {
			x.Forget(e.Owner)
			return false
		},
		"expired": func(x *Index, _ Entry) bool {
			x.Expire(time.Unix(1_950_000_000, 0))
			return false
		},
		"evicted": func(x *Index, e Entry) bool {
			crowdOut(x, e, e.Expires.Add(time.Hour))
			return false
		},
		"evicted of the last hour": func(x *Index, e Entry) bool {
			crowdOut(x, e, e.Expires)
			return false
		},
	} {
		t.Run(name, func(t *testing.T) {
			x, err := New(Config{Key: Key{9}, Capacity: 64})
			if err != nil {
				t.Fatal(err)
			}
			p, _ := x.Print(Value{gatehouse.PseudonymousID, id})
			e := Entry{Print: p, Owner: 1, Class: gatehouse.PseudonymousID, Expires: time.Unix(1_900_000_000, 0)}
			x.Add(e)
			if name == "added" {
				// The sieve still lets it through.
				x.Forget(1)
			}
			s := x.Search()
			defer s.Close()
			found := func() bool {
				for range 3 {
					fmt.Fprintf(s, "%s %3000d\n", id, 0)
				}
				fmt.Fprintf(s, "%9000d", 0)
				return len(s.Take()) > 0
			}
			before := found()
			after := step(x, e)
			m, _ := x.keys.mark(p)
			x.sieve.Load().add(m) // as if another value let it through
			if before == after || found() != after || found() != after {
				t.Errorf("found before: %v; want %v afterwards and got the other", before, after)
			}
		})
	}
}

// crowdOut adds values that expire at a time until an entry has to go.
func crowdOut(x *Index, e Entry, expires time.Time) {
	m, _ := x.keys.mark(e.Print)
	for i := 0; len(x.look(nil, m)) > 0; i++ {
		p, _ := x.Print(Value{gatehouse.PostID, fmt.Sprintf("99887766%08d", i)})
		x.Add(Entry{Print: p, Owner: e.Owner, Class: gatehouse.PostID, Expires: expires})
	}
}

// What a search remembers is gone when the next begins.
func TestSearchForgets(t *testing.T) {
	x, err := New(Config{Key: Key{9}})
	if err != nil {
		t.Fatal(err)
	}
	p, _ := x.Print(Value{gatehouse.PseudonymousID, "1234567890123456"})
	x.Add(Entry{Print: p, Owner: 1, Class: gatehouse.PseudonymousID, Expires: time.Unix(1_900_000_000, 0)})
	s := x.Search()
	fmt.Fprint(s, "1234567890123456")
	s.Text("1234567890123456")
	s.End()
	if s.body.recent == (recent{}) || s.text.recent == (recent{}) {
		t.Error("a search remembers nothing")
	}
	s.Close()
	if s.body.recent != (recent{}) || s.text.recent != (recent{}) {
		t.Error("a search that was closed remembers what it met")
	}
}
