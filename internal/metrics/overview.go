package metrics

import (
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
)

// window is what the figures of the overview that are rates are about.
const window = 5 * time.Minute

// A Level says how a figure is.
type Level string

// The levels.
const (
	Good    Level = "good"
	Warning Level = "warning"
	Bad     Level = "bad"
)

// A Figure is one figure of the overview.
type Figure struct {
	// Title is what it is called where people read it, Unit what it counts ("per
	// minute", "seconds", "").
	Title, Unit string
	Value       float64
	// Known is false when there is nothing to show yet: no call, or nothing was read.
	Known bool
	Level Level
	// Advice says what to do when the level is not Good.
	Advice string
	// Metric and Labels are the figure's series, for [Metrics.Series] and
	// [Metrics.Recent]; Metric is "" for a figure that has none.
	Metric string
	Labels []string
	// Entries find what is behind it in the log; nil when there are no entries of which
	// it is made. See [Values].
	Entries *audit.Query
}

// Text is the value as people read it; "–" when it is not known.
func (f Figure) Text() string {
	switch {
	case !f.Known:
		return "–"
	case f.Unit == "seconds" && f.Value < 1:
		return strconv.FormatFloat(math.Round(f.Value*1e4)/10, 'f', -1, 64) + " ms"
	case f.Unit == "seconds":
		return strconv.FormatFloat(f.Value, 'f', 2, 64) + " s"
	case f.Unit == "percent":
		return strconv.FormatFloat(f.Value, 'f', 0, 64) + " %"
	case f.Value == math.Trunc(f.Value):
		return strconv.FormatFloat(f.Value, 'f', 0, 64)
	}
	return strconv.FormatFloat(f.Value, 'f', 1, 64)
}

// Search is the query string of the log's search that finds the entries behind the
// figure, such as "action=call&since=...&verdict=refuse"; "" when there are none.
func (f Figure) Search() string {
	if f.Entries == nil {
		return ""
	}
	return Values(*f.Entries).Encode()
}

// Overview is what a person on duty looks at. Rates are means of the last five minutes,
// or of the time since the start where that is shorter.
//
// In a view model, take the whole of it: page{Overview: m.Overview(time.Now())}. In
// html/template: {{with .Overview.Refused}}<a href="/log?{{.Search}}">{{.Text}}</a>
// {{.Unit}}{{end}}, or {{range .Overview.Figures}} for all. [Metrics.Series] with a
// figure's Metric and Labels draws its plot, and [PointEntries] finds what is behind one
// point of it.
type Overview struct {
	// At is when it was taken, Since when this process began to count.
	At, Since time.Time

	Calls, Refused, Failed, Aborted Figure
	Median, P95                     Figure // of whole calls
	Own                             Figure // 95th percentile of what calls spend in Gatehouse
	Renewals, RenewalsFailed        Figure
	Connected, Reconnect            Figure
	DutiesOpen, DutiesOverdue       Figure
	NearestDeadline                 time.Time // zero when there is none
	EventsWaiting, EventsDead       Figure
	Egress, EgressRefused           Figure
	SignInsRefused                  Figure
	LogEntries, LogAppend           Figure
	ExportLag                       Figure
	Budget                          Figure // the least that is left, in percent
	OldestKey                       Figure // in days
	// Log and RootKey are the conditions that the log and the root key are in, "" when
	// they were not read.
	Log, RootKey string
}

// Figures returns all figures in the order in which they are looked at.
func (o *Overview) Figures() []Figure {
	return []Figure{
		o.Calls, o.Refused, o.Failed, o.Aborted, o.Median, o.P95, o.Own, o.Renewals, o.RenewalsFailed, o.Connected, o.Reconnect,
		o.DutiesOpen, o.DutiesOverdue, o.EventsWaiting, o.EventsDead, o.Egress, o.EgressRefused, o.SignInsRefused, o.LogEntries, o.LogAppend,
		o.ExportLag, o.Budget, o.OldestKey,
	}
}

