package platform

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// The limits of a reply. They bound memory for one request and are far above
// what the platforms send.
const (
	replyChunk     = 32 << 10
	maxReplyString = 32 << 20
	maxReplyDepth  = 256
	// maxReplyHeld is how much is held back while the object around a token is
	// not complete. Beyond it the token is replaced with what is known of it.
	maxReplyHeld   = 4 << 20
	maxReplyMember = 256
)

// ReplyToken is a credential found in a reply, with what the object around it
// says about it, before it or after it.
type ReplyToken struct {
	Value  string
	Member string // name of the member that held it
	Path   string // members that lead to the object, such as "data" or "accounts/data"

	ID, Name, Category string
	UserID             string
	ExpiresIn          int64 // seconds; 0 if not said
	// Ambiguous is set when the object names two different ids, so that ID must
	// not be believed.
	Ambiguous bool
}

// Rewriter says what takes the place of credentials and links in a reply.
type Rewriter struct {
	// Token returns the replacement of a credential. Nil means the empty string.
	// An error stops the reply before anything of the credential is written.
	Token func(ReplyToken) (string, error)
	// Link returns the replacement of paging.next and paging.previous, and of any
	// other whole string value that is a URL with access_token in its query; what
	// is no link of the platform's it returns unchanged. Nil means the empty
	// string.
	Link func(link string) string
	// Known are credentials that are replaced wherever they stand in the reply,
	// such as the token that was sent, which error messages repeat.
	Known []Known
}

// Known is a literal credential and what takes its place.
type Known struct{ Value, Replacement string }

// RewriteReply copies a JSON reply from r to w, replacing credentials and links.
// Everything else stays as it is, byte for byte, also when it is not valid JSON.
// What has been read is written as soon as nothing in it can change any more, so
// that streams of objects pass through object by object.
//
// The strings named body of a batch reply are JSON themselves and are treated in
// the same way. Other strings are data, whatever they look like: people write
// them, and must not be able to plant a credential.
func RewriteReply(r io.Reader, w io.Writer, f Rewriter) error {
	scrub := NewScrubber(w, f.Known)
	s := rewriter{f: f}
	for {
		if cap(s.buf)-len(s.buf) < replyChunk {
			s.buf = append(make([]byte, 0, 2*cap(s.buf)+replyChunk), s.buf...)
		}
		n, err := r.Read(s.buf[len(s.buf) : len(s.buf)+replyChunk])
		s.buf = s.buf[:len(s.buf)+n]
		if perr := s.process(err != nil); perr != nil {
			return perr
		}
		end := errors.Is(err, io.EOF)
		if err != nil {
			if rerr := s.resolve(0); rerr != nil {
				return rerr
			}
		}
		if werr := s.flush(scrub); werr != nil {
			return werr
		}
		switch {
		case end:
			if s.pos < len(s.buf) {
				return s.finish(scrub)
			}
			return scrub.Flush()
		case err != nil:
			return errors.Join(err, scrub.Flush())
		}
	}
}

// class is what a member's name says about its value.
type class uint8

const (
	plain class = iota
	credential
	pageLink
	batchBody
	memberID
	memberName
	memberCategory
	memberUserID
	memberExpires
)

func classify(key []byte) class {
	switch len(key) {
	case 2:
		if string(key) == "id" {
			return memberID
		}
	case 4:
		switch string(key) {
		case "name":
			return memberName
		case "body":
			return batchBody
		case "next":
			return pageLink
		}
	case 7:
		if string(key) == "user_id" {
			return memberUserID
		}
	default:
		switch string(key) {
		case "category":
			return memberCategory
		case "previous":
			return pageLink
		case "expires_in":
			return memberExpires
		}
		if credentialKey(key) {
			return credential
		}
	}
	return plain
}

// frame is an open object or array. Frames are reused with their buffers.
type frame struct {
	object    bool
	expectKey bool
	class     class // of the member being read; inherited by arrays
	pending   int   // edits that wait for this object to close
	ambiguous bool
	key       []byte
	id        []byte
	name      []byte
	category  []byte
	userID    []byte
	expires   []byte
}

func (f *frame) reset(object bool, c class) {
	f.object, f.expectKey, f.class, f.pending, f.ambiguous = object, object, c, 0, false
	f.key, f.id, f.name, f.category, f.userID, f.expires = f.key[:0], f.id[:0], f.name[:0], f.category[:0], f.userID[:0], f.expires[:0]
}

// edit replaces buf[from:to]. While owner is not zero, it waits for the frame of
// that depth to close, and text is not yet known.
type edit struct {
	from, to int
	text     []byte
	owner    int
	token    *ReplyToken
}

// rewriter is a tokeniser over a sliding window of the reply. Positions are
// indexes in buf; flush shifts them all.
type rewriter struct {
	f      Rewriter
	buf    []byte
	pos    int // everything before is understood
	scan   int // how far an incomplete string at pos was searched for its end
	edits  []edit
	stack  []frame
	depth  int // frames in use
	nested int // how many strings we are inside of
}

func (s *rewriter) top() *frame {
	if s.depth == 0 {
		return nil
	}
	return &s.stack[s.depth-1]
}

