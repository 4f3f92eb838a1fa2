package operator

import "testing"

// A deed that is asked for again and cannot be noted the second time is still owed.
func TestOwedIsCounted(t *testing.T) {
	var o owed
	d := deedOf(deedSuspend, "a")
	o.add(d)
	o.add(d)
	o.drop(d)
	if !o.out("a") || o.out("b") {
		t.Error("asked for twice and taken back once, it does not hold")
	}
	o.drop(d)
	o.drop(d) // one of a process that has ended was never held here
	if o.out("a") {
		t.Error("done, it holds")
	}
	o.add(d)
	if !o.out("a") {
		t.Error("asked for anew, it does not hold")
	}
}
