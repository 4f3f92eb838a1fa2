// Package egress is the app's way to everybody else: an authenticated forward
// proxy that lets out what a purpose declares, to the addresses that it checked,
// and looks into what is sent where the operator chose so.
//
// It promises that nothing is sent to a destination that no purpose declares (in
// report mode: that it is recorded), that the address that was judged is the
// address that is dialled, and that an inspected transfer is judged before it is
// complete. It must never pass on a credential of ours.
package egress

import (
	"context"

	"gatehouse"
)

// Transfer is one request on its way to somebody else.
type Transfer struct {
	Service gatehouse.ServiceName
	Purpose gatehouse.PurposeName
	// Destination is the host in lower case, without its port; Undeclared for one that
	// is not declared.
	Destination string
	// May are the kinds of data that the destination may have.
	May []gatehouse.DataClass
	// Report is set when what may not be sent is recorded and passes.
	Report bool
	// Entry is the entry of the transfer's intent in the log.
	Entry string
}

// Undeclared stands for every destination that is not declared, which report mode lets
// pass: its name is a text of the caller's, which may be somebody's, and there may be
// any number of them. The log has it, sealed.
const Undeclared = "(undeclared)"

// Where says in which part of a request something stands.
type Where string

// The parts of a request.
const (
	InURL    Where = "url"
	InHeader Where = "header"
	InBody   Where = "body"
)

// Inspector looks for people's data and for secrets in what is sent.
type Inspector interface {
	// Inspect begins with one request. Close what it returns.
	Inspect(Transfer) Inspection
}

// Inspection looks at one request. One goroutine owns it.
type Inspection interface {
	// Text looks at a text that is complete: an address, or a header or trailer, whose
	// name is as much the caller's choice as its value. name is "" for what has none.
	Text(where Where, name, value string)
	// Write looks at the next bytes of the body, decoded of any Content-Encoding.
	// It never fails.
	Write(p []byte) (int, error)
	// Judge returns how many bytes of the body, from its beginning, may be passed
	// on by now: it holds back what may yet turn out to be part of something. The
	// error is the refusal, which says nothing about what was found. When it is
	// nil, every flow that the bytes let go belong to is durable.
	Judge(context.Context) (int64, error)
	// End says that the body is complete, and judges the rest of it.
	End(context.Context) error
	// TakeBack says that the request was stopped after some of it was let go: that did
	// not leave, or may have. It changes what is on record of it, and nothing else.
	TakeBack(ctx context.Context, left bool) error
	// Close ends the inspection, also of a request that broke off.
	Close()
}
