package egress

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/wire"
)

// actionRequest is one request inside a tunnel that is looked into.
const actionRequest = "egress.request"

// inspectedRequest is one request on its way to the destination. The handler's goroutine owns
// it; of the body, see judgedBody.
type inspectedRequest struct {
	*opened
	w http.ResponseWriter
	r *http.Request

	transfer  Transfer
	receipt   audit.Receipt
	began     time.Time
	websocket bool
	proto     string // what the log calls it

	status int          // of the destination's answer; 0 when there was none
	failed error        // why there was none
	sent   atomic.Int64 // bytes of content
	got    atomic.Int64

	// Set by whoever reads the body, which may be the transport's goroutine.
	stopped    atomic.Pointer[error] // the refusal that stopped the body
	unsearched atomic.Pointer[string]
	begun      atomic.Bool // the destination may have some of it
	cancel     context.CancelCauseFunc
}

// check refuses what is not a request to the tunnel's destination, before anything
// is recorded or sent.
func (s *inspectedRequest) check() error {
	r, t := s.r, s.in.Transfer
	refuse := func(rule, why string) error { return wire.Refuse(gatehouse.ErrDenied, rule, why) }
	misdirected := func() error {
		return wire.WithStatus(refuse("egress/authority", "the request names another host than the tunnel was asked for"), http.StatusMisdirectedRequest)
	}
	switch {
	case r.Method == http.MethodConnect:
		return refuse("egress/method", "there is no tunnel inside a tunnel that is looked into")
	case !s.names(r.Host):
		return misdirected()
	// HTTP/2 may bring both, and a path that is an address.
	case r.URL.Host != "" && !s.names(r.URL.Host), r.URL.Scheme != "" && r.URL.Scheme != "https", r.URL.User != nil:
		return misdirected()
	case slices.ContainsFunc(r.Header["Host"], func(h string) bool { return !s.names(h) }):
		return misdirected()
	}
	for name, values := range r.Header {
		if identity.Holds(strings.ToLower(name)) || slices.ContainsFunc(values, identity.Holds) {
			return errKeyInside("a header")
		}
	}
	for name := range r.Trailer {
		if identity.Holds(strings.ToLower(name)) {
			return errKeyInside("a trailer")
		}
	}
	if u := r.URL; identity.Holds(u.RequestURI()) || identity.Holds(u.Path) || identity.Holds(unescaped(u.RawQuery)) {
		return errKeyInside("the address")
	}
	s.transfer = t
	return nil
}

// names reports whether an authority is the tunnel's destination.
func (s *inspectedRequest) names(authority string) bool {
	host, port := authority, ""
	if i := strings.LastIndexByte(authority, ':'); i > strings.LastIndexByte(authority, ']') {
		host, port = authority[:i], authority[i+1:]
		if port != strconv.Itoa(int(s.in.Port)) {
			return false
		}
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		ip, err := netip.ParseAddr(host[1 : len(host)-1])
		return err == nil && ip.String() == s.in.Transfer.Destination
	}
	return strings.EqualFold(host, s.in.Transfer.Destination)
}

// describe is what the log says of the request. The method is a text of the caller's
// unless it is a known one.
func (s *inspectedRequest) describe(verdict, rule string) audit.Entry {
	t := s.in.Transfer
	return audit.Entry{
		Action: actionRequest, Service: t.Service, Purpose: t.Purpose, Verdict: verdict, Rule: rule,
		Facts: map[string]string{"host": t.Destination, "protocol": s.proto, "tunnel": s.in.Receipt.ID()},
	}
}

// refuse records a refusal before the intent.
func (s *inspectedRequest) refuse(err error) error {
	e := s.describe(verdictRefuse, wire.RuleOf(err))
	e.Status = wire.StatusOf(err)
	if s.proto == "" {
		e.Facts["protocol"] = protocolName(s.r)
	}
	wire.Annotate(s.w, wire.Note{Verdict: verdictRefuse})
	return wire.WithInstance(err, s.config.Log.Refusal(e))
}

func protocolName(r *http.Request) string {
	if r.ProtoMajor == 2 {
		return "h2"
	}
	return "http/1.1"
}

