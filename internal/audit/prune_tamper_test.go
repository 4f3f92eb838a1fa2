package audit_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store/storetest"
)

// taken removes rows and returns what puts them back.
func (x *longLog) taken(table, key string, values ...int64) (putBack func()) {
	x.t.Helper()
	var list []string
	for _, v := range values {
		list = append(list, fmt.Sprint(v))
	}
	where := table + " WHERE " + key + " IN (" + strings.Join(list, ", ") + ")"
	columns, rows := x.raw.Query("SELECT * FROM " + where)
	if len(rows) == 0 {
		x.t.Fatalf("there are no rows of %s", where)
	}
	x.raw.Exec("DELETE FROM " + where)
	return func() {
		x.raw.Exec("DELETE FROM " + where)
		for _, row := range rows {
			holders := make([]string, len(row))
			for i := range row {
				holders[i] = fmt.Sprint("$", i+1)
			}
			x.raw.Exec("INSERT INTO "+table+" ("+strings.Join(columns, ", ")+") VALUES ("+strings.Join(holders, ", ")+")", row...)
		}
	}
}

// TestPrunedTampering changes what is left after a pruning, and what says that there was
// one.
func TestPrunedTampering(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		x := newLongLog(t, dsn, audit.Segment+700)
		if err := x.stop(); err != nil {
			t.Fatal(err)
		}
		// Without a pruning, nothing makes it one.
		all := x.taken("audit_entries", "seq", 0, 1, 2, 255)
		x.wrong("deleted rows", "entries 0 to 2: are missing")
		x.raw.Exec("INSERT INTO audit_pruned (log, start, entry, since, holder, until) VALUES (0, 65536, 65600, -1, '', 0)")
		x.wrong("a forged row", "the log does not say that its beginning was pruned")
		x.raw.Exec("DELETE FROM audit_pruned")
		all()
		x.sound(0)
		x.start()
		x.prune(1)
		if err := x.stop(); err != nil {
			t.Fatal(err)
		}
		x.sound(audit.Segment)
		_, rows := x.raw.Query("SELECT entry FROM audit_pruned")
		entry := fmt.Sprint(rows[0][0])

		for _, c := range []struct{ what, do, want string }{
			{"the row set back", "UPDATE audit_pruned SET start = 0", "are missing"},
			{"the row set back by a tile", "UPDATE audit_pruned SET start = 65280", "entries 65280 to 65535: are missing"},
			{"the row set forward", "UPDATE audit_pruned SET start = 65792", "says so of those up to 65535"},
			{"the row within a tile", "UPDATE audit_pruned SET start = 65537", "where no log can begin"},
			{"the row below nothing", "UPDATE audit_pruned SET start = -256", "where no log can begin"},
			{"the row beyond the end", "UPDATE audit_pruned SET start = 131072", "where no log can begin"},
			{"another entry named", "UPDATE audit_pruned SET entry = 65540", "is no record of a pruning"},
			{"no entry named", "UPDATE audit_pruned SET entry = -1", "no entry says"},
			{"the entry that says so changed", "UPDATE audit_entries SET leaf = (SELECT leaf FROM audit_entries WHERE seq = 65540) WHERE seq = " + entry, "is not the one that the checkpoint covers"},
			{"the row removed", "DELETE FROM audit_pruned", "are missing"},
			{"a row inserted below", "INSERT INTO audit_entries (seq, id, leaf, leaf_hash) SELECT 7, 'x', leaf, leaf_hash FROM audit_entries WHERE seq = 65540", "stands before entry 65536"},
			{"a tile inserted below", "INSERT INTO audit_tiles (level, idx, hashes) SELECT 0, 7, hashes FROM audit_tiles WHERE level = 1", "tile 0/7: is not part of the log"},
			{"the tile above changed", "UPDATE audit_tiles SET hashes = (SELECT hashes FROM audit_tiles WHERE level = 0 AND idx = 256) WHERE level = 1", "cannot be proved"},
			{"the tile above removed", "DELETE FROM audit_tiles WHERE level = 1", "are not all there"},
			{"an entry behind changed", "UPDATE audit_entries SET leaf = (SELECT leaf FROM audit_entries WHERE seq = 65540) WHERE seq = 65536", "entry 65536"},
			{"an entry behind removed", "DELETE FROM audit_entries WHERE seq = 65536", "entry 65536: is missing"},
			{"the first ones behind removed", "DELETE FROM audit_entries WHERE seq < 65792", "entries 65536 to 65791: are missing"},
			{"a checkpoint of before removed", "DELETE FROM audit_checkpoints WHERE num = 0", "checkpoint 0: is missing"},
			{"a checkpoint of before changed", "UPDATE audit_checkpoints SET note = (SELECT note FROM audit_checkpoints WHERE num = 1) WHERE num = 0", "checkpoint 0"},
		} {
			saved := x.copyPruned()
			x.raw.Exec(c.do)
			x.wrong(c.what, c.want)
			x.putPruned(saved)
		}
		x.sound(audit.Segment)
	})
}

// copyPruned copies the tables of a log of which little is left.
func (x *longLog) copyPruned() state {
	s := copyOf(x.raw)
	columns, rows := x.raw.Query("SELECT * FROM audit_pruned")
	s["audit_pruned"] = struct {
		columns []string
		rows    [][]any
	}{columns, rows}
	return s
}

func (x *longLog) putPruned(s state) {
	s.put(x.raw)
	x.raw.Exec("DELETE FROM audit_pruned")
	for _, row := range s["audit_pruned"].rows {
		x.raw.Exec("INSERT INTO audit_pruned ("+strings.Join(s["audit_pruned"].columns, ", ")+") VALUES ($1, $2, $3, $4, $5, $6)", row...)
	}
}

