package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/atrest"
	"gatehouse/internal/audit"

	"github.com/spf13/cobra"
)

const atRestAction = "doctor.at-rest"

// atRestRound is how many secrets are looked for in one walk over the places;
// with more, the places are walked over again.
const atRestRound = 100_000

// atRestOptions are what the operator asks for beyond what Gatehouse knows.
type atRestOptions struct {
	asJSON bool
	also   []string
}

// doctorAtRest runs the search and prints what it came to.
func doctorAtRest(c *cobra.Command, o *options, a atRestOptions) error {
	cfg, err := readConfig(o)
	if err != nil {
		return err
	}
	p, err := assemble(c.Context(), cfg, quiet())
	if err != nil {
		return err
	}
	s := &atRestSearch{parts: p, also: a.also, round: atRestRound}
	if onTerminal(c.ErrOrStderr()) {
		s.survey.Progress = bytesOn(c.ErrOrStderr())
		defer fmt.Fprintln(c.ErrOrStderr())
	}
	report, err := s.run(c.Context())
	if err := errors.Join(err, p.Close()); err != nil {
		return err
	}
	if a.asJSON {
		err = printJSON(c.OutOrStdout(), report)
	} else {
		err = printAtRest(c.OutOrStdout(), report)
	}
	if err == nil && (report.Verdict == atrest.Found || report.Verdict == atrest.Lacking) {
		err = &wantingError{}
	}
	return err
}

// bytesOn shows how much was read, a few times a second.
func bytesOn(w io.Writer) func(string, int64) {
	var read int64
	var last time.Time
	return func(place string, n int64) {
		read += n
		if now := time.Now(); now.Sub(last) > 200*time.Millisecond {
			last = now
			fmt.Fprintf(w, "\r%8.1f MB  %-60.60s", float64(read)/1e6, filepath.Base(place))
		}
	}
}

// atRestSearch is one search.
type atRestSearch struct {
	parts  *parts
	also   []string
	round  int
	survey atrest.Survey

	server  atrest.Server
	running []atrest.Process
	report  atrest.Report
}

// run plants, searches, takes away, and writes in the log what it came to. The
// report is good only without an error.
func (s *atRestSearch) run(ctx context.Context) (report *atrest.Report, err error) {
	p := s.parts
	began := time.Now()
	s.report.Started = began.UTC()
	planted, receipt, err := plant(ctx, p, map[string]string{"step": "search", "also": strconv.Itoa(len(s.also))})
	defer func() {
		late := context.WithoutCancel(ctx)
		err = errors.Join(err, planted.remove(late))
		if receipt.Valid() {
			p.log.Outcome(receipt, s.outcome(err))
		}
	}()
	if err != nil {
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	roads, err := s.search(ctx, planted)
	if err != nil {
		return nil, err
	}
	s.facts()
	s.report.Residue.Destroyed = 1
	if s.report.Residue.UselessBy, s.report.Residue.Why, err = residueEnds(ctx, p); err != nil {
		return nil, err
	}
	s.report.Sought.Shapes = atrest.Shapes()
	s.report.Sought.NotFor = []string{
		"what the app had sealed: opening everybody's data to look for it would be a use of it",
		"what people are called and which ids platforms gave them",
		"secrets that live for minutes: the verifiers of connections under way",
		"handles and service keys by their value: only their hashes are kept, so they are looked for by their shape",
	}
	s.report.Fill(&s.survey, roads)
	s.report.TookMS = time.Since(began).Milliseconds()
	return &s.report, nil
}

// residueEnds says when the wrapped keys of erased people, of which storage may
// keep copies, are of no use even to somebody who holds the root key: when the
// keyring forgets what wrapped them.
func residueEnds(ctx context.Context, p *parts) (*time.Time, string, error) {
	status, err := p.keys.Status(ctx)
	if err != nil {
		return nil, "", err
	}
	switch {
	case status.Direct:
		return nil, "some keys of people stand directly under a domain key still; 'gatehouse keys rewrap' puts them under the keyring, which forgets", nil
	case status.Keyring.Erased.IsZero():
		return nil, "the keyring has forgotten what wrapped it", nil
	}
	by := status.Keyring.Erased.Add(forgetWithin).UTC()
	why := "the keyring forgets what wrapped it, and then nothing opens it; 'gatehouse run' sees to that"
	if !status.InFile {
		why += "; the daily key stands in the database itself, whose files may keep a copy of that too"
	}
	return &by, why, nil
}

// outcome is what the log keeps as evidence: the verdict and counts.
func (s *atRestSearch) outcome(err error) audit.Entry {
	e := audit.Entry{Action: atRestAction, Verdict: "done", Bytes: s.report.Bytes, Facts: map[string]string{
		"step": "search", "result": s.report.Verdict, "found": strconv.Itoa(len(s.report.Found)), "places": strconv.Itoa(len(s.report.LookedAt)),
		"gaps": strconv.Itoa(len(s.report.Gaps)), "secrets": strconv.Itoa(s.report.Sought.Secrets), "residues": strconv.Itoa(len(s.report.Residue.Remains)),
	}}
	if err != nil {
		e.Verdict = "failed"
	}
	return e
}

// prepare finds out where to look and what to leave out.
func (s *atRestSearch) prepare(ctx context.Context) error {
	p := s.parts
	s.survey.Exclude = map[string]bool{}
	for _, path := range secretFiles(p.cfg) {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			s.survey.Exclude[real] = true
		}
	}
	var err error
	if s.server, err = p.db.AtRest().Server(ctx); err != nil {
		return err
	}
	s.running = atrest.Machine{}.Running(func(args []string, directory string) bool {
		return runsWith(args, directory, p.cfg.Path())
	})
	if err := p.db.AtRest().Settle(ctx); err != nil {
		s.survey.Miss(atrest.Gap{Kind: atrest.KindServer, Place: "what the server has not written out yet", Why: err.Error()})
	}
	return nil
}

