package config

import (
	"net"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kinds of sinks.
const (
	SinkOTLP   = "otlp"
	SinkSyslog = "syslog"
	SinkLines  = "jsonl"
)

// Sink is a system that gets the audit log's entries. Which entries a kind takes
// stands in the tag kinds; without one, every kind does.
type Sink struct {
	Name string `yaml:"name" doc:"Its name, which how far it has got is kept under: with another name it begins anew."`
	Kind string `yaml:"kind" doc:"otlp (OpenTelemetry, HTTP with binary messages), syslog (RFC 5424 over TLS), or jsonl (a file of JSON lines)."`

	URL     string            `yaml:"url" kinds:"otlp" doc:"With otlp: the whole address, such as https://collector.example.com:4318/v1/logs. http is for loopback only."`
	Headers map[string]Secret `yaml:"headers" kinds:"otlp" doc:"With otlp: headers of each request, such as {Authorization: file:/run/secrets/otlp}. References, never values; they are read again for each request."`
	Plain   bool              `yaml:"plain" kinds:"otlp" doc:"With otlp: true does not compress (default: gzip)."`

	Address     string `yaml:"address" kinds:"syslog" doc:"With syslog: host:port of the receiver, such as siem.example.com:6514."`
	Facility    int    `yaml:"facility" kinds:"syslog" doc:"With syslog: 1 to 23. Default 13, log audit."`
	Hostname    string `yaml:"hostname" kinds:"syslog" doc:"With syslog: this machine's name in messages. Default: none."`
	SDID        string `yaml:"sd_id" kinds:"syslog" doc:"With syslog: the name of the structured data, with your private enterprise number. Default gatehouse@32473, the number that is set aside for documentation."`
	MaxMessage  int    `yaml:"max_message" kinds:"syslog" doc:"With syslog: the longest message in bytes, 2048 to 262144. Of a longer entry the leaf is left out. Default 8192; set it to what the receiver takes."`
	Unconfirmed bool   `yaml:"unconfirmed" kinds:"syslog" doc:"With syslog: true is for receivers that do not answer the end of a TLS connection (RFC 5425, 4.4): then the end of TCP has to do."`

	TLS SinkTLS `yaml:"tls" kinds:"otlp syslog" doc:"With otlp and syslog: what is believed, and what we show."`

	Path        string        `yaml:"path" kinds:"jsonl" doc:"With jsonl: the file, or - for standard output. One process writes it; each node needs its own."`
	RotateMB    int           `yaml:"rotate_mb" kinds:"jsonl" doc:"With jsonl: megabytes after which a new file begins. Default 100."`
	RotateEvery time.Duration `yaml:"rotate_every" kinds:"jsonl" doc:"With jsonl: how much time a file is for, in UTC. Default 24h: a new one begins at midnight."`
	Keep        int           `yaml:"keep" kinds:"jsonl" doc:"With jsonl: how many older files are kept. Default: all of them."`

	Severity   string        `yaml:"severity" doc:"The least that is sent: info (the default), notice, warning or alert."`
	Actions    []string      `yaml:"actions" doc:"Only these actions (docs/log-events.md), or all that begin so: [connect.revoke, log.*]. Default: all."`
	FromNow    bool          `yaml:"from_now" doc:"true begins with what comes after the first start, instead of the beginning of the log."`
	StuckAfter time.Duration `yaml:"stuck_after" doc:"After how long behind the log says that the sink is stuck. Default 15m."`
}

// SinkTLS says what is believed of the other side, and what it is shown.
type SinkTLS struct {
	CAFile     string `yaml:"ca_file" doc:"The authority that signed the receiver's certificate. Default: the system's authorities."`
	ServerName string `yaml:"server_name" doc:"The name that its certificate must be for. Default: the host in url or address."`
	Cert       string `yaml:"cert" doc:"Our certificate, for receivers that ask for one; with key. Both files are read again when they change."`
	Key        string `yaml:"key" doc:"Its key."`
}

// maxSinks bounds how many there are: each reads the whole log.
const maxSinks = 16

var (
	headerName  = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")
	actionForm  = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)*(\.\*)?$`)
	sdIDForm    = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,16}@[1-9][0-9]{0,9}$`)
	printableID = regexp.MustCompile(`^[!-~]{1,255}$`)
)

// ownHeaders are those that requests have anyway.
var ownHeaders = []string{"content-type", "content-encoding", "content-length", "host", "connection", "transfer-encoding", "user-agent", "upgrade", "expect", "te", "trailer"}

