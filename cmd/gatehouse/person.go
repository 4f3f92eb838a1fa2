package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/cases"
	"gatehouse/internal/connect"

	"github.com/spf13/cobra"
)

const personForms = `PERSON is one of
  subject:NAME     your app's own name: everybody who was joined with it
  x:12345          a platform's id (x, facebook, instagram, threads)
  con…             a connection: its person`

func newPerson(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "person",
		Short: "One human's data: what is held, and having it erased",
		Long: `A person is somebody who connected an account at a platform. Their data is sealed
under a key of their own, and goes with it.

` + personForms,
	}
	c.AddCommand(personShow(o), personErase(o))
	return c
}

// peopleNamed returns the people whom an argument names.
func (p *parts) peopleNamed(ctx context.Context, name string) ([]gatehouse.PersonID, error) {
	kind, rest, cut := strings.Cut(name, ":")
	switch {
	case cut && kind == "subject" && rest != "":
		return p.people(ctx, connect.Who{Subject: gatehouse.Subject(rest)})
	case cut && rest != "":
		var people []gatehouse.PersonID
		known := false
		for _, app := range slices.Sorted(maps.Keys(p.cfg.Apps)) {
			if string(p.cfg.Apps[app].Platform) != kind {
				continue
			}
			known = true
			found, err := p.connect.People(ctx, connect.Who{App: app, User: rest})
			if err != nil {
				return nil, err
			}
			for _, person := range found {
				if !slices.Contains(people, person) {
					people = append(people, person)
				}
			}
		}
		if !known {
			return nil, usagef("%s: no app of platform %q is configured\n%s", name, kind, personForms)
		}
		return people, nil
	case !cut && strings.HasPrefix(name, "con"):
		return p.connect.People(ctx, connect.Who{Connection: gatehouse.ConnectionID(name)})
	}
	return nil, usagef("%s names nobody\n%s", name, personForms)
}

// personView is what the command line shows of a person.
type personView struct {
	Person      gatehouse.PersonID  `json:"person"`
	Subjects    []gatehouse.Subject `json:"subjects"`
	Connections []connectionView    `json:"connections"`
	Duties      []caseView          `json:"duties"`
}

func (p *parts) viewPerson(ctx context.Context, person gatehouse.PersonID) (personView, error) {
	known, err := p.connect.Known(ctx, person)
	if err != nil {
		return personView{}, err
	}
	v := personView{Person: person, Subjects: known.Subjects(), Connections: []connectionView{}, Duties: []caseView{}}
	if v.Subjects == nil {
		v.Subjects = []gatehouse.Subject{}
	}
	for _, c := range known.Connections {
		v.Connections = append(v.Connections, viewOf(c))
	}
	now := time.Now()
	duties, err := p.cases.List(ctx, cases.Filter{Person: person, Now: now})
	for _, d := range duties {
		v.Duties = append(v.Duties, p.viewCase(d, now))
	}
	return v, err
}

func personShow(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show PERSON",
		Short: "What is held of a person",
		Long:  "Shows the connections and duties of a person.\n\n" + personForms,
		Args:  one("PERSON"),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c.Context(), o, func(p *parts) error {
				people, err := p.peopleNamed(c.Context(), args[0])
				if err != nil {
					return err
				}
				views := []personView{}
				for _, person := range people {
					v, err := p.viewPerson(c.Context(), person)
					if err != nil {
						return err
					}
					views = append(views, v)
				}
				if asJSON {
					err = printJSON(c.OutOrStdout(), views)
				} else {
					err = printPeople(c.OutOrStdout(), views)
				}
				if err == nil && len(views) == 0 {
					return &wantingError{}
				}
				return err
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printPeople(w io.Writer, views []personView) error {
	var rows [][]string
	for _, v := range views {
		for _, c := range v.Connections {
			rows = append(rows, []string{string(v.Person), c.ID, string(c.App), string(c.Kind), string(c.Subject), c.PlatformUser, c.Name, string(c.Status)})
		}
	}
	if err := table(w, "Nothing is held of anybody of this name.", []string{"PERSON", "CONNECTION", "APP", "KIND", "SUBJECT", "PLATFORM ID", "NAME", "STATUS"}, rows); err != nil {
		return err
	}
	for _, v := range views {
		for _, d := range v.Duties {
			fmt.Fprintf(w, "duty %s (%s) is %s\n", d.ID, d.Kind, d.State)
		}
	}
	return nil
}

func personErase(o *options) *cobra.Command {
	var confirm string
	var asJSON bool
	c := &cobra.Command{
		Use:   "erase PERSON",
		Short: "Have everything about a person erased",
		Long: `Cuts a person off at once, has the platforms end the grants, asks your app to delete
its own copy, and when it has answered destroys the person's key: tokens, names and
their fields of the log cannot be read afterwards, by anybody.

The first run says who is meant and prints a code; run it again with --confirm CODE.

` + personForms,
		Args: one("PERSON"),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c.Context(), o, func(p *parts) error {
				return p.erasePerson(c, args[0], confirm, asJSON)
			})
		},
	}
	c.Flags().StringVar(&confirm, "confirm", "", "the code that the first run printed")
	c.Flags().BoolVar(&asJSON, "json", false, "print the duties as JSON")
	return c
}

// erasePerson opens a duty for each person whom a name means.
func (p *parts) erasePerson(c *cobra.Command, name, confirm string, asJSON bool) error {
	ctx, w := c.Context(), c.OutOrStdout()
	people, err := p.peopleNamed(ctx, name)
	if err != nil {
		return err
	}
	if len(people) == 0 {
		fmt.Fprintln(w, "Nothing is held of anybody of this name.")
		return &wantingError{}
	}
	words := []string{"erase"}
	for _, person := range people {
		words = append(words, string(person))
	}
	code, err := p.connect.Confirmation(ctx, words...)
	if err != nil {
		return err
	}
	if confirm != code {
		var views []personView
		for _, person := range people {
			v, err := p.viewPerson(ctx, person)
			if err != nil {
				return err
			}
			views = append(views, v)
		}
		if err := printPeople(w, views); err != nil {
			return err
		}
		fmt.Fprintf(w, "\nThis would erase everything that is held of %s. It cannot be undone.\nTo go on, add: --confirm %s\n", count(len(people), "person", "people"), code)
		if confirm != "" {
			return errors.New("--confirm: this is not the code for these people; nothing was erased")
		}
		return &wantingError{}
	}
	opened, err := p.eraseAll(ctx, cases.FromOperator, people, func(gatehouse.AppName) error { return nil })
	if err != nil {
		return err
	}
	if asJSON {
		views := []caseView{}
		for _, d := range opened {
			views = append(views, p.viewCase(d, time.Now()))
		}
		return printJSON(w, views)
	}
	for _, d := range opened {
		if err := p.printCase(w, d, false); err != nil {
			return err
		}
	}
	return nil
}

// count puts a number before its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