// runsWith reports whether a command line is "run" with this configuration.
func runsWith(args []string, directory, path string) bool {
	used := "gatehouse.yaml"
	for i, arg := range args {
		if value, ok := strings.CutPrefix(arg, "--config="); ok {
			used = value
		} else if arg == "--config" && i+1 < len(args) {
			used = args[i+1]
		}
	}
	if !filepath.IsAbs(used) {
		used = filepath.Join(directory, used)
	}
	full, err := filepath.Abs(path)
	return err == nil && filepath.Clean(used) == full && len(args) > 1 && slices.Contains(args[1:], "run")
}

// search fills one set after the other and walks over the places with each.
func (s *atRestSearch) search(ctx context.Context, planted *canaries) (roads []string, err error) {
	patterns := atrest.NewPatterns()
	roads = planted.add(patterns)
	if err := s.addOwn(ctx, patterns); err != nil {
		return nil, err
	}
	var after gatehouse.ConnectionID
	for first := true; first || after != ""; first = false {
		opened, err := s.parts.connect.AddTokens(ctx, patterns, after, s.round)
		if err != nil {
			return nil, fmt.Errorf("opening tokens to look for them: %w", err)
		}
		after = opened.Next
		s.report.Sought.Connections += opened.Connections
		s.report.Sought.Unreadable += opened.Unreadable
		s.report.Sought.Secrets += patterns.Len()
		s.report.Sought.Short += patterns.Short()
		s.survey.Use(patterns.Search(first))
		if err := s.walk(ctx); err != nil {
			return nil, err
		}
	}
	return roads, nil
}

// walk looks at every place with the survey's search.
func (s *atRestSearch) walk(ctx context.Context) error {
	p := s.parts
	look := func(kind string, paths ...string) error {
		for _, path := range paths {
			if err := s.survey.Path(ctx, kind, path); err != nil {
				return err
			}
		}
		return nil
	}
	if err := s.survey.Rows(ctx, p.db.AtRest()); err != nil {
		return err
	}
	if file := storeFile(p.cfg); file != "" {
		// The log first: what moves from it into the file meanwhile is then seen there.
		logs, files := databaseFiles(file)
		if err := errors.Join(look(atrest.KindWAL, logs...), look(atrest.KindDatabase, files...)); err != nil {
			return err
		}
	} else if err := s.walkServer(ctx); err != nil {
		return err
	}
	var logs []string
	for _, process := range s.running {
		logs = append(logs, process.Logs...)
	}
	if len(logs) == 0 {
		s.survey.Miss(atrest.Gap{Kind: atrest.KindLog, Place: "Gatehouse's log", Why: "no running gatehouse is seen that writes into a file; name log files, and journals, with --also"})
	}
	var backups []string
	if b := p.cfg.Backup; b.To.IsZero() {
		s.survey.Miss(atrest.Gap{Kind: atrest.KindBackup, Place: "backups", Why: "the configuration names none; name them with --also"})
	} else {
		backups = append(backups, b.To.Path())
		for _, dir := range b.LedgerCopies {
			backups = append(backups, dir.Path())
		}
	}
	return errors.Join(look(atrest.KindBackup, backups...), look(atrest.KindLog, logs...), look(atrest.KindConfig, p.cfg.Path()), look(atrest.KindAlso, s.also...))
}

// walkServer looks at the files of a PostgreSQL server on this machine.
func (s *atRestSearch) walkServer(ctx context.Context) error {
	why := s.server.Why
	switch {
	case why != "":
	case !s.server.Local:
		why = "the server is on another machine; run this there, or name a copy of its files with --also"
	default:
		_, err := os.Stat(filepath.Join(s.server.Directory, "PG_VERSION"))
		if err == nil {
			return s.survey.Path(ctx, atrest.KindServer, s.server.Directory)
		}
		why = err.Error()
	}
	s.survey.Miss(atrest.Gap{Kind: atrest.KindServer, Place: "PostgreSQL's files", Why: why})
	return nil
}

// databaseFiles returns the write-ahead logs beside a SQLite file, and the file
// with whatever else is named after it, such as copies.
func databaseFiles(file string) (logs, files []string) {
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil {
		return nil, []string{file}
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), filepath.Base(file)) || !e.Type().IsRegular() {
			continue
		}
		path := filepath.Join(filepath.Dir(file), e.Name())
		if strings.HasSuffix(path, "-wal") || strings.HasSuffix(path, "-journal") {
			logs = append(logs, path)
		} else {
			files = append(files, path)
		}
	}
	if !slices.Contains(files, file) {
		files = append(files, file) // a symbolic link
	}
	return logs, files
}
