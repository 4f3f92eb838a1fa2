package audit_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"

	"golang.org/x/mod/sumdb/note"
)

// nodes is a database with log 0 and the log of node blue.
type nodes struct {
	t         *testing.T
	db        *store.DB
	raw       *storetest.Raw
	privates  [2]string
	verifiers [2]note.Verifier
	publics   [2]string
	// asides are the directories beside the logs.
	asides [2]string
}

func newNodes(t *testing.T, dsn string) *nodes {
	t.Helper()
	n := &nodes{t: t, db: storetest.Open(t, dsn), raw: storetest.OpenRaw(t, dsn), asides: [2]string{t.TempDir(), t.TempDir()}}
	n.begin()
	return n
}

// begin makes both logs anew, as a first start does.
func (n *nodes) begin() {
	n.t.Helper()
	for i, name := range []string{origin, origin + "/blue"} {
		private, public, err := note.GenerateKey(rand.Reader, name)
		if err != nil {
			n.t.Fatal(err)
		}
		n.privates[i], n.publics[i], n.verifiers[i] = private, public, mustVerifier(n.t, public)
	}
	l, err := n.db.RegisterLog(n.t.Context(), audit.Registration{Node: "blue", Origin: origin + "/blue", Key: n.publics[1]})
	if err != nil || l.Number != 1 {
		n.t.Fatal(l, err)
	}
	e := audit.Entry{Action: "log.node", Facts: map[string]string{"node": "blue", "origin": l.Origin, "key": l.Key}}
	for _, number := range []int64{1, 0} {
		log, stop := run(n.t, config(n.t, n.db.AuditLog(number), n.privates[number]))
		if _, err := log.Record(n.t.Context(), e); err != nil {
			n.t.Fatal(err)
		}
		if err := stop(); err != nil {
			n.t.Fatal(err)
		}
	}
}

// config is that of one of the logs, which records the other's checkpoints at each look.
func (n *nodes) config(number int64) audit.Config {
	c := config(n.t, n.db.AuditLog(number), n.privates[number])
	c.Others = &audit.Others{Store: n.db, Number: number, Key: n.publics[0]}
	c.CrossEvery = time.Nanosecond
	c.Aside = n.asides[number]
	return c
}

