package platform_test

import (
	"net/url"
	"testing"

	"gatehouse/internal/platform"
)

func BenchmarkClassify(b *testing.B) {
	fields := url.Values{"fields": {"id,name,feed.limit(3){message,comments{from}}"}}
	for _, c := range []struct {
		name   string
		p      platform.Name
		path   string
		params url.Values
	}{
		{"x", platform.X, "/2/users/2244994945/followers", nil},
		{"graph", platform.Facebook, "/v25.0/me/accounts", nil},
		{"fields", platform.Facebook, "/v25.0/me", fields},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := platform.Classify(c.p, "GET", c.path, c.params); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
