package main

import (
	"context"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/store"
)

// lastSent returns when something was last let through to each of the hosts, or a
// tunnel to it ended, not before since; those without are left out. The log says it,
// where a declared host stands in clear, so no key is needed. What was sent to a host
// before it was declared is sealed there, and does not count.
func lastSent(ctx context.Context, db *store.DB, hosts []string, since time.Time) (map[string]time.Time, error) {
	last := make(map[string]time.Time, len(hosts))
	if len(hosts) == 0 {
		return last, nil
	}
	s, err := searchLogs(ctx, db, nil)
	if err != nil {
		return nil, err
	}
	for _, host := range hosts {
		// An outcome counts as its intent does, because a tunnel may have been open for long.
		at, err := newestEntry(ctx, s, audit.Query{Destination: host, Passed: true, Since: since})
		if err != nil {
			return nil, err
		}
		if !at.IsZero() {
			last[host] = at
		}
	}
	return last, nil
}

// newestEntry returns the time of the newest entry that fits; zero if there is none.
func newestEntry(ctx context.Context, s *audit.Searcher, q audit.Query) (time.Time, error) {
	for cursor := ""; ; {
		page, err := s.Search(ctx, q, cursor, 1)
		if err != nil {
			return time.Time{}, err
		}
		if len(page.Entries) > 0 {
			return page.Entries[0].When, nil
		}
		if cursor = page.Next; cursor == "" {
			return time.Time{}, nil
		}
	}
}
