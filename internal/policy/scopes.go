package policy

import (
	"fmt"
	"slices"

	"gatehouse"
)

// Scopes returns the scopes that the named purposes declare for one app
// registration, sorted and without duplicates: what a connection for these
// purposes asks the person to grant.
func (s *Set) Scopes(app gatehouse.AppName, purposes ...gatehouse.PurposeName) ([]string, error) {
	var scopes []string
	for _, name := range purposes {
		c := s.purposes[name]
		if c == nil {
			return nil, fmt.Errorf("purpose %s is not declared: %w", name, gatehouse.ErrNotFound)
		}
		if c.purpose.App != app {
			return nil, fmt.Errorf("purpose %s belongs to app %s, not %s: %w", name, c.purpose.App, app, gatehouse.ErrInvalid)
		}
		scopes = append(scopes, c.purpose.Scopes...)
	}
	slices.Sort(scopes)
	return slices.Compact(scopes), nil
}

// Missing returns the scopes that the purpose declares and the grant lacks: what
// a person declined.
func (s *Set) Missing(purpose gatehouse.PurposeName, granted []string) []string {
	c := s.purposes[purpose]
	if c == nil {
		return nil
	}
	var missing []string
	for _, scope := range c.purpose.Scopes {
		if !slices.Contains(granted, scope) {
			missing = append(missing, scope)
		}
	}
	return missing
}
