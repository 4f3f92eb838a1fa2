package console

import (
	"net/netip"

	"gatehouse/internal/wire"
)

// maxBrowsers bounds how many browsers that somebody has signed in with are counted at
// once. There are a few of each operator.
const maxBrowsers = 4096

// sources limit how often steps of signing in are taken: by each network, and, where a
// network has used its budget up, by each browser that an operator has signed in with
// before. Whoever uses up a network's budget, or that of all networks that nobody knows,
// keeps strangers out and nobody who has been here.
type sources struct {
	perMinute int
	networks  *wire.Sources
	browsers  *wire.Budgets[string]
}

func newSources(perMinute int) *sources {
	return &sources{perMinute, wire.NewSources(perMinute), wire.NewBudgets[string](maxBrowsers)}
}

// allow takes a step. known says whether a browser has signed in before; it is asked
// only for what a network's budget has no room for.
func (s *sources) allow(from netip.Addr, binding string, known func() (bool, error)) (bool, error) {
	if s.networks.Allow(from) {
		return true, nil
	}
	if binding == "" {
		return false, nil
	}
	if is, err := known(); err != nil || !is {
		return false, err
	}
	allowed, _ := s.browsers.Take(binding, s.perMinute)
	return allowed, nil
}
