package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/cases"
	"gatehouse/internal/public"

	"github.com/spf13/cobra"
)

func newCase(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "case",
		Short: "What must be done by a deadline: duties about people's data",
		Long: `A duty comes about when a person removes your app at a platform or asks for the
deletion of their data, when a platform says that content is gone, or when you or
your app ask for an erasure. Gatehouse cuts the person off, has the platforms end
the grants and asks your app to delete its own copy; your app answers. A duty that
is not answered is overdue, never done.`,
	}
	c.AddCommand(caseList(o), caseShow(o), caseDone(o), caseRefuse(o))
	return c
}

// caseView is what the command line shows of a duty. It is a struct of its own, so
// that a new field inside cannot appear here by itself.
type caseView struct {
	ID            string             `json:"id"`
	Kind          cases.Kind         `json:"kind"`
	Origin        cases.Origin       `json:"origin"`
	App           gatehouse.AppName  `json:"app,omitempty"`
	Platform      gatehouse.Platform `json:"platform,omitempty"`
	Person        gatehouse.PersonID `json:"person,omitempty"`
	State         cases.State        `json:"state"`
	Waiting       []string           `json:"waiting_for"`
	Opened        string             `json:"opened_at"`
	Deadline      string             `json:"deadline"`
	Revoked       string             `json:"revoked_at,omitempty"`
	Asked         string             `json:"asked_at,omitempty"`
	Answered      string             `json:"answered_at,omitempty"`
	AnsweredBy    string             `json:"answered_by,omitempty"`
	Shredded      string             `json:"shredded_at,omitempty"`
	Closed        string             `json:"closed_at,omitempty"`
	Justification string             `json:"justification,omitempty"`
	Proof         string             `json:"proof,omitempty"`
	StatusPage    string             `json:"status_page,omitempty"`
}

func (p *parts) viewCase(d cases.Duty, now time.Time) caseView {
	v := caseView{
		ID: d.ID, Kind: d.Kind, Origin: d.Origin, App: d.App, Platform: d.Platform, Person: d.Person, State: d.State(now), Waiting: d.Waiting(),
		Opened: stamp(d.Opened), Deadline: stamp(d.Deadline), Revoked: stamp(d.Revoked), Asked: stamp(d.Asked), Answered: stamp(d.Answered),
		AnsweredBy: d.AnsweredBy, Shredded: stamp(d.Shredded), Closed: stamp(d.Closed), Justification: d.Justification, Proof: d.Proof,
	}
	if v.Waiting == nil {
		v.Waiting = []string{}
	}
	if d.Kind != cases.ContentRemoved {
		v.StatusPage = p.connect.PublicURL() + public.DeletionPath + d.Code
	}
	return v
}

// caseStates are the states that duties can be listed by.
var caseStates = []cases.State{cases.Open, cases.Overdue, cases.Done, cases.Refused}

func caseList(o *options) *cobra.Command {
	var asJSON bool
	var state, app string
	c := &cobra.Command{
		Use:   "list",
		Short: "List duties",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if state != "" && !slices.Contains(caseStates, cases.State(state)) {
				return usagef("--state %s: there are %s", state, join(caseStates))
			}
			return with(c.Context(), o, func(p *parts) error {
				list := []caseView{}
				var rows [][]string
				now := time.Now()
				f := cases.Filter{State: cases.State(state), App: gatehouse.AppName(app), Now: now, Limit: 500}
				for {
					page, err := p.cases.List(c.Context(), f)
					if err != nil {
						return err
					}
					for _, d := range page {
						list = append(list, p.viewCase(d, now))
						rows = append(rows, []string{d.ID, string(d.Kind), string(d.App), string(d.State(now)), when(d.Deadline), strings.Join(d.Waiting(), "; ")})
					}
					if len(page) < f.Limit {
						break
					}
					f.After = page[len(page)-1].ID
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), list)
				}
				return table(c.OutOrStdout(), "There is no such duty.", []string{"DUTY", "KIND", "APP", "STATE", "DEADLINE", "WAITING FOR"}, rows)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringVar(&state, "state", "", "only those that are "+join(caseStates))
	c.Flags().StringVar(&app, "app", "", "only of this app registration")
	complete(c, "state", caseStates)
	return c
}

// complete offers a flag's values to the shell.
func complete[T ~string](c *cobra.Command, flag string, values []T) {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = string(v)
	}
	if err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // a programmer's mistake: the flag is declared before
	}
}

