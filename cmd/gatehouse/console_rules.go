package main

import "gatehouse/internal/console"

// rulesPages are the pages about what may pass and what it rests on: Purposes, Third
// parties, Keys, Services, Log, Configuration.
func (s *server) rulesPages() []console.Page {
	s.logChecker, s.keyMover = newLogChecker(s.parts), newKeyMover(s.parts)
	return []console.Page{
		console.Log(logSource{s.parts}, s.logChecker), console.Keys(keysSource{s.parts, s.keyMover}), console.Services(servicesSource{s.parts}),
		console.Configuration(configurationSource{s.parts}), console.Purposes(purposesSource{s.parts}),
		console.Destinations(newDestinationsSource(s.parts)),
	}
}
