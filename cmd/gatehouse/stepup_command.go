package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/stepup"
	"gatehouse/internal/store"

	"github.com/spf13/cobra"
)

const holderForms = `PERSON is one of
  subject:NAME     your app's own name of its user
  ID               a person, as 'gatehouse stepup list' names them`

func newStepup(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "stepup",
		Short: "Second factors of your app's own users: who has which, and resetting them",
		Long: `Your app asks for step-ups (docs/stepup.md). These commands are for whoever is on
duty: what somebody has, what is open, and removing all of it for somebody who has
lost their phone and their recovery codes.

` + holderForms,
	}
	c.AddCommand(stepupList(o), stepupShow(o), stepupReset(o))
	return c
}

// holderView is what the command line shows of a person's second factors.
type holderView struct {
	Person   gatehouse.PersonID `json:"person"`
	Subject  gatehouse.Subject  `json:"subject,omitempty"`
	Passkeys int                `json:"passkeys"`
	TOTP     int                `json:"totp"`
	Blocked  int                `json:"blocked"`
	Recovery int                `json:"recovery_codes_left"`
	Proved   string             `json:"last_proof_at,omitempty"`
	Asked    string             `json:"last_asked_at"`
	Open     int                `json:"open"`
}

func viewHolder(h stepup.Holder) holderView {
	return holderView{h.Person, h.Subject, h.Passkeys, h.TOTP, h.Blocked, h.RecoveryLeft, stamp(h.Proved), stamp(h.Asked), h.Open}
}

