package meta

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"unicode/utf8"
)

// object is a JSON object that keeps the order of its members: Graph answers in
// the order in which fields were asked for.
type object []member

type member struct {
	name  string
	value any
}

// set appends a member, or replaces the one of the same name.
func (o *object) set(name string, value any) {
	for i := range *o {
		if (*o)[i].name == name {
			(*o)[i].value = value
			return
		}
	}
	*o = append(*o, member{name, value})
}

// get returns the member's value, nil when there is none.
func (o object) get(name string) any {
	for _, m := range o {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// MarshalJSON writes the members in their order.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(m.name)
		if err != nil {
			return nil, fmt.Errorf("encoding a member's name: %w", err)
		}
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, fmt.Errorf("encoding member %s: %w", m.name, err)
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// encode renders JSON the way Graph puts it on the wire: non-ASCII as \uXXXX in
// lower case and every slash escaped. Signatures over webhooks depend on these
// bytes, and so does whoever looks for links in replies.
func encode(v any) []byte {
	plain, err := json.Marshal(v)
	if err != nil {
		// Everything encoded here is made of strings, numbers, booleans, slices
		// and objects.
		panic(fmt.Sprintf("meta: encoding a reply: %v", err))
	}
	return escape(plain)
}

// escape rewrites valid JSON into Graph's form of it. Slashes and non-ASCII
// characters occur inside strings only, so the text can be taken byte by byte.
func escape(plain []byte) []byte {
	out := make([]byte, 0, len(plain)+len(plain)/8)
	for i := 0; i < len(plain); {
		switch c := plain[i]; {
		case c == '\\' && i+1 < len(plain):
			// json.Marshal escapes &, < and > for the sake of HTML; Graph does not.
			if unescaped, ok := htmlEscape(plain[i:]); ok {
				out = append(out, unescaped)
				i += 6
				continue
			}
			out = append(out, c, plain[i+1])
			i += 2
		case c == '/':
			out = append(out, '\\', '/')
			i++
		case c < utf8.RuneSelf:
			out = append(out, c)
			i++
		default:
			r, size := utf8.DecodeRune(plain[i:])
			if r > 0xffff {
				r -= 0x10000
				out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
			} else {
				out = fmt.Appendf(out, `\u%04x`, r)
			}
			i += size
		}
	}
	return out
}

func htmlEscape(b []byte) (byte, bool) {
	if len(b) < 6 {
		return 0, false
	}
	switch string(b[:6]) {
	case `\u0026`:
		return '&', true
	case `\u003c`:
		return '<', true
	case `\u003e`:
		return '>', true
	}
	return 0, false
}

// reply is an answer before it is written.
type reply struct {
	status int
	header http.Header
	body   any
	// failure replaces body; the trace id is only known when it is written.
	failure *failure
	// raw replaces body by bytes of another type (pages, plain text).
	raw []byte
	// later runs after the lock is released and its result is the answer: for
	// what has to ask somebody else first.
	later func() *reply
}

func answer(body any) *reply {
	return &reply{status: http.StatusOK, header: make(http.Header), body: body}
}

func success() *reply { return answer(object{{"success", true}}) }

// bytes renders the body.
func (r *reply) bytes(trace string) []byte {
	switch {
	case r.raw != nil:
		return r.raw
	case r.failure != nil:
		return encode(r.failure.body(trace))
	default:
		return encode(r.body)
	}
}

// write sends the reply with the headers that every Graph reply has.
func (r *reply) write(w http.ResponseWriter, c *call) {
	trace := traceID()
	body := r.bytes(trace)
	h := w.Header()
	for name, values := range r.header {
		h[name] = values
	}
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json; charset=UTF-8")
	}
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cache-Control", "private, no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "Sat, 01 Jan 2000 00:00:00 GMT")
	h.Set("Strict-Transport-Security", "max-age=15552000; preload")
	h.Set("facebook-api-version", c.version)
	h.Set("x-fb-request-id", trace)
	h.Set("x-fb-trace-id", trace)
	h.Set("x-fb-rev", "1031415926")
	h.Set("X-FB-Debug", rand.Text()+rand.Text()+"==")
	status := r.status
	if status == http.StatusOK && c.method == http.MethodGet {
		sum := sha256.Sum256(body)
		etag := `"` + fmt.Sprintf("%x", sum[:20]) + `"`
		h.Set("ETag", etag)
		if c.ifNoneMatch == etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	if c.params.Get("suppress_http_code") == "1" {
		status = http.StatusOK
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	// A caller that left is no concern of the platform.
	_, _ = w.Write(body)
}

// traceID looks like Graph's fbtrace_id.
func traceID() string {
	var b [9]byte
	_, _ = rand.Read(b[:])
	return "A" + base64.RawURLEncoding.EncodeToString(b[:])
}
