package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
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

var logTables = []string{"audit_entries", "audit_tiles", "audit_head", "audit_checkpoints", "audit_search", "audit_forgotten", "audit_logs", "audit_pruned"}

// state is a copy of the log's tables.
type state map[string]struct {
	columns []string
	rows    [][]any
}

func copyOf(raw *storetest.Raw) state {
	s := state{}
	for _, table := range logTables {
		columns, rows := raw.Query("SELECT * FROM " + table)
		s[table] = struct {
			columns []string
			rows    [][]any
		}{columns, rows}
	}
	return s
}

// put makes the tables what the copy holds; what is the same stays.
func (s state) put(raw *storetest.Raw) {
	for _, table := range logTables {
		raw.Exec("DELETE FROM " + table)
		for rows := range slices.Chunk(s[table].rows, 50) {
			var values []string
			var args []any
			for _, row := range rows {
				holders := make([]string, len(row))
				for i := range row {
					holders[i] = fmt.Sprint("$", len(args)+i+1)
				}
				values, args = append(values, "("+strings.Join(holders, ", ")+")"), append(args, row...)
			}
			raw.Exec("INSERT INTO "+table+" ("+strings.Join(s[table].columns, ", ")+") VALUES "+strings.Join(values, ", "), args...)
		}
	}
}

// A history is a log of random length and kind, what was kept of it elsewhere, and
// copies of its database.
type history struct {
	t        *testing.T
	db       *store.DB
	raw      *storetest.Raw
	private  string
	verifier note.Verifier
	// older is a copy of the database from before, and now the present one.
	older, now state
	// kept are checkpoints that were kept elsewhere, the last of them the newest.
	kept [][]byte
	// watched is what a witness elsewhere remembers.
	watched remembered
	// known is an entry that was proved to somebody.
	known audit.Proof
	size  int64
}

// happen appends a random number of random entries, up to most.
func (h *history) happen(most int) {
	log, stop := run(h.t, config(h.t, h.db.Audit(), h.private))
	for range 1 + rand.IntN(most) {
		switch rand.IntN(4) {
		case 0:
			r, err := log.Intent(h.t.Context(), call())
			if err != nil {
				h.t.Fatal(err)
			}
			if rand.IntN(8) > 0 {
				log.Outcome(r, audit.Entry{Status: 200, Bytes: rand.Int64N(1000)})
			}
		case 1:
			log.Refusal(audit.Entry{Action: "handle.refuse", Rule: "handle/expired"})
		default:
			e := call()
			e.Verdict, e.Person = "refuse", gatehouse.PersonID(fmt.Sprint("person-", rand.IntN(5)))
			log.Refusal(e)
		}
	}
	if rand.IntN(3) == 0 {
		if err := log.ForgetPerson(h.t.Context(), gatehouse.PersonID(fmt.Sprint("person-", rand.IntN(5)))); err != nil {
			h.t.Fatal(err)
		}
	}
	if err := stop(); err != nil {
		h.t.Fatal(err)
	}
}

