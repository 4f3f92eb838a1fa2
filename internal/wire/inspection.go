package wire

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"
)

const (
	// inspectionLife is how long an authority for inspection lives, and
	// inspectionRenew how long before its end its successor is made.
	inspectionLife  = 90 * 24 * time.Hour
	inspectionRenew = 30 * 24 * time.Hour
	// inspectionOverlap is how long an authority goes on to sign what it may after
	// its successor was made, so that clients have time to trust the successor.
	inspectionOverlap = 14 * 24 * time.Hour
	// inspectionLeafLife is short: nothing revokes a leaf. A new one is made at half
	// of it.
	inspectionLeafLife = 12 * time.Hour
	// maxAuthorities bounds how many are kept while they overlap.
	maxAuthorities = 8
	// MaxInspected bounds how many hosts one authority may be for.
	MaxInspected = 1000
)

// InspectionCA issues the certificates with which we speak in the place of exactly
// the hosts whose traffic is looked into. It holds one authority, and for a while
// after a change those before it. It is safe for concurrent use.
//
// X.509's constraints let an authority for a name sign for what lies below that
// name, too, and cannot say otherwise (an excluded subtree takes the name itself
// with it). We never issue such a certificate, but whoever stole the key could.
type InspectionCA struct {
	members []authority // oldest first; the last is the current one

	mu     sync.Mutex // guards leaves
	leaves map[string]*tls.Certificate
}

// authority is one of the authorities, as the sealed text holds it.
type authority struct {
	ca      *CA
	certPEM []byte
	key     secret.Text
	hosts   []string  // sorted
	until   time.Time // when it stops to sign; the current one's is its own end
}

// born is when it was made.
func (a *authority) born() time.Time { return a.ca.cert.NotBefore.Add(backdate) }

// NextInspectionCA returns the text to seal for authorities that may sign for
// exactly the hosts (names in lower case, or addresses), given the text that is
// sealed today, and whether it differs. No text stands for no authority, and so do
// no hosts.
//
// A new key is made when the hosts differ, or when the current authority ends
// soon. Those before it stay for two weeks, but only while each of their hosts is
// still looked into: what may sign for anything else is forgotten at once.
func NextInspectionCA(today secret.Text, environment string, hosts []string) (next secret.Text, changed bool, err error) {
	wanted, err := inspectionHosts(hosts)
	if err != nil {
		return secret.Text{}, false, err
	}
	// What cannot be read, or has ended, is replaced.
	have, err := readAuthorities(today)
	if err != nil {
		have = nil
	}
	if len(wanted) == 0 {
		return secret.Text{}, !today.IsZero(), nil
	}
	now := time.Now()
	if len(have) > 0 {
		current := &have[len(have)-1]
		if slices.Equal(current.hosts, wanted) && current.ca.Expires().Sub(now) > inspectionRenew {
			kept := keepAuthorities(have[:len(have)-1], wanted, now)
			if len(kept) == len(have)-1 {
				return today, false, nil
			}
			return writeAuthorities(append(kept, *current)), true, nil
		}
	}
	have = keepAuthorities(have, wanted, now)
	if len(have) >= maxAuthorities {
		have = have[len(have)-maxAuthorities+1:]
	}
	made, err := newAuthority(environment, wanted)
	if err != nil {
		return secret.Text{}, false, err
	}
	return writeAuthorities(append(have, made)), true, nil
}

// keepAuthorities returns those that still sign now, and for nothing but wanted.
func keepAuthorities(have []authority, wanted []string, now time.Time) []authority {
	var kept []authority
	for _, a := range have {
		if now.After(a.until) || slices.ContainsFunc(a.hosts, func(h string) bool { return !slices.Contains(wanted, h) }) {
			continue
		}
		kept = append(kept, a)
	}
	return kept
}

// inspectionHosts returns hosts sorted and once each, or says what is none.
func inspectionHosts(hosts []string) ([]string, error) {
	if len(hosts) > MaxInspected {
		return nil, fmt.Errorf("making an authority for inspection: more than %d hosts: %w", MaxInspected, gatehouse.ErrInvalid)
	}
	sorted := slices.Clone(hosts)
	slices.Sort(sorted)
	sorted = slices.Compact(sorted)
	for _, h := range sorted {
		ip, err := netip.ParseAddr(h)
		if err == nil {
			if ip.String() != h || ip.Zone() != "" || ip.Is4In6() {
				return nil, fmt.Errorf("making an authority for inspection: %q is not an address in its plain form: %w", h, gatehouse.ErrInvalid)
			}
			continue
		}
		if key, err := hostKey(h, "443"); err != nil || key != h+":443" || strings.HasPrefix(h, ".") {
			return nil, fmt.Errorf("making an authority for inspection: %q is not a host name in lower-case letters: %w", h, gatehouse.ErrInvalid)
		}
	}
	return sorted, nil
}

func newAuthority(environment string, hosts []string) (authority, error) {
	var names []string
	var ips []net.IPNet
	for _, h := range hosts {
		if ip, err := netip.ParseAddr(h); err == nil {
			ips = append(ips, net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(ip.BitLen(), ip.BitLen())})
		} else {
			names = append(names, h)
		}
	}
	// Software that finds an issuer by its name must not find the one before it.
	serial, err := newSerial()
	if err != nil {
		return authority{}, err
	}
	name := fmt.Sprintf("Gatehouse inspection CA (%s) %08x", environment, uint32(serial.Uint64()))
	certPEM, key, err := NewCA(name, names, ips, inspectionLife)
	if err != nil {
		return authority{}, err
	}
	ca, err := OpenCA(certPEM, key)
	if err != nil {
		return authority{}, err
	}
	return authority{ca: ca, certPEM: certPEM, key: key, hosts: hosts, until: ca.Expires()}, nil
}

