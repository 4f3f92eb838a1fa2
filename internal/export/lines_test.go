package export_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"gatehouse/internal/export"
	"gatehouse/internal/store/storetest"
)

// A stream that nobody reads holds one batch and no call, and what it took in the end
// is not written again.
func TestLinesHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, in := io.Pipe()
		sink := &export.Lines{To: in}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 2 {
			if a, err := sink.Send(ctx, entries(0, 3)); !errors.Is(err, context.Canceled) || a.Entries != 0 {
				t.Fatalf("a hanging write: %+v, %v", a, err)
			}
		}
		var got strings.Builder
		read := make(chan struct{})
		go func() {
			defer close(read)
			_, _ = io.Copy(&got, out)
		}()
		// More than what hung: only that is accepted.
		if a, err := sink.Send(t.Context(), entries(0, 5)); err != nil || a.Entries != 3 {
			t.Fatalf("after the stream was read: %+v, %v", a, err)
		}
		if a, err := sink.Send(t.Context(), entries(3, 2)); err != nil || a.Entries != 2 {
			t.Fatal(a, err)
		}
		_ = in.Close()
		<-read
		exactly(t, indexes(lines(t, []byte(got.String()))), 5)
	})
}

// What hung was of other entries, because the cursor was moved meanwhile.
func TestLinesHangAndAreMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, in := io.Pipe()
		sink := &export.Lines{To: in}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := sink.Send(ctx, entries(0, 3)); err == nil {
			t.Fatal("it was to hang")
		}
		go func() { _, _ = io.Copy(io.Discard, out) }()
		if a, err := sink.Send(t.Context(), entries(7, 2)); err != nil || a.Entries != 0 {
			t.Errorf("others are accepted that were not written: %+v, %v", a, err)
		}
		if a, err := sink.Send(t.Context(), entries(7, 2)); err != nil || a.Entries != 2 {
			t.Errorf("then: %+v, %v", a, err)
		}
		_ = in.Close()
	})
}

func TestLinesBreak(t *testing.T) {
	out, in := io.Pipe()
	_ = out.Close()
	var failure *export.Failure
	if _, err := (&export.Lines{To: in}).Send(t.Context(), entries(0, 1)); !errors.As(err, &failure) || failure.Class != export.Unwritable {
		t.Errorf("a stream that is closed: %v", err)
	}
}

func TestLinesOfALog(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	r.calls(100)
	var out strings.Builder
	stop := r.export(r.config(export.Target{Name: "stdout", Sink: &export.Lines{To: &out}}))
	r.reached("stdout", 100)
	stop()
	exactly(t, indexes(lines(t, []byte(out.String()))), 100)
}
