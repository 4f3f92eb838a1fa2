package gateway

import (
	"net/http"
	"net/url"
	"strings"

	"gatehouse"
	"gatehouse/internal/platform"
	"gatehouse/internal/wire"
)

// route says which platform a request is for, as far as its address tells.
type route struct {
	platform platform.Name // "" when the handle has to tell
	role     platform.Role // by host name; the operation may ask for another
	byHost   bool
	path     string // escaped, without the gateway's prefix
	origin   string // scheme, host and prefix that the caller used, no slash at the end
}

// prefixes are the path prefixes of the app listener.
var prefixes = map[string]platform.Name{
	"x": platform.X, "meta": platform.Facebook, "instagram": platform.Instagram, "threads": platform.Threads,
}

// findRoute reads the address: the real host's name in the Host header, a
// prefix, or neither. Where both stand they must agree.
func (g *Gateway) findRoute(r *http.Request) (route, error) {
	if r.URL.Scheme != "" || r.URL.Host != "" || r.URL.Opaque != "" {
		return route{}, wire.Refuse(gatehouse.ErrInvalid, "refuse/absolute-target",
			"the request line holds a whole URL, as for a proxy; send the path alone")
	}
	if r.URL.Fragment != "" || r.URL.RawFragment != "" {
		return route{}, wire.Refuse(gatehouse.ErrInvalid, "refuse/path", "the request line holds a fragment")
	}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	at := route{path: rawPath(r), origin: scheme + r.Host}
	host := strings.ToLower(r.Host)
	if name, port, ok := strings.Cut(host, ":"); ok && (port == "443" || port == "80") {
		host = name
	}
	if p, role, ok := platform.HostOf(host); ok {
		if role == platform.RoleConsent {
			return route{}, wire.Refuse(gatehouse.ErrInvalid, "refuse/consent-page",
				"people agree at the platform itself, in their browser; begin a connection with POST /gatehouse/v1/connections")
		}
		if g.config.NoLegacyHosts && host == "api.twitter.com" {
			return route{}, wire.Refuse(gatehouse.ErrInvalid, "refuse/legacy-host", "the configuration does not accept the host name api.twitter.com; use api.x.com")
		}
		at.platform, at.role, at.byHost = p, role, true
		if role == platform.RoleUpload {
			at.platform = "" // Facebook and Instagram share their upload host
		}
	}
	if !strings.HasPrefix(at.path, "/") {
		return route{}, wire.Refuse(gatehouse.ErrInvalid, "refuse/path", "the path does not begin with a slash")
	}
	first, rest, _ := strings.Cut(at.path[1:], "/")
	if p, ok := prefixes[first]; ok {
		if at.platform != "" && at.platform != p {
			return route{}, wire.Refuse(gatehouse.ErrInvalid, "refuse/route-disagrees",
				"the host name and the path prefix name different platforms")
		}
		at.platform = p
		at.path = "/" + rest
		at.origin += "/" + first
	}
	return at, nil
}

// rawPath is the path as it stood in the request line. net/http's own decoding
// and re-encoding would hide what the caller wrote.
func rawPath(r *http.Request) string {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	if r.RequestURI == "" { // a request that a test or another handler made
		return r.URL.EscapedPath()
	}
	return path
}

// likelyGraph guesses the platform family of a request whose handle has not been
// read yet. It decides only how the body is searched for the handle.
func (at route) likelyGraph() bool {
	if at.platform != "" {
		return at.platform.Graph()
	}
	for _, x := range []string{"/2/", "/1.1/", "/oauth2/", "/oauth/request_token", "/oauth/authenticate"} {
		if strings.HasPrefix(at.path, x) {
			return false
		}
	}
	return true
}

// oauthPath reports whether the path is below those of X's OAuth endpoints.
func (at route) oauthPath() bool {
	for _, p := range []string{"/2/oauth2/", "/oauth2/", "/oauth/", "/1.1/oauth/"} {
		if strings.HasPrefix(at.path, p) {
			return true
		}
	}
	return false
}

// settle combines what the address says with the handle's platform.
func (at *route) settle(of gatehouse.Platform) error {
	p := platform.Name(of)
	if at.platform == "" {
		at.platform = p
		return nil
	}
	if at.platform != p {
		return wire.Refuse(gatehouse.ErrDenied, "refuse/route-disagrees",
			"the handle belongs to a connection at "+string(of)+", the address leads to "+string(at.platform))
	}
	return nil
}

// bases are the base URLs of one platform's hosts by role.
type bases map[platform.Role]*url.URL

// url returns where a call goes: nothing in it but path and query comes from
// the caller.
func (b bases) url(role platform.Role, path, rawQuery string) *url.URL {
	base := b[role]
	if base == nil {
		base = b[platform.RoleAPI]
	}
	u := *base
	escaped := strings.TrimSuffix(u.EscapedPath(), "/") + path
	u.RawQuery = rawQuery
	// The path was checked by platform.Classify: it decodes without surprises.
	if decoded, err := url.PathUnescape(escaped); err == nil {
		u.Path, u.RawPath = decoded, escaped
	}
	return &u
}
