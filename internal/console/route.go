package console

import (
	"fmt"
	"strings"
)

// Page is one page of the console with everything below it. The functions of this
// package that take a source return one; its zero value has no routes.
type Page struct{ routes []route }

// route is one row of the table of routes. get, post and stream make them.
type route struct {
	// pattern is net/http's, with a method.
	pattern string
	// permission is what the operator must hold. There is exactly one.
	permission Permission
	handler    handler
	// command marks what may change something: it came from a form of ours, was
	// decoded into its own type, and is answered by a redirect.
	command bool
	// fresh demands that who somebody is was proved a moment ago.
	fresh bool
	// live routes have no end, and places of their own.
	live bool
	// asset is a file of ours, the same for everybody.
	asset bool
	// signing routes are steps of signing in, which each source may take so often
	// while nobody is signed in.
	signing bool
}

// handler answers one visit, or says why it cannot.
type handler func(v *visit) error

// get is a route that shows something and changes nothing.
func get(pattern string, permission Permission, h handler) route {
	return route{pattern: "GET " + pattern, permission: permission, handler: h}
}

// demanding returns the route with the demand that the operator proved who they are
// a moment ago.
func (r route) demanding() route { r.fresh = true; return r }

// method returns the method that the pattern names, or "".
func (r route) method() string {
	method, _, found := strings.Cut(r.pattern, " ")
	if !found {
		return ""
	}
	return method
}

// path returns the pattern without its method.
func (r route) path() string { return strings.TrimPrefix(r.pattern, r.method()+" ") }

// check reports what keeps a route from being mounted.
func (r route) check() error {
	switch {
	case r.handler == nil:
		return fmt.Errorf("route %q has no handler", r.pattern)
	case !permissions[r.permission]:
		return fmt.Errorf("route %q has no permission that exists", r.pattern)
	case r.method() == "GET" && r.command, r.method() == "POST" && !r.command:
		return fmt.Errorf("route %q: what changes something is a command, and only that", r.pattern)
	case r.method() != "GET" && r.method() != "POST":
		return fmt.Errorf("route %q: a browser's form knows GET and POST", r.pattern)
	case r.fresh && r.permission == anyone:
		return fmt.Errorf("route %q: nobody's proof is fresh", r.pattern)
	}
	return nil
}

// Route is a row of the table of routes as tests and documents show it.
type Route struct {
	// Pattern is net/http's, with a method.
	Pattern    string
	Permission Permission
	// Fresh reports whether a recent proof is demanded, Live whether it is a stream.
	Fresh, Live bool
}

// Routes returns the table of routes, in the order in which they were mounted.
func (k *Console) Routes() []Route {
	out := make([]Route, 0, len(k.routes))
	for _, r := range k.routes {
		out = append(out, Route{Pattern: r.pattern, Permission: r.permission, Fresh: r.fresh, Live: r.live})
	}
	return out
}
