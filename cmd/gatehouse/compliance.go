package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/cases"
	"gatehouse/internal/compliance"
	"gatehouse/internal/config"
	"gatehouse/internal/connect"
	"gatehouse/internal/outbox"
	"gatehouse/internal/platform"
	"gatehouse/internal/wire"
)

// openCompliance binds X's batch compliance to the parts.
func (p *parts) openCompliance() error {
	storage, err := newStorage(p.cfg)
	if err != nil {
		return err
	}
	p.compliance, err = compliance.New(compliance.Config{
		Store: p.db.Compliance(), Log: p.log, Vault: p.vault, Connections: p.connect, API: p.egress, Storage: storage,
		Apps: complianceApps(p.cfg), Logger: p.logger,
		Found: p.found,
	})
	return err
}

// contentEvent asks the app to delete its copy of a post, or of a user's profile and
// posts, that is gone at the platform or no longer public there.
type contentEvent struct {
	Duty     string             `json:"duty"`
	Platform gatehouse.Platform `json:"platform"`
	Kind     compliance.Kind    `json:"kind"`
	ID       string             `json:"id"`
	Action   string             `json:"action"`
	Reason   string             `json:"reason"`
	At       time.Time          `json:"at,omitzero"`
	Deadline time.Time          `json:"deadline"`
}

// found makes a duty of what X says must go. A user who is gone and whose grant is
// held is erased like one who asks for it; for everything else the app is asked to
// delete its copy. All of it may be repeated with one finding.
func (p *parts) found(ctx context.Context, f compliance.Finding) error {
	if f.Kind == compliance.User && f.Reason == "deleted" {
		people, err := p.connect.People(ctx, connect.Who{App: f.App, User: f.ID})
		if err != nil {
			return err
		}
		for i, person := range people {
			if _, err := p.cases.Open(ctx, cases.Request{
				Kind: cases.Erasure, Origin: cases.FromCompliance, App: f.App, Platform: gatehouse.X, Person: person, Key: fmt.Sprintf("%s:%d", f.Key, i),
			}); err != nil {
				return err
			}
		}
	}
	d, err := p.cases.Open(ctx, cases.Request{Kind: cases.ContentRemoved, Origin: cases.FromCompliance, App: f.App, Platform: gatehouse.X, Key: f.Key})
	if err != nil {
		return err
	}
	return p.tell(ctx, outbox.Event{ID: "content-" + d.ID, Type: "content.delete", App: f.App}, contentEvent{
		Duty: d.ID, Platform: gatehouse.X, Kind: f.Kind, ID: f.ID, Action: f.Action, Reason: f.Reason, At: f.At, Deadline: d.Deadline.UTC(),
	})
}

// complianceApps are the registrations for which it is on.
func complianceApps(cfg *config.Config) []compliance.App {
	var apps []compliance.App
	for name, a := range cfg.Apps {
		if c := a.Compliance.WithDefaults(); c.Keep > 0 {
			apps = append(apps, compliance.App{Name: name, API: base(cfg, platform.X, platform.RoleAPI), Keep: c.Keep, MaxIDs: c.MaxIDs, Every: c.Every})
		}
	}
	return apps
}

// delivered tells the gateway whose deliveries are noted.
func delivered(p *parts) map[gatehouse.AppName]func(context.Context, []platform.Reference) error {
	var out map[gatehouse.AppName]func(context.Context, []platform.Reference) error
	for _, a := range complianceApps(p.cfg) {
		if out == nil {
			out = map[gatehouse.AppName]func(context.Context, []platform.Reference) error{}
		}
		out[a.Name] = p.compliance.Recorder(a.Name)
	}
	return out
}

// newStorage returns the client for the addresses that X names for its jobs: any
// public host but ourselves, and the sandbox's X if there is one.
func newStorage(cfg *config.Config) (*wire.Egress, error) {
	c, err := egressConfig(cfg)
	if err != nil {
		return nil, err
	}
	c.AnyPublicHost = true
	c.MaxIdlePerHost = 1
	c.Own = ownAddresses(cfg)
	if u, err := url.Parse(cfg.Sandbox.X); err == nil && u.Host != "" {
		c.Hosts = []string{strings.ToLower(u.Host)}
	}
	return wire.NewEgress(c)
}
