package factor

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"gatehouse"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
)

const (
	// DefaultCeremony is how long a person has for one ceremony.
	DefaultCeremony = 5 * time.Minute
	// MaxResponse is the greatest size of what a browser answers, in bytes. Without an
	// attestation it is below 2 KiB.
	MaxResponse = 16 << 10
	// maxPasskeyID and maxPublicKey bound what is kept of a passkey: the specification
	// and an RSA key of 8192 bits.
	maxPasskeyID = 1023
	maxPublicKey = 1200
	// maxHandle is the specification's bound for a user's handle.
	maxHandle = 64
)

// PasskeyConfig is what NewPasskeys needs.
type PasskeyConfig struct {
	// Origin is the one address, scheme and host (and port), from whose pages passkeys
	// are made and used. Its host is the relying party's id, so that a passkey made
	// there works there only. https, or http on localhost. Required.
	Origin string
	// Name is what the browser shows as whom the passkey is for. Required.
	Name string
	// Discoverable demands passkeys that are found without knowing whose they are, so
	// that nobody has to type a name. Otherwise that is as the authenticator likes.
	Discoverable bool
	// Ceremony is how long a person has; zero means DefaultCeremony.
	Ceremony time.Duration
}

// Passkeys makes and checks passkeys for one site. It is safe for concurrent use.
type Passkeys struct {
	library *webauthn.WebAuthn
	id      string
}

// NewPasskeys returns the passkeys of a site. An address whose host is a number is
// refused: browsers make no passkeys there.
func NewPasskeys(c PasskeyConfig) (*Passkeys, error) {
	u, err := url.Parse(c.Origin)
	if err != nil || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("origin of passkeys: it is not scheme and host alone: %w", gatehouse.ErrInvalid)
	}
	host := u.Hostname()
	if _, err := netip.ParseAddr(host); err == nil {
		return nil, fmt.Errorf("origin of passkeys: browsers make passkeys for names, not for addresses in numbers; localhost will do: %w", gatehouse.ErrInvalid)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || host != "localhost") {
		return nil, fmt.Errorf("origin of passkeys: browsers make passkeys on https only, or on http://localhost: %w", gatehouse.ErrInvalid)
	}
	if c.Name == "" {
		return nil, fmt.Errorf("name of passkeys' site: it is missing: %w", gatehouse.ErrInvalid)
	}
	if c.Ceremony == 0 {
		c.Ceremony = DefaultCeremony
	}
	resident := protocol.ResidentKeyRequirementPreferred
	if c.Discoverable {
		resident = protocol.ResidentKeyRequirementRequired
	}
	timeout := webauthn.TimeoutConfig{Enforce: true, Timeout: c.Ceremony, TimeoutUVD: c.Ceremony}
	library, err := webauthn.New(&webauthn.Config{
		RPID: host, RPDisplayName: c.Name, RPOrigins: []string{u.Scheme + "://" + u.Host},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: resident, RequireResidentKey: new(c.Discoverable), UserVerification: protocol.VerificationRequired,
		},
		Timeouts: webauthn.TimeoutsConfig{Login: timeout, Registration: timeout},
		// We ask for no extension and read none; some password managers answer one all
		// the same.
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore,
	})
	if err != nil {
		return nil, fmt.Errorf("origin of passkeys: %w: %w", err, gatehouse.ErrInvalid)
	}
	return &Passkeys{library: library, id: host}, nil
}

// ID is the relying party's id: a passkey made under one id is of no use under
// another, so whoever stores passkeys can note it.
func (p *Passkeys) ID() string { return p.id }

// A Holder is somebody who has passkeys, or is to have one.
type Holder struct {
	// Handle stands in the authenticator and comes back from it: 1 to 64 random bytes,
	// the same for all of the holder's passkeys, that say nothing about them.
	Handle []byte
	// Name and Display are what the authenticator shows its owner; they are not
	// checked.
	Name, Display string
	// Passkeys are the holder's.
	Passkeys []Passkey
}

// A Passkey is what is kept of one: nothing in it is secret, but its ID and key find
// its owner elsewhere, so it is kept like a personal value.
type Passkey struct {
	// ID is the credential's id, unique at the authenticator that made it. Two holders
	// must not have the same.
	ID []byte `json:"id"`
	// Key is the public key in COSE form.
	Key []byte `json:"key"`
	// Counter is the last one seen; zero for the many that do not count.
	Counter uint32 `json:"counter,omitempty"`
	// Model is the authenticator's AAGUID, zero if it does not say.
	Model []byte `json:"model,omitempty"`
	// Transports are how the browser may reach it.
	Transports []string `json:"transports,omitempty"`
	// Synced says that it may be copied between the owner's devices.
	Synced bool `json:"synced,omitempty"`
	// Flags are the authenticator's at the last use.
	Flags byte `json:"flags"`
}

