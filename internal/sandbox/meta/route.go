package meta

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// product is one of the three APIs, each with an app, people's ids and tokens of
// its own.
type product string

const (
	facebook  product = "facebook"
	instagram product = "instagram"
	threads   product = "threads"
)

func productOf(name string) product { return product(name) }

// host is what a request was addressed to: a real host name, or a path prefix
// that stands for several of them.
type host struct {
	product product
	// prefix is what links that lead back begin with.
	prefix string
	// upload is set on the two upload hosts.
	upload string
}

// The hosts that Meta has, by name.
var hostNames = map[string]host{
	"graph.facebook.com":       {product: facebook},
	"www.facebook.com":         {product: facebook},
	"facebook.com":             {product: facebook},
	"m.facebook.com":           {product: facebook},
	"graph-video.facebook.com": {product: facebook, upload: "video"},
	"rupload.facebook.com":     {product: facebook, upload: "rupload"},
	"graph.instagram.com":      {product: instagram},
	"api.instagram.com":        {product: instagram},
	"www.instagram.com":        {product: instagram},
	"instagram.com":            {product: instagram},
	"graph.threads.net":        {product: threads},
	"threads.net":              {product: threads},
	"www.threads.net":          {product: threads},
	"threads.com":              {product: threads},
	"www.threads.com":          {product: threads},
	"graph.threads.com":        {product: threads},
}

// The prefixes that stand for hosts when everything is served from one address.
var hostPrefixes = map[string]host{
	"video":     {product: facebook, prefix: "/video", upload: "video"},
	"rupload":   {product: facebook, prefix: "/rupload", upload: "rupload"},
	"instagram": {product: instagram, prefix: "/instagram"},
	"threads":   {product: threads, prefix: "/threads"},
}

// locate finds the host of a request and the rest of its path.
func locate(r *http.Request) (host, string) {
	name := strings.ToLower(r.Host)
	if bare, _, err := net.SplitHostPort(name); err == nil {
		name = bare
	}
	if h, ok := hostNames[name]; ok {
		return h, r.URL.Path
	}
	first, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if h, ok := hostPrefixes[first]; ok {
		return h, "/" + rest
	}
	return host{product: facebook}, r.URL.Path
}

// Living Graph versions. A call to an older one is served as the oldest living.
const (
	oldestVersion  = 21
	newestVersion  = 26
	defaultVersion = "v25.0"
)

// splitVersion takes the version off a path. Threads has one of its own.
func splitVersion(on product, segments []string) (version string, rest []string, failed *failure) {
	version = defaultVersion
	if on == threads {
		version = "v1.0"
	}
	if len(segments) == 0 {
		return version, segments, nil
	}
	major, minor, ok := strings.Cut(strings.TrimPrefix(segments[0], "v"), ".")
	number, err := strconv.Atoi(major)
	if !strings.HasPrefix(segments[0], "v") || !ok || err != nil || minor == "" {
		return version, segments, nil
	}
	if _, err := strconv.Atoi(minor); err != nil {
		return version, segments, nil
	}
	rest = segments[1:]
	if on == threads {
		if segments[0] != "v1.0" {
			return version, rest, syntax("Unknown path components: /%s", segments[0])
		}
		return version, rest, nil
	}
	switch {
	case number > newestVersion || number >= oldestVersion && minor != "0" || number < 1:
		return version, rest, syntax("Unknown path components: /%s", segments[0])
	case number < oldestVersion:
		return "v" + strconv.Itoa(oldestVersion) + ".0", rest, nil
	}
	return segments[0], rest, nil
}

// ServeHTTP answers for every host of Meta.
func (p *Platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/_sandbox/") {
		p.Control().ServeHTTP(w, r)
		return
	}
	w.Header().Set("Date", p.now().UTC().Format(http.TimeFormat)) // of the sandbox's clock, which may be set
	h, path := locate(r)
	segments := splitPath(path)
	version, segments, failed := splitVersion(h.product, segments)
	if failed == nil && p.servePage(w, r, h, segments) {
		return
	}
	c := &call{
		p: p, product: h.product, method: r.Method, version: version, path: segments,
		base: p.scheme(r) + "://" + r.Host + h.prefix, params: make(url.Values),
		ifNoneMatch: r.Header.Get("If-None-Match"), ctx: r.Context(),
	}
	if failed == nil {
		failed = c.read(w, r, h)
	}
	if failed != nil {
		failed.reply().write(w, c)
		return
	}
	if h.upload == "rupload" {
		p.rupload(c, r).write(w, c)
		return
	}
	p.do(c).write(w, c)
}

// scheme is how the request came in.
func (p *Platform) scheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

func splitPath(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" })
}

// servePage answers what is a page for a browser and no API.
func (p *Platform) servePage(w http.ResponseWriter, r *http.Request, h host, segments []string) bool {
	switch path := strings.Join(segments, "/"); {
	case h.product == facebook && (path == "dialog/oauth" || path == "dialog/oauth.php"),
		h.product != facebook && path == "oauth/authorize":
		p.dialog(w, r, h.product)
	case h.product == facebook && path == "settings/apps":
		p.settings(w, r)
	case path == "_/picture.svg":
		servePicture(w)
	default:
		return false
	}
	return true
}
