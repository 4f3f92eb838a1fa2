package main

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/egress"
	"gatehouse/internal/fingerprint"
	"gatehouse/internal/gateway"
	"gatehouse/internal/lineage"
	"gatehouse/internal/platform"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// deliver tells lineage what the gateway hands out.
func (p *parts) deliver(ctx context.Context, s gateway.Source, found []platform.Identity) error {
	return p.lineage.Deliver(ctx, lineage.Source{
		Platform: s.Platform, App: s.App, Operation: s.Operation, Purpose: s.Purpose, Service: s.Service, Handle: s.Handle,
		Call: s.Entry,
	}, people(found))
}

// people puts the values of one person together as they came. Values of which a
// reply does not say whose they are may be of different people.
func people(found []platform.Identity) []lineage.Delivered {
	list := make([]lineage.Delivered, 0, len(found))
	values := make([]fingerprint.Value, len(found))
	for i, v := range found {
		values[i] = fingerprint.Value{Class: gatehouse.DataClass(v.Class), Text: v.Value}
		if last := len(list) - 1; last >= 0 && v.Person != "" && list[last].ID == v.Person {
			list[last].Values = values[i-len(list[last].Values) : i+1]
			continue
		}
		list = append(list, lineage.Delivered{ID: v.Person, Values: values[i : i+1], Entered: v.Entered})
	}
	return list
}

// inspector is lineage as the proxy sees it.
type inspector struct{ lineage *lineage.Lineage }

// Inspect implements egress.Inspector.
func (i inspector) Inspect(t egress.Transfer) egress.Inspection {
	return transit{i.lineage.Search(lineage.Transfer{
		Service: t.Service, Purpose: t.Purpose, Destination: t.Destination, May: t.May, Report: t.Report,
	})}
}

// transit is one request's search as the proxy sees it.
type transit struct{ *lineage.Transit }

// Text implements egress.Inspection.
func (t transit) Text(where egress.Where, name, value string) {
	t.Transit.Text(string(where), name, value)
}

// guarding carries tokens to lineage. They are recognised in this process before
// they are used; that others recognise them, and whose they are, follows.
type guarding struct {
	lineage *lineage.Lineage
	connect *connect.Connections
	logger  *slog.Logger
	waiting chan guardedToken
	left    atomic.Int64 // that others were not told of, since that was last logged
}

type guardedToken struct {
	person gatehouse.PersonID
	text   secret.Text
}

func newGuarding(p *parts) *guarding {
	return &guarding{lineage: p.lineage, connect: p.connect, logger: p.logger, waiting: make(chan guardedToken, maxWaiting)}
}

// maxWaiting bounds the tokens that wait to be stored. What is more is recognised in
// this process only, until GuardAll tells it again in the others.
const maxWaiting = 8192

// token implements connect.Guard.
func (g *guarding) token(_ context.Context, person gatehouse.PersonID, text secret.Text) {
	g.lineage.Hold(text)
	select {
	case g.waiting <- guardedToken{person, text}:
	default:
		g.left.Add(1)
	}
}

// regard is the time between two rounds through all tokens: what is remembered of
// them ends, and another process may have told of none.
const regard = 24 * time.Hour

// run stores what waits, and goes through all tokens at the start and once a day.
func (g *guarding) run(ctx context.Context) error {
	round := time.NewTimer(0)
	defer round.Stop()
	done := make(chan error, 1)
	var after gatehouse.ConnectionID
	for {
		select {
		case <-ctx.Done():
			return nil
		case t := <-g.waiting:
			g.store(ctx, t)
		case <-round.C:
			from := after
			go func() {
				opened, err := g.connect.GuardAll(ctx, from)
				after = opened.Next
				done <- err
			}()
		case err := <-done:
			next := regard
			if err != nil && ctx.Err() == nil {
				next = time.Minute
				g.logger.WarnContext(ctx, "not all tokens could be read to be recognised in what leaves; it is tried again", slog.String("error", wire.LogText(err)))
			}
			if n := g.left.Swap(0); n > 0 {
				g.logger.InfoContext(ctx, "tokens are recognised by this process alone: too many came at once for the database", slog.Int64("count", n))
			}
			round.Reset(next)
		}
	}
}

// store makes the fingerprints of what waits durable, many in one write.
func (g *guarding) store(ctx context.Context, first guardedToken) {
	batch := []lineage.Guarded{}
	keys := map[gatehouse.PersonID]lineage.Guarded{}
	for t := first; ; {
		whose, known := keys[t.person]
		if !known && t.person != "" {
			var err error
			if whose.Platform, whose.UserKey, err = g.connect.KnownAs(ctx, t.person); err != nil {
				whose = lineage.Guarded{} // of nobody that is known: it is recognised all the same
			}
			keys[t.person] = whose
		}
		whose.Secret = t.text
		if batch = append(batch, whose); len(batch) == 500 {
			break
		}
		select {
		case t = <-g.waiting:
			continue
		default:
		}
		break
	}
	if err := g.lineage.Guard(ctx, batch...); err != nil && ctx.Err() == nil {
		g.logger.WarnContext(ctx, "tokens are recognised by this process alone", slog.String("error", wire.LogText(err)))
	}
}
