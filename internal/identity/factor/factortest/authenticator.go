// Package factortest plays what people hold in their hands, for tests: an
// authenticator with passkeys, and an authenticator app with codes. It is a second
// opinion: it shares no code with what it tests.
package factortest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// The flags of authenticator data.
const (
	Present  = 0x01
	Verified = 0x04
	Eligible = 0x08
	BackedUp = 0x10
	attested = 0x40
)

// Authenticator is a browser with an authenticator in it. Its fields may be changed
// between ceremonies, to lie.
type Authenticator struct {
	// Origin is the address of the page that asks.
	Origin string
	// ID is the relying party's id that the authenticator signs for. Empty means what
	// the options name.
	ID string
	// Flags are those of what it signs: Present and Verified at first.
	Flags byte
	// Counter is the last one used, and Step what it grows by. Zero and zero: it does
	// not count.
	Counter, Step uint32
	// Edwards makes keys of Ed25519 instead of P-256.
	Edwards bool
	// Type and CrossOrigin stand in the client data, if they are set.
	Type        string
	CrossOrigin bool
	// Format and Statement are the attestation; empty means none.
	Format    string
	Statement map[string]any
	// Certified makes a true "packed" attestation of it, with a maker's certificate.
	Certified bool
	// Handle comes back in place of the one that was registered, if it is set.
	Handle []byte

	keys []key
	t    testing.TB
}

type key struct {
	id, handle []byte
	rp         string
	signer     crypto.Signer
}

// New returns an authenticator without passkeys, that looks at pages of origin.
func New(t testing.TB, origin string) *Authenticator {
	return &Authenticator{Origin: origin, Flags: Present | Verified, t: t}
}

// Clone returns a copy: the same keys, and a counter of its own.
func (a *Authenticator) Clone() *Authenticator {
	c := *a
	c.keys = append([]key{}, a.keys...)
	return &c
}

// options is what both ceremonies' options are read as.
type options struct {
	PublicKey struct {
		Challenge string `json:"challenge"`
		RPID      string `json:"rpId"`
		RP        struct {
			ID string `json:"id"`
		} `json:"rp"`
		User struct {
			ID string `json:"id"`
		} `json:"user"`
		Allow   []descriptor `json:"allowCredentials"`
		Exclude []descriptor `json:"excludeCredentials"`
	} `json:"publicKey"`
}

type descriptor struct {
	ID string `json:"id"`
}

func (a *Authenticator) read(b []byte) options {
	a.t.Helper()
	var o options
	if err := json.Unmarshal(b, &o); err != nil {
		a.t.Fatalf("reading options: %v", err)
	}
	return o
}

// Register makes a passkey and returns the browser's answer.
func (a *Authenticator) Register(opts []byte) []byte {
	a.t.Helper()
	o := a.read(opts)
	for _, e := range o.PublicKey.Exclude {
		for _, k := range a.keys {
			if e.ID == text(k.id) {
				a.t.Fatal("the authenticator has a passkey that the options exclude")
			}
		}
	}
	handle, err := base64.RawURLEncoding.DecodeString(o.PublicKey.User.ID)
	if err != nil {
		a.t.Fatal(err)
	}
	k := key{id: make([]byte, 32), handle: handle, rp: o.PublicKey.RP.ID}
	_, _ = rand.Read(k.id)
	public := a.generate(&k)
	a.keys = append(a.keys, k)

	data := a.data(k.rp, a.Flags|attested)
	data = append(data, make([]byte, 16)...) // no model
	data = binary.BigEndian.AppendUint16(data, uint16(len(k.id)))
	data = append(append(data, k.id...), public...)
	client := a.client("webauthn.create", o.PublicKey.Challenge)
	format, statement := a.Format, a.Statement
	if format == "" {
		format = "none"
	}
	switch {
	case a.Certified:
		format, statement = "packed", a.certified(client, data)
	case statement == nil && format == "packed":
		digest := sha256.Sum256(client)
		statement = map[string]any{"alg": -7, "sig": a.sign(k, append(bytes.Clone(data), digest[:]...))}
	case statement == nil:
		statement = map[string]any{}
	}
	return encode(a.t, map[string]any{
		"id": text(k.id), "rawId": text(k.id), "type": "public-key", "authenticatorAttachment": "platform", "clientExtensionResults": map[string]any{},
		"response": map[string]any{
			"clientDataJSON":    text(client),
			"attestationObject": text(a.cbor(map[string]any{"fmt": format, "attStmt": statement, "authData": data})),
			"transports":        []string{"internal"},
		},
	})
}

