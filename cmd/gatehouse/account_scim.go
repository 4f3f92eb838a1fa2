package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/scim"
	"gatehouse/internal/store"

	"github.com/spf13/cobra"
)

func accountScimToken(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "scim-token",
		Short: "Tokens with which an identity provider keeps operators' accounts",
		Long: `An identity provider (Okta, Microsoft Entra ID and others) makes, suspends and removes
operators' accounts by SCIM 2.0, where the configuration has operators.scim. It shows a
token, which is made here, or in the console below Operators. See docs/operators.md.`,
	}
	c.AddCommand(scimTokenCreate(o), scimTokenList(o), scimTokenRevoke(o))
	return c
}

func scimTokenCreate(o *options) *cobra.Command {
	var life, old time.Duration
	var asJSON bool
	c := &cobra.Command{
		Use:   "create",
		Short: "Make a token for an identity provider and print it, once",
		Long: `Makes a token and prints it, once; only a hash of it is kept. Give it to the identity
provider as the secret, or bearer, token. With --expires-old the others end after that
time: long enough to hand out the new one.`,
		Example: "  gatehouse account scim-token create --expires-old 24h",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case c.Flags().Changed("expires-in") && (life < time.Minute || life > scim.MaxLife):
				return usagef("--expires-in: a span of time from 1m to %s", scim.MaxLife)
			case !c.Flags().Changed("expires-old"):
				old = -1
			case old < 0:
				return usagef("--expires-old: a span of time, such as 24h")
			}
			return with(c.Context(), o, func(p *parts) error {
				tokens, err := p.scimTokens()
				if err != nil {
					return err
				}
				text, k, err := tokens.Create(c.Context(), operator.Host(), life, old)
				if err != nil {
					return err
				}
				if !p.cfg.Operators.SCIM.Enabled {
					fmt.Fprintln(c.ErrOrStderr(), errNoSCIM)
				}
				if asJSON {
					answer := map[string]string{"id": string(k.ID), "token": text.Reveal(), "expires_at": stamp(k.Until)}
					if p.cfg.Operators.SCIM.Enabled {
						answer["url"] = strings.TrimSuffix(p.cfg.ConsoleURL(), "/") + scim.Prefix + "v2"
					}
					return printJSON(c.OutOrStdout(), answer)
				}
				_, err = fmt.Fprintln(c.OutOrStdout(), text.Reveal())
				return err
			})
		},
	}
	c.Flags().DurationVar(&life, "expires-in", 0, "how long it lives (default: a year)")
	c.Flags().DurationVar(&old, "expires-old", 0, "give the other tokens an end, that far ahead")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func scimTokenList(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List tokens of identity providers (their ids, never the tokens)",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c.Context(), o, func(p *parts) error {
				tokens, err := p.scimTokens()
				if err != nil {
					return err
				}
				all, err := tokens.List(c.Context())
				if err != nil {
					return err
				}
				type row struct {
					ID      string `json:"id"`
					State   string `json:"state"`
					By      string `json:"made_by"`
					Created string `json:"created_at"`
					Expires string `json:"expires_at,omitempty"`
					Used    string `json:"last_used_at,omitempty"`
				}
				list := []row{}
				var rows [][]string
				now := time.Now()
				for _, k := range all {
					state := scimTokenState(k, now)
					by := string(k.By)
					if by == "" {
						by = "host"
					}
					list = append(list, row{string(k.ID), state, by, stamp(k.Created), stamp(k.Until), stamp(k.Used)})
					rows = append(rows, []string{string(k.ID), state, by, when(k.Created), when(k.Until), when(k.Used)})
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), list)
				}
				return table(c.OutOrStdout(), "No identity provider has a token.", []string{"TOKEN", "STATE", "MADE BY", "CREATED", "EXPIRES", "LAST USED"}, rows)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func scimTokenRevoke(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke TOKEN-ID",
		Short: "Make a token of an identity provider worthless, at once",
		Args:  one("TOKEN-ID"),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c.Context(), o, func(p *parts) error {
				tokens, err := p.scimTokens()
				if err != nil {
					return err
				}
				if err := tokens.Revoke(c.Context(), operator.Host(), scim.TokenID(args[0])); err != nil {
					return err
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "revoked  %s\n", args[0])
				return err
			})
		},
		ValidArgsFunction: scimTokenNames(o),
	}
}

// scimTokenNames completes tokens' identifiers.
func scimTokenNames(o *options) cobra.CompletionFunc {
	return completed(o, 1, func(ctx context.Context, db *store.DB) (names []cobra.Completion, _ error) {
		all, err := db.ScimTokens().Tokens(ctx)
		if err != nil {
			return nil, err
		}
		for _, k := range all {
			names = append(names, string(k.ID))
		}
		return names, nil
	})
}

func accountScimLink(o *options) *cobra.Command {
	var end bool
	c := &cobra.Command{
		Use:   "scim-link OPERATOR",
		Short: "Let an identity provider keep an account that was made here",
		Long: `Puts an account that was made here under the management of the identity provider that
has a token: the provider finds it by its address as the user name, and from then on
suspends, resumes and removes it. Accounts that the provider made need no link.

With --end the management ends: the account stays as it is, but for roles by groups.`,
		Args: one("OPERATOR"),
		RunE: func(c *cobra.Command, args []string) error {
			return onAccount(c, o, args[0], func(p *parts, a operator.Account) (string, error) {
				if end {
					return "unlinked", p.operators.Unmanage(c.Context(), operator.Host(), a.ID)
				}
				return "linked", p.operators.Manage(c.Context(), operator.Host(), a.ID)
			})
		},
		ValidArgsFunction: accountNames(o, 1),
	}
	c.Flags().BoolVar(&end, "end", false, "end the management")
	return c
}
