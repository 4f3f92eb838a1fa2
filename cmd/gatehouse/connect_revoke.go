package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"gatehouse"

	"github.com/spf13/cobra"
)

func connectRevoke(o *options) *cobra.Command {
	var all, asJSON bool
	var app, platform, reason, confirm string
	c := &cobra.Command{
		Use:   "revoke CONNECTION|--all",
		Short: "End a connection, or everything at once",
		Long: `Ends a connection: its handles at once, then its grant at the platform, which is
asked again until it confirms.

With --all it is what to press after a compromise. The keys of the services
concerned stop working, every connection and handle is cut off here, then every
grant is ended at its platform and X's app-only bearer is invalidated, and the vault's
keys get new versions. The report lists the people affected, who have to connect
again, and what a platform has not confirmed or offers no way to end. Interrupted, run
it again: it goes on.

The first run of --all says what would end and prints a code; run it again with
--confirm CODE. The code fits this scope and reason only.

It does not replace what others keep: new client secrets at the platforms, a new root
key, and the secret that signs events (gatehouse events secret --rotate) are separate
steps.`,
		Example: `  gatehouse connect revoke con… --reason "asked by the person"
  gatehouse connect revoke --all --platform x --reason "laptop stolen"`,
		Args: func(_ *cobra.Command, args []string) error {
			if all && len(args) > 0 || !all && len(args) != 1 {
				return errors.New("give exactly one CONNECTION, or --all")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if !all && (app != "" || platform != "" || confirm != "" || asJSON) {
				return usagef("--app, --platform, --confirm and --json go with --all")
			}
			return with(c.Context(), o, func(p *parts) error {
				if !all {
					if reason == "" {
						reason = "ended on the command line"
					}
					return revokeOne(c, p, gatehouse.ConnectionID(args[0]), reason)
				}
				if reason == "" {
					return usagef("--all needs --reason: it stands in the log and with each connection")
				}
				scope, err := scopeOf(p, app, platform)
				if err != nil {
					return err
				}
				s := &sweep{c: c, sweeper: sweeper{parts: p, scope: scope, reason: reason}, asJSON: asJSON}
				return s.run(c.Context(), confirm)
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "everything in scope")
	c.Flags().StringVar(&app, "app", "", "with --all: only of this app registration")
	c.Flags().StringVar(&platform, "platform", "", "with --all: only of this platform")
	c.Flags().StringVar(&reason, "reason", "", "why, for the log")
	c.Flags().StringVar(&confirm, "confirm", "", "with --all: the code that the first run printed")
	c.Flags().BoolVar(&asJSON, "json", false, "with --all: print the report as JSON")
	return c
}

func revokeOne(c *cobra.Command, p *parts, id gatehouse.ConnectionID, reason string) error {
	if err := p.connect.Revoke(c.Context(), id, reason); err != nil {
		return err
	}
	con, err := p.connect.Get(c.Context(), id)
	if err != nil {
		return err
	}
	if con.RevokeOutstanding {
		_, err = fmt.Fprintln(c.OutOrStdout(), "cut off here; the platform has not confirmed yet and is asked again")
		return err
	}
	_, err = fmt.Fprintln(c.OutOrStdout(), "revoked, here and at the platform")
	return err
}

// sweep ends everything in a scope, on the command line.
type sweep struct {
	sweeper
	c      *cobra.Command
	asJSON bool
}

func (s *sweep) run(ctx context.Context, confirm string) error {
	w := s.c.OutOrStdout()
	code, err := s.parts.connect.Confirmation(ctx, "revoke", string(s.scope.App), string(s.scope.Platform), s.reason)
	if err != nil {
		return err
	}
	services, err := s.services(ctx)
	if err != nil {
		return err
	}
	if confirm != code {
		alive, err := s.parts.connect.Exportable(ctx, s.scope)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "This would end %d connections that work, with their handles, here and at the platforms,\nand all keys of these services: %s.\nThe people have to connect again. To go on, add: --confirm %s\n", len(alive), join(services), code)
		if confirm != "" {
			return errors.New("--confirm: this is not the code for this scope and reason; nothing was ended")
		}
		return &wantingError{}
	}
	progress := func(done, of int) {}
	if onTerminal(s.c.ErrOrStderr()) {
		progress = func(done, of int) { fmt.Fprintf(s.c.ErrOrStderr(), "\rasked platforms about %d of %d", done, of) }
		defer fmt.Fprintln(s.c.ErrOrStderr())
	}
	report, err := s.do(ctx, services, progress)
	if err != nil {
		return err
	}
	return s.report(report)
}

// report prints what was done. What a platform still has to confirm is a reason
// to come back: exit status 1.
func (s *sweep) report(r sweepReport) error {
	w := s.c.OutOrStdout()
	unconfirmed := r.Outstanding + r.OpenImports
	for _, state := range r.Bearers {
		if state != "invalidated" {
			unconfirmed++
		}
	}
	if s.asJSON {
		if err := printJSON(w, r); err != nil {
			return err
		}
	} else if err := s.print(r); err != nil {
		return err
	}
	if unconfirmed > 0 {
		return &wantingError{}
	}
	return nil
}

func (s *sweep) print(r sweepReport) error {
	w := s.c.OutOrStdout()
	var rows [][]string
	for _, one := range r.Connections {
		rows = append(rows, []string{string(one.ID), string(one.App), string(one.Kind), string(one.Subject), string(one.AtPlatform)})
	}
	if err := table(w, "No connection was ended.", []string{"CONNECTION", "APP", "KIND", "SUBJECT", "AT THE PLATFORM"}, rows); err != nil {
		return err
	}
	keys := 0
	for _, n := range r.ServiceKeys {
		keys += n
	}
	fmt.Fprintf(w, "\n%d connections of %d people ended and cut off; %d service keys revoked.\n", len(r.Connections), len(r.People), keys)
	for _, domain := range slices.Sorted(maps.Keys(r.Keys)) {
		fmt.Fprintf(w, "%s@%d is active; 'gatehouse run', or 'gatehouse keys rewrap', moves what stands under the older version.\n", domain, r.Keys[domain])
	}
	for app, state := range r.Bearers {
		fmt.Fprintf(w, "App-only bearer of %s: %s.\n", app, state)
	}
	if r.Outstanding > 0 {
		fmt.Fprintf(w, "%d are not confirmed by their platform yet: 'gatehouse run' keeps asking, and so does this command.\n", r.Outstanding)
	}
	if r.OpenImports > 0 {
		fmt.Fprintf(w, "%d pairs of interrupted imports are not confirmed yet: run this command again.\n", r.OpenImports)
	}
	if r.NotOffered > 0 {
		fmt.Fprintf(w, "%d are of platforms where an app cannot end a grant: a copied token works there until it expires or the person\nremoves the app. A new app secret at the platform is the way to be sure.\n", r.NotOffered)
	}
	_, err := fmt.Fprintln(w, "Next: replace what may have leaked (client secrets, root key, events' secret), make new service keys, let the people connect again.")
	return err
}
