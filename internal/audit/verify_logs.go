package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// LogsOptions say what else to compare the logs of a database with.
type LogsOptions struct {
	// Known and Since are as in VerifyOptions, and of any of the logs: a checkpoint says
	// of which one it is.
	Known, Since [][]byte
	// Keys are public keys of nodes' logs that were kept elsewhere, by node. Without
	// one, a log's key is the one that log 0 names.
	Keys map[string]note.Verifier
	// Archive, if not nil, has the tiles of pruned entries in which checkpoints of the log
	// with the origin ArchiveOf end.
	Archive   Source
	ArchiveOf string
	// Progress, if not nil, is called now and then, for one log after the other.
	Progress func(done, total int64)
}

// LogsReport is what VerifyLogs found: the report of log 0, which also has what is
// wrong with the logs together, and those of the others.
type LogsReport struct {
	Report
	Others []Report `json:"logs,omitempty"`
}

// OK reports whether all logs are as they were written, and whether all are there.
func (r *LogsReport) OK() bool {
	return r.CountProblems() == 0
}

// CountProblems returns how many problems there are.
func (r *LogsReport) CountProblems() int64 {
	n := r.ProblemCount
	for i := range r.Others {
		n += r.Others[i].ProblemCount
	}
	return n
}

// CountEntries returns how many entries there are.
func (r *LogsReport) CountEntries() int64 {
	n := r.Size
	for i := range r.Others {
		n += r.Others[i].Size
	}
	return n
}

// Print writes the report for a person.
func (r *LogsReport) Print(w io.Writer) {
	r.Report.Print(w)
	for i := range r.Others {
		r.Others[i].Print(w)
	}
}

// VerifyLogs is Verify for all logs of a database, as they are at one moment, and for
// what they say of one another: every log that another names is there and has grown
// from every checkpoint that is recorded of it, and every outcome has its intent, in
// whichever log. first is the public key of log 0, and the only thing that is believed.
func VerifyLogs(ctx context.Context, s LogsStore, first note.Verifier, o LogsOptions) (LogsReport, error) {
	var report LogsReport
	err := s.SnapshotLogs(ctx, func(r LogsReader) error {
		report = LogsReport{}
		v := &logsVerification{
			ctx: ctx, reader: r, options: o, report: &report, claims: map[string][]claim{}, newest: map[claimant]int64{},
			named: map[string]string{}, intents: newIntents(),
		}
		return v.run(first)
	})
	if err != nil {
		return report, fmt.Errorf("verifying the logs: %w", err)
	}
	return report, nil
}

// logsVerification is one pass over all logs.
type logsVerification struct {
	ctx     context.Context
	reader  LogsReader
	options LogsOptions
	report  *LogsReport
	intents *intents
	// all are the logs that were looked at.
	all []*verifiedLog
	// claims are what logs say of the log with an origin, and newest the size that each
	// said last.
	claims map[string][]claim
	newest map[claimant]int64
	// named are the public keys of the nodes' logs, as log 0 has them, by origin.
	named map[string]string
	// partly says that of some log not every entry was looked at.
	partly bool
}

// verifiedLog is one log that was looked at.
type verifiedLog struct {
	Registration
	report   *Report
	verifier note.Verifier
	archive  Source
	// start is where the look began, and from the tree up to there.
	start int64
	from  *tree
}

func (v *logsVerification) run(first note.Verifier) error {
	list, err := v.reader.Logs(v.ctx)
	if err != nil {
		return err
	}
	present, err := v.reader.Present(v.ctx)
	if err != nil {
		return err
	}
	if err := v.verify(Registration{Origin: first.Name()}, first); err != nil {
		return err
	}
	for _, l := range list {
		if l.Number == 0 {
			continue
		}
		_, named := v.named[l.Origin]
		if !slices.Contains(present, l.Number) && !named && len(v.claims[l.Origin]) == 0 {
			continue // entered in the list and never begun
		}
		verifier := v.key(l)
		if verifier == nil {
			v.add(l.Origin, "its public key, in the list of logs, cannot be read")
			continue
		}
		if err := v.verify(l, verifier); err != nil {
			return err
		}
	}
	v.listed(list, present)
	if err := v.compare(); err != nil {
		return err
	}
	v.intents.settle(v)
	for _, l := range v.all[1:] {
		v.report.Others = append(v.report.Others, *l.report)
	}
	return nil
}

// add notes what is wrong with a log as seen from the others.
func (v *logsVerification) add(origin, format string, args ...any) {
	v.report.add("log "+origin, format, args...)
}

