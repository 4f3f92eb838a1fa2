package identity

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"strconv"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// OAuth1Set is a handle in the form that OAuth 1.0a clients take. The consumer
// is the service, the token is the handle; both secrets are derived and stored
// nowhere.
type OAuth1Set struct {
	ConsumerKey    string
	ConsumerSecret secret.Text
	Token          string
	TokenSecret    secret.Text
}

const (
	// signatureWindow is how far a request's timestamp may be from our clock, in
	// both directions; X allows the same.
	signatureWindow = 5 * time.Minute
	// maxNonce bounds what a caller can make us hash.
	maxNonce = 256
	// sweepEvery is after how many accepted signatures expired nonces are
	// removed.
	sweepEvery = 256
)

// OAuth1Set returns the OAuth 1.0a form of a handle that may be used.
func (d *Directory) OAuth1Set(ctx context.Context, id gatehouse.HandleID) (OAuth1Set, error) {
	record, err := d.config.Store.Handle(ctx, id)
	if err != nil {
		return OAuth1Set{}, fmt.Errorf("reading a handle: %w", err)
	}
	if err := d.valid(record); err != nil {
		return OAuth1Set{}, err
	}
	return d.oauth1Set(ctx, string(record.Handle.Service), string(id), record.Handle)
}

// oauth1Set derives the secrets of a consumer key and a token; h is what the store
// knows of the token, if anything.
func (d *Directory) oauth1Set(ctx context.Context, service, handle string, h Handle) (OAuth1Set, error) {
	consumer, err := d.config.Derive(ctx, "oauth1-consumer", service)
	if err != nil {
		return OAuth1Set{}, fmt.Errorf("deriving a consumer secret: %w", err)
	}
	// The handle alone would do; with all that it stands for, a row that was changed
	// does not carry its old secret along.
	token, err := d.config.Derive(ctx, "oauth1-token", append(boundTo(h), service, handle)...)
	if err != nil {
		return OAuth1Set{}, fmt.Errorf("deriving a token secret: %w", err)
	}
	return OAuth1Set{ConsumerKey: service, ConsumerSecret: consumer, Token: handle, TokenSecret: token}, nil
}

// AuthenticateOAuth1 returns the handle with which a request is signed, if it
// may be used now. verify computes the signature with the given secrets and
// compares in constant time. Nothing about the handle's state is told, and no
// nonce is stored, before the signature was verified; an accepted nonce is
// durable on return, so that the same request is refused the second time, by
// every process.
func (d *Directory) AuthenticateOAuth1(ctx context.Context, consumerKey, token, nonce string, timestamp time.Time, verify func(consumerSecret, tokenSecret secret.Text) bool) (Handle, error) {
	if nonce == "" || len(nonce) > maxNonce {
		return Handle{}, wire.Unauthenticated("identity/oauth1-nonce",
			fmt.Sprintf("The OAuth 1.0a request needs a nonce of at most %d characters.", maxNonce))
	}
	if away := time.Since(timestamp); away > signatureWindow || away < -signatureWindow {
		return Handle{}, wire.Unauthenticated("identity/oauth1-timestamp",
			"The OAuth 1.0a timestamp is more than five minutes away from this server's clock. Set the clock of the machine that signs.")
	}
	record, err := d.config.Store.Handle(ctx, gatehouse.HandleID(token))
	if err != nil && !isNotFound(err) {
		return Handle{}, fmt.Errorf("reading a handle: %w", err)
	}
	known := err == nil && subtle.ConstantTimeCompare([]byte(record.Handle.Service), []byte(consumerKey)) == 1
	// What is unknown takes the same way and fails at its end, so that time does
	// not tell which identifiers exist.
	set, err := d.oauth1Set(ctx, consumerKey, token, record.Handle)
	if err != nil {
		return Handle{}, err
	}
	if verified := verify(set.ConsumerSecret, set.TokenSecret); !verified || !known {
		return Handle{}, wire.Unauthenticated("identity/oauth1-signature",
			"The OAuth 1.0a signature does not match, or consumer key and token are not a set made here. Check the four values and that the client signs the address it calls.")
	}
	if err := d.valid(record); err != nil {
		return Handle{}, err
	}
	if err := d.useNonce(ctx, record.Handle.ID, nonce, timestamp); err != nil {
		return Handle{}, err
	}
	return record.Handle, nil
}

// useNonce stores the use of a nonce and refuses the second.
func (d *Directory) useNonce(ctx context.Context, handle gatehouse.HandleID, nonce string, timestamp time.Time) error {
	err := d.config.Store.UseNonce(ctx, NonceUse{
		Handle: handle,
		Nonce:  hashParts(strconv.FormatInt(timestamp.Unix(), 10), nonce),
		// The timestamp is refused after the window; twice that leaves room for
		// processes whose clocks differ.
		Expires: timestamp.Add(2 * signatureWindow),
	})
	if errors.Is(err, gatehouse.ErrConflict) {
		return wire.Unauthenticated("identity/oauth1-replay",
			"This OAuth 1.0a request was received before. Each request needs a nonce of its own.")
	}
	if err != nil {
		return fmt.Errorf("storing a nonce: %w", err)
	}
	if d.signed.Add(1)%sweepEvery == 0 {
		// The request was accepted and stays so; the next sweep removes what this
		// one could not.
		_ = d.config.Store.SweepNonces(ctx, time.Now())
	}
	return nil
}
