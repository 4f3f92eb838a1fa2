package lineage

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/fingerprint"
	"gatehouse/internal/wire"
)

// Transfer is one request on its way to somebody else.
type Transfer struct {
	Service     gatehouse.ServiceName
	Purpose     gatehouse.PurposeName
	Destination string
	// May are the kinds of data that the destination may have.
	May []gatehouse.DataClass
	// Report is set when what may not be sent is recorded and passes.
	Report bool
}

// errStopped is the only refusal: it says nothing about what was recognised.
var errStopped = wire.Refuse(gatehouse.ErrDenied, "lineage/stopped",
	"This transfer holds something that this destination may not receive, and was stopped. Your operator can see what kind of thing it was: gatehouse lineage destination.")

var errLoading = wire.Refuse(gatehouse.ErrUnavailable, "lineage/loading",
	"Gatehouse has just started and cannot recognise everything yet; try again in a moment.")

// Transit is one request that is looked into. One goroutine owns it.
type Transit struct {
	lineage  *Lineage
	transfer Transfer
	search   *fingerprint.Search
	texts    []byte // that were not looked at yet
	ends     []ending
	refusal  error
	judged   map[placed]int64 // hits that are dealt with or wait, by where the first stands
	found    []found
	// waiting are hits in the body of which no byte may be passed on yet: what is behind
	// them may stop them, too.
	waiting []sight
	counted map[sum]counted // flows that this transfer has counted in
}

// inBody is the part of a request that is no address and no header.
const inBody = "body"

// found is a hit, and in which part of the request it stands.
type found struct {
	fingerprint.Hit
	part string
}

// placed is what is judged once: a value in a part of a request, as one of the kinds
// of data that it may be, of those whose it may be there.
type placed struct {
	print  Print
	class  gatehouse.DataClass
	owners [fingerprint.MaxOwners]Owner // the index lists no more
	part   string
}

// maxJudged bounds what one transfer remembers; a repeated hit beyond it is judged,
// and counted, again.
const maxJudged = 20_000

// Search begins to look into one request.
func (l *Lineage) Search(t Transfer) *Transit {
	return &Transit{lineage: l, transfer: t, search: l.config.Index.Search(), judged: map[placed]int64{}, counted: map[sum]counted{}}
}

// Text looks at a text that is complete; where is what it is: url, header (with its
// name), or body for a message that ends. Texts that are given one after another are
// near one another, as the lines of a header are: a name in one and a username in the
// next count beside each other.
func (t *Transit) Text(where, name, value string) {
	if t.refusal != nil {
		return
	}
	// HTTP/2 has no capitals in the names of headers, and those of HTTP/1.1 are not
	// kept: secrets are known in small letters, too.
	if name = strings.ToLower(name); name != "" {
		t.texts = append(append(t.texts, name...), ": "...)
	}
	// An empty line between them keeps words and rows of digits apart.
	t.texts = append(append(t.texts, value...), "\n\n"...)
	t.ends = append(t.ends, ending{len(t.texts), where})
	if len(t.texts) >= maxTexts {
		t.lookAtTexts()
	}
}

// ending says where a text ends among those that wait, and what it was.
type ending struct {
	at   int
	part string
}

// maxTexts bounds the texts that wait for the next judgement.
const maxTexts = 64 << 10

func (t *Transit) lookAtTexts() {
	if len(t.texts) == 0 {
		return
	}
	t.take() // what the body held
	t.search.Text(string(t.texts))
	for _, h := range t.search.Take() {
		i := slices.IndexFunc(t.ends, func(e ending) bool { return h.From < int64(e.at) })
		h.From = atOnce
		t.keep(h, t.ends[max(i, 0)].part)
	}
	t.texts, t.ends = t.texts[:0], t.ends[:0]
}

// take notes what was recognised in the body since it was last called.
func (t *Transit) take() {
	for _, h := range t.search.Take() {
		t.keep(h, inBody)
	}
}

