package kms

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"gatehouse"
)

// PKCS11Config describes an AES key on a token that speaks PKCS#11, such as a
// hardware security module. Only a binary built with the tag pkcs11, which needs
// cgo, can use it.
type PKCS11Config struct {
	// Key is a PKCS#11 URI (RFC 7512) that names the token, the key and the module:
	// token=LABEL;object=LABEL?module-path=/usr/lib/softhsm/libsofthsm2.so
	Key string
	// PIN reads the user's PIN.
	PIN Source
}

// pkcs11Key is a parsed PKCS#11 URI.
type pkcs11Key struct{ token, object, module string }

func (k pkcs11Key) id() string {
	return "pkcs11:token=" + url.PathEscape(k.token) + ";object=" + url.PathEscape(k.object)
}

// parsePKCS11 reads the part of a PKCS#11 URI after its scheme. It takes what it
// understands and refuses the rest: an attribute that is passed over would name
// another key than was meant.
func parsePKCS11(uri string) (pkcs11Key, error) {
	invalid := func(what string) (pkcs11Key, error) {
		return pkcs11Key{}, fmt.Errorf("root_key: %s; write pkcs11:token=LABEL;object=LABEL?module-path=/path/of/module.so: %w", what, gatehouse.ErrInvalid)
	}
	var k pkcs11Key
	path, query, _ := strings.Cut(uri, "?")
	attributes := strings.Split(path, ";")
	if query != "" {
		attributes = append(attributes, strings.Split(query, "&")...)
	}
	for _, attribute := range attributes {
		name, value, _ := strings.Cut(attribute, "=")
		target := map[string]*string{"token": &k.token, "object": &k.object, "module-path": &k.module}[name]
		text, err := url.PathUnescape(value)
		switch {
		case name == "pin-value" || name == "pin-source":
			return invalid("a PIN does not belong into the key's name; root_key_access.pin refers to it")
		case target == nil:
			return invalid("a PKCS#11 key has an attribute that is not understood")
		case err != nil || text == "" || len(text) > 4096 || strings.ContainsRune(text, 0) || *target != "":
			return invalid("a PKCS#11 key has an attribute that is empty, given twice or not readable")
		}
		*target = text
	}
	switch {
	case k.token == "" || k.object == "" || k.module == "":
		return invalid("a PKCS#11 key needs a token, an object and a module-path")
	case len(k.token) > 32:
		return invalid("a PKCS#11 token's label has at most 32 bytes")
	case !filepath.IsAbs(k.module):
		return invalid("module-path is absolute: what is loaded is run")
	}
	return k, nil
}
