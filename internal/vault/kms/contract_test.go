package kms_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gatehouse"
	"gatehouse/internal/secret"
	"gatehouse/internal/vault"
	"gatehouse/internal/vault/kms"
	"gatehouse/internal/vault/kms/kmstest"
)

// source is a credential that is always the same.
func source(text string) kms.Source {
	return func() (secret.Text, error) { return secret.New(text), nil }
}

// local reaches a fake on loopback, whose certificate is ca.
func local(t testing.TB, ca []byte) kms.Network {
	t.Helper()
	cert, err := x509.ParseCertificate(ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return kms.Network{RootCAs: pool}
}

// provider is one kind of root key: two keys of it, which are not each other's.
type provider struct{ one, two vault.RootKey }

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// providers are all kinds that can be played here. The contract is the same for all.
func providers(t *testing.T) map[string]provider {
	t.Helper()
	dir := t.TempDir()
	file := func(name string) vault.RootKey {
		path := filepath.Join(dir, name)
		if err := vault.CreateRootKeyFile(path); err != nil {
			t.Fatal(err)
		}
		return must[vault.RootKey](t)(vault.NewFileRootKey(path))
	}
	passphrase := func(name string) vault.RootKey {
		path, words := filepath.Join(dir, "pass-"+name), secret.New("correct horse battery "+name)
		if err := vault.CreatePassphraseFile(path, words, cheap); err != nil {
			t.Fatal(err)
		}
		return must[vault.RootKey](t)(must[*vault.SealedRoot](t)(vault.ReadPassphraseFile(path)).Open(words))
	}
	transit, token := kmstest.NewTransit(true)
	t.Cleanup(transit.Close)
	transit.Namespace = "team/one"
	transit.AddKey("one")
	transit.AddKey("two")
	newTransit := func(name string) vault.RootKey {
		return must[*kms.Transit](t)(kms.NewTransit(kms.TransitConfig{
			Key: transit.URL + "/transit/keys/" + name, Namespace: "team/one", Auth: kms.TransitAuth{Token: source(token)}, Network: local(t, transit.CA()),
		}))
	}
	aws := kmstest.NewAWS(true)
	t.Cleanup(aws.Close)
	aws.SessionToken = "session/with+signs="
	newAWS := func() vault.RootKey {
		return must[*kms.AWS](t)(kms.NewAWS(kms.AWSConfig{
			Key: aws.AddKey(), Endpoint: aws.URL, AccessKeyID: source(aws.AccessKeyID), SecretAccessKey: source(aws.SecretAccessKey),
			SessionToken: source(aws.SessionToken), Network: local(t, aws.CA()),
		}))
	}
	gcp := kmstest.NewGCP(true)
	t.Cleanup(gcp.Close)
	newGCP := func() vault.RootKey {
		return must[*kms.GCP](t)(kms.NewGCP(kms.GCPConfig{
			Key: gcp.AddKey(), Endpoint: gcp.URL, TokenEndpoint: gcp.URL + "/token", Credentials: source(gcp.Credentials()), Network: local(t, gcp.CA()),
		}))
	}
	return map[string]provider{
		"file":       {one: file("one"), two: file("two")},
		"passphrase": {one: passphrase("one"), two: passphrase("two")},
		"transit":    {one: newTransit("one"), two: newTransit("two")},
		"awskms":     {one: newAWS(), two: newAWS()},
		"gcpkms":     {one: newGCP(), two: newGCP()},
	}
}

// cheap stretches a passphrase in no time.
var cheap = vault.PassphraseCost{Time: 1, MemoryKiB: 64, Threads: 1}

func TestContract(t *testing.T) {
	for name, p := range providers(t) {
		t.Run(name, func(t *testing.T) { contract(t, p.one, p.two) })
	}
}

// contract is what every root key promises. one and two are two keys of one kind.
func contract(t *testing.T, one, two vault.RootKey) {
	ctx := t.Context()
	place, plaintext := []byte("gatehouse/domain-key/1\x00production"), []byte("a domain key, which is some hundred bytes of keyset")
	wrapped, err := one.Wrap(ctx, plaintext, place)
	if err != nil {
		t.Fatalf("Wrap: %v", err)
	}
	if got, err := one.Unwrap(ctx, wrapped, place); err != nil || !bytes.Equal(got, plaintext) {
		t.Fatalf("Unwrap = %q, %v", got, err)
	}
	if bytes.Contains(wrapped, plaintext) {
		t.Error("what is wrapped holds the plaintext")
	}
	if again, err := one.Wrap(ctx, plaintext, place); err != nil || bytes.Equal(again, wrapped) {
		t.Errorf("wrapping twice gives the same (%v)", err)
	}
	if one.ID() == two.ID() || one.ID() == "" {
		t.Errorf("two keys have the same name %q", one.ID())
	}
	if detail, err := vault.Probe(ctx, one); err != nil || detail == "" {
		t.Errorf("Probe = %q, %v", detail, err)
	}
	refused := func(what string, root vault.RootKey, ciphertext, context []byte) {
		t.Helper()
		got, err := root.Unwrap(ctx, ciphertext, context)
		switch {
		case err == nil:
			t.Errorf("%s unwraps, to %q", what, got)
		case errors.Is(err, gatehouse.ErrUnavailable):
			t.Errorf("%s is taken for a root key that is away: %v", what, err)
		case strings.Contains(err.Error(), string(plaintext)) || strings.Contains(err.Error(), "nobody may repeat"):
			t.Errorf("%s: the error repeats what it was given: %v", what, err)
		}
	}
	refused("another context", one, wrapped, []byte("elsewhere"))
	refused("no context", one, wrapped, nil)
	refused("another key", two, wrapped, place)
	refused("nothing", one, nil, place)
	refused("something longer than any key", one, bytes.Repeat([]byte("A"), 1<<20), place)
	refused("something behind", one, append(bytes.Clone(wrapped), 'A'), place)
	refused("a line break behind", one, append(bytes.Clone(wrapped), '\n'), place)
	for n := range wrapped {
		refused("a truncated key", one, wrapped[:n], place)
	}
	for bit := range 8 * len(wrapped) {
		flipped := bytes.Clone(wrapped)
		flipped[bit/8] ^= 1 << (bit % 8)
		refused("a flipped bit", one, flipped, place)
	}
	other, err := one.Wrap(ctx, []byte("another domain key"), []byte("elsewhere"))
	if err != nil {
		t.Fatal(err)
	}
	refused("an exchanged key", one, other, place)

	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			w, err := one.Wrap(ctx, plaintext, place)
			if err != nil {
				t.Errorf("many at once: %v", err)
				return
			}
			if got, err := one.Unwrap(ctx, w, place); err != nil || !bytes.Equal(got, plaintext) {
				t.Errorf("many at once: %q, %v", got, err)
			}
		})
	}
	all.Wait()
	gone, hangUp := context.WithCancel(ctx)
	hangUp()
	if _, err := one.Unwrap(gone, wrapped, place); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who hung up: %v, want context.Canceled", err)
	}
}
