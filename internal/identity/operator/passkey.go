package operator

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// PasskeyID is how a passkey of an account is named here: a hash of what its
// authenticator calls it.
type PasskeyID string

// Passkey is a passkey as it may be shown to its operator.
type Passkey struct {
	ID      PasskeyID
	Account AccountID
	Name    string
	// Synced says that its owner's devices share it.
	Synced bool
	// Created and Used are when it was made and last used; zero for never.
	Created, Used time.Time
}

const (
	// maxPasskeys is how many an account has at most.
	maxPasskeys = 10
	// ceremonyFor is how long a ceremony may take.
	ceremonyFor = factor.DefaultCeremony
	// maxCeremony bounds what is looked at as one, in bytes.
	maxCeremony = 16 << 10
)

// The kinds of ceremonies.
const (
	ceremonyRegister = "register"
	ceremonySignIn   = "sign-in"
	ceremonyProve    = "prove"
	ceremonyProvider = "provider"
)

// ceremony is what has to be known of a ceremony when it is finished. The browser
// keeps it, under a MAC, so that somebody who begins many and finishes none fills
// nothing here; that its answer counts once is the store's to see to, in the write
// that uses the answer.
type ceremony struct {
	Kind    string    `json:"k"`
	Account AccountID `json:"a,omitempty"`
	Browser []byte    `json:"b"`
	Until   time.Time `json:"u"`
	State   []byte    `json:"s"`
}

// errCeremony means that it is none of ours, or not any more, or another browser's.
var errCeremony = errors.New("no such ceremony")

// pack writes a ceremony for the browser.
func (d *Directory) pack(ctx context.Context, c ceremony) (string, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("writing a ceremony: %w", err)
	}
	text := base64.RawURLEncoding.EncodeToString(body)
	mac, err := d.config.Derive(ctx, "operator-ceremony", text)
	if err != nil {
		return "", fmt.Errorf("signing a ceremony: %w", err)
	}
	return text + "." + mac.Reveal(), nil
}

// unpack reads what pack wrote, for the same browser and the same kind.
func (d *Directory) unpack(ctx context.Context, kind string, browser Hash, packed string) (c ceremony, used Hash, err error) {
	text, mac, ok := strings.Cut(packed, ".")
	if !ok || len(packed) > maxCeremony {
		return ceremony{}, Hash{}, errCeremony
	}
	right, err := d.config.Derive(ctx, "operator-ceremony", text)
	if err != nil {
		return ceremony{}, Hash{}, fmt.Errorf("checking a ceremony: %w", err)
	}
	if !right.Equal(secret.New(mac)) {
		return ceremony{}, Hash{}, errCeremony
	}
	body, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return ceremony{}, Hash{}, errCeremony
	}
	if err := json.Unmarshal(body, &c); err != nil {
		return ceremony{}, Hash{}, errCeremony
	}
	if c.Kind != kind || string(c.Browser) != string(browser[:]) || !d.now().Before(c.Until) {
		return ceremony{}, Hash{}, errCeremony
	}
	return c, sha256.Sum256(body), nil
}

// errNoPasskeys is the answer where no browser could use one.
var errNoPasskeys = wire.Refuse(gatehouse.ErrInvalid, "operator/no-passkeys", "This Gatehouse has no address for passkeys. Set console.url.")

// BeginPasskey begins to make a passkey for the account. It returns what the browser
// needs, and what it has to give back with its answer.
func (d *Directory) BeginPasskey(ctx context.Context, e EnrolmentOrSession) (options []byte, packed string, err error) {
	if d.config.Passkeys == nil {
		return nil, "", errNoPasskeys
	}
	h, err := d.holder(ctx, e)
	if err != nil {
		return nil, "", err
	}
	owner, _, err := d.keysOf(ctx, h.record)
	if err != nil {
		return nil, "", err
	}
	if len(owner.Passkeys) >= maxPasskeys {
		return nil, "", errManyPasskeys
	}
	options, state, err := d.config.Passkeys.BeginRegistration(owner)
	if err != nil {
		return nil, "", err
	}
	packed, err = d.begin(ctx, e.Browser, ceremonyRegister, h.record.Account.ID, state)
	return options, packed, err
}

