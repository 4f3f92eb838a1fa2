package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/store"

	"github.com/spf13/cobra"
)

func newAccount(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "account",
		Short: "Those who run this Gatehouse: invite them, say what they may, remove them",
		Long: `Operators sign in to the console with a passkey, or with a password and an
authenticator app. These commands do what the console's page does, for whoever has this
host: they need no second operator's approval, and stand in the audit log as done by
the host. An operator is named by e-mail address or by identifier.`,
	}
	c.AddCommand(accountInvite(o), accountList(o), accountShow(o), accountGrant(o), accountRevoke(o), accountAddress(o),
		accountDo(o, "suspend", "Keep an operator from signing in, and end their sessions",
			"Suspends an account: its sessions end at once, and it does not sign in until it is\nresumed. The last owner's cannot be.", "suspended",
			func(ctx context.Context, d *operator.Directory, id operator.AccountID) error {
				return d.Suspend(ctx, operator.Host(), id)
			}),
		accountDo(o, "resume", "Let a suspended operator sign in again",
			"Lets a suspended account sign in again, with the factors and roles that it had.", "resumed",
			func(ctx context.Context, d *operator.Directory, id operator.AccountID) error {
				return d.Resume(ctx, operator.Host(), id)
			}),
		accountRemove(o), accountHandOver(o), accountSessions(o), accountSignOut(o), accountApprovals(o), accountRoles(), accountReview(o), accountScimToken(o), accountScimLink(o))
	return c
}

// account finds an operator by identifier or address.
func account(ctx context.Context, p *parts, who string) (operator.Account, error) {
	accounts, err := p.operators.Accounts(ctx)
	if err != nil {
		return operator.Account{}, err
	}
	for _, a := range accounts {
		if string(a.ID) == who || a.Email != "" && strings.EqualFold(a.Email, who) {
			return a, nil
		}
	}
	return operator.Account{}, fmt.Errorf("there is no operator of this name ('gatehouse account list' has them all): %w", gatehouse.ErrNotFound)
}

// accountNames completes the operators' addresses that a command begins with, most of them.
func accountNames(o *options, most int) cobra.CompletionFunc {
	return completed(o, most, func(ctx context.Context, db *store.DB) (names []cobra.Completion, _ error) {
		records, err := db.Operators().Accounts(ctx)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			if r.Account.Email != "" {
				names = append(names, r.Account.Email)
			}
		}
		return names, nil
	})
}

// whoThenRole completes an operator and then a role.
func whoThenRole(o *options) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return accountNames(o, 1)(c, args, word)
		}
		return roleNames(), cobra.ShellCompDirectiveNoFileComp
	}
}

func roleNames() []string {
	var names []string
	for _, r := range operator.Roles() {
		names = append(names, string(r))
	}
	return names
}

// untilFlag reads the end of a grant: a day, which it lasts through, or a span.
func untilFlag(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day.Add(24 * time.Hour), nil
	}
	if span, err := time.ParseDuration(text); err == nil && span > 0 {
		return time.Now().Add(span), nil
	}
	return time.Time{}, usagef("--until: a day such as 2027-01-31 (UTC, and its end), or a span such as 72h")
}

func accountInvite(o *options) *cobra.Command {
	var name, role, until string
	var again, asJSON bool
	var sure nameTyped
	c := &cobra.Command{
		Use:   "invite EMAIL",
		Short: "Invite an operator and print the link to enrol, once",
		Long: `Makes an account and prints a link, once, with which its operator enrols a passkey, or a
password and an authenticator app. The link works once, in the browser that first uses
it, for as long as operators.enrol_within says.

With --again, an account that exists gets a new link: its operator has lost the link, or
the factors. Whatever it signed in with is gone then, and its sessions end. At a
terminal it asks for the account's name.`,
		Example: "  gatehouse account invite ada@example.com --name 'Ada Lovelace' --role security",
		Args:    one("EMAIL"),
		RunE: func(c *cobra.Command, args []string) error {
			end, err := untilFlag(until)
			if err != nil {
				return err
			}
			if again && (name != "" || role != "" || until != "") {
				return usagef("--again: the account keeps its name and roles; give none")
			}
			if !again && role == "" {
				return usagef("--role: one of %s", strings.Join(roleNames(), ", "))
			}
			return with(c.Context(), o, func(p *parts) error {
				var who operator.Account
				var err error
				link := ""
				if again {
					if who, err = account(c.Context(), p, args[0]); err != nil {
						return err
					}
					if err := sure.ask(c, "This deletes whatever the account signs in with, and ends its sessions, before a new link is made.", args[0]); err != nil {
						return err
					}
					text, _, err := p.operators.Reinvite(c.Context(), operator.Host(), who.ID)
					if err != nil {
						return err
					}
					link = enrolmentLink(p.cfg, text)
				} else {
					if name == "" {
						name = args[0]
					}
					text, made, err := p.operators.Invite(c.Context(), operator.Host(), operator.Invitation{
						Name: name, Email: args[0], Role: operator.Role(role), Until: end,
					})
					if err != nil {
						return err
					}
					who, link = made, enrolmentLink(p.cfg, text)
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), map[string]string{"id": string(who.ID), "link": link})
				}
				_, err = fmt.Fprintln(c.OutOrStdout(), link)
				return err
			})
		},
		ValidArgsFunction: accountNames(o, 1),
	}
	sure.flag(c)
	c.Flags().StringVar(&name, "name", "", "what the operator is called (default: the address)")
	c.Flags().StringVar(&role, "role", "", "what they may: "+strings.Join(roleNames(), ", "))
	c.Flags().StringVar(&until, "until", "", "when the role ends: a day, or a span of time (default: it does not)")
	c.Flags().BoolVar(&again, "again", false, "a new link for an account that exists")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	completeFlag(c, "role", cobra.FixedCompletions(roleNames(), cobra.ShellCompDirectiveNoFileComp))
	return c
}