// factorsInWords says what somebody has.
func factorsInWords(h stepup.Holder) string {
	var words []string
	for _, f := range []struct {
		n         int
		one, many string
	}{
		{h.Passkeys, "passkey", "passkeys"}, {h.TOTP, "authenticator app", "authenticator apps"}, {h.Blocked, "blocked passkey", "blocked passkeys"},
	} {
		if f.n > 0 {
			words = append(words, count(f.n, f.one, f.many))
		}
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

func stepupList(o *options) *cobra.Command {
	var asJSON, open bool
	var last int
	c := &cobra.Command{
		Use:   "list",
		Short: "List the people for whom a step-up was asked, whoever was last first",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if last < 1 {
				return usagef("--last: a number of people, at least 1")
			}
			return with(c.Context(), o, func(p *parts) error {
				views := []holderView{}
				var rows [][]string
				for place := (stepup.Place{}); last > 0; {
					page, next, err := p.stepup.Holders(c.Context(), place, min(last, 500))
					if err != nil {
						return err
					}
					last -= len(page)
					for _, h := range page {
						if open && h.Open == 0 {
							continue
						}
						views = append(views, viewHolder(h))
						rows = append(rows, []string{string(h.Person), factorsInWords(h), strconv.Itoa(h.RecoveryLeft), when(h.Proved), when(h.Asked), strconv.Itoa(h.Open)})
					}
					if place = next; next.IsZero() {
						break
					}
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), views)
				}
				return table(c.OutOrStdout(), "No step-up was asked for anybody.", []string{"PERSON", "SECOND FACTORS", "RECOVERY CODES", "LAST PROOF", "LAST ASKED", "OPEN"}, rows)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&open, "open", false, "only those with a step-up that is open")
	c.Flags().IntVar(&last, "last", 1000, "look at so many people at most")
	return c
}

// holderNamed returns the person whom an argument names, and their subject if that is
// how they are named.
func (p *parts) holderNamed(ctx context.Context, name string) (gatehouse.PersonID, gatehouse.Subject, error) {
	if subject, is := strings.CutPrefix(name, "subject:"); is && subject != "" {
		person, err := p.records.PersonOfSubject(ctx, gatehouse.Subject(subject), false)
		if errors.Is(err, gatehouse.ErrNotFound) {
			err = fmt.Errorf("no step-up was ever asked for anybody of this name: %w", gatehouse.ErrNotFound)
		}
		return person, gatehouse.Subject(subject), err
	}
	if name != "" && !strings.Contains(name, ":") {
		return gatehouse.PersonID(name), "", nil
	}
	return "", "", usagef("%s names nobody\n%s", name, holderForms)
}

// factorView is one factor of a person.
type factorView struct {
	Kind    stepup.Method `json:"kind"`
	Site    string        `json:"site,omitempty"`
	Blocked bool          `json:"blocked"`
	Created string        `json:"created_at"`
	Used    string        `json:"used_at,omitempty"`
}

// openView is a step-up that is open.
type openView struct {
	ID      string                `json:"id"`
	Service gatehouse.ServiceName `json:"service"`
	State   stepup.Stage          `json:"state"`
	Wrong   int                   `json:"wrong_answers"`
	Created string                `json:"created_at"`
	Expires string                `json:"expires_at"`
}

func stepupShow(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show PERSON",
		Short: "What somebody has, and which step-ups of theirs are open",
		Long:  "Shows a person's second factors and open step-ups.\n\n" + holderForms,
		Args:  one("PERSON"),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c.Context(), o, func(p *parts) error {
				person, _, err := p.holderNamed(c.Context(), args[0])
				if err != nil {
					return err
				}
				h, factors, open, err := p.stepup.Holder(c.Context(), person)
				if err != nil {
					return err
				}
				answer := struct {
					holderView
					Factors []factorView `json:"factors"`
					Opens   []openView   `json:"open_stepups"`
				}{viewHolder(h), []factorView{}, []openView{}}
				rows := [][]string{
					{"subject", dashed(string(h.Subject))}, {"second factors", factorsInWords(h)}, {"recovery codes left", strconv.Itoa(h.RecoveryLeft)},
					{"last proof", when(h.Proved)}, {"last asked", when(h.Asked)},
				}
				for _, f := range factors {
					answer.Factors = append(answer.Factors, factorView{f.Method, f.Site, f.Blocked, stamp(f.Created), stamp(f.Used)})
					state := "last used " + when(f.Used)
					if f.Blocked {
						state = "BLOCKED: it seems to have been copied"
					}
					rows = append(rows, []string{"factor", string(f.Method) + ", made " + when(f.Created) + ", " + state})
				}
				for _, r := range open {
					answer.Opens = append(answer.Opens, openView{r.ID, r.Service, r.Stage, r.Wrong, stamp(r.Created), stamp(r.Expires)})
					rows = append(rows, []string{"open step-up", fmt.Sprintf("%s of %s, %s, until %s", r.ID, r.Service, r.Stage, when(r.Expires))})
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), answer)
				}
				return table(c.OutOrStdout(), "", []string{"person", string(h.Person)}, rows)
			})
		},
		ValidArgsFunction: holderNames(o),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func stepupReset(o *options) *cobra.Command {
	var confirm string
	var asJSON bool
	c := &cobra.Command{
		Use:   "reset PERSON",
		Short: "Remove all second factors of somebody who has lost them",
		Long: `Removes a person's passkeys, authenticator app and recovery codes, ends their open
step-ups and forgets the browsers that they are known in. The next step-up sets up
new ones: until then whoever is signed in at your app as this person can. So be sure
who asks. It is in the log, and your app is told (event stepup.reset).

The first run says who is meant and prints a code; run it again with --confirm CODE.

` + holderForms,
		Args: one("PERSON"),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c.Context(), o, func(p *parts) error { return p.resetHolder(c, args[0], confirm, asJSON) })
		},
		ValidArgsFunction: holderNames(o),
	}
	c.Flags().StringVar(&confirm, "confirm", "", "the code that the first run printed")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (p *parts) resetHolder(c *cobra.Command, name, confirm string, asJSON bool) error {
	ctx, w := c.Context(), c.OutOrStdout()
	person, subject, err := p.holderNamed(ctx, name)
	if err != nil {
		return err
	}
	h, _, _, err := p.stepup.Holder(ctx, person)
	if err != nil {
		return err
	}
	code, err := p.connect.Confirmation(ctx, "stepup reset", string(person))
	if err != nil {
		return err
	}
	if confirm != code {
		if confirm != "" {
			return errors.New("--confirm: this is not the code for this person; nothing was reset")
		}
		fmt.Fprintf(w, "person %s has: %s; %s\n", person, factorsInWords(h), count(h.RecoveryLeft, "recovery code", "recovery codes"))
		fmt.Fprintf(w, "This would remove them all, and end %s. Whoever is signed in at your app as this person can then set up new ones.\nTo go on, add: --confirm %s\n", count(h.Open, "open step-up", "open step-ups"), code)
		return &wantingError{}
	}
	n, err := p.stepup.ResetHolder(ctx, person, subject)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(w, struct {
			Person  gatehouse.PersonID `json:"person"`
			Removed int                `json:"removed"`
		}{person, n})
	}
	_, err = fmt.Fprintf(w, "reset: %s removed; the app is told\n", count(n, "factor", "factors"))
	return err
}

// completedHolders is how many people a completion offers.
const completedHolders = 50

// holderNames completes people for whom a step-up was asked lately, by their ids: what
// the app calls them is sealed.
func holderNames(o *options) cobra.CompletionFunc {
	return completed(o, 1, func(ctx context.Context, db *store.DB) (names []cobra.Completion, _ error) {
		holders, err := db.Stepup().Holders(ctx, stepup.Place{}, completedHolders, time.Now())
		if err != nil {
			return nil, err
		}
		for _, h := range holders {
			names = append(names, string(h.Person))
		}
		return names, nil
	})
}
