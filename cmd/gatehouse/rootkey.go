package main

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/config"
	"gatehouse/internal/secret"
	"gatehouse/internal/vault"
	"gatehouse/internal/vault/kms"

	"golang.org/x/term"
)

// openRootKey returns the configured root key.
func openRootKey(cfg *config.Config) (vault.RootKey, error) {
	return openRoot(cfg.RootKey, cfg.RootAccess)
}

// openRoot returns a root key of any kind. A passphrase that the configuration does
// not refer to is asked for on the terminal.
func openRoot(key config.RootKey, access config.RootAccess) (vault.RootKey, error) {
	switch key.Kind() {
	case config.RootFile:
		return vault.NewFileRootKey(key.Path())
	case config.RootPassphrase:
		sealed, err := vault.ReadPassphraseFile(key.Path())
		if err != nil {
			return nil, err
		}
		passphrase, err := configuredPassphrase(access)
		if errors.Is(err, gatehouse.ErrNotFound) {
			passphrase, err = askPassphrase("Passphrase of root key "+sealed.ID()+": ", os.Stdin, false)
		}
		if err != nil {
			return nil, err
		}
		return sealed.Open(passphrase)
	case config.RootPKCS11:
		return kms.NewPKCS11(kms.PKCS11Config{Key: key.Name(), PIN: access.PIN.Again})
	}
	network, err := kmsNetwork(access)
	if err != nil {
		return nil, err
	}
	switch key.Kind() {
	case config.RootTransit:
		return kms.NewTransit(kms.TransitConfig{Key: key.Name(), Namespace: access.Namespace, Auth: transitAuth(access), Network: network})
	case config.RootAWS:
		return kms.NewAWS(kms.AWSConfig{
			Key: key.Name(), Endpoint: access.Endpoint, AccessKeyID: given(access.AccessKeyID),
			SecretAccessKey: given(access.SecretAccessKey), SessionToken: given(access.SessionToken), Network: network,
		})
	case config.RootGCP:
		return kms.NewGCP(kms.GCPConfig{
			Key: key.Name(), Endpoint: access.Endpoint, TokenEndpoint: access.TokenEndpoint,
			Credentials: given(access.Credentials.Secret), Metadata: access.Metadata, Network: network,
		})
	}
	return nil, fmt.Errorf("root_key: %q is no kind of root key: %w", key.Kind(), gatehouse.ErrInvalid)
}

// given returns how a credential is read, or nil if it is not configured.
func given(s config.Secret) kms.Source {
	if s.IsZero() {
		return nil
	}
	return s.Again
}

func transitAuth(access config.RootAccess) kms.TransitAuth {
	auth := kms.TransitAuth{Token: given(access.Token), SecretID: given(access.AppRole.SecretID), JWT: given(access.Kubernetes.JWT)}
	if auth.SecretID != nil {
		auth.RoleID, auth.Mount = access.AppRole.RoleID.Text(), access.AppRole.Mount
	}
	if auth.JWT != nil {
		auth.Role, auth.Mount = access.Kubernetes.Role, access.Kubernetes.Mount
	}
	return auth
}

func kmsNetwork(access config.RootAccess) (kms.Network, error) {
	n := kms.Network{Timeout: access.Timeout}
	if access.CAFile == "" {
		return n, nil
	}
	pem, err := os.ReadFile(access.CAFile)
	if err != nil {
		return n, fmt.Errorf("root_key_access.ca_file: %w", err)
	}
	n.RootCAs = x509.NewCertPool()
	if !n.RootCAs.AppendCertsFromPEM(pem) {
		return n, fmt.Errorf("root_key_access.ca_file: there is no certificate in %s: %w", access.CAFile, gatehouse.ErrInvalid)
	}
	return n, nil
}

// configuredPassphrase follows the configuration's reference; without one it is
// ErrNotFound.
func configuredPassphrase(access config.RootAccess) (secret.Text, error) {
	ref := access.Passphrase
	if ref.IsZero() {
		return secret.Text{}, fmt.Errorf("root_key_access.passphrase is not given: %w", gatehouse.ErrNotFound)
	}
	return ref.Again()
}

// askPassphrase reads a passphrase from a terminal, without echo, or, where that is
// welcome, one line from a pipe.
func askPassphrase(prompt string, in *os.File, pipe bool) (secret.Text, error) {
	if term.IsTerminal(int(in.Fd())) {
		fmt.Fprint(os.Stderr, prompt)
		typed, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(os.Stderr)
		defer clear(typed)
		if err != nil {
			return secret.Text{}, fmt.Errorf("reading the passphrase: %w", err)
		}
		return secret.New(string(typed)), nil
	}
	if !pipe {
		return secret.Text{}, fmt.Errorf("the root key needs its passphrase, and there is no terminal to ask on; refer to it in root_key_access.passphrase (env:NAME or file:/path): %w", gatehouse.ErrDenied)
	}
	line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return secret.Text{}, fmt.Errorf("reading the passphrase: %w", err)
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return secret.Text{}, fmt.Errorf("no passphrase came on standard input: %w", gatehouse.ErrInvalid)
	}
	return secret.New(line), nil
}

