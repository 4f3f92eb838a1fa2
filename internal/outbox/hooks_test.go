package outbox

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