var errManyPasskeys = wire.Refuse(gatehouse.ErrConflict, "operator/many-passkeys", "This account has as many passkeys as it may. Remove one first.")

func (d *Directory) begin(ctx context.Context, b Browser, kind string, id AccountID, state []byte) (string, error) {
	binding, err := d.binding(ctx, b)
	if err != nil {
		return "", err
	}
	return d.pack(ctx, ceremony{Kind: kind, Account: id, Browser: binding[:], Until: d.now().Add(ceremonyFor), State: state})
}

// keysOf returns an account as package factor sees it, and its passkeys as they are
// stored.
func (d *Directory) keysOf(ctx context.Context, r AccountRecord) (factor.Holder, map[PasskeyID][]byte, error) {
	records, err := d.config.Store.Passkeys(ctx, r.Account.ID)
	if err != nil {
		return factor.Holder{}, nil, fmt.Errorf("reading passkeys: %w", err)
	}
	h := factor.Holder{Handle: r.Handle, Name: r.Account.Email, Display: r.Account.Name}
	stored := make(map[PasskeyID][]byte, len(records))
	for _, record := range records {
		k, ok, err := d.passkeyHolds(ctx, record)
		if err != nil {
			return factor.Holder{}, nil, err
		}
		if !ok {
			continue // nobody added it here
		}
		stored[record.Passkey.ID] = record.Credential
		h.Passkeys = append(h.Passkeys, k)
	}
	if h.Name == "" {
		h.Name = "owner"
	}
	if h.Display == "" {
		h.Display = h.Name
	}
	return h, stored, nil
}

// passkeyHolds reads a passkey's public half, and reports whether it was added here.
func (d *Directory) passkeyHolds(ctx context.Context, r PasskeyRecord) (k factor.Passkey, ok bool, err error) {
	if err := json.Unmarshal(r.Credential, &k); err != nil {
		return factor.Passkey{}, false, errors.New("a stored passkey is not as it was written")
	}
	ok, err = d.RowHolds(ctx, r.MAC, RowPasskey, string(r.Passkey.Account), string(k.ID), string(k.Key))
	if err == nil && !ok {
		d.TellAltered(AlteredRow{RowPasskey, r.Passkey.Account, string(r.Passkey.ID)})
	}
	return k, ok, err
}

// FinishPasskey adds the passkey that the browser made.
func (d *Directory) FinishPasskey(ctx context.Context, e EnrolmentOrSession, packed string, response []byte) error {
	if d.config.Passkeys == nil {
		return errNoPasskeys
	}
	h, err := d.holder(ctx, e)
	if err != nil {
		return err
	}
	binding, err := d.binding(ctx, e.Browser)
	if err != nil {
		return err
	}
	refused := wire.Refuse(gatehouse.ErrInvalid, "operator/passkey", "The browser's answer is not that of a new passkey, or took too long. Try again.")
	c, used, err := d.unpack(ctx, ceremonyRegister, binding, packed)
	if errors.Is(err, errCeremony) || err == nil && c.Account != h.record.Account.ID {
		return refused
	}
	if err != nil {
		return err
	}
	owner, _, err := d.keysOf(ctx, h.record)
	if err != nil {
		return err
	}
	key, err := d.config.Passkeys.FinishRegistration(owner, c.State, response)
	if errors.Is(err, factor.ErrWrong) || errors.Is(err, factor.ErrExpired) {
		return refused
	}
	if err != nil {
		return err
	}
	credential, err := json.Marshal(key)
	if err != nil {
		return fmt.Errorf("writing a passkey: %w", err)
	}
	mac, err := d.RowMAC(ctx, RowPasskey, string(h.record.Account.ID), string(key.ID), string(key.Key))
	if err != nil {
		return err
	}
	name := "Security key or device"
	if key.Synced {
		name = "Synced passkey"
	}
	return d.changed(ctx, h, "passkey", "add", func() error {
		if err := d.config.Store.TakeCeremony(ctx, used, c.Until); errors.Is(err, gatehouse.ErrConflict) {
			return refused
		} else if err != nil {
			return err
		}
		err := d.config.Store.AddPasskey(ctx, PasskeyRecord{
			Passkey:    Passkey{ID: passkeyID(key.ID), Account: h.record.Account.ID, Name: name, Synced: key.Synced, Created: d.now()},
			Credential: credential, MAC: mac,
		}, h.claim(), maxPasskeys)
		if errors.Is(err, gatehouse.ErrConflict) {
			return errManyPasskeys
		}
		return err
	})
}

