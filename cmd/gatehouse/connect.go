package main

import (
	"fmt"
	"slices"

	"gatehouse"
	"gatehouse/internal/connect"

	"github.com/spf13/cobra"
)

func newConnect(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "connect",
		Short: "People's grants: begin, list, inspect, import, export, revoke, webhooks, compliance",
		Long: `A connection is one grant that one person gave to one of your app registrations.
Your app begins them through the API; these commands are for looking and for
ending them.`,
	}
	c.AddCommand(connectBegin(o), connectList(o), connectShow(o), connectImport(o), connectExport(o), connectRevoke(o), connectWebhooks(o), connectCompliance(o))
	return c
}

// connectionView is what the command line shows of a connection. It is a struct
// of its own, so that a new field inside cannot appear here by itself.
type connectionView struct {
	ID                string                  `json:"id"`
	App               gatehouse.AppName       `json:"app"`
	Platform          gatehouse.Platform      `json:"platform"`
	Kind              connect.Kind            `json:"kind"`
	Subject           gatehouse.Subject       `json:"subject"`
	Name              string                  `json:"name,omitempty"`
	PlatformUser      string                  `json:"platform_user,omitempty"`
	Parent            gatehouse.ConnectionID  `json:"parent,omitempty"`
	Status            connect.Status          `json:"status"`
	Cause             connect.Cause           `json:"cause,omitempty"`
	Reason            string                  `json:"reason,omitempty"`
	Next              string                  `json:"next_step,omitempty"`
	Purposes          []gatehouse.PurposeName `json:"purposes"`
	Scopes            []string                `json:"scopes"`
	Declined          []string                `json:"declined"`
	AccessExpires     string                  `json:"access_expires_at,omitempty"`
	DataAccessExpires string                  `json:"data_access_expires_at,omitempty"`
	Created           string                  `json:"created_at"`
	Updated           string                  `json:"updated_at"`
	RevokeOutstanding bool                    `json:"revoke_outstanding,omitempty"`
	Unreadable        bool                    `json:"unreadable,omitempty"` // what names the person does not open
}

func viewOf(con connect.Connection) connectionView {
	v := connectionView{
		ID: string(con.ID), App: con.App, Platform: con.Platform, Kind: con.Kind, Subject: con.Subject, Name: con.Name,
		PlatformUser: con.PlatformUser, Parent: con.Parent, Status: con.Status, Cause: con.Cause, Reason: con.Reason,
		Next: con.Next, DataAccessExpires: stamp(con.DataAccessExpires),
		Purposes: con.Purposes, Scopes: con.Scopes, Declined: con.Declined, AccessExpires: stamp(con.AccessExpires),
		Created: stamp(con.Created), Updated: stamp(con.Updated), RevokeOutstanding: con.RevokeOutstanding, Unreadable: con.Unreadable,
	}
	if v.Scopes == nil {
		v.Scopes = []string{}
	}
	if v.Declined == nil {
		v.Declined = []string{}
	}
	if v.Purposes == nil {
		v.Purposes = []gatehouse.PurposeName{}
	}
	return v
}

func connectBegin(o *options) *cobra.Command {
	var app, subject, service, returnTo string
	var oauth1 bool
	var purposes []string
	c := &cobra.Command{
		Use:   "begin",
		Short: "Print an address at which a person can connect",
		Long: `Begins a connection and prints the address for the person's browser. Your app does
the same through the API; the one-time code goes to --return-to, and only the app
can redeem it, for the same subject.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c.Context(), o, func(p *parts) error {
				r := connect.BeginRequest{
					App: gatehouse.AppName(app), Subject: gatehouse.Subject(subject), Service: gatehouse.ServiceName(service), ReturnTo: returnTo,
					OAuth1: oauth1,
				}
				for _, name := range purposes {
					if err := mayServe(p, service, name); err != nil {
						return err
					}
					r.Purposes = append(r.Purposes, gatehouse.PurposeName(name))
				}
				begun, err := p.connect.Begin(c.Context(), r)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(c.OutOrStdout(), begun.URL)
				return err
			})
		},
	}
	c.Flags().StringVar(&app, "app", "", "app registration")
	c.Flags().StringVar(&subject, "subject", "", "your app's own name for the person")
	c.Flags().StringVar(&service, "service", "", "which service begins it")
	c.Flags().StringVar(&returnTo, "return-to", "", "where the browser ends; must be on the returns list")
	c.Flags().StringSliceVar(&purposes, "purpose", nil, "for which purposes")
	c.Flags().BoolVar(&oauth1, "oauth1", false, "ask X for an OAuth 1.0a grant")
	for _, name := range []string{"app", "subject", "service", "return-to", "purpose"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // a programmer's mistake: the flag is declared above
		}
	}
	return c
}

// statuses are the states that a connection can be listed by.
var statuses = []connect.Status{connect.Pending, connect.Healthy, connect.Renewing, connect.InDoubt, connect.ReconnectNeeded, connect.Revoked, connect.Erased}

func connectList(o *options) *cobra.Command {
	var asJSON bool
	var app, subject, status string
	c := &cobra.Command{
		Use:   "list",
		Short: "List connections",
		Long: `Lists connections with their state and, behind it, its cause. What has to be done
about one is in 'connect show', and for all of them in the JSON, as next_step.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if status != "" && !slices.Contains(statuses, connect.Status(status)) {
				return usagef("--status %s: there are %s", status, join(statuses))
			}
			return with(c.Context(), o, func(p *parts) error {
				// Page by page: there may be a million.
				list := newListing(c.OutOrStdout(), asJSON, "There is no connection.", "CONNECTION", "APP", "KIND", "SUBJECT", "NAME", "STATUS", "TOKEN EXPIRES")
				selection := connect.Selection{
					App: gatehouse.AppName(app), Subject: gatehouse.Subject(subject), Status: connect.Status(status), Limit: 500,
				}
				for {
					page, err := p.connect.List(c.Context(), selection)
					if err != nil {
						return err
					}
					for _, con := range page {
						v := viewOf(con)
						subject := string(v.Subject)
						if v.Unreadable {
							subject = "(does not open)"
							fmt.Fprintf(c.ErrOrStderr(), "warning: %s: %s\n", v.ID, v.Next)
						}
						if err := list.add(v, v.ID, string(v.App), string(v.Kind), subject, v.Name, statusOf(con), when(con.AccessExpires)); err != nil {
							return err
						}
					}
					if len(page) < selection.Limit {
						return list.end()
					}
					if err := list.page(); err != nil {
						return err
					}
					selection.After = page[len(page)-1].ID
				}
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringVar(&app, "app", "", "only of this app registration")
	c.Flags().StringVar(&subject, "subject", "", "only of this subject")
	c.Flags().StringVar(&status, "status", "", "only in this state: "+join(statuses))
	return c
}

// statusOf is a connection's state and its cause in few words; 'connect show' says
// the rest.
func statusOf(con connect.Connection) string {
	if con.Cause == "" {
		return string(con.Status)
	}
	return string(con.Status) + " (" + string(con.Cause) + ")"
}

func connectShow(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "show CONNECTION",
		Aliases: []string{"inspect"},
		Short:   "Show one connection, as JSON",
		Args:    one("CONNECTION"),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c.Context(), o, func(p *parts) error {
				con, err := p.connect.Get(c.Context(), gatehouse.ConnectionID(args[0]))
				if err != nil {
					return err
				}
				return printJSON(c.OutOrStdout(), viewOf(con))
			})
		},
	}
}
