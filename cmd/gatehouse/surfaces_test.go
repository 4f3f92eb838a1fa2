package main

import "testing"

// What was built at the start is not changed by a reload, and must not be
// reported as applied.
func TestReloadSaysWhatNeedsARestart(t *testing.T) {
	for change, want := range map[string]bool{
		"purposes.publish.calls gains {call: GET /2/dm_events}": true,
		"services.web.rate changes from 5/s to 6/s":             true,
		"mode changes from enforce to report":                   true,
		"listen.app changes from 127.0.0.1:1 to 127.0.0.1:2":    false,
		"returns gains https://app.example.com/back":            false,
		"limits.calls changes from 1 to 2":                      false,
	} {
		if got := live(change); got != want {
			t.Errorf("live(%q) = %v, want %v", change, got, want)
		}
	}
}
