package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gatehouse"

	"golang.org/x/mod/sumdb/tlog"
)

// ArchiveName is the name of a segment's archive: the log's origin with dashes, and the
// first and the last entry.
func ArchiveName(origin string, first int64) string {
	return fmt.Sprintf("%s-%012d-%012d.tar.gz", strings.ReplaceAll(origin, "/", "-"), first, first+Segment-1)
}

// seal reads a segment, checks all of it against the newest checkpoint, and leaves it as
// a file that is durable and was read back. Without a directory it does all but the
// file.
func (p *Pruner) seal(ctx context.Context, s *PrunedSegment, root tlog.Hash, said *carried) (file, sum string, err error) {
	ids := ArchiveFile{Segment: s.First / Segment}
	open := map[string]time.Time{}
	each := func(index int64, l *Leaf) error {
		if age := time.Since(l.When()); age <= p.config.Keep {
			return fmt.Errorf("entry %d is younger than the segment's last one, and not old enough: the clock was set; %w", index, gatehouse.ErrConflict)
		}
		if ids.FirstID == "" || l.ID < ids.FirstID {
			ids.FirstID = l.ID
		}
		ids.LastID = max(ids.LastID, l.ID)
		said.take(l)
		switch l.Kind {
		case KindIntent:
			open[l.ID] = l.When()
		case KindOutcome:
			delete(open, l.Intent)
		}
		return nil
	}
	a := &Archiver{
		Rows: p.config.Store, Source: NewSource(p.config.Store), Signer: p.config.Signer, Verifier: p.verifier,
		Each: each, Progress: p.config.Progress,
	}
	if p.config.Dir == "" {
		_, err = a.Write(ctx, io.Discard, s.First, s.Last)
	} else {
		file = ArchiveName(p.verifier.Name(), s.First)
		sum, err = p.file(ctx, a, file, s, root)
	}
	if err != nil {
		return "", "", err
	}
	for id, t := range open {
		if time.Since(t) < pruneDoubt {
			return "", "", fmt.Errorf("intent %s has no outcome yet: %w", id, gatehouse.ErrConflict)
		}
	}
	ids.File = file
	return file, sum, p.config.Store.NoteArchive(ctx, ids)
}

// file writes the archive of a segment under a name. One that is there is left, if it is
// an archive of the same entries: an earlier run has made it, or it stems from before a
// backup was restored.
func (p *Pruner) file(ctx context.Context, a *Archiver, name string, s *PrunedSegment, root tlog.Hash) (sum string, err error) {
	path := filepath.Join(p.config.Dir, name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := p.write(ctx, a, path, s); err != nil {
			return "", fmt.Errorf("writing the archive %s: %w", name, err)
		}
	} else if err != nil {
		return "", fmt.Errorf("looking for the archive %s: %w", name, err)
	} else if _, err := a.Write(ctx, io.Discard, s.First, s.Last); err != nil {
		return "", err // the log's own entries are checked in any case
	}
	return p.checked(ctx, name, s.First, root)
}

// write makes the file appear whole or not at all.
func (p *Pruner) write(ctx context.Context, a *Archiver, path string, s *PrunedSegment) error {
	// What a process has left here that died is overwritten: nobody else writes it while
	// the claim is held.
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = a.Write(ctx, f, s.First, s.Last)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(p.config.Dir)
}

// checked reads an archive and returns its SHA-256, if it is one of the segment that
// begins at an entry and has this root.
func (p *Pruner) checked(ctx context.Context, name string, first int64, root tlog.Hash) (string, error) {
	f, err := os.Open(filepath.Join(p.config.Dir, name))
	if err != nil {
		return "", fmt.Errorf("reading the archive %s: %w", name, err)
	}
	defer func() { _ = f.Close() }()
	hash := sha256.New()
	a := &Archive{Verifier: p.verifier}
	if err := a.Check(ctx, io.TeeReader(f, hash)); err != nil {
		return "", fmt.Errorf("reading the archive %s back: %w", name, err)
	}
	if _, err := io.Copy(hash, f); err != nil {
		return "", fmt.Errorf("reading the archive %s: %w", name, err)
	}
	if a.Manifest.First > first || a.Manifest.Last < first+Segment-1 {
		return "", fmt.Errorf("the archive %s holds entries %d to %d: %w", name, a.Manifest.First, a.Manifest.Last, gatehouse.ErrConflict)
	}
	if a.root(first) != root {
		return "", fmt.Errorf("the archive %s is of this log's key, and holds other entries than the log: one of them was rolled back, or forked; move the file away: %w", name, gatehouse.ErrConflict)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
