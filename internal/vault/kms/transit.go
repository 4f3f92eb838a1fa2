package kms

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"gatehouse"
)

// TransitConfig describes a key of HashiCorp Vault's or OpenBao's transit engine.
// Its type must authenticate associated data (aes256-gcm96, the default,
// aes128-gcm96 or chacha20-poly1305; vault.Probe finds out), and it must not be a
// derived one.
type TransitConfig struct {
	// Key is the key's address: https://vault.example.com:8200/transit/keys/NAME,
	// where transit is the path that the engine is mounted at.
	Key string
	// Namespace is the Vault Enterprise or OpenBao namespace. "" means none.
	Namespace string
	// Auth says how to log in.
	Auth TransitAuth
	// Network says how to get there.
	Network Network
}

// Transit is a root key in a transit engine. It is safe for concurrent use.
type Transit struct {
	client    *client
	base      string // scheme and host
	mount     string
	name      string
	namespace string
	auth      TransitAuth

	mu      sync.Mutex
	lease   lease // guarded by mu
	version int   // of the key, when it was last asked; guarded by mu
}

var (
	mountForm     = regexp.MustCompile(`^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$`)
	transitName   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	namespaceForm = regexp.MustCompile(`^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*/?$`)
	// A transit ciphertext. Version 0 would be read as 1, so that two texts were one.
	transitForm = regexp.MustCompile(`^vault:v([1-9][0-9]{0,8}):([A-Za-z0-9+/]+={0,2})$`)
)

// NewTransit checks the configuration. It asks nobody yet.
func NewTransit(c TransitConfig) (*Transit, error) {
	invalid := func(what string) error {
		return fmt.Errorf("root_key: a transit key is %s: %w", what, gatehouse.ErrInvalid)
	}
	u, err := url.Parse(c.Key)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, invalid("written transit:https://vault.example.com:8200/transit/keys/NAME")
	}
	mount, name, found := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/keys/")
	if !found || !mountForm.MatchString(mount) || !transitName.MatchString(name) {
		return nil, invalid("addressed by the engine's path, keys and its name: /transit/keys/NAME")
	}
	if c.Namespace != "" && !namespaceForm.MatchString(c.Namespace) {
		return nil, invalid("in a namespace written as team/project")
	}
	t := &Transit{base: u.Scheme + "://" + u.Host, mount: mount, name: name, namespace: c.Namespace, auth: c.Auth}
	// The host is no part of the name: a server that moves is the same server, and
	// one that is not cannot unwrap.
	id := "transit:" + strings.Trim(c.Namespace+"/"+mount, "/") + "/keys/" + name
	if t.client, err = newClient(id, "Vault's transit engine", c.Network, false, t.base); err != nil {
		return nil, err
	}
	if err := c.Auth.validate(id); err != nil {
		return nil, err
	}
	return t, nil
}

// ID names the key: its namespace, engine and name.
func (t *Transit) ID() string { return t.client.id }

// Detail says where the key is and which version wrapped or unwrapped last.
func (t *Transit) Detail() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := "a key of Vault's or OpenBao's transit engine at " + t.base + ", " + t.client.id
	if t.version > 0 {
		text += ", version " + strconv.Itoa(t.version)
	}
	return text
}

// Wrap encrypts with the key's newest version.
func (t *Transit) Wrap(ctx context.Context, plaintext, place []byte) ([]byte, error) {
	var reply struct {
		Data struct {
			Ciphertext string `json:"ciphertext"`
			KeyVersion int    `json:"key_version"`
		} `json:"data"`
	}
	if err := t.ask(ctx, "encrypt", map[string]string{
		"plaintext": base64.StdEncoding.EncodeToString(plaintext), "associated_data": base64.StdEncoding.EncodeToString(place),
	}, &reply); err != nil {
		return nil, err
	}
	wrapped := []byte(reply.Data.Ciphertext)
	version, ok := parseTransit(wrapped)
	if !ok || len(wrapped) > maxWrapped || reply.Data.KeyVersion != 0 && reply.Data.KeyVersion != version {
		return nil, t.client.away("its answer is not what its documentation says")
	}
	t.used(version)
	return wrapped, nil
}

