//go:build pkcs11

package kms

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"gatehouse"
	"gatehouse/internal/secret"
	"gatehouse/internal/vault"

	"github.com/miekg/pkcs11"
)

// What is wrapped is a nonce (12 bytes) and what CKM_AES_GCM makes of the rest, with
// a tag of 16 bytes.
const (
	gcmNonce = 12
	gcmTag   = 16
)

// PKCS11 is a root key on a PKCS#11 token. A token's session serves one at a time.
type PKCS11 struct {
	key    pkcs11Key
	pin    Source
	module *pkcs11.Ctx

	mu      sync.Mutex // held while the token works: it is a device of this machine
	session pkcs11.SessionHandle
	object  pkcs11.ObjectHandle
	open    bool
}

// modules are the loaded modules by path: each may be initialised once in a
// process.
var modules struct {
	sync.Mutex
	loaded map[string]*pkcs11.Ctx
}

func load(path string) (*pkcs11.Ctx, error) {
	modules.Lock()
	defer modules.Unlock()
	if m := modules.loaded[path]; m != nil {
		return m, nil
	}
	m := pkcs11.New(path)
	if m == nil {
		return nil, fmt.Errorf("the module %s cannot be loaded: %w", path, gatehouse.ErrNotFound)
	}
	if err := m.Initialize(); err != nil && !errors.Is(err, pkcs11.Error(pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED)) {
		return nil, fmt.Errorf("the module %s does not start (%s): %w", path, code(err), gatehouse.ErrUnavailable)
	}
	if modules.loaded == nil {
		modules.loaded = map[string]*pkcs11.Ctx{}
	}
	modules.loaded[path] = m
	return m, nil
}

// NewPKCS11 loads the module and logs in.
func NewPKCS11(c PKCS11Config) (vault.RootKey, error) {
	key, err := parsePKCS11(c.Key)
	if err != nil {
		return nil, err
	}
	if c.PIN == nil {
		return nil, fmt.Errorf("root key %s: root_key_access gives no pin: %w", key.id(), gatehouse.ErrInvalid)
	}
	p := &PKCS11{key: key, pin: c.PIN}
	if p.module, err = load(key.module); err != nil {
		return nil, fmt.Errorf("root key %s: %w", key.id(), err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.connect(); err != nil {
		return nil, err
	}
	return p, nil
}

// ID names the key by its token's label and its own.
func (p *PKCS11) ID() string { return p.key.id() }

// Detail says which token and module it is.
func (p *PKCS11) Detail() string {
	return "a key on a PKCS#11 token, " + p.key.id() + ", module " + p.key.module
}

// connect opens a session and finds the key. The caller holds mu.
func (p *PKCS11) connect() error {
	if p.open {
		_ = p.module.CloseSession(p.session) // it may be gone already
		p.open = false
	}
	slots, err := p.module.GetSlotList(true)
	if err != nil {
		return p.failure(err)
	}
	for _, slot := range slots {
		token, err := p.module.GetTokenInfo(slot)
		if err != nil || token.Label != p.key.token {
			continue
		}
		session, err := p.module.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION)
		if err != nil {
			return p.failure(err)
		}
		if err := p.enter(session); err != nil {
			_ = p.module.CloseSession(session)
			return err
		}
		p.session, p.open = session, true
		return nil
	}
	return fmt.Errorf("root key %s is out of reach: no slot holds a token of this label: %w", p.key.id(), gatehouse.ErrUnavailable)
}

// enter logs a session in and finds the key in it.
func (p *PKCS11) enter(session pkcs11.SessionHandle) error {
	pin, err := p.readPIN()
	if err != nil {
		return err
	}
	if err := p.module.Login(session, pkcs11.CKU_USER, pin.Reveal()); err != nil && !errors.Is(err, pkcs11.Error(pkcs11.CKR_USER_ALREADY_LOGGED_IN)) {
		return p.failure(err)
	}
	if err := p.module.FindObjectsInit(session, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, p.key.object),
	}); err != nil {
		return p.failure(err)
	}
	found, _, err := p.module.FindObjects(session, 2)
	if final := p.module.FindObjectsFinal(session); err == nil {
		err = final
	}
	switch {
	case err != nil:
		return p.failure(err)
	case len(found) == 0:
		return fmt.Errorf("root key %s: the token holds no AES key of this label: %w", p.key.id(), gatehouse.ErrNotFound)
	case len(found) > 1:
		return fmt.Errorf("root key %s: the token holds several AES keys of this label, and which one is meant cannot be known: %w", p.key.id(), gatehouse.ErrConflict)
	}
	p.object = found[0]
	return nil
}

func (p *PKCS11) readPIN() (secret.Text, error) {
	pin, err := p.pin()
	if err != nil {
		return secret.Text{}, fmt.Errorf("root key %s: reading pin of root_key_access: %w: %w", p.key.id(), err, gatehouse.ErrUnavailable)
	}
	return pin, nil
}