// The kinds of ceremony. A state of one kind finishes no other.
const (
	registration = "registration"
	login        = "login"
	discoverable = "discoverable"
)

// state is what is kept between begin and finish.
type state struct {
	Kind    string               `json:"kind"`
	Session webauthn.SessionData `json:"session"`
}

// BeginRegistration returns what the browser needs to make a passkey (JSON, of the
// form that navigator.credentials.create takes after
// PublicKeyCredential.parseCreationOptionsFromJSON of its publicKey) and the
// ceremony's state. The state stays with the caller, bound to the session that it is
// for, and is taken from the store before the answer is judged: it must not serve
// twice. It holds no secret that is worth more than the ceremony.
func (p *Passkeys) BeginRegistration(h Holder) (options, ceremony []byte, err error) {
	if len(h.Handle) == 0 || len(h.Handle) > maxHandle {
		return nil, nil, errors.New("a holder of passkeys needs a handle of 1 to 64 bytes")
	}
	u := user{h}
	exclude := make([]protocol.CredentialDescriptor, 0, len(h.Passkeys))
	for _, c := range u.WebAuthnCredentials() {
		exclude = append(exclude, c.Descriptor())
	}
	creation, session, err := p.library.BeginRegistration(u, webauthn.WithExclusions(exclude),
		webauthn.WithCredentialParameters(webauthn.CredentialParametersRecommendedL3()))
	if err != nil {
		return nil, nil, fmt.Errorf("beginning to register a passkey: %w", err)
	}
	return encode(creation, state{registration, *session})
}

// FinishRegistration returns the passkey that the browser's answer brings, to be
// stored for the holder, or ErrWrong or ErrExpired. That its ID is nobody else's is
// for the store to see to.
func (p *Passkeys) FinishRegistration(h Holder, ceremony, answer []byte) (Passkey, error) {
	session, err := p.resume(registration, ceremony, answer)
	if err != nil {
		return Passkey{}, err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return Passkey{}, wrong(err)
	}
	// What we asked not to get needs no verifier: no certificate of a maker is parsed.
	// Without one "packed" is signed by the key itself, which is as good as "none".
	object := parsed.Response.AttestationObject
	_, certified := object.AttStatement["x5c"]
	if object.Format != "none" && (object.Format != "packed" || certified) {
		return Passkey{}, wrong(errors.New("it comes with an attestation that was not asked for"))
	}
	c, err := p.library.CreateCredential(user{h}, session, parsed)
	switch {
	case err != nil:
		return Passkey{}, wrong(err)
	case len(c.ID) == 0 || len(c.ID) > maxPasskeyID || len(c.PublicKey) == 0 || len(c.PublicKey) > maxPublicKey:
		return Passkey{}, wrong(errors.New("its id or key has no allowed size"))
	case slices.ContainsFunc(h.Passkeys, func(k Passkey) bool { return string(k.ID) == string(c.ID) }):
		return Passkey{}, wrong(errors.New("the holder has it already"))
	}
	return passkeyOf(c), nil
}

// BeginLogin returns what the browser needs to prove that it holds one of the
// holder's passkeys, and the ceremony's state; see [Passkeys.BeginRegistration]. A
// holder without passkeys is ErrWrong.
func (p *Passkeys) BeginLogin(h Holder) (options, ceremony []byte, err error) {
	if len(h.Passkeys) == 0 {
		return nil, nil, ErrWrong
	}
	assertion, session, err := p.library.BeginLogin(user{h})
	if err != nil {
		return nil, nil, fmt.Errorf("beginning to use a passkey: %w", err)
	}
	return encode(assertion, state{login, *session})
}

// FinishLogin returns the passkey that answered, with its new counter: the caller
// stores it in place of the one before, and believes it only if that was still there.
// Or ErrWrong, ErrExpired, or ErrCloned with the passkey that must not be believed
// any more.
func (p *Passkeys) FinishLogin(h Holder, ceremony, answer []byte) (Passkey, error) {
	session, err := p.resume(login, ceremony, answer)
	if err != nil {
		return Passkey{}, err
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		return Passkey{}, wrong(err)
	}
	c, err := p.library.ValidateLogin(user{h}, session, parsed)
	if err != nil {
		return Passkey{}, wrong(err)
	}
	return judged(c)
}

// BeginDiscoverable returns what the browser needs to let a person choose among the
// passkeys that it has for this site, and the ceremony's state; see
// [Passkeys.BeginRegistration].
func (p *Passkeys) BeginDiscoverable() (options, ceremony []byte, err error) {
	assertion, session, err := p.library.BeginDiscoverableLogin()
	if err != nil {
		return nil, nil, fmt.Errorf("beginning to use a passkey: %w", err)
	}
	return encode(assertion, state{discoverable, *session})
}

