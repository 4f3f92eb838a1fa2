package config

import (
	"errors"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse"
)

// production is the environment in which nothing may be pretended.
const production gatehouse.Environment = "production"

var environments = []gatehouse.Environment{production, "staging", "development"}

// nameForm is the form of the names that the file gives to apps, purposes and
// services. They stand in paths, log entries and command lines.
var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// validate checks what decoding cannot see: values against one another, against
// what the platforms offer, and against today's date. It notes everything it
// finds in d and assumes nothing about what decoding left out.
func (c *Config) validate(d *decoder) {
	c.validateTop(d)
	c.validateListen(d)
	for _, name := range slices.Sorted(maps.Keys(c.Apps)) {
		d.name("apps."+string(name), string(name))
		c.validateApp(d, "apps."+string(name), c.Apps[name])
	}
	for _, name := range slices.Sorted(maps.Keys(c.Purposes)) {
		d.name("purposes."+string(name), string(name))
		c.validatePurpose(d, "purposes."+string(name), c.Purposes[name])
	}
	for _, name := range slices.Sorted(maps.Keys(c.Services)) {
		d.name("services."+string(name), string(name))
		c.validateService(d, "services."+string(name), c.Services[name])
	}
	c.validateRootAccess(d)
	c.validateThirdParties(d)
	c.validateMode(d)
	c.validateSandbox(d)
	c.validateDuties(d)
	c.validateEvents(d)
	c.validateStepup(d)
	c.validateLineage(d)
	c.validateOperators(d)
	c.validateReviews(d)
	c.validateAudit(d)
	c.validateMetrics(d)
	c.validateBackup(d)
	c.validateLimits(d)
	c.validateKeys(d)
	c.warnUnused(d)
	for i, r := range c.Returns {
		d.webURL("returns["+strconv.Itoa(i)+"]", r, true)
	}
	d.oneOf("log.level", c.Log.Level, "", "debug", "info", "warn", "error")
	d.oneOf("log.format", c.Log.Format, "", "text", "json")
}

// leastKeep is the shortest retention: keys are by the day, and go when keep has
// passed since the day began.
const (
	leastKeep   = 48 * time.Hour
	defaultKeep = 720 * time.Hour
)

func (c *Config) validateBackup(d *decoder) {
	b := c.Backup
	if b.IsZero() || d.failed("backup") {
		return
	}
	if b.To.IsZero() {
		d.failAt("backup.to", "is needed: the directory of backups")
	}
	if b.EpochKeys.IsZero() {
		d.failAt("backup.epoch_keys", "is needed: the directory of the days' keys, which is not that of backups")
	}
	if b.Keep != 0 && b.Keep < leastKeep {
		d.failAt("backup.keep", "is at least 48h: keys are kept by the day")
	}
	keep := b.Keep
	orDefault(&keep, defaultKeep)
	// A backup that was begun at the end of its day lives a day less.
	if b.Every > keep-24*time.Hour {
		d.failAt("backup.every", "is longer than a backup can be sure to be kept (keep less a day), so that at times there would be none")
	}
	for i, dir := range b.LedgerCopies {
		if dir.Path() == b.To.Path() {
			d.failAt("backup.ledger_copies["+strconv.Itoa(i)+"]", "is the directory of backups, which gets the ledger anyway")
		}
	}
}

func (c *Config) validateTop(d *decoder) {
	switch {
	case c.Environment == "":
		d.failAt("environment", "is needed: production, staging or development")
	case !slices.Contains(environments, c.Environment):
		d.failAt("environment", "is none of production, staging, development")
	}
	if c.Node != "" {
		if err := CheckNode(c.Node); err != nil {
			d.failAt("node", err.Error())
		}
	}
	if c.PublicURL == "" {
		d.failAt("public_url", "is needed: where people's browsers reach Gatehouse, such as https://app.example.com")
	} else if u := d.webURL("public_url", c.PublicURL, false); u != nil && strings.Trim(u.Path, "/") != "" {
		d.failAt("public_url", "has a path; Gatehouse's own pages stand under /_gatehouse/ at the root of the host")
	}
	if c.Store.IsZero() && !d.failed("store") {
		d.failAt("store", "is needed, such as sqlite:/var/lib/gatehouse/gatehouse.db")
	}
	if c.RootKey.IsZero() && !d.failed("root_key") {
		d.failAt("root_key", "is needed, such as file:/etc/gatehouse/root.key; 'gatehouse init' makes it")
	}
	if len(c.Apps) == 0 && !d.failed("apps") {
		d.warnAt("apps", "none is declared, so nobody can be connected")
	}
	if len(c.Services) == 0 && !d.failed("services") {
		d.warnAt("services", "none is declared, so nobody can call")
	}
}

