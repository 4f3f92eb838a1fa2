package lineage

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/fingerprint"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// Source says where delivered data came from, and to whom it went.
type Source struct {
	Platform  gatehouse.Platform
	App       gatehouse.AppName
	Operation gatehouse.Operation
	Purpose   gatehouse.PurposeName
	Service   gatehouse.ServiceName
	// Handle is what the service called with; empty for a call without one.
	Handle gatehouse.HandleID
	// Call names the call, so that what its reply says in several places, or is told in
	// several pieces, counts once. Empty counts each.
	Call string
}

// Delivered is somebody whose data a reply holds.
type Delivered struct {
	// ID is what the platform calls the person; empty if the reply does not say.
	// Then the person is known by the strongest of the values.
	ID     string
	Values []fingerprint.Value
	// Entered says that it is what somebody entered in a form, as which one can be
	// many. So it does not count among those who make a value a shared one; nor does
	// somebody whom the reply does not name.
	Entered bool
}

// maxGroup bounds what one write takes, in people, flows and fingerprints each.
const maxGroup = 10_000

// writeTimeout bounds one write: the replies that wait for it are not kept longer.
const writeTimeout = 10 * time.Second

// group is what several callers write together.
type group struct {
	people []pending
	of     map[sum]int // places in people
	flows  []BatchFlow
	calls  []sum       // that were counted last in each of flows
	flowOf map[sum]int // places in flows
	prints []BatchPrint
	keys   map[sum]int // places in prints
	done   chan struct{}
	err    error // valid when done is closed
}

// pending is somebody whose number is not known here.
type pending struct {
	app gatehouse.AppName
	id  string
	BatchPerson
}

func newGroup() *group {
	return &group{of: map[sum]int{}, flowOf: map[sum]int{}, keys: map[sum]int{}, done: make(chan struct{})}
}

// person returns somebody's place in the group.
func (g *group) person(key sum, p pending) int {
	i, known := g.of[key]
	if !known {
		i = len(g.people)
		g.of[key] = i
		g.people = append(g.people, p)
	}
	return i
}

func (g *group) full() bool {
	return len(g.people) >= maxGroup || len(g.flows) >= maxGroup || len(g.prints) >= maxGroup
}

// joining is one caller's way into a group.
type joining struct {
	l     *Lineage
	now   time.Time
	group *group
	leads bool
}

// into returns the group, which begins when it is first needed. One caller's notes
// go into one group.
func (j *joining) into() *group {
	n := &j.l.noted
	if j.group == nil {
		if n.next == nil || n.next.full() {
			n.next = newGroup()
			j.leads = true
		}
		j.group = n.next
	}
	return j.group
}

// alive reports whether what the memory says of a person still holds.
func (n *notes) alive(o Owner) bool {
	_, gone := n.gone[o]
	return !gone
}

// Deliver notes what a reply holds about people, for its last bytes wait for it:
// when it returns nil, every flow and fingerprint is durable. What was noted lately
// costs no write.
func (l *Lineage) Deliver(ctx context.Context, s Source, people []Delivered) error {
	j := joining{l: l, now: time.Now()}
	n := &l.noted
	n.mu.Lock()
	n.turn(l, j.now)
	day := dayOf(j.now)
	source := l.hash.of(sum{}, int64(day), string(s.App), string(s.Operation), string(s.Purpose), string(s.Service), string(s.Handle))
	var call sum
	if s.Call != "" {
		call = l.hash.of(sum{}, 0, s.Call)
	}
	for i := range people {
		j.deliver(&s, source, call, day, &people[i])
	}
	n.mu.Unlock()
	return j.wait(ctx)
}

// turn lets both memories age.
func (n *notes) turn(l *Lineage, now time.Time) {
	life := l.touch() / 2
	n.flows.turn(now, l.config.Remember, life)
	n.prints.turn(now, l.config.Remember, life)
	for o, at := range n.gone {
		if now.Sub(at) < 2*life+time.Minute {
			break // one is enough to know that looking at all of them is not due
		}
		delete(n.gone, o)
	}
}

// deliver notes one person. It holds notes.mu.
func (j *joining) deliver(s *Source, source, call sum, day Day, d *Delivered) {
	l, n := j.l, &j.l.noted
	id := d.ID
	if id == "" {
		if id = nameless(d.Values); id == "" {
			return
		}
	}
	who := l.hash.of(sum{}, 0, string(s.App), id)
	var classes [classCount]bool
	for k := range d.Values {
		v := &d.Values[k]
		key := l.hash.of(who, 1, string(v.Class), v.Text)
		if c := classNumber(v.Class); !classes[c] {
			classes[c] = true
			j.flow(l.hash.of(source, 2, string(v.Class), idOf(who)), call, func() BatchFlow {
				return BatchFlow{
					Person: j.into().person(who, pending{app: s.App, id: id, BatchPerson: BatchPerson{Platform: s.Platform}}),
					Edge: Edge{Kind: Delivery, Verdict: Passed, Platform: s.Platform, App: s.App, Class: v.Class, Operation: s.Operation,
						Purpose: s.Purpose, Service: s.Service},
					Handle: s.Handle, Day: day,
				}
			})
		}
		if owner, known := n.prints.get(key); known && n.alive(owner) {
			continue
		}
		print, ok := l.config.Index.Print(*v)
		if !ok {
			continue
		}
		g := j.into()
		if _, waits := g.keys[key]; !waits {
			g.keys[key] = len(g.prints)
			g.prints = append(g.prints, BatchPrint{
				Person: g.person(who, pending{app: s.App, id: id, BatchPerson: BatchPerson{Platform: s.Platform}}), Print: print, Class: v.Class, Entered: d.Entered || d.ID == "",
			})
		}
	}
}

