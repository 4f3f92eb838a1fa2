package main

import "gatehouse/internal/console"

// trafficPages are the pages about what passes and whose it is: Overview, Calls,
// Connections, People, Flows.
func (s *server) trafficPages() []console.Page {
	return nil
}
