package budget_test

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/budget"
	"gatehouse/internal/platform"
)

// rig is budgets with a clock that the test moves.
type rig struct {
	*budget.Budgets
	t   testing.TB
	now time.Time
}

func newRig(t testing.TB, c budget.Config) *rig {
	r := &rig{t: t, now: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)}
	c.Now = func(gatehouse.AppName) time.Time { return r.now }
	r.Budgets = budget.New(c)
	return r
}

func (r *rig) pass(d time.Duration) { r.now = r.now.Add(d) }

// admitted asks for a call that must be admitted.
func (r *rig) admitted(c budget.Call) *budget.Ticket {
	r.t.Helper()
	t, err := r.Admit(c)
	if err != nil {
		r.t.Fatalf("%+v is refused: %v", c, err)
	}
	return t
}

// free asks for a call that must be admitted, and gives it back.
func (r *rig) free(c budget.Call) {
	r.t.Helper()
	r.admitted(c).Settle()
}

// refused asks for a call that must be refused by the rule.
func (r *rig) refused(c budget.Call, rule string, after time.Duration) *budget.Refusal {
	r.t.Helper()
	t, err := r.Admit(c)
	if err == nil {
		t.Settle()
		r.t.Fatalf("%+v is admitted, want %s", c, rule)
	}
	var refusal *budget.Refusal
	if !errors.As(err, &refusal) || !errors.Is(err, gatehouse.ErrLimited) {
		r.t.Fatalf("the refusal is %T %v", err, err)
	}
	if refusal.Rule != rule || refusal.RetryAfter != after || !refusal.Until.Equal(r.now.Add(after)) {
		r.t.Fatalf("refused by %s for %s until %s, want %s for %s: %v", refusal.Rule, refusal.RetryAfter, refusal.Until, rule, after, err)
	}
	return refusal
}

// answer makes a call and has it answered.
func (r *rig) answer(c budget.Call, status int, h http.Header) {
	r.t.Helper()
	t := r.admitted(c)
	t.Sent()
	t.Learn(&c, status, h)
	t.Settle()
}

// xHeader is what X says of a window.
func xHeader(prefix string, limit, remaining int, reset time.Time) http.Header {
	return http.Header{
		http.CanonicalHeaderKey(prefix + "-limit"):     {strconv.Itoa(limit)},
		http.CanonicalHeaderKey(prefix + "-remaining"): {strconv.Itoa(remaining)},
		http.CanonicalHeaderKey(prefix + "-reset"):     {strconv.FormatInt(reset.Unix(), 10)},
	}
}

func window(limit, remaining int, reset time.Time) http.Header {
	return xHeader("x-rate-limit", limit, remaining, reset)
}

func appUsage(percent float64) http.Header {
	return http.Header{"X-App-Usage": {fmt.Sprintf(`{"call_count":%g,"total_time":1,"total_cputime":1}`, percent)}}
}

func business(id, kind string, percent float64, minutes int) http.Header {
	return http.Header{"X-Business-Use-Case-Usage": {fmt.Sprintf(
		`{%q:[{"type":%q,"call_count":%g,"total_cputime":1,"total_time":1,"estimated_time_to_regain_access":%d}]}`, id, kind, percent, minutes)}}
}

// throttled is what Interpret makes of a Graph error of that code.
func throttled(t testing.TB, code int) platform.Outcome {
	said := platform.Interpret(platform.Facebook, 400, http.Header{}, fmt.Appendf(nil, `{"error":{"code":%d,"message":"m"}}`, code))
	if said.Kind != platform.OutcomeThrottled {
		t.Fatalf("code %d is %v", code, said.Kind)
	}
	return said
}

// xCall and graphCall are calls to begin with.
var (
	xCall     = budget.Call{App: "main-x", Platform: gatehouse.X, Owner: "ada", Service: "s", Operation: "POST /2/tweets"}
	graphCall = budget.Call{App: "pages", Platform: gatehouse.Facebook, Owner: "ada", Service: "s", Operation: "GET /{id}/feed", Node: "1"}
)

// but returns a call changed by f.
func but(c budget.Call, f func(*budget.Call)) budget.Call {
	f(&c)
	return c
}
