package audit_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/internal/audit"
	"gatehouse/internal/store/storetest"

	"golang.org/x/mod/sumdb/note"
)

// prune prunes what is complete of a log, as its node would, and returns the entries of
// log 0 that it has name the logs from now on.
func (n *nodes) prune(number int64, dir string) (entered map[int64]string) {
	n.t.Helper()
	signer, err := note.NewSigner(n.privates[number])
	if err != nil {
		n.t.Fatal(err)
	}
	log, stop := run(n.t, config(n.t, n.db.AuditLog(number), n.privates[number]))
	entered = map[int64]string{}
	c := audit.PruneConfig{
		Log: log, Store: n.db.AuditLog(number), Signer: signer, Keep: 1, Dir: dir, Others: n.config(number).Others,
		Entered: func(_ context.Context, number int64, entry string) error {
			entered[number] = entry
			return nil
		},
	}
	p, err := audit.NewPruner(c)
	if err != nil {
		n.t.Fatal(err)
	}
	done, err := p.Prune(n.t.Context())
	if err != nil || len(done) != 1 || dir != "" && done[0].Archive != audit.ArchiveName(n.verifiers[number].Name(), 0) {
		n.t.Fatalf("pruning log %d: %+v, %v", number, done, err)
	}
	if err := stop(); err != nil {
		n.t.Fatal(err)
	}
	return entered
}

// tampered reports whether the node of log 0 notices something at its next look, or if
// meanwhile is not nil, at the one after that, when this was done in between.
func (n *nodes) tampered(meanwhile func()) bool {
	n.t.Helper()
	c := n.config(0)
	c.OnFault = func(error) {}
	log, stop := run(n.t, c)
	if meanwhile != nil {
		if err := log.LookAround(n.t.Context()); err != nil {
			n.t.Fatal(err)
		}
		meanwhile()
	}
	_ = log.LookAround(n.t.Context())
	found := log.State().Condition == audit.Tampered
	_ = stop()
	if found {
		if err := audit.ForgetSeen(n.asides[0]); err != nil {
			n.t.Fatal(err)
		}
	}
	return found
}