// newPassphrase returns the passphrase of a new root key: the configured one, one
// typed twice, or one line of a pipe.
func newPassphrase(cfg *config.Config) (secret.Text, error) {
	passphrase, err := configuredPassphrase(cfg.RootAccess)
	if !errors.Is(err, gatehouse.ErrNotFound) {
		return passphrase, err
	}
	if passphrase, err = askPassphrase("New passphrase for the root key: ", os.Stdin, true); err != nil {
		return secret.Text{}, err
	}
	if term.IsTerminal(int(os.Stdin.Fd())) {
		again, err := askPassphrase("The same again: ", os.Stdin, false)
		if err != nil {
			return secret.Text{}, err
		}
		if !again.Equal(passphrase) {
			return secret.Text{}, fmt.Errorf("the two passphrases differ; nothing was made: %w", gatehouse.ErrInvalid)
		}
	}
	return passphrase, nil
}

// makeRootKey makes a root key that is a file and does not exist yet, or finds out
// whether a key management system's key serves. It returns the root key, and a line
// for the operator.
func makeRootKey(ctx context.Context, cfg *config.Config, fresh bool) (root vault.RootKey, verb, what string, err error) {
	path := cfg.RootKey.Path()
	if path != "" && fresh {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			if root, err = createRootFile(cfg); err != nil {
				return nil, "", "", err
			}
			return root, "made", path + "  (keep a copy elsewhere)", nil
		}
	}
	if root, err = openRootKey(cfg); err != nil {
		return nil, "", "", err
	}
	detail, err := vault.Probe(ctx, root)
	if err != nil {
		return nil, "", "", fmt.Errorf("trying the root key before anything is made with it: %w", err)
	}
	if path != "" {
		return root, "kept", path, nil
	}
	return root, "uses", detail, nil
}

func createRootFile(cfg *config.Config) (vault.RootKey, error) {
	path := cfg.RootKey.Path()
	if cfg.RootKey.Kind() == config.RootFile {
		if err := vault.CreateRootKeyFile(path); err != nil {
			return nil, err
		}
		return vault.NewFileRootKey(path)
	}
	passphrase, err := newPassphrase(cfg)
	if err != nil {
		return nil, err
	}
	if err := vault.CreatePassphraseFile(path, passphrase, vault.PassphraseCost{}); err != nil {
		return nil, err
	}
	sealed, err := vault.ReadPassphraseFile(path)
	if err != nil {
		return nil, err
	}
	return sealed.Open(passphrase)
}

// openVault opens the vault with the configured bounds. Changes of the root key's
// condition go to changes, if it is not nil; one that nobody takes in time is
// dropped, since the next says how things stand.
func openVault(ctx context.Context, cfg *config.Config, root vault.RootKey, store vault.Store, logger *slog.Logger, changes chan<- vault.RootStatus) (*vault.Vault, error) {
	limits := cfg.Limits.WithDefaults()
	previous, err := openPrevious(cfg)
	if err != nil {
		return nil, err
	}
	return vault.Open(ctx, vault.Config{
		Root: root, Previous: previous, KeyringFile: keyringFile(cfg), Store: store, Environment: cfg.Environment, Log: logger,
		HoldDomainKeys: limits.HoldDomainKeys, KeepWithoutRoot: limits.KeepWithoutRoot,
		OnRoot: func(s vault.RootStatus) {
			select {
			case changes <- s:
			default:
			}
		},
	})
}

// watchRoot writes into the log when the root key is lost and when it is back, until
// ctx ends. The operator's log has it already, from the vault.
func (s *server) watchRoot(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case status := <-s.rootChanges:
			entry := audit.Entry{Action: "keys.kms.back", Verdict: "done", Facts: map[string]string{"root": status.Root}}
			if status.State != vault.RootAnswers {
				entry = audit.Entry{Action: "keys.kms.lost", Verdict: "failed", Facts: map[string]string{"root": status.Root, "state": string(status.State)}}
				if !status.Until.IsZero() {
					entry.Facts["until"] = stamp(status.Until)
				}
			}
			if _, err := s.log.Record(ctx, entry); err != nil {
				s.logger.ErrorContext(ctx, "the root key's condition was not recorded", slog.Any("error", err))
			}
		}
	}
}
