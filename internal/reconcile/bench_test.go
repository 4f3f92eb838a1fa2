package reconcile_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/reconcile"
)

// BenchmarkHear is what a reply costs here.
func BenchmarkHear(b *testing.B) {
	for p, header := range map[gatehouse.Platform]http.Header{
		gatehouse.X: {"X-Rate-Limit-Limit": {"100"}, "X-Rate-Limit-Remaining": {"9"},
			"X-Rate-Limit-Reset": {strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)}},
		gatehouse.Facebook: {"X-App-Usage": {`{"call_count":28,"total_time":25,"total_cputime":25}`}},
	} {
		b.Run(string(p), func(b *testing.B) {
			m := reconcile.NewMeter(reconcile.MeterConfig{Store: &shelf{}, Index: audit.NewIndexHash([]byte("key"))})
			h := reconcile.Heard{Platform: p, App: app, Person: ada, Operation: posts, Connection: adaCon, Began: time.Now(), Header: header}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					m.Hear(h)
				}
			})
		})
	}
}
