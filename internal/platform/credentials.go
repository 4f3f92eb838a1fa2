package platform

import (
	"bytes"
	"net/url"
	"slices"
	"strings"
)

// credentialSuffix ends the names of all members that hold an access token, such
// as page_access_token or facebook_boost_post_access_token, without their
// underscores.
const credentialSuffix = "accesstoken"

// credentialMember reports whether a JSON member of this name holds a credential
// in some reply of some platform.
func credentialMember(name string) bool { return credentialKey([]byte(name)) }

// credentialKey takes access_token, accessToken, Access-Token and the like for one
// name: a platform that changes its style must not deliver its tokens by that.
func credentialKey(key []byte) bool {
	if len(key) < 7 || len(key) > 64 {
		return false
	}
	switch key[len(key)-1] | 0x20 { // what the names below end with
	case 'n', 't', 'f':
	default:
		return false
	}
	var folded [64]byte
	n := 0
	for _, c := range key {
		switch {
		case c == '_' || c == '-' || c == '.' || c == ' ':
			continue
		case c >= 'A' && c <= 'Z':
			c |= 0x20
		}
		folded[n] = c
		n++
	}
	switch string(folded[:n]) {
	case "refreshtoken", "oauthtoken", "oauthtokensecret", "idtoken", "pagetoken", "clientsecret",
		"appsecret", "appsecretproof", "inputtoken", "revoketoken", "fbexchangetoken",
		"iospurchasevalidationsecret":
		return true
	}
	return bytes.HasSuffix(folded[:n], []byte(credentialSuffix))
}

// CredentialMembers lists the members of replies that hold credentials, for
// documents and tests. Every other name that ends in access_token counts too.
func CredentialMembers() []string {
	return []string{
		"access_token", "refresh_token", "oauth_token", "oauth_token_secret", "id_token", "page_token",
		"page_access_token", "instagram_boost_post_access_token", "facebook_boost_post_access_token",
		"client_secret", "app_secret", "appsecret_proof", "input_token", "revoke_token", "fb_exchange_token",
		"ios_purchase_validation_secret",
	}
}

// graphCredentials are the parameters in which a caller of the Graph API may put
// a credential or a proof made with one. An authorization code is none of them:
// it belongs to the OAuth endpoints, which are never passed on, and elsewhere
// "code" is what a person typed, as in WhatsApp's verify_code.
var graphCredentials = []string{
	"access_token", "appsecret_proof", "appsecret_time", "client_secret", "input_token", "fb_exchange_token",
	"revoke_token", "refresh_token", "app_secret", "client_token", "token",
}

// xCredentials are the same for X.
var xCredentials = []string{
	"access_token", "token", "refresh_token", "client_secret", "client_assertion",
	"oauth_token", "oauth_token_secret", "oauth_consumer_key", "oauth_signature", "oauth_signature_method",
	"oauth_nonce", "oauth_timestamp", "oauth_version", "oauth_verifier", "oauth_callback", "bearer_token",
}

// CredentialParams lists the query and form parameters in which a caller of p may
// put a credential or a proof. The gateway removes them from what it sends on
// and adds its own.
func CredentialParams(p Name) []string {
	if p == X {
		return slices.Clone(xCredentials)
	}
	return slices.Clone(graphCredentials)
}

// CredentialHeaders lists the request headers in which a caller may put a
// credential.
func CredentialHeaders() []string {
	return []string{"Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key", "Access-Token", "X-Access-Token", "X-Auth-Token"}
}

// phpName returns the name that a PHP-like reader makes of a parameter's name,
// in lower case: "access_token" of " access.token[0]".
func phpName(name string) string {
	name, _, _ = strings.Cut(strings.TrimSpace(name), "[")
	name, _, _ = strings.Cut(name, "\x00")
	return strings.ToLower(strings.NewReplacer(".", "_", " ", "_").Replace(name))
}

// isCredential reports whether a parameter of this name is one to remove, in
// whatever spelling a lenient reader would take for it.
func isCredential(p Name, name string) bool {
	name = phpName(name)
	list := graphCredentials
	if p == X {
		list = xCredentials
	}
	return slices.Contains(list, name)
}

// StripParams removes the credential parameters of p from a raw query or form
// body. What stays keeps its bytes and order; what was removed is returned
// decoded. A malformed escape in a name is ErrSyntax, because the name could then
// be read in two ways.
func StripParams(p Name, raw string) (rest string, removed url.Values, err error) {
	removed = url.Values{}
	if raw == "" {
		return "", removed, nil
	}
	var kept []string
	for part := range strings.SplitSeq(raw, "&") {
		k, v, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(k)
		if err != nil {
			return "", nil, ErrSyntax
		}
		if !isCredential(p, name) {
			kept = append(kept, part)
			continue
		}
		value, err := url.QueryUnescape(v)
		if err != nil {
			return "", nil, ErrSyntax
		}
		removed.Add(phpName(name), value)
	}
	return strings.Join(kept, "&"), removed, nil
}

// CarriesCredential reports whether a URL has a credential in its query or its
// fragment, in any spelling that some reader would take for one.
func CarriesCredential(link string) bool {
	_, parameters, _ := strings.Cut(link, "?")
	if parameters == "" {
		_, parameters, _ = strings.Cut(link, "#")
	}
	for part := range strings.FieldsFuncSeq(parameters, func(r rune) bool { return strings.ContainsRune("&;#?", r) }) {
		name, _, _ := strings.Cut(part, "=")
		if plain, err := url.QueryUnescape(name); err == nil && credentialMember(phpName(plain)) {
			return true
		}
	}
	return false
}

// StripLink removes the credential parameters from the query of a URL of p. A URL
// that cannot be parsed, or in which a credential is left, comes back empty,
// because nobody can say what it holds.
func StripLink(p Name, link string) string {
	u, err := url.Parse(link)
	if err != nil {
		return ""
	}
	rest, _, err := StripParams(p, u.RawQuery)
	if err != nil {
		return ""
	}
	u.RawQuery, u.User = rest, nil
	if link = u.String(); CarriesCredential(link) {
		return ""
	}
	return link
}
