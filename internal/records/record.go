package records

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"
)

// MaxPage is the greatest number of records in one page of a list.
const MaxPage = 500

// Entry is what may be known about a record without opening it.
type Entry struct {
	Purpose          gatehouse.PurposeName
	Label            string
	JSON             bool
	Size             int
	Created, Updated time.Time
	Expires          time.Time // zero: never
}

func entryOf(rec Record) Entry {
	return Entry{
		Purpose: rec.Purpose, Label: rec.Label, JSON: rec.JSON, Size: rec.Size,
		Created: rec.Created, Updated: rec.Updated, Expires: rec.Expires,
	}
}

// Put keeps the one value of an item here, sealed, in place of what was kept
// under the same owner, purpose and label. It reports whether that is new.
func (r *Records) Put(ctx context.Context, service gatehouse.ServiceName, item Item) (e Entry, created bool, err error) {
	err = r.one(ctx, service, "record.put", false, &item, func(b *batch, _ audit.Receipt, c *claim) error {
		v := item.Values[0]
		// Microseconds are what the store keeps.
		now := b.now.UTC().Truncate(time.Microsecond)
		expires, err := expiry(&item, b.keeps[item.Purpose], now)
		if err != nil {
			return err
		}
		rec := Record{
			Key: Key{c.person, item.Purpose, v.Label}, JSON: v.JSON, Size: len(v.Data),
			Created: now, Updated: now, Expires: expires,
		}
		if rec.Sealed, err = b.seal(ctx, place(kindRecord, c.person, item.Purpose, v), v.Data, expires); err != nil {
			return err
		}
		if created, err = r.Store.PutRecord(ctx, &rec); err != nil {
			return err
		}
		e, c.verdict.Values = entryOf(rec), item.Values
		return r.stillThere(ctx, rec)
	})
	return e, created, err
}

// stillThere looks whether the person was erased while a record was put. The
// erasure destroys the key first and deletes the records then: whichever order
// the two took, either it saw the record or we see the key gone.
func (r *Records) stillThere(ctx context.Context, rec Record) error {
	err := r.Vault.Batch().Ready(ctx, rec.Person)
	if errors.Is(err, gatehouse.ErrNotFound) {
		_, deleting := r.Store.DeleteRecords(ctx, []Record{rec})
		return errors.Join(err, deleting)
	}
	return nil
}

// one runs a batch of one item with one value, whose refusal is the error.
func (r *Records) one(ctx context.Context, service gatehouse.ServiceName, action string, opening bool, item *Item, do func(*batch, audit.Receipt, *claim) error) error {
	if len(item.Values) != 1 {
		return invalid("records/empty", "A record holds one value.")
	}
	b := newBatch(r, service, action, opening, []Item{*item})
	verdicts, err := b.run(ctx, func(receipt audit.Receipt, c *claim) error { return do(b, receipt, c) })
	if err != nil {
		return err
	}
	return verdicts[0].Err
}

// find returns a record that a service may use the purpose of.
func (r *Records) find(ctx context.Context, service gatehouse.ServiceName, owner Owner, purpose gatehouse.PurposeName, label string) (Record, error) {
	if err := r.check(service, &Item{Owner: owner, Purpose: purpose, Values: []Value{{Label: label}}}); err != nil {
		return Record{}, err
	}
	person, err := r.person(ctx, owner, false)
	if errors.Is(err, errErased) {
		// Nothing is kept for somebody who has no key: whether they ever had one is
		// not for us to remember.
		return Record{}, errUnknown
	}
	if err != nil {
		return Record{}, err
	}
	rec, err := r.Store.Record(ctx, Key{person, purpose, label})
	if errors.Is(err, gatehouse.ErrNotFound) {
		return Record{}, errUnknown
	}
	return rec, err
}

// Get opens a record. Refusals are recorded as those of Open are.
func (r *Records) Get(ctx context.Context, service gatehouse.ServiceName, owner Owner, purpose gatehouse.PurposeName, label string) (Value, Entry, error) {
	rec, err := r.find(ctx, service, owner, purpose, label)
	if err != nil {
		return Value{}, Entry{}, r.deny("record.get", service, err)
	}
	value := Value{Label: label, JSON: rec.JSON}
	item := Item{Owner: owner, Purpose: purpose, Values: []Value{value}}
	err = r.one(ctx, service, "record.get", true, &item, func(b *batch, receipt audit.Receipt, c *claim) error {
		data, err := b.open(ctx, receipt, place(kindRecord, rec.Person, purpose, value), rec.Sealed, purpose)
		value.Data = data
		c.verdict.Values = []Value{value}
		return err
	})
	if err != nil {
		return Value{}, Entry{}, err
	}
	return value, entryOf(rec), nil
}

// Delete deletes a record. A record that was put again at the same moment is
// ErrConflict and stays.
func (r *Records) Delete(ctx context.Context, service gatehouse.ServiceName, owner Owner, purpose gatehouse.PurposeName, label string) error {
	rec, err := r.find(ctx, service, owner, purpose, label)
	if err != nil {
		return r.deny("record.delete", service, err)
	}
	entry := audit.Entry{Action: "record.delete", Service: service, Purpose: purpose, Facts: map[string]string{"records": "1", "cause": "request"}}
	// A key that is gone or out of use seals no fields; it keeps nobody from deleting.
	intent := entry
	if r.Vault.Batch().Ready(ctx, rec.Person) == nil {
		intent.Person, intent.Personal, intent.Search = rec.Person, owner.personal(), string(owner.Connection)
		intent.Personal["labels"] = label
	}
	receipt, err := r.Log.Intent(ctx, intent)
	if err != nil {
		return err
	}
	n, err := r.Store.DeleteRecords(ctx, []Record{rec})
	if err == nil && n == 0 {
		err = errChanged
	}
	if err != nil {
		entry.Verdict = "failed"
	}
	r.Log.Outcome(receipt, entry)
	return err
}

// List returns what is kept for an owner, for purposes that the service may use,
// ordered by purpose and label, beginning behind a purpose and label. Nothing is
// opened. A page may have fewer entries than limit and still have a next one:
// more says so, and last is where that begins.
func (r *Records) List(ctx context.Context, service gatehouse.ServiceName, owner Owner, after Key, limit int) (list []Entry, last Key, more bool, err error) {
	if err := owner.check(); err != nil {
		return nil, Key{}, false, err
	}
	after.Person, err = r.person(ctx, owner, false)
	if errors.Is(err, errErased) {
		return nil, Key{}, false, nil
	}
	if err != nil {
		return nil, Key{}, false, err
	}
	limit = min(max(limit, 1), MaxPage)
	all, err := r.Store.Records(ctx, after, limit)
	if err != nil {
		return nil, Key{}, false, fmt.Errorf("listing records: %w", err)
	}
	for _, rec := range all {
		last = rec.Key
		if r.May(service, rec.Purpose) {
			list = append(list, entryOf(rec))
		}
	}
	return list, last, len(all) == limit, nil
}

// deny records a refusal and returns it; what is none is returned as it is.
func (r *Records) deny(action string, service gatehouse.ServiceName, err error) error {
	if rule := wire.RuleOf(err); rule != "" {
		return wire.WithInstance(err, r.Log.Refusal(audit.Entry{Action: action, Service: service, Rule: rule, Facts: map[string]string{"items": "1"}}))
	}
	return err
}
