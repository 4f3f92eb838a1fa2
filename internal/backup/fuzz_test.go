package backup_test

import (
	"bytes"
	"crypto/rand"
	"os"
	"testing"

	"gatehouse"
	"gatehouse/internal/backup"
	"gatehouse/internal/store/storetest"

	"golang.org/x/mod/sumdb/note"
)

// believing is a verifier that takes any signature, so that what lies behind one is
// parsed too.
type believing struct{ note.Verifier }

func (believing) Verify(_, _ []byte) bool { return true }

func FuzzManifest(f *testing.F) {
	h := newHouse(f, storetest.SQLite(f))
	made := h.backup(f)
	content, err := os.ReadFile(made.Path)
	if err != nil {
		f.Fatal(err)
	}
	at := bytes.LastIndex(content, []byte("gatehouse-backup-1\n"))
	signed := content[at : len(content)-24]
	if _, err := backup.ParseManifest(signed, h.verifier); err != nil {
		f.Fatal(err)
	}
	f.Add(signed)
	f.Add([]byte(made.Manifest.Checkpoint))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := backup.ParseManifest(b, h.verifier); err == nil && m.ID != made.Manifest.ID {
			t.Errorf("accepted %q", b)
		}
		_, _ = backup.ParseManifest(b, believing{h.verifier})
	})
}

func FuzzBackupFile(f *testing.F) {
	h := newHouse(f, storetest.SQLite(f))
	made := h.backup(f)
	content, err := os.ReadFile(made.Path)
	if err != nil {
		f.Fatal(err)
	}
	at := bytes.LastIndex(content, []byte("gatehouse-backup-1\n"))
	f.Add(content[at:])
	f.Add(content[:100])
	// Whatever stands before the manifest, only what it names is a backup.
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := backup.ReadManifest(bytes.NewReader(b), int64(len(b)), h.verifier)
		if err == nil && (m.ID != made.Manifest.ID || len(b) != len(content)) {
			t.Errorf("%d bytes pass for a backup", len(b))
		}
		_, _ = backup.ReadManifest(bytes.NewReader(b), int64(len(b)), believing{h.verifier})
	})
}

func FuzzLedger(f *testing.F) {
	h := newHouse(f, storetest.SQLite(f))
	for _, person := range []gatehouse.PersonID{"A", "B"} {
		if err := h.ledger.Add(f.Context(), person); err != nil {
			f.Fatal(err)
		}
	}
	if err := h.ledger.Ship(f.Context()); err != nil {
		f.Fatal(err)
	}
	whole := h.ledgerFile(f, "to")
	f.Add(whole)
	f.Fuzz(func(t *testing.T, b []byte) {
		head, err := backup.ReadLedger(bytes.NewReader(b), h.verifier, nil)
		if err == nil && !bytes.HasPrefix(whole, b[:bytes.LastIndexByte(b, '\n')+1]) {
			t.Errorf("accepted %q as %v", b, head)
		}
		_, _ = backup.ReadLedger(bytes.NewReader(b), believing{h.verifier}, nil)
	})
}

func FuzzRows(f *testing.F) {
	f.Add([]byte("\x4e" + `{"table":"t","columns":[{"name":"a","kind":"int"},{"name":"b","kind":"blob"}]}` + "\x01\x01\x02\x03\x01x\x01\x00\x00\x00\x02"))
	f.Add([]byte("\x2c" + `{"table":"t","columns":[{"name":"a","kind":"text"}]}` + "\x01\x02\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, b []byte) {
		in, err := backup.NewRowReader(bytes.NewReader(b))
		if err == nil {
			_ = in.Drain()
		}
	})
}

func FuzzEpochKey(f *testing.F) {
	f.Add([]byte("gatehouse-epoch-key-1 file-abc\nAAAA\n"))
	noise := make([]byte, 200)
	_, _ = rand.Read(noise)
	f.Add(noise)
	f.Fuzz(func(t *testing.T, b []byte) {
		if root, wrapped, err := backup.ParseEpoch(b); err == nil && (root == "" || len(wrapped) == 0) {
			t.Errorf("accepted %q", b)
		}
	})
}