// key chooses the key that a log is verified with: the one that was kept elsewhere,
// else the one that log 0 names, else that of the list.
func (v *logsVerification) key(l Registration) note.Verifier {
	listed, err := note.NewVerifier(l.Key)
	if err != nil || listed.Name() != l.Origin {
		listed = nil
	}
	if named, ok := v.named[l.Origin]; ok && named != l.Key {
		v.add(l.Origin, "the list of logs has another public key for it than log 0")
		if verifier, err := note.NewVerifier(named); err == nil {
			listed = verifier
		}
	}
	if kept := v.options.Keys[l.Node]; kept != nil {
		if listed == nil || kept.Name() != l.Origin || kept.KeyHash() != listed.KeyHash() {
			v.add(l.Origin, "is not of the key that was kept for node %s: it was replaced", l.Node)
		}
		return kept
	}
	return listed
}

// originOf returns the origin that a checkpoint names.
func originOf(signed []byte) string {
	line, _, _ := bytes.Cut(signed, []byte{'\n'})
	return string(line)
}

// verify looks at one log.
func (v *logsVerification) verify(l Registration, verifier note.Verifier) error {
	report := &Report{}
	if l.Number == 0 {
		report = &v.report.Report
	}
	*report = Report{Node: l.Node, Origin: verifier.Name()}
	o := VerifyOptions{Progress: v.options.Progress}
	if v.options.ArchiveOf == verifier.Name() {
		o.Archive = v.options.Archive
	}
	for _, signed := range v.options.Known {
		if originOf(signed) == verifier.Name() {
			o.Known = append(o.Known, signed)
		}
	}
	for _, signed := range v.options.Since {
		if originOf(signed) == verifier.Name() {
			o.Since = signed
		}
	}
	one := newVerification(v.ctx, v.reader.Log(l.Number), verifier, o, report)
	one.number, one.logs, one.intents = l.Number, v, v.intents
	if err := one.run(); err != nil {
		return err
	}
	v.partly = v.partly || one.start > 0
	from := one.from
	if from == nil {
		from = &tree{}
	}
	v.all = append(v.all, &verifiedLog{
		Registration: Registration{Number: l.Number, Node: l.Node, Origin: verifier.Name()},
		report:       report, verifier: verifier, archive: o.Archive, start: one.start, from: from,
	})
	return nil
}

// listed compares the list of logs with what is stored, and with what is said.
func (v *logsVerification) listed(list []Registration, present []int64) {
	for _, number := range present {
		if number != 0 && !slices.ContainsFunc(list, func(l Registration) bool { return l.Number == number }) {
			v.add(fmt.Sprintf("number %d", number), "has rows and is not in the list of logs: they were inserted, or its line was removed")
		}
	}
	there := map[string]struct{}{}
	for _, l := range v.all {
		there[l.Origin] = struct{}{}
		_, named := v.named[l.Origin]
		if l.Number == 0 || named {
			continue
		}
		if v.report.Since > 0 {
			l.report.Unvouched = v.options.Keys[l.Node] == nil && !v.given(l.Origin)
			continue
		}
		if l.report.Size > 2 {
			// Up to two, the node may be about to have itself entered in log 0. Whoever
			// prunes log 0 has it say again which logs there are.
			v.add(l.Origin, "log 0 does not know it: it was inserted, or the list of logs has another name for it")
		}
	}
	for _, origin := range slices.Sorted(maps.Keys(v.claims)) {
		all := v.claims[origin]
		if _, ok := there[origin]; ok || len(all) == 0 {
			continue
		}
		if slices.ContainsFunc(list, func(l Registration) bool { return l.Origin == origin }) {
			continue // its key cannot be read, which is reported
		}
		c := all[len(all)-1]
		v.add(origin, "is missing: %s names it, with %d entries", v.entry(c), v.newest[claimant{c.by, origin}])
	}
	for _, given := range []struct {
		name  string
		notes [][]byte
	}{{"known checkpoint", v.options.Known}, {sinceName, v.options.Since}} {
		for i, signed := range given.notes {
			if _, ok := there[originOf(signed)]; !ok {
				v.report.add(fmt.Sprintf("%s %d", given.name, i), "is of the log %.200q, which there is not", originOf(signed))
			}
		}
	}
}

// given reports whether a checkpoint of a log was given: one that its key did not sign is
// reported.
func (v *logsVerification) given(origin string) bool {
	of := func(signed []byte) bool { return originOf(signed) == origin }
	return slices.ContainsFunc(v.options.Known, of) || slices.ContainsFunc(v.options.Since, of)
}

// compare checks that each log has grown from every checkpoint that others hold of it.
func (v *logsVerification) compare() error {
	for _, l := range v.all {
		if l.report.Pruned > 0 {
			if err := v.comparePruned(l); err != nil {
				return err
			}
		}
		said := slices.DeleteFunc(v.claims[l.Origin], func(c claim) bool { return c.size <= l.start })
		slices.SortStableFunc(said, func(a, b claim) int { return int(a.size - b.size) })
		if err := v.compareWith(l, said); err != nil {
			return err
		}
	}
	return nil
}

