package main

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
)

// A clock that differs from a platform's is found before it costs anything: with
// the amount, the direction and what to do. A small difference is allowed for.
func TestDoctorLooksAtTheClock(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		skew, says string
		code       int
	}{
		{"0", "ok    clock          agrees with that of x", 0},
		{"20", "ok    clock          this machine is 20s behind x, which is allowed for", 0},
		{"400", "FAIL  clock          this machine is 6m40s behind x\n", 1},
		{"-400", "FAIL  clock          this machine is 6m40s ahead of x\n", 1},
	} {
		reply, err := http.Post(h.box.XURL+"/_sandbox/clock", "application/json", bytes.NewBufferString(`{"skew_seconds": `+c.skew+`}`))
		if err != nil {
			t.Fatal(err)
		}
		reply.Body.Close()
		out, errOut, code := h.gatehouse("doctor")
		out = roundClock(out)
		if code != c.code || !strings.Contains(out, c.says) || (code == 1) != strings.Contains(out, "have a time service") {
			t.Errorf("with %s seconds: exit status %d\n%s%s", c.skew, code, out, errOut)
		}
	}
	for _, r := range h.box.Requests(100) {
		if !strings.HasPrefix(r.Path, "/_sandbox/") && r.Credential != "none" {
			t.Errorf("a credential was used for it: %+v", r)
		}
	}
}

// roundClock takes the half second out that a Date header leaves open.
func roundClock(out string) string {
	return strings.NewReplacer("6m39s", "6m40s", "6m41s", "6m40s", "19s", "20s", "21s", "20s").Replace(out)
}
