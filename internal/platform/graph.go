package platform

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// control are the parameters that decide what a Graph call does. Graph reads
// names as PHP does and takes the last of duplicates, others the first: a call
// that gives one of these twice or in another spelling is refused.
var control = []string{"method", "ids", "id", "fields", "batch", "access_token", "appsecret_proof", "appsecret_time", "relative_url"}

// checkControl returns ErrAmbiguous if two readers of params could disagree
// about a control parameter.
func checkControl(params url.Values) error {
	for key, values := range params {
		name := phpName(key)
		if !slices.Contains(control, name) {
			continue
		}
		if key != name {
			return fmt.Errorf("%w: %s is not spelled plainly", ErrAmbiguous, name)
		}
		if len(values) > 1 {
			return fmt.Errorf("%w: %s is given %d times", ErrAmbiguous, name, len(values))
		}
	}
	return nil
}

// graphVersion reports whether s is a version prefix such as v25.0.
func graphVersion(s string) bool {
	rest, ok := strings.CutPrefix(s, "v")
	major, minor, dot := strings.Cut(rest, ".")
	return ok && dot && digits(major, 3) && digits(minor, 2)
}

func classifyGraph(p Name, method string, segments []string, params url.Values) (Call, error) {
	if err := checkControl(params); err != nil {
		return Call{}, err
	}
	version := ""
	rest := segments
	if graphVersion(rest[0]) {
		version, rest = rest[0], rest[1:]
	} else if len(rest) > 1 && graphVersion(rest[1]) && (rest[0] == "video-upload" || rest[0] == "ig-api-upload") {
		// The upload host puts the version second.
		version, rest = rest[1], slices.Concat(rest[:1], rest[2:])
	}
	if len(rest) == 1 && rest[0] == "" {
		rest = nil // "/" or "/v25.0/"
	}
	for _, s := range rest {
		switch {
		case s == "":
			return Call{}, hostile("it ends with a slash")
		case edgeFold(p, s) || graphVersion(strings.ToLower(s)) && !graphVersion(s):
			return Call{}, hostile("a segment is a known word in another case")
		}
	}
	call, err := graphCall(p, method, rest, params)
	if err != nil {
		return Call{}, err
	}
	call.Version = version
	if _, ok := params["batch"]; ok {
		call.Batch = true
		if call.Pattern != "/" {
			call = unknown(method) // a batch belongs at the root and nowhere else
			call.Batch = true
		}
	}
	if m := strings.ToUpper(params.Get("method")); m != "" && m != method {
		call.Override = m
	}
	return call, nil
}

// graphCall names the call, without version, batch and override.
func graphCall(p Name, method string, segments []string, params url.Values) (Call, error) {
	ids, err := graphIDs(p, segments, params)
	if err != nil {
		return Call{}, err
	}
	pattern, values, allowed, r := graphPattern(p, segments, len(ids) > 0)
	var more []string
	if len(ids) > 0 {
		if pattern, values, more = withIDs(method, pattern, segments, ids); pattern == "" {
			return unknown(method), nil
		}
		allowed = idsMethods(p, pattern)
	}
	bit := methodBit(method)
	if pattern == "" || bit == 0 || allowed&bit == 0 {
		return unknown(method), nil
	}
	call := Call{
		Operation: method + " " + pattern, Method: method, Pattern: pattern, Params: values,
		Write: method != http.MethodGet, Idempotent: method != http.MethodPost,
		Auth: AuthToken, Role: r.role, Endpoint: r.endpoint, Implied: more,
	}
	if pattern == "/" {
		call.Batch = true
		return call, nil
	}
	refine(&call, params)
	if f := params.Get("fields"); f != "" {
		implied, err := impliedByFields(p, pattern, f)
		if err != nil {
			return Call{}, err
		}
		call.Implied = append(call.Implied, implied...)
	}
	return call, nil
}

// refine sets what depends on the pattern: the kind of OAuth endpoint and the host.
func refine(c *Call, params url.Values) {
	switch c.Pattern {
	case "/oauth/access_token", "/access_token", "/refresh_access_token":
		if params.Get("grant_type") != "" || c.Endpoint == TokenCode {
			c.Endpoint = tokenEndpoint(params)
		}
		c.Write, c.Idempotent = true, false // codes are single-use, and a GET makes a token
	case "/oauth/revoke":
		c.Write = true
	case "/{id}/permissions", "/me/permissions", "/{id}/permissions/{permission}", "/me/permissions/{permission}":
		c.Endpoint = Permissions
		if c.Method == http.MethodDelete {
			c.Endpoint = RemovePermissions
		}
	case "/{id}/videos", "/me/videos", "/{id}/advideos", "/me/advideos":
		if c.Method == http.MethodPost {
			c.Role = RoleVideo
		}
	}
}

