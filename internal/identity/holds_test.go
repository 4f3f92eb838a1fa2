package identity_test

import (
	"testing"

	"gatehouse/internal/identity"
)

func TestHandlesAreFoundAnywhereAndInPieces(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, "gth_": false, "gth_hnd": false, "gth_svc-": false, "gth_abc_": false, "GTH_HND_": false,
		"gth_hnd_": true, "gth_svc_": true, "a=gth_hnd_x": true, "…gth_gth_svc_": true, "gth_hngth_hnd_": true,
	} {
		if identity.Holds(text) != want || identity.HoldsBytes([]byte(text)) != want {
			t.Errorf("%q: %v", text, !want)
		}
		for size := 1; size <= len(text); size++ {
			var s identity.Scanner
			found := false
			for rest := []byte("before " + text); len(rest) > 0 && !found; rest = rest[min(size, len(rest)):] {
				found = s.Found(rest[:min(size, len(rest))])
			}
			if found != want {
				t.Errorf("%q in pieces of %d: %v", text, size, found)
			}
		}
	}
	var s identity.Scanner
	if s.Found(nil) || s.Found([]byte("gth_")) || s.Found(nil) || !s.Found([]byte("svc_")) {
		t.Error("an empty piece makes it forget")
	}
}