func (v *logsVerification) compareWith(l *verifiedLog, said []claim) error {
	reader, t := v.reader.Log(l.Number), l.from.clone()
	wrong := map[int64]struct{}{} // one word for each log that says so
	for len(said) > 0 {
		c := said[0]
		if c.size > l.report.Size {
			v.add(l.Origin, "ends at %d entries, and %s has %d of it: it was rolled back", l.report.Size, v.entry(c), c.size)
			return nil
		}
		hashes, err := nextHashes(v.ctx, reader, t.size, l.report.Size)
		if err != nil {
			return err
		}
		if len(hashes) == 0 {
			return nil // something is missing, which is reported
		}
		for _, h := range hashes {
			t.push(h, func(Tile) {})
			if len(said) == 0 || said[0].size != t.size {
				continue
			}
			root := t.root()
			for ; len(said) > 0 && said[0].size == t.size; said = said[1:] {
				if _, told := wrong[said[0].by]; told || said[0].root == root {
					continue
				}
				wrong[said[0].by] = struct{}{}
				v.add(l.Origin, "its first %d entries are others than those that %s has of it: it was rolled back and written anew", t.size, v.entry(said[0]))
			}
		}
	}
	return nil
}

// nextHashes reads some leaf hashes from an index on: of a full tile where there is one,
// since those are read fast.
func nextHashes(ctx context.Context, r LogReader, from, size int64) ([]tlog.Hash, error) {
	var found []byte
	if end := from - from%tileWidth + tileWidth; end <= size {
		tiles, err := r.Tiles(ctx, 0, from/tileWidth, 1)
		if err != nil {
			return nil, err
		}
		if len(tiles) == 1 && tiles[0].Index == from/tileWidth && len(tiles[0].Hashes) == tileWidth*tlog.HashSize {
			found = tiles[0].Hashes[from%tileWidth*tlog.HashSize:]
		}
	} else {
		hashes, err := r.Hashes(ctx, from, size)
		if err != nil {
			return nil, err
		}
		if int64(len(hashes)) == size-from {
			found = bytes.Join(hashes, nil)
		}
	}
	all := make([]tlog.Hash, 0, len(found)/tlog.HashSize)
	for h := range slices.Chunk(found, tlog.HashSize) {
		if len(h) == tlog.HashSize {
			all = append(all, tlog.Hash(h))
		}
	}
	return all, nil
}

// intents are those that have no outcome yet, in any log.
type intents struct {
	open map[string]OpenIntent
	// early are outcomes whose intent was not found so far: it may be in a log that is
	// looked at later.
	early map[string]earlyOutcome
}

type earlyOutcome struct {
	number int64
	seq    int64
	id     string
}

// maxEarly bounds them; who has more has no log of ours.
const maxEarly = 1 << 16

func newIntents() *intents {
	return &intents{open: map[string]OpenIntent{}, early: map[string]earlyOutcome{}}
}

// begin takes an intent of the log with a number.
func (i *intents) begin(number int64, o OpenIntent) {
	if e, ok := i.early[o.ID]; ok && e.number != number {
		delete(i.early, o.ID)
		return
	}
	o.number = number
	i.open[o.ID] = o
}

// end takes an outcome; it reports false if it cannot have an intent.
func (i *intents) end(intent string, e earlyOutcome, several bool) bool {
	if _, ok := i.open[intent]; ok {
		delete(i.open, intent)
		return true
	}
	if _, twice := i.early[intent]; twice || !several || len(i.early) >= maxEarly {
		return false
	}
	i.early[intent] = e
	return true
}

// settle is for when all logs were looked at.
func (i *intents) settle(v *logsVerification) {
	for _, l := range v.all {
		i.list(l.Number, l.report)
		if v.partly {
			continue // an intent may lie before what was looked at
		}
		for _, intent := range slices.Sorted(maps.Keys(i.early)) {
			if e := i.early[intent]; e.number == l.Number {
				l.report.add(entryName(e.seq, e.id), "is the outcome of %q, which is no open intent of any log", intent)
			}
		}
	}
}

// list enters the open intents of a log in its report.
func (i *intents) list(number int64, r *Report) {
	var own []OpenIntent
	for _, o := range i.open {
		if o.number == number {
			own = append(own, o)
		}
	}
	slices.SortFunc(own, func(a, b OpenIntent) int { return int(a.Seq - b.Seq) })
	r.OpenCount = int64(len(own))
	r.Open = own[:min(len(own), maxListed)]
}

// MarshalJSON has a report of several logs say so: one of a single log is as it was.
func (r LogsReport) MarshalJSON() ([]byte, error) {
	type plain Report
	return json.Marshal(struct {
		plain
		Others []Report `json:"logs,omitempty"`
	}{plain(r.Report), r.Others})
}
