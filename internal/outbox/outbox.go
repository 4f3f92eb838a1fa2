// Package outbox owns what Gatehouse tells the app: events, kept sealed until
// the app has taken them, delivered to its endpoint with our signature
// (Standard Webhooks) or fetched through the API.
//
// It promises that an event whose Put returned nil is delivered at least once,
// or ends as a dead letter that an operator sees and can replay; that it carries
// the same id at every attempt; that of one stream no event is sent before the
// one put earlier has been delivered or is dead; that content stands in the
// store only sealed, is opened only under a durable log entry, and goes as soon
// as it is delivered; and that forgetting a person leaves nothing to deliver
// about them.
//
// It must never log or store anything that the endpoint answered beyond its
// status, follow a redirect, or send anything to another address than the
// configured one.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/secret"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

// Config is what New needs. It is copied and never changed afterwards.
type Config struct {
	Store Store
	Log   *audit.Log
	Vault *vault.Vault
	// URL is the app's endpoint: https, or http on loopback, without credentials.
	// Empty means that the app has none; events then wait until they are fetched.
	URL string
	// Egress reaches the host of URL and nothing else. Needed with a URL.
	Egress *wire.Egress
	// GiveUpAfter is how long after it was put (or replayed) a failing event
	// becomes a dead letter. Zero means 72 h.
	GiveUpAfter time.Duration
	// Timeout bounds one attempt, from the connection to the answer's status. Zero
	// means 10 s; at most 30 s.
	Timeout time.Duration
	// AtOnce bounds the deliveries under way in this process. Zero means 8.
	AtOnce int
	// KeepDelivered is how long the fact of a delivery is kept, without its
	// content: as long, putting the same id again is known to be the same event.
	// Zero means 7 days.
	KeepDelivered time.Duration
	// KeepDead is how long a dead letter is kept, with its content. Zero means 30
	// days; as long an event also waits to be fetched where there is no endpoint.
	KeepDead time.Duration
	// Deliver is told what an event holds before any of it leaves, and must have made
	// durable what follows from that; its error keeps the event here. Nil means that
	// nobody wants to know.
	Deliver func(context.Context, Handed) error
	// Logger receives what background work could not do; nil means nothing.
	Logger *slog.Logger
}

// Handed is an event on its way to the app. What it holds must not be kept.
type Handed struct {
	ID   string
	Type string
	App  gatehouse.AppName
	// Service fetches it; empty when it is posted to the app's endpoint.
	Service gatehouse.ServiceName
	Data    secret.Text
}

// handed tells whoever wants to know what leaves.
func (o *Outbox) handed(ctx context.Context, service gatehouse.ServiceName, rec Record, data secret.Text) error {
	if o.config.Deliver == nil {
		return nil
	}
	return o.config.Deliver(ctx, Handed{ID: rec.ID, Type: rec.Type, App: rec.App, Service: service, Data: data})
}

// Outbox keeps and delivers events. It is safe for concurrent use, and several
// processes may run it on one database.
type Outbox struct {
	config Config
	wake   chan struct{} // something may be due
	// endpoint is what this process has noticed of the app's endpoint.
	endpoint endpoint
	// testOnlyStep is called between any two steps of a delivery or an
	// acknowledgement; nil outside tests.
	testOnlyStep func(step string)
}

// DefaultKeepDead is how long a dead letter is kept if Config does not say.
const DefaultKeepDead = 30 * 24 * time.Hour

// lease is how long a delivery keeps its event from other processes. An attempt
// that has not begun to send after half of it is not made.
const lease = 90 * time.Second

// New checks the configuration and returns the outbox.
func New(c Config) (*Outbox, error) {
	if c.Store == nil || c.Log == nil || c.Vault == nil || c.URL != "" && c.Egress == nil {
		return nil, errors.New("outbox: Config lacks a store, log, vault, or the egress for its URL")
	}
	if c.URL != "" {
		if err := checkURL(c.URL); err != nil {
			return nil, err
		}
	}
	withDefault(&c.GiveUpAfter, 72*time.Hour)
	withDefault(&c.Timeout, 10*time.Second)
	withDefault(&c.AtOnce, 8)
	withDefault(&c.KeepDelivered, 7*24*time.Hour)
	withDefault(&c.KeepDead, DefaultKeepDead)
	if c.GiveUpAfter < 0 || c.Timeout < 0 || c.Timeout > lease/3 || c.AtOnce < 0 || c.KeepDelivered < 0 || c.KeepDead < 0 {
		return nil, fmt.Errorf("outbox: a bound is negative, or the timeout longer than %s: %w", lease/3, gatehouse.ErrInvalid)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Outbox{config: c, wake: make(chan struct{}, 1)}, nil
}

func withDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// checkURL refuses what events are not sent to.
func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return fmt.Errorf("the events' url is no complete URL: %w", gatehouse.ErrInvalid)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("the events' url has a user, a query or a fragment; deliveries are proved by their signature: %w", gatehouse.ErrInvalid)
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("the events' url must be https (http only on loopback): %w", gatehouse.ErrInvalid)
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// Put keeps an event until the app has it. When it returns nil the event is
// durable. An event with an id that is known already, delivered ones of the last
// days included, is the same event: nothing is added, and nothing changes.
//
// A person whose key was destroyed is vault.ErrErased: nothing can be kept of
// them.
func (o *Outbox) Put(ctx context.Context, e Event) error {
	if err := e.validate(); err != nil {
		return err
	}
	now := time.Now()
	if e.Created.IsZero() {
		e.Created = now
	}
	if len(e.Data) == 0 {
		e.Data = []byte("null")
	}
	rec := Record{
		ID: e.ID, Type: e.Type, App: e.App, Person: e.Person, Stream: e.Stream, State: Waiting,
		Created: e.Created, Since: now, Due: now, Updated: now,
	}
	sealed, err := o.config.Vault.Seal(ctx, contentRef(rec), secret.New(string(e.Data)))
	if err != nil {
		return fmt.Errorf("sealing an event: %w", err)
	}
	rec.Data = sealed
	if err := o.config.Store.AddEvent(ctx, rec); err != nil {
		return fmt.Errorf("keeping an event: %w", err)
	}
	o.look()
	return nil
}

// contentRef is the place that an event's content is sealed for. All that we
// sign beside the content is part of it, so that who can write to the database
// cannot give the content another meaning. (None of the parts can hold a slash.)
func contentRef(r Record) vault.Ref {
	row := strings.Join([]string{r.ID, r.Type, string(r.App), strconv.FormatInt(r.Created.UnixMicro(), 10)}, "/")
	return vault.Ref{Table: "outbox_events", Row: row, Column: "data", Person: r.Person}
}

// look has Run look for what is due.
func (o *Outbox) look() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// step tells a test how far a delivery or an acknowledgement has come.
func (o *Outbox) step(name string) {
	if o.testOnlyStep != nil {
		o.testOnlyStep(name)
	}
}
