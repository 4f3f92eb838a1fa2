package x

import (
	"crypto/hmac"
	"crypto/sha1" // OAuth 1.0a's HMAC-SHA1 is what X asks for.
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// realHosts are the names under which the real platform answers; a client that
// believes it talks to one of them signs an https URL.
var realHosts = []string{"api.x.com", "x.com", "api.twitter.com", "twitter.com"}

// errHeader means that an OAuth header is not one.
var errHeader = errors.New("malformed OAuth header")

// parseOAuthHeader reads the fields of an "Authorization: OAuth" header: quoted,
// percent-encoded values separated by commas. realm is left out, because it is
// never signed. A field twice is an error.
func parseOAuthHeader(header string) (map[string]string, error) {
	scheme, rest, found := strings.Cut(header, " ")
	if !found || !strings.EqualFold(scheme, "OAuth") {
		return nil, errHeader
	}
	fields := make(map[string]string)
	for _, part := range splitUnquoted(rest) {
		part = strings.Trim(part, " \t\r\n")
		if part == "" {
			continue
		}
		name, quoted, found := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		if !found || len(quoted) < 2 || quoted[0] != '"' || quoted[len(quoted)-1] != '"' {
			return nil, errHeader
		}
		if name == "realm" {
			continue
		}
		// What is percent-encoded holds neither quotation marks nor commas.
		value, err := url.PathUnescape(quoted[1 : len(quoted)-1])
		if err != nil || strings.ContainsAny(quoted[1:len(quoted)-1], `", `) {
			return nil, errHeader
		}
		key, err := url.PathUnescape(name)
		if err != nil {
			return nil, errHeader
		}
		if _, doubled := fields[key]; doubled {
			return nil, errHeader
		}
		fields[key] = value
	}
	if len(fields) == 0 {
		return nil, errHeader
	}
	return fields, nil
}

// splitUnquoted cuts a header at the commas that stand outside quotation marks;
// a realm may hold some.
func splitUnquoted(s string) []string {
	quoted := false
	return strings.FieldsFunc(s, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ',' && !quoted
	})
}

// percentEncode encodes as RFC 3986 says: all but letters, digits, "-", ".",
// "_" and "~".
func percentEncode(s string) string {
	const hex = "0123456789ABCDEF"
	var out strings.Builder
	out.Grow(len(s))
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~' {
			out.WriteByte(c)
			continue
		}
		out.WriteByte('%')
		out.WriteByte(hex[c>>4])
		out.WriteByte(hex[c&15])
	}
	return out.String()
}

// pair is one parameter that is signed.
type pair struct{ key, value string }

// signatureBase is the text that is signed. The URL has neither query nor
// fragment; parameters are not yet encoded.
func signatureBase(method, baseURL string, parameters []pair) string {
	encoded := make([]pair, len(parameters))
	for i, parameter := range parameters {
		encoded[i] = pair{percentEncode(parameter.key), percentEncode(parameter.value)}
	}
	slices.SortFunc(encoded, func(a, b pair) int {
		if order := strings.Compare(a.key, b.key); order != 0 {
			return order
		}
		return strings.Compare(a.value, b.value)
	})
	var joined strings.Builder
	for i, parameter := range encoded {
		if i > 0 {
			joined.WriteByte('&')
		}
		joined.WriteString(parameter.key + "=" + parameter.value)
	}
	return strings.ToUpper(method) + "&" + percentEncode(baseURL) + "&" + percentEncode(joined.String())
}

