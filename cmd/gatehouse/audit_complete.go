package main

import (
	"maps"
	"slices"

	"gatehouse/internal/audit"
	"gatehouse/internal/config"

	"github.com/spf13/cobra"
)

// completeEntries makes the shell complete, of the flags that choose entries, those
// whose values are few: words of the log, and names of the configuration.
func completeEntries(c *cobra.Command, o *options) {
	fixed := map[string][]string{
		"kind":    {"intent", "outcome", "event"},
		"verdict": {"allow", "report", "refuse", "done", "failed", "aborted"},
	}
	for _, s := range audit.Severities() {
		fixed["severity"] = append(fixed["severity"], string(s))
	}
	for _, a := range audit.Actions() {
		fixed["action"] = append(fixed["action"], a.Name)
	}
	for flag, words := range fixed {
		completeFlag(c, flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	completeFlag(c, "service", fromConfig(o, func(cfg *config.Config) []string { return namesOf(cfg.Services) }))
	completeFlag(c, "actor", fromConfig(o, func(cfg *config.Config) []string { return append(namesOf(cfg.Services), "operator") }))
	completeFlag(c, "purpose", fromConfig(o, func(cfg *config.Config) []string { return namesOf(cfg.Purposes) }))
	completeFlag(c, "app", fromConfig(o, func(cfg *config.Config) []string { return namesOf(cfg.Apps) }))
}

// completeFlag leaves a flag alone that the command does not have.
func completeFlag(c *cobra.Command, flag string, f cobra.CompletionFunc) {
	if c.Flags().Lookup(flag) != nil {
		_ = c.RegisterFlagCompletionFunc(flag, f) // fails only for a flag that is not there
	}
}

// fromConfig completes with names of the configuration; with none if it cannot be read.
func fromConfig(o *options, names func(*config.Config) []string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		cfg, err := configToVerify(o)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return names(cfg), cobra.ShellCompDirectiveNoFileComp
	}
}

// namesOf returns the names in order.
func namesOf[K ~string, V any](m map[K]V) []string {
	names := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		names = append(names, string(k))
	}
	return names
}
