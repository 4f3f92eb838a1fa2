package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/budget"
	"gatehouse/internal/connect"
	"gatehouse/internal/identity"
	"gatehouse/internal/platform"
	"gatehouse/internal/policy"
	"gatehouse/internal/wire"
)

// call is one request on its way. One goroutine, the handler's, owns it; only
// the reader of an upload may run in another, and it has its own state.
type call struct {
	gateway  *Gateway
	settings *Settings
	w        http.ResponseWriter
	r        *http.Request

	// Set by read.
	at      route
	asGraph bool // the body was read as Graph reads it
	query   params
	body    body
	shown   presented

	// Set by identify.
	handle  identity.Handle
	service Service

	// Set by classify, openBatch and decide.
	class    platform.Call
	batch    *batch
	decision policy.Decision
	narrow   *platform.Narrowing // what the reply is narrowed to; nil: it is passed on whole
	seen     *Observation        // what is observed of it; nil: nothing, or its items
	keyed    bool                // the reply has each node under its id

	// Set by afford: what was asked of the budgets, of a batch for each item.
	asked  []budget.Call
	ticket *budget.Ticket

	// Set by enter, admit and begin.
	releases   []func()
	hurried    *hurriedBody // the body, if it has to tell who calls
	begun      time.Time    // a moment before the intent was written
	sends      int          // how often the request was sent
	receipt    audit.Receipt
	credential *connect.Credential
	known      []platform.Known        // what was sent, to be kept out of the reply
	cut        context.CancelCauseFunc // ends a stream

	// The platform's own ids of those who call; see backToMe.
	own map[gatehouse.ConnectionID]string

	went   Done // what is told of it, if anybody wants to know
	traced bool // it is said which trace it belongs to

	// What the outcome says.
	status int
	bytes  int64
	said   string // class of what the platform said, such as "throttled"
}

// release gives back what admit took.
func (c *call) release() {
	for _, f := range slices.Backward(c.releases) {
		f()
	}
	c.releases = nil
}

// enter takes a place among the calls under way.
func (c *call) enter(ctx context.Context) error {
	unheard := c.r.ContentLength != 0 && !c.announced(ctx)
	release, err := c.gateway.limits.enter(unheard)
	if err != nil {
		return err
	}
	c.releases = append(c.releases, release)
	if unheard {
		c.hurried = &hurriedBody{ReadCloser: c.r.Body, until: time.Now().Add(c.gateway.config.Limits.UnheardTime)}
		c.r.Body = c.hurried
	}
	return nil
}

// announced reports whether the header or the query names a handle that may be
// used. It decides nothing more than where the call waits: identify looks at the
// whole request.
func (c *call) announced(ctx context.Context) bool {
	found, err := fromHeader(c.r.Header)
	if err != nil {
		return false
	}
	if found.text == "" {
		query, err := parseParams(c.r.URL.RawQuery, "query")
		if err != nil {
			return false
		}
		found.text, _ = query.get("access_token")
	}
	if identity.Looks(found.text) != identity.HandleForm {
		return false
	}
	_, err = c.gateway.authenticate(ctx, found.text)
	return err == nil
}

// hurriedBody fails when a body trickles in while nobody knows who sends it.
type hurriedBody struct {
	io.ReadCloser
	until time.Time // zero: no bound any more
}

func (b *hurriedBody) Read(p []byte) (int, error) {
	if !b.until.IsZero() && time.Now().After(b.until) {
		return 0, wire.WithStatus(wire.Refuse(gatehouse.ErrInvalid, "limit/slow-body",
			"the body came too slowly; send the handle in the Authorization header, so that it is known at once who calls"), http.StatusRequestTimeout)
	}
	return b.ReadCloser.Read(p)
}

// read finds the route, the parameters and the handle.
func (c *call) read(context.Context) error {
	var err error
	if c.at, err = c.gateway.findRoute(c.r); err != nil {
		return err
	}
	if to := platform.HeaderOverride(c.r.Method, c.r.Header); to != "" {
		return wire.Refuse(gatehouse.ErrDenied, policy.RuleMethodOverride, "the request overrides its method in a header; send it with the method that is meant")
	}
	if c.query, err = parseParams(c.r.URL.RawQuery, "query"); err != nil {
		return err
	}
	limits := c.gateway.config.Limits
	if c.body, err = readBody(c.w, c.r, limits.InspectBytes, limits.BodyBytes); err != nil {
		return err
	}
	// The way the body was read must be the way of the platform that the handle
	// turns out to belong to; classify compares.
	if c.asGraph = c.at.likelyGraph(); c.asGraph {
		if err := c.readFields(limits.InspectBytes); err != nil {
			return err
		}
	}
	// X's OAuth endpoints take forms; twitter-api-v2 sends them JSON.
	if !c.asGraph && c.body.kind == bodyJSON && c.at.oauthPath() {
		if c.body.members, err = parseMembers(c.body.bytes); err != nil {
			return err
		}
		c.body.params = memberParams(c.body.members)
	}
	for _, in := range []struct {
		params params
		where  string
	}{{c.query, "query"}, {c.body.params, "body"}} {
		if err := in.params.check(credentialNames, in.where); err != nil {
			return err
		}
	}
	c.shown, err = find(c.r, c.query, c.body.params)
	return err
}

