package config

import "time"

// Operators says how those sign in who run Gatehouse, and what takes two of them.
type Operators struct {
	Idle         time.Duration `yaml:"idle" doc:"How long a session lasts without a request, from 1m to 24h. Default 30m."`
	MaxSession   time.Duration `yaml:"max_session" doc:"How long it lasts in any case, from 5m to 168h. Default 12h."`
	SuspendAfter time.Duration `yaml:"suspend_after" doc:"Accounts that were not used for that long are suspended, but never the last owner; from 24h. Default 2160h (90 days)."`
	EnrolWithin  time.Duration `yaml:"enrol_within" doc:"How long a link to enrol works, from 5m to 168h. Default 24h."`
	Approvals    string        `yaml:"approvals" doc:"on (the default): destroying a key, revoking everything, restoring and changing who may approve take a second operator, if there is one. off: one is enough."`
	Breached     string        `yaml:"breached_passwords" doc:"A file of passwords that others know, sorted bytewise, one a line: the words or their SHA-1. Nobody may choose one of them. Default: none."`
}

// WithDefaults returns o with its defaults filled in.
func (o Operators) WithDefaults() Operators {
	orDefault(&o.Idle, 30*time.Minute)
	orDefault(&o.MaxSession, 12*time.Hour)
	orDefault(&o.SuspendAfter, 90*24*time.Hour)
	orDefault(&o.EnrolWithin, 24*time.Hour)
	orDefault(&o.Approvals, "on")
	return o
}

func (c *Config) validateOperators(d *decoder) {
	o := &c.Operators
	for _, f := range []struct {
		field       string
		value       time.Duration
		least, most time.Duration
		words       string
	}{
		{"idle", o.Idle, time.Minute, 24 * time.Hour, "from 1m to 24h"},
		{"max_session", o.MaxSession, 5 * time.Minute, 7 * 24 * time.Hour, "from 5m to 168h"},
		{"suspend_after", o.SuspendAfter, 24 * time.Hour, 10 * 365 * 24 * time.Hour, "from 24h to 87600h (ten years)"},
		{"enrol_within", o.EnrolWithin, 5 * time.Minute, 7 * 24 * time.Hour, "from 5m to 168h"},
	} {
		if f.value != 0 && (f.value < f.least || f.value > f.most) {
			d.failAt("operators."+f.field, "must be "+f.words)
		}
	}
	d.oneOf("operators.approvals", o.Approvals, "", "on", "off")
	if o.Breached != "" {
		o.Breached = d.resolvePath(o.Breached)
	}
}
