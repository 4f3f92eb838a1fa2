package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// errStalled is the cause with which a silent connection is given up.
var errStalled = errors.New("no data for too long")

// upstreamError says what went wrong with the other side, without repeating what
// it sent: net/http quotes malformed replies, and a token may stand in them. ctx
// is the caller's.
func upstreamError(ctx context.Context, err error) error {
	var ours *failure
	if errors.As(err, &ours) {
		return ours
	}
	if cause := ctx.Err(); errors.Is(cause, context.Canceled) {
		return cause
	}
	var resolving *resolveError
	if errors.As(err, &resolving) {
		return BadGateway("upstream/resolve", "The platform's name could not be resolved.", safeCause(resolving.err))
	}
	if isTimeout(ctx, err) {
		return GatewayTimeout("upstream/timeout", "The platform did not answer in time.", safeCause(err))
	}
	if isTLS(err) {
		return BadGateway("upstream/tls", "The platform's certificate or TLS connection could not be verified.", safeCause(err))
	}
	if tooLargeHeader(err) {
		return BadGateway("upstream/header-size", "The header of the platform's answer is too large.", nil)
	}
	if malformed(err) {
		return BadGateway("upstream/malformed", "The platform's answer is not valid HTTP.", nil)
	}
	return BadGateway("upstream/connection", "The connection to the platform failed.", safeCause(err))
}

// destinationError is upstreamError for connections to others than a platform.
func destinationError(ctx context.Context, err error) error {
	var ours *failure
	if errors.As(err, &ours) {
		return ours
	}
	if cause := ctx.Err(); errors.Is(cause, context.Canceled) {
		return cause
	}
	var resolving *resolveError
	switch {
	case errors.As(err, &resolving):
		return BadGateway("destination/resolve", "The destination's name could not be resolved.", safeCause(resolving.err))
	case isTimeout(ctx, err):
		return GatewayTimeout("destination/timeout", "The destination did not answer in time.", safeCause(err))
	case isTLS(err):
		return BadGateway("destination/tls", "The destination's certificate or TLS connection could not be verified.", safeCause(err))
	}
	if tooLargeHeader(err) {
		return BadGateway("destination/header-size", "The header of the destination's answer is too large.", nil)
	}
	if malformed(err) {
		return BadGateway("destination/malformed", "The destination's answer is not valid HTTP.", nil)
	}
	return BadGateway("destination/connection", "The connection to the destination failed.", safeCause(err))
}

// tooLargeHeader and malformed tell net/http's complaints about an answer, which have
// no types of their own.
func tooLargeHeader(err error) bool {
	return containsAny(err.Error(), "headers exceeded", "header list too large", "response header too")
}

func malformed(err error) bool {
	return containsAny(err.Error(), "malformed", "bad Content-Length", "transfer encoding", "multiple Content-Length", "chunk")
}

func containsAny(text string, parts ...string) bool {
	return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(text, p) })
}

func isTimeout(ctx context.Context, err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, errStalled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(ctx.Err(), context.DeadlineExceeded) ||
		errors.As(err, &timeout) && timeout.Timeout()
}

func isTLS(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		record       tls.RecordHeaderError
		alert        tls.AlertError
		authority    x509.UnknownAuthorityError
		hostname     x509.HostnameError
		invalid      x509.CertificateInvalidError
	)
	return errors.As(err, &verification) || errors.As(err, &record) || errors.As(err, &alert) ||
		errors.As(err, &authority) || errors.As(err, &hostname) || errors.As(err, &invalid) ||
		strings.Contains(err.Error(), "tls: ")
}

// safeCause keeps what tells an operator which part failed and drops texts that
// could quote the other side. The result still answers errors.Is for the causes
// that callers ask about.
func safeCause(err error) error {
	for _, known := range []error{
		errStalled, context.DeadlineExceeded, io.ErrUnexpectedEOF, io.EOF, net.ErrClosed,
		syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ETIMEDOUT,
	} {
		if errors.Is(err, known) {
			return known
		}
	}
	var (
		verification *tls.CertificateVerificationError
		dns          *net.DNSError
		op           *net.OpError
	)
	switch {
	case errors.As(err, &verification):
		return verification.Err
	case errors.As(err, &dns):
		return dns
	case errors.As(err, &op):
		return errors.New(op.Op + " " + op.Net + " failed")
	case isTLS(err):
		return errors.New("tls")
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errors.New("timeout")
	}
	return errors.New("net/http")
}

// replyBody bounds a reply's size and the silences in it, and translates its
// errors. One goroutine reads it; Close may come from another.
type replyBody struct {
	body   io.ReadCloser
	caller context.Context // the caller's own, to tell its cancellation from ours
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration
	left   int64 // bytes still allowed; negative: not bounded
	quiet  atomic.Bool
	// explain translates errors: upstreamError, or destinationError.
	explain func(context.Context, error) error
}

func newReplyBody(caller context.Context, body io.ReadCloser, cancel context.CancelCauseFunc, stall time.Duration, limit int64) *replyBody {
	b := &replyBody{body: body, caller: caller, cancel: cancel, stall: stall, left: limit, explain: upstreamError}
	if limit <= 0 {
		b.left = -1
	}
	return b
}

// Read runs the clock only while it waits for the other side: a caller that takes
// its time with what it got is not the platform's silence.
func (b *replyBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		// One byte more decides between "exactly the limit" and "too large".
		p = p[:min(len(p), 1)]
	} else if b.left > 0 && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	if b.timer == nil {
		b.timer = time.AfterFunc(b.stall, func() {
			b.quiet.Store(true)
			b.cancel(errStalled)
		})
	} else {
		b.timer.Reset(b.stall)
	}
	n, err := b.body.Read(p)
	b.timer.Stop()
	if b.left == 0 && n > 0 {
		b.cancel(nil)
		return 0, BadGateway("upstream/size", "The platform's answer is too large.", nil)
	}
	if b.left > 0 {
		b.left -= int64(n)
	}
	// Giving up tells the other side, which may then end its answer as if it had
	// been complete: after a silence an end is none.
	if err != nil && b.quiet.Load() {
		return n, b.explain(b.caller, errStalled)
	}
	if err == nil || errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return n, err
	}
	return n, b.explain(b.caller, err)
}

// Close gives the connection back, or up.
func (b *replyBody) Close() error {
	if b.timer != nil {
		b.timer.Stop()
	}
	err := b.body.Close()
	b.cancel(nil)
	return err
}
