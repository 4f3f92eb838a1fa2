package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/wire"

	"github.com/spf13/cobra"
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
	// labels are the connections that lines of this file became.
	labels map[string]gatehouse.ConnectionID
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
	Rule       string                 `json:"rule,omitempty"`
	Error      string                 `json:"error,omitempty"`
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

// run takes in all lines; it ends early only when it is interrupted or the
// report cannot be written.
func (i *importer) run(ctx context.Context, in io.Reader) error {
	r := bufio.NewReaderSize(in, connect.MaxImportLine+2)
	counts := map[importResult]int{}
	progress := onTerminal(i.errOut) && !onTerminal(i.out)
	for n := 1; ; n++ {
		text, end := nextLine(r)
		if end != nil && !errors.Is(end, io.EOF) {
			return fmt.Errorf("reading line %d: %w", n, end)
		}
		if len(text) > 0 {
			if ctx.Err() != nil {
				return fmt.Errorf("interrupted before line %d: run it again, what is in is passed over", n)
			}
			report := i.line(ctx, text)
			report.Line = n
			counts[report.Result]++
			if err := i.report(report); err != nil {
				return err
			}
			if progress {
				fmt.Fprintf(i.errOut, "\rline %d", n)
			}
		}
		if errors.Is(end, io.EOF) {
			break
		}
	}
	if progress {
		fmt.Fprintln(i.errOut)
	}
	if !i.asJSON {
		var parts []string
		for _, result := range []importResult{lineImported, lineAlready, lineValid, lineUnchecked, lineRefused} {
			if counts[result] > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", counts[result], result))
			}
		}
		if len(parts) == 0 {
			parts = []string{"there was no line"}
		}
		if _, err := fmt.Fprintln(i.out, strings.Join(parts, ", ")); err != nil {
			return err
		}
	}
	if counts[lineRefused] > 0 {
		return &wantingError{}
	}
	return nil
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
		return importReport{Result: lineRefused, Rule: wire.RuleOf(err), Error: err.Error()}
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
	l.ImportRequest.Parent = i.labels[l.Parent]
	if l.ImportRequest.Parent == "" {
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
	if in.Already {
		report.Result = lineAlready
	}
	if l.ID != "" {
		i.labels[l.ID] = in.Connection.ID
	}
	return report
}

// check is line without its effects.
func (i *importer) check(ctx context.Context, l connect.ImportLine, report importReport, refused func(error) importReport) importReport {
	if at, ok := i.labels[l.Parent]; ok && at == "" {
		l.ImportRequest.Parent = "" // a line that this run has only checked
	}
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
	if l.ID != "" {
		i.labels[l.ID] = report.Connection
	}
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
	}
	_, err := fmt.Fprintln(i.out, text)
	return err
}
