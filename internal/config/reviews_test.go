package config_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/internal/config"
)

func TestReviewsAndKeys(t *testing.T) {
	with := func(rest string) string { return strings.Replace(minimal, "services:", rest+"\nservices:", 1) }
	c, _ := load(t, with("reviews: {every: 337h, reviewers: [owner]}\nlimits: {service_key_ttl: 1h}"))
	if r := c.Reviews.WithDefaults(); r.Every != 337*time.Hour || r.Due != 336*time.Hour || r.Unused != 2160*time.Hour || len(r.Reviewers) != 1 {
		t.Errorf("reviews: %+v", r)
	}
	if c, _ := load(t, with("reviews: {due: 48h, shortest: 48h}")); c.Reviews.WithDefaults().Shortest != 48*time.Hour {
		t.Errorf("reviews: %+v", c.Reviews)
	}
	if c, _ := load(t, minimal); c.Reviews.Every != 0 || c.Limits.WithDefaults().ServiceKeyTTL != 8760*time.Hour {
		t.Errorf("by default: reviews %+v, keys %s", c.Reviews, c.Limits.WithDefaults().ServiceKeyTTL)
	}
	for _, test := range []struct{ name, rest, want string }{
		{"too often", "reviews: {every: 47h, due: 24h}", "reviews.every: must be from 48h"},
		{"overlapping", "reviews: {every: 336h}", "reviews.every: must be longer than reviews.due (336h0m0s)"},
		{"due at once", "reviews: {due: 23h}", "reviews.due: must be from 24h"},
		{"shorter than a day", "reviews: {shortest: 23h}", "reviews.shortest: must be from 24h"},
		{"shorter than the longest", "reviews: {due: 48h, shortest: 49h}", "reviews.shortest: must not be longer than reviews.due (48h0m0s)"},
		{"due never", "reviews: {due: 2161h}", "reviews.due: must be from 24h"},
		{"everything unused", "reviews: {unused: 23h}", "reviews.unused: must be from 24h"},
		{"by nobody who may", "reviews: {reviewers: [auditor]}", "reviews.reviewers"},
		{"keys that end at once", "limits: {service_key_ttl: 59m}", "limits.service_key_ttl: is less than an hour"},
	} {
		_, _, err := config.Parse("/etc/gatehouse/gatehouse.yaml", []byte(with(test.rest)), world())
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
	}
}
