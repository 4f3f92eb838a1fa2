package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/internal/audit"

	"github.com/spf13/cobra"
)

// searchOptions are the flags of 'audit search'.
type searchOptions struct {
	query                      audit.Query
	actor, since, until        string
	facts                      []string
	connection, person, handle string
	last                       int
	cursor                     string
	follow, people, json       bool
	widths                     []int // of the columns printed so far, for what follows
}

func auditSearch(o *options) *cobra.Command {
	var s searchOptions
	c := &cobra.Command{
		Use:   "search",
		Short: "Search the log, or follow it",
		Long: `Finds the entries for which everything fits that is given, the newest first. It is fast
however long the log is: Gatehouse indexes while it runs what is complete of it
('gatehouse audit reindex' does that anew), and what is not indexed is read through.
If there is more than -n, the last line says how to go on (on standard error, so that
--json stays JSON).

--follow shows the last -n, the oldest of them first, and then what is written, until
it is interrupted. --json prints one entry a line, with its code and severity.

Entries of a person are found until the person is erased. That somebody searches for
those of one person, connection or handle is itself recorded.`,
		Example: `  gatehouse audit search --severity alert
  gatehouse audit search --code GH2011W --service web --since 24h
  gatehouse audit search --destination api.stripe.com --fact protocol=h2 --json
  gatehouse audit search --person x:12345 --status 4xx
  gatehouse audit search --actor operator --follow`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if s.last <= 0 {
				return usagef("-n %d: ask for one entry at least", s.last)
			}
			if err := s.parse(time.Now()); err != nil {
				return err
			}
			return with(c.Context(), o, func(p *parts) error { return s.search(c.Context(), p, c.OutOrStdout(), c.ErrOrStderr()) })
		},
	}
	f := c.Flags()
	f.IntVarP(&s.last, "last", "n", 50, "how many")
	f.StringVar(&s.actor, "actor", "", "only what this service did; operator: what no service did")
	f.StringVar((*string)(&s.query.Service), "service", "", "only this service's")
	f.StringVar(&s.person, "person", "", "only this person's: subject:NAME, x:12345, con…")
	f.StringVar(&s.connection, "connection", "", "only this connection's")
	f.StringVar(&s.handle, "handle", "", "only this handle's")
	c.MarkFlagsMutuallyExclusive("connection", "person", "handle")
	f.StringVar((*string)(&s.query.Purpose), "purpose", "", "only this purpose")
	f.StringVar((*string)(&s.query.Platform), "platform", "", "only this platform")
	f.StringVar((*string)(&s.query.App), "app", "", "only this app of a platform")
	f.StringVar((*string)(&s.query.Operation), "operation", "", "only this operation, such as 'GET /2/users/me'")
	f.StringVar(&s.query.Destination, "destination", "", "only what was sent, or was to be sent, to this host")
	f.StringVar(&s.query.Rule, "rule", "", "only where this rule decided")
	f.StringVar(&s.query.Action, "action", "", "only this action (docs/log-events.md)")
	f.StringVar(&s.query.Code, "code", "", "only this code (docs/log-events.md), such as GH2011W")
	f.StringVar((*string)(&s.query.Severity), "severity", "", "only this severity: info, notice, warning, alert")
	f.StringVar(&s.query.Kind, "kind", "", "only this kind: intent, outcome, event")
	f.StringVar(&s.query.Verdict, "verdict", "", "only this verdict: allow, report, refuse, done, failed, aborted")
	f.StringVar(&s.query.Status, "status", "", "only this status of the answer: 429, 4xx")
	f.StringArrayVar(&s.facts, "fact", nil, "only with this fact, NAME=VALUE; may be repeated")
	f.StringVar(&s.since, "since", "", "none before this: 24h (ago), 2026-05-04 or 2026-05-04T12:00:00Z")
	f.StringVar(&s.until, "until", "", "only before this: 1h (ago), a day or a time")
	f.StringVar(&s.cursor, "cursor", "", "go on where a search with the same flags ended")
	f.BoolVar(&s.follow, "follow", false, "go on with what is written")
	f.BoolVar(&s.people, "people", false, "open what belongs to people")
	f.BoolVar(&s.json, "json", false, "print JSON, one entry a line")
	c.MarkFlagsMutuallyExclusive("follow", "cursor")
	c.MarkFlagsMutuallyExclusive("follow", "until")
	c.MarkFlagsMutuallyExclusive("actor", "service")
	completeEntries(c, o)
	return c
}

// parse reads the flags that are no plain values.
func (s *searchOptions) parse(now time.Time) (err error) {
	switch s.actor {
	case "":
	case "operator":
		s.query.Operator = true
	default:
		s.query.Service = gatehouse.ServiceName(s.actor)
	}
	s.query.Code = strings.ToUpper(s.query.Code)
	if s.query.Facts, err = parseFacts(s.facts); err != nil {
		return err
	}
	if s.query.Since, err = parseMoment("--since", s.since, now); err != nil {
		return err
	}
	if s.query.Until, err = parseMoment("--until", s.until, now); err != nil {
		return err
	}
	if err := s.query.Validate(); err != nil {
		return invalidFlag(err)
	}
	return nil
}

