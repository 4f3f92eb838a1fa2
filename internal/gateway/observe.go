package gateway

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse"
	"gatehouse/internal/platform"
	"gatehouse/internal/policy"
)

// Observation is what one call, or one item of a batch, carried and was answered
// with. It holds values of people: whoever gets one keeps names and measures.
type Observation struct {
	Service  gatehouse.ServiceName
	Purpose  gatehouse.PurposeName
	Platform gatehouse.Platform
	App      gatehouse.AppName
	// Operations are the call's own, then those that it implies.
	Operations []gatehouse.Operation
	// Params, Body and Selected are as in [policy.Request].
	Params, Body []policy.Argument
	Selected     []policy.Selected
	// ReadParams, ReadBody and ReadFields say which of them were read. In enforce
	// mode those are the ones that the call's contract bounds.
	ReadParams, ReadBody, ReadFields bool
	// Contract is what the call declares beside itself; nil when nothing.
	Contract *policy.Contract
	// Reported is set when only report mode allowed it.
	Reported bool
	// Answered is set when the platform's answer was no error, and File when it was
	// a file.
	Answered, File bool
	// Reply are the names of the fields that were passed on; nil when the answer was
	// none in JSON.
	Reply *platform.ReplyNames
	// Again is set when this is more of a stream that was observed before.
	Again bool

	names *sync.Pool
	// late is set when parts of a form came after its first file. They pass unread,
	// in the goroutine that sends the body.
	late atomic.Bool
	// passing is set when the body is a form to X that is not read before it is sent;
	// form then reads it on its way.
	passing bool
	form    *passingForm
}

// headings are the parts of a request that are read into the question.
type headings struct{ params, body, fields bool }

func bounds(c *policy.Contract) (h headings) {
	h.params, h.body, h.fields = c.Bounds()
	return h
}

// used returns what is to be observed of a call that is allowed, or nil. r is the
// question as it was asked, with those headings that had to be read. In report
// mode all are read, into a question of their own: what is read in order to be
// remembered must not change a verdict.
func (c *call) used(r *policy.Request, read headings, d policy.Decision, carries func(headings, *policy.Request) error) *Observation {
	if c.gateway.config.Observe == nil {
		return nil
	}
	r.Joined = c.at.platform.Graph()
	passing := false
	if all := (headings{true, true, true}); c.settings.Policy.Mode() == policy.Report && read != all {
		read = all
		// The parts of a form to X are read on their way: one that cannot be read would
		// be lost here.
		if passing = c.body.kind == bodyMultipart && c.body.parts == nil; passing {
			read.body = false
		}
		whole := *r
		whole.Params, whole.Body, whole.Selected, whole.Unjudged = nil, nil, nil, false
		if err := carries(read, &whole); err != nil {
			whole.Unjudged, read.fields = true, false
		}
		r = &whole
	}
	if r.Joined {
		read.params = read.params || read.body
		read.body = read.params
	}
	return &Observation{
		Service: r.Service, Purpose: r.Purpose, Platform: r.Platform, App: r.App, Operations: r.Operations,
		Params: r.Params, Body: r.Body, Selected: r.Selected,
		ReadParams: read.params, ReadBody: read.body && !r.Unjudged, ReadFields: read.fields,
		Contract: d.Contract, Reported: d.Report, names: c.gateway.replyNames[c.at.platform],
		passing: passing,
	}
}

// reads returns a reader of what r has that notes its names. It is safe on nil.
func (o *Observation) reads(r io.Reader, keyed bool) io.Reader {
	if o == nil {
		return r
	}
	if o.Reply == nil {
		o.Reply = o.names.Get().(*platform.ReplyNames)
		o.Reply.Begin(keyed)
	}
	o.Answered = true
	return io.TeeReader(r, o.Reply)
}

// passes returns a reader of a form that is sent, which is read meanwhile if it was not
// before. It is safe on nil.
func (o *Observation) passes(c *call, r io.Reader) io.Reader {
	if o == nil || !o.passing {
		return r
	}
	o.passing = false
	o.form = observeParts(c.at.platform, c.class, c.body.boundary, c.gateway.config.Limits.InspectBytes)
	c.releases = append(c.releases, o.form.stop)
	return o.form.watch(r)
}

// passed takes up what was read of a form on its way.
func (o *Observation) passed() {
	if o.form == nil {
		return
	}
	o.form.stop()
	o.Body, o.ReadBody = o.form.result()
	o.form = nil
}

// follows notes a part of a form that came after a file. It is safe on nil.
func (o *Observation) follows() {
	if o != nil {
		o.late.Store(true)
	}
}

// answered notes an answer that is no error and has no names. It is safe on nil.
func (o *Observation) answered(file bool) {
	if o != nil {
		o.Answered, o.File = true, file
	}
}

// observe hands over what was observed.
func (c *call) observe() {
	list := []*Observation{c.seen}
	if c.batch != nil {
		list = list[:0]
		for i := range c.batch.items {
			list = append(list, c.batch.items[i].seen)
		}
	}
	for _, o := range list {
		if o == nil {
			continue
		}
		o.passed()
		if o.late.Load() {
			o.ReadBody = false
		}
		c.gateway.config.Observe(o)
		if o.Reply != nil {
			o.names.Put(o.Reply)
			o.Reply = nil
		}
	}
}

// streamObserved is how often a stream is observed: one may be open for weeks.
const streamObserved = 10 * time.Second

// streamed observes a stream's objects so far, from time to time.
func (c *call) streamed(since *time.Time) {
	now := time.Now()
	if c.seen == nil || now.Sub(*since) < streamObserved {
		return
	}
	*since = now
	c.observe()
	c.seen.Again = true
}

// keysIDs reports whether a reply has each node under its id.
func (c *call) keysIDs() bool {
	if !c.at.platform.Graph() {
		return false
	}
	_, inQuery := c.query.get("ids")
	_, inBody := c.body.params.get("ids")
	return inQuery || inBody
}
