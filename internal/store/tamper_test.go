package store_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"

	"golang.org/x/mod/sumdb/note"
)

// A tampered log is one that an intruder with the disk works on.
type tampered struct {
	t        *testing.T
	dsn      string
	db       *store.DB
	raw      *storetest.Raw
	signer   note.Signer
	verifier note.Verifier
	report   audit.Report
}

// newTampered makes a sound log of sessions with about 45 entries each, so that
// it has full tiles, an unfinished one and many kept checkpoints.
func newTampered(t *testing.T, dsn string, sessions int) *tampered {
	t.Helper()
	x := &tampered{t: t, dsn: dsn, db: storetest.Open(t, dsn), raw: storetest.OpenRaw(t, dsn)}
	x.signer, x.verifier = keys(t)
	for s := range sessions {
		log, stop := openLog(t, x.db.Audit(), x.signer)
		for i := range 15 {
			r, err := log.Intent(t.Context(), call(s*15+i))
			if err != nil {
				t.Fatal(err)
			}
			log.Outcome(r, audit.Entry{Verdict: "done", Status: 200})
			log.Refusal(audit.Entry{Action: "handle.refuse", Rule: "handle/expired", Facts: map[string]string{"form": "bearer"}})
		}
		stop()
	}
	x.report = wantSound(t, x.db, x.verifier)
	return x
}

// found wants the log not to verify, and one of the problems to name a row.
func (x *tampered) found(what, where string) {
	x.t.Helper()
	report := verify(x.t, x.db, x.verifier)
	for _, p := range report.Problems {
		if p.Where == where || strings.HasPrefix(p.Where, where+" ") {
			return
		}
	}
	var text bytes.Buffer
	report.Print(&text)
	x.t.Errorf("%s: want a problem with %s, got\n%s", what, where, text.String())
}

// A table of the log, its key and how a report names a row.
var auditTables = []struct {
	name string
	key  []string
	row  func(key []any) string
}{
	{"audit_entries", []string{"seq"}, func(k []any) string { return fmt.Sprint("entry ", k[0]) }},
	{"audit_tiles", []string{"level", "idx"}, func(k []any) string { return fmt.Sprintf("tile %d/%d", k[0], k[1]) }},
	{"audit_head", []string{"id"}, func([]any) string { return "head" }},
	{"audit_checkpoints", []string{"num"}, func(k []any) string { return fmt.Sprint("checkpoint ", k[0]) }},
}

// changed returns value with one byte changed, or something where nothing was.
func changed(column string, value any) any {
	switch v := value.(type) {
	case int64:
		return v ^ 1<<21
	case string:
		b := []byte(v)
		b[rand.IntN(len(b))] ^= 1
		return string(b)
	case []byte:
		b := slices.Clone(v)
		b[rand.IntN(len(b))] ^= 1 << rand.IntN(8)
		return b
	case nil:
		if column == "search" {
			return "connection-1"
		}
		return []byte("x")
	}
	panic(fmt.Sprintf("a column of type %T", value))
}

// where returns a condition for the key and its arguments, from placeholder n on.
func where(key []string, n int) string {
	var conditions []string
	for i, k := range key {
		conditions = append(conditions, fmt.Sprintf("%s = $%d", k, n+i))
	}
	return strings.Join(conditions, " AND ")
}

// TestAnyChangedByteIsFound changes one byte of every column of the rows of
// every table of the log, and removes the rows: of the entries, each run takes
// others; of the other tables, all.
func TestAnyChangedByteIsFound(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		step := 4
		if strings.HasPrefix(dsn, "postgres") {
			step = 19
		}
		x := newTampered(t, dsn, 7)
		for _, table := range auditTables {
			columns, rows := x.raw.Query("SELECT * FROM " + table.name + " ORDER BY " + strings.Join(table.key, ", "))
			if len(rows) == 0 {
				t.Fatalf("%s is empty", table.name)
			}
			every, offset := 1, 0
			if table.name == "audit_entries" {
				every, offset = step, rand.IntN(step)
			}
			for i, row := range rows {
				if i%every != offset && i != 0 && i != len(rows)-1 {
					continue
				}
				key := make([]any, len(table.key))
				for j, k := range table.key {
					key[j] = row[slices.Index(columns, k)]
				}
				name := table.row(key)
				for j, column := range columns {
					if column == "forgotten" {
						continue // for the writers only; it says nothing of any entry
					}
					evil := changed(column, row[j])
					set := "UPDATE " + table.name + " SET " + column + " = $1 WHERE "
					if x.raw.Exec(set+where(table.key, 2), append([]any{evil}, key...)...) != 1 {
						t.Fatalf("%s.%s of %s was not changed", table.name, column, name)
					}
					named := name
					if column == "num" && i == len(rows)-1 {
						// Only the head remembers how many there were.
						named = "head"
					}
					x.found(fmt.Sprintf("%s.%s changed to %.40q", table.name, column, fmt.Sprint(evil)), named)
					now := slices.Clone(key)
					if at := slices.Index(table.key, column); at >= 0 {
						now[at] = evil
					}
					x.raw.Exec(set+where(table.key, 2), append([]any{row[j]}, now...)...)
				}
				x.raw.Exec("DELETE FROM "+table.name+" WHERE "+where(table.key, 1), key...)
				if table.name == "audit_checkpoints" && i == len(rows)-1 {
					name = "head"
				}
				x.found("row removed from "+table.name, name)
				holders := make([]string, len(columns))
				for j := range columns {
					holders[j] = fmt.Sprint("$", j+1)
				}
				x.raw.Exec("INSERT INTO "+table.name+" ("+strings.Join(columns, ", ")+") VALUES ("+strings.Join(holders, ", ")+")", row...)
			}
			wantSound(t, x.db, x.verifier) // Everything was put back.
		}
	})
}

