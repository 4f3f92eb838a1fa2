package wire

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"
)

const (
	// leafLife is short, so that a leaf that leaks is soon worth nothing; nothing
	// else could revoke it.
	leafLife = 7 * 24 * time.Hour
	// leafRenew is the age at which a new leaf is made.
	leafRenew = leafLife / 2
	// backdate tolerates a client whose clock is behind.
	backdate = time.Hour
)

// NewCA makes a local certificate authority: a self-signed ECDSA P-256
// certificate that can sign servers only for the DNS names (with what lies below
// them) and address ranges given. The constraint is critical: software that does
// not understand it must refuse the certificate, so whoever trusts this
// authority lets it speak for nothing else. The key is PKCS #8 in PEM.
func NewCA(commonName string, names []string, ips []net.IPNet, life time.Duration) (certPEM []byte, key secret.Text, err error) {
	if len(names) == 0 && len(ips) == 0 {
		return nil, secret.Text{}, fmt.Errorf("making a local certificate authority: it would be allowed no name: %w", gatehouse.ErrInvalid)
	}
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, secret.Text{}, fmt.Errorf("making the authority's key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, secret.Text{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: commonName, Organization: []string{"Gatehouse"}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(life),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},

		// A form of name without any constraint would be free. Those that are not
		// wanted are therefore tied to a name that cannot exist (RFC 6761).
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         names,
		PermittedEmailAddresses:     []string{nobody},
		PermittedURIDomains:         []string{nobody},
	}
	if len(names) == 0 {
		template.PermittedDNSDomains = []string{nobody}
	}
	for i := range ips {
		template.PermittedIPRanges = append(template.PermittedIPRanges, &ips[i])
	}
	if len(ips) == 0 {
		template.ExcludedIPRanges = []*net.IPNet{
			{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
			{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, priv.Public(), priv)
	if err != nil {
		return nil, secret.Text{}, fmt.Errorf("signing the authority's certificate: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return nil, secret.Text{}, fmt.Errorf("encoding the authority's key: %w", err)
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return certPEM, secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))), nil
}

// nobody is a name that never resolves.
const nobody = "invalid"

func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("choosing a serial number: %w", err)
	}
	return n.Add(n, big.NewInt(1)), nil
}

// CA issues the leaves of one local certificate authority. It is safe for
// concurrent use.
type CA struct {
	cert *x509.Certificate
	pool *x509.CertPool
	key  *ecdsa.PrivateKey
}

// OpenCA reads what [NewCA] made. It refuses a certificate that is not an
// authority, that carries no critical name constraints, that has ended, or to
// which the key does not belong.
func OpenCA(certPEM []byte, key secret.Text) (*CA, error) {
	refuse := func(why string) (*CA, error) {
		return nil, fmt.Errorf("opening the local certificate authority: %s: %w", why, gatehouse.ErrInvalid)
	}
	block, rest := pem.Decode(certPEM)
	if block == nil || block.Type != "CERTIFICATE" || len(strings.TrimSpace(string(rest))) > 0 {
		return refuse("the certificate is not one PEM block")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return refuse("the certificate cannot be read")
	}
	keyBlock, _ := pem.Decode([]byte(key.Reveal()))
	if keyBlock == nil {
		return refuse("the key is not PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return refuse("the key cannot be read")
	}
	priv, ok := parsed.(*ecdsa.PrivateKey)
	switch {
	case !ok:
		return refuse("the key is not an ECDSA key")
	case !priv.PublicKey.Equal(cert.PublicKey):
		return refuse("the key does not belong to the certificate")
	case !cert.IsCA:
		return refuse("the certificate is not an authority's")
	case !cert.PermittedDNSDomainsCritical:
		return refuse("its names are not constrained, or not critically")
	case time.Now().After(cert.NotAfter):
		return refuse("the certificate ended on " + cert.NotAfter.UTC().Format(time.DateOnly))
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &CA{cert: cert, pool: pool, key: priv}, nil
}

// Expires returns when the authority itself ends.
func (c *CA) Expires() time.Time { return c.cert.NotAfter }

// Pool returns a pool that holds only this authority.
func (c *CA) Pool() *x509.CertPool { return c.pool.Clone() }

// Issue makes a server certificate for the names and addresses, at least one of
// them. It checks the result as a client would, so a name outside the
// authority's constraints is an error here, not a riddle for every client.
func (c *CA) Issue(names []string, ips []net.IP) (*tls.Certificate, error) {
	return c.issue(names, ips, leafLife)
}

func (c *CA) issue(names []string, ips []net.IP, life time.Duration) (*tls.Certificate, error) {
	if len(names) == 0 && len(ips) == 0 {
		return nil, fmt.Errorf("issuing a certificate: no name: %w", gatehouse.ErrInvalid)
	}
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"Gatehouse"}},
		NotBefore:    now.Add(-backdate),
		NotAfter:     earlier(now.Add(life), c.cert.NotAfter),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     slices.Clone(names),
		IPAddresses:  slices.Clone(ips),

		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, priv.Public(), c.key)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate just signed: %w", err)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: c.pool}); err != nil {
		var constraint x509.CertificateInvalidError
		if errors.As(err, &constraint) && constraint.Reason == x509.CANotAuthorizedForThisName {
			return nil, fmt.Errorf("issuing a certificate for %s: a name lies outside what the authority may sign: %w",
				strings.Join(sanText(names, ips), ", "), gatehouse.ErrInvalid)
		}
		return nil, fmt.Errorf("checking the certificate just signed: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: priv, Leaf: leaf}, nil
}

func sanText(names []string, ips []net.IP) []string {
	all := slices.Clone(names)
	for _, ip := range ips {
		all = append(all, ip.String())
	}
	return all
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// ServerTLS returns a listener's configuration: TLS 1.2 or newer with a
// certificate for the names and addresses that renews itself. A name outside the
// authority's constraints shows at the first handshake; call [CA.Issue] before
// to see it at start.
func (c *CA) ServerTLS(names []string, ips []net.IP) *tls.Config {
	i := &issuer{ca: c, names: slices.Clone(names), ips: slices.Clone(ips)}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: i.certificate}
}

// issuer keeps the newest leaf of one listener.
type issuer struct {
	ca    *CA
	names []string
	ips   []net.IP

	mu   sync.Mutex // guards leaf
	leaf *tls.Certificate
}

func (i *issuer) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := time.Now()
	if i.leaf != nil && now.Before(i.leaf.Leaf.NotBefore.Add(backdate+leafRenew)) && now.Before(i.leaf.Leaf.NotAfter) {
		return i.leaf, nil
	}
	leaf, err := i.ca.Issue(i.names, i.ips)
	if err != nil {
		return nil, err
	}
	i.leaf = leaf
	return leaf, nil
}
