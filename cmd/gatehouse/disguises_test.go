package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// disguise is a place of a request and the way in which a text is written there.
type disguise struct {
	name string
	make func(t *testing.T, base, text string) *http.Request
}

// disguises are the ways in which programs write what they send. Each request has the
// disguise's name as its path, so that a third party can tell them apart.
func disguises() []disguise {
	var all []disguise
	body := func(name, contentType string, write func(text string) string) {
		all = append(all, disguise{name, func(t *testing.T, base, text string) *http.Request {
			r := outgoing(t, http.MethodPost, base+"/"+name, strings.NewReader(write(text)))
			r.Header.Set("Content-Type", contentType)
			return r
		}})
	}
	const asJSON = "application/json"
	field := func(text string) string { return `{"event":"seen","value":` + quoted(text) + `}` }
	body("json", asJSON, field)
	body("json-escapes", asJSON, func(text string) string { return `{"event":"seen","value":"` + escapedJSON(text) + `"}` })
	body("json-in-json", asJSON, func(text string) string { return `{"inner":` + quoted(field(text)) + `}` })
	body("form", "application/x-www-form-urlencoded", func(text string) string { return url.Values{"event": {"seen"}, "value": {text}}.Encode() })
	body("percent-body", "text/plain", func(text string) string { return "value=" + percented(text) })
	body("html", "text/html", func(text string) string { return "<p>" + entities(text) + "</p>" })
	body("hex", asJSON, func(text string) string { return `{"value":"` + hex.EncodeToString([]byte(text)) + `"}` })
	for name, encoding := range map[string]*base64.Encoding{
		"base64": base64.StdEncoding, "base64-raw": base64.RawStdEncoding, "base64-url": base64.URLEncoding, "base64-raw-url": base64.RawURLEncoding,
	} {
		body(name, asJSON, func(text string) string { return `{"value":"` + encoding.EncodeToString([]byte(text)) + `"}` })
	}
	body("base64-of-json", asJSON, func(text string) string {
		return `{"value":"` + base64.StdEncoding.EncodeToString([]byte(field(text))) + `"}`
	})
	body("base64-in-form", "application/x-www-form-urlencoded", func(text string) string {
		return url.Values{"data": {base64.StdEncoding.EncodeToString([]byte(field(text)))}}.Encode()
	})

	query := func(name string, write func(text string) string) {
		all = append(all, disguise{name, func(t *testing.T, base, text string) *http.Request {
			return outgoing(t, http.MethodGet, base+"/"+name+"?event=seen&value="+write(text), nil)
		}})
	}
	query("query", url.QueryEscape)
	query("query-percent", percented)
	query("query-double-percent", func(text string) string { return percented(percented(text)) })
	query("query-base64", func(text string) string { return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(text))) })

	all = append(all, disguise{"path", func(t *testing.T, base, text string) *http.Request {
		return outgoing(t, http.MethodGet, base+"/path/"+url.PathEscape(text)+"/profile", nil)
	}}, disguise{"path-percent", func(t *testing.T, base, text string) *http.Request {
		return outgoing(t, http.MethodGet, base+"/path-percent/"+percented(text), nil)
	}})
	header := func(name, field string, write func(text string) string) {
		all = append(all, disguise{name, func(t *testing.T, base, text string) *http.Request {
			r := outgoing(t, http.MethodGet, base+"/"+name, nil)
			r.Header.Set(field, write(text))
			return r
		}})
	}
	header("header", "X-Context", func(text string) string { return text })
	header("authorization", "Authorization", func(text string) string { return "Bearer " + text })
	header("basic", "Authorization", func(text string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte("user:"+text))
	})
	header("cookie", "Cookie", func(text string) string { return "a=b; value=" + percented(text) })

	all = append(all, disguise{"gzip", func(t *testing.T, base, text string) *http.Request {
		r := outgoing(t, http.MethodPost, base+"/gzip", strings.NewReader(gzipped(t, field(text))))
		r.Header.Set("Content-Encoding", "gzip")
		r.Header.Set("Content-Type", asJSON)
		return r
	}}, disguise{"chunks", func(t *testing.T, base, text string) *http.Request {
		half := len(text) / 2
		return outgoing(t, http.MethodPost, base+"/chunks", piecemeal(`{"event":"seen","value":"`+text[:half], text[half:], `"}`))
	}}, disguise{"chunks-escaped", func(t *testing.T, base, text string) *http.Request {
		// Cut within an escape.
		escaped := escapedJSON(text)
		half := 6*(len(text)/2) + 3
		return outgoing(t, http.MethodPost, base+"/chunks-escaped", piecemeal(`{"value":"`+escaped[:half], escaped[half:], `"}`))
	}}, disguise{"trailer", func(t *testing.T, base, text string) *http.Request {
		r := outgoing(t, http.MethodPost, base+"/trailer", piecemeal("event"))
		r.Trailer = http.Header{"X-Sum": {text}}
		return r
	}})
	return all
}

func outgoing(t *testing.T, method, address string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func quoted(text string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(text) // a string always can be
	return strings.TrimSpace(b.String())
}

// escapedJSON writes every letter as \uXXXX: the texts of these tests have none beyond
// the first plane.
func escapedJSON(text string) string {
	var b strings.Builder
	for _, r := range text {
		fmt.Fprintf(&b, `\u%04x`, r)
	}
	return b.String()
}

func percented(text string) string {
	var b strings.Builder
	for i := range len(text) {
		fmt.Fprintf(&b, "%%%02X", text[i])
	}
	return b.String()
}

func entities(text string) string {
	var b strings.Builder
	for i, r := range []rune(text) {
		fmt.Fprintf(&b, []string{"&#%d;", "&#x%x;"}[i%2], r)
	}
	return b.String()
}

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
