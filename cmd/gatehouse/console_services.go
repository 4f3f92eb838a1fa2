package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/console"
	"gatehouse/internal/identity"
	"gatehouse/internal/wire"
)

// servicesSource tells the console of services, and changes their keys.
type servicesSource struct{ *parts }

// maxCounted is how many handles of a service are counted, and cut off at once.
const maxCounted = 1000

func (s servicesSource) line(ctx context.Context, service identity.Service) (console.ServiceLine, []identity.ServiceKey, error) {
	declared := s.configured().Services[service.Name]
	line := console.ServiceLine{Name: string(service.Name), Disabled: service.Disabled, Created: service.Created}
	for _, p := range declared.Purposes {
		line.Purposes = append(line.Purposes, string(p))
	}
	for _, net := range declared.Sources {
		line.Sources = append(line.Sources, net.String())
	}
	keys, err := s.identity.ServiceKeys(ctx, service.Name)
	now := time.Now()
	for _, k := range keys {
		if k.Used.At.After(line.Used) {
			line.Used = k.Used.At
		}
		if k.Live(now) {
			line.Keys++
		}
		if k.Ending(now) {
			line.Ending++
		}
		if isWide(k, len(declared.Purposes), now) {
			line.Wide++
		}
	}
	return line, keys, err
}

func (s servicesSource) Services(ctx context.Context) ([]console.ServiceLine, error) {
	services, err := s.identity.Services(ctx)
	if err != nil {
		return nil, err
	}
	var out []console.ServiceLine
	for _, service := range services {
		line, _, err := s.line(ctx, service)
		if err != nil {
			return nil, err
		}
		out = append(out, line)
	}
	return out, nil
}

// named finds a service, also one that is not in the configuration any more.
func (s servicesSource) named(ctx context.Context, name string) (identity.Service, error) {
	services, err := s.identity.Services(ctx)
	if err != nil {
		return identity.Service{}, err
	}
	i := slices.IndexFunc(services, func(x identity.Service) bool { return string(x.Name) == name })
	if i < 0 {
		return identity.Service{}, wire.Refuse(gatehouse.ErrNotFound, "console/unknown", "There is no such service.")
	}
	return services[i], nil
}

func (s servicesSource) Service(ctx context.Context, name string) (console.ServiceView, error) {
	var view console.ServiceView
	service, err := s.named(ctx, name)
	if err != nil {
		return view, err
	}
	line, keys, err := s.line(ctx, service)
	if err != nil {
		return view, err
	}
	declared := s.configured().Services[service.Name]
	view.ServiceLine, view.Accept = line, strings.Join(declared.Accept, ", ")
	if !declared.Rate.IsZero() {
		view.Rate = declared.Rate.String()
	}
	now := time.Now()
	for _, k := range keys {
		row := console.ServiceKeyLine{ID: string(k.ID), Purpose: string(k.Purpose), State: "works", Wide: isWide(k, len(declared.Purposes), now), Created: k.Created, Expires: k.Expires, Revoked: k.Revoked, Used: k.Used.At, Count: k.Used.Count, Successor: string(k.Successor), Log: k.LogName()}
		if i := slices.IndexFunc(keys, func(o identity.ServiceKey) bool { return o.Successor == k.ID }); i >= 0 {
			row.Replaces = string(keys[i].ID)
		}
		switch {
		case !k.Revoked.IsZero():
			row.State = "revoked"
		case !k.Live(now):
			row.State = "ended"
		case k.Ending(now):
			row.State = "ending"
		case k.Successor != "" && slices.ContainsFunc(keys, func(o identity.ServiceKey) bool { return o.ID == k.Successor && o.Revoked.IsZero() }):
			row.State = "rotating"
		}
		if k.Used.From.IsValid() {
			row.From = k.Used.From.String()
		}
		view.List = append(view.List, row)
	}
	handles, err := s.identity.Handles(ctx, identity.Filter{Service: service.Name, Limit: maxCounted + 1})
	view.Handles, view.MoreHandles = min(len(handles), maxCounted), len(handles) > maxCounted
	return view, err
}

