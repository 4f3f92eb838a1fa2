package gateway

import (
	"context"
	"encoding/hex"
	"time"

	"gatehouse"
	"gatehouse/internal/wire"
)

// Done is how one call went, whatever became of it. All of it are names of the
// configuration or of our own tables, and measures.
type Done struct {
	Service  gatehouse.ServiceName
	Purpose  gatehouse.PurposeName
	Platform gatehouse.Platform
	App      gatehouse.AppName
	// Operation is the one of our tables; "" for one that they do not have.
	Operation string
	// Verdict is the one of the call's last entry in the log: done, failed, aborted or
	// refuse; "" when there is none, because the log cannot be written, something else
	// is not there, or refusals are too many to get entries.
	Verdict string
	// Rule is why it did not come about, Class what the platform's error says.
	Rule, Class string
	// Entry is the id of the call's intent, or of its refusal; "" for none.
	Entry     string
	Status    int
	Bytes     int64
	Streaming bool
	Trace     Trace
	// Began is when the request's header was read. The others are how long after it a
	// part of the call was over: the judgement, the durable intent, the opened
	// credential, the platform's reply's header (of the last attempt), all of it. Zero
	// means that it was not reached.
	Began                                       time.Time
	Judged, Recorded, Opened, Answered, Elapsed time.Duration
}

// Trace is which trace a call belongs to, by W3C Trace Context.
type Trace struct {
	ID           [16]byte
	Span, Parent [8]byte // of this call, and of the caller's; zero for none
	// Sampled is set when the call is to be recorded.
	Sampled bool
	// Onward is set when the platform is told.
	Onward bool
}

// header is the traceparent that the platform gets.
func (t *Trace) header() string {
	b := make([]byte, 0, 55)
	b = hex.AppendEncode(append(b, "00-"...), t.ID[:])
	b = hex.AppendEncode(append(b, '-'), t.Span[:])
	if t.Sampled {
		return string(append(b, "-01"...))
	}
	return string(append(b, "-00"...))
}

// start begins to measure a call.
func (c *call) start() {
	c.went.Began = time.Now()
}

// join takes the caller's trace up. It is known who calls: anybody else could choose
// which traces something is added to, and have as many recorded as they like.
func (c *call) join(context.Context) error {
	header := ""
	if values := c.r.Header["Traceparent"]; len(values) == 1 {
		header = values[0]
	}
	c.trace(header)
	return nil
}

// trace says which trace the call belongs to, if anybody wants to know.
func (c *call) trace(header string) {
	if begin := c.gateway.config.Trace; begin != nil && c.gateway.config.Done != nil {
		c.went.Trace, c.traced = begin(header), true
	}
}

// reached notes that a part of the call is over.
func (c *call) reached(part *time.Duration) {
	if c.gateway.config.Done != nil {
		*part = time.Since(c.went.Began)
	}
}

// done tells how the call went. Service, purpose and app are those of a handle that is
// known; a refusal of anybody else has none.
func (c *call) done() {
	d := &c.went
	if !c.traced {
		c.trace("") // nobody is known to have called
	}
	d.Service, d.Purpose, d.Platform, d.App = c.handle.ServiceName, c.handle.Purpose, c.handle.Platform, c.handle.App
	if d.Platform == "" {
		d.Platform = gatehouse.Platform(c.at.platform)
	}
	if !c.class.Unknown {
		d.Operation = c.class.Operation
	}
	d.Class, d.Streaming, d.Bytes = c.said, c.class.Streaming, c.bytes
	d.Elapsed = time.Since(d.Began)
	c.gateway.config.Done(d)
}

// judged notes how the call's last entry has it.
func (d *Done) judged(verdict, rule, entry string, status int) {
	d.Verdict, d.Rule, d.Status = verdict, rule, status
	if entry != "" {
		d.Entry = entry
	}
}

// unrecorded notes a failure that has no entry.
func (d *Done) unrecorded(err error) { d.judged("", wire.RuleOf(err), "", wire.StatusOf(err)) }
