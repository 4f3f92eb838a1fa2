package outbox

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/atrest"
	"gatehouse/internal/audit"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// The scheme is that of Standard Webhooks 1.0.0: a symmetric secret of 24 to 64
// bytes, shown as "whsec_" and base64; HMAC-SHA256 over "id.timestamp.body"; the
// signatures in one header, separated by spaces, each "v1," and base64.
const (
	secretPrefix    = "whsec_"
	signaturePrefix = "v1,"
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"
)

// MaxOverlap bounds how long a replaced secret may sign beside the new one.
const MaxOverlap = 7 * 24 * time.Hour

// signingKey derives one version of the secret: 32 bytes.
func (o *Outbox) signingKey(ctx context.Context, version int64) ([]byte, error) {
	derived, err := o.config.Vault.Derive(ctx, "events/signing", strconv.FormatInt(version, 10))
	if err != nil {
		return nil, fmt.Errorf("deriving the events' signing secret: %w", err)
	}
	key, err := hex.DecodeString(derived.Reveal())
	if err != nil {
		return nil, errors.New("the derived signing secret is not hexadecimal")
	}
	return key, nil
}

// signingKeys returns the keys that sign now, the newest first. The version is
// read anew for each delivery, so that a rotation holds in every process at once.
func (o *Outbox) signingKeys(ctx context.Context) ([][]byte, error) {
	s, err := o.config.Store.Signing(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the version of the events' signing secret: %w", err)
	}
	versions := []int64{s.Version}
	if s.Version > 1 && time.Now().Before(s.Overlap) {
		versions = append(versions, s.Version-1)
	}
	keys := make([][]byte, len(versions))
	for i, v := range versions {
		if keys[i], err = o.signingKey(ctx, v); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// sign puts the three headers on a delivery.
func sign(h http.Header, keys [][]byte, id string, at time.Time, body []byte) {
	timestamp := strconv.FormatInt(at.Unix(), 10)
	signatures := make([]string, len(keys))
	for i, key := range keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + timestamp + "."))
		mac.Write(body)
		signatures[i] = signaturePrefix + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	h.Set(headerID, id)
	h.Set(headerTimestamp, timestamp)
	h.Set(headerSignature, strings.Join(signatures, " "))
}

// Secret returns the signing secret in force, as a verifying library takes it
// ("whsec_…"), and its version. That it was shown is recorded first.
func (o *Outbox) Secret(ctx context.Context) (secret.Text, Signing, error) {
	s, err := o.config.Store.Signing(ctx)
	if err != nil {
		return secret.Text{}, Signing{}, fmt.Errorf("reading the version of the events' signing secret: %w", err)
	}
	if _, err := o.config.Log.Record(ctx, audit.Entry{
		Action: "event.secret.show", Verdict: "done", Facts: map[string]string{"version": strconv.FormatInt(s.Version, 10)},
	}); err != nil {
		return secret.Text{}, Signing{}, err
	}
	key, err := o.signingKey(ctx, s.Version)
	if err != nil {
		return secret.Text{}, Signing{}, err
	}
	return secret.New(secretPrefix + base64.StdEncoding.EncodeToString(key)), s, nil
}

// RotateSecret moves to the next version of the signing secret. For the time of
// overlap deliveries carry the signatures of both; an overlap of zero ends the
// old secret at once, which is what a leaked one needs.
func (o *Outbox) RotateSecret(ctx context.Context, overlap time.Duration) error {
	if overlap < 0 || overlap > MaxOverlap {
		return wire.Refuse(gatehouse.ErrInvalid, "events/overlap", "two signing secrets may be valid side by side for at most 168h")
	}
	s, err := o.config.Store.Signing(ctx)
	if err != nil {
		return fmt.Errorf("reading the version of the events' signing secret: %w", err)
	}
	receipt, err := o.config.Log.Intent(ctx, audit.Entry{Action: "event.secret.rotate", Facts: map[string]string{
		"version": strconv.FormatInt(s.Version+1, 10), "overlap": overlap.String(),
	}})
	if err != nil {
		return err
	}
	var until time.Time
	if overlap > 0 {
		until = time.Now().Add(overlap)
	}
	err = o.config.Store.RotateSigning(ctx, s.Version, until)
	o.config.Log.Outcome(receipt, outcome(err))
	if err != nil {
		return fmt.Errorf("rotating the events' signing secret: %w", err)
	}
	return nil
}

// outcome is the entry that says how something ended.
func outcome(err error) audit.Entry {
	if err == nil {
		return audit.Entry{Verdict: "done"}
	}
	return audit.Entry{Verdict: "failed", Rule: wire.RuleOf(err)}
}

// AddSecrets gives the secrets that sign now to a search, which gives nothing
// back.
func (o *Outbox) AddSecrets(ctx context.Context, into *atrest.Patterns) error {
	keys, err := o.signingKeys(ctx)
	if err != nil {
		return err
	}
	for _, key := range keys {
		into.AddBytes(atrest.SystemSecret, key)
		clear(key)
	}
	return nil
}
