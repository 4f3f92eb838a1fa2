package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/wire"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

func connectImport(o *options) *cobra.Command {
	i := &importer{labels: map[string]gatehouse.ConnectionID{}}
	var purposes []string
	c := &cobra.Command{
		Use:   "import FILE|-",
		Short: "Take in tokens that you have already",
		Long: `Reads JSON lines, one token each, checks each at its platform and keeps it as a
connection. A line is reported as imported, already in, or refused, with the
member at fault; tokens are never repeated. With --json a report is one JSON
object for each line.

  {"app":"main-x","subject":"user-7","access_token":"…","refresh_token":"…"}
  {"app":"main-x","subject":"user-8","kind":"oauth1","token":"…","token_secret":"…"}
  {"id":"1","app":"pages","subject":"user-9","access_token":"…"}
  {"app":"pages","subject":"user-9","kind":"page","parent":"1","access_token":"…"}
  {"app":"pages","subject":"acme","kind":"system_user","access_token":"…"}

Also allowed: service and purposes (or the flags below), person (the platform's
own id, compared with what the platform says), scopes, expires_at.

An X pair is refreshed at once, so that copies of it elsewhere stop working;
--keep-copies leaves it as it is. Interrupted, run it again: what is in is passed
over, and a refresh that was under way is finished. --dry-run checks every line
and changes nothing. docs/importing.md says more.`,
		Example: "  gatehouse connect import tokens.jsonl --service scheduler --purpose publish --dry-run",
		Args:    one("FILE"),
		RunE: func(c *cobra.Command, args []string) (err error) {
			in := c.InOrStdin()
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer func() { _ = f.Close() }()
				in = f
			}
			for _, name := range purposes {
				i.purposes = append(i.purposes, gatehouse.PurposeName(name))
			}
			return with(c.Context(), o, func(p *parts) error {
				i.parts, i.out, i.errOut = p, c.OutOrStdout(), c.ErrOrStderr()
				return i.run(c.Context(), in)
			})
		},
	}
	c.Flags().StringVar(&i.service, "service", "", "the service of lines that name none")
	c.Flags().StringSliceVar(&purposes, "purpose", nil, "the purposes of lines that name none")
	c.Flags().BoolVar(&i.keep, "keep-copies", false, "do not refresh X's pairs: copies elsewhere go on working")
	c.Flags().BoolVar(&i.dry, "dry-run", false, "check only: take nothing in, change nothing")
	c.Flags().BoolVar(&i.asJSON, "json", false, "print JSON, one object for each line")
	return c
}

// importer takes in a file.
type importer struct {
	parts       *parts
	out, errOut io.Writer
	service     string
	purposes    []gatehouse.PurposeName
	keep, dry   bool
	asJSON      bool
	// labels are the connections that lines of this file became; mu guards them.
	mu     sync.Mutex
	labels map[string]gatehouse.ConnectionID
}

// labelled returns the connection that an earlier line became, or in a dry run
// "" if it would only become one.
func (i *importer) labelled(id string) (gatehouse.ConnectionID, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	at, ok := i.labels[id]
	return at, ok
}

