package egress

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"
)

// The actions of the entries that this package writes.
const (
	actionCall   = "egress.call"
	actionTunnel = "egress.tunnel"
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

// entry is what the log says of the exchange. A host that is declared is a name of
// the configuration's and stands in clear. Any other is a text that the caller chose:
// it may hold somebody's name, or be made to carry something out, and a leaf can never
// be blanked. It is sealed, under the domain's key because no person is known.
func (x *exchange) entry(verdict, rule string) audit.Entry {
	e := audit.Entry{Action: actionCall, Service: x.service.Name, Verdict: verdict, Rule: rule, Facts: map[string]string{}}
	if x.tunnel {
		e.Action = actionTunnel
	}
	// A purpose that is not the service's is a text of the caller's, too.
	if slices.Contains(x.settings.Services[x.service.Name].Purposes, x.purpose) {
		e.Purpose = x.purpose
	}
	if x.port != 0 {
		e.Facts["port"] = strconv.Itoa(int(x.port))
	}
	e.Operation = gatehouse.Operation(knownMethod(x.r.Method))
	switch {
	case x.settings.Policy.Declares(x.host) || x.proxy.config.Platform(x.host):
		e.Facts["host"] = x.host
		e.Operation += gatehouse.Operation(" " + x.hostPort())
	case x.host != "" && x.known:
		e.Personal = map[string]string{"host": x.host}
	}
	return e
}

// begin makes the intent durable. Nothing is resolved, dialled or sent before.
func (x *exchange) begin(ctx context.Context) error {
	verdict := verdictAllow
	if x.decision.Report {
		verdict = verdictReport
	}
	e := x.entry(verdict, x.decision.Rule)
	wire.Annotate(x.w, wire.Note{Service: string(e.Service), Purpose: string(e.Purpose), Operation: e.Action, Verdict: verdict})
	x.began = time.Now()
	// A caller that hangs up now would otherwise leave an intent behind of which
	// nobody knows whether it was written.
	receipt, err := x.proxy.config.Log.Intent(context.WithoutCancel(ctx), e)
	if err != nil {
		if wire.RuleOf(err) != "" {
			return err
		}
		return wire.Public(errors.Join(gatehouse.ErrUnavailable, err), "the request cannot be recorded, so it is not made")
	}
	x.receipt = receipt
	wire.Annotate(x.w, wire.Note{Instance: receipt.ID()})
	return nil
}

// end records the outcome; nobody waits for it.
func (x *exchange) end(err error) {
	if !x.receipt.Valid() {
		return
	}
	sent, received := x.carried.Sent.Load(), x.carried.Received.Load()
	e := x.entry(verdictDone, "")
	e.Personal = nil // the intent holds it
	e.Status, e.Bytes = x.status, sent
	e.Facts["sent"], e.Facts["received"] = strconv.FormatInt(sent, 10), strconv.FormatInt(received, 10)
	e.Facts["took"] = time.Since(x.began).Round(time.Millisecond).String()
	if err != nil {
		e.Verdict, e.Rule = verdictFailed, wire.RuleOf(err)
		if e.Rule == "" && errors.Is(err, context.Canceled) {
			e.Rule = ruleGone
		}
		if e.Rule == ruleGone || sent > 0 {
			e.Verdict = verdictAborted
		}
		if e.Status == 0 {
			e.Status = wire.StatusOf(err)
		}
	}
	x.proxy.config.Log.Outcome(x.receipt, e)
	wire.Annotate(x.w, wire.Note{Verdict: e.Verdict})
}

// refuse records a refusal and returns it with the entry's id. A failure that is not
// the caller's is no refusal.
func (x *exchange) refuse(err error) error {
	status := wire.StatusOf(err)
	if status == http.StatusProxyAuthRequired {
		x.w.Header().Set("Proxy-Authenticate", `Basic realm="gatehouse", charset="UTF-8"`)
	}
	// What follows on this connection would have to be understood as the end of a
	// body, or as bytes for a tunnel that there is not.
	if x.r.Method == http.MethodConnect || x.r.ContentLength != 0 {
		x.w.Header().Set("Connection", "close")
	}
	if status >= 500 {
		return err
	}
	limited := x.proxy.limits.stranger
	if x.known {
		limited = func() error { return x.proxy.limits.refused(x.service.Name) }
	}
	if err := limited(); err != nil {
		return err
	}
	e := x.entry(verdictRefuse, wire.RuleOf(err))
	e.Status = status
	if !x.known {
		e.Action, e.Facts = actionRefuse, nil
	}
	if e.Rule == "" {
		e.Rule = "refuse/" + http.StatusText(status)
	}
	wire.Annotate(x.w, wire.Note{Service: string(e.Service), Purpose: string(e.Purpose), Operation: e.Action, Verdict: verdictRefuse})
	return wire.WithInstance(err, x.proxy.config.Log.Refusal(e))
}

// knownMethod keeps a method that a caller made up out of the log.
func knownMethod(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return m
	}
	return "other"
}
