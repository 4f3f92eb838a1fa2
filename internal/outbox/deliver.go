package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/secret"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

const (
	// lookEvery is how often Run looks for what other processes put or left.
	lookEvery = time.Second
	// sweepEvery is how often what is over is removed, sweepBatch how much at once.
	sweepEvery = time.Minute
	sweepBatch = 500
)

// Run delivers what is due and removes what is over, until ctx ends; then it
// waits for the attempts under way, which are bounded. Faults of one event or of
// the store are logged and tried again.
func (o *Outbox) Run(ctx context.Context) error {
	var attempts sync.WaitGroup
	defer attempts.Wait()
	slots := make(chan struct{}, o.config.AtOnce)
	look := lookEvery
	if o.config.URL == "" {
		look = sweepEvery // there is nothing to deliver
	}
	var swept time.Time
	for {
		var err error
		if now := time.Now(); now.Sub(swept) >= sweepEvery {
			swept = now
			err = o.sweep(ctx, now)
		}
		if o.config.URL != "" {
			err = errors.Join(err, o.round(ctx, &attempts, slots))
		}
		if err != nil && ctx.Err() == nil {
			o.config.Logger.WarnContext(ctx, "background work on events", slog.String("error", wire.LogText(err)))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-o.wake:
		case <-time.After(look):
		}
	}
}

// round takes as many due events as there are free slots and begins their
// delivery.
func (o *Outbox) round(ctx context.Context, attempts *sync.WaitGroup, slots chan struct{}) error {
	now := time.Now()
	free := o.endpoint.allowed(now, cap(slots), len(slots))
	if free == 0 {
		return nil
	}
	due, err := o.config.Store.DueEvents(ctx, now, free)
	if err != nil {
		return err
	}
	for _, rec := range due {
		taken, err := o.take(ctx, rec, now)
		if errors.Is(err, gatehouse.ErrConflict) {
			o.look() // another process has it; there may be others
			continue
		}
		if err != nil {
			return err
		}
		slots <- struct{}{}
		attempts.Go(func() {
			defer func() {
				<-slots
				o.look()
			}()
			// An attempt that was begun is finished, and what became of it saved.
			o.deliver(context.WithoutCancel(ctx), taken)
		})
	}
	return nil
}

// take leases an event for one attempt.
func (o *Outbox) take(ctx context.Context, rec Record, now time.Time) (Record, error) {
	rec.Due, rec.Attempts, rec.Class, rec.Updated = now.Add(lease), rec.Attempts+1, ClassInterrupted, now
	err := o.config.Store.SaveEvent(ctx, rec, now)
	rec.Version++
	o.step("taken")
	return rec, err
}

// verdict is what became of an attempt.
type verdict struct {
	delivered bool
	final     bool // no attempt after this one
	// ours means that the endpoint was not asked: the event does not die of it.
	ours   bool
	silent bool // the endpoint did not answer, or somebody in front of it did
	status int
	class  string
	after  time.Duration // the endpoint's own wish for the next attempt
}

// deliver makes one attempt for an event that was taken, and saves what became
// of it.
func (o *Outbox) deliver(ctx context.Context, rec Record) {
	v := o.attempt(ctx, rec)
	o.step("answered")
	if !v.ours {
		o.endpoint.noticed(time.Now(), v.silent)
	}
	now := time.Now()
	rec.Class, rec.Updated = v.class, now
	switch {
	case v.delivered:
		rec.State, rec.Due, rec.Data = Delivered, time.Time{}, nil
	case v.final, !v.ours && !now.Before(rec.Since.Add(o.config.GiveUpAfter)):
		rec.State, rec.Due = Dead, time.Time{}
		if v.class == ClassErased {
			rec.Data, rec.Person = nil, ""
		}
	default:
		rec.Due = now.Add(wait(rec.Attempts, v.after))
		if end := rec.Since.Add(o.config.GiveUpAfter); now.Before(end) && rec.Due.After(end) {
			rec.Due = end // the last one
		}
	}
	err := o.config.Store.SaveEvent(ctx, rec, now)
	if v.delivered && errors.Is(err, gatehouse.ErrConflict) {
		err = o.deliveredWhileForgotten(ctx, rec.ID, now)
	}
	o.step("saved")
	attributes := []slog.Attr{
		slog.String("type", rec.Type), slog.Int64("seq", rec.Seq), slog.Int("attempt", rec.Attempts), slog.String("class", rec.Class),
	}
	switch {
	case errors.Is(err, gatehouse.ErrConflict):
		// Forgotten, acknowledged or taken over meanwhile: that is what holds.
	case err != nil:
		// The lease ends, and it is delivered once more.
		o.config.Logger.WarnContext(ctx, "saving what became of an event", slog.String("error", wire.LogText(err)))
	case rec.State == Dead:
		o.config.Logger.LogAttrs(ctx, slog.LevelWarn, "an event became a dead letter; 'gatehouse events list --state dead' shows it", attributes...)
	case rec.State == Waiting:
		o.config.Logger.LogAttrs(ctx, slog.LevelInfo, "an event was not delivered and is tried again", attributes...)
	}
}

// deliveredWhileForgotten notes a delivery whose event was forgotten while it was on
// its way. That is how every app's answer to the request to delete its copy comes
// that answers before it has taken the event: it was heard, and is no dead letter.
func (o *Outbox) deliveredWhileForgotten(ctx context.Context, id string, now time.Time) error {
	rec, err := o.config.Store.Event(ctx, id)
	if err != nil || rec.State != Dead || rec.Class != ClassErased {
		return err // acknowledged or taken over meanwhile: that is what holds
	}
	rec.State, rec.Class, rec.Updated = Delivered, "", now
	return o.config.Store.SaveEvent(ctx, rec, now)
}

