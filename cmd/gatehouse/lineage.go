package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/lineage"

	"github.com/spf13/cobra"
)

const lineageForms = `PERSON is one of
  x:12345        a platform's id (x, facebook, instagram, threads), whether or not
                 they ever connected
  subject:NAME   your app's own name: everybody who was joined with it
  number:17      a number from another answer`

func newLineage(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "lineage",
		Short: "Whose data went where",
		Long: `Gatehouse knows what it delivered to your app and recognises it when it leaves again
through the proxy. Every question is written down in the audit log.

Values of people are never kept: people are found by keyed hashes, and shown by number.`,
	}
	c.AddCommand(
		lineagePerson(o),
		lineageQuestion(o, "destination HOST", "Everyone whose data reached a host", true, func(s *lineage.Subject, name string) { s.Destination = name }),
		lineageQuestion(o, "service NAME", "Everything that a service received and sent", false, func(s *lineage.Subject, name string) {
			s.Service = gatehouse.ServiceName(name)
		}),
		lineageHandle(o),
		lineageQuestion(o, "purpose NAME", "Everyone whose data was used for a purpose", true, func(s *lineage.Subject, name string) {
			s.Purpose = gatehouse.PurposeName(name)
		}),
		lineageFlows(o), lineageDiagram(o), lineageStatus(o),
	)
	return c
}

// lineageFlags are what every question has.
type lineageFlags struct {
	since, until               string
	asJSON, asCSV, openLineage bool
}

func (f *lineageFlags) add(c *cobra.Command) {
	f.period(c)
	c.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&f.asCSV, "csv", false, "print the flows as CSV")
	c.Flags().BoolVar(&f.openLineage, "openlineage", false, "print OpenLineage events, one JSON object on each line; they name no person")
	c.MarkFlagsMutuallyExclusive("json", "csv", "openlineage")
}

func (f *lineageFlags) period(c *cobra.Command) {
	c.Flags().StringVar(&f.since, "since", "", "the first day, 2026-05-04, or how long ago: 30d, 12h")
	c.Flags().StringVar(&f.until, "until", "", "the last day, likewise")
}

// question returns the question about a subject in the period of the flags.
func (f *lineageFlags) question(about lineage.Subject, now time.Time) (q lineage.Question, err error) {
	q.About = about
	if q.Since, err = parseDay("--since", f.since, now); err != nil {
		return q, err
	}
	q.Until, err = parseDay("--until", f.until, now)
	if err == nil && !q.Since.IsZero() && !q.Until.IsZero() && q.Until.Before(q.Since) {
		err = usagef("--until is before --since")
	}
	return q, err
}

// parseDay reads a day, or a time that has passed since.
func parseDay(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day, nil
	}
	if days, cut := strings.CutSuffix(text, "d"); cut {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	return time.Time{}, usagef("%s: give a day, 2026-05-04, or how long ago: 30d, 12h", flag)
}

func lineagePerson(o *options) *cobra.Command {
	var f lineageFlags
	c := &cobra.Command{
		Use:   "person PERSON",
		Short: "Everything about one person: what was delivered, and where it went",
		Long: `Shows what was delivered about a person, to which service and for which purpose, and
which of it went where. Transfers that may have been about this person or about
others are among it; they say who else.

` + lineageForms,
		Args: one("PERSON"),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c.Context(), o, func(p *parts) error {
				var about lineage.Subject
				if number, cut := strings.CutPrefix(args[0], "number:"); cut {
					n, err := strconv.ParseUint(number, 10, 32)
					if err != nil || n == 0 {
						return usagef("%s is no person's number\n%s", args[0], lineageForms)
					}
					about.Number = lineage.Owner(n)
				} else {
					var err error
					about.Keys, err = p.lineageKeys(c.Context(), args[0])
					if errors.Is(err, gatehouse.ErrInvalid) {
						return usagef("%s names nobody\n%s", args[0], lineageForms)
					}
					if err != nil {
						return err
					}
				}
				return p.showFlows(c, &f, about)
			})
		},
	}
	f.add(c)
	return c
}

// lineageQuestion is a question about something that has a name. In people, each
// person is shown once.
func lineageQuestion(o *options, use, short string, people bool, set func(*lineage.Subject, string)) *cobra.Command {
	var f lineageFlags
	_, noun, _ := strings.Cut(use, " ")
	c := &cobra.Command{
		Use: use, Short: short, Args: one(noun),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c.Context(), o, func(p *parts) error {
				var about lineage.Subject
				set(&about, args[0])
				if people && !f.asCSV && !f.openLineage {
					return p.showReach(c, &f, about)
				}
				return p.showFlows(c, &f, about)
			})
		},
	}
	f.add(c)
	return c
}

