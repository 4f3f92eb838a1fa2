package config_test

import (
	"os"
	"strings"
	"testing"

	"gatehouse/internal/config"
)

// rooted is the minimal file with another root key.
func rooted(key, access string) string {
	text := strings.Replace(minimal, "root_key: file:root.key\n", "root_key: "+key+"\n", 1)
	if access != "" {
		text += "root_key_access: " + access + "\n"
	}
	return text
}

const (
	awsKey = "awskms:arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab"
	gcpKey = "gcpkms:projects/p/locations/l/keyRings/r/cryptoKeys/k"
	hsmKey = "pkcs11:token=t;object=o?module-path=/usr/lib/m.so"
	vault  = "transit:https://vault.example.com:8200/transit/keys/gatehouse"
)

func TestEachKindOfRootKeyLoads(t *testing.T) {
	for _, c := range []struct{ key, access, kind, name string }{
		{"file:root.key", "", config.RootFile, "/etc/gatehouse/root.key"},
		{"passphrase:root.pass", "", config.RootPassphrase, "/etc/gatehouse/root.pass"},
		{"passphrase:/abs", "{passphrase: env:SECRET}", config.RootPassphrase, "/abs"},
		{vault, "{token: file:token, namespace: team/one, ca_file: vault.pem, timeout: 3s}", config.RootTransit, "https://vault.example.com:8200/transit/keys/gatehouse"},
		{"transit:http://127.0.0.1:8200/transit/keys/gatehouse", "{approle: {role_id: abc, secret_id: file:secret}}", config.RootTransit, "http://127.0.0.1:8200/transit/keys/gatehouse"},
		{vault, "{kubernetes: {role: gatehouse, jwt: file:/var/run/token}}", config.RootTransit, "https://vault.example.com:8200/transit/keys/gatehouse"},
		{awsKey, "{access_key_id: env:SECRET, secret_access_key: env:SECRET, endpoint: 'https://vpce.example.com'}", config.RootAWS, strings.TrimPrefix(awsKey, "awskms:")},
		{gcpKey, "{credentials: file:sa.json}", config.RootGCP, strings.TrimPrefix(gcpKey, "gcpkms:")},
		{gcpKey, "{metadata: true}", config.RootGCP, strings.TrimPrefix(gcpKey, "gcpkms:")},
		{hsmKey, "{pin: file:pin}", config.RootPKCS11, strings.TrimPrefix(hsmKey, "pkcs11:")},
	} {
		loaded, _ := load(t, rooted(c.key, c.access))
		if k := loaded.RootKey; k.Kind() != c.kind || k.Name() != c.name || k.String() != c.key {
			t.Errorf("%s: kind %q, name %q", c.key, k.Kind(), k.Name())
		}
	}
	loaded, _ := load(t, rooted(vault, "{token: file:token, ca_file: vault.pem}"))
	if got := loaded.RootAccess.CAFile; got != "/etc/gatehouse/vault.pem" {
		t.Errorf("ca_file = %q", got)
	}
	if got := loaded.RootKey.Path(); got != "" {
		t.Errorf("a key that is no file has the path %q", got)
	}
}

