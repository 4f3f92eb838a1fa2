package config

import (
	"maps"
	"net/netip"
	"slices"
)

// SCIM lets an identity provider keep operators' accounts.
type SCIM struct {
	Enabled bool           `yaml:"enabled" doc:"true: an identity provider makes, suspends and removes operators' accounts by SCIM 2.0 at console.url with /scim/v2, with a token of 'gatehouse account scim-token create'. Groups have the roles of operators.oidc.roles. Default: false."`
	Sources []netip.Prefix `yaml:"sources" doc:"The networks that may ask, such as [203.0.113.0/24]: those that the provider publishes. Default: all."`
}

// ProvisionedRoles returns the roles of groups that SCIM fills; nil without SCIM.
func (c *Config) ProvisionedRoles() map[string]string {
	if !c.Operators.SCIM.Enabled {
		return nil
	}
	return c.Operators.OIDC.Roles
}

func (c *Config) validateSCIM(d *decoder) {
	const at = "operators.scim"
	s := c.Operators.SCIM
	if !s.Enabled {
		if len(s.Sources) > 0 {
			d.failAt(at+".sources", "needs operators.scim.enabled: true")
		}
		return
	}
	if c.Listen.Console == "" {
		d.failAt(at, "needs listen.console, on which it is offered")
	}
	roles := c.ProvisionedRoles()
	for _, group := range slices.Sorted(maps.Keys(roles)) {
		if roles[group] == "security" {
			d.failAt("operators.oidc.roles."+group, "must not be security with operators.scim: whoever fills the group would decide who approves")
		}
	}
}
