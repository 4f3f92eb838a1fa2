package budget

import (
	"fmt"
	"time"

	"gatehouse"
)

// The rules that refuse, as they stand in the log and in replies.
const (
	// RuleWindow: X's window has no call left for this operation.
	RuleWindow = "limit/platform-window"
	// RuleUsage: a percentage of Meta's is at its end.
	RuleUsage = "limit/platform-usage"
	// RuleThrottled: the platform has refused calls for being too many.
	RuleThrottled = "limit/platform-throttled"
	// RuleShare: the pool is scarce, and the service has had its part of it.
	RuleShare = "limit/platform-share"
)

// Refusal says why a call is not made, and when asking again makes sense. It is of
// the kind [gatehouse.ErrLimited].
type Refusal struct {
	Rule      string
	Platform  gatehouse.Platform
	Operation gatehouse.Operation
	Index     int // which of the calls that were asked for
	// Until and RetryAfter are when to ask again, by the platform's clock and from
	// now.
	Until      time.Time
	RetryAfter time.Duration
	// Limit, Remaining and Reset are X's numbers, as last heard; Limit is 0 where the
	// platform gives none.
	Limit, Remaining int
	Reset            time.Time

	kind  kind
	owned bool
}

func (r *Refusal) Error() string { return r.Rule + ": " + r.Detail() }
func (r *Refusal) Unwrap() error { return gatehouse.ErrLimited }

// Detail is what the caller may read: what is used up, and until when.
func (r *Refusal) Detail() string {
	whose := map[kind]string{
		kindCall: "this operation with this user's token", kindDay: "this operation of the whole app", kindApp: "the whole app",
		kindOwner: "this user or page", kindOperation: "this operation with this token", kindAccount: "this page, account or business",
	}[r.kind]
	if r.kind == kindCall && !r.owned {
		whose = "this operation with the app's own token"
	}
	why := map[string]string{
		RuleWindow:    "what the platform allows for %s is used up, under way or kept for Gatehouse's own duties",
		RuleUsage:     "nearly all that the platform allows for %s is used; the rest is kept for Gatehouse's own duties",
		RuleThrottled: "the platform has refused calls for %s as too many",
		RuleShare:     "what the platform still allows for %s is shared out, and this service has had its part",
	}[r.Rule]
	return fmt.Sprintf(why, whose) + "; the call was not made. Ask again after " + r.Until.UTC().Format(time.RFC3339) + " (the platform's time)."
}
