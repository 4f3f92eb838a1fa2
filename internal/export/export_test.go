package export

import (
	"context"
	"io"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
)

// OTLPTestOnly is the message that an entry becomes.
func OTLPTestOnly(t testing.TB, e *Entry) []byte {
	b, err := proto.Marshal((&OTLP{}).request([]Entry{*e}, time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// WholeLinesTestOnly is what a file is cut to.
func WholeLinesTestOnly(r io.ReaderAt, size int64) (int64, error) { return wholeLines(r, size) }

// RetryAfterTestOnly reads a Retry-After.
func RetryAfterTestOnly(text string) time.Duration { return retryAfter(text) }

// MaxTailTestOnly is how far from its end a file may not be whole.
const MaxTailTestOnly = maxTail

// ClassTestOnly is the class of an error of Send.
func ClassTestOnly(ctx context.Context, err error) string { return failureOf(ctx, err).Class }

// FailureTestOnly is an error of Send as it is noted.
func FailureTestOnly(ctx context.Context, err error) *Failure { return failureOf(ctx, err) }
