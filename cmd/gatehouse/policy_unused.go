package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/observe"
	"gatehouse/internal/platform"
	"gatehouse/internal/store"

	"github.com/spf13/cobra"
)

// policyStore is what of the database the commands read beside what was observed.
type policyStore struct {
	connections connect.Store
	db          *store.DB // for the logs
}

func policyUnused(o *options) *cobra.Command {
	var since string
	var asJSON bool
	c := &cobra.Command{
		Use:   "unused",
		Short: "List what is granted or declared, and never used",
		Long: `Lists scopes that people are asked for and no call needs, calls, parameters and
fields that are declared and were never used, services with purposes for which they
never call, third parties to whom nothing was let through, and scopes that connections
hold beyond their purposes. What report mode let through of replies, and enforce mode
leaves out, is told beside it, and so are service keys that are wider than needed.

Exit status: 0 when there is nothing, 1 when something is listed. What cannot be known
is not listed: Meta documents for no call which scope it needs.`,
		Example: "  gatehouse policy unused --since 2026-01-31 --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return look(c.Context(), o, since, "", func(l *looked, s *policyStore) error {
				answer := unusedAnswer{Since: stamp(l.snapshot.Since), Unused: observe.FindUnused(l.snapshot, l.declared)}
				parties, err := l.unusedParties(c.Context(), s.db)
				if err != nil {
					return err
				}
				answer.Unused = append(answer.Unused, parties...)
				beyond, err := l.beyond(c.Context(), s.connections)
				if err != nil {
					return err
				}
				answer.Unused = append(answer.Unused, beyond...)
				if answer.Wide, err = l.wideKeys(c.Context(), s.db); err != nil {
					return err
				}
				answer.Withheld = observe.FindWithheld(l.snapshot, l.declared)
				var warning string
				answer.Days, warning = watched(l.snapshot.Since, time.Now())
				answer.Warnings = warnings(warning)
				if err := answer.print(c.OutOrStdout(), asJSON, l.snapshot.Since); err != nil {
					return err
				}
				if len(answer.Unused) > 0 {
					return &wantingError{}
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&since, "since", "", "count only what was used since this day, such as 2026-01-31")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// unusedAnswer is what the command says.
type unusedAnswer struct {
	Since    string             `json:"since"`
	Days     int                `json:"days"`
	Warnings []string           `json:"warnings"`
	Unused   []observe.Finding  `json:"unused"`
	Withheld []observe.Withheld `json:"would_withhold"`
	Wide     []wideKey          `json:"wide_keys"`
}

func (a unusedAnswer) print(w io.Writer, asJSON bool, since time.Time) error {
	if asJSON {
		if a.Unused == nil {
			a.Unused = []observe.Finding{}
		}
		if a.Withheld == nil {
			a.Withheld = []observe.Withheld{}
		}
		if a.Wide == nil {
			a.Wide = []wideKey{}
		}
		return printJSON(w, a)
	}
	fmt.Fprintf(w, "observed since %s\n", when(since))
	for _, warning := range a.Warnings {
		fmt.Fprintln(w, "warning:", warning)
	}
	var rows [][]string
	for _, f := range a.Unused {
		what := strings.TrimSpace(string(f.Call) + " " + f.Name)
		if f.Service != "" {
			what = string(f.Service)
		}
		rows = append(rows, []string{string(f.Kind), dash(string(f.Purpose) + string(f.App)), what, f.Text})
	}
	if err := table(w, "nothing is unused", []string{"KIND", "OF", "WHAT", "WHY"}, rows); err != nil {
		return err
	}
	for _, h := range a.Withheld {
		fmt.Fprintf(w, "enforce mode withholds from %s (%s): %s\n", h.Call, h.Purpose, strings.Join(h.Fields, " "))
	}
	for _, k := range a.Wide {
		fmt.Fprintf(w, "wider than needed: key %s of %s is for each of %s; one for each: gatehouse service key create %s --purpose NAME\n", k.ID, k.Service, join(k.Purposes), k.Service)
	}
	return nil
}

// unusedParties lists the third parties to whom nothing was let through.
func (l *looked) unusedParties(ctx context.Context, db *store.DB) ([]observe.Finding, error) {
	hosts := slices.Sorted(maps.Keys(l.cfg.ThirdParty))
	last, err := lastSent(ctx, db, hosts, l.snapshot.Since)
	if err != nil {
		return nil, err
	}
	var out []observe.Finding
	for _, host := range hosts {
		if last[host].IsZero() {
			out = append(out, observe.Finding{Kind: observe.UnusedParty, Name: host, Text: "nothing was let through to it"})
		}
	}
	return out, nil
}

// beyond lists the scopes that usable connections hold and none of their purposes
// declares, with how many hold each.
func (l *looked) beyond(ctx context.Context, s connect.Store) ([]observe.Finding, error) {
	type held struct {
		app   gatehouse.AppName
		scope string
	}
	count := map[held]int{}
	for f := (connect.Filter{Limit: 1000}); ; {
		page, err := s.Connections(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, r := range page {
			f.After = r.ID
			if !r.Status.Usable() || r.Parent != "" {
				continue
			}
			may := slices.Concat(observe.OwnScopes(platform.Name(r.Platform)), l.cfg.Apps[r.App].Scopes)
			for _, p := range r.Purposes {
				may = append(may, l.cfg.Purposes[p].Scopes...)
			}
			for _, scope := range r.Scopes {
				if !slices.Contains(may, scope) {
					count[held{r.App, scope}]++
				}
			}
		}
		if len(page) < f.Limit {
			break
		}
	}
	var out []observe.Finding
	for h, n := range count {
		out = append(out, observe.Finding{
			Kind: observe.GrantedScope, App: h.app, Name: h.scope, Text: fmt.Sprintf("connections that hold it and whose purposes do not declare it: %d", n),
		})
	}
	slices.SortFunc(out, func(a, b observe.Finding) int {
		return strings.Compare(string(a.App)+" "+a.Name, string(b.App)+" "+b.Name)
	})
	return out, nil
}
