package platform

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// Budget is what a reply's headers say about one pool of calls. X counts calls,
// Meta gives percentages; the fields that a platform does not use are -1.
type Budget struct {
	// Pool names whose pool it is: "call" (X's pool for this operation, of the
	// user or the app, by the kind of token), "app-24h", "user-24h", "app",
	// "page", "ad-account", "business/ID/TYPE".
	Pool             string
	Limit, Remaining int
	Percent          float64
	Reset            time.Time     // zero if not said
	RetryAfter       time.Duration // zero if calls are allowed now, or if not said
}

// Usage reads the rate-limit headers of a reply. Malformed ones are left out.
func Usage(p Name, h http.Header) []Budget {
	switch p {
	case X:
		return xUsage(h)
	case Facebook, Instagram, Threads:
		return graphUsage(h)
	}
	return nil
}

// xUsage reads the documented headers, and the 24-hour ones that clients have
// seen but X does not document.
func xUsage(h http.Header) []Budget {
	var out []Budget
	for i := range xPools {
		pool := &xPools[i]
		if len(h[pool.limit]) == 0 || len(h[pool.remaining]) == 0 || len(h[pool.reset]) == 0 {
			continue // the usual case of the undocumented ones
		}
		limit, err1 := strconv.Atoi(h[pool.limit][0])
		remaining, err2 := strconv.Atoi(h[pool.remaining][0])
		reset, err3 := strconv.ParseInt(h[pool.reset][0], 10, 64)
		if err1 != nil || err2 != nil || err3 != nil || limit < 0 || remaining < 0 || reset <= 0 {
			continue
		}
		out = append(out, Budget{Pool: pool.name, Limit: limit, Remaining: remaining, Percent: -1, Reset: time.Unix(reset, 0).UTC()})
	}
	return out
}

// xPools are X's pools with the names of their headers, in the form in which package
// net/http keeps them.
var xPools = [...]struct{ name, limit, remaining, reset string }{
	{"call", "X-Rate-Limit-Limit", "X-Rate-Limit-Remaining", "X-Rate-Limit-Reset"},
	{"app-24h", "X-App-Limit-24hour-Limit", "X-App-Limit-24hour-Remaining", "X-App-Limit-24hour-Reset"},
	{"user-24h", "X-User-Limit-24hour-Limit", "X-User-Limit-24hour-Remaining", "X-User-Limit-24hour-Reset"},
}

// callUsage is the JSON of X-App-Usage and X-Page-Usage, and of one entry of
// X-Business-Use-Case-Usage.
type callUsage struct {
	Type      string  `json:"type"`
	CallCount float64 `json:"call_count"`
	Time      float64 `json:"total_time"`
	CPUTime   float64 `json:"total_cputime"`
	Minutes   float64 `json:"estimated_time_to_regain_access"`
}

func (u callUsage) budget(pool string) Budget {
	return Budget{
		Pool: pool, Limit: -1, Remaining: -1, Percent: max(u.CallCount, u.Time, u.CPUTime),
		RetryAfter: seconds(u.Minutes * 60),
	}
}

// seconds bounds a duration that a header names to a week.
func seconds(n float64) time.Duration {
	if !(n > 0) {
		return 0
	}
	return time.Duration(min(n, 7*24*3600) * float64(time.Second))
}

func graphUsage(h http.Header) []Budget {
	var out []Budget
	for _, pool := range [...]struct{ name, header string }{{"app", "X-App-Usage"}, {"page", "X-Page-Usage"}} {
		if u, ok := readUsage[callUsage](h[pool.header]); ok {
			out = append(out, u.budget(pool.name))
		}
	}
	if ad, ok := readUsage[adUsage](h["X-Ad-Account-Usage"]); ok {
		b := Budget{Pool: "ad-account", Limit: -1, Remaining: -1, Percent: ad.Percent}
		if ad.Percent >= 100 {
			b.RetryAfter = seconds(ad.Seconds)
		}
		out = append(out, b)
	}
	business, _ := readUsage[map[string][]callUsage](h["X-Business-Use-Case-Usage"])
	for id, list := range business {
		for _, u := range list {
			out = append(out, u.budget("business/"+id+"/"+u.Type))
		}
	}
	return out
}

// adUsage is the JSON of X-Ad-Account-Usage.
type adUsage struct {
	Percent float64 `json:"acc_id_util_pct"`
	Seconds float64 `json:"reset_time_duration"`
}

// readUsage reads a header that holds JSON, and reports whether there was one that
// could be read. Most replies have one or two of them.
func readUsage[T any](values []string) (u T, ok bool) {
	if len(values) == 0 {
		return u, false
	}
	var read T
	if json.Unmarshal([]byte(values[0]), &read) != nil {
		return u, false
	}
	return read, true
}
