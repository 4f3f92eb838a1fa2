package connect

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"gatehouse"
)

// returnRule is one entry of the return-URL allowlist.
//
// An entry is either exact (scheme, host with port, path and query must be the
// same) or, when its path ends in "/*", a prefix: the same scheme and host, and
// any path below, with any query. Nothing else is a pattern: a host is never
// matched in part. http is allowed for loopback hosts only.
type returnRule struct {
	scheme, host, path, query string
	below                     bool
}

// parseReturnRule reads one entry of the allowlist.
func parseReturnRule(entry string) (returnRule, error) {
	text, below := strings.CutSuffix(entry, "/*")
	if below {
		text += "/"
	}
	u, err := parseReturn(text)
	if err != nil {
		return returnRule{}, fmt.Errorf("return URL %q: %w", entry, err)
	}
	if below && u.RawQuery != "" {
		return returnRule{}, fmt.Errorf("return URL %q: a prefix has no query: %w", entry, gatehouse.ErrInvalid)
	}
	return returnRule{scheme: u.Scheme, host: strings.ToLower(u.Host), path: u.EscapedPath(), query: u.RawQuery, below: below}, nil
}

// allows reports whether the parsed address u may be returned to.
func (r returnRule) allows(u *url.URL) bool {
	if u.Scheme != r.scheme || strings.ToLower(u.Host) != r.host {
		return false
	}
	if r.below {
		return strings.HasPrefix(u.EscapedPath(), r.path)
	}
	return u.EscapedPath() == r.path && u.RawQuery == r.query
}

// parseReturn parses an address that a browser may be sent to. It accepts only
// spellings on which Go's parser and every browser agree: no user information,
// fragment, backslash, control character, dot segment or escaped separator.
func parseReturn(text string) (*url.URL, error) {
	invalid := func(why string) error { return fmt.Errorf("%s: %w", why, gatehouse.ErrInvalid) }
	if len(text) > 2048 {
		return nil, invalid("longer than 2048 bytes")
	}
	for _, c := range []byte(text) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\\\"<>^`{|}", c) >= 0 {
			return nil, invalid("characters that must be percent-encoded")
		}
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return nil, invalid("not an absolute address")
	}
	if u.User != nil || strings.Contains(text, "#") {
		return nil, invalid("user information or a fragment")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, invalid("must be https (http only on loopback)")
	}
	path := strings.ToLower(u.EscapedPath())
	if strings.Contains(path, "%2f") || strings.Contains(path, "%5c") || strings.Contains(path, "%2e") {
		return nil, invalid("an escaped separator or dot in the path")
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return nil, invalid("a dot segment in the path")
		}
	}
	return u, nil
}

// loopback reports whether host (without port) is this machine.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// withParams returns the address with parameters added to its query. A
// parameter that is there already is replaced, so that what the app receives
// under our names comes from us.
func withParams(address string, params url.Values) (string, error) {
	u, err := parseReturn(address)
	if err != nil {
		return "", err
	}
	q := u.Query()
	for _, name := range []string{"code", "state", "error", "error_description"} {
		q.Del(name)
	}
	for name, values := range params {
		if len(values) > 0 && values[0] != "" {
			q.Set(name, values[0])
		}
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}