// nodeForm is what a node may be called: its name is a part of its log's origin, of
// paths and of file names.
var nodeForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// CheckNode reports whether a node may have a name.
func CheckNode(name string) error {
	switch {
	case !nodeForm.MatchString(name):
		return errors.New("a node's name is a lower-case word: a letter, and then up to 31 of a-z, 0-9 and -")
	case name == "tile" || name == "checkpoint":
		// Log 0 is served below these names.
		return errors.New("a node cannot be called tile or checkpoint")
	}
	return nil
}

// failed reports whether something at or below path is wrong already.
func (d *decoder) failed(path string) bool {
	return slices.ContainsFunc(d.errors, func(e Error) bool {
		return e.Field == path || strings.HasPrefix(e.Field, path+".") || strings.HasPrefix(e.Field, path+"[")
	})
}

func (d *decoder) name(path, name string) {
	if !nameForm.MatchString(name) {
		d.failAt(path, "a name is made of a-z, 0-9, - and _, and at most 63 characters long")
	}
}

func (d *decoder) oneOf(path, value string, allowed ...string) {
	if slices.Contains(allowed, value) {
		return
	}
	named := slices.DeleteFunc(slices.Clone(allowed), func(s string) bool { return s == "" })
	text := "is none of " + strings.Join(named, ", ")
	if near := nearest(value, named); near != "" {
		text += "; did you mean " + near + "?"
	}
	d.failAt(path, text)
}

// webURL checks an address that browsers use: https, or http on loopback.
func (d *decoder) webURL(path, value string, query bool) *url.URL {
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		d.failAt(path, "is not a complete URL, such as https://app.example.com/path")
	case u.User != nil:
		d.failAt(path, "holds a user name or password")
	case u.Fragment != "" || strings.Contains(value, "#"):
		d.failAt(path, "has a fragment")
	case !query && u.RawQuery != "":
		d.failAt(path, "has a query")
	case u.Scheme == "https", u.Scheme == "http" && loopbackHost(u.Hostname()):
		return u
	default:
		d.failAt(path, "must be https (http is for loopback addresses only)")
	}
	return nil
}

func loopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// privateListen reports whether only this machine reaches the address.
func privateListen(addr string) bool {
	if strings.HasPrefix(addr, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(addr)
	return err == nil && loopbackHost(host)
}

func (c *Config) validateListen(d *decoder) {
	if c.Listen.App == "" {
		d.failAt("listen.app", "is needed, such as 127.0.0.1:8100")
	}
	used := map[string]string{}
	for _, l := range []struct{ path, addr string }{
		{"listen.app", c.Listen.App}, {"listen.proxy", c.Listen.Proxy},
		{"listen.console", c.Listen.Console}, {"listen.public", c.Listen.Public}, {"metrics.listen", c.Metrics.Listen},
	} {
		if l.addr == "" {
			continue
		}
		d.listenAddress(l.path, l.addr)
		if other, twice := used[l.addr]; twice && !strings.HasSuffix(l.addr, ":0") {
			d.failAt(l.path, "is the same address as "+other)
		}
		used[l.addr] = l.path
	}
	c.validateConsole(d)
	c.validateProxies(d)
	if c.Listen.Proxy != "" && c.TLS.Proxy.Source == "off" && !privateListen(c.Listen.Proxy) {
		d.failAt("tls.proxy", "off (plain http) is for loopback addresses only: service keys pass there")
	}
	if c.Listen.App != "" && c.TLS.App.Source == "off" && !privateListen(c.Listen.App) {
		d.failAt("tls.app", "off (plain http) is for loopback addresses and Unix sockets only")
	}
	if c.TLS.Public.Source == "off" && c.Listen.Public != "" && !privateListen(c.Listen.Public) {
		d.failAt("tls.public", "off (plain http) is for loopback addresses only")
	}
	for i, name := range c.TLS.Names {
		at := "tls.names[" + strconv.Itoa(i) + "]"
		if !hostName(name) {
			d.failAt(at, "is not a host name in lower-case letters")
		} else if c.AppCertificate().Source != "local-ca" {
			d.failAt(at, "is for the local CA; a certificate of your own brings its own names")
		}
	}
	if c.Listen.Public != "" && c.PublicCertificate().Source == "local-ca" {
		d.warnAt("tls.public", "people's browsers and the platforms do not trust the local certificate authority: give {cert: FILE, key: FILE}, or end TLS in front")
	}
}

func (d *decoder) listenAddress(path, addr string) {
	if socket, isUnix := strings.CutPrefix(addr, "unix:"); isUnix {
		switch {
		case path != "listen.app":
			d.failAt(path, "only the app can be listened to on a Unix socket")
		case !strings.HasPrefix(socket, "/") || len(socket) > 100:
			d.failAt(path, "a Unix socket's path is absolute and at most 100 bytes long")
		}
		return
	}
	host, port, err := net.SplitHostPort(addr)
	number, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil || strings.Contains(host, "/") {
		d.failAt(path, "is not an address: write host:port, such as 127.0.0.1:8100"+map[bool]string{true: " or unix:/path"}[path == "listen.app"])
		return
	}
	if number == 0 && !loopbackHost(host) {
		d.failAt(path, "port 0 (any) is for loopback only")
	}
}

func (c *Config) validateService(d *decoder, path string, s Service) {
	if len(s.Purposes) == 0 && !d.failed(path+".purposes") {
		d.failAt(path+".purposes", "is needed: what the service may call for")
	}
	references(d, path+".purposes", "purpose", s.Purposes, c.Purposes)
	for i, a := range s.Accept {
		d.oneOf(path+".accept["+strconv.Itoa(i)+"]", a, "bearer", "query", "form", "batch", "oauth1")
	}
	for _, l := range []struct{ name, addr string }{{"app", c.Listen.App}, {"proxy", c.Listen.Proxy}} {
		if len(s.Sources) == 0 && l.addr != "" && !privateListen(l.addr) && !d.failed(path+".sources") {
			d.failAt(path+".sources", "is needed because the "+l.name+" listener is not on loopback: the networks that this service calls from")
		}
	}
	for i, p := range s.Sources {
		if p.IsValid() && p.Bits() == 0 {
			d.failAt(path+".sources["+strconv.Itoa(i)+"]", "is the whole internet, which is no restriction")
		}
	}
}

// references checks a list of names of what is declared elsewhere in the file.
func references[N ~string, V any](d *decoder, path, what string, list []N, declared map[N]V) {
	for i, name := range list {
		at := path + "[" + strconv.Itoa(i) + "]"
		if _, known := declared[name]; !known {
			text := "there is no " + what + " of this name"
			if near := nearest(string(name), names(declared)); near != "" {
				text += "; did you mean " + near + "?"
			}
			d.failAt(at, text)
		}
		if slices.Contains(list[:i], name) {
			d.failAt(at, "stands in the list twice")
		}
	}
}

func names[K ~string, V any](m map[K]V) []string {
	list := make([]string, 0, len(m))
	for k := range m {
		list = append(list, string(k))
	}
	slices.Sort(list)
	return list
}

// hostName reports whether s is a name as it stands in configurations and
// certificates: lower case, no port, no path, no last dot.
func hostName(s string) bool {
	return s != "" && s == strings.ToLower(s) && !strings.ContainsAny(s, "/: *") && !strings.HasSuffix(s, ".")
}

// longReport is how far ahead report mode may be set without a remark.
const longReport = 90 * 24 * time.Hour

func (c *Config) validateMode(d *decoder) {
	d.oneOf("mode", string(c.Mode), "", string(ModeEnforce), string(ModeReport))
	switch {
	case c.Mode == ModeReport && c.Until.IsZero() && !d.failed("until"):
		d.failAt("mode", "report mode needs its last day: until: 2026-12-31")
	case c.Mode == ModeReport && !c.Until.IsZero() && time.Now().After(c.Until.End()):
		// No error: a restart in the night after that day must not keep the gates
		// closed for calls that are declared.
		d.warnAt("until", "has passed: report mode is over, and what no purpose declares is refused; set mode: enforce, or decide on a new day")
	case c.Mode != ModeReport && !c.Until.IsZero():
		d.failAt("until", "belongs to mode: report")
	case c.Mode == ModeReport:
		d.warnAt("mode", "report: what no purpose declares is allowed until the end of "+c.Until.String())
		if time.Until(c.Until.End()) > longReport {
			d.warnAt("until", "is more than 90 days away")
		}
	}
}

func (c *Config) validateSandbox(d *decoder) {
	if c.Sandbox == (Sandbox{}) {
		return
	}
	if c.Environment == production {
		d.failAt("sandbox", "is refused in production: real handles would lead to invented people")
	}
	if c.Sandbox.X == "" && c.Sandbox.Meta == "" && !d.failed("sandbox") {
		d.failAt("sandbox", "names neither x nor meta")
	}
	for _, s := range []struct{ path, value string }{{"sandbox.x", c.Sandbox.X}, {"sandbox.meta", c.Sandbox.Meta}} {
		if s.value == "" {
			continue
		}
		u := d.webURL(s.path, s.value, false)
		switch {
		case u == nil:
		case strings.Trim(u.Path, "/") != "":
			d.failAt(s.path, "has a path")
		case !loopbackHost(u.Hostname()):
			d.failAt(s.path, "must be a loopback address")
		}
	}
	if c.Sandbox.CAFile != "" {
		c.Sandbox.CAFile = d.resolvePath(c.Sandbox.CAFile)
	}
}

func (c *Config) validateLimits(d *decoder) {
	l := c.Limits.WithDefaults()
	if l.HandleTTL > l.HandleMaxTTL {
		d.failAt("limits.handle_ttl", "is longer than handle_max_ttl ("+l.HandleMaxTTL.String()+")")
	}
	if l.ServiceKeyTTL < time.Hour {
		d.failAt("limits.service_key_ttl", "is less than an hour: keys would end before they are handed out")
	}
	if l.HoldDomainKeys > 24*time.Hour {
		d.failAt("limits.hold_domain_keys", "is longer than a day")
	}
	if l.KeepWithoutRoot > 7*24*time.Hour {
		d.failAt("limits.keep_without_kms", "is longer than 168h: whoever cuts Gatehouse off from its key management system could keep it open as long")
	} else if l.KeepWithoutRoot < l.HoldDomainKeys {
		d.failAt("limits.keep_without_kms", "is shorter than hold_domain_keys ("+l.HoldDomainKeys.String()+")")
	}
	if l.Body > 4<<30 {
		d.failAt("limits.body", "is more than 4GiB")
	}
}

// leastRotation keeps a mistyped span from rotating all the time.
const leastRotation = 24 * time.Hour

func (c *Config) validateKeys(d *decoder) {
	for _, k := range []struct {
		field string
		after time.Duration
	}{{"keys.rotate_after", c.Keys.RotateAfter}, {"keys.destroy_after", c.Keys.DestroyAfter}} {
		if k.after != 0 && k.after < leastRotation {
			d.failAt(k.field, "is less than a day")
		}
	}
	for i := range c.Previous {
		at, k := "previous_root_keys["+strconv.Itoa(i)+"]", &c.Previous[i]
		switch {
		case k.RootKey.IsZero() && !d.failed(at):
			d.failAt(at, "needs a root_key: [{root_key: file:old.key}]")
		case k.RootKey.String() == c.RootKey.String():
			d.failAt(at, "is the root_key itself")
		}
		d.rootAccess(at+".root_key", at+".root_key_access", k.RootKey, &k.Access)
	}
}

// warnUnused names what is declared and does nothing.
func (c *Config) warnUnused(d *decoder) {
	used, apps := map[gatehouse.PurposeName]bool{}, map[gatehouse.AppName]bool{}
	for _, s := range c.Services {
		for _, p := range s.Purposes {
			used[p] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Purposes)) {
		apps[c.Purposes[name].App] = true
		if !used[name] {
			d.warnAt("purposes."+string(name), "no service has this purpose")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Apps)) {
		if !apps[name] {
			d.warnAt("apps."+string(name), "no purpose uses this app")
		}
	}
}

// nearest returns the name that value was probably meant to be, or "".
func nearest(value string, known []string) string {
	best, least := "", len(value)/3+1
	for _, k := range known {
		if n := distance(value, k); n <= least && (best == "" || n < distance(value, best)) {
			best = k
		}
	}
	return best
}

// distance is the number of letters to change, insert or remove.
func distance(a, b string) int {
	if len(a) > 100 || len(b) > 100 {
		return 100
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// longestDuty is as long as a request may wait at all: the GDPR's month (Article
// 12(3)), extended by the two that it allows for complex requests.
const longestDuty = 90 * 24 * time.Hour

func (c *Config) validateDuties(d *decoder) {
	for _, f := range []struct {
		field string
		value time.Duration
		most  time.Duration
	}{{"x", c.Duties.X, 24 * time.Hour}, {"meta", c.Duties.Meta, longestDuty}, {"other", c.Duties.Other, longestDuty}} {
		if f.value == 0 {
			continue
		}
		switch path := "duties." + f.field; {
		case f.value < time.Hour:
			d.failAt(path, "is less than an hour: nobody could meet it")
		case f.value > longestDuty:
			d.failAt(path, "is more than 2160h (90 days)")
		case f.value > f.most:
			d.warnAt(path, "is more than the 24h within which X's Developer Policy wants content to go")
		}
	}
}