func (i *importer) label(id string, at gatehouse.ConnectionID) {
	if id == "" {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.labels[id] = at
}

// importReport is what became of one line.
type importReport struct {
	Line       int                    `json:"line"`
	Result     importResult           `json:"result"`
	ID         string                 `json:"id,omitempty"`
	App        gatehouse.AppName      `json:"app,omitempty"`
	Kind       connect.Kind           `json:"kind,omitempty"`
	Subject    gatehouse.Subject      `json:"subject,omitempty"`
	Connection gatehouse.ConnectionID `json:"connection,omitempty"`
	Status     connect.Status         `json:"status,omitempty"`
	// Lacking are the scopes that the purposes need and the token has not.
	Lacking []string `json:"lacking,omitempty"`
	Rule    string   `json:"rule,omitempty"`
	Error   string   `json:"error,omitempty"`
	again   bool     // it lost a race
}

type importResult string

// The results of a line.
const (
	lineImported  importResult = "imported"
	lineAlready   importResult = "already"   // handed in before
	lineValid     importResult = "valid"     // dry run: the platform accepts it
	lineUnchecked importResult = "unchecked" // dry run: only a refresh would tell
	lineRefused   importResult = "refused"
)

// importsAtOnce bounds how many lines' platforms are waited for at the same time.
const importsAtOnce = 8

// importJob is a line on its way: its report comes when it is done.
type importJob struct {
	n      int
	text   []byte
	report chan importReport
}

// run takes in all lines, several at a time, and reports them in order. It ends
// early only when it is interrupted or the report cannot be written.
func (i *importer) run(ctx context.Context, in io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	jobs := make(chan importJob, 2*importsAtOnce) // in the order of lines
	var group errgroup.Group
	group.Go(func() error {
		defer close(jobs)
		return i.read(ctx, in, jobs)
	})
	counts := map[importResult]int{}
	var failed error
	for job := range jobs {
		report := <-job.report
		if report.again && ctx.Err() == nil {
			// It met another line of the same token or person, which is done now.
			report = i.line(ctx, job.text)
		}
		report.Line = job.n
		counts[report.Result]++
		if failed == nil {
			if failed = i.report(report); failed != nil {
				cancel()
			}
		}
		i.progress("\rline %d", job.n)
	}
	i.progress("\n")
	if err := errors.Join(failed, group.Wait()); err != nil {
		return err
	}
	if err := i.sum(counts); err != nil {
		return err
	}
	if counts[lineRefused] > 0 {
		return &wantingError{}
	}
	return nil
}

// read gives each line to a goroutine of its own and hands on its job.
func (i *importer) read(ctx context.Context, in io.Reader, jobs chan<- importJob) error {
	r := bufio.NewReaderSize(in, connect.MaxImportLine+2)
	var group errgroup.Group
	group.SetLimit(importsAtOnce)
	defer func() { _ = group.Wait() }() // no member returns an error
	for n := 1; ; n++ {
		text, end := nextLine(r)
		if end != nil && !errors.Is(end, io.EOF) {
			return fmt.Errorf("reading line %d: %w", n, end)
		}
		if len(text) > 0 {
			if ctx.Err() != nil {
				return fmt.Errorf("interrupted before line %d: run it again, what is in is passed over", n)
			}
			if bytes.Contains(text, []byte(`"parent"`)) {
				_ = group.Wait() // for the line that it may hang on
			}
			job := importJob{n, text, make(chan importReport, 1)}
			jobs <- job
			group.Go(func() error {
				job.report <- i.line(ctx, text)
				return nil
			})
		}
		if end != nil {
			return nil
		}
	}
}

// progress shows how far it is, where a person looks and the reports do not.
func (i *importer) progress(format string, args ...any) {
	if onTerminal(i.errOut) && !onTerminal(i.out) {
		fmt.Fprintf(i.errOut, format, args...)
	}
}

// sum closes a report in words.
func (i *importer) sum(counts map[importResult]int) error {
	if i.asJSON {
		return nil
	}
	var parts []string
	for _, result := range []importResult{lineImported, lineAlready, lineValid, lineUnchecked, lineRefused} {
		if counts[result] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[result], result))
		}
	}
	if len(parts) == 0 {
		parts = []string{"there was no line"}
	}
	_, err := fmt.Fprintln(i.out, strings.Join(parts, ", "))
	return err
}

// nextLine returns the next line without its end. Of one that is too long it
// returns a piece, which the parser refuses for its length.
func nextLine(r *bufio.Reader) ([]byte, error) {
	text, err := r.ReadSlice('\n')
	line := slices.Clone(text)
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = r.ReadSlice('\n')
	}
	if len(line) > connect.MaxImportLine {
		return line, err
	}
	return []byte(strings.TrimSpace(string(line))), err
}

