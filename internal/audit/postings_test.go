package audit

import (
	"encoding/base64"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// some returns n different places below span, in order.
func some(r *rand.Rand, n, span int) []uint16 {
	list := make([]uint16, 0, n)
	for at := range span {
		if r.IntN(span-at) < n-len(list) {
			list = append(list, uint16(at))
		}
	}
	return list
}

// TestPartsHoldWhatIsPut writes terms of every number of entries, on both sides of each
// border between the forms, and reads them.
func TestPartsHoldWhatIsPut(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, span := range []int{shortSpan, longSpan} {
		p := postings{}
		border := span / 16
		sizes := []int{1, 2, border - 1, border, border + 1, span / 2, span - border - 1, span - border, span - border + 1, span - 1, span}
		for i, n := range sizes {
			p[uint32(i*7)] = some(r, n, span)
		}
		at := place{int64(span), int64(span), 3}
		part := p.encode(span, at)
		if bits := (len(part) - partHead - partCheck - partTerm*len(sizes)) * 8; bits > len(sizes)*span {
			t.Errorf("%d terms take %d bits", len(sizes), bits)
		}
		read, err := readPart(part, at)
		if err != nil {
			t.Fatal(err)
		}
		for term := range uint32(7*len(sizes) + 1) {
			s := newSet(span)
			if err := read.addTo(s, term); err != nil {
				t.Fatal(err)
			}
			var got []uint16
			for at := range s.down() {
				got = append(got, uint16(at))
			}
			slices.Reverse(got)
			if !slices.Equal(got, p[term]) {
				t.Errorf("span %d: term %d has %d entries, not %d", span, term, len(got), len(p[term]))
			}
		}
		for _, other := range []place{{int64(span), 0, 3}, {int64(span), int64(span), 2}, {int64(span) + 1, int64(span), 3}} {
			if _, err := readPart(part, other); !errors.Is(err, errPart) {
				t.Errorf("a part of %v is taken for one of %v", at, other)
			}
		}
		for range 50 {
			damaged := slices.Clone(part)
			damaged[r.IntN(len(damaged))] ^= 1 << r.IntN(8)
			if _, err := readPart(damaged, at); !errors.Is(err, errPart) {
				t.Error("a flipped bit is not noticed")
			}
		}
	}
}

func TestSets(t *testing.T) {
	s := newSet(256)
	for _, at := range []int{0, 63, 64, 200, 255} {
		s.add(at)
	}
	for below, want := range map[int][]int{0: nil, 1: {0}, 63: {0}, 64: {63, 0}, 65: {64, 63, 0}, 201: {200, 64, 63, 0}, 256: {255, 200, 64, 63, 0}, 300: {255, 200, 64, 63, 0}} {
		c := slices.Clone(s)
		c.below(below)
		if got := slices.Collect(c.down()); !slices.Equal(got, want) {
			t.Errorf("below %d: %v, not %v", below, got, want)
		}
	}
}

// TestUnknownActionsMayHaveEveryCode: a program that knew an action indexes its code; one
// that did not has to leave the question open.
func TestUnknownActionsMayHaveEveryCode(t *testing.T) {
	terms := func(action string) (all []uint32) {
		l := Leaf{Action: action, Verdict: "done"}
		l.terms(func(term uint32) { all = append(all, term) })
		return all
	}
	future, call := terms("of.the.future"), terms("call")
	for _, q := range []Query{{Code: "GH8070W"}, {Severity: SeverityAlert}} {
		clauses := q.clauses()
		if len(clauses) != 1 {
			t.Fatalf("%d clauses", len(clauses))
		}
		has := func(all []uint32) bool {
			return slices.ContainsFunc(clauses[0], func(term uint32) bool { return slices.Contains(all, term) })
		}
		if !has(future) || has(call) {
			t.Errorf("%+v: an unknown action may fit: %v, and another one: %v", q, has(future), has(call))
		}
	}
}

// FuzzPart reads parts that somebody made: they are refused or read, and nothing else.
func FuzzPart(f *testing.F) {
	at := place{shortSpan, 0, 0}
	f.Add([]byte{}, uint32(0))
	f.Add([]byte{1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 9, 0}, uint32(5))
	f.Add([]byte{1, 0, 0, 0, 5, 0, 0, 0, 0xff, 0x0f}, uint32(5))
	f.Fuzz(func(t *testing.T, content []byte, term uint32) {
		r, err := readPart(at.seal(slices.Clone(content)), at)
		if err != nil {
			if !errors.Is(err, errPart) {
				t.Fatal(err)
			}
			return
		}
		s := newSet(shortSpan)
		if err := r.addTo(s, term); err != nil && !errors.Is(err, errPart) {
			t.Fatal(err)
		}
		if err := r.merge(postings{}, longSpan-shortSpan); err != nil && !errors.Is(err, errPart) {
			t.Fatal(err)
		}
	})
}

// FuzzCursor reads cursors: without their mark they are refused, and those that are taken
// say what they were made of.
func FuzzCursor(f *testing.F) {
	q, s := Query{Action: "call"}, NewSearcher(NewIndexHash([]byte("a key")), make([]SearchedLog, 2)...)
	for _, cursor := range []string{s.writeCursor(cursorPage, &q, time.Time{}, []int64{7, 1 << 39}), s.writeCursor(cursorTail, &q, time.Unix(5, 0), []int64{7})} {
		b, err := base64.RawURLEncoding.DecodeString(cursor)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:len(b)-markSize])
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, kind := range []byte{cursorPage, cursorTail} {
			if _, _, err := s.readCursor(base64.RawURLEncoding.EncodeToString(append(body[:len(body):len(body)], make([]byte, markSize)...)), kind, &q); err == nil {
				t.Fatal("a cursor without its mark is taken")
			}
			places, recorded, err := s.readCursor(base64.RawURLEncoding.EncodeToString(append(body[:len(body):len(body)], s.mark(&q, body)...)), kind, &q)
			if err != nil {
				continue
			}
			for _, at := range places {
				if at < 0 || at > maxEntries {
					t.Fatalf("place %d", at)
				}
			}
			again, when, err := s.readCursor(s.writeCursor(kind, &q, recorded, places), kind, &q)
			if err != nil || !slices.Equal(again, places) || !when.Equal(recorded) {
				t.Fatal(again, when, err)
			}
		}
	})
}