func placeOf(h fingerprint.Hit, part string) placed {
	p := placed{print: h.Print, class: h.Class, part: part}
	copy(p.owners[:], h.Owners)
	return p
}

// atOnce is the place of what stands before the body, in a text: that waits for
// nothing.
const atOnce = -1

// keep keeps a hit for the next judgement, unless the like was judged or kept.
func (t *Transit) keep(h fingerprint.Hit, part string) {
	p := placeOf(h, part)
	if first, known := t.judged[p]; known {
		t.judged[p] = min(first, h.From)
		return
	}
	if len(t.judged) < maxJudged {
		t.judged[p] = h.From
	}
	t.found = append(t.found, found{h, part})
}

// maxPiece bounds what is looked at before the hits in it are taken: each place makes
// one, and most of them say again what one before said.
const maxPiece = 4 << 10

// Write looks at the next bytes of the body. It never fails.
func (t *Transit) Write(p []byte) (int, error) {
	for rest := p; t.refusal == nil && len(rest) > 0; {
		piece := rest[:min(len(rest), maxPiece)]
		_, _ = t.search.Write(piece)
		t.take()
		rest = rest[len(piece):]
	}
	return len(p), nil
}

// Judge returns how many bytes of the body, from its beginning, may be passed on by
// now. When the error is nil, every flow that these bytes belong to is durable.
func (t *Transit) Judge(ctx context.Context) (int64, error) {
	safe := t.search.Safe()
	if err := t.judge(ctx, safe); err != nil {
		return 0, err
	}
	return safe, nil
}

// End says that the body is complete, and judges the rest of it.
func (t *Transit) End(ctx context.Context) error {
	if t.refusal == nil {
		t.search.End()
	}
	return t.judge(ctx, math.MaxInt64)
}

// Close ends it, also when the request broke off.
func (t *Transit) Close() {
	t.search.Close()
	t.search, t.texts, t.judged, t.waiting, t.counted = nil, nil, nil, nil, nil
}

// sight is one hit and what follows from it.
type sight struct {
	hit     found
	verdict Verdict
	// ways are where the data came from, for each of the hit's owners, or one for
	// nobody's.
	ways []Edge
}

// judge decides about what was seen, and makes durable what belongs to texts and to
// the body's bytes before safe.
func (t *Transit) judge(ctx context.Context, safe int64) error {
	if t.refusal != nil {
		return t.refusal
	}
	l := t.lineage
	if !t.transfer.Report && !l.Ready() {
		t.refusal = errLoading
		return t.refusal
	}
	if !t.transfer.Report && l.probes.shut(t.transfer.Service, t.transfer.Destination) {
		t.refusal = errStopped
		return t.refusal
	}
	t.lookAtTexts()
	sights := t.waiting
	t.take()
	hits := t.found
	t.found = t.found[:0]
	if len(hits) > 0 {
		from, err := l.origin(ctx, hits, t.transfer.Service)
		if err != nil {
			// For good: what was recognised is not found a second time.
			t.refusal = notNoted(err)
			return t.refusal
		}
		for _, h := range hits {
			sights = append(sights, l.weigh(&t.transfer, h, &from))
		}
	}
	if len(sights) == 0 {
		return nil
	}
	oneReading(sights)
	l.probing(ctx, &t.transfer, sights)
	if slices.ContainsFunc(sights, func(s sight) bool { return s.verdict == Stopped }) {
		// None of what was not passed on before leaves.
		for i := range sights {
			sights[i].verdict = Stopped
		}
		t.refusal, safe = errStopped, math.MaxInt64
	}
	if sights = t.due(sights, safe); len(sights) == 0 {
		return nil
	}
	if err := t.record(ctx, sights); err != nil {
		t.refusal = err
	}
	return t.refusal
}

// due returns what stands in texts and in the body before safe. The rest waits.
func (t *Transit) due(sights []sight, safe int64) []sight {
	due := make([]sight, 0, len(sights))
	t.waiting = nil
	for _, s := range sights {
		from := s.hit.From
		if first, known := t.judged[placeOf(s.hit.Hit, s.hit.part)]; known {
			from = first
		}
		if from < safe {
			due = append(due, s)
		} else {
			t.waiting = append(t.waiting, s)
		}
	}
	return due
}

