package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"gatehouse"
	"gatehouse/internal/atrest"
	"gatehouse/internal/config"
	"gatehouse/internal/egress"
	"gatehouse/internal/secret"
	"gatehouse/internal/vault"
)

// secretFiles are the files that hold secrets by their purpose.
func secretFiles(cfg *config.Config) []string {
	var files []string
	add := func(path string) {
		if path != "" && !slices.Contains(files, path) {
			files = append(files, path)
		}
	}
	refer := func(reference string) {
		path, ok := strings.CutPrefix(reference, "file:")
		if ok && !filepath.IsAbs(path) {
			path = beside(cfg, path)
		}
		if ok {
			add(path)
		}
	}
	add(cfg.RootKey.Path())
	for _, previous := range cfg.Previous {
		add(previous.RootKey.Path())
	}
	for _, s := range configured(cfg) {
		refer(s.Reference())
	}
	refer(cfg.Store.String())
	add(cfg.TLS.App.Key)
	add(cfg.TLS.Public.Key)
	slices.Sort(files)
	return files
}

// configured are the credentials that the configuration refers to.
func configured(cfg *config.Config) []config.Secret {
	var all []config.Secret
	for _, a := range cfg.Apps {
		all = append(all, a.ClientSecret, a.ClientSecretPrevious, a.ConsumerSecret, a.ConsumerSecretPrevious)
	}
	access := []config.RootAccess{cfg.RootAccess}
	for _, previous := range cfg.Previous {
		access = append(access, previous.Access)
	}
	for _, a := range access {
		all = append(all, a.Passphrase, a.Token, a.AppRole.SecretID, a.Kubernetes.JWT, a.AccessKeyID, a.SecretAccessKey,
			a.SessionToken, a.Credentials.Secret, a.PIN)
	}
	return slices.DeleteFunc(all, config.Secret.IsZero)
}

// addOwn adds the secrets of Gatehouse itself and of its app registrations.
func (s *atRestSearch) addOwn(ctx context.Context, into *atrest.Patterns) error {
	p := s.parts
	for _, s := range configured(p.cfg) {
		into.Add(atrest.ClientSecret, s.Text())
	}
	if u, err := url.Parse(p.cfg.Store.Text().Reveal()); err == nil {
		password, _ := u.User.Password()
		into.Add(atrest.SystemSecret, secret.New(password))
	}
	names, err := nodeSecrets(ctx, p.db)
	if err != nil {
		return err
	}
	for _, name := range append(names, secretCAKey, egress.SecretAuthority) {
		key, err := p.vault.System(ctx, name)
		if errors.Is(err, gatehouse.ErrNotFound) {
			continue // without a local CA
		}
		if err != nil {
			return err
		}
		if name == egress.SecretAuthority {
			// Certificates stand between the keys, and are everybody's.
			for _, one := range privateKeys(key) {
				into.Add(atrest.SystemSecret, one)
				addRaw(into, one)
			}
			continue
		}
		into.Add(atrest.SystemSecret, key)
		addRaw(into, key)
	}
	if err := p.outbox.AddSecrets(ctx, into); err != nil {
		return err
	}
	if err := p.vault.AddKeys(ctx, into); err != nil {
		return err
	}
	// Of the other kinds the key itself is not here, or only for a moment.
	if p.cfg.RootKey.Kind() == config.RootFile {
		return vault.AddRootKeyFile(p.cfg.RootKey.Path(), into)
	}
	return nil
}

// privateKeys returns the private keys of a text in PEM, each for itself.
func privateKeys(text secret.Text) []secret.Text {
	var keys []secret.Text
	rest := []byte(text.Reveal())
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return keys
		}
		if block.Type == "PRIVATE KEY" {
			keys = append(keys, secret.New(string(pem.EncodeToMemory(block))))
		}
	}
}

// addRaw adds the bytes inside a key's text: the scalar of PEM, and of a note
// signer's ("PRIVATE+KEY+name+hash+key") the last part behind its first byte, which
// names the algorithm.
func addRaw(into *atrest.Patterns, key secret.Text) {
	text := key.Reveal()
	var raw []byte
	if block, _ := pem.Decode([]byte(text)); block != nil {
		if parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if private, ok := parsed.(*ecdsa.PrivateKey); ok {
				raw, _ = private.Bytes() // fails for curves that we do not use
			}
		}
	} else if parts := strings.SplitN(text, "+", 5); len(parts) == 5 {
		if decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(parts[4])); err == nil && len(decoded) > 1 {
			raw = decoded[1:]
		}
	}
	into.AddBytes(atrest.SystemSecret, raw)
	clear(raw)
}