// keep keeps the newest checkpoint elsewhere, has the witness look, and proves an entry.
func (h *history) keep() {
	view, err := audit.Newest(h.t.Context(), audit.NewSource(h.db.Audit()), h.verifier)
	if err != nil {
		h.t.Fatal(err)
	}
	h.kept, h.size = append(h.kept, view.Note), view.Size
	w, _ := witnessOf(h.t, audit.NewSource(h.db.Audit()), h.verifier, &h.watched)
	if _, err := w.Look(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	p, err := view.Prove(h.t.Context(), rand.Int64N(view.Size))
	if err != nil {
		h.t.Fatal(err)
	}
	h.known = *p
}

func newHistory(t *testing.T, dsn string) *history {
	h := &history{t: t, db: storetest.Open(t, dsn), raw: storetest.OpenRaw(t, dsn)}
	h.private, h.verifier = newKey(t)
	for range 1 + rand.IntN(2) {
		h.happen(300)
		h.keep()
	}
	h.older = copyOf(h.raw)
	h.happen(300)
	h.keep()
	h.now = copyOf(h.raw)
	return h
}

// detectors say whether they find something wrong with the log as it is now.
var detectors = map[string]func(h *history) bool{
	"verify":              func(h *history) bool { return !h.verify(audit.VerifyOptions{}) },
	"verify --checkpoint": func(h *history) bool { return !h.verify(audit.VerifyOptions{Known: h.kept}) },
	"verify --since": func(h *history) bool {
		return !h.verify(audit.VerifyOptions{Since: h.kept[0], Known: h.kept[len(h.kept)-1:]})
	},
	"prove": func(h *history) bool {
		view, err := audit.Newest(h.t.Context(), once(audit.NewSource(h.db.Audit())), h.verifier)
		if err != nil {
			return true
		}
		for n := range view.Size {
			if _, _, err := view.Entry(h.t.Context(), n); err != nil {
				return true
			}
		}
		return false
	},
	"consistency": func(h *history) bool {
		view, err := audit.Newest(h.t.Context(), audit.NewSource(h.db.Audit()), h.verifier)
		if err != nil {
			return true
		}
		for _, k := range append(h.kept, h.known.Checkpoint) {
			p, err := audit.OpenCheckpoint(k, h.verifier)
			if err != nil {
				h.t.Fatal(err)
			}
			if view.GrownFrom(p) != nil {
				return true
			}
		}
		return false
	},
	"watch": func(h *history) bool {
		memory := h.watched
		w, _ := witnessOf(h.t, audit.NewSource(h.db.Audit()), h.verifier, &memory)
		_, err := w.Look(h.t.Context())
		return err != nil
	},
	"export": func(h *history) bool {
		have, put := directory(h.t.TempDir())
		x := audit.Exporter{Source: audit.NewSource(h.db.Audit()), Verifier: h.verifier, Have: have, Put: put}
		_, err := x.Export(h.t.Context())
		return err != nil
	},
}

// once asks a source once for each path.
func once(source audit.Source) audit.Source {
	type answer struct {
		content []byte
		err     error
	}
	seen := map[string]answer{}
	return func(ctx context.Context, path string) ([]byte, error) {
		a, ok := seen[path]
		if !ok {
			a.content, a.err = source(ctx, path)
			seen[path] = a
		}
		return a.content, a.err
	}
}

func (h *history) verify(o audit.VerifyOptions) bool {
	h.t.Helper()
	report, err := audit.Verify(h.t.Context(), h.db.Audit(), h.verifier, o)
	if err != nil {
		h.t.Fatal(err)
	}
	return report.OK()
}

// any returns a random entry of the log.
func (h *history) any() int64 { return rand.Int64N(h.size) }

// changedByte returns b with one bit of it changed.
func changedByte(b []byte) []byte {
	b = bytes.Clone(b)
	b[rand.IntN(len(b))] ^= 1 << rand.IntN(8)
	return b
}

// evils are what is done to a log, and who always finds it. Whoever is not named finds
// it sometimes, or never: verify alone cannot know that a whole copy is an old one, and
// a witness does not read what lies far behind.
var evils = map[string]struct {
	do    func(h *history)
	found []string
}{
	"an entry's bytes are changed": {func(h *history) {
		n := h.any()
		_, rows := h.raw.Query("SELECT leaf FROM audit_entries WHERE seq = $1", n)
		h.raw.Exec("UPDATE audit_entries SET leaf = $1 WHERE seq = $2", changedByte(rows[0][0].([]byte)), n)
	}, []string{"verify", "verify --checkpoint", "prove", "export"}},
	"an entry is rewritten with its hash": {func(h *history) {
		n := h.any()
		_, rows := h.raw.Query("SELECT leaf FROM audit_entries WHERE seq = $1", n)
		leaf := bytes.Replace(rows[0][0].([]byte), []byte(`"production"`), []byte(`"productiom"`), 1)
		hash := audit.LeafHash(leaf)
		h.raw.Exec("UPDATE audit_entries SET leaf = $1, leaf_hash = $2 WHERE seq = $3", leaf, hash[:], n)
	}, []string{"verify", "verify --checkpoint", "prove", "export"}},
	"sealed fields are changed": {func(h *history) {
		_, rows := h.raw.Query("SELECT seq, personal FROM audit_entries WHERE personal IS NOT NULL ORDER BY seq")
		row := rows[rand.IntN(len(rows))]
		h.raw.Exec("UPDATE audit_entries SET personal = $1 WHERE seq = $2", changedByte(row[1].([]byte)), row[0])
	}, []string{"verify", "verify --checkpoint"}},
	"an entry is removed": {func(h *history) {
		h.raw.Exec("DELETE FROM audit_entries WHERE seq = $1", h.any())
	}, []string{"verify", "verify --checkpoint", "prove", "export"}},
	"an entry is removed, and the later ones close the gap": {func(h *history) {
		n := h.any()
		h.raw.Exec("DELETE FROM audit_entries WHERE seq = $1", n)
		h.raw.Exec("UPDATE audit_entries SET seq = -seq WHERE seq > $1", n)
		h.raw.Exec("UPDATE audit_entries SET seq = -seq - 1 WHERE seq < 0")
	}, []string{"verify", "verify --checkpoint", "prove", "export"}},
	"an entry is inserted": {func(h *history) {
		n := h.any()
		h.raw.Exec("UPDATE audit_entries SET seq = -seq - 1 WHERE seq >= $1", n)
		h.raw.Exec("UPDATE audit_entries SET seq = -seq WHERE seq < 0")
		h.raw.Exec("INSERT INTO audit_entries (seq, id, leaf, leaf_hash) SELECT CAST($1 AS BIGINT), 'inserted', leaf, leaf_hash FROM audit_entries WHERE seq = (SELECT max(seq) FROM audit_entries)", n)
	}, []string{"verify", "verify --checkpoint"}},
	"two entries change places": {func(h *history) {
		a, b := h.any(), h.any()
		for a == b {
			a = h.any()
		}
		h.raw.Exec("UPDATE audit_entries SET seq = -1 WHERE seq = $1", a)
		h.raw.Exec("UPDATE audit_entries SET seq = $1 WHERE seq = $2", a, b)
		h.raw.Exec("UPDATE audit_entries SET seq = $1 WHERE seq = -1", b)
	}, []string{"verify", "verify --checkpoint", "prove", "export"}},
	"the last entries are cut off": {func(h *history) {
		h.raw.Exec("DELETE FROM audit_entries WHERE seq >= $1", h.size-1-rand.Int64N(min(h.size-1, 20)))
	}, []string{"verify", "verify --checkpoint", "verify --since", "prove", "export"}},
	"a tile is changed": {func(h *history) {
		_, rows := h.raw.Query("SELECT level, idx, hashes FROM audit_tiles")
		if len(rows) == 0 {
			h.raw.Exec("INSERT INTO audit_tiles (level, idx, hashes) VALUES (0, 0, $1)", make([]byte, 8192))
			return
		}
		row := rows[rand.IntN(len(rows))]
		h.raw.Exec("UPDATE audit_tiles SET hashes = $1 WHERE level = $2 AND idx = $3", changedByte(row[2].([]byte)), row[0], row[1])
	}, []string{"verify", "verify --checkpoint"}},
	"the newest checkpoint is changed": {func(h *history) {
		_, rows := h.raw.Query("SELECT note FROM audit_head")
		h.raw.Exec("UPDATE audit_head SET note = $1", changedByte(rows[0][0].([]byte)))
	}, []string{"verify", "verify --checkpoint", "verify --since", "prove", "consistency", "watch", "export"}},
	"a kept checkpoint is removed": {func(h *history) {
		_, rows := h.raw.Query("SELECT num FROM audit_checkpoints")
		h.raw.Exec("DELETE FROM audit_checkpoints WHERE num = $1", rows[rand.IntN(len(rows))][0])
	}, []string{"verify", "verify --checkpoint", "verify --since"}},
	"rolled back to an older copy": {func(h *history) { h.older.put(h.raw) },
		[]string{"verify --checkpoint", "verify --since", "consistency", "watch"}},
	"forked with the log's own key": {func(h *history) {
		// Whoever has the key goes on from the older copy, in another way.
		h.older.put(h.raw)
		h.happen(600)
	}, []string{"verify --checkpoint", "verify --since", "consistency", "watch"}},
	"written anew with the log's own key": {func(h *history) {
		for _, table := range logTables {
			h.raw.Exec("DELETE FROM " + table)
		}
		for int64(h.rows()) <= h.size {
			h.happen(1000)
		}
	}, []string{"verify --checkpoint", "verify --since", "consistency", "watch"}},
	"removed as a whole": {func(h *history) {
		for _, table := range logTables {
			h.raw.Exec("DELETE FROM " + table)
		}
	}, []string{"verify", "verify --checkpoint", "verify --since", "prove", "consistency", "watch", "export"}},
}

func (h *history) rows() int {
	_, rows := h.raw.Query("SELECT seq FROM audit_entries")
	return len(rows)
}

// TestHistories does everything to random logs. docs/audit-log.md has the table.
func TestHistories(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		rounds := 2
		if strings.HasPrefix(dsn, "postgres") {
			rounds = 1
		}
		count := map[string]map[string]int{}
		for range rounds {
			h := newHistory(t, dsn)
			for name, finds := range detectors {
				if finds(h) {
					t.Fatalf("%s finds something in a log that nobody touched", name)
				}
			}
			for name, evil := range evils {
				evil.do(h)
				if count[name] == nil {
					count[name] = map[string]int{}
				}
				for detector, finds := range detectors {
					found := finds(h)
					if found {
						count[name][detector]++
					} else if slices.Contains(evil.found, detector) {
						t.Errorf("%s: %s does not find it", name, detector)
					}
				}
				h.now.put(h.raw)
			}
			for name, finds := range detectors {
				if finds(h) {
					t.Fatalf("%s finds something after all was put back", name)
				}
			}
			for _, table := range logTables {
				h.raw.Exec("DELETE FROM " + table)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(count)) {
			t.Logf("%-55s %v of %d", name, count[name], rounds)
		}
	})
}

