package audit

import (
	"context"
	"errors"
	"fmt"

	"gatehouse"

	"golang.org/x/mod/sumdb/note"
)

// A Witness watches a log from elsewhere: it remembers the newest checkpoint that it
// saw, and accepts only one to which the log has grown by appending alone.
type Witness struct {
	// Source is where the log is served, and Verifier its key.
	Source   Source
	Verifier note.Verifier
	// Signer co-signs what was accepted; nil co-signs nothing.
	Signer note.Signer
	// Load returns the checkpoint that was saved last; ErrNotFound before the first.
	Load func() ([]byte, error)
	// Save makes a checkpoint durable in the place of the last one, before it returns.
	Save func([]byte) error
}

// A Sighting is what a look at the log came to.
type Sighting struct {
	Point
	// Before is what was seen last; its size is -1 at the first look.
	Before Point
	// Note is the checkpoint that the log showed, also when it was not accepted: then
	// it and the one that was saved are the evidence.
	Note []byte
	// Cosigned is the checkpoint with the witness's signature beside the log's; nil
	// without a signer.
	Cosigned []byte
}

// Look looks at the log once. The error is ErrTampered if the log has not grown by
// appending alone from what was saved, and of another kind if it cannot be read. What
// was saved changes only when the look succeeds, and before anything is signed: a
// witness that is interrupted never signs two logs.
func (w *Witness) Look(ctx context.Context) (Sighting, error) {
	s := Sighting{Before: Point{Size: -1}}
	last, err := w.Load()
	switch {
	case errors.Is(err, gatehouse.ErrNotFound):
	case err != nil:
		return s, fmt.Errorf("reading what was seen last: %w", err)
	default:
		if s.Before, err = OpenCheckpoint(last, w.Verifier); err != nil {
			return s, fmt.Errorf("reading what was seen last: %w", err)
		}
	}
	if s.Note, err = w.Source(ctx, CheckpointPath); err != nil {
		return s, fmt.Errorf("reading the log's checkpoint: %w", err)
	}
	if s.Point, err = OpenCheckpoint(s.Note, w.Verifier); err != nil {
		return s, fmt.Errorf("the log's checkpoint is not signed by its key: %w", ErrTampered)
	}
	view := NewView(ctx, w.Source, s.Point, s.Note)
	if s.Before.Size >= 0 {
		err = view.GrownFrom(s.Before)
	} else {
		// The first one is believed, if what is served leads to it.
		_, err = view.At(max(0, s.Size-1))
	}
	if err != nil {
		return s, err
	}
	if s.Point != s.Before {
		if err := w.Save(s.Note); err != nil {
			return s, fmt.Errorf("saving what was seen: %w", err)
		}
	}
	if w.Signer != nil {
		if s.Cosigned, err = cosign(s.Note, w.Verifier, w.Signer); err != nil {
			return s, err
		}
	}
	return s, nil
}