// line takes one line in, or says why not.
func (i *importer) line(ctx context.Context, text []byte) importReport {
	l, err := connect.ParseImportLine(text)
	report := importReport{ID: l.ID, App: l.App, Kind: l.Kind, Subject: l.Subject}
	// What stands in a refused line is not repeated: it may be in the wrong place.
	refused := func(err error) importReport {
		rule := wire.RuleOf(err)
		return importReport{
			Result: lineRefused, Rule: rule, Error: err.Error(), again: errors.Is(err, gatehouse.ErrConflict) && rule != "connect/import-taken",
		}
	}
	if err != nil {
		return refused(err)
	}
	if l.Service == "" {
		l.Service = gatehouse.ServiceName(i.service)
	}
	if len(l.Purposes) == 0 {
		l.Purposes = i.purposes
	}
	if err := i.allowed(l); err != nil {
		return refused(err)
	}
	l.KeepCopies = i.keep
	var known bool
	if l.ImportRequest.Parent, known = i.labelled(l.Parent); !known {
		l.ImportRequest.Parent = gatehouse.ConnectionID(l.Parent)
	}
	if i.dry {
		return i.check(ctx, l, report, refused)
	}
	in, err := i.parts.connect.Import(ctx, l.ImportRequest)
	if err != nil {
		return refused(err)
	}
	report.Result, report.Connection, report.Kind, report.Status = lineImported, in.Connection.ID, in.Connection.Kind, in.Connection.Status
	report.Lacking = in.Connection.Declined
	if in.Already {
		report.Result = lineAlready
	}
	i.label(l.ID, in.Connection.ID)
	return report
}

// check is line without its effects.
func (i *importer) check(ctx context.Context, l connect.ImportLine, report importReport, refused func(error) importReport) importReport {
	in, checked, err := i.parts.connect.CheckImport(ctx, l.ImportRequest)
	if err != nil {
		return refused(err)
	}
	report.Result = lineUnchecked
	if checked {
		report.Result = lineValid
	}
	if in.Already {
		report.Result, report.Connection, report.Status = lineAlready, in.Connection.ID, in.Connection.Status
	}
	i.label(l.ID, report.Connection)
	return report
}

// allowed refuses what the configuration does not let a service do. It repeats
// the configuration's names and none of the line's.
func (i *importer) allowed(l connect.ImportLine) error {
	if l.Service == "" || len(l.Purposes) == 0 {
		return errors.New("service, purposes: give them in the line, or --service and --purpose")
	}
	service, ok := i.parts.cfg.Services[l.Service]
	if !ok {
		return fmt.Errorf("service: there is none of that name in the configuration; there are: %s", join(sortedServices(i.parts)))
	}
	for _, name := range l.Purposes {
		switch {
		case !slices.Contains(service.Purposes, name):
			return fmt.Errorf("purposes: this service may only call for: %s", join(service.Purposes))
		case i.parts.cfg.Purposes[name].App != l.App:
			return fmt.Errorf("purposes: %s uses app %s, and the token is of another", name, i.parts.cfg.Purposes[name].App)
		}
	}
	return nil
}

func (i *importer) report(r importReport) error {
	if i.asJSON {
		return json.NewEncoder(i.out).Encode(r)
	}
	text := fmt.Sprintf("line %d: %s", r.Line, r.Result)
	switch {
	case r.Error != "":
		text += ": " + r.Error
	case r.Result == lineUnchecked:
		text += ": its access token does not work any more; only the refresh token would tell"
	case r.Connection != "":
		text += fmt.Sprintf(" %s (%s, %s)", r.Connection, r.Subject, r.Status)
		if len(r.Lacking) > 0 {
			text += "; it lacks scopes that its purposes need: " + join(r.Lacking)
		}
	}
	_, err := fmt.Fprintln(i.out, text)
	return err
}
