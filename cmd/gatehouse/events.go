package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"gatehouse"
	"gatehouse/internal/config"
	"gatehouse/internal/outbox"
	"gatehouse/internal/wire"

	"github.com/spf13/cobra"
)

// newOutbox binds the outbox to the other parts.
func newOutbox(p *parts) (*outbox.Outbox, error) {
	e := p.cfg.Events
	c := outbox.Config{
		Store: p.db.Outbox(), Log: p.log, Vault: p.vault, URL: e.URL, GiveUpAfter: e.GiveUpAfter, Deliver: p.handed, Logger: p.logger,
	}
	if e.URL != "" {
		reach, err := eventsEgress(e)
		if err != nil {
			return nil, err
		}
		if c.Egress, err = wire.NewEgress(reach); err != nil {
			return nil, err
		}
	}
	return outbox.New(c)
}

// eventsEgress lets the outbox reach the app's own endpoint and nothing else. The
// operator named it, so it may stand on a private network, or on loopback if the
// name says so.
func eventsEgress(e config.Events) (wire.EgressConfig, error) {
	u, err := url.Parse(e.URL)
	if err != nil {
		return wire.EgressConfig{}, fmt.Errorf("events.url: %w", gatehouse.ErrInvalid)
	}
	plain := u.Scheme == "http"
	ip, err := netip.ParseAddr(u.Hostname())
	local := u.Hostname() == "localhost" || err == nil && ip.Unmap().IsLoopback()
	host := u.Host
	if plain && u.Port() == "" {
		host += ":80"
	}
	c := wire.EgressConfig{
		Hosts: []string{host}, AllowPrivate: true, AllowLoopback: local, AllowPlainLoopback: plain && local,
		MaxIdlePerHost: 8, MaxReplyBytes: 1 << 20,
	}
	if e.CAFile != "" {
		if c.RootCAs, err = certificates("events.ca_file", e.CAFile); err != nil {
			return wire.EgressConfig{}, err
		}
	}
	return c, nil
}

func newEvents(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "events",
		Short: "What Gatehouse tells your app: list, replay, signing secret",
		Long: `Events are what Gatehouse tells your app: posted to its endpoint, signed, or fetched
through the API. One that cannot be delivered becomes a dead letter and can be
replayed. docs/events.md says how to receive and verify them.`,
	}
	c.AddCommand(eventsList(o), eventsReplay(o), eventsSecret(o))
	return c
}

func eventsList(o *options) *cobra.Command {
	var state, app, kind string
	var after int64
	var limit int
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List events and how far they have come",
		Long: `Lists events in the order in which they came, without their content. Delivered ones
are kept for 7 days, dead letters for 30.

An event without a next attempt waits for an earlier one of its stream.`,
		Example: "  gatehouse events list --state dead",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			switch outbox.State(state) {
			case "", outbox.Waiting, outbox.Delivered, outbox.Dead:
			default:
				return usagef("--state is one of waiting, delivered, dead")
			}
			if limit < 1 || limit > 1000 {
				return usagef("-n is a number from 1 to 1000")
			}
			return with(c.Context(), o, func(p *parts) error {
				list, err := p.outbox.List(c.Context(), outbox.Selection{
					State: outbox.State(state), App: gatehouse.AppName(app), Type: kind, After: after, Limit: limit,
				})
				if err != nil {
					return err
				}
				return printEvents(c, list, limit, asJSON)
			})
		},
	}
	c.Flags().StringVar(&state, "state", "", "only waiting, delivered or dead ones")
	c.Flags().StringVar(&app, "app", "", "only those of this app registration")
	c.Flags().StringVar(&kind, "type", "", "only those of this type")
	c.Flags().Int64Var(&after, "after", 0, "continue after this number")
	c.Flags().IntVarP(&limit, "limit", "n", 100, "how many")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// eventRow is an event in the JSON answer of events list.
type eventRow struct {
	Number   int64              `json:"number"`
	ID       string             `json:"id"`
	Type     string             `json:"type"`
	App      gatehouse.AppName  `json:"app"`
	Person   gatehouse.PersonID `json:"person,omitempty"`
	Stream   string             `json:"stream,omitempty"`
	State    outbox.State       `json:"state"`
	Attempts int                `json:"attempts"`
	Failure  string             `json:"last_failure,omitempty"`
	Content  bool               `json:"has_content"`
	Created  string             `json:"created_at"`
	Updated  string             `json:"updated_at"`
	Next     string             `json:"next_attempt_at,omitempty"`
}

