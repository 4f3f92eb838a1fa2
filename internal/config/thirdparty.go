package config

import (
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"

	"gatehouse"
	"gatehouse/internal/platform"
	"gatehouse/internal/policy"
)

// Destination returns what the policy knows of a third party.
func (p ThirdParty) Destination(host string) policy.Destination {
	d := policy.Destination{Host: host, Purposes: p.Purposes, Inspect: p.Inspect}
	for _, kind := range p.MayReceive {
		d.MayReceive = append(d.MayReceive, gatehouse.DataClass(kind))
	}
	for _, port := range p.Ports {
		d.Ports = append(d.Ports, uint16(port))
	}
	return d
}

func (c *Config) validateThirdParties(d *decoder) {
	for _, host := range slices.Sorted(maps.Keys(c.ThirdParty)) {
		path := "third_parties." + printable(host)
		c.validateHost(d, path, host)
		c.ThirdParty[host] = c.validateThirdParty(d, path, c.ThirdParty[host])
	}
	switch {
	case len(c.ThirdParty) > 0 && c.Listen.Proxy == "":
		d.warnAt("third_parties", "is enforced by the proxy only, and listen.proxy is not set")
	case len(c.ThirdParty) == 0 && c.Listen.Proxy != "" && !d.failed("third_parties"):
		d.warnAt("listen.proxy", "lets nothing out: no third party is declared")
	}
}

func (c *Config) validateHost(d *decoder, path, host string) {
	normal, err := policy.NormalHost(host)
	switch _, _, isPlatform := platform.HostOf(normal); {
	case err != nil:
		d.failAt(path, "is not a host name or address: "+reason(err))
	case normal != host:
		d.failAt(path, "is not the form that is compared: write "+normal)
	case isPlatform:
		d.failAt(path, "is a platform's host, which is reached through the gateway only: declare the calls under purposes")
	}
	if u, err := url.Parse(c.PublicURL); err == nil && host != "" && u.Hostname() == host {
		d.failAt(path, "is public_url's host: Gatehouse itself")
	}
}

// reason is the text of an error without its kind.
func reason(err error) string {
	text, kind := err.Error(), ": "+gatehouse.ErrInvalid.Error()
	if n := len(text) - len(kind); n > 0 && text[n:] == kind {
		return text[:n]
	}
	return text
}

// validateThirdParty returns p with its path made absolute.
func (c *Config) validateThirdParty(d *decoder, path string, p ThirdParty) ThirdParty {
	if len(p.Purposes) == 0 && !d.failed(path+".purposes") {
		d.failAt(path+".purposes", "is needed: what may be sent there for")
	}
	references(d, path+".purposes", "purpose", p.Purposes, c.Purposes)
	kinds := make([]string, 0, 8)
	for _, k := range gatehouse.DataClasses() {
		kinds = append(kinds, string(k))
	}
	for i, kind := range p.MayReceive {
		at := path + ".may_receive[" + strconv.Itoa(i) + "]"
		if kind == string(gatehouse.Credential) {
			d.failAt(at, "tokens, keys and other secrets are nobody's to receive")
			continue
		}
		d.oneOf(at, kind, kinds...)
		if slices.Contains(p.MayReceive[:i], kind) {
			d.failAt(at, "stands in the list twice")
		}
	}
	for i, port := range p.Ports {
		at := path + ".ports[" + strconv.Itoa(i) + "]"
		switch {
		case port < 1 || port > 65535:
			d.failAt(at, "is no port: 1 to 65535")
		case slices.Contains(p.Ports[:i], port):
			d.failAt(at, "stands in the list twice")
		}
	}
	if p.Address != "" {
		c.validateAddress(d, path, p)
	}
	if p.CAFile != "" {
		if p.Address == "" && !p.Private {
			d.failAt(path+".ca_file", "is for a host of your own: it goes with private or address")
		}
		p.CAFile = d.resolvePath(p.CAFile)
	}
	return p
}

// validateAddress checks what is dialled in a third party's place.
func (c *Config) validateAddress(d *decoder, path string, p ThirdParty) {
	at := path + ".address"
	if c.Environment == production {
		d.failAt(at, "is refused in production: what is meant for others would stay on this machine")
	}
	if p.Private {
		d.failAt(at, "and private exclude each other")
	}
	a, err := netip.ParseAddrPort(p.Address)
	if err != nil || !a.Addr().Unmap().IsLoopback() || a.Port() == 0 {
		d.failAt(at, "is a loopback address and a port, such as 127.0.0.1:9443")
		return
	}
	for _, own := range []string{c.Listen.App, c.Listen.Proxy, c.Listen.Console, c.Listen.Public} {
		if o, err := netip.ParseAddrPort(own); err == nil && o.Port() == a.Port() {
			d.failAt(at, "has the port of a listener of Gatehouse itself")
		}
	}
}