// Wrap encrypts with AES-GCM on the token.
func (p *PKCS11) Wrap(ctx context.Context, plaintext, place []byte) ([]byte, error) {
	nonce := make([]byte, gcmNonce)
	_, _ = rand.Read(nonce) // it never fails
	return p.use(ctx, func() ([]byte, error) {
		params := pkcs11.NewGCMParams(nonce, place, gcmTag*8)
		defer params.Free()
		if err := p.module.EncryptInit(p.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, params)}, p.object); err != nil {
			return nil, err
		}
		sealed, err := p.module.Encrypt(p.session, plaintext)
		if err != nil {
			return nil, err
		}
		// Some devices make the nonce themselves.
		used := params.IV()
		if len(used) != gcmNonce {
			used = nonce
		}
		return append(append([]byte{}, used...), sealed...), nil
	})
}

// Unwrap decrypts on the token.
func (p *PKCS11) Unwrap(ctx context.Context, ciphertext, place []byte) ([]byte, error) {
	if len(ciphertext) <= gcmNonce+gcmTag || len(ciphertext) > maxWrapped {
		return nil, p.misfit()
	}
	plaintext, err := p.use(ctx, func() ([]byte, error) {
		params := pkcs11.NewGCMParams(ciphertext[:gcmNonce], place, gcmTag*8)
		defer params.Free()
		if err := p.module.DecryptInit(p.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, params)}, p.object); err != nil {
			return nil, err
		}
		return p.module.Decrypt(p.session, ciphertext[gcmNonce:])
	})
	if errors.Is(err, errVague) && p.works(ctx) {
		return nil, p.misfit()
	}
	return plaintext, err
}

// errVague marks what a module answers for all that it has no better word for.
// SoftHSM2 answers so when a tag does not fit.
var errVague = errors.New("a general error")

// works asks whether the token still encrypts: then it was the ciphertext that did
// not fit.
func (p *PKCS11) works(ctx context.Context) bool {
	_, err := p.Wrap(ctx, []byte("does it work"), nil)
	return err == nil
}

// use works with the token; a session that ended is opened again, once.
func (p *PKCS11) use(ctx context.Context, do func() ([]byte, error)) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.open {
		if err := p.connect(); err != nil {
			return nil, err
		}
	}
	out, err := do()
	if err == nil {
		return out, nil
	}
	if !gone(err) {
		return nil, p.failure(err)
	}
	if err := p.connect(); err != nil {
		return nil, err
	}
	if out, err = do(); err != nil {
		return nil, p.failure(err)
	}
	return out, nil
}

// gone reports whether an error says that the session, not the request, is at fault.
func gone(err error) bool {
	for _, c := range []uint{
		pkcs11.CKR_SESSION_HANDLE_INVALID, pkcs11.CKR_SESSION_CLOSED, pkcs11.CKR_USER_NOT_LOGGED_IN, pkcs11.CKR_DEVICE_REMOVED,
		pkcs11.CKR_TOKEN_NOT_PRESENT, pkcs11.CKR_OBJECT_HANDLE_INVALID, pkcs11.CKR_KEY_HANDLE_INVALID, pkcs11.CKR_OPERATION_ACTIVE,
	} {
		if errors.Is(err, pkcs11.Error(c)) {
			return true
		}
	}
	return false
}

func (p *PKCS11) misfit() error {
	return fmt.Errorf("root key %s: the PKCS#11 token: %w", p.key.id(), vault.ErrMisfit)
}

// failure tells a token that says no from one that is not there.
func (p *PKCS11) failure(err error) error {
	for _, c := range []uint{pkcs11.CKR_ENCRYPTED_DATA_INVALID, pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE} {
		if errors.Is(err, pkcs11.Error(c)) {
			return p.misfit()
		}
	}
	for _, c := range []uint{
		pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_LOCKED, pkcs11.CKR_PIN_EXPIRED, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED,
		pkcs11.CKR_MECHANISM_INVALID, pkcs11.CKR_ACTION_PROHIBITED, pkcs11.CKR_KEY_TYPE_INCONSISTENT,
	} {
		if errors.Is(err, pkcs11.Error(c)) {
			return fmt.Errorf("root key %s: the token refuses (%s): see its PIN, and that the key may encrypt and decrypt with AES-GCM: %w", p.key.id(), code(err), gatehouse.ErrDenied)
		}
	}
	if errors.Is(err, pkcs11.Error(pkcs11.CKR_GENERAL_ERROR)) || errors.Is(err, pkcs11.Error(pkcs11.CKR_FUNCTION_FAILED)) {
		return fmt.Errorf("root key %s is out of reach: the token answers %s, %w: %w", p.key.id(), code(err), errVague, gatehouse.ErrUnavailable)
	}
	return fmt.Errorf("root key %s is out of reach: the token answers %s: %w", p.key.id(), code(err), gatehouse.ErrUnavailable)
}

// code is the standard's name of an error, without anything that a module adds.
func code(err error) string {
	var e pkcs11.Error
	if errors.As(err, &e) {
		return fmt.Sprintf("error 0x%X", uint(e))
	}
	return "an error"
}
