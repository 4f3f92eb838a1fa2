package budget

import "time"

const (
	// holdAt is the percentage at which callers are held and background work goes on.
	// Meta refuses everything at 100; a renewal or a health check that is refused then
	// costs more than a caller's call that waits.
	holdAt = 95
	// scarceAt is from where on services share.
	scarceAt = 75
	// usageLife is how long a percentage means anything: Meta counts over a rolling
	// hour.
	usageLife = time.Hour
	// leastPerPoint is the least number of calls that a hundredth can stand for: an
	// app has 200 calls an hour for each of its daily users, so that with one user it
	// is two.
	leastPerPoint = 2
	mostPerPoint  = 1e6
	// pointLife bounds how long calls are counted towards the next percent: the old
	// ones that leave the rolling hour meanwhile would make calls look cheap.
	pointLife = time.Minute
)

// usage is a percentage, with an estimate of how many calls a hundredth is.
type usage struct {
	known    bool
	percent  float64
	at       time.Time // when it was heard
	perPoint float64   // 0: not yet known
	since    int       // calls answered since the percentage changed
	changed  time.Time // when that was
}

// learn takes over a percentage.
func (u *usage) learn(percent float64, now time.Time) {
	if u.known && percent > u.percent && u.since > 0 {
		sample := float64(u.since) / (percent - u.percent)
		if u.perPoint == 0 {
			u.perPoint = sample
		}
		u.perPoint = min(mostPerPoint, (3*u.perPoint+sample)/4)
	}
	if !u.known || percent != u.percent || now.Sub(u.changed) > pointLife {
		u.since, u.changed = 0, now
	}
	u.known, u.percent, u.at = true, percent, now
}

// calls estimates how many calls are left below a ceiling beside those under way.
// As many calls as were answered without a change fit into one hundredth at least.
func (u *usage) calls(ceiling float64, flying int) int {
	per := max(leastPerPoint, u.perPoint, float64(u.since))
	return int((ceiling-u.percent)*per) - flying
}

// ceiling is up to which percentage a call may go.
func ceiling(c *Call) float64 {
	if c.Background {
		return 100
	}
	return holdAt
}