// certified is what a maker's key says of a new passkey.
func (a *Authenticator) certified(client, data []byte) map[string]any {
	a.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	certificate := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		Subject: pkix.Name{Country: []string{"DE"}, Organization: []string{"A maker"}, OrganizationalUnit: []string{"Authenticator Attestation"}, CommonName: "A model"},
	}
	der, err := x509.CreateCertificate(rand.Reader, certificate, certificate, &private.PublicKey, private)
	if err != nil {
		a.t.Fatal(err)
	}
	digest := sha256.Sum256(client)
	return map[string]any{"alg": -7, "sig": a.sign(key{signer: private}, append(bytes.Clone(data), digest[:]...)), "x5c": []any{der}}
}

// Sign uses a passkey and returns the browser's answer: the first that the options
// allow, or the newest for their site if they name none.
func (a *Authenticator) Sign(opts []byte) []byte {
	a.t.Helper()
	o := a.read(opts)
	var k *key
	for i := range a.keys {
		allowed := len(o.PublicKey.Allow) == 0 && a.keys[i].rp == o.PublicKey.RPID
		for _, d := range o.PublicKey.Allow {
			allowed = allowed || d.ID == text(a.keys[i].id)
		}
		if allowed {
			k = &a.keys[i]
		}
	}
	if k == nil {
		a.t.Fatal("the authenticator has no passkey that the options allow")
	}
	return a.SignWith(opts, k.id)
}

// SignWith is Sign with one passkey, allowed or not.
func (a *Authenticator) SignWith(opts, id []byte) []byte {
	a.t.Helper()
	o := a.read(opts)
	for _, k := range a.keys {
		if !bytes.Equal(k.id, id) {
			continue
		}
		a.Counter += a.Step
		data := a.data(o.PublicKey.RPID, a.Flags)
		client := a.client("webauthn.get", o.PublicKey.Challenge)
		digest := sha256.Sum256(client)
		handle := k.handle
		if a.Handle != nil {
			handle = a.Handle
		}
		return encode(a.t, map[string]any{
			"id": text(k.id), "rawId": text(k.id), "type": "public-key", "clientExtensionResults": map[string]any{},
			"response": map[string]any{
				"clientDataJSON": text(client), "authenticatorData": text(data),
				"signature": text(a.sign(k, append(bytes.Clone(data), digest[:]...))), "userHandle": text(handle),
			},
		})
	}
	a.t.Fatal("the authenticator has no such passkey")
	return nil
}

// IDs returns the ids of its passkeys, in the order they were made.
func (a *Authenticator) IDs() [][]byte {
	var ids [][]byte
	for _, k := range a.keys {
		ids = append(ids, k.id)
	}
	return ids
}

// generate makes a key pair and returns the public one in COSE form.
func (a *Authenticator) generate(k *key) []byte {
	if a.Edwards {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			a.t.Fatal(err)
		}
		k.signer = private
		return a.cbor(map[int]any{1: 1, 3: -8, -1: 6, -2: []byte(public)})
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	k.signer = private
	point, err := private.PublicKey.Bytes()
	if err != nil {
		a.t.Fatal(err)
	}
	return a.cbor(map[int]any{1: 2, 3: -7, -1: 1, -2: point[1:33], -3: point[33:]})
}

func (a *Authenticator) sign(k key, message []byte) []byte {
	a.t.Helper()
	digest, by := message, crypto.Hash(0)
	if _, edwards := k.signer.(ed25519.PrivateKey); !edwards {
		sum := sha256.Sum256(message)
		digest, by = sum[:], crypto.SHA256
	}
	signature, err := k.signer.Sign(rand.Reader, digest, by)
	if err != nil {
		a.t.Fatal(err)
	}
	return signature
}

func (a *Authenticator) data(rp string, flags byte) []byte {
	if a.ID != "" {
		rp = a.ID
	}
	hash := sha256.Sum256([]byte(rp))
	return binary.BigEndian.AppendUint32(append(hash[:], flags), a.Counter)
}

func (a *Authenticator) client(kind, challenge string) []byte {
	if a.Type != "" {
		kind = a.Type
	}
	return encode(a.t, map[string]any{"type": kind, "challenge": challenge, "origin": a.Origin, "crossOrigin": a.CrossOrigin})
}

func (a *Authenticator) cbor(v any) []byte {
	a.t.Helper()
	mode, err := cbor.CTAP2EncOptions().EncMode()
	if err != nil {
		a.t.Fatal(err)
	}
	b, err := mode.Marshal(v)
	if err != nil {
		a.t.Fatal(err)
	}
	return b
}

func text(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(fmt.Errorf("encoding: %w", err))
	}
	return b
}
