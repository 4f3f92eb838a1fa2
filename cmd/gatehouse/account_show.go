package main

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/internal/identity/operator"

	"github.com/spf13/cobra"
)

// accountRow is an account in JSON.
type accountRow struct {
	ID       string     `json:"id"`
	Name     string     `json:"name,omitempty"`
	Email    string     `json:"email,omitempty"`
	State    string     `json:"state"`
	Reason   string     `json:"reason,omitempty"`
	Roles    []grantRow `json:"roles"`
	Passkeys int        `json:"passkeys"`
	Password bool       `json:"password"`
	TOTP     bool       `json:"totp"`
	Recovery int        `json:"recovery_codes_left"`
	Created  string     `json:"created_at"`
	Seen     string     `json:"seen_at,omitempty"`
}

type grantRow struct {
	Role  string `json:"role"`
	Until string `json:"until,omitempty"`
	Ended bool   `json:"ended,omitempty"`
}

func rowOf(a operator.Account, now time.Time) accountRow {
	row := accountRow{
		ID: string(a.ID), Name: a.Name, Email: a.Email, State: string(a.State), Reason: a.Reason, Roles: []grantRow{}, Passkeys: a.Passkeys,
		Password: a.Password, TOTP: a.TOTP, Recovery: a.RecoveryLeft, Created: stamp(a.Created), Seen: stamp(a.LastSeen),
	}
	for _, g := range a.Grants {
		row.Roles = append(row.Roles, grantRow{string(g.Role), stamp(g.Until), !g.Until.IsZero() && !now.Before(g.Until)})
	}
	return row
}

// roles says in words which roles an account has.
func (r accountRow) roles() string {
	var words []string
	for _, g := range r.Roles {
		switch {
		case g.Ended:
			words = append(words, g.Role+" (ended)")
		case g.Until != "":
			words = append(words, g.Role+" until "+g.Until)
		default:
			words = append(words, g.Role)
		}
	}
	if len(words) == 0 {
		return "-"
	}
	return strings.Join(words, ", ")
}

// factors says in words what it signs in with.
func (r accountRow) factors() string {
	var words []string
	if r.Passkeys > 0 {
		words = append(words, strconv.Itoa(r.Passkeys)+" passkeys")
	}
	if r.Password {
		words = append(words, "password")
	}
	if r.TOTP {
		words = append(words, "one-time codes")
	}
	if r.Recovery > 0 {
		words = append(words, strconv.Itoa(r.Recovery)+" recovery codes")
	}
	if len(words) == 0 {
		return "-"
	}
	return strings.Join(words, ", ")
}

func accountList(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List operators",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c.Context(), o, func(p *parts) error {
				accounts, err := p.operators.Accounts(c.Context())
				if err != nil {
					return err
				}
				list, now := []accountRow{}, time.Now()
				var rows [][]string
				for _, a := range accounts {
					r := rowOf(a, now)
					list = append(list, r)
					rows = append(rows, []string{r.ID, dashed(r.Email), r.State, r.roles(), r.factors(), when(a.LastSeen)})
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), list)
				}
				return table(c.OutOrStdout(), "There is no operator: 'gatehouse account invite' makes one.",
					[]string{"ID", "EMAIL", "STATE", "ROLES", "FACTORS", "SEEN"}, rows)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func accountShow(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show OPERATOR",
		Short: "Show one operator",
		Args:  one("OPERATOR"),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c.Context(), o, func(p *parts) error {
				a, err := account(c.Context(), p, args[0])
				if err != nil {
					return err
				}
				r := rowOf(a, time.Now())
				if asJSON {
					return printJSON(c.OutOrStdout(), r)
				}
				state := r.State
				if r.Reason != "" {
					state += " (" + r.Reason + ")"
				}
				return table(c.OutOrStdout(), "", []string{"id", r.ID}, [][]string{
					{"name", dashed(r.Name)}, {"email", dashed(r.Email)}, {"state", state}, {"roles", r.roles()}, {"factors", r.factors()},
					{"created", when(a.Created)}, {"seen", when(a.LastSeen)},
				})
			})
		},
		ValidArgsFunction: accountNames(o, 1),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func accountSessions(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "sessions OPERATOR",
		Short: "List where an operator is signed in",
		Args:  one("OPERATOR"),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c.Context(), o, func(p *parts) error {
				a, err := account(c.Context(), p, args[0])
				if err != nil {
					return err
				}
				sessions, err := p.operators.Sessions(c.Context(), operator.Host(), a.ID)
				if err != nil {
					return err
				}
				type row struct {
					ID      string `json:"id"`
					Created string `json:"created_at"`
					Seen    string `json:"seen_at"`
					Until   string `json:"until"`
					Source  string `json:"source"`
					Agent   string `json:"agent"`
				}
				list := []row{}
				var rows [][]string
				for _, s := range sessions {
					end := s.IdleUntil
					list = append(list, row{string(s.ID), stamp(s.Created), stamp(s.Seen), stamp(end), s.Source, s.Agent})
					rows = append(rows, []string{string(s.ID), when(s.Created), when(s.Seen), when(end), dashed(s.Source), dashed(s.Agent)})
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), list)
				}
				return table(c.OutOrStdout(), "The operator is not signed in.", []string{"ID", "SINCE", "SEEN", "ENDS", "SOURCE", "AGENT"}, rows)
			})
		},
		ValidArgsFunction: accountNames(o, 1),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func accountApprovals(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "approvals",
		Short: "List what waits for a second operator, or got one",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c.Context(), o, func(p *parts) error {
				approvals, err := p.operators.Approvals(c.Context())
				if err != nil {
					return err
				}
				type row struct {
					ID      string `json:"id"`
					Act     string `json:"act"`
					Target  string `json:"target"`
					State   string `json:"state"`
					AskedBy string `json:"asked_by"`
					Asked   string `json:"asked_at"`
					Until   string `json:"until"`
					Decider string `json:"decided_by,omitempty"`
					Decided string `json:"decided_at,omitempty"`
					Used    string `json:"used_at,omitempty"`
				}
				list, now := []row{}, time.Now()
				var rows [][]string
				for _, a := range approvals {
					state := string(a.State)
					if (a.State == operator.Waiting || a.State == operator.Approved) && !now.Before(a.Until) {
						state = "ended"
					}
					list = append(list, row{string(a.ID), string(a.Act), a.Target, state, string(a.AskedBy), stamp(a.Asked), stamp(a.Until),
						string(a.DecidedBy), stamp(a.Decided), stamp(a.Used)})
					rows = append(rows, []string{string(a.ID), string(a.Act), a.Target, state, string(a.AskedBy), dashed(string(a.DecidedBy)), when(a.Asked)})
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), list)
				}
				return table(c.OutOrStdout(), "Nothing waits for a second operator.", []string{"ID", "ACT", "TARGET", "STATE", "ASKED BY", "DECIDED BY", "ASKED"}, rows)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func accountRoles() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "roles",
		Short: "List the roles and what each may do",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			byRole := map[string][]operator.Permission{}
			var rows [][]string
			for _, p := range operator.Permissions() {
				row := []string{string(p)}
				for _, r := range operator.Roles() {
					if slices.Contains(r.Permissions(), p) {
						byRole[string(r)] = append(byRole[string(r)], p)
						row = append(row, "yes")
					} else {
						row = append(row, "-")
					}
				}
				rows = append(rows, row)
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), byRole)
			}
			header := []string{"PERMISSION"}
			for _, r := range operator.Roles() {
				header = append(header, strings.ToUpper(string(r)))
			}
			return table(c.OutOrStdout(), "", header, rows)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
