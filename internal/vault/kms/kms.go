// Package kms owns the root keys that live in a key management system: HashiCorp
// Vault's or OpenBao's transit engine, AWS KMS, Google Cloud KMS, and a token that
// speaks PKCS#11. Each is a vault.RootKey: it wraps the domain keys and binds them
// to their place, and never leaves its system.
//
// It promises that an answer is believed only if it is whole, within bounds, about
// the key that was asked for, and as the system's documentation says; that whoever
// cannot be reached, or talks nonsense, is told apart from whoever says no; and
// that an error names the key and what to do, and repeats neither a credential nor
// anything the other side sent. It must never follow a redirect, speak plain http
// beyond loopback (the metadata server of Google's machines aside), or keep a
// credential longer than its system lends it: they are read from where the
// configuration points each time they are needed.
package kms

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

// Source reads a credential from where it is kept, anew each time: a token that an
// agent renews in a file is found renewed.
type Source func() (secret.Text, error)

// DefaultTimeout bounds one request when a configuration does not.
const DefaultTimeout = 5 * time.Second

const (
	// maxReply bounds an answer. A wrapped domain key is a few hundred bytes.
	maxReply = 64 << 10
	// maxWrapped bounds what is sent to be unwrapped: it comes from the database.
	maxWrapped = 16 << 10
)

// Network is how a key management system is reached.
type Network struct {
	// RootCAs verify it. Nil means the system's.
	RootCAs *x509.CertPool
	// Timeout bounds each request, from dialling to the answer's last byte. Zero
	// means DefaultTimeout.
	Timeout time.Duration
}

// client asks one key management system.
type client struct {
	id      string // of the root key, for errors
	system  string // as a reader knows it: "AWS KMS"
	egress  *wire.Egress
	timeout time.Duration
}

// newClient returns a client that may speak to the hosts of the given addresses and
// to nobody else: over https, or over plain http to an address that is literally
// loopback's, such as an agent's on this machine.
func newClient(id, system string, n Network, metadata bool, addresses ...string) (*client, error) {
	c := wire.EgressConfig{
		RootCAs: n.RootCAs, AllowPrivate: true, AllowMetadata: metadata, MaxReplyBytes: maxReply, MaxIdlePerHost: 2,
	}
	for _, address := range addresses {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return nil, fmt.Errorf("root key %s: the address is not that of a server: %w", id, gatehouse.ErrInvalid)
		}
		host := withPort(strings.ToLower(u.Host), map[string]string{"https": "443", "http": "80"}[u.Scheme])
		loopback := wire.IsLoopback(host)
		c.AllowLoopback, c.AllowPlainLoopback = c.AllowLoopback || loopback, c.AllowPlainLoopback || loopback
		switch {
		case u.Scheme == "https", u.Scheme == "http" && loopback, metadata && address == metadataBase:
		default:
			return nil, fmt.Errorf("root key %s: %s is asked over https (plain http is for loopback): %w", id, system, gatehouse.ErrInvalid)
		}
		c.Hosts = append(c.Hosts, host)
	}
	c.HeaderTimeout, c.DialTimeout = n.Timeout, n.Timeout
	egress, err := wire.NewEgress(c)
	if err != nil {
		return nil, fmt.Errorf("root key %s: %w", id, err)
	}
	if n.Timeout == 0 {
		n.Timeout = DefaultTimeout
	}
	return &client{id: id, system: system, egress: egress, timeout: n.Timeout}, nil
}

// withPort adds a port to a host without one.
func withPort(host, port string) string {
	if u, err := url.Parse("//" + host); err == nil && u.Port() == "" {
		return host + ":" + port
	}
	return host
}

// answer is a reply, whole.
type answer struct {
	status int
	body   []byte
}