// run records the request, has its header judged, sends it and relays the answer.
func (s *inspectedRequest) run() (err error) {
	ctx, cancel := context.WithCancelCause(s.r.Context())
	defer cancel(nil)
	s.cancel, s.began, s.proto = cancel, time.Now(), protocolName(s.r)
	s.websocket = isWebSocket(s.r)
	kind := bodyKind(s.r)
	switch {
	case s.websocket:
		s.proto += " websocket"
	case kind == envelopedBody:
		s.proto += " grpc"
	}
	intent := s.describe(verdictAllow, "")
	if s.transfer.Report {
		intent.Verdict = verdictReport
	}
	if s.receipt, err = s.config.Log.Intent(context.WithoutCancel(ctx), intent); err != nil {
		if wire.RuleOf(err) != "" {
			return err
		}
		return wire.Public(errors.Join(gatehouse.ErrUnavailable, err), "the request cannot be recorded, so it is not made")
	}
	wire.Annotate(s.w, wire.Note{Verdict: intent.Verdict, Instance: s.receipt.ID()})
	s.transfer.Entry = s.receipt.ID()
	broke := true
	defer func() { s.end(err, broke) }()

	err = s.send(ctx, kind)
	broke = false
	return err
}

// send has the header judged and relays. It panics with http.ErrAbortHandler when an
// answer breaks off.
func (s *inspectedRequest) send(ctx context.Context, kind bodyShape) error {
	inspection := s.config.Inspector.Inspect(s.transfer)
	owned := true
	defer func() {
		if owned {
			s.over(inspection)
		}
	}()
	s.showHeader(inspection)
	if kind == plainBody {
		// It leaves before the body is complete; with any other it is judged at the end.
		if _, err := inspection.Judge(ctx); err != nil {
			return s.stop(err)
		}
	}
	// Messages are judged one by one, each in an inspection of its own.
	whole := !s.websocket && kind != envelopedBody && kind != noBody
	if !whole {
		if err := inspection.End(ctx); err != nil {
			return s.stop(err)
		}
	}
	// From here on what cannot wait is written while the app still sends.
	_ = http.NewResponseController(s.w).EnableFullDuplex() // HTTP/2 always does

	out := s.r.WithContext(ctx)
	var body *judgedBody
	if kind != noBody && !s.websocket {
		body = &judgedBody{request: s, ctx: ctx, src: s.r.Body, control: http.NewResponseController(s.w)}
		if whole {
			body.inspection, owned = inspection, false
		}
		defer body.finish()
		if err := body.prepare(kind); err != nil {
			return err
		}
		out.Body, out.GetBody = body, body.again()
	}
	tunnel := s.relay(out, body)
	if tunnel != nil {
		tunnel.wait()
	}
	if s.failed != nil {
		return s.cause(s.failed)
	}
	return s.cause(nil)
}

// relay sends the request and passes the answer on as it comes. It returns the
// WebSocket, if one came about.
func (s *inspectedRequest) relay(out *http.Request, body *judgedBody) (tunnel *socket) {
	var early earlyAnswers
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			restore(p)
			p.Out.URL.Scheme, p.Out.URL.Host = "https", s.authority()
			p.Out.Header.Del("Host")
			if s.websocket {
				// What is not compressed can be looked into as it comes.
				p.Out.Header.Del("Sec-Websocket-Extensions")
			} else {
				p.Out.Header.Del("Upgrade")
				p.Out.Header.Del("Connection")
			}
			if body != nil {
				p.Out.Trailer = body.trailer
			}
		},
		Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
			if body != nil {
				// ReverseProxy keeps the transport from closing the body, and so from
				// waking who reads it.
				r.Body = body
			}
			s.begun.Store(true)
			return s.destination.RoundTrip(r)
		}),
		ModifyResponse: func(reply *http.Response) error {
			if stopped := s.stopped.Load(); stopped != nil {
				return *stopped // some answer the half of a request that they got
			}
			s.status = reply.StatusCode
			if reply.StatusCode != http.StatusSwitchingProtocols {
				reply.Body = &countedBody{reply.Body, s}
				return nil
			}
			conn, ok := reply.Body.(io.ReadWriteCloser)
			if !ok || !s.websocket || reply.Header.Get("Sec-Websocket-Extensions") != "" {
				return wire.BadGateway("destination/protocol", "The destination changed to a protocol that it was not asked for.", nil)
			}
			tunnel = newSocket(out.Context(), s, conn)
			reply.Body = tunnel
			return nil
		},
		FlushInterval: -1,
		BufferPool:    copyBuffers{},
		ErrorLog:      slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) {
			if s.failed = err; early.refused.Load() {
				s.failed = errEarly // HTTP/2 says only that the stream is over
			}
		},
	}
	proxy.ServeHTTP(s.w, out.WithContext(early.watch(out.Context())))
	return tunnel
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// restore gives the request back what ReverseProxy took from it: it is a proxy of the
// app's, and no part of the destination's site.
func restore(p *httputil.ProxyRequest) {
	p.Out.URL.RawQuery = p.In.URL.RawQuery
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values, ok := p.In.Header[name]; ok {
			p.Out.Header[name] = values
		}
	}
}

