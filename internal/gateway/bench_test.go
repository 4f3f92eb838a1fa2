package gateway_test

import (
	"io"
	"net/http"
	"testing"

	"gatehouse/internal/gateway"
)

// BenchmarkCall measures the whole journey: TLS from the caller, a durable
// intent, a sealed credential opened, TLS to the platform, the reply rewritten.
// The platform is the sandbox, whose own time is in the figure.
func BenchmarkCall(b *testing.B) {
	for name, path := range map[string]string{"x": "/x/2/users/me", "facebook": "/meta/v25.0/me?fields=id,name"} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b, func(c *gateway.Config) { c.Surface.Log = nil })
			h := r.xHandle
			if name != "x" {
				h = r.metaHandle
			}
			handle := h()
			r.seen.off.Store(true)
			b.ReportAllocs()
			b.SetParallelism(16)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					req, _ := http.NewRequest(http.MethodGet, r.url+path, nil)
					req.Header.Set("Authorization", "Bearer "+handle)
					reply, err := r.client.Do(req)
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, reply.Body)
					reply.Body.Close()
					if reply.StatusCode != http.StatusOK {
						b.Errorf("status %d", reply.StatusCode)
						return
					}
				}
			})
		})
	}
}
