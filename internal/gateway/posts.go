package gateway

import (
	"io"
	"net/http"

	"gatehouse"
	"gatehouse/internal/platform"
)

// countPosts has the posts counted that X's reply speaks of, if somebody wants to know:
// as X sends it, since X counts what the app is not given, too.
func (c *call) countPosts(reply *http.Response) {
	tell := c.gateway.config.Posts[c.handle.App]
	if tell == nil || !c.counts() {
		return
	}
	told := func(posts int64, whole bool) { tell(gatehouse.Operation(c.class.Operation), posts, whole) }
	if replyKind(reply) == replyEmpty {
		told(0, true)
		return
	}
	reply.Body = &postCounter{
		ReadCloser: reply.Body, references: platform.NewReferences(c.class.Operation), stream: c.class.Streaming, told: told, seen: map[uint64]struct{}{},
	}
}

// postCounter counts the posts in a reply that is read through it. A reply that is not
// read to its end is not told of: what X sent, and so counted, is not known then.
type postCounter struct {
	io.ReadCloser
	references *platform.References
	stream     bool // told of while it goes on
	// seen are the posts since the last telling: X names each one twice, as itself and
	// among its versions. posts counts those for which there was no room.
	seen  map[uint64]struct{}
	posts int64
	told  func(posts int64, whole bool)
	ended bool // and told of
}

func (p *postCounter) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	_, _ = p.references.Write(b[:n]) // never fails
	for _, r := range p.references.Take() {
		switch {
		case r.Kind != platform.PostReference:
		case len(p.seen) < mostSeen:
			p.seen[r.ID] = struct{}{}
		default:
			p.posts++
		}
	}
	switch posts := p.posts + int64(len(p.seen)); {
	case p.stream && posts > 0:
		p.told(posts, false)
		clear(p.seen)
		p.posts = 0
	case !p.stream && err == io.EOF && !p.ended:
		p.told(posts, true)
		p.ended = true
	}
	return n, err
}

// mostSeen bounds what is remembered of one reply.
const mostSeen = 4096