func accountGrant(o *options) *cobra.Command {
	var until string
	c := &cobra.Command{
		Use:     "grant OPERATOR ROLE",
		Short:   "Give an operator a role, or another end to one",
		Example: "  gatehouse account grant ada@example.com auditor --until 2027-01-31",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			end, err := untilFlag(until)
			if err != nil {
				return err
			}
			return onAccount(c, o, args[0], func(p *parts, a operator.Account) (string, error) {
				return "granted", p.operators.Grant(c.Context(), operator.Host(), a.ID, operator.Grant{Role: operator.Role(args[1]), Until: end})
			})
		},
		ValidArgsFunction: whoThenRole(o),
	}
	c.Flags().StringVar(&until, "until", "", "when it ends: a day, or a span of time (default: it does not)")
	return c
}

func accountRevoke(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke OPERATOR ROLE",
		Short: "Take a role from an operator, at once",
		Args:  cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return onAccount(c, o, args[0], func(p *parts, a operator.Account) (string, error) {
				return "revoked", p.operators.Revoke(c.Context(), operator.Host(), a.ID, operator.Role(args[1]))
			})
		},
		ValidArgsFunction: whoThenRole(o),
	}
}

func accountAddress(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "address OPERATOR ADDRESS",
		Short: "Say which address an operator has, for single sign-on",
		Long: `Gives an operator's account an address. An address that an operator wrote does not find
the account for a single sign-on provider; one that is given here does.`,
		Example: "  gatehouse account address ada@example.com ada@example.org",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return onAccount(c, o, args[0], func(p *parts, a operator.Account) (string, error) {
				return "set", p.operators.SetEmail(c.Context(), operator.Host(), a.ID, args[1])
			})
		},
		ValidArgsFunction: accountNames(o, 1),
	}
}

// onAccount does something with an account and says so.
func onAccount(c *cobra.Command, o *options, who string, do func(p *parts, a operator.Account) (string, error)) error {
	return with(c.Context(), o, func(p *parts) error {
		a, err := account(c.Context(), p, who)
		if err != nil {
			return err
		}
		done, err := do(p, a)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.OutOrStdout(), "%s  %s\n", done, a.ID)
		return err
	})
}

func accountDo(o *options, verb, short, long, done string, do func(context.Context, *operator.Directory, operator.AccountID) error) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " OPERATOR",
		Short: short,
		Long:  long,
		Args:  one("OPERATOR"),
		RunE: func(c *cobra.Command, args []string) error {
			return onAccount(c, o, args[0], func(p *parts, a operator.Account) (string, error) {
				return done, do(c.Context(), p.operators, a.ID)
			})
		},
		ValidArgsFunction: accountNames(o, 1),
	}
}

func accountRemove(o *options) *cobra.Command {
	var sure nameTyped
	c := &cobra.Command{
		Use:   "remove OPERATOR",
		Short: "Remove an operator's account for good",
		Long: `Removes an account for good: sessions, factors, roles, name and address. Only its
identifier stays, so that the audit log keeps its meaning. The last owner's cannot be.
At a terminal it asks for the account's name.`,
		Args: one("OPERATOR"),
		RunE: func(c *cobra.Command, args []string) error {
			return onAccount(c, o, args[0], func(p *parts, a operator.Account) (string, error) {
				if err := sure.ask(c, "This deletes the account's factors, roles, name and address, and ends its sessions. It cannot be undone.", args[0]); err != nil {
					return "", err
				}
				return "removed", p.operators.Remove(c.Context(), operator.Host(), a.ID)
			})
		},
		ValidArgsFunction: accountNames(o, 1),
	}
	sure.flag(c)
	return c
}

func accountHandOver(o *options) *cobra.Command {
	var sure nameTyped
	c := &cobra.Command{
		Use:   "hand-over FROM TO",
		Short: "Give all roles of one operator to another",
		Long: `Gives all roles of one account to another, which has to be active, in one step. The
account that hands over keeps its factors, has no role any more, and is signed out.
At a terminal it asks for its name.`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return onAccount(c, o, args[0], func(p *parts, from operator.Account) (string, error) {
				to, err := account(c.Context(), p, args[1])
				if err != nil {
					return "", err
				}
				if err := sure.ask(c, "This takes all roles from the account, gives them to "+args[1]+", and ends its sessions.", args[0]); err != nil {
					return "", err
				}
				return "handed over", p.operators.HandOver(c.Context(), operator.Host(), from.ID, to.ID)
			})
		},
		ValidArgsFunction: accountNames(o, 2),
	}
	sure.flag(c)
	return c
}

func accountSignOut(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "sign-out OPERATOR [SESSION]",
		Short: "End one or all sessions of an operator, at once",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			return onAccount(c, o, args[0], func(p *parts, a operator.Account) (string, error) {
				if len(args) == 1 {
					return "signed out", p.operators.EndSessions(c.Context(), operator.Host(), a.ID)
				}
				err := p.operators.EndSession(c.Context(), operator.Host(), a.ID, operator.SessionID(args[1]))
				if errors.Is(err, gatehouse.ErrNotFound) {
					err = fmt.Errorf("the operator has no such session: %w", gatehouse.ErrNotFound)
				}
				return "signed out", err
			})
		},
		ValidArgsFunction: accountNames(o, 1),
	}
}

// dashed shows an empty text as a dash.
func dashed(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
