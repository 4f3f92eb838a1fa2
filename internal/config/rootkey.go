package config

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// The kinds of root keys, by the word before the colon.
const (
	RootFile       = "file"
	RootPassphrase = "passphrase"
	RootTransit    = "transit"
	RootAWS        = "awskms"
	RootGCP        = "gcpkms"
	RootPKCS11     = "pkcs11"
)

// RootKey names the root key. It holds no secret.
type RootKey struct{ written, kind, name string }

// Kind returns the word before the colon: RootFile and so on.
func (k RootKey) Kind() string { return k.kind }

// Name returns what follows: the key's address or name at its system.
func (k RootKey) Name() string { return k.name }

// Path returns the absolute path of a root key that is a file, or "".
func (k RootKey) Path() string {
	if k.kind == RootFile || k.kind == RootPassphrase {
		return k.name
	}
	return ""
}

// IsZero reports whether the field was left out.
func (k RootKey) IsZero() bool { return k.written == "" }

// String returns what stands in the file.
func (k RootKey) String() string { return k.written }

// rootForms say how the name of each kind is written. Package kms looks closer.
var rootForms = map[string]struct {
	form *regexp.Regexp
	say  string
}{
	RootFile:       {regexp.MustCompile(`^.`), "file: and the path of the root key file"},
	RootPassphrase: {regexp.MustCompile(`^.`), "passphrase: and the path of the file that the passphrase opens"},
	RootTransit:    {regexp.MustCompile(`^https?://[^/@?#]+/[^@?#]+/keys/[^/@?#]+$`), "transit:https://vault.example.com:8200/transit/keys/NAME"},
	RootAWS:        {regexp.MustCompile(`^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$`), "awskms: and the key's ARN, not an alias: awskms:arn:aws:kms:REGION:ACCOUNT:key/ID"},
	RootGCP:        {regexp.MustCompile(`^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$`), "gcpkms:projects/P/locations/L/keyRings/R/cryptoKeys/K, without a version"},
	RootPKCS11:     {regexp.MustCompile(`^[a-z-]+=[^?]+\?module-path=/.+$`), "pkcs11:token=LABEL;object=LABEL?module-path=/path/of/module.so; a PIN belongs into root_key_access.pin"},
}

func (k *RootKey) decode(d *decoder, n *yaml.Node, path string) {
	text, ok := d.text(n, path)
	if !ok {
		return
	}
	kind, name, _ := strings.Cut(text, ":")
	form, known := rootForms[kind]
	switch {
	case !known:
		d.fail(n, path, "write file: and the path of the root key file, or a key management system's key: "+strings.Join(slices.Sorted(maps.Keys(rootForms)), ", "))
		return
	case !form.form.MatchString(name):
		d.fail(n, path, "write "+form.say)
		return
	case kind == RootFile || kind == RootPassphrase:
		name = d.resolvePath(name)
	}
	*k = RootKey{text, kind, name}
}

// Document is a [Secret] that may have several lines.
type Document struct{ Secret }

func (s *Document) decode(d *decoder, n *yaml.Node, path string) {
	text, ok := d.text(n, path)
	if !ok {
		return
	}
	if !isReference(text) {
		d.fail(n, path, "a secret does not belong into this file: put it into the environment or a file and write env:NAME or file:/path")
		return
	}
	s.follow(d, n, path, text, (*decoder).followText)
}