// happen appends to one log, and looks around.
func (n *nodes) happen(number int64, most int) {
	n.t.Helper()
	log, stop := run(n.t, n.config(number))
	for range 1 + mrand.IntN(most) {
		log.Refusal(audit.Entry{Action: "handle.refuse", Rule: "handle/expired"})
	}
	if err := log.LookAround(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
	if err := stop(); err != nil {
		n.t.Fatal(err)
	}
}

func (n *nodes) verify(o audit.LogsOptions) audit.LogsReport {
	n.t.Helper()
	report, err := audit.VerifyLogs(n.t.Context(), n.db, n.verifiers[0], o)
	if err != nil {
		n.t.Fatal(err)
	}
	return report
}

// sound fails unless all logs verify.
func (n *nodes) sound(o audit.LogsOptions) audit.LogsReport {
	n.t.Helper()
	report := n.verify(o)
	if !report.OK() {
		var text bytes.Buffer
		report.Print(&text)
		n.t.Fatalf("the logs do not verify:\n%s", text.String())
	}
	return report
}

// unsound fails unless a problem with the place says what.
func (n *nodes) unsound(name, where, what string, o audit.LogsOptions) {
	n.t.Helper()
	report := n.verify(o)
	for _, r := range append([]audit.Report{report.Report}, report.Others...) {
		for _, p := range r.Problems {
			if strings.Contains(p.Where, where) && strings.Contains(p.What, what) {
				return
			}
		}
	}
	var text bytes.Buffer
	report.Print(&text)
	n.t.Errorf("%s: want a problem of %q with %q, got\n%s", name, where, what, text.String())
}

// crosses returns the facts of the cross-references in a log.
func (n *nodes) crosses(number int64) []map[string]string {
	n.t.Helper()
	found, err := audit.List(n.t.Context(), n.db.AuditLog(number), audit.Filter{Action: "log.cross", Last: 1000})
	if err != nil {
		n.t.Fatal(err)
	}
	var all []map[string]string
	for _, e := range found {
		all = append(all, e.Facts)
	}
	return all
}

// head returns a log's newest checkpoint.
func (n *nodes) head(number int64) []byte {
	n.t.Helper()
	h, err := n.db.AuditLog(number).Head(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	return h.Note
}

// drop removes rows of a log from an index on; everything from -1 on.
func (n *nodes) drop(number, from int64) {
	low := number<<40 + max(from, 0)
	high := (number+1)<<40 - 1
	n.raw.Exec("DELETE FROM audit_entries WHERE seq BETWEEN $1 AND $2", low, high)
	n.raw.Exec("DELETE FROM audit_search WHERE seq BETWEEN $1 AND $2", low, high)
	if from < 0 {
		n.raw.Exec("DELETE FROM audit_tiles WHERE idx BETWEEN $1 AND $2", low, high)
		n.raw.Exec("DELETE FROM audit_checkpoints WHERE num BETWEEN $1 AND $2", low, high)
		n.raw.Exec("DELETE FROM audit_head WHERE id = $1", number+1)
	}
}

// remove removes a whole log, its line in the list included.
func (n *nodes) remove(number int64) {
	n.drop(number, -1)
	n.raw.Exec("DELETE FROM audit_logs WHERE num = $1", number)
}

// TestLogsNameEachOther: each log records what the other came to, once, and idle ones
// do not answer each other for ever.
func TestLogsNameEachOther(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		n := newNodes(t, dsn)
		n.happen(0, 400)
		n.happen(1, 400)
		n.happen(0, 1)
		of := n.crosses(1)
		if len(of) == 0 || of[len(of)-1]["origin"] != origin {
			t.Fatalf("log 1 has of log 0: %v", of)
		}
		of = n.crosses(0)
		p, err := audit.OpenCheckpoint(n.head(1), n.verifiers[1])
		if err != nil || len(of) == 0 {
			t.Fatal(of, err)
		}
		last := of[len(of)-1]
		if last["origin"] != origin+"/blue" || last["size"] != fmt.Sprint(p.Size) || last["root"] != p.Root.String() {
			t.Errorf("log 0 has of log 1: %v, want %d entries, root %s", last, p.Size, p.Root)
		}
		n.sound(audit.LogsOptions{Known: [][]byte{n.head(0), n.head(1)}})

		before := [2]int{len(n.crosses(0)), len(n.crosses(1))}
		for range 3 {
			for number := range int64(2) {
				log, stop := run(t, n.config(number))
				for range 3 {
					if err := log.LookAround(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if err := stop(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if after := [2]int{len(n.crosses(0)), len(n.crosses(1))}; after[0] > before[0]+1 || after[1] > before[1]+1 {
			t.Errorf("idle logs went from %v to %v cross-references", before, after)
		}
	})
}

// TestVerifyLogs: what is wrong with the logs together is named.
func TestVerifyLogs(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		n := newNodes(t, dsn)
		n.happen(0, 300)
		n.happen(1, 300)
		older, olderHead := copyOf(n.raw), n.head(1)
		n.happen(1, 300)
		n.happen(0, 300)
		n.happen(1, 300)
		now := copyOf(n.raw)
		known := [][]byte{n.head(0), n.head(1)}
		since := audit.LogsOptions{Since: [][]byte{olderHead, n.head(0)}, Known: known}
		whole := n.sound(audit.LogsOptions{Known: known, Keys: map[string]note.Verifier{"blue": n.verifiers[1]}})
		if len(whole.Others) != 1 || whole.Others[0].Node != "blue" || whole.Others[0].Size < 3 || whole.CountEntries() != whole.Size+whole.Others[0].Size {
			t.Errorf("the report: %+v", whole)
		}
		if report := n.sound(since); report.Since == 0 || report.Others[0].Since == 0 {
			t.Errorf("since checkpoints of both logs: %+v", report)
		}
		// Which key is a node's, log 0 says at its beginning.
		zero := [][]byte{n.head(0)}
		for what, c := range map[string]struct {
			o    audit.LogsOptions
			want bool
		}{
			"the whole":                      {audit.LogsOptions{}, false},
			"since a checkpoint of log 0":    {audit.LogsOptions{Since: zero}, true},
			"with one of the node's":         {audit.LogsOptions{Since: [][]byte{n.head(0), olderHead}}, false},
			"with a known one of the node's": {audit.LogsOptions{Since: zero, Known: [][]byte{n.head(1)}}, false},
			"with the node's key":            {audit.LogsOptions{Since: zero, Keys: map[string]note.Verifier{"blue": n.verifiers[1]}}, false},
		} {
			report := n.sound(c.o)
			var out bytes.Buffer
			report.Print(&out)
			if report.Unvouched || report.Others[0].Unvouched != c.want || strings.Contains(out.String(), "log-blue.pub") != c.want {
				t.Errorf("%s: the node's key is vouched for by nobody: %v\n%s", what, report.Others[0].Unvouched, &out)
			}
		}
		for _, o := range []audit.LogsOptions{{}, {Known: known}} {
			for name, c := range map[string]struct {
				do          func()
				where, what string
			}{
				"a log is removed":                           {func() { n.drop(1, -1) }, "head", "missing"},
				"a log is removed with its line in the list": {func() { n.remove(1) }, "log " + origin + "/blue", "is missing"},
				"a log's line in the list is removed":        {func() { n.raw.Exec("DELETE FROM audit_logs WHERE num = 1") }, "log number 1", "not in the list"},
				"a log's key in the list is changed":         {func() { n.raw.Exec("UPDATE audit_logs SET verifier = $1 WHERE num = 1", n.publics[0]) }, "log " + origin + "/blue", "another public key"},
				"a log has another number":                   {func() { n.raw.Exec("UPDATE audit_logs SET num = 2 WHERE num = 1") }, "log number 1", "not in the list"},
				"rows of no log are inserted": {func() {
					n.raw.Exec("INSERT INTO audit_head (id, size, checkpoints, note) SELECT 10, size, checkpoints, note FROM audit_head WHERE id = 1")
				}, "log number 9", "not in the list"},
				"log 0 is removed": {func() { n.drop(0, -1) }, "head", "missing"},
				"one log is rolled back": {func() {
					now.with(1, older).put(n.raw)
				}, "log " + origin + "/blue", "rolled back"},
			} {
				c.do()
				n.unsound(name, c.where, c.what, o)
				now.put(n.raw)
			}
		}
		n.sound(audit.LogsOptions{Known: known})
		n.unsound("a checkpoint of a log that there is not", "known checkpoint 0", "there is not", audit.LogsOptions{Known: [][]byte{[]byte("gatehouse/production/gone\n3\nx\n")}})
		n.unsound("another key was kept", "log "+origin+"/blue", "kept for node", audit.LogsOptions{Keys: map[string]note.Verifier{"blue": n.verifiers[0]}})
		text, err := json.Marshal(n.verify(audit.LogsOptions{}))
		if err != nil || !bytes.Contains(text, []byte(`"logs":[{"node":"blue"`)) || !bytes.Contains(text, []byte(`{"origin":"`+origin+`"`)) {
			t.Errorf("as JSON: %s, %v", text, err)
		}
	})
}

// TestOutcomeInAnotherLog: what one node began another may finish.
func TestOutcomeInAnotherLog(t *testing.T) {
	n := newNodes(t, storetest.SQLite(t))
	begun := map[string]string{}
	for number := range int64(2) {
		log, stop := run(t, n.config(number))
		for _, what := range []string{"finished elsewhere", "open"} {
			r, err := log.Intent(t.Context(), call())
			if err != nil {
				t.Fatal(err)
			}
			begun[fmt.Sprint(what, " ", number)] = r.ID()
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	finish := func(number int64, intent string) {
		t.Helper()
		log, stop := run(t, n.config(number))
		if err := errors.Join(log.OutcomeOf(intent), stop()); err != nil {
			t.Fatal(err)
		}
	}
	finish(1, begun["finished elsewhere 0"])
	finish(0, begun["finished elsewhere 1"])
	report := n.sound(audit.LogsOptions{})
	if report.OpenCount != 1 || report.Open[0].ID != begun["open 0"] || report.Others[0].OpenCount != 1 || report.Others[0].Open[0].ID != begun["open 1"] {
		t.Errorf("open intents: %v, %v", report.Open, report.Others[0].Open)
	}
	logs := []audit.ListedLog{{Store: n.db.Audit()}, {Registration: audit.Registration{Number: 1, Node: "blue"}, Store: n.db.AuditLog(1)}}
	pair, err := audit.ShowLogs(t.Context(), logs, begun["finished elsewhere 0"])
	if err != nil || len(pair) != 2 || pair[0].Node != "" || pair[1].Node != "blue" || pair[1].Log != 1 {
		t.Errorf("the pair: %+v, %v", pair, err)
	}
	if _, err := audit.ShowLogs(t.Context(), logs, "nothing"); err == nil {
		t.Error("an entry that there is not was shown")
	}
	all, err := audit.ListLogs(t.Context(), logs, audit.Filter{Last: 5})
	if err != nil || len(all) != 5 || !slices.IsSortedFunc(all, func(a, b audit.Shown) int { return int(a.Time - b.Time) }) {
		t.Errorf("listed together: %v, %v", all, err)
	}
	// A second outcome, and one of nothing, are problems whichever log has them.
	finish(0, begun["finished elsewhere 0"])
	n.unsound("a second outcome", "entry", "no open intent", audit.LogsOptions{})
	finish(1, "nothing")
	n.unsound("an outcome of nothing", "entry", "\"nothing\"", audit.LogsOptions{})
}

// TestOtherLogIsWatched: a running node notices within a look that another log is gone
// or went back, also when that happened while it was down, and goes on when an operator
// has accepted it.
func TestOtherLogIsWatched(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		n := newNodes(t, dsn)
		n.happen(1, 300)
		n.happen(0, 300)
		older := copyOf(n.raw)
		n.happen(1, 300)
		n.happen(0, 300)
		now := copyOf(n.raw)
		other := n.db.AuditLog(1)
		for name, do := range map[string]func(){
			"removed":                  func() { n.drop(1, -1) },
			"removed with its line":    func() { n.remove(1) },
			"its line has another key": func() { n.raw.Exec("UPDATE audit_logs SET verifier = $1 WHERE num = 1", n.publics[0]) },
			"its line is of another":   func() { n.raw.Exec("UPDATE audit_logs SET origin = 'x' WHERE num = 1") },
			"rolled back":              func() { now.with(1, older).put(n.raw) },
			"another of the same size": func() { n.raw.Exec("UPDATE audit_head SET note = $1 WHERE id = 2", []byte("another")) },
			"rolled back and grown anew": func() {
				head, err := other.Head(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				now.with(1, older).put(n.raw)
				grownTo(t, other, n.privates[1], head.Size+40)
			},
		} {
			for _, running := range []bool{true, false} {
				if !running {
					do()
				}
				c := n.config(0)
				c.OnFault = func(error) {}
				log, stop := run(t, c)
				if running {
					if err := log.LookAround(t.Context()); err != nil {
						t.Fatalf("%s: before anything was done: %v", name, err)
					}
					do()
				}
				_ = log.LookAround(t.Context())
				if s := log.State(); s.Condition != audit.Tampered {
					t.Errorf("%s, running %v: %+v, want it noticed", name, running, s)
				}
				_ = stop()
				if alert, err := audit.ReadAlert(n.asides[0]); err != nil || !strings.Contains(alert.What, "log") {
					t.Errorf("%s, running %v: the alert is %+v, %v", name, running, alert, err)
				}
				if err := audit.ForgetSeen(n.asides[0]); err != nil {
					t.Fatal(err)
				}
				now.put(n.raw)
				n.happen(0, 1) // it knows the others again
			}
		}
		// Accepted, the node goes on, and verification with it once that is on record.
		n.remove(1)
		n.unsound("removed", origin+"/blue", "is missing", audit.LogsOptions{})
		c := n.config(0)
		c.OnFault = func(error) {}
		log, stop := run(t, c)
		_ = log.LookAround(t.Context())
		if err := audit.Accept(n.asides[0]); err != nil {
			t.Fatal(err)
		}
		eventually(t, "going on", func() bool { return log.State().Condition == audit.Writable })
		if _, err := log.Record(t.Context(), audit.Entry{Action: "log.accept", Verdict: "done"}); err != nil {
			t.Fatal(err)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		n.sound(audit.LogsOptions{})
	})
}

// grownTo appends to a log until it has a size.
func grownTo(t *testing.T, s audit.Store, private string, size int64) {
	t.Helper()
	head, err := s.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	log, stop := run(t, config(t, s, private))
	for range size - head.Size {
		log.Refusal(audit.Entry{Action: "handle.refuse", Rule: "handle/unknown"})
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// with returns the copy with the rows of one log as another copy has them.
func (s state) with(number int64, other state) state {
	merged := maps.Clone(s)
	for table, column := range map[string]string{"audit_entries": "seq", "audit_search": "seq", "audit_tiles": "idx", "audit_checkpoints": "num", "audit_head": "id"} {
		at := slices.Index(s[table].columns, column)
		of := func(row []any) bool {
			n, ok := row[at].(int64)
			if table == "audit_head" {
				return ok && n == number+1
			}
			return ok && n>>40 == number
		}
		next := s[table]
		next.rows = slices.DeleteFunc(slices.Clone(next.rows), of)
		for _, row := range other[table].rows {
			if of(row) {
				next.rows = append(next.rows, row)
			}
		}
		merged[table] = next
	}
	return merged
}

// TestHistoriesOfTwoLogs does to random logs of two nodes what only several logs can
// show. docs/audit-log.md has the table.
func TestHistoriesOfTwoLogs(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		rounds := 2
		if strings.HasPrefix(dsn, "postgres") {
			rounds = 1
		}
		n := newNodes(t, dsn)
		count := map[string]map[string]int{}
		for range rounds {
			// Any number of turns; in the end each has seen the other's older state.
			victim := mrand.Int64N(2)
			for range 1 + mrand.IntN(4) {
				n.happen(mrand.Int64N(2), 300)
			}
			n.happen(victim, 300)
			n.happen(1-victim, 300)
			older := copyOf(n.raw)
			n.happen(victim, 300)
			crossed := n.db.AuditLog(victim)
			before, err := crossed.Head(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			n.happen(1-victim, 300)
			known := n.head(victim)
			now := copyOf(n.raw)

			detectors := map[string]func() bool{
				"verify":              func() bool { r := n.verify(audit.LogsOptions{}); return !r.OK() },
				"verify --checkpoint": func() bool { r := n.verify(audit.LogsOptions{Known: [][]byte{known}}); return !r.OK() },
				"verify --node":       func() bool { r := verifyLog(t, n.db.AuditLog(victim), n.verifiers[victim]); return !r.OK() },
				"the other node": func() bool {
					c := n.config(1 - victim)
					c.OnFault = func(error) {}
					log, err := audit.Open(t.Context(), c)
					if err != nil {
						return true
					}
					ctx, cancel := context.WithCancel(t.Context())
					ended := make(chan error, 1)
					go func() { ended <- log.Run(ctx) }()
					_ = log.LookAround(t.Context())
					found := log.State().Condition == audit.Tampered
					cancel()
					<-ended
					if found {
						if err := audit.ForgetSeen(n.asides[1-victim]); err != nil {
							t.Fatal(err)
						}
					}
					return found
				},
			}
			evils := map[string]struct {
				do    func()
				found []string
			}{
				"a whole log is deleted":                           {func() { n.drop(victim, -1) }, []string{"verify", "verify --checkpoint", "verify --node", "the other node"}},
				"a whole log and its line in the list are deleted": {func() { n.remove(victim) }, []string{"verify", "verify --checkpoint", "verify --node", "the other node"}},
				"one log is rolled back": {func() { now.with(victim, older).put(n.raw) },
					[]string{"verify", "verify --checkpoint", "the other node"}},
				"one log is rolled back and written anew with its key": {func() {
					now.with(victim, older).put(n.raw)
					grownTo(t, crossed, n.privates[victim], before.Size+20)
				}, []string{"verify", "verify --checkpoint", "the other node"}},
				"all logs are rolled back":                {func() { older.put(n.raw) }, []string{"verify --checkpoint", "the other node"}},
				"the last entries of one log are cut off": {func() { n.drop(victim, before.Size-1-mrand.Int64N(20)) }, []string{"verify", "verify --checkpoint", "verify --node"}},
			}
			asides := [2][]byte{files(t, n.asides[0]), files(t, n.asides[1])}
			putBack := func() {
				now.put(n.raw)
				putFiles(t, n.asides[0], asides[0])
				putFiles(t, n.asides[1], asides[1])
			}
			for name, finds := range detectors {
				if finds() {
					t.Fatalf("%s finds something in logs that nobody touched", name)
				}
				putBack()
			}
			for name, evil := range evils {
				if count[name] == nil {
					count[name] = map[string]int{}
				}
				evil.do()
				for _, detector := range slices.Backward(slices.Sorted(maps.Keys(detectors))) { // the other node, which writes, comes last
					found := detectors[detector]()
					if found {
						count[name][detector]++
					} else if slices.Contains(evil.found, detector) {
						t.Errorf("%s: %s does not find it", name, detector)
					}
				}
				putBack()
			}
			n.sound(audit.LogsOptions{Known: [][]byte{known}})
		}
		for _, name := range slices.Sorted(maps.Keys(count)) {
			t.Logf("%-55s %v of %d", name, count[name], rounds)
		}
	})
}

// files returns what lies in a directory beside a log, as JSON.
func files(t *testing.T, dir string) []byte {
	t.Helper()
	all := map[string][]byte{}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		all[f.Name()] = read(t, filepath.Join(dir, f.Name()))
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// putFiles makes a directory what files returned.
func putFiles(t *testing.T, dir string, text []byte) {
	t.Helper()
	all := map[string][]byte{}
	if err := errors.Join(json.Unmarshal(text, &all), os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	for name, content := range all {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