func lineageHandle(o *options) *cobra.Command {
	var f lineageFlags
	c := &cobra.Command{
		Use:   "handle ID",
		Short: "What whoever had a handle could have seen",
		Long: `Shows what was delivered to calls with a handle, and what it could have asked for:
that is what a thief had, as far as this Gatehouse answered.`,
		Args: one("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c.Context(), o, func(p *parts) error {
				id := gatehouse.HandleID(args[0])
				h, could, err := p.handleScope(c.Context(), id)
				if err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
					return err
				}
				shown, err := p.countFlows(c, &f, lineage.Subject{Handle: id})
				if err != nil || f.asJSON || f.asCSV || f.openLineage {
					return err
				}
				if h.ID == "" {
					say := "No handle of this id is known, and nothing was ever delivered to one."
					if shown > 0 {
						say = "This handle is not known any more: it has ended, and what it could have asked for is not kept."
					}
					_, err := fmt.Fprintln(c.OutOrStdout(), "\n"+say)
					return err
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "\nUntil %s it could, as service %s for purpose %s, make these calls on its person's grant:\n  %s\n",
					when(ended(h.Expires, h.Revoked)), h.ServiceName, h.Purpose, strings.Join(could, "\n  "))
				return err
			})
		},
	}
	f.add(c)
	return c
}

// ended is when a handle stopped working, or will.
func ended(expires, revoked time.Time) time.Time {
	if !revoked.IsZero() && revoked.Before(expires) {
		return revoked
	}
	return expires
}

func lineageFlows(o *options) *cobra.Command {
	var f lineageFlags
	c := &cobra.Command{
		Use: "flows", Short: "All flows, newest day first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c.Context(), o, func(p *parts) error { return p.showFlows(c, &f, lineage.Subject{}) })
		},
	}
	f.add(c)
	return c
}

// showFlows prints flows in the form that the flags choose, page by page: there may
// be more than fit into memory.
func (p *parts) showFlows(c *cobra.Command, f *lineageFlags, about lineage.Subject) error {
	_, err := p.countFlows(c, f, about)
	return err
}

