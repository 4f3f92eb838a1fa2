package metrics

import (
	"strconv"
	"time"

	"gatehouse/internal/audit"
)

// undeclared stands for a destination that the configuration does not have, as in the
// log.
const undeclared = "(undeclared)"

// Entered counts an entry of the log: whatever is worth counting is on record, so that
// each figure that comes of it has its entries. took is how long the caller waited, of
// an entry that is waited for. It keeps nothing of the entry.
func (m *Metrics) Entered(kind string, e audit.Entry, took time.Duration) {
	m.entries.get(e.Action, e.Verdict, "").Inc()
	if took > 0 {
		m.appending.Observe(took.Seconds())
	}
	if e.Verdict == "refuse" && kind != audit.KindIntent {
		m.refusals.get(e.Action, e.Rule, "").Inc()
	}
	if kind == audit.KindIntent {
		return
	}
	switch e.Action {
	case "call", "call.stream":
		if kind == audit.KindOutcome {
			m.answered(&e)
		}
	case "connect.refresh":
		m.renewals.get(known(m.names.Load().apps, e.App), outcomeOf(e.Verdict), "").Inc()
	case "event.deliver":
		m.deliveries.get(outcomeOf(e.Verdict), "", "").Inc()
	case "operator.sign-in":
		m.signIns.get(OutcomeDone, "", "").Inc()
	case "operator.refuse":
		m.signIns.get(OutcomeRefused, "", "").Inc()
	case "operator.locked":
		m.signIns.get("locked", "", "").Inc()
	case "operator.cloned":
		m.factorAlarms.get("operator", "cloned", "").Inc()
	case "stepup.alarm":
		if cause := e.Facts["cause"]; cause == "cloned" || cause == "guessing" {
			m.factorAlarms.get("user", cause, "").Inc()
		}
	case "egress.call", "egress.tunnel", "egress.request":
		m.left(&e)
	}
}

// answered counts what a platform did not answer as wanted.
func (m *Metrics) answered(e *audit.Entry) {
	kind := e.Facts["class"]
	if kind == "" && e.Verdict != "done" {
		kind = e.Rule
	}
	if kind != "" {
		m.upstream.get(string(e.Platform), kind, "").Inc()
	}
}

// left counts what was sent to others.
func (m *Metrics) left(e *audit.Entry) {
	to := m.destination(e.Facts["host"])
	m.egress.get(to, e.Action, outcomeOf(e.Verdict)).Inc()
	if e.Action == "egress.request" {
		return // its bytes are in its tunnel's
	}
	add := func(c *children, fact string) {
		if n, err := strconv.ParseInt(e.Facts[fact], 10, 64); err == nil && n > 0 {
			c.get(to, "", "").Add(float64(n))
		}
	}
	add(m.sent, "sent")
	add(m.received, "received")
}

// outcomeOf is how labels call a verdict.
func outcomeOf(verdict string) string {
	switch verdict {
	case "refuse":
		return OutcomeRefused
	case "failed":
		return OutcomeFailed
	case "aborted":
		return OutcomeAborted
	}
	return OutcomeDone
}
