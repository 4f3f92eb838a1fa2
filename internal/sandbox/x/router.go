package x

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// authKind is a set of ways to authenticate.
type authKind uint8

const (
	appOnly authKind = 1 << iota
	oauth2User
	oauth1User

	userAuth = oauth2User | oauth1User
	anyAuth  = appOnly | userAuth
)

// String lists the kinds in the words of X's refusals.
func (k authKind) String() string {
	var names []string
	for _, kind := range []struct {
		bit  authKind
		name string
	}{
		{oauth1User, "OAuth 1.0a User Context"}, {oauth2User, "OAuth 2.0 User Context"}, {appOnly, "OAuth 2.0 Application-Only"},
	} {
		if k&kind.bit != 0 {
			names = append(names, kind.name)
		}
	}
	return strings.Join(names, ", ")
}

// operation is one operation of API v2.
type operation struct {
	// id is X's operationId.
	id string
	// route is "METHOD /path/{parameter}".
	route string
	auth  authKind
	// scopes are needed, all of them, with an OAuth 2.0 user token.
	scopes string
	// appLimit and userLimit are the documented limits, such as "75/15m" or
	// "50/15m 1000/24h"; empty means that X documents none.
	appLimit, userLimit string
	// query names the query parameters taken; anything else is refused.
	query []string
	// status is that of success; zero means 200.
	status int
	// handle answers with the reply's JSON value, holding Platform.mu.
	handle func(*Platform, *call) (any, error)
	// unlocked marks a handle that takes Platform.mu itself, because it waits
	// for the network.
	unlocked bool
	// stream answers in place of handle, for as long as the caller stays.
	stream func(*Platform, *call, http.ResponseWriter) error
}

// call is one request to an operation.
type call struct {
	op    *operation
	r     *http.Request
	path  map[string]string
	query url.Values
	body  []byte
	who   caller
}

// router finds operations by method and path. The standard mux cannot hold X's
// paths: /2/broadcasts/scheduled/{id} and /2/broadcasts/{id}/chat overlap.
type router struct {
	routes []route
}

type route struct {
	method   string
	segments []string
	op       *operation
}

func newRouter(operations []operation) *router {
	t := &router{}
	for i := range operations {
		t.add(&operations[i])
	}
	return t
}

// add registers an operation. A malformed limit in the table is a programmer's
// mistake and is found at start.
func (t *router) add(op *operation) {
	method, path, _ := strings.Cut(op.route, " ")
	for _, limit := range []string{op.appLimit, op.userLimit} {
		if _, err := parseLimits(limit); err != nil {
			panic(fmt.Sprintf("operation %s: %v", op.id, err))
		}
	}
	t.routes = append(t.routes, route{method, strings.Split(path, "/"), op})
}

// has reports whether a route is already taken, whatever its parameters are
// called.
func (t *router) has(method, path string) bool {
	segments := strings.Split(path, "/")
	return slices.ContainsFunc(t.routes, func(known route) bool {
		return known.method == method && slices.EqualFunc(known.segments, segments, func(a, b string) bool {
			return a == b || isParameter(a) && isParameter(b)
		})
	})
}

func isParameter(segment string) bool { return strings.HasPrefix(segment, "{") }

// find returns the operation for a request with its path parameters. Where two
// match, the one with the earlier literal segment wins. The last result tells
// whether the path exists with another method.
func (t *router) find(method, path string) (*operation, map[string]string, bool) {
	segments := strings.Split(path, "/")
	var best *route
	known := false
	for i := range t.routes {
		candidate := &t.routes[i]
		if !candidate.matches(segments) {
			continue
		}
		known = true
		if candidate.method == method && (best == nil || candidate.moreLiteral(best)) {
			best = candidate
		}
	}
	if best == nil {
		return nil, nil, known
	}
	parameters := make(map[string]string)
	for i, segment := range best.segments {
		if isParameter(segment) {
			parameters[strings.Trim(segment, "{}")] = segments[i]
		}
	}
	return best.op, parameters, true
}

func (t *route) matches(segments []string) bool {
	if len(segments) != len(t.segments) {
		return false
	}
	for i, segment := range t.segments {
		if isParameter(segment) && segments[i] != "" {
			continue
		}
		if segment != segments[i] {
			return false
		}
	}
	return true
}

func (t *route) moreLiteral(other *route) bool {
	for i := range t.segments {
		mine, theirs := isParameter(t.segments[i]), isParameter(other.segments[i])
		if mine != theirs {
			return theirs
		}
	}
	return false
}