// Unwrap decrypts with the version that wrapped.
func (t *Transit) Unwrap(ctx context.Context, ciphertext, place []byte) ([]byte, error) {
	version, ok := parseTransit(ciphertext)
	if !ok || len(ciphertext) > maxWrapped {
		return nil, t.client.misfit()
	}
	var reply struct {
		Data struct {
			Plaintext *string `json:"plaintext"`
		} `json:"data"`
	}
	if err := t.ask(ctx, "decrypt", map[string]string{
		"ciphertext": string(ciphertext), "associated_data": base64.StdEncoding.EncodeToString(place),
	}, &reply); err != nil {
		return nil, err
	}
	if reply.Data.Plaintext == nil {
		return nil, t.client.away("its answer is not what its documentation says")
	}
	plaintext, err := base64.StdEncoding.DecodeString(*reply.Data.Plaintext)
	if err != nil {
		return nil, t.client.away("its answer is not what its documentation says")
	}
	t.used(version)
	return plaintext, nil
}

func (t *Transit) used(version int) {
	t.mu.Lock()
	t.version = version
	t.mu.Unlock()
}

// parseTransit returns the key's version of a transit ciphertext. Only the one
// spelling that the server itself writes is taken.
func parseTransit(ciphertext []byte) (version int, ok bool) {
	m := transitForm.FindSubmatch(ciphertext)
	if m == nil {
		return 0, false
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(string(m[2]))
	if err != nil || len(raw) == 0 {
		return 0, false
	}
	version, err = strconv.Atoi(string(m[1]))
	return version, err == nil
}

// ask makes one request of the engine. A token that is no longer taken is replaced,
// once.
func (t *Transit) ask(ctx context.Context, verb string, request map[string]string, reply any) error {
	for again := false; ; again = true {
		token, err := t.token(ctx)
		if err != nil {
			return err
		}
		a, err := t.call(ctx, http.MethodPost, t.mount+"/"+verb+"/"+t.name, request, func(r *http.Request) error {
			r.Header.Set("X-Vault-Token", token.Reveal())
			return nil
		})
		if err != nil {
			return err
		}
		if a.status == http.StatusForbidden && !again {
			t.forget(token)
			continue
		}
		if err := t.judge(a, verb); err != nil {
			return err
		}
		return t.client.decode(a, reply)
	}
}

// judge says what a status of the engine means. The texts of its errors are not
// repeated: which of them were sent is told by status alone.
func (t *Transit) judge(a answer, verb string) error {
	switch {
	case a.status == http.StatusOK:
		return nil
	case a.status == http.StatusForbidden:
		return t.client.denied("the token has ended, or its policy does not grant update on " + t.mount + "/" + verb + "/" + t.name)
	case a.status == http.StatusNotFound:
		return t.client.denied("there is no transit engine at " + t.mount + ", or no such namespace")
	case a.status == http.StatusBadRequest && verb == "decrypt":
		return t.client.misfit()
	case a.status == http.StatusBadRequest:
		return t.client.denied("the key cannot " + verb + "; is there one, not derived, of the type aes256-gcm96?")
	case a.status >= 500 || a.status == http.StatusTooManyRequests || a.status == http.StatusPreconditionFailed || a.status == http.StatusRequestTimeout:
		// 503 is a sealed server; 412 a replica that is behind (both pass).
		return t.client.away("it answers with status " + strconv.Itoa(a.status) + "; is the server sealed or overloaded?")
	default:
		return t.client.denied("status " + strconv.Itoa(a.status))
	}
}

// call asks a path of the server's API.
func (t *Transit) call(ctx context.Context, method, path string, body any, prepare func(*http.Request) error) (answer, error) {
	var content []byte
	if body != nil {
		content = encode(body)
		defer clear(content)
	}
	return t.client.ask(ctx, method, t.base+"/v1/"+path, content, func(r *http.Request) error {
		r.Header.Set("X-Vault-Request", "true")
		if t.namespace != "" {
			r.Header.Set("X-Vault-Namespace", t.namespace)
		}
		if prepare == nil {
			return nil
		}
		return prepare(r)
	})
}