func caseShow(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show DUTY",
		Short: "Show one duty: its steps, and what it waits for",
		Args:  one("DUTY"),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c.Context(), o, func(p *parts) error {
				d, err := p.cases.Get(c.Context(), args[0])
				if err != nil {
					return err
				}
				return p.printCase(c.OutOrStdout(), d, asJSON)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// printCase shows a duty to a person or to a program.
func (p *parts) printCase(w io.Writer, d cases.Duty, asJSON bool) error {
	v := p.viewCase(d, time.Now())
	if asJSON {
		return printJSON(w, v)
	}
	fmt.Fprintf(w, "%s  %s, brought about by the %s, is %s\n\n", v.ID, strings.ReplaceAll(string(v.Kind), "_", " "), v.Origin, v.State)
	for _, line := range []struct {
		name string
		at   time.Time
	}{
		{"opened", d.Opened}, {"deadline", d.Deadline}, {"platforms confirmed", d.Revoked}, {"app asked", d.Asked}, {"app answered", d.Answered},
		{"destroyed here", d.Shredded}, {"closed", d.Closed},
	} {
		fmt.Fprintf(w, "  %-20s  %s\n", line.name, when(line.at))
	}
	if v.StatusPage != "" {
		fmt.Fprintf(w, "  %-20s  %s\n", "the person's page", v.StatusPage)
	}
	if v.Proof != "" {
		fmt.Fprintf(w, "  %-20s  gatehouse audit show --id %s\n", "proof", v.Proof)
	}
	if v.Justification != "" {
		fmt.Fprintf(w, "\nRefused: %s\n", v.Justification)
	}
	for i, waiting := range v.Waiting {
		if i == 0 {
			fmt.Fprintln(w, "\nIt waits for:")
		}
		fmt.Fprintf(w, "  - %s\n", waiting)
	}
	var next string
	switch {
	case !d.Closed.IsZero():
	case d.Answered.IsZero():
		next = fmt.Sprintf("\nYour app answers with POST /gatehouse/v1/duties/%s/done; for it, use 'gatehouse case done %s'.\n", d.ID, d.ID)
	case d.About() && d.Revoked.IsZero():
		next = "\nGatehouse keeps asking the platform; at the deadline what is held here goes in any case.\n"
	}
	_, err := io.WriteString(w, next)
	return err
}

func caseDone(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "done DUTY",
		Short: "Say for the app that its own copy is deleted",
		Long: `Says for your app that its own copy of the person's data, or of the content, is
deleted. Only say so when it is: the answer is in the log, and the person is shown it.`,
		Args: one("DUTY"),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c.Context(), o, func(p *parts) error {
				d, err := p.cases.Answer(c.Context(), args[0], "operator")
				if err != nil {
					return err
				}
				if d, err = p.cases.Advance(c.Context(), d.ID); err != nil {
					return err
				}
				return p.printCase(c.OutOrStdout(), d, false)
			})
		},
	}
}

func caseRefuse(o *options) *cobra.Command {
	var because string
	c := &cobra.Command{
		Use:   "refuse DUTY --because TEXT",
		Short: "Close a duty without erasing anything",
		Long: `Closes a duty without erasing anything. The text is shown to the person who asked;
platforms want a justification, such as a law that demands that the data is kept.`,
		Args: one("DUTY"),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c.Context(), o, func(p *parts) error {
				d, err := p.cases.Refuse(c.Context(), args[0], because)
				if err != nil {
					return err
				}
				return p.printCase(c.OutOrStdout(), d, false)
			})
		},
	}
	c.Flags().StringVar(&because, "because", "", "the justification, which the person can read")
	if err := c.MarkFlagRequired("because"); err != nil {
		panic(err) // a programmer's mistake: the flag is declared above
	}
	return c
}
