package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"gatehouse/internal/gateway"
	"gatehouse/internal/platform"
	"gatehouse/internal/sandbox/world"
)

// BenchmarkLineage is the journey of a small reply and of one of a megabyte, with
// and without somebody who is told what they deliver.
func BenchmarkLineage(b *testing.B) {
	var users strings.Builder
	for i := 0; users.Len() < 1<<20; i++ {
		fmt.Fprintf(&users, `{"id":"%d","username":"user%06d","name":"Somebody","description":"%s"},`, 5_000_000+i, i, strings.Repeat("d", 100))
	}
	large := `{"data":[` + users.String() + `{"id":"1"}]}`
	for _, size := range []string{"small", "1MB"} {
		for _, on := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/told=%t", size, on), func(b *testing.B) {
				values := 0
				r := newRig(b, func(c *gateway.Config) {
					c.Surface.Log = nil
					if on {
						c.Lineage = func(_ context.Context, _ gateway.Source, found []platform.Identity) error {
							values += len(found)
							return nil
						}
					}
				})
				path := "/x/2/users/me"
				if size != "small" {
					path = "/x/2/users/1/followers"
					b.SetBytes(int64(len(large)))
					r.fault(world.Fault{Match: world.FaultMatch{Path: "/2/users/1/followers"}, ContentType: "application/json", Body: large, Times: -1})
				}
				h := r.xHandle()
				r.seen.off.Store(true)
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					req, _ := http.NewRequest(http.MethodGet, r.url+path, nil)
					bearer(h)(req)
					reply, err := r.client.Do(req)
					if err != nil {
						b.Fatal(err)
					}
					_, _ = io.Copy(io.Discard, reply.Body)
					reply.Body.Close()
					if reply.StatusCode != http.StatusOK {
						b.Fatalf("status %d", reply.StatusCode)
					}
				}
				if on && values == 0 {
					b.Error("nothing was told")
				}
			})
		}
	}
}
