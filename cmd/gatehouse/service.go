package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/config"
	"gatehouse/internal/connect"
	"gatehouse/internal/identity"
	"gatehouse/internal/secret"

	"github.com/spf13/cobra"
)

func newService(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "service",
		Short: "The parts of your app: their keys and handles",
		Long: `A service is one part of your app that calls through Gatehouse. Services stand in
the configuration; their keys and handles are made here or through the API.

A key (gth_svc_…) lets a service begin connections and make handles. A handle
(gth_hnd_…) stands where your client library puts a token. Both are shown once.`,
	}
	key := &cobra.Command{Use: "key", Short: "Make, list, rotate and revoke a service's keys"}
	key.AddCommand(serviceKeyCreate(o), serviceKeyList(o), serviceKeyRotate(o), serviceKeyRevoke(o))
	handle := &cobra.Command{Use: "handle", Short: "Make, list and revoke handles"}
	handle.AddCommand(handleCreate(o), handleList(o), handleRevoke(o))
	c.AddCommand(serviceList(o), key, handle)
	return c
}

// with opens everything for one command and closes it afterwards.
func with(ctx context.Context, o *options, do func(p *parts) error) (err error) {
	cfg, err := readConfig(o)
	if err != nil {
		return err
	}
	return withConfig(ctx, cfg, do)
}

// withConfig is with for a configuration that was read.
func withConfig(ctx context.Context, cfg *config.Config, do func(p *parts) error) (err error) {
	p, err := assemble(ctx, cfg, quiet())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if err := p.identity.EnsureServices(ctx, serviceNames(cfg)); err != nil {
		return err
	}
	return do(p)
}

func handleCreate(o *options) *cobra.Command {
	var service, connection, purpose string
	var ttl time.Duration
	var asJSON, oauth1 bool
	c := &cobra.Command{
		Use:     "create",
		Short:   "Make a handle for a connection and print it, once",
		Example: "  gatehouse service handle create --service scheduler --connection CONNECTION --purpose publish",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c.Context(), o, func(p *parts) error {
				if err := mayServe(p, service, purpose); err != nil {
					return err
				}
				con, err := p.connect.Get(c.Context(), gatehouse.ConnectionID(connection))
				if err != nil {
					return err
				}
				if con.Unreadable {
					return fmt.Errorf("%s: %s", con.ID, con.Next)
				}
				if oauth1 && con.Platform != gatehouse.X {
					return errors.New("--oauth1: only X has OAuth 1.0a")
				}
				if con.Status == connect.Revoked || con.Status == connect.Erased {
					return fmt.Errorf("the connection is %s: the person has to connect again", con.Status)
				}
				if why := unfit(p, gatehouse.PurposeName(purpose), con.App, con.Purposes); why != "" {
					return errors.New(why)
				}
				h, text, err := p.identity.NewHandle(c.Context(), identity.HandleRequest{
					Service: gatehouse.ServiceName(service), Connection: con.ID, Person: con.Person,
					Purpose: gatehouse.PurposeName(purpose), Platform: con.Platform, App: con.App, TTL: ttl,
				})
				if err != nil {
					return err
				}
				return printHandle(c, p, h, text, oauth1, asJSON)
			})
		},
	}
	c.Flags().StringVar(&service, "service", "", "which service may use it")
	c.Flags().StringVar(&connection, "connection", "", "whose connection it stands for")
	c.Flags().StringVar(&purpose, "purpose", "", "for which purpose")
	c.Flags().DurationVar(&ttl, "expires-in", 0, "how long it lives (default: limits.handle_ttl)")
	c.Flags().BoolVar(&oauth1, "oauth1", false, "print it as an OAuth 1.0a set, for clients of X that sign")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	for _, name := range []string{"service", "connection", "purpose"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // a programmer's mistake: the flag is declared above
		}
	}
	return c
}

// printHandle shows a new handle, once. The bearer form and the OAuth 1.0a set
// are two forms of the same handle.
func printHandle(c *cobra.Command, p *parts, h identity.Handle, text secret.Text, oauth1, asJSON bool) error {
	answer := struct {
		ID      string     `json:"id"`
		Handle  string     `json:"handle"`
		Expires string     `json:"expires_at"`
		OAuth1  *oauth1Set `json:"oauth1,omitempty"`
	}{ID: string(h.ID), Handle: text.Reveal(), Expires: stamp(h.Expires)}
	if oauth1 {
		set, err := p.identity.OAuth1Set(c.Context(), h.ID)
		if err != nil {
			return err
		}
		answer.OAuth1 = &oauth1Set{set.ConsumerKey, set.ConsumerSecret.Reveal(), set.Token, set.TokenSecret.Reveal()}
	}
	w := c.OutOrStdout()
	if asJSON {
		return printJSON(w, answer)
	}
	if oauth1 {
		_, err := fmt.Fprintf(w, "consumer_key     %s\nconsumer_secret  %s\ntoken            %s\ntoken_secret     %s\n",
			answer.OAuth1.ConsumerKey, answer.OAuth1.ConsumerSecret, answer.OAuth1.Token, answer.OAuth1.TokenSecret)
		return err
	}
	_, err := fmt.Fprintln(w, answer.Handle)
	return err
}