func (s servicesSource) MakeKey(ctx context.Context, actor, service, purpose string, life time.Duration) (console.NewKey, error) {
	declared, ok := s.configured().Services[gatehouse.ServiceName(service)]
	if !ok {
		return console.NewKey{}, wire.Refuse(gatehouse.ErrNotFound, "console/unknown", "There is no such service in the configuration.")
	}
	if purpose != "" && purpose != console.KeyForNone && !slices.Contains(declared.Purposes, gatehouse.PurposeName(purpose)) {
		return console.NewKey{}, wire.Refuse(gatehouse.ErrInvalid, "console/field", "The form was not accepted: purpose is none of the service's.")
	}
	key, text, err := s.identity.MakeServiceKey(audit.By(ctx, actor), identity.KeyRequest{Service: gatehouse.ServiceName(service), Purpose: gatehouse.PurposeName(purpose), Life: keyLife(life)})
	if err != nil {
		return console.NewKey{}, err
	}
	return console.NewKey{ID: string(key.ID), Text: text, Purpose: string(key.Purpose), Expires: key.Expires}, nil
}

// keyLife is a key's life as package identity takes it.
func keyLife(life time.Duration) time.Duration {
	if life == console.KeyWithoutEnd {
		return identity.NoEnd
	}
	return life
}

// keyOf returns a key of a service.
func (s servicesSource) keyOf(ctx context.Context, service, id string) (identity.ServiceKey, error) {
	key, err := s.identity.ServiceKey(ctx, identity.ServiceKeyID(id))
	if errors.Is(err, gatehouse.ErrNotFound) || err == nil && string(key.Service) != service {
		err = wire.Refuse(gatehouse.ErrNotFound, "console/unknown", "The service has no such key.")
	}
	return key, err
}

func (s servicesSource) RotateKey(ctx context.Context, actor, service, id string, overlap, life time.Duration, again bool) (console.NewKey, error) {
	old, err := s.keyOf(ctx, service, id)
	if err != nil {
		return console.NewKey{}, err
	}
	key, text, err := s.identity.RotateServiceKey(audit.By(ctx, actor), old.ID, identity.Rotation{Overlap: overlap, Life: keyLife(life), Again: again})
	rotated := (*identity.RotatedError)(nil)
	switch {
	case errors.As(err, &rotated) && rotated.Successor.Used.At.IsZero():
		err = wire.Refuse(gatehouse.ErrConflict, "console/rotated", "This key has a successor, which was not used yet. If nobody has it, its page makes it again.")
	case errors.As(err, &rotated):
		err = wire.Refuse(gatehouse.ErrConflict, "console/rotated", "This key has a successor, which is in use. Rotate that one.")
	case errors.Is(err, gatehouse.ErrConflict):
		err = wire.Refuse(gatehouse.ErrConflict, "console/ended", "This key was revoked or has ended. Make a new one on the page of the service.")
	}
	if err != nil {
		return console.NewKey{}, err
	}
	// The new key is shown whatever becomes of this look: it exists.
	made := console.NewKey{ID: string(key.ID), Text: text, Purpose: string(key.Purpose), Expires: key.Expires, Replaces: id, OldEnds: time.Now().Add(overlap)}
	if old, err := s.keyOf(ctx, service, id); err == nil {
		made.OldEnds = old.Expires
	}
	return made, nil
}

func (s servicesSource) EndKey(ctx context.Context, actor, service, id string) error {
	key, err := s.keyOf(ctx, service, id)
	if err != nil {
		return err
	}
	// Without a successor it is a revocation, and should be called one.
	if key.Successor == "" {
		return wire.Refuse(gatehouse.ErrConflict, "console/not-rotated", "This key has no successor: rotate it first, or revoke it.")
	}
	return s.identity.ExpireServiceKey(audit.By(ctx, actor), key, time.Now())
}

func (s servicesSource) RevokeKey(ctx context.Context, actor, service, id string) error {
	key, err := s.keyOf(ctx, service, id)
	if err != nil {
		return err
	}
	return s.identity.RevokeServiceKey(audit.By(ctx, actor), key.ID)
}

func (s servicesSource) CutOff(ctx context.Context, actor, service string) (ended int, more bool, err error) {
	if _, err := s.named(ctx, service); err != nil {
		return 0, false, err
	}
	handles, err := s.identity.Handles(ctx, identity.Filter{Service: gatehouse.ServiceName(service), Limit: maxCounted + 1})
	if err != nil {
		return 0, false, err
	}
	// Each is in the log by itself. What the page's time does not suffice for is left, and
	// said to be.
	for i, h := range handles[:min(len(handles), maxCounted)] {
		if err := s.identity.RevokeHandle(audit.By(ctx, actor), h.ID); err != nil {
			if i > 0 && ctx.Err() != nil {
				return ended, true, nil
			}
			return ended, true, err
		}
		ended++
	}
	return ended, len(handles) > maxCounted, nil
}