// Overview returns the overview at a time. It reads memory only.
func (m *Metrics) Overview(at time.Time) Overview {
	at = at.UTC()
	o := Overview{At: at, Since: m.series.began}
	since := at.Add(-window).Truncate(time.Second)
	rate := func(title, name string, q *audit.Query, labels ...string) Figure {
		f := Figure{Title: title, Unit: "per minute", Level: Good, Metric: name, Labels: labels, Entries: q}
		if q != nil {
			q.Since = since
		}
		if q != nil && q.Validate() != nil {
			f.Entries = nil // no entry has such an action: nothing writes it in this program
		}
		f.Value, f.Known = mean(m.Recent(name, labels...), since)
		return f
	}
	call := func(verdict, kind string) *audit.Query {
		return &audit.Query{Action: "call", Kind: kind, Verdict: verdict}
	}
	o.Calls = rate("Calls", nameCalls, call("", ""))
	o.Refused = warn(rate("Refused calls", nameCalls, call("refuse", ""), "outcome", OutcomeRefused), 0, nameRefusals)
	o.Failed = warn(rate("Failed calls", nameCalls, call("failed", ""), "outcome", OutcomeFailed), 0, nameUpstream)
	o.Aborted = rate("Aborted calls", nameCalls, call("aborted", ""), "outcome", OutcomeAborted)
	latency := func(title, name, q string) Figure {
		f := rate(title, name, call("", audit.KindOutcome), "quantile", q)
		f.Unit = "seconds"
		return f
	}
	o.Median = latency("Median of a call", nameCallSeconds, Median)
	o.P95 = latency("95 % of calls within", nameCallSeconds, P95)
	o.Own = warn(latency("Of that in Gatehouse", nameOwnSeconds, P95), .25, nameOwnSeconds)
	renewals := func(title, outcome, verdict string) Figure {
		return rate(title, nameRenewals, &audit.Query{Action: "connect.refresh", Kind: audit.KindOutcome, Verdict: verdict}, "outcome", outcome)
	}
	o.Renewals = renewals("Renewals", OutcomeDone, "done")
	o.RenewalsFailed = warn(renewals("Failed renewals", OutcomeFailed, "failed"), 0, nameRenewals)
	o.Egress = rate("Sent to others", nameEgress, &audit.Query{Action: "egress.tunnel"})
	o.EgressRefused = warn(rate("Refused to others", nameEgress, &audit.Query{Action: "egress.tunnel", Verdict: "refuse"}, "outcome", OutcomeRefused), 0, nameEgress)
	o.SignInsRefused = warn(rate("Refused sign-ins", nameSignIns, &audit.Query{Action: "operator.refuse"}, "outcome", OutcomeRefused), 1, nameSignIns)
	o.LogEntries = rate("Entries in the log", nameEntries, &audit.Query{})
	o.LogAppend = warn(latency("95 % durable within", nameAppendSeconds, P95), .1, nameAppendSeconds)
	m.standing(&o, m.now())
	return o
}

// standing fills in what is no rate.
func (m *Metrics) standing(o *Overview, now readings) {
	gauge := func(title, name string, q *audit.Query, label, value string) Figure {
		f := Figure{Title: title, Level: Good, Metric: name, Entries: q}
		if byName[name].keep == nil {
			f.Metric = ""
		}
		if label != "" {
			f.Labels = []string{label, value}
		}
		f.Value, f.Known = now.sum(name, label, value)
		return f
	}
	o.Connected = gauge("Connected", Connections, &audit.Query{Action: "connect.redeem", Verdict: "done"}, "status", "healthy")
	o.Reconnect = warn(gauge("Have to connect again", Connections, &audit.Query{Action: "connect.dead"}, "status", "reconnect_needed"), 0, Connections)
	o.DutiesOpen = gauge("Duties", DutiesOpen, &audit.Query{Action: "duty.open"}, "", "")
	o.DutiesOverdue = worse(gauge("Overdue duties", DutiesOverdue, &audit.Query{Action: "duty.overdue"}, "", ""), 0, Bad, DutiesOverdue)
	if deadline, ok := now.sum(DutyDeadline, "", ""); ok {
		o.NearestDeadline = time.Unix(int64(deadline), 0).UTC()
	}
	o.EventsWaiting = gauge("Events waiting", Events, &audit.Query{Action: "event.deliver", Verdict: "failed"}, "state", "waiting")
	o.EventsDead = worse(gauge("Dead letters", Events, &audit.Query{Action: "event.deliver", Verdict: "failed"}, "state", "dead"), 0, Bad, Events)
	o.ExportLag = warn(gauge("Entries not exported", ExportLag, &audit.Query{Action: "log.export.stuck"}, "", ""), 1000, ExportLag)
	o.Budget = gauge("Least budget left", BudgetLeft, &audit.Query{Action: "call", Status: "429"}, "", "")
	o.Budget.Unit = "percent"
	if o.Budget.Value *= 100; o.Budget.Known && o.Budget.Value < 10 {
		o.Budget.Level, o.Budget.Advice = Warning, byName[BudgetLeft].Bad
	}
	o.OldestKey = Figure{Title: "Oldest key", Unit: "days", Level: Good, Entries: &audit.Query{Action: "keys.rotate"}}
	for _, r := range now[KeyCreated] {
		o.OldestKey.Known = true
		o.OldestKey.Value = max(o.OldestKey.Value, math.Floor(o.At.Sub(time.Unix(int64(r.Value), 0)).Hours()/24))
	}
	o.Log, o.RootKey = now.which(LogCondition), now.which(RootKeyState)
}

// warn makes a figure that is more than a bound a warning.
func warn(f Figure, most float64, advice string) Figure { return worse(f, most, Warning, advice) }

