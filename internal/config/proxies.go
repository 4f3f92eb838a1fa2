package config

import (
	"net/netip"
	"net/url"
	"strconv"
)

// Public is what the listener for people's browsers and the platforms takes. The zero
// value has the defaults.
type Public struct {
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies" doc:"Networks of whatever stands in front of listen.public and adds the caller's address to X-Forwarded-For, such as [127.0.0.1/32]. Only what comes from there is believed, and of it the last address that is not there itself. Default: none; then all callers behind a proxy are one."`
}

// maxProxies bounds a list of trusted proxies: each request is compared with all.
const maxProxies = 64

func (c *Config) validateProxies(d *decoder) {
	for _, l := range []struct {
		at, listen, address string
		tls                 Certificate
		proxies             []netip.Prefix
	}{
		{"console.trusted_proxies", c.Listen.Console, c.ConsoleURL(), c.ConsoleCertificate(), c.Console.TrustedProxies},
		{"public.trusted_proxies", c.Listen.Public, c.PublicURL, c.PublicCertificate(), c.Public.TrustedProxies},
	} {
		if len(l.proxies) > maxProxies {
			d.failAt(l.at, "has more than "+strconv.Itoa(maxProxies)+" networks")
		}
		for i, p := range l.proxies {
			at := l.at + "[" + strconv.Itoa(i) + "]"
			switch {
			case !p.IsValid(): // was refused when it was read
			case p.Addr().Is4In6():
				d.failAt(at, "write the IPv4 network itself")
			case p.Bits() == 0:
				d.failAt(at, "is the whole internet: everybody could say that they are somebody else")
			}
		}
		u, err := url.Parse(l.address)
		if l.listen != "" && len(l.proxies) == 0 && err == nil && u.Scheme == "https" && l.tls.Source == "off" {
			d.warnAt(l.at, "is empty, and something in front ends TLS: all who come through it share one budget of attempts, and their addresses are not known. Name its network, such as [127.0.0.1/32], if it adds X-Forwarded-For")
		}
	}
}