// writeAuthorities renders certificates and keys in PEM, oldest first.
func writeAuthorities(all []authority) secret.Text {
	var b strings.Builder
	for _, a := range all {
		b.Write(a.certPEM)
		b.WriteString(a.key.Reveal())
	}
	return secret.New(b.String())
}

// readAuthorities reads what [writeAuthorities] wrote; what has ended is left out.
func readAuthorities(text secret.Text) ([]authority, error) {
	var all []authority
	rest := []byte(text.Reveal())
	defer clear(rest)
	for len(bytes.TrimSpace(rest)) > 0 {
		var cert, key *pem.Block
		cert, rest = pem.Decode(rest)
		key, rest = pem.Decode(rest)
		if cert == nil || key == nil {
			return nil, fmt.Errorf("reading the authorities for inspection: a certificate without a key: %w", gatehouse.ErrInvalid)
		}
		a := authority{certPEM: pem.EncodeToMemory(cert), key: secret.New(string(pem.EncodeToMemory(key)))}
		parsed, err := x509.ParseCertificate(cert.Bytes)
		if err == nil && time.Now().After(parsed.NotAfter) {
			continue
		}
		if a.ca, err = OpenCA(a.certPEM, a.key); err != nil {
			return nil, err
		}
		for _, n := range a.ca.cert.PermittedDNSDomains {
			if n != nobody {
				a.hosts = append(a.hosts, n)
			}
		}
		for _, n := range a.ca.cert.PermittedIPRanges {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				a.hosts = append(a.hosts, ip.Unmap().String())
			}
		}
		slices.Sort(a.hosts)
		a.until = a.ca.Expires()
		all = append(all, a)
		if len(all) > maxAuthorities {
			return nil, fmt.Errorf("reading the authorities for inspection: more than %d: %w", maxAuthorities, gatehouse.ErrInvalid)
		}
	}
	for i := range all[:max(len(all)-1, 0)] {
		all[i].until = earlier(all[i].until, all[i+1].born().Add(inspectionOverlap))
	}
	return all, nil
}

// OpenInspectionCA opens what [NextInspectionCA] returned. No text, or one whose
// authorities have all ended, is ErrNotFound.
func OpenInspectionCA(text secret.Text) (*InspectionCA, error) {
	all, err := readAuthorities(text)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("opening the authorities for inspection: there is none: %w", gatehouse.ErrNotFound)
	}
	return &InspectionCA{members: all, leaves: map[string]*tls.Certificate{}}, nil
}

// Hosts returns the hosts of the current authority, sorted.
func (c *InspectionCA) Hosts() []string { return slices.Clone(c.members[len(c.members)-1].hosts) }

// Leaf returns a certificate for a host, which must be one of the hosts exactly:
// ErrNotFound otherwise. While authorities overlap it is signed by the oldest that
// may, which most clients trust. It is kept for some hours.
func (c *InspectionCA) Leaf(host string) (*tls.Certificate, error) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if leaf := c.leaves[host]; leaf != nil && now.Before(leaf.Leaf.NotBefore.Add(backdate+inspectionLeafLife/2)) && now.Before(leaf.Leaf.NotAfter) {
		return leaf, nil
	}
	for i := range c.members {
		a := &c.members[i]
		if now.After(a.until) || !slices.Contains(a.hosts, host) {
			continue
		}
		var names []string
		var ips []net.IP
		if ip, err := netip.ParseAddr(host); err == nil {
			ips = []net.IP{ip.AsSlice()}
		} else {
			names = []string{host}
		}
		leaf, err := a.ca.issue(names, ips, min(inspectionLeafLife, a.until.Sub(now)))
		if err != nil {
			return nil, err
		}
		// Bounded: only the hosts of authorities get here.
		c.leaves[host] = leaf
		return leaf, nil
	}
	return nil, fmt.Errorf("issuing a certificate for inspection: the host is not looked into: %w", gatehouse.ErrNotFound)
}

// InspectionAuthority is what may be shown of an authority for inspection.
type InspectionAuthority struct {
	// Name is its common name.
	Name string
	// PEM is its certificate.
	PEM []byte
	// SHA256 is the certificate's fingerprint in lower-case hexadecimal digits.
	SHA256 string
	// Hosts are those that it may sign for, sorted.
	Hosts []string
	// Made is when it was made, Ends when its certificate ends, and Until when we
	// stop to sign with it.
	Made, Ends, Until time.Time
}

// Authorities returns what clients should trust now: the current authority first,
// then, while they overlap, those before it, the newest first.
func (c *InspectionCA) Authorities() []InspectionAuthority {
	var all []InspectionAuthority
	now := time.Now()
	for _, a := range slices.Backward(c.members) {
		if now.After(a.until) {
			continue
		}
		sum := sha256.Sum256(a.ca.cert.Raw)
		all = append(all, InspectionAuthority{
			Name: a.ca.cert.Subject.CommonName, PEM: slices.Clone(a.certPEM), SHA256: hex.EncodeToString(sum[:]), Hosts: slices.Clone(a.hosts),
			Made: a.born(), Ends: a.ca.Expires(), Until: a.until,
		})
	}
	return all
}
