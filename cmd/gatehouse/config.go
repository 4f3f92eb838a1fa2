package main

import (
	"encoding/json"
	"fmt"
	"time"

	"gatehouse/internal/config"

	"github.com/spf13/cobra"
)

func newConfig(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "The configuration: an example, a check, an explanation",
	}
	c.AddCommand(
		&cobra.Command{
			Use:   "example",
			Short: "Print an annotated configuration that works",
			Args:  cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error {
				_, err := fmt.Fprint(c.OutOrStdout(), config.Example())
				return err
			},
		},
		configCheck(o),
		configExplain(o),
	)
	return c
}

func configCheck(o *options) *cobra.Command {
	var against string
	var asJSON bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration and say what it will change",
		Long: `Checks the configuration at --config as 'run' would: unknown keys, references that
lead nowhere, calls that the platform does not have. All mistakes are shown at
once, each with its line. With --against, it says what changes from that file.`,
		Example: "  gatehouse config check --config new.yaml --against /etc/gatehouse/gatehouse.yaml",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, warnings, err := config.Load(o.config, resolver())
			if err != nil {
				return err
			}
			if _, err := policySet(cfg, time.Now()); err != nil {
				return err
			}
			answer := struct {
				Hash     string   `json:"sha256"`
				Warnings []string `json:"warnings"`
				Changes  []string `json:"changes,omitempty"`
				// Act is what has to be done beside applying it.
				Act []string `json:"act,omitempty"`
			}{Hash: cfg.Hash(), Warnings: []string{}}
			for _, w := range warnings {
				answer.Warnings = append(answer.Warnings, w.String())
			}
			if against != "" {
				old, _, err := config.Load(against, resolver())
				if err != nil {
					return fmt.Errorf("--against: %w", err)
				}
				answer.Changes = config.Diff(old, cfg)
				if text := authorityChange(old, cfg); text != "" {
					answer.Act = append(answer.Act, text)
				}
			}
			out := c.OutOrStdout()
			if asJSON {
				return json.NewEncoder(out).Encode(answer)
			}
			for _, w := range answer.Warnings {
				fmt.Fprintln(out, "warning:", w)
			}
			for _, change := range answer.Changes {
				fmt.Fprintln(out, "change: ", change)
			}
			for _, text := range answer.Act {
				fmt.Fprintln(out, "act:    ", text)
			}
			if against != "" && len(answer.Changes) == 0 {
				fmt.Fprintln(out, "no change")
			}
			_, err = fmt.Fprintf(out, "%s is valid (sha256 %s)\n", o.config, answer.Hash)
			return err
		},
	}
	c.Flags().StringVar(&against, "against", "", "another configuration to compare with")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
