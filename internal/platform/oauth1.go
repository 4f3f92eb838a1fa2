package platform

import (
	"crypto/hmac"
	"crypto/sha1" // OAuth 1.0a at X is HMAC-SHA1; HMAC does not need collision resistance.
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

// signatureMethod is the only one that X documents.
const signatureMethod = "HMAC-SHA1"

// Pair is one name and value; a list of pairs keeps order and duplicates.
type Pair struct{ Key, Value string }

// OAuth1Credentials sign a call. Token and TokenSecret are empty when a request
// token is asked for.
type OAuth1Credentials struct {
	ConsumerKey, ConsumerSecret string
	Token, TokenSecret          string
}

// OAuth1Header is a parsed Authorization header.
type OAuth1Header struct {
	ConsumerKey     string
	Token           string
	Nonce           string
	Timestamp       string
	SignatureMethod string
	Signature       string
	// Params are all parameters of the header but realm and oauth_signature,
	// decoded: what the signature covers.
	Params []Pair
}

// PercentEncode encodes s as RFC 5849 section 3.6 demands.
func PercentEncode(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if alphanumeric(c) || c == '-' || c == '.' || c == '_' || c == '~' {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

// BaseString returns the signature base string of RFC 5849 section 3.4.1. The
// parameters are those of query, form body and header, without oauth_signature.
func BaseString(method string, u *url.URL, params []Pair) string {
	encoded := make([]Pair, len(params))
	for i, p := range params {
		encoded[i] = Pair{PercentEncode(p.Key), PercentEncode(p.Value)}
	}
	slices.SortFunc(encoded, func(a, b Pair) int {
		if c := strings.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		return strings.Compare(a.Value, b.Value)
	})
	var b strings.Builder
	for i, p := range encoded {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.Key + "=" + p.Value)
	}
	return strings.ToUpper(method) + "&" + PercentEncode(baseURL(u)) + "&" + PercentEncode(b.String())
}

// baseURL is scheme, host and path; the default port is left out.
func baseURL(u *url.URL) string {
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if name, port, err := net.SplitHostPort(host); err == nil {
		if scheme == "https" && port == "443" || scheme == "http" && port == "80" {
			host = name
			if strings.Contains(name, ":") {
				host = "[" + name + "]"
			}
		}
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	return scheme + "://" + host + path
}

// signature computes the HMAC-SHA1 signature of a base string.
func signature(base, consumerSecret, tokenSecret string) string {
	mac := hmac.New(sha1.New, []byte(PercentEncode(consumerSecret)+"&"+PercentEncode(tokenSecret)))
	mac.Write([]byte(base))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// requestPairs collects the parameters of query and form that are signed.
func requestPairs(u *url.URL, form url.Values) ([]Pair, error) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("oauth1: %w: the query is malformed", ErrSyntax)
	}
	var pairs []Pair
	for _, values := range []url.Values{query, form} {
		for k, list := range values {
			for _, v := range list {
				pairs = append(pairs, Pair{k, v})
			}
		}
	}
	return pairs, nil
}

// SignOAuth1 returns the Authorization header for a call. The form is that of an
// application/x-www-form-urlencoded body; JSON and multipart bodies are not
// signed. Extra holds further oauth_ parameters, such as oauth_callback.
func SignOAuth1(c OAuth1Credentials, method string, u *url.URL, form url.Values, nonce, timestamp string, extra ...Pair) (string, error) {
	oauth := []Pair{
		{"oauth_consumer_key", c.ConsumerKey},
		{"oauth_nonce", nonce},
		{"oauth_signature_method", signatureMethod},
		{"oauth_timestamp", timestamp},
		{"oauth_version", "1.0"},
	}
	if c.Token != "" {
		oauth = append(oauth, Pair{"oauth_token", c.Token})
	}
	oauth = append(oauth, extra...)
	pairs, err := requestPairs(u, form)
	if err != nil {
		return "", err
	}
	sig := signature(BaseString(method, u, append(pairs, oauth...)), c.ConsumerSecret, c.TokenSecret)
	return FormatOAuth1(append(oauth, Pair{"oauth_signature", sig})), nil
}

// FormatOAuth1 renders an Authorization header, sorted by name.
func FormatOAuth1(params []Pair) string {
	sorted := slices.Clone(params)
	slices.SortFunc(sorted, func(a, b Pair) int { return strings.Compare(a.Key, b.Key) })
	var b strings.Builder
	b.WriteString("OAuth ")
	for i, p := range sorted {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(PercentEncode(p.Key) + `="` + PercentEncode(p.Value) + `"`)
	}
	return b.String()
}

// ParseOAuth1 parses an Authorization header of scheme OAuth. Errors do not
// repeat the header, which holds credentials.
func ParseOAuth1(header string) (OAuth1Header, error) {
	var h OAuth1Header
	fail := func(why string) (OAuth1Header, error) {
		return OAuth1Header{}, fmt.Errorf("oauth1: %w: %s", ErrSyntax, why)
	}
	scheme, rest, ok := strings.Cut(strings.TrimSpace(header), " ")
	if !ok || !strings.EqualFold(scheme, "OAuth") {
		return fail("the scheme is not OAuth")
	}
	if len(rest) > 8<<10 {
		return OAuth1Header{}, fmt.Errorf("oauth1: %w", ErrTooLarge)
	}
	seen := map[string]bool{}
	for part := range strings.SplitSeq(rest, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		k, v, ok := strings.Cut(part, "=")
		v = strings.TrimSpace(v)
		if !ok || len(v) < 2 || v[0] != '"' || v[len(v)-1] != '"' {
			return fail(`a parameter is not name="value"`)
		}
		key, err1 := url.PathUnescape(strings.TrimSpace(k))
		value, err2 := url.PathUnescape(v[1 : len(v)-1])
		if err1 != nil || err2 != nil || key == "" {
			return fail("a parameter is not percent-encoded")
		}
		if seen[key] {
			return fail("a parameter is given twice")
		}
		seen[key] = true
		h.set(key, value)
	}
	switch {
	case h.ConsumerKey == "" || h.Nonce == "" || h.Timestamp == "" || h.Signature == "":
		return fail("consumer key, nonce, timestamp or signature is missing")
	case !digits(h.Timestamp, 12):
		return fail("the timestamp is not a number")
	case h.SignatureMethod != signatureMethod:
		return fail("the signature method is not " + signatureMethod)
	}
	return h, nil
}

// set stores one parameter of the header.
func (h *OAuth1Header) set(key, value string) {
	switch key {
	case "realm":
		return // never signed
	case "oauth_signature":
		h.Signature = value
		return
	case "oauth_consumer_key":
		h.ConsumerKey = value
	case "oauth_token":
		h.Token = value
	case "oauth_nonce":
		h.Nonce = value
	case "oauth_timestamp":
		h.Timestamp = value
	case "oauth_signature_method":
		h.SignatureMethod = value
	}
	h.Params = append(h.Params, Pair{key, value})
}

// VerifyOAuth1 reports whether the header signs the request with these secrets.
// The URL is the one that the client asked for: the host name is inside the
// signature. Time is constant in the secrets. Nonce and timestamp are the
// caller's to judge.
func VerifyOAuth1(h OAuth1Header, method string, u *url.URL, form url.Values, consumerSecret, tokenSecret string) bool {
	pairs, err := requestPairs(u, form)
	if err != nil {
		return false
	}
	want := signature(BaseString(method, u, append(pairs, h.Params...)), consumerSecret, tokenSecret)
	return hmac.Equal([]byte(want), []byte(h.Signature))
}
