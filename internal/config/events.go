package config

import (
	"strings"
	"time"

	"gatehouse"
)

// Events says how the app is told what happens.
type Events struct {
	URL         string                  `yaml:"url" doc:"Your app's endpoint: https (http on loopback), also on a private network, without credentials; the signature proves who calls. Left out, events wait to be fetched."`
	Services    []gatehouse.ServiceName `yaml:"services" doc:"Services that may fetch events and acknowledge them: GET /gatehouse/v1/events. They see everybody's."`
	GiveUpAfter time.Duration           `yaml:"give_up_after" doc:"How long a delivery that fails is tried before the event becomes a dead letter, which can be replayed. Default 72h."`
	CAFile      string                  `yaml:"ca_file" doc:"Certificate authority of the endpoint, if it is not one of the system's."`
}

// The bounds of give_up_after: shorter is no retry, and longer than the platforms
// give for most duties.
const (
	minGiveUp = time.Minute
	maxGiveUp = 30 * 24 * time.Hour
)

func (c *Config) validateEvents(d *decoder) {
	e := &c.Events
	if e.URL != "" {
		if u := d.webURL("events.url", e.URL, false); u != nil && u.Host != strings.ToLower(u.Host) {
			d.failAt("events.url", "write the host in lower-case letters")
		}
	}
	references(d, "events.services", "service", e.Services, c.Services)
	if e.GiveUpAfter != 0 && (e.GiveUpAfter < minGiveUp || e.GiveUpAfter > maxGiveUp) {
		d.failAt("events.give_up_after", "must be from 1m to 720h")
	}
	if e.CAFile != "" {
		if e.URL == "" {
			d.failAt("events.ca_file", "is for the endpoint at events.url, which is not set")
		}
		e.CAFile = d.resolvePath(e.CAFile)
	}
}
