package config

import (
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Operators says how those sign in who run Gatehouse, and what takes two of them.
type Operators struct {
	Idle         time.Duration `yaml:"idle" doc:"How long a session lasts without a request, from 1m to 24h. Default 30m."`
	MaxSession   time.Duration `yaml:"max_session" doc:"How long it lasts in any case, from 5m to 168h. Default 12h."`
	SuspendAfter time.Duration `yaml:"suspend_after" doc:"Accounts that were not used for that long are suspended, but never the last owner; from 24h. Default 2160h (90 days)."`
	EnrolWithin  time.Duration `yaml:"enrol_within" doc:"How long a link to enrol works, from 5m to 168h. Default 24h."`
	Approvals    string        `yaml:"approvals" doc:"on (the default): destroying a key and cutting everything off in the console, restoring a backup beside this installation, and changing who may approve take a second operator, if there is one. off: one is enough."`
	OIDC         OIDC          `yaml:"oidc" doc:"Single sign-on: an OpenID Connect provider that says who an invited operator is. Default: none."`
	SCIM         SCIM          `yaml:"scim" doc:"An identity provider that keeps operators' accounts. Default: none. See docs/operators.md."`
	Breached     string        `yaml:"breached_passwords" doc:"A file of passwords that others know, sorted bytewise, one a line: the words or their SHA-1. Nobody may choose one of them. Default: none."`
}

// OIDC is an OpenID Connect provider.
type OIDC struct {
	Issuer       string            `yaml:"issuer" doc:"The provider's issuer, such as https://login.example.com; what it says of itself stands under /.well-known/openid-configuration there. It sends browsers back to console.url with /sign-in/provider."`
	ClientID     Value             `yaml:"client_id" doc:"Our registration there: a value or a reference."`
	ClientSecret Secret            `yaml:"client_secret" doc:"Its secret. A reference."`
	Hosts        []string          `yaml:"hosts" doc:"Other hosts of the provider that answer with tokens and keys, such as [oauth2.googleapis.com, www.googleapis.com]. No others are called."`
	Private      bool              `yaml:"private" doc:"true lets these hosts have addresses of private networks."`
	SecondFactor []string          `yaml:"second_factor" doc:"Values of the claim amr of which one says that the provider demanded a second factor, such as [mfa, hwk]. Default: none is believed, and ours is always demanded."`
	RolesClaim   string            `yaml:"roles_claim" doc:"The claim that holds groups. Default groups."`
	Roles        map[string]string `yaml:"roles" doc:"The role of a group: {sre: operator}. It is given at sign-in for as long as a session can last, and taken at a sign-in without the group. Never owner, and security only with may_approve."`
	MayApprove   bool              `yaml:"may_approve" doc:"true lets roles give security, which decides approvals: whoever manages the group at the provider then says who may be the second operator."`
}

// IsZero reports whether there is none.
func (o OIDC) IsZero() bool { return o.Issuer == "" && o.ClientID.IsZero() && len(o.Roles) == 0 }

// operatorRoles are those that a group may have, the first only if the configuration
// says that groups may approve.
var operatorRoles = []string{"security", "operator", "developer", "auditor"}

// approvingRole is the one of them that decides approvals.
const approvingRole = "security"

func (c *Config) validateOIDC(d *decoder) {
	o, at := &c.Operators.OIDC, "operators.oidc"
	if o.IsZero() || d.failed(at) {
		return
	}
	if c.Listen.Console == "" {
		d.failAt(at, "needs listen.console: there is no page to sign in at")
	}
	if o.Issuer == "" {
		d.failAt(at+".issuer", "is needed")
	} else {
		d.webURL(at+".issuer", o.Issuer, false)
	}
	if o.ClientID.IsZero() {
		d.failAt(at+".client_id", "is needed")
	}
	for i, h := range o.Hosts {
		if h == "" || h != strings.ToLower(h) || strings.ContainsAny(h, "/@ ") || net.ParseIP(h) != nil {
			d.failAt(at+".hosts["+strconv.Itoa(i)+"]", "must be a host name in lower-case letters, with a port if it is not 443")
		}
	}
	for _, group := range slices.Sorted(maps.Keys(o.Roles)) {
		if role := o.Roles[group]; !slices.Contains(operatorRoles, role) {
			d.failAt(at+".roles."+group, "must be one of "+strings.Join(operatorRoles, ", "))
		} else if role == approvingRole && !o.MayApprove {
			d.failAt(at+".roles."+group, "gives a role that decides approvals to whoever manages the group at the provider; if that is meant, set operators.oidc.may_approve: true")
		}
	}
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
	c.validateOIDC(d)
	c.validateSCIM(d)
	d.oneOf("operators.approvals", o.Approvals, "", "on", "off")
	if o.Breached != "" {
		o.Breached = d.resolvePath(o.Breached)
	}
}
