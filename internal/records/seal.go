package records

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

// kindText keeps texts that the app holds apart from records that are held here.
const (
	kindText   = "text"
	kindRecord = "record"
)

// place is what a value is bound to. The service is not part of it: the purpose
// is the boundary, and which services may use it is for the configuration to say.
func place(kind string, person gatehouse.PersonID, purpose gatehouse.PurposeName, v Value) vault.Place {
	return vault.Place{Person: person, Parts: []string{kind, v.form(), string(purpose), v.Label}}
}

// Seal seals each item's values into texts for the app to keep. There is a
// verdict for each item; an error instead means that something which no item is
// to blame for failed, and nothing of the request counts.
func (r *Records) Seal(ctx context.Context, service gatehouse.ServiceName, items []Item) ([]Verdict, error) {
	b := newBatch(r, service, "seal", false, items)
	return b.run(ctx, func(_ audit.Receipt, c *claim) error {
		expires, err := expiry(c.item, b.keeps[c.item.Purpose], b.now)
		if err != nil {
			return err
		}
		c.verdict.Expires = expires
		return c.each(func(v Value) ([]byte, error) {
			sealed, err := b.seal(ctx, place(kindText, c.person, c.item.Purpose, v), v.Data, expires)
			return formatText(sealed), err
		})
	})
}

// Open opens what Seal sealed: the values' Data are texts, and each must have
// been sealed for the item's owner and purpose and the value's label and form. An
// item is opened whole or not at all. Verdicts and errors are as with Seal.
func (r *Records) Open(ctx context.Context, service gatehouse.ServiceName, items []Item) ([]Verdict, error) {
	b := newBatch(r, service, "open", true, items)
	return b.run(ctx, func(receipt audit.Receipt, c *claim) error {
		return c.each(func(v Value) ([]byte, error) {
			sealed, err := parseText(v.Data)
			if err != nil {
				return nil, err
			}
			return b.open(ctx, receipt, place(kindText, c.person, c.item.Purpose, v), sealed, c.item.Purpose)
		})
	})
}

// batch is one request on its way: its items, grouped by person and purpose, with
// an entry in the log for each group.
type batch struct {
	*Records
	service gatehouse.ServiceName
	action  string
	opening bool // or sealing
	keys    *vault.Batch
	keeps   map[gatehouse.PurposeName]time.Duration
	now     time.Time
	claims  []*claim
	scratch []byte // a plaintext with its stamp; cleared by run
}

// claim is one item and what becomes of it.
type claim struct {
	item    *Item
	person  gatehouse.PersonID
	verdict Verdict
}

// each applies do to the item's values; the first that fails fails the item.
func (c *claim) each(do func(Value) ([]byte, error)) error {
	values := make([]Value, 0, len(c.item.Values))
	for _, v := range c.item.Values {
		data, err := do(v)
		if err != nil {
			for _, opened := range values {
				clear(opened.Data)
			}
			return about(err, c.item, v)
		}
		values = append(values, Value{Label: v.Label, JSON: v.JSON, Data: data})
	}
	c.verdict.Values = values
	return nil
}

func newBatch(r *Records, service gatehouse.ServiceName, action string, opening bool, items []Item) *batch {
	b := &batch{Records: r, service: service, action: action, opening: opening, keys: r.Vault.Batch(), keeps: r.Keeps(), now: time.Now()}
	for i := range items {
		b.claims = append(b.claims, &claim{item: &items[i]})
	}
	return b
}

// seal seals a value with its stamp.
func (b *batch) seal(ctx context.Context, p vault.Place, data []byte, expires time.Time) ([]byte, error) {
	b.scratch = append(appendStamp(b.scratch[:0], b.now, expires), data...)
	return b.keys.Seal(ctx, make([]byte, 0, vault.SealedSize(len(b.scratch))), p, b.scratch)
}

// open opens a value and looks at its stamp.
func (b *batch) open(ctx context.Context, receipt audit.Receipt, p vault.Place, sealed []byte, purpose gatehouse.PurposeName) ([]byte, error) {
	plaintext, err := b.keys.Open(ctx, receipt, nil, p, sealed)
	if err != nil {
		return nil, err
	}
	return cutStamp(plaintext, b.keeps[purpose], b.now)
}

// group is the claims of one person and purpose, which share an entry in the log.
type group struct {
	claims  []*claim
	receipt audit.Receipt
	err     error
}

type groupKey struct {
	person  gatehouse.PersonID
	purpose gatehouse.PurposeName
}