// readFields reads what Graph takes for parameters in JSON and multipart bodies.
func (c *call) readFields(inspect int64) (err error) {
	switch c.body.kind {
	case bodyJSON:
		if c.body.members, err = parseMembers(c.body.bytes); err != nil {
			return err
		}
		c.body.params = memberParams(c.body.members)
	case bodyLargeJSON:
		return errTooLarge("limit/inspected-body",
			"a JSON body must be read before it is judged, and this one is larger than the limit for that; send files as multipart/form-data")
	case bodyMultipart:
		return c.body.readParts(inspect)
	}
	return nil
}

// identify finds out who calls.
func (c *call) identify(ctx context.Context) error {
	if c.shown.text == "" && c.shown.at != inOAuth1 {
		// A batch may carry its handles in its items alone.
		text, err := c.firstItemHandle()
		if err != nil {
			return err
		}
		if text == "" {
			return errNoHandle()
		}
		c.shown.text, c.shown.at = text, inBatch
	}
	var err error
	if c.shown.at == inOAuth1 {
		c.handle, err = c.authenticateOAuth1(ctx)
	} else {
		c.handle, err = c.gateway.authenticate(ctx, c.shown.text)
	}
	if err != nil {
		return err
	}
	service, ok := c.settings.Services[c.handle.ServiceName]
	if !ok {
		return wire.Refuse(gatehouse.ErrDenied, "refuse/unknown-service", "the handle's service is not in the configuration")
	}
	c.service = service
	if c.hurried != nil {
		c.hurried.until = time.Time{} // it is known who sends the rest
	}
	if !service.accepts(c.shown.at) {
		return wire.Refuse(gatehouse.ErrDenied, "refuse/position",
			"the configuration does not let this service send its handle in "+c.shown.at.String())
	}
	if err := c.checkSource(ctx); err != nil {
		return err
	}
	return c.at.settle(c.handle.Platform)
}

// checkSource refuses other networks than the service's own, and has a new
// source recorded.
func (c *call) checkSource(ctx context.Context) error {
	from, err := netip.ParseAddrPort(c.r.RemoteAddr)
	if err != nil {
		if len(c.service.Sources) == 0 {
			return nil // a Unix socket has no address
		}
		return wire.Refuse(gatehouse.ErrDenied, "refuse/source", "the service is bound to networks, and this connection has no address")
	}
	if err := identity.CheckSource(c.service.Sources, from.Addr()); err != nil {
		return err
	}
	_, err = c.gateway.config.Handles.SeenSource(ctx, c.handle, from.Addr())
	return err
}

// classify names the call.
func (c *call) classify(context.Context) error {
	if c.at.platform.Graph() != c.asGraph {
		return wire.Refuse(gatehouse.ErrInvalid, "refuse/route-disagrees", "the path is not one of the platform that the handle belongs to")
	}
	if c.shown.at == inOAuth1 && c.at.platform != platform.X {
		return wire.Refuse(gatehouse.ErrInvalid, "refuse/oauth1", "only calls to X are signed with OAuth 1.0a; send the handle as a bearer token")
	}
	class, err := platform.Classify(c.at.platform, c.r.Method, c.at.path, c.judgedParams())
	if err != nil {
		return classifyError(err)
	}
	c.class = class
	// Anywhere else a lenient reader would look for parameters in it.
	if c.body.kind == bodyMedia && c.at.platform.Graph() && class.Role != platform.RoleUpload && class.Pattern != "/upload:{session}" {
		return errContentType("only upload sessions take media as the whole body; send files as multipart/form-data")
	}
	if c.shown.at == inOperand && class.Endpoint == platform.None {
		return errNoHandle()
	}
	if class.Batch && c.at.platform == platform.X {
		return wire.Refuse(gatehouse.ErrDenied, policy.RuleUnknownOperation, "X has no batches")
	}
	return nil
}