// countFlows is showFlows, and returns how many there were in a table.
func (p *parts) countFlows(c *cobra.Command, f *lineageFlags, about lineage.Subject) (int, error) {
	q, err := f.question(about, time.Now())
	if err != nil {
		return 0, err
	}
	ctx, w := c.Context(), c.OutOrStdout()
	switch {
	case f.openLineage:
		return 0, p.exportRuns(ctx, w, q)
	case f.asCSV:
		return 0, p.exportCSV(ctx, w, q)
	case f.asJSON:
		list := jsonList[lineage.Flow]{w: w, name: "flows"}
		note, err := p.lineage.EachFlow(ctx, q, list.add)
		return 0, list.end(note, err)
	}
	var rows [][]string
	note, err := p.lineage.EachFlow(ctx, q, func(flows []lineage.Flow) error {
		for _, v := range flows {
			to := v.Destination
			if v.Kind == lineage.Delivery {
				to = "service " + string(v.Service)
			}
			rows = append(rows, []string{
				v.Day, personLabel(v.Person), string(v.Class), dash(string(v.Operation)), dash(string(v.Purpose)), string(v.Service), to,
				flagged(v), figure(v.Count), when(v.Last),
			})
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(rows), withNote(w, note, table(w, "No flow is on record.",
		[]string{"DAY", "PERSON", "DATA", "CAME BY", "FOR", "SERVICE", "WENT TO", "VERDICT", "COUNT", "LAST"}, rows))
}

// showReach prints the people of a question.
func (p *parts) showReach(c *cobra.Command, f *lineageFlags, about lineage.Subject) error {
	q, err := f.question(about, time.Now())
	if err != nil {
		return err
	}
	w := c.OutOrStdout()
	if f.asJSON {
		list := jsonList[lineage.Reach]{w: w, name: "people"}
		note, err := p.lineage.EachPerson(c.Context(), q, list.add)
		return list.end(note, err)
	}
	var rows [][]string
	note, err := p.lineage.EachPerson(c.Context(), q, func(people []lineage.Reach) error {
		for _, r := range people {
			var classes, verdicts []string
			for _, class := range r.Classes {
				classes = append(classes, string(class))
			}
			for _, v := range r.Verdicts {
				verdicts = append(verdicts, string(v))
			}
			rows = append(rows, []string{personLabel(r.Person), strings.Join(classes, ", "), strings.Join(verdicts, ", "), figure(r.Count), when(r.First), when(r.Last)})
		}
		return nil
	})
	if err != nil {
		return err
	}
	return withNote(w, note, table(w, "Nobody's data is on record there.", []string{"PERSON", "DATA", "VERDICT", "COUNT", "FIRST", "LAST"}, rows))
}

func withNote(w io.Writer, note string, err error) error {
	if err == nil && note != "" {
		_, err = fmt.Fprintln(w, note)
	}
	return err
}

// personLabel names somebody in a table.
func personLabel(p lineage.Person) string {
	switch {
	case p.Number == 0:
		return "nobody"
	case len(p.Candidates) > 0:
		labels := make([]string, 0, len(p.Candidates))
		for _, c := range p.Candidates {
			labels = append(labels, personLabel(c))
		}
		return "one of " + strings.Join(labels, ", ")
	case p.Erased:
		return "erased"
	case p.Person != "":
		return fmt.Sprintf("%d (%s)", p.Number, p.Person)
	}
	return fmt.Sprint(p.Number)
}

// jsonList prints a JSON object whose one list comes page by page.
type jsonList[T any] struct {
	w     io.Writer
	name  string
	begun bool
}

func (l *jsonList[T]) add(page []T) error {
	for _, v := range page {
		lead := ",\n    "
		if !l.begun {
			lead = "{\n  " + strconv.Quote(l.name) + ": [\n    "
			l.begun = true
		}
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(l.w, "%s%s", lead, text); err != nil {
			return err
		}
	}
	return nil
}

func (l *jsonList[T]) end(note string, err error) error {
	if err != nil {
		return err
	}
	text := "\n  ]"
	if !l.begun {
		text = "{\n  " + strconv.Quote(l.name) + ": []"
	}
	if note != "" {
		text += ",\n  \"note\": " + strconv.Quote(note)
	}
	_, err = fmt.Fprintln(l.w, text+"\n}")
	return err
}

func (p *parts) exportCSV(ctx context.Context, w io.Writer, q lineage.Question) error {
	out := csv.NewWriter(w)
	if err := out.Write(lineage.CSVHeader()); err != nil {
		return err
	}
	_, err := p.lineage.EachFlow(ctx, q, func(flows []lineage.Flow) error {
		for i := range flows {
			if err := out.Write(flows[i].CSV()); err != nil {
				return err
			}
		}
		return nil
	})
	out.Flush()
	return errors.Join(err, out.Error())
}

func (p *parts) exportRuns(ctx context.Context, w io.Writer, q lineage.Question) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	runs := lineage.NewRuns(p.cfg.Environment, func(e lineage.RunEvent) error { return out.Encode(e) })
	if _, err := p.lineage.EachFlow(ctx, q, func(flows []lineage.Flow) error { return runs.Add(flows...) }); err != nil {
		return err
	}
	return runs.End()
}

func lineageDiagram(o *options) *cobra.Command {
	var f lineageFlags
	var svg string
	var asText bool
	c := &cobra.Command{
		Use:   "diagram",
		Short: "The data-flow description, from what was observed",
		Long: `Describes how data flows from the platforms, for which purposes, to which services and
on to whom, with the kinds of data and how often: as text, or as a picture (SVG). It
names no person, so that it can be handed to a reviewer.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c.Context(), o, func(p *parts) error {
				q, err := f.question(lineage.Subject{}, time.Now())
				if err != nil {
					return err
				}
				d, err := p.lineage.Diagram(c.Context(), p.cfg.Environment, q.Since, q.Until)
				switch {
				case err != nil:
					return err
				case svg == "-":
					return d.SVG(c.OutOrStdout())
				case svg == "":
					return d.Text(c.OutOrStdout())
				}
				return writeSVG(svg, d)
			})
		},
	}
	f.period(c)
	c.Flags().StringVar(&svg, "svg", "", "write the picture to this file; - is standard output")
	c.Flags().BoolVar(&asText, "text", false, "print text (the default)")
	c.MarkFlagsMutuallyExclusive("svg", "text")
	return c
}

func writeSVG(path string, d *lineage.Diagram) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644) //nolint:gosec // the picture names nobody and is for handing on
	if err != nil {
		return err
	}
	return errors.Join(d.SVG(f), f.Close())
}

func lineageStatus(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "How many values are recognised, and what was forgotten",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c.Context(), o, func(p *parts) error {
				s, err := p.lineage.Status(c.Context())
				if err != nil {
					return err
				}
				v, w := s.View(), c.OutOrStdout()
				if asJSON {
					return printJSON(w, v)
				}
				_, err = fmt.Fprintf(w, "index         %s, %d %% (of the process that started last, %s)\nfingerprints  %d of at most %d\nnext expiry   %s\nexpired       %d\nevicted       %d, last %s\n",
					v.State, v.Percent, when(v.LoadingAt), v.Fingerprints, v.MaxFingerprints, when(v.NextExpiry), v.Expired, v.Evicted, when(v.EvictedAt))
				return err
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// flagged is a flow's verdict, with a word where it stood in an address or a header:
// those end up in logs.
func flagged(v lineage.Flow) string {
	switch v.Part {
	case "url":
		return string(v.Verdict) + ", in the URL"
	case "header":
		return string(v.Verdict) + ", in a header"
	}
	return string(v.Verdict)
}