func TestReorderedAndInsertedEntriesAreFound(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		x := newTampered(t, dsn, 7)
		size := x.report.Size
		swap := func(a, b int64) {
			x.raw.Exec("UPDATE audit_entries SET seq = -1 WHERE seq = $1", a)
			x.raw.Exec("UPDATE audit_entries SET seq = $1 WHERE seq = $2", a, b)
			x.raw.Exec("UPDATE audit_entries SET seq = $1 WHERE seq = -1", b)
		}
		for _, pair := range [][2]int64{{3, 4}, {0, 200}, {100, 200}, {size - 2, size - 1}} {
			swap(pair[0], pair[1])
			x.found(fmt.Sprint("entries swapped: ", pair), fmt.Sprint("entry ", pair[0]))
			x.found(fmt.Sprint("entries swapped: ", pair), fmt.Sprint("entry ", pair[1]))
			swap(pair[0], pair[1])
		}
		wantSound(t, x.db, x.verifier)

		insert := "INSERT INTO audit_entries (seq, id, leaf, leaf_hash) SELECT $1, 'inserted', leaf, leaf_hash FROM audit_entries WHERE seq = 5"
		for _, at := range []int64{-1, size, size + 1000} {
			x.raw.Exec(insert, at)
			x.found(fmt.Sprint("an entry inserted at ", at), fmt.Sprint("entry ", at))
			x.raw.Exec("DELETE FROM audit_entries WHERE id = 'inserted'")
		}
		// In the middle, the later ones make room.
		const middle = 150
		x.raw.Exec("UPDATE audit_entries SET seq = -seq - 1 WHERE seq >= $1", middle)
		x.raw.Exec("UPDATE audit_entries SET seq = -seq WHERE seq < 0")
		x.raw.Exec(insert, int64(middle))
		x.found("an entry inserted in the middle", "entry 150")
		x.raw.Exec("DELETE FROM audit_entries WHERE id = 'inserted'")
		x.found("an entry removed and the number left", "entry 150")
	})
}

// TestRewrittenEntryIsFound is the intruder who knows the format: the entry, its
// hash and its tile agree, and only the signed checkpoints do not.
func TestRewrittenEntryIsFound(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		x := newTampered(t, dsn, 7)
		const seq = 100
		_, rows := x.raw.Query("SELECT leaf, leaf_hash FROM audit_entries WHERE seq = $1", int64(seq))
		leaf := bytes.Replace(rows[0][0].([]byte), []byte(`"env":"production"`), []byte(`"env":"productiom"`), 1)
		hash := audit.LeafHash(leaf)
		x.raw.Exec("UPDATE audit_entries SET leaf = $1, leaf_hash = $2 WHERE seq = $3", leaf, hash[:], int64(seq))
		x.found("entry and hash rewritten", "entry 100")
		_, tiles := x.raw.Query("SELECT hashes FROM audit_tiles WHERE level = 0 AND idx = 0")
		copy(tiles[0][0].([]byte)[seq*32:], hash[:])
		x.raw.Exec("UPDATE audit_tiles SET hashes = $1 WHERE level = 0 AND idx = 0", tiles[0][0])
		report := verify(t, x.db, x.verifier)
		if report.OK() || !strings.HasPrefix(report.Problems[0].Where, "checkpoint ") ||
			!strings.Contains(report.Problems[0].What, "entries 90 to 134") {
			t.Errorf("entry, hash and tile rewritten: %v, want the first checkpoint after it and the range that it covers", report.Problems)
		}
	})
}

