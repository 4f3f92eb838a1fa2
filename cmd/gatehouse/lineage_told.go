package main

import (
	"context"
	"encoding/json"

	"gatehouse"
	"gatehouse/internal/compliance"
	"gatehouse/internal/connect"
	"gatehouse/internal/fingerprint"
	"gatehouse/internal/lineage"
	"gatehouse/internal/outbox"
	"gatehouse/internal/platform"
)

// What the app is told of people otherwise than by a platform's reply is delivered
// just the same: it is recognised when the app passes it on.

// atEndpoint stands for the service in the flows of events that are posted to the
// app's endpoint. No service can be called so.
const atEndpoint gatehouse.ServiceName = "(events)"

// shownOperation is where the ids and names come from that our own API shows.
const shownOperation gatehouse.Operation = "GET /gatehouse/v1/connections"

// shown notes whose ids and names a reply of our API shows.
func (p *parts) shown(ctx context.Context, service gatehouse.ServiceName, list []connect.Connection) error {
	for _, v := range list {
		if v.PlatformUser == "" {
			continue // erased
		}
		who := lineage.Delivered{ID: v.PlatformUser, Values: []fingerprint.Value{{Class: gatehouse.PseudonymousID, Text: v.PlatformUser}}}
		if v.Name != "" {
			who.Values = append(who.Values, fingerprint.Value{Class: gatehouse.PersonName, Text: v.Name})
		}
		source := lineage.Source{Platform: v.Platform, App: v.App, Operation: shownOperation, Service: service}
		if err := p.lineage.Deliver(ctx, source, []lineage.Delivered{who}); err != nil {
			return err
		}
	}
	return nil
}

// handed notes whose values an event holds that is handed to the app.
func (p *parts) handed(ctx context.Context, e outbox.Handed) error {
	source := lineage.Source{App: e.App, Operation: gatehouse.Operation("event " + e.Type), Service: e.Service, Call: "event " + e.ID}
	if source.Service == "" {
		source.Service = atEndpoint
	}
	text := []byte(e.Data.Reveal())
	switch e.Type {
	case "platform.event":
		var content struct {
			Platform gatehouse.Platform `json:"platform"`
			Entry    json.RawMessage    `json:"entry"`
			Event    json.RawMessage    `json:"event"`
		}
		if err := json.Unmarshal(text, &content); err != nil {
			return err
		}
		source.Platform = content.Platform
		look := platform.NewPeopleOfEvent(platform.Name(content.Platform))
		_, _ = look.Write(append(content.Entry, content.Event...)) // it has one of them; never fails
		look.Settle()
		return p.lineage.Deliver(ctx, source, people(look.Take()))
	case "person.erase":
		var content eraseEvent
		if err := json.Unmarshal(text, &content); err != nil {
			return err
		}
		for _, a := range content.Accounts {
			source.App, source.Platform = a.App, a.Platform
			if err := p.lineage.Deliver(ctx, source, []lineage.Delivered{{
				ID: a.User, Values: []fingerprint.Value{{Class: gatehouse.PseudonymousID, Text: a.User}},
			}}); err != nil {
				return err
			}
		}
	case "content.delete":
		var content contentEvent
		if err := json.Unmarshal(text, &content); err != nil {
			return err
		}
		source.Platform = content.Platform
		who := lineage.Delivered{Values: []fingerprint.Value{{Class: gatehouse.PostID, Text: content.ID}}}
		if content.Kind == compliance.User {
			who = lineage.Delivered{ID: content.ID, Values: []fingerprint.Value{{Class: gatehouse.PseudonymousID, Text: content.ID}}}
		}
		return p.lineage.Deliver(ctx, source, []lineage.Delivered{who})
	}
	return nil
}