// sign computes the HMAC-SHA1 signature of a base text.
func sign(base, consumerSecret, tokenSecret string) string {
	mac := hmac.New(sha1.New, []byte(percentEncode(consumerSecret)+"&"+percentEncode(tokenSecret)))
	mac.Write([]byte(base))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// signedRequest is a request whose signature holds.
type signedRequest struct {
	fields    map[string]string
	token     *token     // nil when signed without one, or with a request token
	temporary *temporary // the request token, if one signed
}

// verifySigned checks an OAuth 1.0a request: the app, the token, the time, the
// signature over the URL as the client saw it, and that the nonce is new. The
// caller holds Platform.mu.
func (p *Platform) verifySigned(r *http.Request, body []byte) (*signedRequest, error) {
	fields, err := parseOAuthHeader(r.Header.Get("Authorization"))
	if err != nil {
		return nil, errBadAuthData
	}
	for _, name := range []string{"oauth_consumer_key", "oauth_nonce", "oauth_signature", "oauth_timestamp"} {
		if fields[name] == "" {
			return nil, errBadAuthData
		}
	}
	if version, present := fields["oauth_version"]; present && version != "1.0" {
		return nil, errBadAuthData
	}
	if fields["oauth_signature_method"] != "HMAC-SHA1" {
		return nil, errCouldNotAuthenticate
	}
	if !same(fields["oauth_consumer_key"], p.config.App.ConsumerKey) {
		return nil, errCouldNotAuthenticate
	}
	signed := &signedRequest{fields: fields}
	tokenSecret := ""
	if value := fields["oauth_token"]; value != "" {
		switch t, temporary := p.auth.tokens[value], p.auth.temporaries[value]; {
		case t != nil && t.kind == "oauth1" && t.live(p.now()):
			signed.token, tokenSecret = t, t.secret
		case temporary != nil && p.now().Before(temporary.expires):
			signed.temporary, tokenSecret = temporary, temporary.secret
		default:
			return nil, errInvalidToken
		}
	}
	seconds, err := strconv.ParseInt(fields["oauth_timestamp"], 10, 64)
	if err != nil {
		return nil, errBadAuthData
	}
	skew := p.config.OAuth1Skew
	if off := p.now().Sub(time.Unix(seconds, 0)); skew >= 0 && (off > skew || off < -skew) {
		return nil, errTimestamp
	}
	if !p.signatureHolds(r, body, fields, tokenSecret) {
		return nil, errCouldNotAuthenticate
	}
	if !p.firstUse(fields) {
		return nil, errCouldNotAuthenticate
	}
	return signed, nil
}

// signatureHolds recomputes the signature for each URL that the client may have
// meant.
func (p *Platform) signatureHolds(r *http.Request, body []byte, fields map[string]string, tokenSecret string) bool {
	parameters, err := signedParameters(r, body, fields)
	if err != nil {
		return false
	}
	for _, baseURL := range baseURLs(r) {
		want := sign(signatureBase(r.Method, baseURL, parameters), p.config.App.ConsumerSecret, tokenSecret)
		if same(want, fields["oauth_signature"]) {
			return true
		}
	}
	return false
}

// signedParameters collects the query, the form (if the body is one) and the
// OAuth fields. X does not take a key twice.
func signedParameters(r *http.Request, body []byte, fields map[string]string) ([]pair, error) {
	var parameters []pair
	seen := make(map[string]bool)
	collect := func(encoded string) error {
		values, err := url.ParseQuery(encoded)
		if err != nil {
			return errHeader
		}
		for key, all := range values {
			if seen[key] || len(all) > 1 {
				return errHeader
			}
			seen[key] = true
			parameters = append(parameters, pair{key, all[0]})
		}
		return nil
	}
	if err := collect(r.URL.RawQuery); err != nil {
		return nil, err
	}
	if isForm(r) {
		if err := collect(string(body)); err != nil {
			return nil, err
		}
	}
	for key, value := range fields {
		if key == "oauth_signature" {
			continue
		}
		if seen[key] {
			return nil, errHeader
		}
		parameters = append(parameters, pair{key, value})
	}
	return parameters, nil
}

// baseURLs are the URLs under which the client may have called: with the scheme
// of the connection and, for the platform's real names, with https.
func baseURLs(r *http.Request) []string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	host := strings.ToLower(r.Host)
	path := r.URL.EscapedPath()
	port := map[string]string{"http": ":80", "https": ":443"}[scheme]
	bases := []string{scheme + "://" + strings.TrimSuffix(host, port) + path}
	if scheme == "http" && slices.Contains(realHosts, host) {
		bases = append(bases, "https://"+host+path)
	}
	return bases
}

// firstUse records the nonce and reports whether it is new for its consumer,
// token and time.
func (p *Platform) firstUse(fields map[string]string) bool {
	if p.config.AllowNonceReplay {
		return true
	}
	now := p.now()
	if len(p.auth.nonces) > 100_000 {
		for nonce, expires := range p.auth.nonces {
			if now.After(expires) {
				delete(p.auth.nonces, nonce)
			}
		}
	}
	key := strings.Join([]string{fields["oauth_consumer_key"], fields["oauth_token"], fields["oauth_timestamp"], fields["oauth_nonce"]}, "\x00")
	if _, used := p.auth.nonces[key]; used {
		return false
	}
	// A timestamp may lie one skew ahead and stay valid for another.
	p.auth.nonces[key] = now.Add(2*max(p.config.OAuth1Skew, 0) + time.Minute)
	return true
}