// maxBody bounds what any operation reads; uploads are the largest.
const maxBody = 64 << 20

// readBody reads a body up to the bound.
func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, invalidRequest("", "", "The request body could not be read.")
	}
	if len(body) > maxBody {
		return nil, errTooLarge
	}
	return body, nil
}

// isForm reports whether the request's body is a form, whose fields OAuth 1.0a
// signs.
func isForm(r *http.Request) bool {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && mediaType == "application/x-www-form-urlencoded"
}

// serveAPI serves the operations: find, authenticate, authorise, limit, work.
func (p *Platform) serveAPI(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	op, path, known := p.routes.find(r.Method, r.URL.Path)
	if op == nil {
		if known {
			sendError(w, plainProblem(http.StatusMethodNotAllowed, "Method Not Allowed"))
			return
		}
		sendError(w, plainProblem(http.StatusNotFound, "Not Found"))
		return
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		sendError(w, invalidRequest("", "", "The query string could not be read."))
		return
	}
	body, err := readBody(r)
	if err != nil {
		sendError(w, err)
		return
	}
	c := &call{op: op, r: r, path: path, query: query, body: body}
	if err := p.admit(w, c); err != nil {
		sendError(w, err)
		return
	}
	if op.stream != nil {
		if err := op.stream(p, c, w); err != nil {
			sendError(w, err)
		}
		return
	}
	status, reply, err := p.perform(c)
	w.Header().Set("X-Response-Time", fmt.Sprint(time.Since(started).Milliseconds()))
	if err != nil {
		sendError(w, err)
		return
	}
	send(w, status, jsonType, reply)
}

// admit authenticates the caller and checks kind, scopes, parameters and limits,
// in the order in which X reports them.
func (p *Platform) admit(w http.ResponseWriter, c *call) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	who, err := p.authenticate(c.r, c.body)
	if err != nil {
		return v2AuthError(err)
	}
	c.who = who
	if c.op.auth != 0 && c.op.auth&who.kind == 0 {
		return &problem{http.StatusForbidden, map[string]any{
			"title": "Unsupported Authentication",
			"detail": fmt.Sprintf("Authenticating with %s is forbidden for this endpoint.  Supported authentication types are [%s].",
				who.kind, c.op.auth),
			"type":   "https://api.twitter.com/2/problems/unsupported-authentication",
			"status": http.StatusForbidden,
		}}
	}
	if who.kind == oauth2User {
		for _, scope := range strings.Fields(c.op.scopes) {
			if !slices.Contains(who.token.scopes, scope) {
				return forbidden("Forbidden")
			}
		}
	}
	if who.kind == oauth1User && who.token.readOnly && c.r.Method != http.MethodGet {
		return &problem{http.StatusForbidden, map[string]any{
			"title":  "Forbidden",
			"detail": "Your client app is not configured with the appropriate oauth1 app permissions for this endpoint.",
			"type":   problemBase + "oauth1-permissions",
			"status": http.StatusForbidden,
		}}
	}
	if err := p.limits.take(w.Header(), c.op, who, p.config.App.ID, p.now()); err != nil {
		return err
	}
	return c.checkQuery()
}

// v2AuthError puts a failed authentication in the words of API v2. A timestamp
// out of bounds keeps its own code there too.
func v2AuthError(err error) error {
	if errors.Is(err, errTimestamp) {
		return err
	}
	if errors.Is(err, errSuspended) {
		return forbidden(errSuspended.message)
	}
	return unauthorized()
}

// checkQuery refuses parameters that the operation does not have, and doubled
// ones.
func (c *call) checkQuery() error {
	for name, values := range c.query {
		if !slices.Contains(c.op.query, name) {
			return invalidRequest(name, values[0], fmt.Sprintf("The query parameter [%s] is not one of [%s]", name, strings.Join(c.op.query, ",")))
		}
		if len(values) > 1 {
			return invalidRequest(name, values[1], fmt.Sprintf("The query parameter [%s] can not be specified more than once", name))
		}
	}
	return nil
}

// perform runs the operation and renders its reply while the state cannot
// change.
func (p *Platform) perform(c *call) (int, []byte, error) {
	if !c.op.unlocked {
		p.mu.Lock()
		defer p.mu.Unlock()
	}
	value, err := c.op.handle(p, c)
	if err != nil {
		return 0, nil, err
	}
	if !c.op.unlocked {
		p.use(c, value)
	}
	status := c.op.status
	if status == 0 {
		status = http.StatusOK
	}
	return status, encode(value), nil
}
