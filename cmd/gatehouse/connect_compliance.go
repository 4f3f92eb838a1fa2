package main

import (
	"strconv"

	"gatehouse"
	"gatehouse/internal/compliance"

	"github.com/spf13/cobra"
)

// complianceView is what the command line shows of a list. Its keys are relied on
// from outside.
type complianceView struct {
	App       gatehouse.AppName `json:"app"`
	Kind      compliance.Kind   `json:"kind"`
	On        bool              `json:"on"`
	IDs       int64             `json:"ids"`
	Oldest    string            `json:"oldest_delivery_at,omitempty"`
	State     compliance.State  `json:"state"`
	Reason    string            `json:"reason,omitempty"`
	Tries     int               `json:"tries,omitempty"`
	Started   string            `json:"run_started_at,omitempty"`
	Ended     string            `json:"run_ended_at,omitempty"`
	Next      string            `json:"next_at,omitempty"`
	Jobs      int64             `json:"jobs"`
	Asked     int64             `json:"asked"`
	Found     int64             `json:"found"`
	Ignored   int64             `json:"ignored"`
	Malformed int64             `json:"malformed"`
	Waiting   int64             `json:"waiting"`
	Evicted   int64             `json:"evicted"`
	EvictedAt string            `json:"evicted_at,omitempty"`
}

func connectCompliance(o *options) *cobra.Command {
	var asJSON, now bool
	c := &cobra.Command{
		Use:   "compliance",
		Short: "X's batch compliance: what is remembered, asked and found",
		Long: `Shows, for each app registration at X with compliance in the configuration, how many
posts and users are remembered, how far the newest run has come, when there is
something to do next, and what was found.

WAITING are findings that nothing has taken over yet; EVICTED identifiers were
forgotten for room, so that X is not asked about them any more.

With --now the running Gatehouse begins a run within seconds.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c.Context(), o, func(p *parts) error {
				if now {
					if err := p.compliance.Start(c.Context()); err != nil {
						return err
					}
				}
				all, err := p.compliance.Status(c.Context())
				if err != nil {
					return err
				}
				list, rows := []complianceView{}, [][]string{}
				for _, s := range all {
					list = append(list, complianceView{
						App: s.App, Kind: s.Kind, On: s.On, IDs: s.IDs, Oldest: stamp(s.Oldest), State: s.State, Reason: s.Reason, Tries: s.Tries,
						Started: stamp(s.Started), Ended: stamp(s.Ended), Next: stamp(s.Next), Jobs: s.Jobs, Asked: s.Sent, Found: s.Found,
						Ignored: s.Ignored, Malformed: s.Malformed, Waiting: s.Waiting, Evicted: s.Evicted, EvictedAt: stamp(s.EvictedAt),
					})
					state := string(s.State)
					switch {
					case !s.On:
						state = "off"
					case s.Reason != "":
						state += " (" + s.Reason + ")"
					}
					rows = append(rows, []string{string(s.App), string(s.Kind), figure(s.IDs), when(s.Oldest), state, when(s.Started), when(s.Next),
						figure(s.Found), figure(s.Waiting), figure(s.Evicted)})
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), list)
				}
				return table(c.OutOrStdout(), "No app has compliance in the configuration.",
					[]string{"APP", "KIND", "IDS", "OLDEST", "STATE", "LAST RUN", "NEXT", "FOUND", "WAITING", "EVICTED"}, rows)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&now, "now", false, "begin a run of every list that is not being asked about")
	return c
}

// figure is a number in a table.
func figure(n int64) string { return strconv.FormatInt(n, 10) }
