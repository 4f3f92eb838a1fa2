package gateway

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/wire"
)

// The actions of the entries that this package writes.
const (
	actionCall   = "call"
	actionStream = "call.stream"
	// actionRefuse stands for a request of somebody whom we do not know.
	actionRefuse = "handle.refuse"
)

// The verdicts of entries.
const (
	verdictAllow   = "allow"
	verdictReport  = "report"
	verdictRefuse  = "refuse"
	verdictDone    = "done"
	verdictFailed  = "failed"
	verdictAborted = "aborted"
)

// entry is what the log says of a call by handle h. Nothing that the caller
// chose stands in clear: the operation is a name from our tables, and ids are in
// the part that is sealed with the person's key.
func (c *call) entry(h identity.Handle, operation, verdict, rule string) audit.Entry {
	e := audit.Entry{
		Action: actionCall, Service: h.ServiceName, Purpose: h.Purpose, Platform: h.Platform, App: h.App,
		Operation: gatehouse.Operation(operation), Verdict: verdict, Rule: rule,
	}
	if c.class.Streaming {
		e.Action = actionStream
	}
	if h.ID != "" {
		e.Person = h.Person
		e.Personal = map[string]string{"connection": string(h.Connection), "handle": string(h.ID)}
		e.Search = string(h.Connection)
	}
	return e
}

// begin makes the intent durable. Nothing is opened or sent before.
func (c *call) begin(ctx context.Context) error {
	verdict := verdictAllow
	if c.decision.Report {
		verdict = verdictReport
	}
	e := c.entry(c.handle, c.class.Operation, verdict, c.decision.Rule)
	switch {
	case c.batch != nil:
		e.Facts = c.batch.facts()
	case len(c.asked) == 1 && c.asked[0].Cost > 1: // ids that Graph counts one by one
		e.Facts = map[string]string{"items": number(c.asked[0].Cost)}
	}
	wire.Annotate(c.w, wire.Note{
		Service: string(e.Service), Purpose: string(e.Purpose), Operation: string(e.Operation), Verdict: verdict,
	})
	c.begun = time.Now()
	// A caller that hangs up now would otherwise leave an intent behind of which
	// nobody knows whether it was written.
	record := c.gateway.config.Log.Intent
	if c.reduces() {
		record = c.gateway.config.Log.Reduce
	}
	receipt, err := record(context.WithoutCancel(ctx), e)
	if err != nil && !c.reduces() { // what reduces is done all the same
		return errLogClosed(err)
	}
	c.receipt = receipt
	if err == nil {
		// Not before the entry is there: the log has one for each use.
		c.gateway.config.Handles.Used(c.handle.ID)
	}
	wire.Annotate(c.w, wire.Note{Instance: receipt.ID()})
	if c.batch != nil {
		return c.batch.begin(ctx, c)
	}
	return nil
}

// statusGone is what access lines and entries say of a caller that hung up; no
// one receives it.
const statusGone = 499

// errLogClosed is the answer when the intent cannot be written.
func errLogClosed(err error) error {
	if wire.RuleOf(err) != "" {
		return err
	}
	return wire.Public(errors.Join(gatehouse.ErrUnavailable, err), "the call cannot be recorded, so it is not made")
}

// end records the outcome, also when the caller has hung up: it joins the next
// group commit and nobody waits for it.
func (c *call) end(err error) {
	e := outcome(c.entry(c.handle, c.class.Operation, verdictDone, ""))
	e.Status, e.Bytes = c.status, c.bytes
	if c.said != "" {
		e.Facts = map[string]string{"class": c.said}
	}
	if err != nil {
		e.Verdict, e.Rule = verdictFailed, wire.RuleOf(err)
		if c.status == 0 {
			e.Status = wire.StatusOf(err)
		}
		gone := errors.Is(err, context.Canceled)
		if gone && e.Rule == "" {
			e.Rule = "gateway/caller-gone"
		}
		if gone || c.status != 0 {
			e.Verdict = verdictAborted
		}
	}
	if c.receipt.ID() != "" {
		c.gateway.config.Log.Outcome(c.receipt, e)
	}
	if c.batch != nil {
		c.batch.end(c, e.Verdict)
	}
	wire.Annotate(c.w, wire.Note{Verdict: e.Verdict})
	if c.receipt.ID() != "" {
		c.went.judged(e.Verdict, e.Rule, c.receipt.ID(), e.Status)
	} else {
		c.went.unrecorded(err)
	}
}

// outcome leaves out of an entry what its intent holds sealed already.
func outcome(e audit.Entry) audit.Entry {
	e.Person, e.Personal = "", nil
	return e
}

// refuse records a refusal and returns it with the entry's id. A failure that is
// not the caller's (no kind, or something unavailable) is no refusal.
func (c *call) refuse(err error) error {
	status := wire.StatusOf(err)
	c.went.unrecorded(err)
	if status >= 500 {
		return err
	}
	if c.handle.ID == "" && c.r.ContentLength != 0 {
		// Otherwise net/http waits for the rest of the body before it answers, to
		// keep the connection: a stranger is not worth that.
		c.w.Header().Set("Connection", "close")
	}
	if c.handle.ID == "" {
		if limited := c.gateway.limits.stranger(); limited != nil {
			return limited
		}
	}
	if c.handle.ID != "" {
		if limited := c.gateway.limits.refused(c.handle.ServiceName, c.service); limited != nil {
			return limited
		}
	}
	operation := c.class.Operation
	if c.decision.Operation != "" {
		operation = string(c.decision.Operation)
	}
	e := c.entry(c.handle, operation, verdictRefuse, wire.RuleOf(err))
	if e.Platform == "" {
		e.Platform = gatehouse.Platform(c.at.platform)
	}
	e.Status = status
	if c.handle.ID == "" {
		e.Action = actionRefuse
	}
	if e.Rule == "" {
		e.Rule = "refuse/" + http.StatusText(status)
	}
	wire.Annotate(c.w, wire.Note{
		Service: string(e.Service), Purpose: string(e.Purpose), Operation: operation, Verdict: verdictRefuse,
	})
	id := c.gateway.config.Log.Refusal(e)
	c.went.judged(verdictRefuse, e.Rule, id, status)
	return wire.WithInstance(err, id)
}

// number spells a count for an entry's facts.
func number(n int) string { return strconv.Itoa(n) }