// run judges every item, makes the intents durable, does each item's work and
// records how it ended.
func (b *batch) run(ctx context.Context, do func(audit.Receipt, *claim) error) ([]Verdict, error) {
	if err := checkSize(b.claims); err != nil {
		return nil, err
	}
	groups, err := b.judge(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.intend(ctx, groups); err != nil {
		return nil, err
	}
	defer func() { clear(b.scratch[:cap(b.scratch)]) }()
	var broken error
	for _, g := range groups {
		for _, c := range g.claims {
			if broken != nil {
				c.verdict.Err = broken
				continue
			}
			if err := do(g.receipt, c); err != nil {
				broken = b.refused(c, err)
				c.verdict.Err = wire.WithInstance(c.verdict.Err, g.receipt.ID())
			}
		}
		b.Log.Outcome(g.receipt, g.outcome(b))
	}
	if broken != nil {
		return nil, broken
	}
	verdicts := make([]Verdict, len(b.claims))
	for i, c := range b.claims {
		verdicts[i] = c.verdict
	}
	return verdicts, nil
}

// refused makes an item's error its verdict, if it is a refusal; what is not is
// returned, and ends the request.
func (b *batch) refused(c *claim, err error) error {
	c.verdict = Verdict{Err: refusal(err)}
	if wire.RuleOf(c.verdict.Err) == "" {
		return fmt.Errorf("%s for purpose %s: %w", b.action, c.item.Purpose, err)
	}
	return nil
}

func checkSize(claims []*claim) error {
	if len(claims) == 0 {
		return invalid("records/empty", "There is no item here.")
	}
	n := 0
	for _, c := range claims {
		n += len(c.item.Values)
	}
	if n > MaxValues {
		return invalid("records/too-many", "A request may hold "+strconv.Itoa(MaxValues)+" values at most, over all of its items.")
	}
	return nil
}

var errTooLarge = wire.WithStatus(invalid("records/too-large", "A value may have "+strconv.Itoa(MaxValue)+" bytes at most."), 413)

// judge looks at every item before anything is done: what is refused gets its
// verdict and, with others like it, an entry in the log; what is not are grouped, in order.
func (b *batch) judge(ctx context.Context) ([]*group, error) {
	var groups []*group
	at := map[groupKey]*group{}
	people := map[gatehouse.Subject]gatehouse.PersonID{}
	refused := map[string][]*claim{}
	for _, c := range b.claims {
		if err := b.admit(ctx, c, people); err != nil {
			if err := b.refused(c, err); err != nil {
				return nil, err
			}
			rule := wire.RuleOf(c.verdict.Err)
			refused[rule] = append(refused[rule], c)
			continue
		}
		key := groupKey{c.person, c.item.Purpose}
		if at[key] == nil {
			at[key] = &group{}
			groups = append(groups, at[key])
		}
		at[key].claims = append(at[key].claims, c)
	}
	// One entry for each rule: a request cannot fill the log.
	for _, rule := range slices.Sorted(maps.Keys(refused)) {
		id := b.Log.Refusal(audit.Entry{
			Action: b.action, Service: b.service, Rule: rule, Facts: map[string]string{"items": strconv.Itoa(len(refused[rule]))},
		})
		for _, c := range refused[rule] {
			c.verdict.Err = wire.WithInstance(c.verdict.Err, id)
		}
	}
	return groups, nil
}

// admit checks an item, finds its person and fetches the key, without which the
// log's entry could not be written either.
func (b *batch) admit(ctx context.Context, c *claim, people map[gatehouse.Subject]gatehouse.PersonID) error {
	if err := b.check(b.service, c.item); err != nil {
		return err
	}
	if !b.opening {
		for _, v := range c.item.Values {
			if len(v.Data) > MaxValue {
				return about(errTooLarge, c.item, v)
			}
		}
		if _, err := expiry(c.item, b.keeps[c.item.Purpose], b.now); err != nil {
			return err
		}
	}
	person, known := people[c.item.Owner.Subject]
	if !known || c.item.Owner.Person != "" {
		var err error
		if person, err = b.person(ctx, c.item.Owner, !b.opening); err != nil {
			return err
		}
		if c.item.Owner.Subject != "" {
			people[c.item.Owner.Subject] = person
		}
	}
	c.person = person
	return b.keys.Ready(ctx, person)
}

// intend makes the groups' intents durable, all at once: the log writes together
// what arrives together.
func (b *batch) intend(ctx context.Context, groups []*group) error {
	var wait sync.WaitGroup
	for _, g := range groups {
		wait.Go(func() { g.receipt, g.err = b.Log.Intent(ctx, g.intent(b)) })
	}
	wait.Wait()
	var failed error
	for _, g := range groups {
		if g.err != nil {
			failed = g.err
		}
	}
	if failed == nil {
		return nil
	}
	for _, g := range groups {
		if g.err == nil {
			b.Log.Outcome(g.receipt, audit.Entry{Action: b.action, Service: b.service, Purpose: g.claims[0].item.Purpose, Verdict: "aborted"})
		}
	}
	return failed
}

// intent is the entry before the work: how many values in clear, and whose and
// which of them under the person's key.
func (g *group) intent(b *batch) audit.Entry {
	first := g.claims[0]
	var labels []string
	for _, c := range g.claims {
		for _, v := range c.item.Values {
			labels = append(labels, v.Label)
		}
	}
	personal := first.item.Owner.personal()
	personal["labels"] = strings.Join(labels, " ")
	return audit.Entry{
		Action: b.action, Service: b.service, Purpose: first.item.Purpose, Person: first.person, Personal: personal,
		Search: string(first.item.Owner.Connection), Facts: map[string]string{"values": strconv.Itoa(len(labels))},
	}
}

// outcome is the entry after the work.
func (g *group) outcome(b *batch) audit.Entry {
	e := audit.Entry{Action: b.action, Service: b.service, Purpose: g.claims[0].item.Purpose, Verdict: "done"}
	done := 0
	for _, c := range g.claims {
		if c.verdict.Err != nil {
			e.Verdict = "failed"
			if rule := wire.RuleOf(c.verdict.Err); e.Rule == "" {
				e.Rule = rule
			}
			continue
		}
		done += len(c.verdict.Values)
		// The plaintexts' bytes: what was given, or what came out.
		given := c.verdict.Values
		if !b.opening {
			given = c.item.Values
		}
		for _, v := range given {
			e.Bytes += int64(len(v.Data))
		}
	}
	e.Facts = map[string]string{"values": strconv.Itoa(done)}
	return e
}
