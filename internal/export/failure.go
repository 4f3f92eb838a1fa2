package export

import (
	"context"
	"errors"
	"time"

	"gatehouse/internal/wire"
)

// Classes of what can go wrong with a sink. They stand in the log and in listings.
const (
	Unreachable    = "unreachable"    // no connection, or it broke
	Untrusted      = "tls"            // its certificate, or ours, is not believed
	TimedOut       = "timeout"        // no answer in time
	Throttled      = "throttled"      // it asks to wait
	Refused        = "refused"        // it answers that it does not take this
	TooLarge       = "too-large"      // it does not take so much at once
	Unacknowledged = "unacknowledged" // it took bytes and did not say that it read them
	Unwritable     = "unwritable"     // the file cannot be written
	Diverged       = "diverged"       // the log does not go on from what was sent
)

// A Failure is what went wrong with a sink. Its text is this package's own: nothing
// that a sink answered is repeated, which may be anything.
type Failure struct {
	Class string
	// Text is a sentence without its end.
	Text string
	// After is how long the sink asked to be left alone; zero when it did not.
	After time.Duration
	// Fewer says that fewer entries at once might pass.
	Fewer bool
	cause error
}

func (f *Failure) Error() string { return f.Text }

// Unwrap returns the cause, for the operator's own log.
func (f *Failure) Unwrap() error { return f.cause }

// failureOf returns err as a Failure.
func failureOf(ctx context.Context, err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	f = &Failure{Class: Unreachable, Text: "the sink cannot be reached, or the connection to it broke", cause: err}
	switch rule := wire.RuleOf(err); {
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.Is(err, context.DeadlineExceeded),
		rule == "upstream/timeout", rule == "destination/timeout":
		f.Class, f.Text, f.Fewer = TimedOut, "the sink did not answer in time", true
	case rule == "upstream/tls", rule == "destination/tls":
		f.Class, f.Text = Untrusted, "the sink's certificate could not be verified, or it did not believe ours"
	case rule == "upstream/resolve", rule == "destination/resolve":
		f.Text = "the sink's name could not be resolved"
	case rule == "egress/address":
		f.Text = "the sink's name leads to an address that is not allowed"
	}
	return f
}