func worse(f Figure, most float64, l Level, advice string) Figure {
	if f.Known && f.Value > most {
		f.Level, f.Advice = l, byName[advice].Bad
	}
	return f
}

// mean is that of the points since a time.
func mean(points []Point, since time.Time) (float64, bool) {
	sum, n := 0.0, 0
	for _, p := range points {
		if p.At.After(since) {
			sum += p.Value
			n++
		}
	}
	if n == 0 {
		return 0, false
	}
	return sum / float64(n), true
}

// readings are what the Looks read last.
type readings map[string][]Reading

func (m *Metrics) now() readings {
	out := readings{}
	for _, one := range m.looked.looks {
		for _, r := range one.current() {
			out[r.Name] = append(out[r.Name], r)
		}
	}
	return out
}

// sum adds up the readings that have a label; of ratios the least counts.
func (r readings) sum(name, label, value string) (sum float64, some bool) {
	i := byName[name]
	at := slices.Index(i.Labels, label)
	for _, one := range r[name] {
		if label != "" && one.Labels[at] != value {
			continue
		}
		switch {
		case !some:
			sum, some = one.Value, true
		case i.least:
			sum = min(sum, one.Value)
		default:
			sum += one.Value
		}
	}
	if !some && len(r[name]) > 0 {
		return 0, true // read, and there is none of these
	}
	return sum, some
}

// which is the label value of the reading that is 1, of those of which one is.
func (r readings) which(name string) string {
	for _, one := range r[name] {
		if one.Value == 1 {
			return one.Labels[0]
		}
	}
	return ""
}

// PointEntries is what finds the entries behind one point of a figure's plot: the
// figure's query, bounded by the point's step, which is a minute in [Metrics.Series]
// and 10 seconds in [Metrics.Recent].
func PointEntries(f Figure, p Point, length time.Duration) *audit.Query {
	if f.Entries == nil {
		return nil
	}
	q := *f.Entries
	q.Since, q.Until = p.At.Add(-length), p.At
	return &q
}

// Values is a search of the log as the parameters that the API and the console take.
func Values(q audit.Query) url.Values {
	v := url.Values{}
	for name, value := range map[string]string{
		"action": q.Action, "app": string(q.App), "code": q.Code, "kind": q.Kind, "operation": string(q.Operation), "platform": string(q.Platform),
		"purpose": string(q.Purpose), "rule": q.Rule, "service": string(q.Service), "severity": string(q.Severity), "verdict": q.Verdict,
		"status": q.Status, "destination": q.Destination, "since": when(q.Since), "until": when(q.Until),
	} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Operator {
		v.Set("actor", "operator")
	}
	for name, value := range q.Facts {
		v.Add("fact", fmt.Sprintf("%s=%s", name, value))
	}
	slices.Sort(v["fact"])
	return v
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// A Row is one service, rule, kind of error or destination of a table beside the
// overview.
type Row struct {
	Name string
	Figure
}

// Services returns calls, refused and failed of each service in the last five minutes,
// busiest first: rows of one outcome ("" for all).
func (m *Metrics) Services(at time.Time, outcome string) []Row {
	verdicts := map[string]string{"": "", OutcomeDone: "done", OutcomeFailed: "failed", OutcomeAborted: "aborted", OutcomeRefused: "refuse"}
	var only []string
	if outcome != "" {
		only = []string{"outcome", outcome}
	}
	return m.rows(at, nameCalls, "service", only, func(service string) audit.Query {
		return audit.Query{Action: "call", Service: gatehouse.ServiceName(service), Verdict: verdicts[outcome]}
	})
}

// Refusals returns refusals by rule in the last five minutes, most first.
func (m *Metrics) Refusals(at time.Time) []Row {
	return m.rows(at, nameRefusals, "rule", nil, func(rule string) audit.Query { return audit.Query{Verdict: "refuse", Rule: rule} })
}

// rows are the values of one label.
func (m *Metrics) rows(at time.Time, name, label string, only []string, query func(string) audit.Query) []Row {
	since := at.UTC().Add(-window).Truncate(time.Second)
	var rows []Row
	for _, value := range m.series.values(name, label) {
		labels := append([]string{label, value}, only...)
		f := Figure{Title: value, Unit: "per minute", Level: Good, Metric: name, Labels: labels}
		if f.Value, f.Known = mean(m.Recent(name, labels...), since); !f.Known || f.Value == 0 {
			continue
		}
		if q := query(value); value != Other && value != "" {
			q.Since = since
			f.Entries = &q
		}
		rows = append(rows, Row{value, f})
	}
	slices.SortFunc(rows, func(a, b Row) int {
		switch {
		case a.Value > b.Value:
			return -1
		case a.Value < b.Value:
			return 1
		}
		return slices.Compare([]string{a.Name}, []string{b.Name})
	})
	return rows
}
