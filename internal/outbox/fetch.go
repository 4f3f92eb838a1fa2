package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

// MaxPage is the greatest number of events that are fetched at once.
const MaxPage = 100

// fetchAtOnce and fetchBytes bound the memory of one page: it ends early when its
// events are large.
const (
	fetchAtOnce = 10
	fetchBytes  = 8 << 20
)

// Page is what an app gets that fetches its events.
type Page struct {
	// Events are the waiting ones in the order in which they were put, each as it
	// would have been posted: a JSON object.
	Events []json.RawMessage
	// Next continues the page; 0 when this was the last.
	Next int64
}

// Fetch hands waiting events to a service of the app: those after the given
// place (0 for the beginning), at most limit (and MaxPage). They wait on until
// they are acknowledged. That the service got each of them is recorded before it
// is opened; who may fetch at all is the caller's to decide.
func (o *Outbox) Fetch(ctx context.Context, service gatehouse.ServiceName, after int64, limit int) (Page, error) {
	if limit <= 0 || limit > MaxPage {
		limit = MaxPage
	}
	page := Page{Events: []json.RawMessage{}, Next: after}
	for bytes := 0; len(page.Events) < limit && bytes < fetchBytes; {
		some := min(fetchAtOnce, limit-len(page.Events))
		records, err := o.config.Store.Events(ctx, Filter{State: Waiting, After: page.Next, Limit: some})
		if err != nil {
			return Page{}, fmt.Errorf("fetching events: %w", err)
		}
		bodies, err := o.handOverAll(ctx, service, records)
		if err != nil {
			return Page{}, err
		}
		for _, body := range bodies {
			bytes += len(body)
			page.Events = append(page.Events, body)
		}
		if len(records) < some {
			page.Next = 0
			break
		}
		page.Next = records[some-1].Seq
	}
	return page, nil
}

// handOverAll opens events for a service, and buries those that do not open.
func (o *Outbox) handOverAll(ctx context.Context, service gatehouse.ServiceName, records []Record) ([]json.RawMessage, error) {
	bodies, errs := make([][]byte, len(records)), make([]error, len(records))
	// Together, so that the intents share the log's next group commits.
	var opening sync.WaitGroup
	for i, rec := range records {
		opening.Go(func() { bodies[i], errs[i] = o.handOver(ctx, service, rec) })
	}
	opening.Wait()
	opened := make([]json.RawMessage, 0, len(records))
	for i := range records {
		if errs[i] == nil {
			opened = append(opened, bodies[i])
			continue
		}
		v := o.unopened(ctx, errs[i])
		if !v.final {
			return nil, errs[i]
		}
		o.bury(ctx, records[i], v.class)
	}
	return opened, nil
}

// handOver opens one event for a service.
func (o *Outbox) handOver(ctx context.Context, service gatehouse.ServiceName, rec Record) ([]byte, error) {
	receipt, data, err := o.open(ctx, "event.fetch", service, rec)
	if err != nil {
		return nil, err
	}
	var body []byte
	if err = o.handed(ctx, service, rec, data); err == nil {
		body, err = json.Marshal(envelopeOf(rec, data))
	}
	end := outcome(err)
	end.Bytes = int64(len(data.Reveal()))
	o.config.Log.Outcome(receipt, end)
	return body, err
}

// bury ends an event that nobody can ever read. A lost race is as good.
func (o *Outbox) bury(ctx context.Context, rec Record, class string) {
	now := time.Now()
	rec.State, rec.Due, rec.Class, rec.Updated = Dead, time.Time{}, class, now
	if rec.Class == ClassErased {
		rec.Data, rec.Person = nil, ""
	}
	_ = o.config.Store.SaveEvent(ctx, rec, now)
}

// Acknowledge says that the app has taken an event: it counts as delivered, and
// its content goes. A dead letter that had been fetched before it died can be
// acknowledged too, and repeating it changes nothing.
func (o *Outbox) Acknowledge(ctx context.Context, service gatehouse.ServiceName, id string) error {
	for try := 1; ; try++ {
		rec, err := o.event(ctx, id)
		if err != nil || rec.State == Delivered || rec.Data == nil {
			return err
		}
		o.step("acknowledging")
		if try == 1 {
			entry := audit.Entry{
				Action: "event.ack", Service: service, App: rec.App, Verdict: "done", Person: rec.Person,
				Personal: named(rec), Facts: map[string]string{"type": rec.Type, "attempts": strconv.Itoa(rec.Attempts)},
			}
			_, err := o.config.Log.Record(ctx, entry)
			if errors.Is(err, vault.ErrErased) {
				entry.Person, entry.Personal = "", nil // nothing of theirs can be sealed any more
				_, err = o.config.Log.Record(ctx, entry)
			}
			if err != nil {
				return err
			}
		}
		now := time.Now()
		rec.State, rec.Due, rec.Data, rec.Class, rec.Updated = Delivered, time.Time{}, nil, "", now
		err = o.config.Store.SaveEvent(ctx, rec, now)
		if err == nil {
			o.look()
			return nil
		}
		// A delivery changes the row when it begins and when it ends.
		if !errors.Is(err, gatehouse.ErrConflict) || try == 5 {
			return fmt.Errorf("acknowledging an event: %w", err)
		}
	}
}

// ParsePlace reads what a page's Next said.
func ParsePlace(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, wire.Refuse(gatehouse.ErrInvalid, "events/after", "after must be what next said on the page before.")
	}
	return n, nil
}
