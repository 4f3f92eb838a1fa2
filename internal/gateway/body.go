package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"gatehouse"
	"gatehouse/internal/wire"
)

// bodyKind says how a request's body is read and passed on.
type bodyKind uint8

const (
	bodyNone      bodyKind = iota
	bodyForm               // parameters: buffered, inspected, written again
	bodyJSON               // buffered and inspected; on Graph its members are parameters
	bodyLargeJSON          // X only: passed through, watched for handles
	bodyMultipart          // text parts before the first file are parameters, files pass through
	bodyMedia              // passed through, watched for handles
)

// body is what a caller sent, as far as it had to be read to judge it.
type body struct {
	kind        bodyKind
	contentType string
	boundary    string // multipart
	bytes       []byte // form and JSON: all of it
	members     []jsonMember
	params      params // form fields, JSON members or text parts
	parts       *multipartBody
	rest        io.Reader // what is passed through unread
	length      int64     // of rest; -1 when unknown
}

func errTooLarge(rule, detail string) error {
	return wire.WithStatus(wire.Refuse(gatehouse.ErrInvalid, rule, detail), http.StatusRequestEntityTooLarge)
}

func errContentType(detail string) error {
	return wire.WithStatus(wire.Refuse(gatehouse.ErrInvalid, "refuse/content-type", detail), http.StatusUnsupportedMediaType)
}

// readBody decides by the declared type how the body is read, and reads what
// must be judged. inspect bounds what is buffered, most the whole body.
func readBody(w http.ResponseWriter, r *http.Request, inspect, most int64) (body, error) {
	b := body{contentType: r.Header.Get("Content-Type"), length: r.ContentLength}
	if len(r.Header["Content-Type"]) > 1 {
		return b, errContentType("the request declares its content type twice")
	}
	if r.ContentLength > most {
		return b, errTooLarge("limit/body", "the body is larger than the configuration allows")
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return b, errContentType("a compressed request body cannot be judged; send it as it is")
	}
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return b, nil
	}
	if _, attrs, err := mime.ParseMediaType(b.contentType); err == nil && attrs["charset"] != "" && !strings.EqualFold(attrs["charset"], "utf-8") {
		return b, errContentType("a body in another character set than UTF-8 cannot be judged")
	}
	r.Body = http.MaxBytesReader(w, r.Body, most)
	switch t := mediaType(b.contentType); {
	case t == "application/x-www-form-urlencoded":
		b.kind = bodyForm
		if err := b.fill(r.Body, inspect); err != nil {
			return b, err
		}
		var err error
		b.params, err = parseParams(strings.Trim(string(b.bytes), "\r\n"), "form")
		return b, err
	case t == "application/json" || strings.HasSuffix(t, "+json"):
		return b.readJSON(r, inspect)
	case t == "multipart/form-data":
		_, attrs, err := mime.ParseMediaType(b.contentType)
		if err != nil || attrs["boundary"] == "" {
			return b, errContentType("the multipart type has no valid boundary")
		}
		b.kind, b.boundary, b.rest = bodyMultipart, attrs["boundary"], r.Body
		// In our words: there are several ways to write a boundary, and readers
		// differ in which one they see.
		b.contentType = mime.FormatMediaType(t, map[string]string{"boundary": b.boundary})
		return b, nil
	case t == "application/octet-stream" || strings.HasPrefix(t, "image/") || strings.HasPrefix(t, "video/") || strings.HasPrefix(t, "audio/"):
		if _, _, err := mime.ParseMediaType(b.contentType); err != nil {
			return b, errContentType("the content type cannot be read")
		}
		b.kind, b.rest = bodyMedia, r.Body
		return b, nil
	case t == "":
		return b, b.demandEmpty(r.Body)
	}
	return b, errContentType("a body of this content type cannot be judged; send JSON, a form, multipart/form-data or media")
}

// readJSON buffers a JSON body. One that is larger than what may be buffered is
// a media upload, if anything: it is passed through if the platform turns out
// to be X, where no body carries parameters.
func (b body) readJSON(r *http.Request, inspect int64) (body, error) {
	b.kind = bodyJSON
	if r.ContentLength > inspect {
		b.kind, b.rest = bodyLargeJSON, r.Body
		return b, nil
	}
	if err := b.fill(r.Body, inspect); err != nil {
		return b, err
	}
	if len(bytes.TrimSpace(b.bytes)) > 0 && !json.Valid(b.bytes) {
		return b, errNotJSON("is not valid JSON")
	}
	return b, nil
}

// fill buffers the body up to limit. The buffer is not pooled: the transport may
// still be reading it when the platform has answered early.
func (b *body) fill(r io.Reader, limit int64) error {
	var buffer bytes.Buffer
	if b.length > 0 && b.length <= limit {
		buffer.Grow(int(b.length) + bytes.MinRead)
	}
	if _, err := buffer.ReadFrom(io.LimitReader(r, limit+1)); err != nil {
		return bodyError(err)
	}
	if int64(buffer.Len()) > limit {
		return errTooLarge("limit/inspected-body",
			"a body of this content type must be read before it is judged, and this one is larger than the limit for that; send files as multipart/form-data")
	}
	b.bytes = buffer.Bytes()
	return nil
}

// demandEmpty accepts a body without a content type only if there is none.
func (b *body) demandEmpty(r io.Reader) error {
	var one [1]byte
	if n, err := io.ReadFull(r, one[:]); n > 0 {
		return errContentType("the body has no content type")
	} else if err != io.EOF {
		return bodyError(err)
	}
	b.length = 0
	return nil
}

// bodyError says what went wrong while the caller's body was read.
func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return errTooLarge("limit/body", "the body is larger than the configuration allows")
	}
	if wire.RuleOf(err) != "" {
		return err
	}
	return wire.Public(errors.Join(gatehouse.ErrInvalid, err), "the body ended before it was complete")
}
