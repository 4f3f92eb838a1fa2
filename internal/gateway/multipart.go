package gateway

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"net/textproto"
	"regexp"
	"strings"

	"gatehouse"
	"gatehouse/internal/identity"
	"gatehouse/internal/wire"
)

// multipartBody is a multipart form, read up to its first file: the text parts
// before it are parameters, the file and what follows pass through.
type multipartBody struct {
	reader   *multipart.Reader
	boundary string
	text     []textPart
	file     *multipart.Part // the first file part; nil if there is none
}

type textPart struct {
	header textproto.MIMEHeader
	name   string
	value  []byte
}

func errMultipart(detail string) error {
	return wire.Refuse(gatehouse.ErrInvalid, "refuse/multipart", detail)
}

// readParts reads the text parts before the first file, at most limit bytes of
// them.
func (b *body) readParts(limit int64) error {
	m := &multipartBody{reader: multipart.NewReader(b.rest, b.boundary), boundary: b.boundary}
	b.parts = m
	for {
		part, err := m.reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return bodyError(err)
		}
		name, err := partName(part)
		if err != nil {
			return err
		}
		if part.FileName() != "" || !isText(part.Header.Get("Content-Type")) {
			if decides(name) {
				return errMultipart("a file in the multipart form has the name of a parameter that decides about the call")
			}
			m.file = part
			break
		}
		if part.Header.Get("Content-Transfer-Encoding") != "" {
			return errMultipart("a text part of the multipart form declares a transfer encoding")
		}
		value, err := io.ReadAll(io.LimitReader(part, limit+1))
		if err != nil {
			return bodyError(err)
		}
		if limit -= int64(len(value)); limit < 0 || len(m.text) == maxParams {
			return errTooLarge("limit/inspected-body", "the text parts of the multipart form are larger than the limit for what must be read")
		}
		m.text = append(m.text, textPart{header: part.Header, name: name, value: value})
		b.params = append(b.params, param{key: name, value: string(value)})
	}
	return nil
}

// partName returns the name of a part and reduces its header to what a form needs.
// A name that is given in the extended form (name*) is not the same for all
// readers.
func partName(part *multipart.Part) (string, error) {
	disposition := part.Header["Content-Disposition"]
	name := part.FormName()
	if name == "" || len(disposition) != 1 || extendedName.MatchString(disposition[0]) ||
		strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '"' || r == '\\' }) {
		return "", errMultipart("a part of the multipart form has no plain name of its own")
	}
	if identity.Holds(disposition[0]) {
		return "", errHandleInside("the header of a part")
	}
	// The header goes on in our words: another reader of the caller's, with its
	// quotes and backslashes, might find another name in it than the one judged.
	plain := textproto.MIMEHeader{"Content-Disposition": {`form-data; name="` + name + `"`}}
	if file := part.FileName(); file != "" {
		plain["Content-Disposition"] = []string{multipart.FileContentDisposition(name, file)}
	}
	for _, header := range []string{"Content-Type", "Content-Transfer-Encoding"} {
		if values := part.Header[header]; len(values) > 0 {
			plain[header] = values[:1]
		}
	}
	part.Header = plain
	return name, nil
}

var extendedName = regexp.MustCompile(`(?i)[;\s]name\*`)

// isText reports whether a part without a file name is a parameter.
func isText(contentType string) bool {
	switch mediaType(contentType) {
	case "", "text/plain", "application/json":
		return true
	}
	return false
}

// outgoing returns the form for the platform: without the parts named in
// leaveOut, with the values of replace, and with the file passed through. Parts
// after the first file are passed on unless late refuses their name: they were
// not there when the call was judged. The length is -1 when a file follows.
func (m *multipartBody) outgoing(leaveOut map[string]bool, replace map[string]string, late func(name string) bool) (io.Reader, int64, error) {
	out := &multipartReader{source: m.reader, late: late}
	out.writer = multipart.NewWriter(&out.pending)
	if err := out.writer.SetBoundary(m.boundary); err != nil {
		return nil, 0, errContentType("the multipart type has no valid boundary")
	}
	for _, t := range m.text {
		if leaveOut[t.name] {
			continue
		}
		if r, ok := replace[t.name]; ok {
			t.value = []byte(r)
		}
		w, err := out.writer.CreatePart(t.header)
		if err != nil {
			return nil, 0, err
		}
		if _, err := w.Write(t.value); err != nil {
			return nil, 0, err
		}
	}
	if m.file == nil {
		if err := out.writer.Close(); err != nil {
			return nil, 0, err
		}
		return &out.pending, int64(out.pending.Len()), nil
	}
	if err := out.begin(m.file); err != nil {
		return nil, 0, err
	}
	return out, -1, nil
}

// multipartReader writes a multipart form again while it is read, part by part,
// without a goroutine and without holding a file.
type multipartReader struct {
	source  *multipart.Reader
	writer  *multipart.Writer // writes to pending
	pending bytes.Buffer
	part    *multipart.Part // under way; nil between parts
	to      io.Writer       // where the part under way goes
	late    func(name string) bool
	done    bool
	err     error // sticks
	scratch [32 << 10]byte
}

func (m *multipartReader) begin(p *multipart.Part) error {
	w, err := m.writer.CreatePart(p.Header)
	m.part, m.to = p, w
	return err
}

func (m *multipartReader) Read(p []byte) (int, error) {
	for m.pending.Len() == 0 {
		if m.err != nil {
			return 0, m.err
		}
		if m.done {
			return 0, io.EOF
		}
		m.err = m.advance()
	}
	return m.pending.Read(p)
}

// advance moves at least a little further through the source.
func (m *multipartReader) advance() error {
	if m.part != nil {
		n, err := m.part.Read(m.scratch[:])
		if _, werr := m.to.Write(m.scratch[:n]); werr != nil {
			return werr
		}
		if errors.Is(err, io.EOF) {
			m.part = nil
			return nil
		}
		return bodyErrorOrNil(err)
	}
	part, err := m.source.NextRawPart()
	if errors.Is(err, io.EOF) {
		m.done = true
		return m.writer.Close()
	}
	if err != nil {
		return bodyError(err)
	}
	name, err := partName(part)
	if err != nil {
		return err
	}
	if m.late(name) {
		return errMultipart("a parameter that decides about the call follows a file in the multipart form; put parameters before files")
	}
	return m.begin(part)
}

func bodyErrorOrNil(err error) error {
	if err == nil {
		return nil
	}
	return bodyError(err)
}
