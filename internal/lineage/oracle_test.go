package lineage_test

import (
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/fingerprint"
)

// How much of a body may go does not tell whether a name in it is known: nobody is
// refused for a name alone, so nothing would count the tries.
func TestWaitingSaysNothing(t *testing.T) {
	w := fresh(t, nil)
	w.deliver(w.l, source, person("111222333444", fingerprint.Value{Class: gatehouse.PersonName, Text: "Ada Lovelace"},
		fingerprint.Value{Class: gatehouse.Username, Text: "analyst"}, fingerprint.Value{Class: gatehouse.PersonName, Text: strings.Repeat("Ada ", 30) + "Lovelace"}))
	safe := func(known string, filler int) []int64 {
		s := w.l.Search(to("a.example"))
		defer s.Close()
		var all []int64
		body := strings.Repeat("word ", 1000) + known + " " + strings.Repeat("word ", filler)
		for len(body) > 0 {
			piece := min(len(body), 500)
			_, _ = s.Write([]byte(body[:piece]))
			body = body[piece:]
			n, err := s.Judge(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, n)
		}
		return all
	}
	for _, pair := range [][2]string{
		{"Ada Lovelace", "Ada Lovelach"}, {"@analyst", "@analysr"},
		{"%41%64%61%20%4c%6f%76%65%6c%61%63%65", "%41%64%61%20%4c%6f%76%65%6c%61%63%66"},
		{strings.Repeat("Ada ", 30) + "Lovelace", strings.Repeat("Ada ", 30) + "Lovelach"},
	} {
		for _, filler := range []int{0, 100, 400, 1000, 3000} {
			known, unknown := safe(pair[0], filler), safe(pair[1], filler)
			for i := range known {
				if known[i] != unknown[i] {
					t.Errorf("%.30q with %d words behind: %v bytes may go, and %v with one that nobody has", pair[0], filler, known, unknown)
					break
				}
			}
			// As much goes on as there is before what always waits.
			if last := known[len(known)-1]; filler == 3000 && last < 10_000 {
				t.Errorf("%q: %d bytes may go in the end", pair[0], last)
			}
		}
	}
}