func passkeyID(credential []byte) PasskeyID {
	sum := sha256.Sum256(credential)
	return PasskeyID(hex.EncodeToString(sum[:16]))
}

// Passkeys returns the passkeys of the operator in a session, or of an enrolment.
func (d *Directory) Passkeys(ctx context.Context, by Actor) ([]Passkey, error) {
	if _, err := d.authorise(ctx, by, Self, false); err != nil {
		return nil, err
	}
	records, err := d.config.Store.Passkeys(ctx, by.account)
	if err != nil {
		return nil, fmt.Errorf("listing passkeys: %w", err)
	}
	keys := make([]Passkey, 0, len(records))
	for _, r := range records {
		keys = append(keys, r.Passkey)
	}
	return keys, nil
}

// RemovePasskey takes a passkey away, unless the operator could not sign in without
// it.
func (d *Directory) RemovePasskey(ctx context.Context, e EnrolmentOrSession, id PasskeyID) error {
	h, err := d.holder(ctx, e)
	if err != nil {
		return err
	}
	err = d.changed(ctx, h, "passkey", "remove", func() error {
		return d.config.Store.DropPasskey(ctx, h.record.Account.ID, id, h.claim(), true)
	})
	switch {
	case errors.Is(err, gatehouse.ErrConflict):
		return wire.Refuse(gatehouse.ErrConflict, "operator/last-factor", "You could not sign in without this passkey. Add another way first.")
	case errors.Is(err, gatehouse.ErrNotFound):
		return wire.Refuse(gatehouse.ErrNotFound, "operator/passkey-unknown", "There is no such passkey.")
	}
	return err
}

// passkeyAnswer judges a browser's answer to a ceremony of signing in, and returns
// whose passkey it is, and what is stored of it before and after its use. reason is
// for the log.
func (d *Directory) passkeyAnswer(ctx context.Context, c ceremony, response []byte) (r AccountRecord, before, after []byte, id PasskeyID, reason string, err error) {
	var stored map[PasskeyID][]byte
	_, key, err := d.config.Passkeys.FinishDiscoverable(c.State, response, func(handle, _ []byte) (owner factor.Holder, err error) {
		if r, err = d.config.Store.AccountByHandle(ctx, handle); err != nil {
			return factor.Holder{}, err
		}
		owner, stored, err = d.keysOf(ctx, r)
		return owner, err
	})
	id = passkeyID(key.ID)
	switch {
	case errors.Is(err, factor.ErrCloned):
		return r, nil, nil, id, "cloned", ErrSignIn
	case errors.Is(err, factor.ErrWrong):
		return r, nil, nil, "", "wrong", ErrSignIn
	case errors.Is(err, factor.ErrExpired):
		return r, nil, nil, "", "expired", ErrSignIn
	case err != nil:
		return r, nil, nil, "", "", err
	}
	if after, err = json.Marshal(key); err != nil {
		return r, nil, nil, "", "", fmt.Errorf("writing a passkey: %w", err)
	}
	return r, stored[id], after, id, "", nil
}
