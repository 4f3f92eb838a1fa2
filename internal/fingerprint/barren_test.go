package fingerprint

import (
	"math/rand/v2"
	"testing"
	"time"

	"gatehouse"
)

// A text that is called barren holds nothing that a stream of it would find; noise mostly
// is.
func TestBarren(t *testing.T) {
	x, err := New(Config{Key: Key{3}, Form: func(row []byte) bool { return string(row) == "k0000000000000000" }, FormLength: 17})
	if err != nil {
		t.Fatal(err)
	}
	values := []Value{
		{Class: gatehouse.Username, Text: "abc"}, {Class: gatehouse.Username, Text: "ab.c"}, {Class: gatehouse.Username, Text: "èëa"},
		{Class: gatehouse.PersonName, Text: "Ab Cd"}, {Class: gatehouse.PersonName, Text: "Ab Cd Ef"}, {Class: gatehouse.PersonName, Text: "李明"},
		{Class: gatehouse.EmailAddress, Text: "a@b.de"}, {Class: gatehouse.PhoneNumber, Text: "+1 234 567"}, {Class: gatehouse.PseudonymousID, Text: "12345"},
		{Class: gatehouse.PseudonymousID, Text: "abCD1234"}, {Class: gatehouse.ProfileLink, Text: "https://x.com/abc"},
	}
	texts := []string{"k0000000000000000", "_12345_", "_abc_", "001234567", "abc\\u0020", "YWIuYyBhYi5j", "207a206162632020"}
	for i, v := range values {
		p, ok := x.Print(v)
		if !ok {
			t.Fatalf("%q has no fingerprint", v.Text)
		}
		x.Add(Entry{Print: p, Owner: Owner(i + 1), Class: v.Class, Expires: time.Unix(1_900_000_000, 0)})
		texts = append(texts, v.Text)
	}
	found := func(text []byte) bool {
		c := newScan(x)
		inner := newStream(c, 1)
		inner.begin(0, "base64", "")
		inner.putFrom(text, make([]uint32, len(text)), int64(len(text)))
		inner.process(true)
		return len(c.seen) > 0
	}
	for _, text := range texts {
		if !found([]byte(text)) {
			t.Errorf("%q is not found at all", text)
		}
	}
	r := rand.New(rand.NewPCG(5, 6))
	root := newScan(x).root
	barren := 0
	const many = 40_000
	for i := range many {
		text := make([]byte, 6+r.IntN(12))
		for j := range text {
			text[j] = byte(r.Uint32())
			if r.IntN(2) == 0 {
				text[j] &= 127
			}
		}
		if planted := texts[r.IntN(len(texts))]; i%2 == 0 {
			at := r.IntN(len(text) + 1)
			text = append(text[:at:at], append([]byte(planted), text[at:]...)...)
		}
		if !root.barren(text) {
			continue
		}
		barren++
		if found(text) {
			t.Fatalf("%q is called barren", text)
		}
	}
	if barren < many/3 {
		t.Errorf("%d of %d texts are called barren, half of which are noise", barren, many)
	}
}
