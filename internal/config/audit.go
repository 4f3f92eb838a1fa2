package config

import "gatehouse"

// Audit says who may read the audit log.
type Audit struct {
	Readers []gatehouse.ServiceName `yaml:"readers" doc:"Services that may read the log as C2SP tlog-tiles: GET /gatehouse/v1/log/checkpoint and below /gatehouse/v1/log/tile/, and search and follow it: /gatehouse/v1/log/entries and /gatehouse/v1/log/tail. Entries name no people, but say what every service does. A service of its own, without purposes, suits a witness or an auditor."`
}

func (c *Config) validateAudit(d *decoder) {
	references(d, "audit.readers", "service", c.Audit.Readers, c.Services)
}