// TestPrunedWhileRunning: a program that runs takes what the log says was pruned, also
// if another process did it, and notices what somebody else removes.
func TestPrunedWhileRunning(t *testing.T) {
	for _, c := range []struct {
		what  string
		do    func(x *longLog)
		wrong bool
	}{
		{"pruned by this process", func(x *longLog) { x.prune(1) }, false},
		{"pruned by another process", func(x *longLog) {
			other, stop := run(x.t, config(x.t, x.db.Audit(), x.private))
			if _, err := x.pruner(func(c *audit.PruneConfig) { c.Log = other }).Prune(x.t.Context()); err != nil {
				x.t.Fatal(err)
			}
			if err := stop(); err != nil {
				x.t.Fatal(err)
			}
		}, false},
		{"removed, and the row forged", func(x *longLog) {
			x.raw.Exec("INSERT INTO audit_pruned (log, start, entry, since, holder, until) VALUES (0, 256, 65600, -1, '', 0)")
			x.raw.Exec("DELETE FROM audit_entries WHERE seq < 256")
			x.raw.Exec("DELETE FROM audit_tiles WHERE level = 0 AND idx = 0")
		}, true},
		{"more removed than was pruned", func(x *longLog) {
			x.prune(1)
			looked(x.t, x.log)
			x.raw.Exec("UPDATE audit_pruned SET start = 65792")
			x.raw.Exec("DELETE FROM audit_entries WHERE seq < 65792")
			x.raw.Exec("DELETE FROM audit_tiles WHERE level = 0 AND idx < 257")
		}, true},
		{"the tile above what was pruned changed", func(x *longLog) {
			x.prune(1)
			looked(x.t, x.log)
			x.raw.Exec("UPDATE audit_tiles SET hashes = (SELECT hashes FROM audit_tiles WHERE level = 0 AND idx = 256) WHERE level = 1")
		}, true},
		{"the row set back", func(x *longLog) {
			x.prune(1)
			looked(x.t, x.log)
			x.raw.Exec("UPDATE audit_pruned SET start = 0")
		}, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			x := newLongLog(t, storetest.SQLite(t), audit.Segment+300)
			if err := x.stop(); err != nil {
				t.Fatal(err)
			}
			conf := config(t, x.db.Audit(), x.private)
			if c.wrong {
				conf.OnFault = func(error) {}
			}
			x.log, x.stop = run(t, conf)
			looked(t, x.log)
			c.do(x)
			if c.wrong {
				eventually(t, "noticing", func() bool { return x.log.State().Condition == audit.Tampered })
				return
			}
			for range 3 {
				looked(t, x.log)
			}
			// Another that comes anew.
			again, err := audit.Open(t.Context(), config(t, x.db.Audit(), x.private))
			if err != nil {
				t.Fatal(err)
			}
			if err := audit.WalkAll(t.Context(), again); err != nil {
				t.Errorf("walking anew: %v", err)
			}
			x.sound(audit.Segment)
		})
	}
}

// TestNotPruned are segments that stay.
func TestNotPruned(t *testing.T) {
	x := newLongLog(t, storetest.SQLite(t), audit.Segment-200)
	x.prune(0) // not complete
	r, err := x.log.Intent(t.Context(), call())
	if err != nil {
		t.Fatal(err)
	}
	x.fill(audit.Segment + 300)
	none := func(what string, is error, change func(*audit.PruneConfig)) {
		t.Helper()
		if done, err := x.pruner(change).Prune(t.Context()); len(done) != 0 || !errors.Is(err, is) {
			t.Errorf("%s: %v, %v", what, done, err)
		}
		x.sound(0)
		if files, err := os.ReadDir(x.dir); err != nil || len(files) > 0 && is == nil {
			t.Errorf("%s: the directory holds %v, %v", what, files, err)
		}
	}
	none("kept for ever", nil, func(c *audit.PruneConfig) { c.Keep = 0 })
	none("not old", nil, func(c *audit.PruneConfig) { c.Keep = time.Hour })
	none("an intent without an outcome", gatehouse.ErrConflict, nil)
	x.log.Outcome(r, audit.Entry{Status: 200})
	none("an outcome in a later segment", gatehouse.ErrConflict, nil)
	none("no such directory", os.ErrNotExist, func(c *audit.PruneConfig) { c.Dir = filepath.Join(x.dir, "nowhere") })
	// A segment that is not as it was signed is evidence.
	putBack := x.taken("audit_entries", "seq", 300)
	if _, err := x.pruner(func(c *audit.PruneConfig) { c.Dir = "" }).Prune(t.Context()); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("with a missing entry: %v", err)
	}
	putBack()
	x.raw.ExecUncounted("UPDATE audit_entries SET personal = personal || x'00' WHERE seq = 0")
	if _, err := x.pruner(func(c *audit.PruneConfig) { c.Dir = "" }).Prune(t.Context()); !errors.Is(err, audit.ErrTampered) {
		t.Errorf("with changed sealed fields: %v", err)
	}
	// Nor is anything added to what somebody else has deleted.
	if err := x.stop(); err != nil {
		t.Fatal(err)
	}
	x.raw.Exec("UPDATE audit_pruned SET start = 256")
	if _, err := x.pruner(nil).Prune(t.Context()); !errors.Is(err, audit.ErrTampered) {
		t.Errorf("with a forged beginning: %v", err)
	}
}