// judgedParams are the parameters by which a call is named: those of the query,
// and for Graph those of the body, which it reads alike.
func (c *call) judgedParams() url.Values {
	v := c.query.values()
	if !c.at.platform.Graph() && c.body.kind != bodyForm && !c.at.oauthPath() {
		return v
	}
	for i := range c.body.params {
		p := &c.body.params[i]
		v[p.key] = append(v[p.key], p.value)
	}
	return v
}

// classifyError words an error of platform.Classify for the caller.
func classifyError(err error) error {
	switch {
	case errors.Is(err, platform.ErrHostilePath):
		return wire.Refuse(gatehouse.ErrInvalid, "refuse/path", "the path could be read in more than one way ("+reasonOf(err, platform.ErrHostilePath)+"); write it plainly")
	case errors.Is(err, platform.ErrAmbiguous):
		return wire.Refuse(gatehouse.ErrInvalid, "refuse/ambiguous-parameter", "a parameter that decides what the call does could be read in more than one way; give it once, by its plain name")
	case errors.Is(err, platform.ErrTooLarge):
		return wire.Refuse(gatehouse.ErrInvalid, "refuse/parameters", "a parameter that decides what the call does is too long")
	case errors.Is(err, platform.ErrSyntax):
		return wire.Refuse(gatehouse.ErrInvalid, "refuse/parameters", "a field expansion, batch or list of ids cannot be parsed")
	}
	return err
}

// reasonOf is the text that platform puts behind its sentinel; it never holds
// what the caller wrote.
func reasonOf(err, sentinel error) string {
	text, start := err.Error(), sentinel.Error()+": "
	if _, why, ok := strings.Cut(text, start); ok {
		return why
	}
	return "it is not plain"
}

// decide asks the policy about the call and all it implies.
func (c *call) decide(context.Context) error {
	operations := make([]gatehouse.Operation, 0, 4)
	unknown, override := c.class.Unknown, c.class.Override
	if c.batch == nil {
		operations = append(operations, gatehouse.Operation(c.class.Operation))
		for _, op := range c.class.Implied {
			operations = append(operations, gatehouse.Operation(op))
		}
		d, seen, err := c.ask(c.handle, c.service, operations, unknown, override, c.class.Endpoint, c.carries)
		c.decision, c.narrow, c.seen = d, c.settings.narrowing(d, c.at.platform), seen
		c.keyed = c.narrow != nil && c.at.platform.Graph() && c.judgedParams().Has("ids")
		return err
	}
	return c.batch.decide(c)
}

// ask judges operations for one handle. Where a contract bounds what the request
// carries, carries reads that into the question. The error is the refusal; of what
// is allowed, it returns what is to be observed.
func (c *call) ask(h identity.Handle, s Service, operations []gatehouse.Operation, unknown bool, override string, e platform.Endpoint,
	carries func(headings, *policy.Request) error,
) (policy.Decision, *Observation, error) {
	r := policy.Request{
		Service: h.ServiceName, Allowed: s.Purposes, Purpose: h.Purpose, Platform: h.Platform, App: h.App,
		Operations: operations, Unknown: unknown, Override: override,
	}
	var read headings
	if contract := c.settings.Policy.Contract(h.Purpose, operations[0]); contract != nil && override == "" {
		read = bounds(contract)
		if err := carries(read, &r); err != nil {
			return policy.Decision{}, nil, err
		}
	}
	d := c.settings.Policy.Decide(r)
	if refusal := refusedEndpoints[e]; refusal != "" {
		return d, nil, wire.Refuse(gatehouse.ErrDenied, "refuse/oauth-endpoint", refusal)
	}
	// Asking about one's own handle opens nothing, and giving up access is always
	// allowed: neither needs a declaration.
	needless := d.Rule == policy.RuleUndeclaredCall && undeclaredEndpoints[e] != ""
	if !d.Allow && needless {
		return policy.Decision{Allow: true, Rule: undeclaredEndpoints[e]}, nil, nil
	}
	if !d.Allow {
		return d, nil, wire.Refuse(gatehouse.ErrDenied, d.Rule, d.Reason)
	}
	if needless {
		return d, nil, nil
	}
	return d, c.used(&r, read, d, carries), nil
}

// admit applies the limits.
func (c *call) admit(context.Context) error {
	cost := 1
	if c.batch != nil {
		cost = len(c.batch.items)
	}
	limits := c.gateway.limits
	if err := limits.admit(c.handle.ServiceName, c.service, cost); err != nil {
		return err
	}
	if c.class.Streaming {
		release, err := limits.openStream(c.handle.ServiceName, c.service)
		if err != nil {
			return err
		}
		c.releases = append(c.releases, release)
	}
	return nil
}