// attempt opens an event's content under a durable intent and sends it.
func (o *Outbox) attempt(ctx context.Context, rec Record) verdict {
	taken := rec.Updated
	receipt, data, err := o.open(ctx, "event.deliver", "", rec)
	if err != nil {
		return o.unopened(ctx, err)
	}
	v := o.prepareAndSend(ctx, rec, data, taken)
	end := audit.Entry{Verdict: "done", Status: v.status, Bytes: int64(len(data.Reveal()))}
	if !v.delivered {
		end.Verdict, end.Rule = "failed", v.class
	}
	o.config.Log.Outcome(receipt, end)
	return v
}

// named are the fields of a log entry that say which event it is about. One that is
// nobody's may still be named after a connection whose person was erased, and would be
// sealed with a key that is left.
func named(rec Record) map[string]string {
	if rec.Person == "" {
		return nil
	}
	return map[string]string{"event": rec.ID}
}

// open records the intent to hand an event's content to the app, and opens it.
func (o *Outbox) open(ctx context.Context, action string, service gatehouse.ServiceName, rec Record) (audit.Receipt, secret.Text, error) {
	if rec.Data == nil {
		return audit.Receipt{}, secret.Text{}, vault.ErrErased
	}
	receipt, err := o.config.Log.Intent(ctx, audit.Entry{
		Action: action, Service: service, App: rec.App, Person: rec.Person, Personal: named(rec),
		Facts: map[string]string{"type": rec.Type, "attempt": strconv.Itoa(rec.Attempts)},
	})
	if err != nil {
		return audit.Receipt{}, secret.Text{}, err
	}
	data, err := o.config.Vault.Open(ctx, receipt, contentRef(rec), rec.Data)
	if err != nil {
		o.config.Log.Outcome(receipt, audit.Entry{Verdict: "aborted"})
	}
	return receipt, data, err
}

// unopened judges why an event's content could not be opened.
func (o *Outbox) unopened(ctx context.Context, err error) verdict {
	switch {
	case errors.Is(err, vault.ErrErased):
		return verdict{ours: true, final: true, class: ClassErased}
	case errors.Is(err, vault.ErrUnreadable), errors.Is(err, gatehouse.ErrNotFound):
		// Not found: the row names a person who never had a key.
		return verdict{ours: true, final: true, class: ClassUnreadable}
	}
	o.config.Logger.WarnContext(ctx, "an event could not be opened", slog.String("error", wire.LogText(err)))
	return verdict{ours: true, class: classOf(err)}
}

// classOf names a failure that is not the endpoint's answer.
func classOf(err error) string {
	if rule := wire.RuleOf(err); rule != "" {
		return rule
	}
	return "internal"
}

// envelope is an event as the app gets it.
type envelope struct {
	ID      string            `json:"id"`
	Type    string            `json:"type"`
	App     gatehouse.AppName `json:"app"`
	Created time.Time         `json:"created_at"`
	Attempt int               `json:"attempt"`
	Data    json.RawMessage   `json:"data"`
}

func envelopeOf(rec Record, data secret.Text) envelope {
	return envelope{ID: rec.ID, Type: rec.Type, App: rec.App, Created: rec.Created, Attempt: rec.Attempts, Data: json.RawMessage(data.Reveal())}
}

func (o *Outbox) prepareAndSend(ctx context.Context, rec Record, data secret.Text, taken time.Time) verdict {
	keys, err := o.signingKeys(ctx)
	if err != nil {
		o.config.Logger.WarnContext(ctx, "an event could not be signed", slog.String("error", wire.LogText(err)))
		return verdict{ours: true, class: classOf(err)}
	}
	body, err := json.Marshal(envelopeOf(rec, data))
	if err != nil {
		return verdict{ours: true, final: true, class: ClassUnreadable}
	}
	if err := o.handed(ctx, "", rec, data); err != nil {
		o.config.Logger.WarnContext(ctx, "what an event holds could not be noted, so it waits", slog.String("error", wire.LogText(err)))
		return verdict{ours: true, class: classOf(err)}
	}
	o.step("opened")
	// Who was held up for so long may have lost the event to another process, and
	// would send it a second time, out of order.
	if time.Since(taken) > lease/2 {
		return verdict{ours: true, class: ClassInterrupted}
	}
	return o.send(ctx, rec.ID, body, keys)
}

// sweep removes what is over, and ends waiting for a fetch that never came.
func (o *Outbox) sweep(ctx context.Context, now time.Time) error {
	for {
		n, err := o.config.Store.SweepEvents(ctx, now.Add(-o.config.KeepDelivered), now.Add(-o.config.KeepDead), sweepBatch)
		if err != nil {
			return err
		}
		if n < sweepBatch {
			break
		}
	}
	if o.config.URL != "" {
		return nil
	}
	long := now.Add(-o.config.KeepDead)
	old, err := o.config.Store.DueEvents(ctx, long, sweepBatch)
	if err != nil {
		return err
	}
	for _, rec := range old {
		if rec.Since.After(long) {
			continue
		}
		rec.State, rec.Due, rec.Class, rec.Updated = Dead, time.Time{}, ClassUnfetched, now
		// The next of its stream is due since then too, so that the next round
		// finds it if it is as old.
		if err := o.config.Store.SaveEvent(ctx, rec, long); err != nil && !errors.Is(err, gatehouse.ErrConflict) {
			return err
		}
	}
	return nil
}