// oneReading spares what may be something that the destination may have: a user's name
// that is her display name, too, where the one is allowed. The other reading is
// reported.
func oneReading(sights []sight) {
	passed := map[Print]bool{}
	for i := range sights {
		if sights[i].verdict == Passed {
			passed[sights[i].hit.Print] = true
		}
	}
	for i := range sights {
		s := &sights[i]
		if s.verdict == Stopped && s.hit.Class != gatehouse.Credential && passed[s.hit.Print] {
			s.verdict = Reported
		}
	}
}

// weigh decides about one hit.
func (l *Lineage) weigh(t *Transfer, h found, from *came) sight {
	s := sight{hit: h}
	brands := len(h.Owners) > 0
	for _, owner := range h.Owners {
		s.ways = append(s.ways, from.ways[OriginKey{owner, h.Class, t.Service}])
		brands = brands && from.brands[owner]
	}
	if len(h.Owners) == 0 {
		s.ways = []Edge{{}}
	}
	switch {
	case h.Class == gatehouse.Credential && l.config.ReportSecrets:
		s.verdict = Reported
	case h.Class == gatehouse.Credential:
		s.verdict = Stopped
	case slices.Contains(t.May, h.Class):
		s.verdict = Passed
	case t.Report || h.Shared || brands:
		s.verdict = Reported
	default:
		s.verdict = Stopped
	}
	return s
}

// probes count what was stopped, so that nobody can find out by trying what the
// index knows.
type probes struct {
	mu sync.Mutex // guards what follows
	of map[gatehouse.ServiceName]*probed
}

type probed struct {
	since  time.Time
	prints map[Print]bool
	// at are the destinations where something was stopped.
	at   map[string]bool
	over bool
}

const probeWindow = time.Hour

// current returns what is counted for a service, nil if nothing was stopped within
// the hour. p.mu is held.
func (p *probes) current(service gatehouse.ServiceName) *probed {
	if of := p.of[service]; of != nil && time.Since(of.since) < probeWindow {
		return of
	}
	return nil
}

// count takes in what was stopped on its way to a destination, and reports whether it
// is too much now and was not before.
func (p *probes) count(service gatehouse.ServiceName, destination string, most int, stopped []Print) (begins bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.current(service)
	if of == nil {
		of = &probed{since: time.Now(), prints: map[Print]bool{}, at: map[string]bool{}}
		if p.of == nil {
			p.of = map[gatehouse.ServiceName]*probed{}
		}
		p.of[service] = of
	}
	of.at[destination] = true
	for _, print := range stopped {
		if len(of.prints) <= most {
			of.prints[print] = true
		}
	}
	begins = !of.over && len(of.prints) > most
	of.over = of.over || begins
	return begins
}

// shut reports whether a destination is closed to a service, because too many
// different values of it were stopped within an hour, there too. Whatever was let pass
// now would say that it is not known.
func (p *probes) shut(service gatehouse.ServiceName, destination string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.current(service)
	return of != nil && of.over && of.at[destination]
}

// probing counts the hits that are stopped, and tells when they are too many.
func (l *Lineage) probing(ctx context.Context, t *Transfer, sights []sight) {
	var stopped []Print
	for i := range sights {
		if sights[i].verdict == Stopped {
			stopped = append(stopped, sights[i].hit.Print)
		}
	}
	if len(stopped) == 0 || !l.probes.count(t.Service, t.Destination, l.config.MaxProbes, stopped) {
		return
	}
	l.logger.WarnContext(ctx, "a service tried to send many different values that were stopped: where they were, everything that is looked into is stopped for an hour",
		slog.String("service", string(t.Service)))
	l.log.Refusal(audit.Entry{Action: "lineage.probing", Service: t.Service, Purpose: t.Purpose, Rule: "lineage/stopped"})
}
