package main

import (
	"context"
	"slices"

	"gatehouse/internal/store"

	"github.com/spf13/cobra"
)

// completed completes a command's first arguments, most of them, from the database, each
// with another name. It asks for no key, since a completion that stopped for a passphrase
// would be none, and what cannot be read offers nothing: a shell has no place for errors.
func completed(o *options, most int, names func(context.Context, *store.DB) ([]cobra.Completion, error)) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		const none = cobra.ShellCompDirectiveNoFileComp
		cfg, err := readConfig(o)
		if err != nil || len(args) >= most {
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
		return slices.DeleteFunc(out, func(name cobra.Completion) bool { return slices.Contains(args, name) }), none
	}
}
