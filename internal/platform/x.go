package platform

import (
	"net/http"
	"net/url"
	"strings"
)

// xOperation is one row of the generated table. Params holds one letter for each
// path parameter: what the document's pattern allows it to look like.
type xOperation struct {
	Method, Path, ID string
	Auth             Auth
	Scopes           string
	Streaming        bool
	Params           string
}

// xOther lists what X's OpenAPI document leaves out: the OAuth endpoints and the
// 1.1 endpoints that are still documented.
var xOther = []struct {
	xOperation
	endpoint Endpoint
}{
	{xOperation{http.MethodGet, "/2/oauth2/authorize", "", 0, "", false, ""}, Authorize},
	{xOperation{http.MethodPost, "/2/oauth2/token", "", 0, "", false, ""}, TokenCode},
	{xOperation{http.MethodPost, "/2/oauth2/revoke", "", 0, "", false, ""}, Revoke},
	{xOperation{http.MethodPost, "/oauth2/token", "", 0, "", false, ""}, TokenApp},
	{xOperation{http.MethodPost, "/oauth2/invalidate_token", "", 0, "", false, ""}, Invalidate},
	{xOperation{http.MethodPost, "/oauth/request_token", "", 0, "", false, ""}, RequestToken},
	{xOperation{http.MethodGet, "/oauth/authorize", "", 0, "", false, ""}, Authorize},
	{xOperation{http.MethodGet, "/oauth/authenticate", "", 0, "", false, ""}, Authorize},
	{xOperation{http.MethodPost, "/oauth/access_token", "", 0, "", false, ""}, AccessToken},
	{xOperation{http.MethodPost, "/1.1/oauth/invalidate_token", "", AuthOAuth1, "", false, ""}, Invalidate},
	{xOperation{http.MethodPost, "/1.1/oauth/invalidate_token.json", "", AuthOAuth1, "", false, ""}, Invalidate},
	{xOperation{http.MethodPost, "/1.1/statuses/update.json", "", AuthOAuth1, "", false, ""}, None},
}

// xNode is a node of the path tree. A literal child wins over the parameter.
type xNode struct {
	literals map[string]*xNode
	param    *xNode
	methods  map[string]*xLeaf
}

type xLeaf struct {
	xOperation
	endpoint  Endpoint
	operation string
	names     []string
	scopes    []string
}

// xTree is built once from the tables and only read afterwards.
var xTree = buildXTree()

func buildXTree() *xNode {
	root := &xNode{}
	for _, op := range xOperations {
		root.add(op, None)
	}
	for _, o := range xOther {
		root.add(o.xOperation, o.endpoint)
	}
	return root
}

func (n *xNode) add(op xOperation, e Endpoint) {
	leaf := &xLeaf{xOperation: op, endpoint: e, operation: op.Method + " " + op.Path, scopes: strings.Fields(op.Scopes)}
	for s := range strings.SplitSeq(op.Path[1:], "/") {
		if name, ok := placeholder(s); ok {
			leaf.names = append(leaf.names, name)
			if n.param == nil {
				n.param = &xNode{}
			}
			n = n.param
			continue
		}
		if n.literals == nil {
			n.literals = map[string]*xNode{}
		}
		if n.literals[s] == nil {
			n.literals[s] = &xNode{}
		}
		n = n.literals[s]
	}
	if n.methods == nil {
		n.methods = map[string]*xLeaf{}
	}
	n.methods[op.Method] = leaf
}

// placeholder recognises "{name}" and, as many pages write it, ":name".
func placeholder(s string) (string, bool) {
	if strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") && len(s) > 2 {
		return s[1 : len(s)-1], true
	}
	if strings.HasPrefix(s, ":") && len(s) > 1 {
		return s[1:], true
	}
	return "", false
}