// idOf is a sum as a part of another.
func idOf(s sum) string {
	var b [16]byte
	for i := range 8 {
		b[i], b[8+i] = byte(s[0]>>(8*i)), byte(s[1]>>(8*i))
	}
	return string(b[:])
}

// flow counts a flow that is known, or has what makes it written; not again for the
// call that was counted last. One that another call of the same handle came between is
// counted again: to remember all calls that are under way would cost more than such a
// count is worth. It holds notes.mu.
func (j *joining) flow(key, call sum, make func() BatchFlow) {
	n := &j.l.noted
	if c, known := n.flows.get(key); known && n.alive(c.Owner) {
		if call != (sum{}) && c.call == call {
			return
		}
		c.call = call
		c.seen++
		c.last = j.now
		if !c.dirty {
			c.dirty = true
			n.dirty = append(n.dirty, c)
		}
		return
	}
	g := j.into()
	if i, waits := g.flowOf[key]; waits {
		if call != (sum{}) && g.calls[i] == call {
			return
		}
		g.calls[i] = call
		g.flows[i].Seen++
		g.flows[i].Last = j.now
		return
	}
	f := make()
	f.First, f.Last, f.Seen = j.now, j.now, 1
	f.EdgeID = n.edges[f.Edge]
	g.flowOf[key] = len(g.flows)
	g.flows = append(g.flows, f)
	g.calls = append(g.calls, call)
}

// uncount takes one back of a flow that was counted. A flow of which none are left is
// shown no more. It holds notes.mu.
func (j *joining) uncount(key sum, make func() BatchFlow) {
	n := &j.l.noted
	if c, known := n.flows.get(key); known && n.alive(c.Owner) {
		c.seen--
		if !c.dirty {
			c.dirty = true
			c.last = j.now
			n.dirty = append(n.dirty, c)
		}
		return
	}
	g := j.into()
	i, waits := g.flowOf[key]
	if !waits {
		f := make()
		f.First, f.Last = j.now, j.now
		i = len(g.flows)
		g.flowOf[key] = i
		g.flows = append(g.flows, f)
		g.calls = append(g.calls, sum{})
	}
	g.flows[i].Seen--
}

// strength orders the kinds of data by how well one alone says who somebody is.
var strength = []gatehouse.DataClass{
	gatehouse.PseudonymousID, gatehouse.EmailAddress, gatehouse.PhoneNumber, gatehouse.ProfileLink, gatehouse.Username,
	gatehouse.PostID, gatehouse.MessageID, gatehouse.PersonName,
}

// classCount is one more than there are kinds that have a number.
const classCount = 10

// classNumber numbers the kinds of data, the unknown ones with zero.
func classNumber(c gatehouse.DataClass) int {
	for i, s := range strength {
		if s == c {
			return i + 1
		}
	}
	return 0
}

// nameless names somebody whom the reply does not, by the strongest value. No
// platform's id begins like it.
func nameless(values []fingerprint.Value) string {
	for _, class := range strength {
		for _, v := range values {
			if v.Class == class {
				return "~" + string(class) + ":" + v.Text
			}
		}
	}
	return ""
}

// Guarded is a secret that must not leave.
type Guarded struct {
	// UserKey is the keyed hash of whose grant it is, as Config.Key makes it; empty
	// for a secret of nobody's.
	UserKey  string
	Platform gatehouse.Platform
	Secret   secret.Text
}