func TestRootKeysThatAreRefused(t *testing.T) {
	for _, c := range []struct{ key, access, want string }{
		{"root.key", "", "root_key: write file: and the path"},
		{"vault:x", "", "root_key: write file: and the path"},
		{"'file:'", "", "root_key: write file:"},
		{"'passphrase:'", "", "root_key: write passphrase:"},
		{"transit:vault.example.com/transit/keys/k", "{token: env:SECRET}", "root_key: write transit:https://"},
		{"transit:https://user:canary-canary@vault.example.com/transit/keys/k", "{token: env:SECRET}", "root_key: write transit:https://"},
		{"transit:http://vault.example.com/transit/keys/k", "{token: env:SECRET}", "must be https"},
		{"awskms:alias/root", "", "root_key: write awskms:"},
		{gcpKey + "/cryptoKeyVersions/1", "{metadata: true}", "root_key: write gcpkms:"},
		{"pkcs11:token=t;object=o", "{pin: env:SECRET}", "root_key: write pkcs11:"},
		{vault, "", "root_key_access: needs one of token, approle"},
		{vault, "{token: env:SECRET, kubernetes: {role: r, jwt: env:SECRET}}", "root_key_access: needs one of token"},
		{vault, "{approle: {secret_id: env:SECRET}}", "needs approle.role_id"},
		{vault, "{kubernetes: {jwt: env:SECRET}}", "needs kubernetes.role"},
		{vault, "{token: hvs.canary-canary}", "root_key_access.token: a secret does not belong into this file"},
		{vault, "{token: env:SECRET, pin: env:SECRET}", "root_key_access.pin: belongs to a root key of another kind: pkcs11"},
		{"file:root.key", "{token: env:SECRET}", "root_key_access.token: belongs to a root key of another kind: transit"},
		{"file:root.key", "{passphrase: env:SECRET}", "root_key_access.passphrase: belongs to"},
		{awsKey, "{access_key_id: env:SECRET}", "needs access_key_id and secret_access_key"},
		{awsKey, "{access_key_id: AKIAcanary-canary, secret_access_key: env:SECRET}", "access_key_id: a secret does not belong"},
		{awsKey, "{access_key_id: env:SECRET, secret_access_key: env:SECRET, endpoint: 'http://kms.example.com'}", "endpoint: must be https"},
		{awsKey, "{access_key_id: env:SECRET, secret_access_key: env:SECRET, timeout: 2m}", "timeout: is longer"},
		{gcpKey, "", "needs either credentials or metadata"},
		{gcpKey, "{credentials: env:SECRET, metadata: true}", "needs either credentials or metadata"},
		{gcpKey, "{credentials: 'canary-canary'}", "credentials: a secret does not belong"},
		{hsmKey, "", "root_key_access: needs pin"},
		{"file:root.key", "{tokn: env:SECRET}", "did you mean token?"},
	} {
		_, _, err := config.Parse("/etc/gatehouse/gatehouse.yaml", []byte(rooted(c.key, c.access)), world())
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s %s: %v, want %q", c.key, c.access, err, c.want)
		}
	}
	for limit, want := range map[string]string{"keep_without_kms: 200h": "longer than 168h", "keep_without_kms: 1m": "shorter than hold_domain_keys"} {
		_, _, err := config.Parse("/etc/gatehouse/gatehouse.yaml", []byte(minimal+"limits: {"+limit+"}\n"), world())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", limit, err, want)
		}
	}
}

// A credential that an agent renews in its file is found renewed; a document may
// have several lines where a secret may not.
func TestReferencesAreFollowedAgain(t *testing.T) {
	content := "first"
	r := config.Resolver{ReadFile: func(string) ([]byte, error) {
		if content == "" {
			return nil, os.ErrNotExist
		}
		return []byte(content), nil
	}}
	c, _, err := config.Parse("/etc/g.yaml", []byte(rooted(vault, "{token: file:token}")), r)
	if err != nil {
		t.Fatal(err)
	}
	content = "second\n"
	if got, err := c.RootAccess.Token.Again(); err != nil || got.Reveal() != "second" || c.RootAccess.Token.Text().Reveal() != "first" {
		t.Errorf("%q, %v", got.Reveal(), err)
	}
	content = "two\nlines"
	if _, err := c.RootAccess.Token.Again(); err == nil || strings.Contains(err.Error(), "lines\n") {
		t.Errorf("two lines: %v", err)
	}
	if c, _, err = config.Parse("/etc/g.yaml", []byte(rooted(gcpKey, "{credentials: file:sa.json}")), r); err != nil {
		t.Fatal(err)
	}
	if got, err := c.RootAccess.Credentials.Again(); err != nil || got.Reveal() != "two\nlines" {
		t.Errorf("a document of two lines: %q, %v", got.Reveal(), err)
	}
	content = ""
	if _, err := c.RootAccess.Credentials.Again(); err == nil {
		t.Error("a file that is gone is found")
	}
	if _, err := (config.Secret{}).Again(); err == nil {
		t.Error("no reference leads somewhere")
	}
}
