package audit

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What was released on a full disk is not used up by trying whether it can be held back
// again: without room for it, and for others beside it, nothing is written.
func TestReserveIsNotTriedOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	left, known := room(dir)
	if !known {
		t.Fatal("it is not known how much room there is")
	}
	for share, want := range map[uint64]bool{0: true, 50: true, 90: false, 100: false, 1000: false} {
		r := newReserve(dir, int64(1+left/100*share))
		// In the place of the file that would be written: who tries, fails at once.
		if err := os.MkdirAll(filepath.Join(r.path+".new", "in the way"), 0o700); err != nil {
			t.Fatal(err)
		}
		err := r.hold()
		if tried := !errors.Is(err, syscall.ENOSPC); err == nil || tried != want {
			t.Errorf("%d %% of what is left: %v; want it tried: %t", share, err, want)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, reserveFile+".new")); err != nil {
		t.Fatal(err)
	}
	r := newReserve(dir, 1<<16)
	if err := r.hold(); err != nil || !r.held() {
		t.Errorf("with room: %v", err)
	}
}