// Guard takes the fingerprints of secrets, so that they are recognised when they
// leave; it keeps nothing else of them. When it returns nil they are durable and in
// this process's index. Their time is that of every fingerprint, so that what is
// still in use has to be given again before Config.Keep is over.
func (l *Lineage) Guard(ctx context.Context, secrets ...Guarded) error {
	for len(secrets) > 0 {
		some := secrets[:min(len(secrets), maxGroup/2)]
		secrets = secrets[len(some):]
		j := joining{l: l, now: time.Now()}
		n := &l.noted
		n.mu.Lock()
		n.turn(l, j.now)
		for _, s := range some {
			j.guard(s)
		}
		n.mu.Unlock()
		if err := j.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Hold has this process's index know secrets, at once and without whose they are,
// for as long as the fingerprints of values live. Nothing of it is stored: what
// other processes are to recognise is for [Lineage.Guard].
func (l *Lineage) Hold(secrets ...secret.Text) {
	expires := time.Now().Add(l.config.Keep)
	for _, s := range secrets {
		for _, text := range spellings(s.Reveal()) {
			if print, ok := l.config.Index.Print(fingerprint.Value{Class: gatehouse.Credential, Text: text}); ok {
				l.config.Index.Add(fingerprint.Entry{Print: print, Class: gatehouse.Credential, Expires: expires})
			}
		}
	}
}

// spellings are how a secret may be written where it leaves: as it is, and in the name
// of a header, which loses its capitals.
func spellings(text string) []string {
	if small := strings.ToLower(text); small != text {
		return []string{text, small}
	}
	return []string{text}
}

// guard notes one secret. It holds notes.mu.
func (j *joining) guard(s Guarded) {
	if s.Secret.IsZero() {
		return
	}
	for _, text := range spellings(s.Secret.Reveal()) {
		j.guardAs(s, text)
	}
}

// guardAs notes a secret in one spelling.
func (j *joining) guardAs(s Guarded, text string) {
	l, n := j.l, &j.l.noted
	who := l.hash.of(sum{}, 3, s.UserKey)
	key := l.hash.of(who, 4, text)
	if owner, known := n.prints.get(key); known && n.alive(owner) {
		return
	}
	print, ok := l.config.Index.Print(fingerprint.Value{Class: gatehouse.Credential, Text: text})
	if !ok {
		return
	}
	g := j.into()
	if _, waits := g.keys[key]; waits {
		return
	}
	b := BatchPrint{Person: -1, Print: print, Class: gatehouse.Credential}
	if s.UserKey != "" {
		b.Person = g.person(who, pending{BatchPerson: BatchPerson{Hash: s.UserKey, Platform: s.Platform}})
	}
	g.keys[key] = len(g.prints)
	g.prints = append(g.prints, b)
}

// wait returns when the caller's notes are durable.
func (j *joining) wait(ctx context.Context) error {
	g := j.group
	if g == nil {
		return nil
	}
	if j.leads {
		j.l.write(context.WithoutCancel(ctx), g)
	} else {
		select {
		case <-g.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if g.err != nil {
		return notNoted(g.err)
	}
	return nil
}

// notNoted is what a caller is told.
func notNoted(cause error) error {
	return wire.Refuse(fmt.Errorf("%w: %w", cause, gatehouse.ErrUnavailable), "lineage/flows",
		"Gatehouse could not note whose data this is. It must be able to say where everybody's data went, so it is not passed on; try again")
}

// write writes a group, after the one before it.
func (l *Lineage) write(ctx context.Context, g *group) {
	l.writing <- struct{}{}
	defer func() { <-l.writing }()
	n := &l.noted
	n.mu.Lock()
	if n.next == g {
		n.next = nil // who comes now joins the next one
	}
	n.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	defer close(g.done)
	now := time.Now()
	b := Batch{Now: now, Expires: now.Add(l.config.Keep + l.touch()), Fresh: now.Add(l.config.Keep), Flows: g.flows, Prints: g.prints}
	for _, p := range g.people {
		if p.Hash == "" {
			if p.Hash, g.err = l.config.Key(ctx, p.app, p.id); g.err != nil {
				break
			}
		}
		b.People = append(b.People, p.BatchPerson)
	}
	var result Noted
	if g.err == nil {
		result, g.err = l.store.Note(ctx, &b)
	}
	if g.err != nil {
		l.logger.ErrorContext(ctx, "flows could not be noted; what waited for them was not passed on", slog.String("error", wire.LogText(g.err)))
		return
	}
	l.remember(g, &b, &result)
}

// remember has the index and the memory know what is stored.
func (l *Lineage) remember(g *group, b *Batch, result *Noted) {
	entries := make([]fingerprint.Entry, len(b.Prints))
	for i, p := range b.Prints {
		entries[i] = fingerprint.Entry{Print: p.Print, Class: p.Class, Entered: p.Entered, Expires: b.Expires}
		if p.Person >= 0 {
			entries[i].Owner = result.Owners[p.Person]
		}
	}
	l.add(entries)
	n := &l.noted
	n.mu.Lock()
	defer n.mu.Unlock()
	n.turn(l, time.Now())
	for key, i := range g.keys {
		n.prints.now[key] = entries[i].Owner
	}
	if n.edges == nil || len(n.edges) > maxEdges {
		n.edges = map[Edge]int64{}
	}
	for key, i := range g.flowOf {
		f := &b.Flows[i]
		owner := f.Owner
		if f.Person >= 0 {
			owner = result.Owners[f.Person]
		}
		n.edges[f.Edge] = result.Edges[i]
		n.flows.now[key] = &cell{call: g.calls[i], FlowKey: FlowKey{Owner: owner, Day: f.Day, Edge: result.Edges[i], Handle: result.Handles[i]}}
	}
}

// maxEdges bounds the ways whose numbers are remembered.
const maxEdges = 100_000