// FinishDiscoverable is FinishLogin for a ceremony of [Passkeys.BeginDiscoverable].
// find returns the holder with a handle, who should have a passkey with that id; its
// error, if it has a kind, ends the ceremony as ErrWrong. Both values come from the
// browser and are not yet proved.
func (p *Passkeys) FinishDiscoverable(ceremony, answer []byte, find func(handle, id []byte) (Holder, error)) (Holder, Passkey, error) {
	session, err := p.resume(discoverable, ceremony, answer)
	if err != nil {
		return Holder{}, Passkey{}, err
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		return Holder{}, Passkey{}, wrong(err)
	}
	if n := len(parsed.Response.UserHandle); n > maxHandle || len(parsed.RawID) > maxPasskeyID {
		return Holder{}, Passkey{}, wrong(errors.New("its id or handle has no allowed size"))
	}
	var broken error // what find could not do, unlike what it did not find
	found, c, err := p.library.ValidatePasskeyLogin(func(id, handle []byte) (webauthn.User, error) {
		h, err := find(handle, id)
		if err != nil && gatehouse.Kind(err) == nil {
			broken = err
		}
		return user{h}, err
	}, session, parsed)
	if broken != nil {
		return Holder{}, Passkey{}, broken
	}
	if err != nil {
		return Holder{}, Passkey{}, wrong(err)
	}
	holder := found.(user).Holder //nolint:forcetypeassert // ours, from the function above
	key, err := judged(c)
	return holder, key, err
}

// resume reads a ceremony's state and bounds the answer.
func (p *Passkeys) resume(kind string, ceremony, answer []byte) (webauthn.SessionData, error) {
	var s state
	if err := json.Unmarshal(ceremony, &s); err != nil || s.Kind != kind || s.Session.RelyingPartyID != p.id || s.Session.Expires.IsZero() {
		return webauthn.SessionData{}, errState
	}
	if !time.Now().Before(s.Session.Expires) {
		return webauthn.SessionData{}, ErrExpired
	}
	if len(answer) > MaxResponse {
		return webauthn.SessionData{}, wrong(errors.New("it is too large"))
	}
	return s.Session, nil
}

// judged is the end of a login: an answer that is right is believed unless the
// counter went back.
func judged(c *webauthn.Credential) (Passkey, error) {
	if c.Authenticator.CloneWarning {
		return passkeyOf(c), ErrCloned
	}
	return passkeyOf(c), nil
}

// wrong is ErrWrong. The library's reason is for whoever debugs a client: it holds
// parts of what was sent, so it does not enter the text.
func wrong(reason error) error { return &wrongError{reason} }

type wrongError struct{ reason error }

func (*wrongError) Error() string { return ErrWrong.Error() }

func (e *wrongError) Unwrap() []error { return []error{ErrWrong, e.reason} }

func encode(options any, s state) (o, c []byte, err error) {
	if o, err = json.Marshal(options); err == nil {
		c, err = json.Marshal(s)
	}
	return o, c, err
}

func passkeyOf(c *webauthn.Credential) Passkey {
	k := Passkey{
		ID: c.ID, Key: c.PublicKey, Counter: c.Authenticator.SignCount, Model: c.Authenticator.AAGUID,
		Synced: c.Flags.BackupEligible, Flags: byte(c.Flags.ProtocolValue()),
	}
	for _, t := range c.Transport {
		if s := string(t); len(k.Transports) < 8 && len(s) <= 16 {
			k.Transports = append(k.Transports, s)
		}
	}
	return k
}

// user shows a holder to the library.
type user struct{ Holder }

func (u user) WebAuthnID() []byte          { return u.Handle }
func (u user) WebAuthnName() string        { return u.Name }
func (u user) WebAuthnDisplayName() string { return u.Display }

func (u user) WebAuthnCredentials() []webauthn.Credential {
	all := make([]webauthn.Credential, 0, len(u.Passkeys))
	for _, k := range u.Passkeys {
		c := webauthn.Credential{
			ID: k.ID, PublicKey: k.Key, AttestationFormat: "none",
			Flags:         webauthn.NewCredentialFlags(protocol.AuthenticatorFlags(k.Flags)),
			Authenticator: webauthn.Authenticator{AAGUID: k.Model, SignCount: k.Counter},
		}
		for _, t := range k.Transports {
			c.Transport = append(c.Transport, protocol.AuthenticatorTransport(t))
		}
		all = append(all, c)
	}
	return all
}
