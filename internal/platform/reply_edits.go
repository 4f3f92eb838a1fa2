package platform

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// text handles the string whose contents are buf[from:to].
func (s *rewriter) text(from, to int) error {
	t := s.top()
	if t == nil {
		s.escaped(from, to)
		return nil
	}
	raw := s.buf[from:to]
	if t.object && t.expectKey {
		s.escaped(from, to)
		if bytes.IndexByte(raw, '\\') >= 0 {
			raw, _ = unescape(raw, false)
		}
		t.key = append(t.key[:0], raw...)
		t.class = classify(t.key)
		return nil
	}
	switch t.class {
	case credential:
		if len(raw) > 0 {
			s.hold(from, to)
		}
		return nil
	case batchBody:
		if s.nested == 0 && s.depth == 2 && !s.stack[0].object {
			return s.body(from, to)
		}
	case pageLink:
		if s.depth > 1 && string(s.stack[s.depth-2].key) == "paging" {
			s.link(from, to)
			return nil
		}
	case memberID, memberName, memberCategory, memberUserID, memberExpires:
		if bytes.IndexByte(raw, '\\') >= 0 {
			raw, _ = unescape(raw, false)
		}
		t.remember(raw)
	}
	if s.credentialLink(raw) {
		s.link(from, to)
		return nil
	}
	s.escaped(from, to)
	return nil
}

// credentialLink reports whether a string is a whole URL with a credential in it.
func (s *rewriter) credentialLink(raw []byte) bool {
	if len(raw) < 20 || raw[0]|0x20 != 'h' && raw[0] != ' ' && raw[0] != '\\' || bytes.IndexByte(raw, '=') < 0 && bytes.IndexByte(raw, '\\') < 0 {
		return false
	}
	decoded, _ := unescape(raw, false)
	link := strings.TrimSpace(string(decoded))
	return len(link) > 4 && strings.EqualFold(link[:4], "http") && CarriesCredential(link)
}

// link replaces a URL. Only paging links and those with a credential in the query
// come here; the caller's Link decides what is the platform's. A paging link that
// is no whole URL and carries a credential is emptied.
func (s *rewriter) link(from, to int) {
	decoded, _ := unescape(s.buf[from:to], false)
	link := string(decoded)
	scheme, _, _ := strings.Cut(strings.TrimSpace(link), "://")
	replacement := ""
	switch {
	case !strings.EqualFold(scheme, "https") && !strings.EqualFold(scheme, "http"):
		if !CarriesCredential(link) {
			return
		}
	case s.f.Link != nil:
		replacement = s.f.Link(strings.TrimSpace(link))
		if replacement == strings.TrimSpace(link) {
			return
		}
	}
	s.edits = append(s.edits, edit{from: from, to: to, text: appendEscaped(nil, replacement)})
}

// escaped replaces known credentials that are written with escapes, which the
// Scrubber behind the rewriter does not see through.
func (s *rewriter) escaped(from, to int) {
	if len(s.f.Known) == 0 || bytes.IndexByte(s.buf[from:to], '\\') < 0 {
		return
	}
	decoded, _ := unescape(s.buf[from:to], false)
	text := string(decoded)
	for _, k := range s.f.Known {
		if len(k.Value) >= shortestKnown {
			text = strings.ReplaceAll(text, k.Value, k.Replacement)
		}
	}
	if text != string(decoded) {
		s.edits = append(s.edits, edit{from: from, to: to, text: appendEscaped(nil, text)})
	}
}

// hold notes a credential and waits for the object around it.
func (s *rewriter) hold(from, to int) {
	owner := s.depth // an array inherits its class, so some object is around it
	for !s.stack[owner-1].object {
		owner--
	}
	decoded, _ := unescape(s.buf[from:to], false)
	token := &ReplyToken{Value: string(decoded)}
	var path []string
	for i := range s.stack[:owner] {
		if f := &s.stack[i]; f.object && i < owner-1 {
			path = append(path, string(f.key))
		}
	}
	token.Path = strings.Join(path, "/")
	token.Member = string(s.stack[owner-1].key)
	s.stack[owner-1].pending++
	s.edits = append(s.edits, edit{from: from, to: to, owner: owner, token: token})
}

// resolve asks for the replacements that wait for the frame of this depth, or for
// all that wait if depth is zero, in the order of the reply.
func (s *rewriter) resolve(depth int) error {
	first := 0
	if depth != 0 {
		first = len(s.edits)
		for left := s.stack[depth-1].pending; left > 0; {
			if first--; s.edits[first].owner == depth {
				left--
			}
		}
	}
	for i := first; i < len(s.edits); i++ {
		e := &s.edits[i]
		if e.owner == 0 || depth != 0 && e.owner != depth {
			continue
		}
		f := &s.stack[e.owner-1]
		t := e.token
		t.ID, t.Name, t.Category, t.UserID = string(f.id), string(f.name), string(f.category), string(f.userID)
		t.Ambiguous = f.ambiguous
		t.ExpiresIn, _ = strconv.ParseInt(string(f.expires), 10, 64)
		replacement := ""
		if s.f.Token != nil {
			var err error
			if replacement, err = s.f.Token(*t); err != nil {
				return fmt.Errorf("replacing a credential in a reply: %w", err)
			}
		}
		if replacement == t.Value {
			e.text = append([]byte(nil), s.buf[e.from:e.to]...) // the same, in its own spelling
		} else {
			e.text = appendEscaped(nil, replacement)
		}
		e.owner, e.token = 0, nil
		f.pending--
	}
	return nil
}

// body rewrites the JSON inside the string of a batch reply. Edits are made on
// the decoded text and carried back to the bytes of the string, so that the rest
// of it keeps its escapes.
func (s *rewriter) body(from, to int) error {
	inner, offsets := unescape(s.buf[from:to], true)
	in := rewriter{f: s.f, buf: inner, nested: s.nested + 1}
	if err := in.process(true); err != nil {
		return err
	}
	if err := in.resolve(0); err != nil {
		return err
	}
	if in.pos < len(in.buf) && in.suspicious() {
		in.edits = append(in.edits, edit{from: in.pos + 1, to: len(in.buf)})
	}
	for _, e := range in.edits {
		s.edits = append(s.edits, edit{from: from + offsets[e.from], to: from + offsets[e.to], text: appendEscaped(nil, string(e.text))})
	}
	return nil
}
