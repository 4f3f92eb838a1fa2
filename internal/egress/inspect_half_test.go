package egress_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// lingering is a connection that, while somebody reads from it, is closed only when the
// other side has said something more, or is gone.
type lingering struct {
	net.Conn
	mu      sync.Mutex // guards what follows
	reading bool
	said    chan struct{} // closed when a read ends after Close; nil before Close
}

func (c *lingering) Read(p []byte) (int, error) {
	c.mu.Lock()
	c.reading = true
	c.mu.Unlock()
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reading = false; c.said != nil {
		close(c.said)
		c.said = nil
	}
	return n, err
}

func (c *lingering) Close() error {
	c.mu.Lock()
	var said chan struct{}
	if c.reading && c.said == nil {
		said = make(chan struct{})
		c.said = said
	}
	c.mu.Unlock()
	if said != nil {
		<-said
	}
	return c.Conn.Close()
}

// Some servers answer the half of a request that they got when the rest is stopped. The
// app is not told that answer, nor is the next request on its connection lost.
func TestAnswersToHalfARequest(t *testing.T) {
	s := newSite(t, thirdParty, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // what it fails with does not concern it
		w.WriteHeader(http.StatusNoContent)
	}))
	s.wrap = func(c net.Conn) net.Conn { return &lingering{Conn: c} }
	client := newLook(t, s, nil).client(false)
	for range 200 {
		for word, want := range map[string]int{adasAddress: http.StatusForbidden, "ada@lovelace.exampl": http.StatusNoContent} {
			reply, err := client.Do(request("POST", base, io.MultiReader(strings.NewReader("to "), strings.NewReader(word))))
			if err != nil {
				t.Fatalf("%s: %v", word, err)
			}
			if read(t, reply); reply.StatusCode != want {
				t.Fatalf("%s is answered %d, want %d", word, reply.StatusCode, want)
			}
		}
	}
}