// authority is where the destination's address leads in a request.
func (s *inspectedRequest) authority() string {
	host := s.in.Transfer.Destination
	if s.in.Port != 443 {
		return net.JoinHostPort(host, strconv.Itoa(int(s.in.Port)))
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// showHeader has everything looked at that is sent before the body.
func (s *inspectedRequest) showHeader(inspection Inspection) {
	r := s.r
	inspection.Text(InURL, "", r.URL.RequestURI())
	if !plainMethod(r.Method) {
		inspection.Text(InHeader, ":method", r.Method)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, value := range r.Header[name] {
			inspection.Text(InHeader, name, value)
		}
	}
	// Trailers are announced in the header, and their names leave with it.
	for _, name := range slices.Sorted(maps.Keys(r.Trailer)) {
		inspection.Text(InHeader, name, "")
	}
}

// plainMethod reports whether a method is one that says nothing else.
func plainMethod(m string) bool {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// stop notes the refusal that stops the request and breaks off what is under way.
func (s *inspectedRequest) stop(err error) error {
	if s.stopped.CompareAndSwap(nil, &err) && s.cancel != nil {
		if s.websocket {
			// Some servers take a message that a proper end of the connection cuts off for
			// a whole one. There is no other request on this connection.
			s.destination.Break()
		}
		s.cancel(err)
	}
	return *s.stopped.Load()
}

// over closes an inspection of the request. What it let go of a request that was then
// stopped has not left, or may have: that is on record before the caller is told.
func (s *inspectedRequest) over(i Inspection) {
	defer i.Close()
	stopped := s.stopped.Load()
	if stopped == nil || wire.RuleOf(*stopped) == ruleGone {
		return
	}
	takeBack(context.WithoutCancel(s.r.Context()), i, s.begun.Load(), s.config.Logger)
}

// takeBack has what is on record of a request that was stopped say so. If that cannot
// be noted, it says too much rather than too little.
func takeBack(ctx context.Context, i Inspection, left bool, logger *slog.Logger) {
	if err := i.TakeBack(ctx, left); err != nil {
		logger.WarnContext(ctx, "what was let go of a request that was stopped stays on record as passed", slog.String("error", wire.LogText(err)))
	}
}

// unread refuses what cannot be looked into, or in report mode notes it and returns
// nil.
func (s *inspectedRequest) unread(rule, why string) error {
	if s.transfer.Report {
		s.unsearched.CompareAndSwap(nil, &rule)
		return nil
	}
	return s.stop(wire.Refuse(gatehouse.ErrDenied, rule, why))
}

// cause is what ended the request: our own refusal before what followed from it.
func (s *inspectedRequest) cause(err error) error {
	if stopped := s.stopped.Load(); stopped != nil {
		return *stopped
	}
	return err
}

// end records the outcome.
func (s *inspectedRequest) end(err error, broke bool) {
	err = s.cause(err)
	sent, got := s.sent.Load(), s.got.Load()
	s.in.Carried.Sent.Add(sent)
	s.in.Carried.Received.Add(got)
	e := s.describe(verdictDone, "")
	e.Status, e.Bytes = s.status, sent
	e.Facts["sent"], e.Facts["received"] = strconv.FormatInt(sent, 10), strconv.FormatInt(got, 10)
	e.Facts["took"] = time.Since(s.began).Round(time.Millisecond).String()
	if rule := s.unsearched.Load(); rule != nil {
		e.Facts["unsearched"] = *rule
	}
	switch {
	case err != nil:
		e.Verdict, e.Rule = verdictFailed, wire.RuleOf(err)
		if s.stopped.Load() != nil || errors.Is(err, context.Canceled) {
			e.Verdict = verdictAborted
		}
		if e.Rule == "" && errors.Is(err, context.Canceled) {
			e.Rule = ruleGone
		}
		if e.Status == 0 {
			e.Status = wire.StatusOf(err)
		}
	case broke:
		e.Verdict, e.Rule = verdictAborted, "egress/broken-answer"
	}
	s.config.Log.Outcome(s.receipt, e)
	wire.Annotate(s.w, wire.Note{Verdict: e.Verdict})
}

// countedBody counts what the destination answers.
type countedBody struct {
	io.ReadCloser
	request *inspectedRequest
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.request.got.Add(int64(n))
	return n, err
}
