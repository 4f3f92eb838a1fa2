package config

import (
	"time"

	"gatehouse"
)

// Audit says who may read the audit log, which systems get it, and how long it is kept.
type Audit struct {
	Readers   []gatehouse.ServiceName `yaml:"readers" doc:"Services that may read the log as C2SP tlog-tiles: GET /gatehouse/v1/log/checkpoint and below /gatehouse/v1/log/tile/, and search and follow it: /gatehouse/v1/log/entries and /gatehouse/v1/log/tail. Entries name no people, but say what every service does. A service of its own, without purposes, suits a witness or an auditor."`
	Export    []Sink                  `yaml:"export" doc:"Systems that get the log's entries: a SIEM, a collector, a file. An entry names nobody. See docs/log-export.md."`
	Retention string                  `yaml:"retention" doc:"How long entries are kept, at least 2160h (90 days) but in development, or 'forever'. Then whole segments of 65,536 entries go; the rest still verifies. Default 17520h (two years): so long X may audit. A change needs a restart."`
	SinkWait  string                  `yaml:"sink_wait" doc:"How much longer a segment is kept while a system under export has not got all of it, at most 2160h; 0s does not wait. Then it goes, and log.export.gap says what that system missed. Default 168h. A change needs a restart."`
	Archive   Dir                     `yaml:"archive" doc:"The directory where each segment is archived before it goes, best on another machine's disk. It must exist. Default: no archive is made. A change needs a restart."`
}

// The bounds of how long the log is kept.
const (
	defaultRetention = 2 * 365 * 24 * time.Hour
	minRetention     = 90 * 24 * time.Hour
	forever          = "forever"
	defaultSinkWait  = 7 * 24 * time.Hour
	maxSinkWait      = 90 * 24 * time.Hour
)

// Keep returns how long entries are kept; 0 is for ever.
func (a *Audit) Keep() time.Duration {
	switch a.Retention {
	case "":
		return defaultRetention
	case forever:
		return 0
	}
	keep, err := time.ParseDuration(a.Retention)
	if err != nil {
		return 0 // refused when the file was read
	}
	return keep
}

// WaitForSinks returns how much longer entries are kept for a sink that has not got them.
func (a *Audit) WaitForSinks() time.Duration {
	wait, err := time.ParseDuration(a.SinkWait)
	if err != nil {
		return defaultSinkWait // none is given: others were refused when the file was read
	}
	return wait
}

func (c *Config) validateAudit(d *decoder) {
	references(d, "audit.readers", "service", c.Audit.Readers, c.Services)
	c.validateExport(d)
	if text := c.Audit.Retention; text != "" && text != forever {
		const at = "audit.retention"
		switch keep, err := time.ParseDuration(text); {
		case err != nil || keep <= 0:
			d.failAt(at, "write a span of time as 17520h, or 'forever'")
		case keep < minRetention && c.Environment != "development":
			d.failAt(at, "must be at least 2160h (90 days)")
		}
	}
	if text := c.Audit.SinkWait; text != "" {
		if wait, err := time.ParseDuration(text); err != nil || wait < 0 || wait > maxSinkWait {
			d.failAt("audit.sink_wait", "write a span of time from 0s to 2160h")
		}
	}
}