// graphPattern finds the pattern of a path. An empty pattern means unknown. With
// ids the node stands in the parameter, so that an edge may stand first.
func graphPattern(p Name, segments []string, ids bool) (string, []Param, methods, root) {
	if len(segments) == 0 {
		if p == Facebook {
			return "/", nil, mPost, root{}
		}
		return "", nil, 0, root{}
	}
	path := strings.Join(segments, "/")
	if r, ok := roots[p][path]; ok && !ids {
		return "/" + path, nil, r.methods, r
	}
	first := segments[0]
	if session, ok := strings.CutPrefix(first, "upload:"); ok && len(segments) == 1 {
		r := roots[p]["upload:{session}"]
		return "/upload:{session}", []Param{{"session", session}}, r.methods, r
	}
	if r, ok := roots[p][first+"/{id}"]; ok && len(segments) == 2 && graphID(segments[1]) {
		return "/" + first + "/{id}", []Param{{"id", segments[1]}}, r.methods, r
	}
	node, params := nodePattern(p, first)
	if node == "" {
		return "", nil, 0, root{}
	}
	switch below := segments[1:]; len(below) {
	case 0:
		return node, params, nodeMethods[p], root{}
	case 1:
		return node + "/" + below[0], params, edgeMethods(p, below[0]), root{}
	default:
		for pattern, m := range extraPaths[p] {
			if more, ok := matchPath(pattern, below); ok {
				return node + "/" + pattern, append(params, more...), m, root{}
			}
		}
	}
	return "", nil, 0, root{}
}

// nodePattern names the first segment: me, an id, or a page's user name. A
// segment that is a root word or an edge is neither.
func nodePattern(p Name, s string) (string, []Param) {
	if s == "me" {
		return "/me", nil
	}
	if _, isRoot := roots[p][s]; isRoot || edgeMethods(p, s) != 0 {
		return "", nil
	}
	v, err := url.PathUnescape(s)
	switch {
	case err != nil:
		return "", nil
	case graphID(v):
		return "/{id}", []Param{{"id", v}}
	case vanity(v):
		return "/{username}", []Param{{"username", v}}
	}
	return "", nil
}

// graphID reports whether s has the form of a node's id: numbers ("1", "1_2",
// "act_1"), threads and messages ("t_…", "m_…"), or a long opaque id with a digit
// in it. Words are not ids: the Graph has operations whose names are words, and
// one that we do not know must not pass for a node.
func graphID(s string) bool {
	if number, ok := strings.CutPrefix(s, "act_"); ok {
		return digits(number, 30)
	}
	if len(s) <= 200 && numbers(s) {
		return true
	}
	opaque := each(s, func(c byte) bool { return alphanumeric(c) || strings.IndexByte("_-=.:+$", c) >= 0 })
	if !opaque || len(s) > 500 {
		return false
	}
	if strings.HasPrefix(s, "t_") || strings.HasPrefix(s, "m_") || strings.HasPrefix(s, "mid.") {
		return len(s) > 4
	}
	return len(s) >= 16 && strings.ContainsAny(s, "0123456789")
}

// numbers reports whether s is digits, or groups of them joined by underscores.
func numbers(s string) bool {
	for part := range strings.SplitSeq(s, "_") {
		if !digits(part, 30) {
			return false
		}
	}
	return true
}

// vanity reports whether s may be a page's user name. Such calls are operations
// of their own ("GET /{username}") and need their own declaration.
func vanity(s string) bool {
	return len(s) >= 5 && len(s) <= 50 && each(s, func(c byte) bool { return alphanumeric(c) || c == '.' }) && !digits(s, 50)
}

// matchPath matches a pattern with placeholders against segments.
func matchPath(pattern string, segments []string) ([]Param, bool) {
	parts := strings.Split(pattern, "/")
	if len(parts) != len(segments) {
		return nil, false
	}
	var out []Param
	for i, part := range parts {
		if name, ok := placeholder(part); ok {
			if !each(segments[i], func(c byte) bool { return alphanumeric(c) || c == '_' }) {
				return nil, false
			}
			out = append(out, Param{name, segments[i]})
		} else if part != segments[i] {
			return nil, false
		}
	}
	return out, true
}

// graphIDs returns the nodes that ids= names or, where the path has no node, id=.
// An id= beside a node in the path is an ordinary parameter.
func graphIDs(p Name, segments []string, params url.Values) ([]string, error) {
	_, many := params["ids"]
	_, one := params["id"]
	noNode := len(segments) == 0 || len(segments) == 1 && edgeMethods(p, segments[0]) != 0
	switch {
	case many && one && noNode:
		return nil, fmt.Errorf("%w: both id and ids name nodes", ErrAmbiguous)
	case one && noNode:
		return []string{params.Get("id")}, nil
	case !many:
		return nil, nil
	}
	list := params.Get("ids")
	if strings.HasPrefix(list, "{result=") {
		return []string{list}, nil
	}
	ids := strings.Split(list, ",")
	if len(ids) > 200 {
		return nil, fmt.Errorf("ids: %w: more than 200", ErrTooLarge)
	}
	for i, id := range ids {
		ids[i] = strings.TrimSpace(id)
		if ids[i] == "" {
			return nil, fmt.Errorf("%w: ids has an empty entry", ErrSyntax)
		}
	}
	return ids, nil
}