func (c *Config) validateExport(d *decoder) {
	if len(c.Audit.Export) > maxSinks {
		d.failAt("audit.export", "more than "+strconv.Itoa(maxSinks)+" sinks")
	}
	names, paths := map[string]bool{}, map[string]bool{}
	for i := range c.Audit.Export {
		s, at := &c.Audit.Export[i], "audit.export["+strconv.Itoa(i)+"]"
		d.name(at+".name", s.Name)
		if names[s.Name] {
			d.failAt(at+".name", "another sink has the same name")
		}
		names[s.Name] = true
		d.sink(at, s)
		if s.Path != "" {
			if paths[s.Path] {
				d.failAt(at+".path", "another sink writes the same file")
			}
			paths[s.Path] = true
		}
	}
}

// sink checks one sink, and makes its paths absolute.
func (d *decoder) sink(at string, s *Sink) {
	d.oneOf(at+".kind", s.Kind, SinkOTLP, SinkSyslog, SinkLines)
	if d.failed(at + ".kind") {
		return
	}
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if kinds := strings.Fields(f.Tag.Get("kinds")); len(kinds) > 0 && !v.Field(i).IsZero() && !slices.Contains(kinds, s.Kind) {
			d.failAt(at+"."+f.Tag.Get("yaml"), "belongs to a sink of another kind: "+strings.Join(kinds, ", "))
		}
	}
	switch s.Kind {
	case SinkOTLP:
		if d.webURL(at+".url", s.URL, false); strings.HasPrefix(s.URL, "http://") && s.TLS != (SinkTLS{}) {
			d.failAt(at+".tls", "is for https")
		}
		for name := range s.Headers {
			if !headerName.MatchString(name) || slices.Contains(ownHeaders, strings.ToLower(name)) {
				d.failAt(at+".headers", "holds a name that is no header, or one that every request has")
			}
		}
	case SinkSyslog:
		d.syslog(at, s)
	case SinkLines:
		if s.Path == "" {
			d.failAt(at+".path", "is needed")
		} else if s.Path != "-" {
			s.Path = d.resolvePath(s.Path)
		}
		between(d, at+".rotate_mb", s.RotateMB, 1, 1<<20)
		between(d, at+".keep", s.Keep, 1, 100_000)
		if s.RotateEvery != 0 && (s.RotateEvery < time.Minute || s.RotateEvery > 366*24*time.Hour) {
			d.failAt(at+".rotate_every", "must be from 1m to 8784h (a year)")
		}
	}
	d.sinkTLS(at+".tls", &s.TLS)
	d.oneOf(at+".severity", s.Severity, "", "info", "notice", "warning", "alert")
	for i, action := range s.Actions {
		if !actionForm.MatchString(action) {
			d.failAt(at+".actions["+strconv.Itoa(i)+"]", "is no action, such as connect.revoke, and no beginning of some, such as log.*")
		}
	}
	if s.StuckAfter != 0 && (s.StuckAfter < 10*time.Second || s.StuckAfter > 30*24*time.Hour) {
		d.failAt(at+".stuck_after", "must be from 10s to 720h (30 days)")
	}
}

func (d *decoder) syslog(at string, s *Sink) {
	host, port, err := net.SplitHostPort(s.Address)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || host == "" || strings.ContainsAny(host, "/@ ") {
		d.failAt(at+".address", "must be host:port, such as siem.example.com:6514")
	}
	between(d, at+".facility", s.Facility, 1, 23)
	between(d, at+".max_message", s.MaxMessage, 2048, 262144)
	if s.Hostname != "" && !printableID.MatchString(s.Hostname) {
		d.failAt(at+".hostname", "must be 1 to 255 printable letters without a space")
	}
	if s.SDID != "" && !sdIDForm.MatchString(s.SDID) {
		d.failAt(at+".sd_id", "must be a name, @ and a private enterprise number, such as gatehouse@32473")
	}
}

func (d *decoder) sinkTLS(at string, t *SinkTLS) {
	if (t.Cert == "") != (t.Key == "") {
		d.failAt(at, "cert and key go together")
	}
	if t.ServerName != "" && !hostName(t.ServerName) {
		d.failAt(at+".server_name", "is not a host name in lower-case letters")
	}
	for _, path := range []*string{&t.CAFile, &t.Cert, &t.Key} {
		if *path != "" {
			*path = d.resolvePath(*path)
		}
	}
}

// between checks a number that may be left out.
func between(d *decoder, at string, n, least, most int) {
	if n != 0 && (n < least || n > most) {
		d.failAt(at, "must be from "+strconv.Itoa(least)+" to "+strconv.Itoa(most))
	}
}