// RootAccess says how to get at the root key. Which entries a kind of key takes
// stands in the tag kinds.
type RootAccess struct {
	Passphrase      Secret        `yaml:"passphrase" kinds:"passphrase" doc:"With passphrase: for a start that nobody attends. Without it Gatehouse starts sealed and waits for 'gatehouse keys unseal'."`
	Token           Secret        `yaml:"token" kinds:"transit" doc:"With transit: a token. It is renewed, and read again when it has ended."`
	AppRole         AppRole       `yaml:"approle" kinds:"transit" doc:"With transit: log in by AppRole."`
	Kubernetes      Kubernetes    `yaml:"kubernetes" kinds:"transit" doc:"With transit: log in by the Kubernetes method, or a JWT method at another mount."`
	Namespace       string        `yaml:"namespace" kinds:"transit" doc:"With transit: the namespace of login and key."`
	AccessKeyID     Secret        `yaml:"access_key_id" kinds:"awskms" doc:"With awskms: the credentials, all by reference. Temporary ones have a session_token too."`
	SecretAccessKey Secret        `yaml:"secret_access_key" kinds:"awskms"`
	SessionToken    Secret        `yaml:"session_token" kinds:"awskms"`
	Credentials     Document      `yaml:"credentials" kinds:"gcpkms" doc:"With gcpkms: the JSON key of a service account, by reference."`
	Metadata        bool          `yaml:"metadata" kinds:"gcpkms" doc:"With gcpkms: true uses the service account of Google's machine that this runs on, in place of credentials."`
	PIN             Secret        `yaml:"pin" kinds:"pkcs11" doc:"With pkcs11: the user's PIN."`
	Endpoint        string        `yaml:"endpoint" kinds:"awskms gcpkms" doc:"With awskms, gcpkms: another address of the service, such as a VPC endpoint."`
	TokenEndpoint   string        `yaml:"token_endpoint" kinds:"gcpkms" doc:"With gcpkms: another token endpoint than Google's; the credentials must name it."`
	CAFile          string        `yaml:"ca_file" kinds:"transit awskms gcpkms" doc:"The authority that signed the system's certificate. Default: the system's authorities."`
	Timeout         time.Duration `yaml:"timeout" kinds:"transit awskms gcpkms" doc:"Bound of one request. Default 5s."`
}

// AppRole is a login of Vault's and OpenBao's AppRole method.
type AppRole struct {
	RoleID   Value  `yaml:"role_id"`
	SecretID Secret `yaml:"secret_id" doc:"A reference."`
	Mount    string `yaml:"mount" doc:"Default: approle."`
}

// Kubernetes is a login with the token of a service account.
type Kubernetes struct {
	Role  string `yaml:"role"`
	JWT   Secret `yaml:"jwt" doc:"A reference, such as file:/var/run/secrets/kubernetes.io/serviceaccount/token."`
	Mount string `yaml:"mount" doc:"Default: kubernetes."`
}

// validateRootAccess checks the root key's access.
func (c *Config) validateRootAccess(d *decoder) {
	d.rootAccess("root_key", "root_key_access", c.RootKey, &c.RootAccess)
}

// rootAccess checks that what is given belongs to the kind of a root key, and that
// what it needs is given. keyAt and at are where the two stand.
func (d *decoder) rootAccess(keyAt, at string, key RootKey, a *RootAccess) {
	if key.Kind() == "" {
		return
	}
	v := reflect.ValueOf(a).Elem()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		kinds := strings.Fields(f.Tag.Get("kinds"))
		if !v.Field(i).IsZero() && !slices.Contains(kinds, key.Kind()) {
			d.failAt(at+"."+f.Tag.Get("yaml"), "belongs to a root key of another kind: "+strings.Join(kinds, ", "))
		}
	}
	if d.failed(at) {
		return
	}
	if missing := a.missing(key.Kind()); missing != "" {
		d.failAt(at, missing)
	}
	for entry, address := range map[string]string{"endpoint": a.Endpoint, "token_endpoint": a.TokenEndpoint} {
		if address != "" {
			d.webURL(at+"."+entry, address, false)
		}
	}
	if a.Timeout > time.Minute {
		d.failAt(at+".timeout", "is longer than a minute, for which calls might wait")
	}
	if a.CAFile != "" {
		a.CAFile = d.resolvePath(a.CAFile)
	}
	if strings.HasPrefix(key.Name(), "http://") {
		d.webURL(keyAt, key.Name(), false)
	}
}

// missing says what a kind of root key needs and is not given, or "".
func (a *RootAccess) missing(kind string) string {
	switch kind {
	case RootTransit:
		ways := 0
		for _, given := range []bool{!a.Token.IsZero(), !a.AppRole.SecretID.IsZero(), !a.Kubernetes.JWT.IsZero()} {
			if given {
				ways++
			}
		}
		switch {
		case ways != 1:
			return "needs one of token, approle (role_id, secret_id) and kubernetes (role, jwt)"
		case !a.AppRole.SecretID.IsZero() && a.AppRole.RoleID.IsZero():
			return "needs approle.role_id"
		case !a.Kubernetes.JWT.IsZero() && a.Kubernetes.Role == "":
			return "needs kubernetes.role"
		}
	case RootAWS:
		if a.AccessKeyID.IsZero() || a.SecretAccessKey.IsZero() {
			return "needs access_key_id and secret_access_key"
		}
	case RootGCP:
		if a.Credentials.IsZero() != a.Metadata {
			return "needs either credentials or metadata: true"
		}
	case RootPKCS11:
		if a.PIN.IsZero() {
			return "needs pin"
		}
	}
	return ""
}