func printEvents(c *cobra.Command, list []outbox.Delivery, limit int, asJSON bool) error {
	answer := []eventRow{}
	var rows [][]string
	for _, d := range list {
		answer = append(answer, eventRow{
			Number: d.Seq, ID: d.ID, Type: d.Type, App: d.App, Person: d.Person, Stream: d.Stream, State: d.State, Attempts: d.Attempts,
			Failure: d.Class, Content: d.HasContent, Created: stamp(d.Created), Updated: stamp(d.Updated), Next: stamp(d.Next),
		})
		rows = append(rows, []string{
			strconv.FormatInt(d.Seq, 10), d.ID, d.Type, string(d.App), string(d.State), strconv.Itoa(d.Attempts), d.Class, when(d.Created), when(d.Next),
		})
	}
	w := c.OutOrStdout()
	if asJSON {
		return printJSON(w, answer)
	}
	if err := table(w, "No events.", []string{"NUMBER", "EVENT", "TYPE", "APP", "STATE", "ATTEMPTS", "LAST FAILURE", "CREATED", "NEXT ATTEMPT"}, rows); err != nil {
		return err
	}
	if len(list) == limit {
		fmt.Fprintf(c.ErrOrStderr(), "there may be more: --after %d\n", list[limit-1].Seq)
	}
	return nil
}

func eventsReplay(o *options) *cobra.Command {
	var all bool
	var app, kind string
	c := &cobra.Command{
		Use:   "replay EVENT|--all",
		Short: "Send a dead letter again",
		Long: `Puts a dead letter back in line, as if it had come now: 'gatehouse run' sends it, with
the same id, at once or as the next of its stream. Its stream has gone on meanwhile,
so it comes late. An event that waits for its next attempt is tried at once.

With --all, every dead letter that still has its content.`,
		Args: func(_ *cobra.Command, args []string) error {
			if all && len(args) > 0 || !all && len(args) != 1 {
				return errors.New("give exactly one EVENT, or --all")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if !all && (app != "" || kind != "") {
				return usagef("--app and --type go with --all")
			}
			return with(c.Context(), o, func(p *parts) error {
				if !all {
					if err := p.outbox.Replay(c.Context(), args[0]); err != nil {
						return err
					}
					_, err := fmt.Fprintln(c.OutOrStdout(), "it is in line again")
					return err
				}
				n, err := replayAll(c.Context(), p.outbox, outbox.Selection{State: outbox.Dead, App: gatehouse.AppName(app), Type: kind})
				if err != nil {
					return fmt.Errorf("after %d dead letters (run it again, it goes on): %w", n, err)
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "%d dead letters are in line again\n", n)
				return err
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "every dead letter")
	c.Flags().StringVar(&app, "app", "", "with --all: only those of this app registration")
	c.Flags().StringVar(&kind, "type", "", "with --all: only those of this type")
	return c
}

// replayAll replays dead letters in the order in which they were put, those that
// die again meanwhile not included.
func replayAll(ctx context.Context, events *outbox.Outbox, s outbox.Selection) (int, error) {
	n := 0
	for {
		list, err := events.List(ctx, s)
		if err != nil || len(list) == 0 {
			return n, err
		}
		for _, d := range list {
			s.After = d.Seq
			if !d.HasContent {
				continue
			}
			err := events.Replay(ctx, d.ID)
			switch {
			case err == nil:
				n++
			case errors.Is(err, gatehouse.ErrConflict), errors.Is(err, gatehouse.ErrNotFound):
				// Somebody replayed, fetched or erased it meanwhile.
			default:
				return n, err
			}
		}
	}
}

func eventsSecret(o *options) *cobra.Command {
	var rotate bool
	var overlap time.Duration
	c := &cobra.Command{
		Use:   "secret",
		Short: "Print the secret that signs events, or replace it",
		Long: `Prints the secret with which your app verifies events (Standard Webhooks, whsec_…).
It is derived from the vault's keys, and that it was shown is in the audit log.

With --rotate the next secret takes its place and is printed. For the time of
--overlap, deliveries carry the signatures of both, so that the app can be changed
without losing one. If the old one leaked, use --overlap 0s.`,
		Example: "  gatehouse events secret --rotate",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !rotate && c.Flags().Changed("overlap") {
				return usagef("--overlap goes with --rotate")
			}
			return with(c.Context(), o, func(p *parts) error {
				if rotate {
					if err := p.outbox.RotateSecret(c.Context(), overlap); err != nil {
						return err
					}
				}
				text, signing, err := p.outbox.Secret(c.Context())
				if err != nil {
					return err
				}
				if signing.Overlap.After(time.Now()) {
					fmt.Fprintf(c.ErrOrStderr(), "the secret before this one signs too until %s\n", when(signing.Overlap))
				}
				_, err = fmt.Fprintln(c.OutOrStdout(), text.Reveal())
				return err
			})
		},
	}
	c.Flags().BoolVar(&rotate, "rotate", false, "move to the next secret")
	c.Flags().DurationVar(&overlap, "overlap", 24*time.Hour, "with --rotate: how long the old one signs beside it, at most 168h")
	return c
}
