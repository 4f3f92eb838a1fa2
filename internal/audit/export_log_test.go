package audit_test

import (
	"errors"
	"strings"
	"testing"

	"gatehouse/internal/audit"

	"golang.org/x/mod/sumdb/note"
)

// TestExportGoesOn exports a growing log, with a disk that fails after every number of
// files, and wants what is there to be right at each checkpoint that is.
func TestExportGoesOn(t *testing.T) {
	private, verifier := newKey(t)
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{}
	have, put := directory(t.TempDir())
	left := 0
	full := errors.New("no space")
	x := audit.Exporter{Source: audit.NewSource(m), Verifier: verifier, Have: have, Put: func(path string, b []byte) error {
		if left--; left < 0 {
			return full
		}
		return put(path, b)
	}}
	sizes := []int{0, 1, 3, 255, 256, 257, 600, 65536, 65536 + 300}
	for _, size := range sizes {
		for n := len(m.leaves); n < size; n++ {
			entriesOf(m, "a", 1)
		}
		m.sign(t, signer)
		interrupted := 0
		for try := 1; ; try += 1 + try/3 {
			left = try
			view, err := x.Export(t.Context())
			if err == nil {
				if view.Size != int64(size) {
					t.Fatalf("exported %d entries of %d", view.Size, size)
				}
				break
			}
			if !errors.Is(err, full) {
				t.Fatalf("exporting %d entries: %v", size, err)
			}
			interrupted++
			if at, err := audit.Newest(t.Context(), have, verifier); err == nil && at.Size > 0 {
				if _, _, err := at.Entry(t.Context(), at.Size-1); err != nil {
					t.Fatalf("while %d entries were exported, the checkpoint of %d lost its last entry: %v", size, at.Size, err)
				}
			}
		}
		if interrupted == 0 && size > 1 {
			t.Errorf("the export of %d entries was never interrupted", size)
		}
		view, err := audit.Newest(t.Context(), have, verifier)
		if err != nil || view.Size != int64(size) {
			t.Fatalf("the export of %d entries: %v", size, err)
		}
		for _, n := range []int64{0, view.Size / 2, view.Size - 1} {
			if n < 0 || n >= view.Size {
				continue
			}
			if _, _, err := view.Entry(t.Context(), n); err != nil {
				t.Errorf("entry %d of the export of %d: %v", n, size, err)
			}
		}
	}
	// A log that does not go on from what was exported leaves that alone.
	other := &memory{}
	entriesOf(other, "b", 70000)
	other.sign(t, signer)
	x.Source, left = audit.NewSource(other), 1000
	if _, err := x.Export(t.Context()); !errors.Is(err, audit.ErrTampered) || left != 1000 {
		t.Errorf("exporting a fork: %v, and %d files", err, 1000-left)
	}
	// One whose entries are not those that are signed is not exported to the end.
	x.Source = audit.NewSource(m)
	entriesOf(m, "a", 10)
	m.sign(t, signer)
	m.leaves[len(m.leaves)-3] = []byte("another")
	if _, err := x.Export(t.Context()); !errors.Is(err, audit.ErrTampered) || !strings.Contains(err.Error(), "audit verify") {
		t.Errorf("exporting a log with a changed entry: %v", err)
	}
	if view, err := audit.Newest(t.Context(), have, verifier); err != nil || view.Size != 65536+300 {
		t.Errorf("afterwards the export has %v, %v", view, err)
	}
}
