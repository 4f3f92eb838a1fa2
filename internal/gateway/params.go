package gateway

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/internal/wire"
)

// maxParams bounds the parameters of one call; no documented call of any
// platform comes near it.
const maxParams = 512

// param is one parameter of a query or a form: raw as the caller wrote it, so
// that it can be passed on byte for byte, and decoded, so that it can be judged.
type param struct {
	raw, key, value string
}

// params is a query or a form in the caller's order.
type params []param

// parseParams reads a query or form strictly. What a lenient server could read
// in another way than we do is refused rather than cleaned: a parameter that we
// judged must be the parameter that the platform sees.
func parseParams(raw, where string) (params, error) {
	if raw == "" {
		return nil, nil
	}
	if n := strings.Count(raw, "&"); n >= maxParams {
		return nil, wire.Refuse(gatehouse.ErrInvalid, "refuse/parameters", "the "+where+" has more than 512 parameters")
	}
	if strings.ContainsAny(raw, ";#") {
		return nil, wire.Refuse(gatehouse.ErrInvalid, "refuse/parameters",
			"the "+where+" holds a bare semicolon or number sign, which servers read in different ways; write them as %3B and %23")
	}
	out := make(params, 0, strings.Count(raw, "&")+1)
	for segment := range strings.SplitSeq(raw, "&") {
		if segment == "" {
			continue
		}
		k, v, _ := strings.Cut(segment, "=")
		key, err1 := unescape(k)
		value, err2 := unescape(v)
		if err1 != nil || err2 != nil {
			return nil, wire.Refuse(gatehouse.ErrInvalid, "refuse/parameters", "the "+where+" is not valid percent-encoded UTF-8")
		}
		if strings.ContainsFunc(key, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
			return nil, wire.Refuse(gatehouse.ErrInvalid, "refuse/parameters", "the "+where+" has a parameter name with a control character")
		}
		out = append(out, param{raw: segment, key: key, value: value})
	}
	return out, nil
}

// unescape is url.QueryUnescape that leaves strings without escapes alone and
// demands UTF-8.
func unescape(s string) (string, error) {
	if !strings.ContainsAny(s, "%+") {
		if !utf8.ValidString(s) {
			return "", errNotUTF8
		}
		return s, nil
	}
	out, err := url.QueryUnescape(s)
	if err != nil {
		return "", err
	}
	if !utf8.ValidString(out) {
		return "", errNotUTF8
	}
	return out, nil
}

// errNotUTF8 never reaches a caller; parseParams says it in its own words.
var errNotUTF8 = url.EscapeError("not UTF-8")

// judged are the parameters by which a call is judged or authorised. A second
// spelling of one of them is refused.
var judged = map[string]bool{
	"batch": true, "ids": true, "fields": true, "method": true,
}

// check refuses what two readers could understand differently: the same key
// twice (save the array form "key[]") and other spellings of a judged or
// credential name, because PHP-like readers take "access_token[0]",
// " access_token" and "access.token" for "access_token".
func (p params) check(credentials map[string]bool, where string) error {
	for i := range p {
		key := p[i].key
		if plain := plainName(key); plain != key && (judged[plain] || credentials[plain]) {
			return wire.Refuse(gatehouse.ErrInvalid, "refuse/parameter-spelling",
				"the "+where+" has another spelling of the parameter "+plain+"; use its plain name")
		}
		if lower := strings.ToLower(key); lower != key && (judged[lower] || credentials[lower]) {
			return wire.Refuse(gatehouse.ErrInvalid, "refuse/parameter-spelling",
				"the "+where+" has another spelling of the parameter "+lower+"; use its plain name")
		}
		if strings.HasSuffix(key, "[]") {
			continue
		}
		for j := range i {
			if p[j].key == key {
				return wire.Refuse(gatehouse.ErrInvalid, "refuse/duplicate-parameter",
					"the "+where+" has a parameter twice"+nameIfKnown(key, credentials)+"; servers differ in which one they read")
			}
		}
	}
	return nil
}

// nameIfKnown names a parameter only if it is one of ours, never the caller's text.
func nameIfKnown(key string, credentials map[string]bool) string {
	if judged[key] || credentials[key] {
		return " (" + key + ")"
	}
	return ""
}

// plainName is the name as a PHP-like reader would see it.
func plainName(key string) string {
	if !strings.ContainsAny(key, " .[") {
		return key
	}
	key = strings.TrimLeft(key, " ")
	if i := strings.IndexByte(key, '['); i > 0 {
		key = key[:i]
	}
	return strings.NewReplacer(".", "_", " ", "_").Replace(key)
}

// get returns the value of the first parameter with this name.
func (p params) get(key string) (string, bool) {
	for i := range p {
		if p[i].key == key {
			return p[i].value, true
		}
	}
	return "", false
}

// without leaves out the named parameters and keeps the rest byte for byte.
func (p params) without(names map[string]bool) params {
	for i := range p {
		if names[p[i].key] {
			out := make(params, i, len(p))
			copy(out, p[:i])
			for _, rest := range p[i+1:] {
				if !names[rest.key] {
					out = append(out, rest)
				}
			}
			return out
		}
	}
	return p
}

// with puts new values in the place of those named in replace.
func (p params) with(replace map[string]string) params {
	if len(replace) == 0 {
		return p
	}
	out := slices.Clone(p)
	for i := range out {
		if value, ok := replace[out[i].key]; ok {
			out[i] = newParam(out[i].key, value)
		}
	}
	return out
}

// encode joins the parameters as the caller wrote them.
func (p params) encode() string {
	if len(p) == 0 {
		return ""
	}
	n := len(p)
	for i := range p {
		n += len(p[i].raw)
	}
	var b strings.Builder
	b.Grow(n)
	for i := range p {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p[i].raw)
	}
	return b.String()
}

// values returns the parameters as a map, for signing and classifying.
func (p params) values() url.Values {
	v := make(url.Values, len(p))
	for i := range p {
		v[p[i].key] = append(v[p[i].key], p[i].value)
	}
	return v
}

// newParam makes a parameter of ours.
func newParam(key, value string) param {
	return param{raw: url.QueryEscape(key) + "=" + url.QueryEscape(value), key: key, value: value}
}