// ask sends one request and returns the answer, whatever its status, redirects
// aside. prepare may sign the request or add headers. Nothing is sent twice.
func (c *client) ask(ctx context.Context, method, address string, body []byte, prepare func(*http.Request) error) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return answer{}, fmt.Errorf("root key %s: the address cannot be asked: %w", c.id, gatehouse.ErrInvalid)
	}
	if len(body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	if prepare != nil {
		if err := prepare(r); err != nil {
			return answer{}, err
		}
	}
	reply, err := c.egress.RoundTrip(r)
	if err != nil {
		return answer{}, c.unreachable(ctx, err)
	}
	defer reply.Body.Close()
	content, err := io.ReadAll(reply.Body)
	// Giving up tells the other side, which may end its answer as if it were whole.
	if err = errors.Join(err, ctx.Err()); err != nil {
		return answer{}, c.unreachable(ctx, err)
	}
	if reply.StatusCode >= 300 && reply.StatusCode < 400 {
		return answer{}, c.away("it answers with a redirect, which is not followed; give the address of the server itself")
	}
	return answer{reply.StatusCode, content}, nil
}

// unreachable turns an error of the network into one for the operator.
func (c *client) unreachable(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, context.Canceled) {
		return fmt.Errorf("asking %s about root key %s: %w", c.system, c.id, cause)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return c.away("it does not answer in time")
	}
	what, known := map[string]string{
		"upstream/timeout":     "it does not answer in time",
		"upstream/tls":         "its certificate or TLS connection cannot be verified; is ca_file the authority that signed it?",
		"upstream/resolve":     "its name cannot be resolved",
		"upstream/size":        "its answer is too large",
		"upstream/header-size": "its answer is too large",
		"upstream/malformed":   "its answer is not valid HTTP",
		"upstream/protocol":    "its answer is not valid HTTP",
		"egress/address":       "its name leads to an address that is neither public nor private",
	}[wire.RuleOf(err)]
	if !known {
		what = "the connection fails"
	}
	return c.away(what)
}

// away is the error of a system that cannot be reached or makes no sense: what is
// held serves on.
func (c *client) away(what string) error {
	return fmt.Errorf("root key %s is out of reach: %s: %s: %w", c.id, c.system, what, gatehouse.ErrUnavailable)
}

// denied is the error of a system that says no to us.
func (c *client) denied(what string) error {
	return fmt.Errorf("root key %s: %s refuses: %s: %w", c.id, c.system, what, gatehouse.ErrDenied)
}

// another is the error of an answer about another key: somebody stands between, or
// the configuration names an alias.
func (c *client) another() error {
	return fmt.Errorf("root key %s: %s answered for another key, so its answer is not used; name the key itself, and find out who answers: %w", c.id, c.system, gatehouse.ErrConflict)
}

// misfit is the error of a system that cannot open what it was given. Like the key
// file's, it has no kind.
func (c *client) misfit() error {
	return fmt.Errorf("root key %s: %s: %w", c.id, c.system, vault.ErrMisfit)
}

// decode reads the JSON of an answer.
func (c *client) decode(a answer, to any) error {
	if err := json.Unmarshal(a.body, to); err != nil {
		return c.away("its answer is not what its documentation says")
	}
	return nil
}

// encode renders a request.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("a request of strings did not marshal: " + err.Error())
	}
	return b
}

// bounded refuses, before anyone is asked, a wrapped key that no Wrap can have made.
func (c *client) bounded(ciphertext []byte) error {
	if len(ciphertext) == 0 || len(ciphertext) > maxWrapped {
		return c.misfit()
	}
	return nil
}

// read follows a credential's reference.
func (c *client) read(what string, s Source) (secret.Text, error) {
	if s == nil {
		return secret.Text{}, fmt.Errorf("root key %s: root_key_access gives no %s: %w", c.id, what, gatehouse.ErrInvalid)
	}
	text, err := s()
	if err != nil {
		// The credential is not to be had at the moment: an agent may be about to
		// write it. That is no refusal.
		return secret.Text{}, fmt.Errorf("root key %s: reading %s of root_key_access: %w: %w", c.id, what, err, gatehouse.ErrUnavailable)
	}
	return text, nil
}
