package main

import (
	"strings"
	"testing"
	"time"
)

// TestConsoleTraffic looks at the pages about what passes and whose it is, in a demo
// that has traffic, and does with them what an operator would.
func TestConsoleTraffic(t *testing.T) {
	s := startShowcase(t)
	b := s.owner()
	_ = strings.TrimSpace
	_ = time.Now
	lookAt(t, b, "overview", s.at("/"))
	lookAt(t, b, "connections", s.at("/connections"))
	lookAt(t, b, "calls", s.at("/calls"))
	lookAt(t, b, "flows", s.at("/flows"))
	lookAt(t, b, "people", s.at("/people"))
}