func (s *rewriter) push(object bool) error {
	if s.depth >= maxReplyDepth {
		return fmt.Errorf("reply: %w: nested too deep", ErrTooLarge)
	}
	inherit := plain
	if t := s.top(); t != nil && t.class == credential {
		if object {
			return fmt.Errorf("reply: %w: a credential is no string", ErrSyntax)
		}
		inherit = credential
	}
	if s.depth == len(s.stack) {
		s.stack = append(s.stack, frame{})
	}
	s.depth++
	s.top().reset(object, inherit)
	return nil
}

func (s *rewriter) pop() error {
	t := s.top()
	if t == nil {
		return nil // not JSON; nothing to close
	}
	if t.pending > 0 {
		if err := s.resolve(s.depth); err != nil {
			return err
		}
	}
	s.depth--
	return nil
}

// process understands as much of the window as is complete. At the end of the
// input a number may end where the input does.
func (s *rewriter) process(end bool) error {
	for s.pos < len(s.buf) {
		switch c := s.buf[s.pos]; c {
		case '"':
			closing := stringEnd(s.buf, max(s.pos+1, s.scan))
			if closing < 0 {
				s.scan = max(s.pos+1, len(s.buf)-1) // the last byte may be a backslash
				for s.scan > s.pos+1 && s.buf[s.scan-1] == '\\' {
					s.scan--
				}
				if len(s.buf)-s.pos > maxReplyString {
					return fmt.Errorf("reply: %w: a string", ErrTooLarge)
				}
				return s.relieve()
			}
			s.scan = 0
			if err := s.text(s.pos+1, closing); err != nil {
				return err
			}
			s.pos = closing + 1
			continue
		case '{', '[':
			if err := s.push(c == '{'); err != nil {
				return err
			}
		case '}', ']':
			if err := s.pop(); err != nil {
				return err
			}
		case ',':
			if t := s.top(); t != nil && t.object {
				t.expectKey, t.class = true, plain
			}
		case ':':
			if t := s.top(); t != nil {
				t.expectKey = false
			}
		case '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
			if t := s.top(); t != nil && t.object && t.class >= memberID {
				stop := s.pos
				for stop < len(s.buf) && s.buf[stop] >= '0' && s.buf[stop] <= '9' {
					stop++
				}
				if stop == len(s.buf) && !end && stop-s.pos < maxReplyMember {
					return s.relieve()
				}
				t.remember(s.buf[s.pos:stop])
				s.pos = stop
				continue
			}
		}
		s.pos++
	}
	return s.relieve()
}

// relieve gives up waiting for the rest of an object that is too large to hold.
func (s *rewriter) relieve() error {
	if s.nested == 0 && len(s.edits) > 0 && s.pos-s.edits[0].from > maxReplyHeld {
		return s.resolve(0)
	}
	return nil
}

// remember stores what a member of interest says about its object.
func (f *frame) remember(value []byte) {
	if len(value) > maxReplyMember {
		value = value[:maxReplyMember]
	}
	switch f.class {
	case memberID:
		if len(f.id) > 0 && !bytes.Equal(f.id, value) {
			f.ambiguous = true
		}
		f.id = append(f.id[:0], value...)
	case memberName:
		f.name = append(f.name[:0], value...)
	case memberCategory:
		f.category = append(f.category[:0], value...)
	case memberUserID:
		f.userID = append(f.userID[:0], value...)
	case memberExpires:
		f.expires = append(f.expires[:0], value...)
	}
}

// flush writes what cannot change any more and shifts the window.
func (s *rewriter) flush(w io.Writer) error {
	safe := s.pos
	for i := range s.edits {
		if s.edits[i].owner != 0 {
			safe = s.edits[i].from
			break
		}
	}
	done, at := 0, 0
	for _, e := range s.edits {
		if e.owner != 0 || e.from >= safe {
			break
		}
		if _, err := w.Write(s.buf[at:e.from]); err != nil {
			return err
		}
		if _, err := w.Write(e.text); err != nil {
			return err
		}
		at = e.to
		done++
	}
	if safe > at {
		if _, err := w.Write(s.buf[at:safe]); err != nil {
			return err
		}
	}
	if safe == 0 {
		return nil
	}
	s.edits = s.edits[:copy(s.edits, s.edits[done:])]
	for i := range s.edits {
		s.edits[i].from -= safe
		s.edits[i].to -= safe
	}
	s.buf = s.buf[:copy(s.buf, s.buf[safe:])]
	s.pos -= safe
	s.scan = max(0, s.scan-safe)
	return nil
}

// suspicious reports whether the incomplete string at pos may hold a credential.
func (s *rewriter) suspicious() bool {
	t := s.top()
	return t != nil && !(t.object && t.expectKey) && (t.class == credential || t.class == pageLink || t.class == batchBody)
}

// finish deals with a string that the end of the reply cut off. Where it may hold
// part of a credential, it is withheld and the reply is an error.
func (s *rewriter) finish(w *Scrubber) error {
	if s.suspicious() {
		return errors.Join(fmt.Errorf("reply ends inside a value that may be a credential: %w", io.ErrUnexpectedEOF), w.Flush())
	}
	if _, err := w.Write(s.buf[s.pos:]); err != nil {
		return err
	}
	return w.Flush()
}
