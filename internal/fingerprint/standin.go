package fingerprint

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"
)

// Config is what New needs.
type Config struct {
	Key Key
	Max int
}

// Index is a stand-in.
type Index struct {
	config Config
	mu     sync.Mutex
	held   map[Print][]Entry
}

// New is a stand-in.
func New(c Config) *Index { return &Index{config: c, held: map[Print][]Entry{}} }

// Print is a stand-in.
func (x *Index) Print(v Value) (Print, bool) {
	if len(v.Text) < 3 {
		return 0, false
	}
	sum := sha256.Sum256(append(x.config.Key[:], v.Text...))
	return Print(binary.BigEndian.Uint64(sum[:])), true
}

// Add is a stand-in.
func (x *Index) Add(entries ...Entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
next:
	for _, e := range entries {
		for i, have := range x.held[e.Print] {
			if have.Owner == e.Owner && have.Class == e.Class {
				x.held[e.Print][i] = e
				continue next
			}
		}
		x.held[e.Print] = append(x.held[e.Print], e)
	}
}

// Forget is a stand-in.
func (x *Index) Forget(o Owner) {
	x.drop(func(e Entry) bool { return e.Owner == o })
}

// Expire is a stand-in.
func (x *Index) Expire(now time.Time) { x.drop(func(e Entry) bool { return e.Expires.Before(now) }) }

func (x *Index) drop(gone func(Entry) bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for p, list := range x.held {
		var keep []Entry
		for _, e := range list {
			if !gone(e) {
				keep = append(keep, e)
			}
		}
		if x.held[p] = keep; keep == nil {
			delete(x.held, p)
		}
	}
}

// Search is a stand-in.
type Search struct {
	x    *Index
	part []byte
	safe int64
	hits []Hit
}

// Search is a stand-in.
func (x *Index) Search() *Search { return &Search{x: x} }

func word(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '@' || c == '.' || c == '-' || c == '_'
}

// Write is a stand-in.
func (s *Search) Write(p []byte) (int, error) {
	for _, c := range p {
		if word(c) {
			s.part = append(s.part, c)
			continue
		}
		s.end()
		s.safe++
	}
	return len(p), nil
}

func (s *Search) end() {
	s.look(string(s.part))
	s.safe += int64(len(s.part))
	s.part = s.part[:0]
}

func (s *Search) look(text string) {
	p, ok := s.x.Print(Value{Text: text})
	if !ok {
		return
	}
	s.x.mu.Lock()
	defer s.x.mu.Unlock()
	list := s.x.held[p]
	if len(list) == 0 {
		return
	}
	h := Hit{Class: list[0].Class, Print: p, Form: "plain"}
	for _, e := range list {
		if e.Owner != 0 {
			h.Owners = append(h.Owners, e.Owner)
		}
	}
	if len(h.Owners) > 3 {
		h.Owners, h.Shared = nil, true
	}
	s.hits = append(s.hits, h)
}

// Text is a stand-in.
func (s *Search) Text(t string) {
	part := s.part
	s.part = nil
	safe := s.safe
	_, _ = s.Write([]byte(t))
	s.look(string(s.part))
	s.part, s.safe = part, safe
}

// Safe is a stand-in.
func (s *Search) Safe() int64 { return s.safe }

// End is a stand-in.
func (s *Search) End() { s.end() }

// Take is a stand-in.
func (s *Search) Take() []Hit {
	h := s.hits
	s.hits = nil
	return h
}