// unfit says why a connection cannot serve a purpose, or "".
func unfit(p *parts, purpose gatehouse.PurposeName, app gatehouse.AppName, granted []gatehouse.PurposeName) string {
	if p.cfg.Purposes[purpose].App != app {
		return fmt.Sprintf("the connection is of app %s and purpose %s uses app %s", app, purpose, p.cfg.Purposes[purpose].App)
	}
	if len(granted) > 0 && !slices.Contains(granted, purpose) {
		return fmt.Sprintf("the person connected for %s and not for %s: begin a connection that names it", join(granted), purpose)
	}
	return ""
}

func handleList(o *options) *cobra.Command {
	var asJSON, all bool
	var service, connection string
	c := &cobra.Command{
		Use:   "list",
		Short: "List handles (their ids, never the handles)",
		Long: `Lists handles with how many calls were let through with each one and when the last
was, as of a few seconds ago. Counting began with the first Gatehouse that does it.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c.Context(), o, func(p *parts) error {
				handles, err := p.identity.Handles(c.Context(), identity.Filter{
					Service: gatehouse.ServiceName(service), Connection: gatehouse.ConnectionID(connection), Ended: all,
					Limit: math.MaxInt32, // a list that is cut without a word is a wrong one
				})
				if err != nil {
					return err
				}
				uses, err := p.identity.Uses(c.Context(), handles)
				if err != nil {
					return err
				}
				type row struct {
					ID         string `json:"id"`
					Service    string `json:"service"`
					Purpose    string `json:"purpose"`
					Connection string `json:"connection"`
					Platform   string `json:"platform"`
					Expires    string `json:"expires_at"`
					Revoked    string `json:"revoked_at,omitempty"`
					Uses       int64  `json:"uses"`
					LastUsed   string `json:"last_used_at,omitempty"`
				}
				list := []row{}
				var rows [][]string
				for _, h := range handles {
					use := uses[h.ID]
					list = append(list, row{string(h.ID), string(h.ServiceName), string(h.Purpose), string(h.Connection), string(h.Platform), stamp(h.Expires), stamp(h.Revoked), use.Count, stamp(use.Last)})
					rows = append(rows, []string{string(h.ID), string(h.ServiceName), string(h.Purpose), string(h.Connection), when(h.Expires), when(h.Revoked), fmt.Sprint(use.Count), when(use.Last)})
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), list)
				}
				return table(c.OutOrStdout(), "There is no handle.", []string{"HANDLE", "SERVICE", "PURPOSE", "CONNECTION", "EXPIRES", "REVOKED", "USES", "LAST USED"}, rows)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&all, "all", false, "also those that expired or were revoked")
	c.Flags().StringVar(&service, "service", "", "only this service's")
	c.Flags().StringVar(&connection, "connection", "", "only this connection's")
	return c
}

func handleRevoke(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke HANDLE-ID",
		Short: "Make a handle, and those made from it, worthless at once",
		Args:  one("HANDLE-ID"),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c.Context(), o, func(p *parts) error {
				if err := p.identity.RevokeHandle(c.Context(), gatehouse.HandleID(args[0])); err != nil {
					return err
				}
				_, err := fmt.Fprintln(c.OutOrStdout(), "revoked")
				return err
			})
		},
	}
}

// serviceNamed returns what the configuration says of a service.
func serviceNamed(p *parts, name string) (config.Service, error) {
	declared, ok := p.cfg.Services[gatehouse.ServiceName(name)]
	if !ok {
		return config.Service{}, fmt.Errorf("there is no service %q in the configuration; there are: %s", name, join(sortedServices(p)))
	}
	return declared, nil
}

// mayServe refuses a purpose that a service may not call for.
func mayServe(p *parts, service, purpose string) error {
	declared, err := serviceNamed(p, service)
	if err != nil {
		return err
	}
	if !slices.Contains(declared.Purposes, gatehouse.PurposeName(purpose)) {
		return fmt.Errorf("service %s may not call for purpose %q; it may for: %s", service, purpose, join(declared.Purposes))
	}
	return nil
}

func sortedServices(p *parts) []gatehouse.ServiceName {
	names := serviceNames(p.cfg)
	slices.Sort(names)
	return names
}

// join lists names for a sentence.
func join[T ~string](names []T) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = string(n)
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}