// withIDs names a call whose nodes stand in ids=: the path is empty, or one edge.
// The kinds of node beyond the first become implied operations.
func withIDs(method, pattern string, segments []string, ids []string) (string, []Param, []string) {
	suffix := ""
	switch {
	case len(segments) == 0:
	case len(segments) == 1 && pattern == "":
		suffix = "/" + segments[0]
	default:
		return "", nil, nil // a node in the path and nodes in ids: which is it?
	}
	var patterns []string
	var params []Param
	for _, id := range ids {
		var node string
		switch {
		case id == "me":
			node = "/me"
		case graphID(id) || resultReference(id):
			node = "/{id}"
		case strings.HasPrefix(id, "https://") || strings.HasPrefix(id, "http://"):
			node = "/{url}"
		case vanity(id):
			node = "/{username}"
		default:
			return "", nil, nil
		}
		params = append(params, Param{strings.Trim(node, "/{}"), id})
		if !slices.Contains(patterns, node+suffix) {
			patterns = append(patterns, node+suffix)
		}
	}
	var more []string
	for _, pattern := range patterns[1:] {
		more = append(more, method+" "+pattern)
	}
	return patterns[0], params, more
}

// idsMethods returns the methods of a pattern that withIDs made.
func idsMethods(p Name, pattern string) methods {
	if _, edge, ok := strings.Cut(pattern[1:], "/"); ok {
		return edgeMethods(p, edge)
	}
	return nodeMethods[p]
}

// impliedByFields returns the operations that a field expansion performs. Every
// name that is a readable edge of some node counts as that edge, at any depth and
// without braces too, since Graph then delivers the edge's first page; a name that
// is a plain field on every node implies nothing. On /me the first level's edges
// are the caller's own.
func impliedByFields(p Name, pattern, s string) ([]string, error) {
	fields, err := ParseFields(s)
	if err != nil {
		return nil, err
	}
	var out []string
	var walk func(node string, list []Field) error
	walk = func(node string, list []Field) error {
		for _, f := range list {
			// .as() would rename it, and there may be other ways to spell that.
			if len(f.Modifiers) > 0 && credentialMember(f.Name) {
				return fmt.Errorf("fields: %w: a credential cannot be renamed", ErrAmbiguous)
			}
			for _, m := range f.Modifiers {
				if strings.EqualFold(m.Name, "as") && (m.Argument == "id" || m.Argument == "user_id" || credentialMember(m.Argument)) {
					return fmt.Errorf("fields: %w: nothing can be renamed to %s, which says whose token it is", ErrAmbiguous, m.Argument)
				}
			}
			if edgeMethods(p, f.Name)&mGet != 0 {
				if op := "GET " + node + "/" + f.Name; !slices.Contains(out, op) {
					out = append(out, op)
				}
			}
			if err := walk("/{id}", f.Fields); err != nil {
				return err
			}
		}
		return nil
	}
	node := "/{id}"
	if pattern == "/me" {
		node = pattern
	}
	if err := walk(node, fields); err != nil {
		return nil, err
	}
	return out, nil
}

// normalizeGraph names a declared call. Whatever stands as a placeholder in the
// first segment is {id}, but for {username} and {url}, which are different kinds
// of node.
func normalizeGraph(p Name, method string, segments []string) string {
	if graphVersion(segments[0]) {
		segments = segments[1:]
	}
	if len(segments) == 1 && segments[0] == "" {
		segments = nil
	}
	bit := methodBit(method)
	if len(segments) == 0 {
		if p == Facebook && bit == mPost {
			return "POST /"
		}
		return ""
	}
	path := strings.Join(segments, "/")
	for pattern, r := range roots[p] {
		if samePattern(pattern, path) && r.methods&bit != 0 {
			return method + " /" + pattern
		}
	}
	node := "/" + segments[0]
	if name, ok := placeholder(segments[0]); ok {
		node = "/{id}"
		if name == "username" || name == "url" {
			node = "/{" + name + "}"
		}
	} else if node != "/me" {
		return ""
	}
	if len(segments) == 1 {
		if nodeMethods[p]&bit == 0 {
			return ""
		}
		return method + " " + node
	}
	if below := strings.Join(segments[1:], "/"); len(segments) == 2 {
		if edgeMethods(p, below)&bit != 0 {
			return method + " " + node + "/" + below
		}
	} else {
		for pattern, m := range extraPaths[p] {
			if samePattern(pattern, below) && m&bit != 0 {
				return method + " " + node + "/" + pattern
			}
		}
	}
	return ""
}

// samePattern compares two patterns, whatever their placeholders are called.
func samePattern(a, b string) bool {
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	if len(as) != len(bs) {
		return false
	}
	for i := range as {
		_, pa := placeholder(as[i])
		_, pb := placeholder(bs[i])
		if pa != pb || !pa && as[i] != bs[i] {
			return false
		}
	}
	return true
}
