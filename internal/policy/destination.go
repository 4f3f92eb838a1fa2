package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"gatehouse"
)

// The rules of destinations. What allows is named "third_parties/HOST".
const (
	RuleUnknownDestination = "refuse/unknown-destination"
	RuleDestinationPurpose = "refuse/destination-purpose"
	RuleDestinationPort    = "refuse/destination-port"
)

// Destination is somebody else whom the app may send something.
type Destination struct {
	// Host is in the form of [NormalHost].
	Host string
	// Purposes are those that it serves.
	Purposes []gatehouse.PurposeName
	// MayReceive are the kinds of people's data that it may have.
	MayReceive []gatehouse.DataClass
	// Inspect is set when what is sent there is looked into.
	Inspect bool
	// Ports are those that it has beside 443, and 80 for plain http.
	Ports []uint16
}

func (d Destination) clone() Destination {
	d.Purposes, d.MayReceive, d.Ports = slices.Clone(d.Purposes), slices.Clone(d.MayReceive), slices.Clone(d.Ports)
	return d
}

// destination is one with its rule, so that deciding builds no strings.
type destination struct {
	Destination
	rule string
}

// WithDestinations returns a set that knows these destinations beside the purposes
// of s. Errors name the entry.
func (s *Set) WithDestinations(list []Destination) (*Set, error) {
	out := &Set{mode: s.mode, purposes: s.purposes, destinations: make(map[string]*destination, len(list))}
	for _, d := range list {
		host, err := NormalHost(d.Host)
		switch {
		case err != nil:
			return nil, fmt.Errorf("third_parties.%s: %w", d.Host, err)
		case host != d.Host:
			return nil, fmt.Errorf("third_parties.%s: write %s: %w", d.Host, host, gatehouse.ErrInvalid)
		case out.destinations[host] != nil:
			return nil, fmt.Errorf("third_parties.%s: declared twice: %w", host, gatehouse.ErrInvalid)
		}
		for _, p := range d.Purposes {
			if s.purposes[p] == nil {
				return nil, fmt.Errorf("third_parties.%s.purposes: there is no purpose %s: %w", host, p, gatehouse.ErrInvalid)
			}
		}
		for _, class := range d.MayReceive {
			if !slices.Contains(gatehouse.DataClasses(), class) {
				return nil, fmt.Errorf("third_parties.%s.may_receive: %q is not a kind of data: %w", host, class, gatehouse.ErrInvalid)
			}
		}
		if slices.Contains(d.Ports, 0) {
			return nil, fmt.Errorf("third_parties.%s.ports: 0 is no port: %w", host, gatehouse.ErrInvalid)
		}
		out.destinations[host] = &destination{d.clone(), "third_parties/" + host}
	}
	return out, nil
}

// Destination returns a declared destination.
func (s *Set) Destination(host string) (Destination, bool) {
	d := s.destinations[host]
	if d == nil {
		return Destination{}, false
	}
	return d.clone(), true
}

// Declares reports whether the host is among the destinations.
func (s *Set) Declares(host string) bool { return s.destinations[host] != nil }

// Destinations lists the hosts that are declared, sorted.
func (s *Set) Destinations() []string {
	hosts := make([]string, 0, len(s.destinations))
	for host := range s.destinations {
		hosts = append(hosts, host)
	}
	slices.Sort(hosts)
	return hosts
}

// DestinationRequest is somebody else whom a service wants to send something.
type DestinationRequest struct {
	Service gatehouse.ServiceName
	// Allowed are the purposes that the configuration gives to the service.
	Allowed []gatehouse.PurposeName
	Purpose gatehouse.PurposeName
	// Host is in the form of [NormalHost].
	Host string
	Port uint16
	// Plain is set for http without TLS.
	Plain bool
}

// DestinationDecision is the answer.
type DestinationDecision struct {
	Allow bool
	// Rule names what decided: where the destination is declared, or a Rule
	// constant.
	Rule string
	// Reason tells a developer what to declare and where. It is empty when the
	// destination is declared for the purpose.
	Reason string
	// Report is set when it is allowed only because the mode is report.
	Report bool
	// Declared is set when the host is among the destinations, whatever was decided.
	Declared bool
	// Inspect is set when what is sent there is looked into.
	Inspect bool
	// MayReceive are the kinds of data that it may have; not to be changed.
	MayReceive []gatehouse.DataClass
}