// TestVerifySince: what lies before the checkpoint is not read again, what comes after
// is, wherever the border between two tiles lies.
func TestVerifySince(t *testing.T) {
	db, private := storetest.Open(t, storetest.SQLite(t)), ""
	private, verifier := newKey(t)
	var kept [][]byte
	for _, n := range []int{1, 254, 1, 1, 200, 55, 300, 5} { // 1, 255, 256, 257, 457, 512, 812, 817
		grown(t, db, private, n)
		head, err := db.Audit().Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, head.Note)
	}
	since := func(n int, known ...[]byte) audit.Report {
		report, err := audit.Verify(t.Context(), db.Audit(), verifier, audit.VerifyOptions{Since: kept[n], Known: known})
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	whole := verifyLog(t, db.Audit(), verifier)
	for n := range kept {
		report := since(n, kept[n:]...)
		if !report.OK() || report.Size != 817 || report.Root != whole.Root || report.Since < 1 || n > 0 && report.Bytes >= whole.Bytes {
			t.Errorf("since checkpoint %d: %+v", n, report)
		}
	}
	if report := since(3, kept[0]); report.OK() {
		t.Error("a checkpoint that is not compared is taken for one that is")
	}
	other, _ := newKey(t)
	strange := storetest.Open(t, storetest.SQLite(t))
	grown(t, strange, other, 10)
	for name, c := range map[string]struct {
		private string
		n       int
	}{"another log's": {private, 100}, "one of another key": {other, 100}, "one of a longer log": {private, 900}} {
		db2 := storetest.Open(t, storetest.SQLite(t))
		grown(t, db2, c.private, c.n)
		head, err := db2.Audit().Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		report, err := audit.Verify(t.Context(), db.Audit(), verifier, audit.VerifyOptions{Since: head.Note})
		if err != nil || report.OK() || report.Problems[0].Where != "the checkpoint given" {
			t.Errorf("since %s checkpoint: %+v, %v", name, report, err)
		}
	}
}
