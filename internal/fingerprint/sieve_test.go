package fingerprint

import (
	"fmt"
	"testing"
	"time"

	"gatehouse"
)

// The sieve is seen from inside only: without it everything is found as well, slowly.
func TestSieve(t *testing.T) {
	x, err := New(Config{Key: Key{9}})
	if err != nil {
		t.Fatal(err)
	}
	add := func(o Owner, text string) mark {
		p, ok := x.Print(Value{gatehouse.Username, text})
		if !ok {
			t.Fatalf("%q has no fingerprint", text)
		}
		x.Add(Entry{Print: p, Owner: o, Class: gatehouse.Username, Expires: time.Unix(1_900_000_000, 0)})
		m, _ := x.keys.mark(p)
		return m
	}
	passes := func(m mark) bool {
		s, b := x.sieve.Load(), three(m.quick())
		return s.bits[m.quick()>>s.shift]&b == b
	}
	for o := range Owner(20_000) {
		if m := add(o+1, fmt.Sprintf("user%d", o)); !passes(m) {
			t.Fatalf("user%d does not pass", o)
		}
		if s := x.sieve.Load(); s.room < int(x.count.Load()) {
			t.Fatalf("the sieve has room for %d of %d values", s.room, x.count.Load())
		}
	}
	// What too many have goes with the next Expire, though nothing expires.
	var common mark
	for o := range Owner(5) {
		common = add(o+1, "love")
	}
	if !passes(common) {
		t.Error("a value does not pass")
	}
	x.Expire(time.Unix(1_800_000_000, 0))
	if passes(common) {
		t.Error("a username that too many have still passes")
	}
	wrong := 0
	for i := range 10_000 {
		if passes(x.keys.one(fmt.Appendf(nil, "other%d", i))) {
			wrong++
		}
	}
	if wrong > 500 {
		t.Errorf("%d of 10000 other words pass, want fewer than 500", wrong)
	}
}
