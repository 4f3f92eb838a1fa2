package outbox

import "time"

// Keeps returns how long delivered events and dead letters are kept.
func (o *Outbox) Keeps() (delivered, dead time.Duration) {
	return o.config.KeepDelivered, o.config.KeepDead
}

// OnStep calls f between any two steps of a delivery.
func (o *Outbox) OnStep(f func(step string)) { o.testOnlyStep = f }

var (
	Wait       = wait
	RetryAfter = retryAfter
)

// MaxWait bounds the distance of two attempts.
const MaxWait = maxWait

// Lease is how long an attempt keeps its event from others.
const Lease = lease

// Endpoint is what an outbox notices of the app's endpoint.
type Endpoint struct{ endpoint }

func (e *Endpoint) Allowed(now time.Time, most, running int) int {
	return e.allowed(now, most, running)
}
func (e *Endpoint) Noticed(now time.Time, silent bool) { e.noticed(now, silent) }