func classifyX(method string, segments []string, params url.Values) (Call, error) {
	n := xTree
	var values []string
	for _, s := range segments {
		if next := n.literals[s]; next != nil {
			n = next
			continue
		}
		for word := range n.literals {
			if foldsTo(s, word) {
				return Call{}, hostile("a segment is a known word in another case")
			}
		}
		if n.param == nil || s == "" {
			if s == "" && len(segments) > 1 {
				return Call{}, hostile("it ends with a slash")
			}
			return unknown(method), nil
		}
		value, err := url.PathUnescape(s)
		if err != nil {
			return Call{}, hostile("an escape is not valid")
		}
		values = append(values, value)
		n = n.param
	}
	leaf := n.methods[method]
	if leaf == nil {
		return unknown(method), nil
	}
	call := Call{
		Operation: leaf.operation, Method: method, Pattern: leaf.Path,
		Write: method != http.MethodGet, Streaming: leaf.Streaming,
		Idempotent: method != http.MethodPost && !leaf.Streaming,
		Auth:       leaf.Auth, Scopes: leaf.scopes, Endpoint: leaf.endpoint, Role: RoleAPI,
	}
	if leaf.endpoint == TokenCode {
		call.Endpoint = tokenEndpoint(params)
	}
	for i, v := range values {
		if !xParam(leaf.kind(i), v) {
			return unknown(method), nil
		}
		call.Params = append(call.Params, Param{leaf.names[i], v})
	}
	return call, nil
}

// kind returns the class of the i-th path parameter; operations that the
// document of the table's day did not describe have free ones.
func (l *xLeaf) kind(i int) byte {
	if i < len(l.xOperation.Params) {
		return l.xOperation.Params[i]
	}
	return 't'
}

// xParam reports whether v can be a parameter of the class. A value that cannot
// makes the call unknown: it would reach some operation that we cannot name.
func xParam(kind byte, v string) bool {
	switch kind {
	case 'n': // a number
		return digits(v, 19)
	case 'c': // a conversation: one id, two ids, or a group
		a, b, two := strings.Cut(strings.TrimPrefix(v, "g"), "-")
		return digits(a, 19) && (!two || digits(b, 19))
	case 'a': // a short code
		return len(v) <= 50 && each(v, alphanumeric)
	case 'k': // a media key
		a, b, ok := strings.Cut(v, "_")
		return ok && digits(a, 20) && digits(b, 20)
	case 'u': // a user name
		return len(v) <= 15 && each(v, func(c byte) bool { return c == '_' || alphanumeric(c) })
	}
	return len(v) <= 200 && each(v, func(c byte) bool {
		return alphanumeric(c) || strings.IndexByte("-_~.=:+@,", c) >= 0
	})
}

// findX walks the tree with placeholders in the place of parameters. A concrete
// id where a parameter stands finds nothing.
func findX(method string, segments []string) *xLeaf {
	n := xTree
	for _, s := range segments {
		if _, ok := placeholder(s); ok {
			n = n.param
		} else {
			n = n.literals[s]
		}
		if n == nil {
			return nil
		}
	}
	return n.methods[method]
}

// normalizeX names a declared call, or returns "".
func normalizeX(method string, segments []string) string {
	if leaf := findX(method, segments); leaf != nil {
		return leaf.operation
	}
	return ""
}

// Limit is one documented limit: so many calls in a window of seconds.
type Limit struct{ Count, Seconds int }

// xLimits joins the documented limits to the operations, whatever the rate-limit
// page calls the placeholders.
var xLimits = func() map[string][2][]Limit {
	joined := map[string][2][]Limit{}
	for call, limits := range xDocumentedLimits {
		method, path, _ := strings.Cut(call, " ")
		if operation := normalizeX(method, strings.Split(path[1:], "/")); operation != "" {
			joined[operation] = limits
		}
	}
	return joined
}()

// Limits returns the limits that X documents for an operation: of the app's
// pool, and of each user's. Many operations have none documented.
func Limits(operation string) (app, user []Limit) {
	l := xLimits[operation]
	return l[0], l[1]
}
