package config

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Console says where operators' browsers reach the console, and bounds what it takes.
type Console struct {
	URL            string         `yaml:"url" doc:"Where operators' browsers reach the console: https, or http on loopback, without a path. Passkeys belong to its host, so a change of it takes them away. Default on loopback: localhost and the port of listen.console."`
	Requests       int            `yaml:"requests" doc:"Pages made at once for operators, and for those who sign in; more wait. Default half of the processors, and at least 2."`
	Share          int            `yaml:"share" doc:"How many per cent of all processors' time pages get in the long run, so that calls have the rest: some dozens of pages are made at once, and whoever asks for more without a pause waits. Default 6."`
	Streams        int            `yaml:"streams" doc:"Live pages fed at once. Default 64."`
	SignIns        int            `yaml:"sign_ins" doc:"Steps of signing in that one network may take in a minute; all who come from loopback, and are not told apart by trusted_proxies, share ten times that. A browser that somebody has signed in with has as many of its own. Default 30."`
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies" doc:"Networks of whatever stands in front of listen.console and adds the caller's address to X-Forwarded-For, such as [127.0.0.1/32]. Only what comes from there is believed, and of it the last address that is not there itself. Default: none; then all operators behind a proxy are one source."`
	Fresh          time.Duration  `yaml:"fresh" doc:"How recently an operator must have shown a passkey or code before what is dangerous, from 1m to 1h. Default 5m."`
}

// WithDefaults returns c with its defaults filled in, but for the URL, and for Requests,
// whose default is a matter of the machine.
func (c Console) WithDefaults() Console {
	orDefault(&c.Share, 6)
	orDefault(&c.Streams, 64)
	orDefault(&c.SignIns, 30)
	orDefault(&c.Fresh, 5*time.Minute)
	return c
}

// ConsoleURL returns where browsers reach the console, with the default filled in; ""
// when nothing listens for it.
func (c *Config) ConsoleURL() string {
	if c.Listen.Console == "" || c.Console.URL != "" {
		return strings.TrimSuffix(c.Console.URL, "/")
	}
	scheme := "https"
	if c.ConsoleCertificate().Source == "off" {
		scheme = "http"
	}
	_, port, _ := net.SplitHostPort(c.Listen.Console)
	// A passkey belongs to a name, and an address is none.
	return scheme + "://localhost:" + port
}

// ConsoleCertificate returns what the console's listener uses, with the default filled
// in.
func (c *Config) ConsoleCertificate() Certificate {
	switch {
	case !c.TLS.Console.IsZero():
		return c.TLS.Console
	case privateListen(c.Listen.Console):
		return Certificate{Source: "off"}
	default:
		return Certificate{Source: "local-ca"}
	}
}

func (c *Config) validateConsole(d *decoder) {
	k := &c.Console
	if k.URL != "" {
		if u := d.webURL("console.url", k.URL, false); u != nil {
			switch {
			case strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
				d.failAt("console.url", "has no path: the console has its host to itself")
			case u.Host != strings.ToLower(u.Host):
				d.failAt("console.url", "write the host in lower-case letters")
			case net.ParseIP(u.Hostname()) != nil:
				d.warnAt("console.url", "is an address, and passkeys need a name: write http://localhost:PORT, or a host name")
			}
			if p, err := url.Parse(c.PublicURL); err == nil && p.Host != "" && u.Host == p.Host {
				d.failAt("console.url", "is the host of public_url: whatever runs under the app's own domain could read operators' pages")
			}
		}
	}
	bound := func(name string, v, most int) {
		if v > most { // less than none does not decode
			d.failAt("console."+name, "must be from 1 to "+strconv.Itoa(most))
		}
	}
	bound("requests", k.Requests, 1000)
	bound("share", k.Share, 100)
	bound("streams", k.Streams, 1000)
	bound("sign_ins", k.SignIns, 1000)
	if k.Fresh != 0 && (k.Fresh < time.Minute || k.Fresh > time.Hour) {
		d.failAt("console.fresh", "must be from 1m to 1h")
	}
	if c.Listen.Console == "" {
		return
	}
	private := privateListen(c.Listen.Console)
	if c.TLS.Console.Source == "off" && !private {
		d.failAt("tls.console", "off (plain http) is for loopback addresses only")
	}
	if k.URL == "" {
		if _, port, err := net.SplitHostPort(c.Listen.Console); !private {
			d.failAt("console.url", "is needed because listen.console is not on loopback: where operators' browsers reach it")
		} else if err == nil && port == "0" {
			d.failAt("listen.console", "needs a port, or console.url: browsers must find it again")
		}
	}
	if !private && c.ConsoleCertificate().Source == "local-ca" {
		d.warnAt("tls.console", "browsers do not trust the local certificate authority: give {cert: FILE, key: FILE}, or end TLS in front")
	}
}
