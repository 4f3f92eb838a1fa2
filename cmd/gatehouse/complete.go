package main

import (
	"context"

	"gatehouse/internal/store"

	"github.com/spf13/cobra"
)

// completed completes a command's only argument from the database. It asks for no key, and
// what cannot be read offers nothing: a shell has no place for errors.
func completed(o *options, names func(context.Context, *store.DB) ([]cobra.Completion, error)) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		const none = cobra.ShellCompDirectiveNoFileComp
		cfg, err := readConfig(o)
		if err != nil || len(args) > 0 {
			return nil, none
		}
		db, err := store.Open(c.Context(), cfg.Store.Text().Reveal())
		if err != nil {
			return nil, none
		}
		defer func() { _ = db.Close() }()
		out, err := names(c.Context(), db)
		if err != nil {
			return nil, none
		}
		return out, none
	}
}
