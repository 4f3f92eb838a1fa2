package main

import (
	"time"

	"github.com/spf13/cobra"
)

func auditInDoubt(o *options) *cobra.Command {
	var since string
	var older time.Duration
	var asJSON bool
	c := &cobra.Command{
		Use:   "in-doubt",
		Short: "List what was begun, and of which nobody knows how it ended",
		Long: `Lists intents without an outcome, the oldest first. The process that wrote them ended
in between, or the work is still under way: a stream or a tunnel may last for days.
Whether the thing was done, only whoever was asked to do it can tell.`,
		Example: `  gatehouse audit in-doubt --since 24h
  gatehouse audit in-doubt --older 1h --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if older < 0 {
				return usagef("--older is a time that has passed, such as 1h")
			}
			now := time.Now()
			first, err := parseMoment("--since", since, now)
			if err != nil {
				return err
			}
			return with(c.Context(), o, func(p *parts) error {
				searcher, err := p.searcher(c.Context())
				if err != nil {
					return err
				}
				found, err := searcher.InDoubt(c.Context(), first, now.Add(-older))
				if err != nil {
					return err
				}
				list, err := p.withPeople(c.Context(), found, false)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), list)
				}
				rows := make([][]string, 0, len(list))
				for _, e := range list {
					rows = append(rows, []string{when(e.When), e.ID, e.Code, e.Action, dash(string(e.Operation)), dash(string(e.Purpose)), dash(string(e.Service)), now.Sub(e.When).Round(time.Second).String()})
				}
				return table(c.OutOrStdout(), "Nothing is in doubt.", []string{"TIME", "ID", "CODE", "ACTION", "OPERATION", "PURPOSE", "SERVICE", "AGE"}, rows)
			})
		},
	}
	c.Flags().StringVar(&since, "since", "", "none before this: 24h (ago), 2026-05-04 or 2026-05-04T12:00:00Z")
	c.Flags().DurationVar(&older, "older", time.Minute, "none younger than this: it may be under way")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