// Two nodes' logs are pruned one after the other: neither forgets the other, nothing is
// taken for tampering, and tampering is found.
func TestPruneTwoLogs(t *testing.T) {
	n := newNodes(t, storetest.SQLite(t))
	dir := t.TempDir()
	n.happen(1, 300)
	n.happen(0, 300)
	older := copyOf(n.raw)
	grownTo(t, n.db.AuditLog(1), n.privates[1], 512)
	n.happen(0, 1) // records 512 entries, where a tile ends
	grownTo(t, n.db.AuditLog(0), n.privates[0], audit.Segment+10)

	entered := n.prune(0, dir)
	if report := n.sound(audit.LogsOptions{}); report.Pruned != audit.Segment || report.Others[0].Pruned != 0 || report.Others[0].Size != 512 {
		t.Fatalf("log 0 is pruned: %+v", report)
	}
	named, err := n.db.Audit().Entry(t.Context(), entered[1])
	if err != nil || named.Seq < audit.Segment {
		t.Errorf("log 0 names log 1 in entry %d, %v", named.Seq, err)
	}
	if of := n.crosses(0); len(of) != 1 || of[0]["size"] != "512" {
		t.Errorf("what is left in log 0 of log 1: %v", of)
	}
	now := copyOf(n.raw)
	for name, c := range map[string]struct {
		do    func()
		where string
		what  string
	}{
		"a log is removed":                           {func() { n.drop(1, -1) }, "head", "missing"},
		"a log is removed with its line in the list": {func() { n.remove(1) }, "log " + origin + "/blue", "is missing"},
		"a log is rolled back":                       {func() { now.with(1, older).put(n.raw) }, "log " + origin + "/blue", "rolled back"},
		"a log's key in the list is changed":         {func() { n.raw.Exec("UPDATE audit_logs SET verifier = $1 WHERE num = 1", n.publics[0]) }, "log " + origin + "/blue", "another public key"},
	} {
		c.do()
		n.unsound(name, c.where, c.what, audit.LogsOptions{})
		now.put(n.raw)
	}

	// Log 0 holds checkpoints of log 1 of 512 entries, and of some within a tile.
	grownTo(t, n.db.AuditLog(1), n.privates[1], 700)
	within := n.head(1)
	n.happen(0, 1)
	grownTo(t, n.db.AuditLog(1), n.privates[1], audit.Segment+300)
	n.prune(1, dir) // to the same directory
	report := n.sound(audit.LogsOptions{})
	if blue := report.Others[0]; blue.Pruned != audit.Segment || blue.Uncompared != 1 {
		t.Errorf("log 1 is pruned: %+v, want one checkpoint that is not compared", blue)
	}
	archive := &audit.Archive{Verifier: n.verifiers[1], Keep: func(string) bool { return true }}
	if err := archive.Check(t.Context(), strings.NewReader(string(read(t, filepath.Join(dir, audit.ArchiveName(origin+"/blue", 0)))))); err != nil {
		t.Fatal(err)
	}
	all := audit.LogsOptions{Known: [][]byte{within, n.head(0)}, Archive: archive.Source, ArchiveOf: origin + "/blue"}
	if report := n.sound(all); report.Others[0].Uncompared != 0 {
		t.Errorf("with the archive: %+v", report.Others[0])
	}
	if n.tampered(nil) { // it knows log 1 of 700 entries, which are gone
		t.Error("the other node takes a pruning for tampering")
	}
	n.sound(audit.LogsOptions{})

	now = copyOf(n.raw)
	for name, c := range map[string]struct {
		do    func()
		where string
		what  string
		seen  bool
	}{
		"more is removed than was pruned": {func() {
			n.raw.Exec("UPDATE audit_pruned SET start = 65792 WHERE log = 1")
			n.raw.Exec("DELETE FROM audit_entries WHERE seq >= $1 AND seq < $2", int64(1)<<40, int64(1)<<40+65792)
			n.raw.Exec("DELETE FROM audit_tiles WHERE level = 0 AND idx = $1", int64(1)<<40+256)
		}, "the beginning", "entries before 65792 are gone", true},
		"the row of log 1 names an entry of log 0": {func() {
			_, rows := n.raw.Query("SELECT entry FROM audit_pruned WHERE log = 0")
			n.raw.Exec("UPDATE audit_pruned SET entry = $1 WHERE log = 1", number(t, rows[0][0])-1<<40)
		}, "the beginning", "no entry says", true},
		"the row of log 1 is removed":             {func() { n.raw.Exec("DELETE FROM audit_pruned WHERE log = 1") }, "entries 0 to 65535", "are missing", false},
		"a log is removed, its beginning with it": {func() { n.remove(1); n.raw.Exec("DELETE FROM audit_pruned WHERE log = 1") }, "log " + origin + "/blue", "is missing", true},
		"the tile that is left is changed": {func() {
			n.raw.Exec("UPDATE audit_tiles SET hashes = (SELECT hashes FROM audit_tiles WHERE level = 1 AND idx = 0) WHERE level = 1 AND idx <> 0")
		}, "the beginning", "cannot be proved", true},
		"the row of log 0 is set forward, where log 1 has said as much": {func() { n.raw.Exec("UPDATE audit_pruned SET start = 65792 WHERE log = 0") }, "the beginning", "where no log can begin", true},
	} {
		c.do()
		n.unsound(name, c.where, c.what, audit.LogsOptions{})
		if found := n.tampered(nil); found != c.seen {
			t.Errorf("%s: the other node notices it: %v", name, found)
		}
		now.put(n.raw)
	}

	// If the last case was the one that the node does not notice, it has seen entries that
	// are gone again.
	if err := audit.ForgetSeen(n.asides[0]); err != nil {
		t.Fatal(err)
	}
	if !n.tampered(func() { n.raw.Exec("UPDATE audit_pruned SET start = 0 WHERE log = 1") }) {
		t.Error("the other node does not notice that the row of log 1 was set back")
	}
	now.put(n.raw)

	// What log 0 holds of the pruned part is compared where a tile ends, and all behind it.
	for size, what := range map[string]string{
		"768": "which were pruned, are others", "65536": "which were pruned, are others", "65541": "entries are others than those",
	} {
		log, stop := run(t, config(t, n.db.Audit(), n.privates[0]))
		if _, err := log.Record(t.Context(), audit.Entry{Action: "log.cross", Facts: map[string]string{
			"origin": origin + "/blue", "size": size, "root": report.Root,
		}}); err != nil {
			t.Fatal(err)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		n.unsound("a fork of "+size+" entries", "log "+origin+"/blue", what, audit.LogsOptions{})
		now.put(n.raw)
	}
}

// What log 0 says of a log that is gone is said again when it is pruned, unless an
// operator has accepted the loss.
func TestPruneKeepsWhatIsMissing(t *testing.T) {
	for _, accepted := range []bool{false, true} {
		t.Run(fmt.Sprint("accepted ", accepted), func(t *testing.T) {
			n := newNodes(t, storetest.SQLite(t))
			record := func(e audit.Entry) {
				t.Helper()
				log, stop := run(t, config(t, n.db.Audit(), n.privates[0]))
				if _, err := log.Record(t.Context(), e); err != nil {
					t.Fatal(err)
				}
				if err := stop(); err != nil {
					t.Fatal(err)
				}
			}
			green := origin + "/green"
			record(audit.Entry{Action: "log.node", Facts: map[string]string{"node": "green", "origin": green, "key": n.publics[1]}})
			record(audit.Entry{Action: "log.cross", Facts: map[string]string{"origin": green, "size": "5", "root": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}})
			grownTo(t, n.db.Audit(), n.privates[0], audit.Segment+10)
			if accepted {
				record(audit.Entry{Action: "log.accept", Verdict: "done"})
			}
			n.prune(0, "")
			if accepted {
				n.sound(audit.LogsOptions{})
				return
			}
			n.unsound("green is missing", "log "+green, "with 5 entries", audit.LogsOptions{})
			record(audit.Entry{Action: "log.accept", Verdict: "done"})
			n.sound(audit.LogsOptions{})
		})
	}
}
