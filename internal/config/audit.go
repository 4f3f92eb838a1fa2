package config

import "gatehouse"

// Audit says who may read the audit log, and which systems get it.
type Audit struct {
	Readers []gatehouse.ServiceName `yaml:"readers" doc:"Services that may read the log as C2SP tlog-tiles: GET /gatehouse/v1/log/checkpoint and below /gatehouse/v1/log/tile/, and search and follow it: /gatehouse/v1/log/entries and /gatehouse/v1/log/tail. Entries name no people, but say what every service does. A service of its own, without purposes, suits a witness or an auditor."`
	Export  []Sink                  `yaml:"export" doc:"Systems that get the log's entries: a SIEM, a collector, a file. An entry names nobody. See docs/log-export.md."`
}

func (c *Config) validateAudit(d *decoder) {
	references(d, "audit.readers", "service", c.Audit.Readers, c.Services)
	c.validateExport(d)
}