// invalidFlag is the usage error for a query that cannot be meant.
func invalidFlag(err error) error {
	return usagef("%s", strings.TrimSuffix(err.Error(), ": "+gatehouse.ErrInvalid.Error()))
}

func parseFacts(texts []string) (map[string]string, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	facts := map[string]string{}
	for _, text := range texts {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return nil, usagef("--fact %q: write NAME=VALUE", text)
		}
		if has, twice := facts[name]; twice && has != value {
			return nil, usagef("--fact %s: no entry has two values of it", name)
		}
		facts[name] = value
	}
	return facts, nil
}

// parseMoment reads a time, a day in UTC, or how long ago it was; empty is the zero
// time.
func parseMoment(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(form, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, usagef("%s %q: write how long ago, such as 24h, a day such as 2026-05-04, or a time such as 2026-05-04T12:00:00Z", flag, text)
}

func (s *searchOptions) search(ctx context.Context, p *parts, out, hints io.Writer) error {
	whose, err := p.logWhose(ctx, s.connection, s.handle, s.person)
	if err != nil {
		return err
	}
	s.query.Found = whose
	searcher, err := p.searcher(ctx)
	if err != nil {
		return err
	}
	if s.cursor == "" {
		// It is not to find that it was made.
		here, err := searcher.Here(ctx)
		if err != nil {
			return err
		}
		if err := p.recordSearch(ctx, "", whose); err != nil {
			return err
		}
		s.cursor = searcher.Before(here, s.query)
	}
	var tail *audit.Tail
	if s.follow {
		if tail, err = searcher.Follow(ctx, s.query, ""); err != nil {
			return err
		}
		s.cursor = tail.Before()
	}
	found, next, damaged, err := searchUpTo(ctx, searcher, s.query, s.cursor, s.last)
	if err != nil {
		return err
	}
	if damaged {
		fmt.Fprintln(hints, "A part of the search index is damaged; what it covers was read through. 'gatehouse audit reindex' makes it anew.")
	}
	if s.follow {
		slices.Reverse(found)
	}
	if err := s.print(ctx, p, out, found, true); err != nil {
		return err
	}
	if !s.follow {
		if next != "" {
			fmt.Fprintf(hints, "There is more: --cursor %s\n", next)
		}
		return nil
	}
	return s.tail(ctx, p, tail, out)
}

// searchUpTo reads pages until it has n entries or there are no more.
func searchUpTo(ctx context.Context, searcher *audit.Searcher, q audit.Query, cursor string, n int) (found []audit.Shown, next string, damaged bool, err error) {
	for next = cursor; ; {
		page, err := searcher.Search(ctx, q, next, min(n-len(found), audit.MaxPage))
		if err != nil {
			return nil, "", false, err
		}
		found, next, damaged = append(found, page.Entries...), page.Next, damaged || page.Damaged
		if next == "" || len(found) >= n {
			return found, next, damaged, nil
		}
	}
}

// tailEvery is how often it is looked for new entries.
const tailEvery = 500 * time.Millisecond

// tail prints what is written until ctx ends.
func (s *searchOptions) tail(ctx context.Context, p *parts, tail *audit.Tail, out io.Writer) error {
	clock := time.NewTicker(tailEvery)
	defer clock.Stop()
	for {
		entries, more, err := tail.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.print(ctx, p, out, entries, false); err != nil {
			return err
		}
		if more {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-clock.C:
		}
	}
}

func (s *searchOptions) print(ctx context.Context, p *parts, out io.Writer, found []audit.Shown, first bool) error {
	list, err := p.withPeople(ctx, found, s.people)
	if err != nil {
		return err
	}
	if s.json {
		return printLines(out, list)
	}
	if len(list) == 0 && s.follow {
		return nil
	}
	rows := make([][]string, 0, len(list))
	for _, e := range list {
		rows = append(rows, append([]string{e.Code}, e.row()...))
	}
	s.widen(append([]string{"CODE"}, entryHeader...))
	for _, row := range rows {
		s.widen(row)
	}
	if first {
		return table(out, "No entry fits.", append([]string{"CODE"}, entryHeader...), rows)
	}
	for _, row := range rows {
		for i := range row {
			row[i] = fmt.Sprintf("%-*s", s.widths[i], row[i])
		}
		if _, err := fmt.Fprintln(out, strings.TrimRight(strings.Join(row, "  "), " ")); err != nil {
			return err
		}
	}
	return nil
}

// widen makes the columns wide enough for a row.
func (s *searchOptions) widen(row []string) {
	if s.widths == nil {
		s.widths = make([]int, len(row))
	}
	for i, cell := range row {
		s.widths[i] = max(s.widths[i], utf8.RuneCountInString(cell))
	}
}

// printLines prints JSON, one value a line.
func printLines[T any](out io.Writer, list []T) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	for _, v := range list {
		if err := e.Encode(v); err != nil {
			return err
		}
	}
	return nil
}