// DecideDestination judges whether something may be sent to a host. Who sends and
// for what is never a matter of mode; what is not declared is refused in enforce mode
// and flagged in report mode. An allowed request costs no allocation.
func (s *Set) DecideDestination(r DestinationRequest) DestinationDecision {
	refused := func(rule, reason string) DestinationDecision {
		return DestinationDecision{Rule: rule, Reason: reason}
	}
	switch {
	case r.Purpose == "":
		return refused(RuleNoPurpose, "no purpose is named; send it as the user name of the proxy's credentials")
	case s.purposes[r.Purpose] == nil:
		return refused(RuleUnknownPurpose, "the purpose is not in the configuration; declare it under purposes, or name another")
	case !slices.Contains(r.Allowed, r.Purpose):
		return refused(RulePurposeNotAllowed, "service "+string(r.Service)+" may not act for purpose "+string(r.Purpose)+
			"; add it to services."+string(r.Service)+".purposes")
	}
	d := s.destinations[r.Host]
	if d == nil {
		return s.flagged(nil, RuleUnknownDestination, "this host is not declared; add it to third_parties, with the purposes that it serves: ["+string(r.Purpose)+"]")
	}
	if !slices.Contains(d.Purposes, r.Purpose) {
		return s.flagged(d, RuleDestinationPurpose, d.Host+" does not serve purpose "+string(r.Purpose)+"; add it to third_parties."+d.Host+".purposes")
	}
	if !d.port(r.Port, r.Plain) {
		return s.flagged(d, RuleDestinationPort, d.Host+" is declared without this port; add it to third_parties."+d.Host+".ports")
	}
	return DestinationDecision{Allow: true, Rule: d.rule, Declared: true, Inspect: d.Inspect, MayReceive: d.MayReceive}
}

func (d *destination) port(port uint16, plain bool) bool {
	if plain && port == 80 || !plain && port == 443 {
		return true
	}
	return slices.Contains(d.Ports, port)
}

// flagged refuses in enforce mode and flags in report mode.
func (s *Set) flagged(d *destination, rule, reason string) DestinationDecision {
	out := DestinationDecision{Allow: s.mode == Report, Report: s.mode == Report, Rule: rule, Reason: reason}
	if d != nil {
		out.Declared, out.Inspect, out.MayReceive = true, d.Inspect, d.MayReceive
	}
	return out
}

// NormalHost returns the one spelling of a host that is compared: a name in lower
// case without its last dot, or an address in its usual form and without brackets.
// What could be read in two ways is refused: names in other letters than ASCII (they
// are written as xn--…), numbers that some programs take for an address (0x7f.1,
// 2130706433), zones. Errors are ErrInvalid and do not repeat the host.
func NormalHost(host string) (string, error) {
	bad := func(why string) (string, error) {
		return "", fmt.Errorf("%s: %w", why, gatehouse.ErrInvalid)
	}
	if inside, ok := strings.CutPrefix(host, "["); ok {
		if inside, ok = strings.CutSuffix(inside, "]"); !ok || !strings.Contains(inside, ":") {
			return bad("the brackets hold no IPv6 address")
		}
		host = inside
	}
	// Only what may be an address is parsed as one: the error for others costs memory.
	if n := len(host); n > 0 && (strings.Contains(host, ":") || '0' <= host[n-1] && host[n-1] <= '9') {
		if a, err := netip.ParseAddr(host); err == nil {
			if a.Zone() != "" {
				return bad("an address with a zone is nobody's elsewhere")
			}
			return a.Unmap().String(), nil
		}
	}
	host = strings.TrimSuffix(host, ".")
	if host == "" || len(host) > 253 {
		return bad("a host's name has 1 to 253 letters")
	}
	upper := false
	label := 0 // where it begins
	for i := 0; i <= len(host); i++ {
		if i == len(host) || host[i] == '.' {
			if i == label || i-label > 63 || host[label] == '-' || host[i-1] == '-' {
				return bad("a part of the host's name is empty, too long, or begins or ends with a dash")
			}
			if i < len(host) {
				label = i + 1
			}
			continue
		}
		switch c := host[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		case 'A' <= c && c <= 'Z':
			upper = true
		case c >= 0x80:
			return bad("the host's name is not in ASCII; write it as xn--…")
		default:
			return bad("the host's name holds a character that names do not have")
		}
	}
	if numeric(host[label:]) {
		return bad("the host's name ends in a number, and is no address as they are usually written")
	}
	if upper {
		host = strings.ToLower(host)
	}
	return host, nil
}

// numeric reports whether programs take a name whose last part this is for an IPv4
// address, perhaps in octal or hexadecimal.
func numeric(label string) bool {
	if rest, ok := strings.CutPrefix(strings.ToLower(label), "0x"); ok {
		return strings.Trim(rest, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}
