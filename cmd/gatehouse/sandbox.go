package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"gatehouse"
	"gatehouse/internal/sandbox"
	"gatehouse/internal/wire"

	"github.com/spf13/cobra"
)

func newSandbox() *cobra.Command {
	var c sandbox.Config
	var asJSON bool
	var certFile, keyFile string
	var life time.Duration
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "X and Meta on your own machine, with faults on demand",
		Long: `Runs an emulation of X and of Meta's Graph, Instagram and Threads APIs on loopback:
OAuth with consent pages, tokens, state, limits and errors. Its credentials are
printed and worth nothing. Gatehouse refuses it in production.

Under /_sandbox/ each listener lets a test look inside and order faults; see
docs/sandbox.md.`,
		Example: "  gatehouse sandbox --redirect http://127.0.0.1:8103/_gatehouse/connect/callback/main-x",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for flag, addr := range map[string]string{"--x-listen": c.XAddr, "--meta-listen": c.MetaAddr} {
				if !wire.IsLoopback(addr) {
					return usagef("%s %s: the sandbox listens on loopback only, because its credentials are public", flag, addr)
				}
			}
			if (certFile == "") != (keyFile == "") {
				return usagef("--tls-cert and --tls-key go together")
			}
			ctx := cmd.Context()
			if certFile != "" {
				var err error
				if c.TLS, err = wire.FileTLS(certFile, keyFile); err != nil {
					return err
				}
			}
			c.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
			box, err := sandbox.Start(ctx, c)
			if err != nil {
				var taken *net.OpError
				if errors.As(err, &taken) {
					return fmt.Errorf("%w (choose another with --x-listen or --meta-listen): %w", err, gatehouse.ErrConflict)
				}
				return err
			}
			if asJSON {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"sandbox_x": box.XURL, "sandbox_meta": box.MetaURL, "apps": box.Apps()})
			} else {
				err = announceSandbox(cmd, box, c.TLS)
			}
			if err == nil {
				var end <-chan time.Time
				if life > 0 {
					end = time.After(life)
				}
				select {
				case <-ctx.Done():
				case <-end:
				}
			}
			return errors.Join(err, box.Close())
		},
	}
	f := cmd.Flags()
	f.BoolVar(&asJSON, "json", false, "print addresses and credentials as JSON")
	f.StringVar(&c.XAddr, "x-listen", "127.0.0.1:9100", "address of X")
	f.StringVar(&c.MetaAddr, "meta-listen", "127.0.0.1:9101", "address of Meta")
	f.StringSliceVar(&c.RedirectURIs, "redirect", nil, "callback registered for every app, compared exactly")
	f.StringVar(&certFile, "tls-cert", "", "certificate; without one, plain http")
	f.StringVar(&keyFile, "tls-key", "", "its key")
	f.DurationVar(&c.XTokenTTL, "x-token-ttl", 0, "lifetime of X's access tokens (default 2h)")
	f.DurationVar(&c.MetaShortTTL, "meta-short-ttl", 0, "lifetime of Facebook's short-lived tokens (default 1h)")
	f.DurationVar(&c.MetaLongTTL, "meta-long-ttl", 0, "lifetime of Facebook's long-lived tokens (default 1440h)")
	f.DurationVar(&c.IGTTL, "instagram-ttl", 0, "lifetime of Instagram's long-lived tokens (default 1440h)")
	f.DurationVar(&c.ThreadsTTL, "threads-ttl", 0, "lifetime of Threads' long-lived tokens (default 1440h)")
	f.BoolVar(&c.FamilyKill, "family-kill", false, "a spent X refresh token revokes its whole family (reported, not documented)")
	f.BoolVar(&c.RequireProof, "require-proof", false, `Meta's "Require App Secret" switch`)
	f.IntVar(&c.XRateFactor, "x-rate-factor", 1, "multiplies X's documented rate limits; negative: no limits")
	f.StringVar(&c.XOpenAPI, "x-openapi", "", "X's OpenAPI document: answers every other operation from its schemas")
	f.DurationVar(&life, "for", 0, "stop after this long")
	return cmd
}

func announceSandbox(cmd *cobra.Command, box *sandbox.Server, secure *tls.Config) error {
	apps := box.Apps()
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "X\t%s\n", box.XURL)
	fmt.Fprintf(w, "\tclient id\t%s\n\tclient secret\t%s\n\tconsumer key\t%s\n\tconsumer secret\t%s\n\tpublic client id\t%s\n",
		apps.X.ClientID, apps.X.ClientSecret, apps.X.ConsumerKey, apps.X.ConsumerSecret, apps.X.PublicClientID)
	fmt.Fprintf(w, "Meta\t%s\n", box.MetaURL)
	fmt.Fprintf(w, "\tFacebook app id\t%s\n\tFacebook app secret\t%s\n", apps.Facebook.AppID, apps.Facebook.AppSecret)
	fmt.Fprintf(w, "\tInstagram app id\t%s\n\tInstagram app secret\t%s\n", apps.Instagram.AppID, apps.Instagram.AppSecret)
	fmt.Fprintf(w, "\tThreads app id\t%s\n\tThreads app secret\t%s\n", apps.Threads.AppID, apps.Threads.AppSecret)
	fmt.Fprintf(w, "People\t%s, … (GET /_sandbox/people)\n", strings.Join(box.People()[:5], ", "))
	if secure == nil {
		fmt.Fprintf(w, "\tplain http: some client libraries want https (--tls-cert)\n")
	}
	fmt.Fprintf(w, "Ctrl-C ends it; everything is forgotten.\n")
	return w.Flush()
}
