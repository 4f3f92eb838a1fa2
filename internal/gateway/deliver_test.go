package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"gatehouse"
	"gatehouse/internal/gateway"
	"gatehouse/internal/platform"
	"gatehouse/internal/sandbox/world"
	"gatehouse/internal/wire"
)

// notes is what a test's index was told.
type notes struct {
	mu   sync.Mutex
	all  []platform.Reference
	fail func(n int) bool // by how many were told before
}

func (n *notes) record(_ context.Context, found []platform.Reference) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fail != nil && n.fail(len(n.all)) {
		return wire.Refuse(gatehouse.ErrUnavailable, "compliance/index", "it could not be noted")
	}
	n.all = append(n.all, found...)
	return nil
}

func (n *notes) has(kind platform.ReferenceKind, id uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Contains(n.all, platform.Reference{Kind: kind, ID: id})
}

func (n *notes) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.all)
}

func noting(n *notes) func(*gateway.Config) {
	return func(c *gateway.Config) {
		c.Delivered = map[gatehouse.AppName]func(context.Context, []platform.Reference) error{"main-x": n.record, "pages": n.record}
	}
}

// posts is a reply with so many posts of ids 1, 2, …
func posts(n int) string {
	var b strings.Builder
	b.WriteString(`{"data":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":"%d","text":"%s","author_id":"%d"}`, i+1, strings.Repeat("t", 80), 1_000_000+i)
	}
	return b.String() + `]}`
}

func TestDeliveriesAreNoted(t *testing.T) {
	n := &notes{}
	r := newRig(t, noting(n))
	h := r.xHandle()
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/2/tweets"}, ContentType: "application/json", Body: posts(3)})
	r.call("GET", "/x/2/tweets?ids=1,2,3", bearer(h)).ok()
	if n.count() != 6 || !n.has(platform.PostReference, 3) || !n.has(platform.UserReference, 1_000_002) {
		t.Errorf("noted are %v", n.all)
	}

	// A large reply is noted to its end, rewritten or not.
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/2/tweets"}, ContentType: "application/json", Body: posts(4000)})
	if got := r.call("GET", "/x/2/tweets?ids=1,2,3", bearer(h)).ok(); got.body != posts(4000) {
		t.Error("the large reply was changed")
	}
	for _, id := range []uint64{1, 2000, 4000} {
		if !n.has(platform.PostReference, id) || !n.has(platform.UserReference, 999_999+id) {
			t.Errorf("post %d of the large reply is not noted", id)
		}
	}

	// What delivers nothing of X's is not looked at.
	before := n.count()
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/2/tweets"}, Status: 404, ContentType: "application/json", Body: posts(3)})
	r.call("GET", "/x/2/tweets?ids=1", bearer(h))
	r.call("GET", "/meta/v25.0/me?fields=id,name", bearer(r.metaHandle())).ok()
	if n.count() != before {
		t.Errorf("an error or a reply of Meta was noted: %v", n.all[before:])
	}
	r.check()
}

// What cannot be noted is not delivered: a small reply not at all, a large one not
// to its end.
func TestDeliveriesThatCannotBeNoted(t *testing.T) {
	n := &notes{fail: func(int) bool { return true }}
	r := newRig(t, noting(n))
	h := r.xHandle()
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/2/tweets"}, ContentType: "application/json", Body: posts(3)})
	if p := r.call("GET", "/x/2/tweets?ids=1,2,3", bearer(h)).refused(503, "compliance/index"); strings.Contains(p.Detail, "ttt") {
		t.Error("the refusal holds the reply")
	}

	n.fail = func(before int) bool { return before > 2000 }
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/2/tweets"}, ContentType: "application/json", Body: posts(4000)})
	if a := r.call("GET", "/x/2/tweets?ids=1,2,3", bearer(h)); a.err == nil || strings.Contains(a.body, `"id":"4000"`) {
		t.Errorf("the large reply came with status %d, %v and %d bytes", a.status, a.err, len(a.body))
	}
	r.check()

	// An app that is not named is not kept waiting.
	other := newRig(t, func(c *gateway.Config) {
		c.Delivered = map[gatehouse.AppName]func(context.Context, []platform.Reference) error{"another": n.record}
	})
	other.call("GET", "/x/2/users/me", bearer(other.xHandle())).ok()
}

// An object of a stream is noted before it is sent.
func TestStreamsAreNoted(t *testing.T) {
	n := &notes{}
	r := newRig(t, noting(n))
	h := r.xHandle()
	var app tokenReply
	r.call("POST", "/x/oauth2/token", bearer(h), body(formType, "grant_type=client_credentials")).ok(&app)
	req, _ := http.NewRequestWithContext(r.ctx, "GET", r.url+"/x/2/tweets/sample/stream", nil)
	bearer(app.AccessToken)(req)
	reply, err := r.client.Do(req)
	if err != nil || reply.StatusCode != 200 {
		t.Fatalf("opening the stream: %v", err)
	}
	defer reply.Body.Close()
	lines := bufio.NewScanner(reply.Body)
	for lines.Scan() {
		if found := strings.SplitN(lines.Text(), `"id":"`, 2); len(found) == 2 {
			var id uint64
			if _, err := fmt.Sscanf(found[1], "%d", &id); err != nil {
				t.Fatal(err)
			}
			if !n.has(platform.PostReference, id) && !n.has(platform.UserReference, id) {
				t.Errorf("an object came before it was noted: %s", lines.Text())
			}
			break
		}
	}
	n.mu.Lock()
	n.fail = func(int) bool { return true }
	n.mu.Unlock()
	if _, err := io.Copy(io.Discard, reply.Body); err == nil {
		t.Error("the stream went on, or ended as if it were complete")
	}
}

// BenchmarkDelivered is BenchmarkCall's reply with and without an index behind it.
func BenchmarkDelivered(b *testing.B) {
	for name, on := range map[string]bool{"off": false, "on": true} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b, func(c *gateway.Config) {
				c.Surface.Log = nil
				if on {
					c.Delivered = map[gatehouse.AppName]func(context.Context, []platform.Reference) error{
						"main-x": func(context.Context, []platform.Reference) error { return nil }}
				}
			})
			h := r.xHandle()
			r.seen.off.Store(true)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				req, _ := http.NewRequest(http.MethodGet, r.url+"/x/2/users/me", nil)
				bearer(h)(req)
				reply, err := r.client.Do(req)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, reply.Body)
				reply.Body.Close()
			}
		})
	}
}
