package audit_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"testing"

	"gatehouse/internal/audit"
	"gatehouse/internal/store/storetest"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// tall is how many entries the tall log begins with: a full tile of level 2.
const tall = 256 * audit.Segment

// newTallLog is a log of which 16,777,216 entries were pruned, all of them alike, so that
// it takes 257 tiles to make it.
func newTallLog(t *testing.T) *longLog {
	t.Helper()
	dsn := storetest.SQLite(t)
	x := &longLog{t: t, db: storetest.Open(t, dsn), raw: storetest.OpenRaw(t, dsn), dir: t.TempDir()}
	x.private, x.verifier = newKey(t)
	signer, err := note.NewSigner(x.private)
	if err != nil {
		t.Fatal(err)
	}
	b := audit.Batch{}
	h := audit.LeafHash([]byte("all alike"))
	var segment tlog.Hash
	for level := range 3 {
		tile := bytes.Repeat(h[:], 256)
		for index := range int64(256) {
			if level == 1 || level == 2 && index == 0 {
				b.Tiles = append(b.Tiles, audit.Tile{Level: level, Index: index, Hashes: tile})
			}
		}
		for range 8 {
			h = tlog.NodeHash(h, h)
		}
		if level == 1 {
			segment = h
		}
	}
	b.Rows = []audit.Row{announcement(t, map[string]string{
		"first": fmt.Sprint(tall - audit.Segment), "last": fmt.Sprint(tall - 1), "root": hex.EncodeToString(segment[:]),
	})}
	root := tlog.NodeHash(h, tlog.Hash(b.Rows[0].Hash))
	b.Note, err = note.Sign(&note.Note{Text: fmt.Sprintf("%s\n%d\n%s\n", origin, tall+1, base64.StdEncoding.EncodeToString(root[:]))}, signer)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.db.Audit().Append(t.Context(), audit.Head{Kept: -1}, b); err != nil {
		t.Fatal(err)
	}
	x.raw.Exec("UPDATE audit_head SET size = $1", int64(tall+1))
	x.raw.Exec("INSERT INTO audit_pruned (log, start, entry, since, holder, until) VALUES (0, $1, $1, -1, '', 0)", int64(tall))
	x.start()
	x.fill(tall + 300)
	return x
}

// announcement is an entry that says that something was pruned.
func announcement(t *testing.T, facts map[string]string) audit.Row {
	t.Helper()
	db := storetest.Open(t, storetest.SQLite(t))
	private, verifier := newKey(t)
	log, stop := run(t, config(t, db.Audit(), private))
	if _, err := log.Intent(t.Context(), audit.Entry{Action: audit.PruneAction, Facts: facts}); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	_, rows := sound(t, db.Audit(), verifier)
	rows[0].Seq = tall
	return rows[0]
}

// TestPrunedTallTree changes tiles of what was pruned that no checkpoint is computed from.
func TestPrunedTallTree(t *testing.T) {
	x := newTallLog(t)
	x.sound(tall)
	if err := x.stop(); err != nil {
		t.Fatal(err)
	}
	x.sound(tall)
	log, err := audit.Open(t.Context(), config(t, x.db.Audit(), x.private))
	if err != nil {
		t.Fatal(err)
	}
	if err := audit.WalkAll(t.Context(), log); err != nil {
		t.Errorf("walking: %v", err)
	}
	for _, c := range []struct{ what, do, want string }{
		{"a tile of level 1", "UPDATE audit_tiles SET hashes = zeroblob(8192) WHERE level = 1 AND idx = 100", "tile 1/100: or the one above it was changed"},
		{"a tile of level 1 removed", "DELETE FROM audit_tiles WHERE level = 1 AND idx = 100", "tile 1/100: is missing"},
		{"the first tile removed", "DELETE FROM audit_tiles WHERE level = 1 AND idx = 0", "tile 1/0: is missing"},
		{"a tile cut", "UPDATE audit_tiles SET hashes = substr(hashes, 1, 8191) WHERE level = 1 AND idx = 3", "tile 1/3: was changed"},
		{"the tile of level 2", "UPDATE audit_tiles SET hashes = zeroblob(32) || substr(hashes, 33) WHERE level = 2", "tile 1/0: or the one above it was changed"},
		{"a tile of level 0 inserted", "INSERT INTO audit_tiles (level, idx, hashes) SELECT 0, 9, hashes FROM audit_tiles WHERE level = 2", "tile 0/9: is not part of the log"},
	} {
		saved := x.copyPruned()
		x.raw.Exec(c.do)
		x.wrong(c.what, c.want)
		if err := audit.WalkAll(t.Context(), log); err == nil && c.what != "a tile of level 0 inserted" {
			t.Errorf("%s: walking finds nothing", c.what)
		}
		x.putPruned(saved)
	}
	x.sound(tall)
}

// TestPruneRecords: only an entry that names a segment as the tree has it makes a log
// begin behind that.
func TestPruneRecords(t *testing.T) {
	x := newTallLog(t)
	first, last := fmt.Sprint(tall-audit.Segment), fmt.Sprint(tall-1)
	for _, c := range []struct {
		want  string
		facts map[string]string
	}{
		{"names another root", map[string]string{"first": first, "last": last, "root": hex.EncodeToString(make([]byte, 32))}},
		{"is no record of a pruning", map[string]string{"first": first, "last": last, "root": "00"}},
		{"is no record of a pruning", map[string]string{"first": "1", "last": last, "root": hex.EncodeToString(make([]byte, 32))}},
		{"is no record of a pruning", map[string]string{"first": first, "last": fmt.Sprint(tall), "root": hex.EncodeToString(make([]byte, 32))}},
		{"is no record of a pruning", map[string]string{"first": "-65536", "last": "-1", "root": hex.EncodeToString(make([]byte, 32))}},
		{"is no record of a pruning", nil},
	} {
		r, err := x.log.Intent(t.Context(), audit.Entry{Action: audit.PruneAction, Facts: c.facts})
		if err != nil {
			t.Fatal(err)
		}
		if err := x.stop(); err != nil {
			t.Fatal(err)
		}
		entry, err := x.db.Audit().Find(t.Context(), r.ID())
		if err != nil {
			t.Fatal(err)
		}
		x.raw.Exec("UPDATE audit_pruned SET entry = $1", entry)
		x.wrong(fmt.Sprint(c.facts), c.want)
		x.raw.Exec("UPDATE audit_pruned SET entry = $1", int64(tall))
		x.start()
		x.sound(tall)
	}
}