func TestShortenedLogIsFound(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		x := newTampered(t, dsn, 7)
		size := x.report.Size
		_, newest := x.raw.Query("SELECT note FROM audit_head")
		outside := [][]byte{newest[0][0].([]byte)}
		x.raw.Exec("DELETE FROM audit_entries WHERE seq >= $1", size-10)
		x.found("the last entries removed", fmt.Sprintf("entries %d to %d", size-10, size-1))

		// The head is set back to a kept checkpoint, which is signed.
		_, kept := x.raw.Query("SELECT num, size, note FROM audit_checkpoints WHERE size < $1 AND size > 256 ORDER BY num DESC LIMIT 1", size-10)
		number, shorter, note := kept[0][0].(int64), kept[0][1].(int64), kept[0][2]
		x.raw.Exec("DELETE FROM audit_entries WHERE seq >= $1", shorter)
		x.raw.Exec("UPDATE audit_head SET size = $1, note = $2", shorter, note)
		x.found("rolled back to a kept checkpoint", fmt.Sprint("checkpoint ", number+1))

		// All of it, checkpoints included: the copy in itself is sound, and
		// only a checkpoint kept elsewhere shows what is gone.
		x.raw.Exec("DELETE FROM audit_checkpoints WHERE num > $1", number)
		x.raw.Exec("UPDATE audit_head SET checkpoints = $1", number+1)
		wantSound(t, x.db, x.verifier)
		report, err := audit.Verify(t.Context(), x.db.Audit(), x.verifier, audit.VerifyOptions{Known: outside})
		if err != nil || report.OK() || !strings.Contains(report.Problems[0].What, "rolled back") {
			t.Errorf("rolled back as a whole, against a checkpoint kept elsewhere: %v, %v", report.Problems, err)
		}

		for _, table := range auditTables {
			x.raw.Exec("DELETE FROM " + table.name)
		}
		x.found("everything removed", "head")
	})
}

func TestLogSignedByAnotherKey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		x := newTampered(t, dsn, 2)
		other, verifier := keys(t)
		if report := verify(t, x.db, verifier); report.OK() || report.Problems[0].Where != "head" {
			t.Errorf("verified with another key: %v", report.Problems)
		}
		if _, err := audit.Open(t.Context(), audit.Config{Store: x.db.Audit(), Signer: other, Environment: "production"}); err == nil || !strings.Contains(err.Error(), "another key") {
			t.Errorf("opened with another key: %v", err)
		}
		x.raw.Exec("UPDATE audit_entries SET leaf_hash = $1 WHERE seq = 80", bytes.Repeat([]byte{7}, 32))
		if _, err := audit.Open(t.Context(), audit.Config{Store: x.db.Audit(), Signer: x.signer, Environment: "production"}); err == nil || !strings.Contains(err.Error(), "audit verify") {
			t.Errorf("opened with a changed hash: %v", err)
		}
	})
}

// TestLargeLog has tiles of the second level.
func TestLargeLog(t *testing.T) {
	dsn := storetest.SQLite(t)
	db, raw := storetest.Open(t, dsn), storetest.OpenRaw(t, dsn)
	signer, verifier := keys(t)
	log, stop := openLog(t, db.Audit(), signer)
	const entries = 65536 + 256 + 3
	for range entries {
		log.Refusal(audit.Entry{Action: "call", Rule: "publish/undeclared", Service: "scheduler", Platform: gatehouse.X})
	}
	stop()
	report := wantSound(t, db, verifier)
	if report.Size != entries || report.Tiles != 258 {
		t.Errorf("%d entries in %d tiles, want %d in 258", report.Size, report.Tiles, entries)
	}
	x := &tampered{t: t, dsn: dsn, db: db, raw: raw, signer: signer, verifier: verifier, report: report}
	_, tile := raw.Query("SELECT hashes FROM audit_tiles WHERE level = 1")
	raw.Exec("UPDATE audit_tiles SET hashes = $1 WHERE level = 1", changed("hashes", tile[0][0]))
	x.found("a tile of the second level changed", "tile 1/0")
	raw.Exec("DELETE FROM audit_tiles WHERE level = 1")
	x.found("all tiles of the second level removed", "tile 1/0")
	raw.Exec("INSERT INTO audit_tiles (level, idx, hashes) VALUES (1, 0, $1), (2, 0, $1)", tile[0][0])
	x.found("a tile of a level that there is not", "tile 2/0")
	raw.Exec("DELETE FROM audit_tiles WHERE level = 2")
	wantSound(t, db, verifier)
	// Going on from a state that is rebuilt from tiles of both levels.
	log, stop = openLog(t, db.Audit(), signer)
	for range 300 {
		log.Refusal(audit.Entry{Action: "call", Rule: "publish/undeclared"})
	}
	stop()
	wantSound(t, db, verifier)
}
