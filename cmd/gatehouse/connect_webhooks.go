package main

import (
	"fmt"
	"maps"
	"slices"

	"gatehouse"
	"gatehouse/internal/public"

	"github.com/spf13/cobra"
)

// webhookView is what an operator gives to a platform's dashboard, and what the
// platform says of it.
type webhookView struct {
	App         gatehouse.AppName  `json:"app"`
	Platform    gatehouse.Platform `json:"platform"`
	Webhook     string             `json:"webhook"`
	Deauthorize string             `json:"deauthorize,omitempty"`
	Deletion    string             `json:"data_deletion,omitempty"`
	VerifyToken string             `json:"verify_token,omitempty"`
	// Registered and Revocations are what X answered; absent unless asked.
	Registered  *bool `json:"registered,omitempty"`
	Revocations *bool `json:"tells_revocations,omitempty"`
}

func connectWebhooks(o *options) *cobra.Command {
	var register, asJSON bool
	var app string
	c := &cobra.Command{
		Use:   "webhooks",
		Short: "The addresses for the platforms' notices, and registering them",
		Long: `Prints what belongs into each platform's settings, so that people who remove your app
or ask for deletion are cut off and erased: the webhook's address, for Meta also the
deauthorization and the data-deletion callback and the verify token.

With --register, X is told the address and that it should tell of removals. X checks
the address at once, so Gatehouse must be running and reachable under public_url. At
Meta the fields are filled in by hand, in the app's dashboard.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c.Context(), o, func(p *parts) error {
				views, err := p.webhooks(c, gatehouse.AppName(app), register)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), views)
				}
				return printWebhooks(c, views)
			})
		},
	}
	c.Flags().BoolVar(&register, "register", false, "register the address at X and subscribe to removals")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringVar(&app, "app", "", "only of this app registration")
	return c
}

func (p *parts) webhooks(c *cobra.Command, only gatehouse.AppName, register bool) ([]webhookView, error) {
	views := []webhookView{}
	perPlatform := map[gatehouse.Platform]int{}
	for _, a := range p.cfg.Apps {
		perPlatform[a.Platform]++
	}
	for _, name := range slices.Sorted(maps.Keys(p.cfg.Apps)) {
		a := p.cfg.Apps[name]
		if a.Platform == gatehouse.OAuth2 || only != "" && only != name {
			continue
		}
		tail := string(a.Platform)
		if perPlatform[a.Platform] > 1 {
			tail += "/" + string(name)
		}
		v := webhookView{App: name, Platform: a.Platform, Webhook: p.connect.PublicURL() + public.WebhooksPath + tail}
		if a.Platform != gatehouse.X {
			token, err := p.connect.VerifyToken(c.Context(), name)
			if err != nil {
				return nil, err
			}
			v.Deauthorize, v.Deletion, v.VerifyToken = v.Webhook, p.connect.PublicURL()+public.DeletionPath+tail, token.Reveal()
		} else if register && !a.ConsumerKey.IsZero() {
			hook, err := p.connect.XWebhook(c.Context(), name, v.Webhook)
			if err != nil {
				return nil, fmt.Errorf("registering the webhook of %s (is Gatehouse running, and reachable at %s?): %w", name, p.connect.PublicURL(), err)
			}
			v.Registered, v.Revocations = &hook.Valid, &hook.TellsRevocations
		}
		views = append(views, v)
	}
	return views, nil
}

func printWebhooks(c *cobra.Command, views []webhookView) error {
	w := c.OutOrStdout()
	if len(views) == 0 {
		_, err := fmt.Fprintln(w, "There is no app of X or Meta.")
		return err
	}
	for _, v := range views {
		fmt.Fprintf(w, "%s (%s)\n  webhook        %s\n", v.App, v.Platform, v.Webhook)
		if v.VerifyToken != "" {
			fmt.Fprintf(w, "  verify token   %s\n  deauthorize    %s\n  data deletion  %s\n", v.VerifyToken, v.Deauthorize, v.Deletion)
		}
		switch {
		case v.Registered != nil && *v.Registered && *v.Revocations:
			fmt.Fprintln(w, "  registered; X tells when a person removes the app")
		case v.Platform == gatehouse.X && v.Registered == nil:
			fmt.Fprintln(w, "  not asked; --register registers it (an app with a consumer key)")
		}
	}
	return nil
}
