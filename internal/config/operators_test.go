package config_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/internal/config"
)

func TestOperators(t *testing.T) {
	for _, test := range []struct{ section, want string }{
		{`{}`, ""},
		{`{idle: 1m, max_session: 5m, suspend_after: 24h, enrol_within: 5m, approvals: off, breached_passwords: known.txt}`, ""},
		{`{idle: 24h, max_session: 168h, suspend_after: 87600h, enrol_within: 168h, approvals: on}`, ""},
		{`{idle: 59s}`, "operators.idle: must be from 1m to 24h"},
		{`{idle: 25h}`, "operators.idle: must be from 1m to 24h"},
		{`{max_session: 4m}`, "operators.max_session: must be from 5m to 168h"},
		{`{max_session: 169h}`, "operators.max_session: must be from 5m to 168h"},
		{`{suspend_after: 23h}`, "operators.suspend_after: must be from 24h"},
		{`{suspend_after: 87601h}`, "operators.suspend_after: must be from 24h"},
		{`{enrol_within: 4m}`, "operators.enrol_within: must be from 5m to 168h"},
		{`{enrol_within: 169h}`, "operators.enrol_within: must be from 5m to 168h"},
		{`{oidc: {issuer: "https://login.example.com", client_id: x, hosts: [www.example.com, "k.example.com:8443"], second_factor: [mfa], roles: {g: auditor}}}`, ""},
		{`{oidc: {issuer: "http://login.example.com", client_id: x}}`, "operators.oidc.issuer"},
		{`{oidc: {client_id: x}}`, "operators.oidc.issuer: is needed"},
		{`{oidc: {issuer: "https://login.example.com"}}`, "operators.oidc.client_id: is needed"},
		{`{oidc: {issuer: "https://login.example.com", client_id: x, roles: {g: owner}}}`, "operators.oidc.roles.g: must be one of security"},
		{`{oidc: {issuer: "https://login.example.com", client_id: x, roles: {g: security}}}`, "operators.oidc.roles.g: gives a role that decides approvals"},
		{`{oidc: {issuer: "https://login.example.com", client_id: x, may_approve: false, roles: {g: security}}}`, "set operators.oidc.may_approve: true"},
		{`{oidc: {issuer: "https://login.example.com", client_id: x, may_approve: true, roles: {g: security}}}`, ""},
		{`{oidc: {issuer: "https://login.example.com", client_id: x, may_approve: true, roles: {g: owner}}}`, "operators.oidc.roles.g: must be one of security"},
		{`{oidc: {issuer: "https://login.example.com", client_id: x, roles: {g: operator, h: developer, i: auditor}}}`, ""},
		{`{oidc: {issuer: "https://login.example.com", client_id: x, hosts: ["https://a.example"]}}`, "operators.oidc.hosts[0]: must be a host name"},
		{`{scim: {enabled: true, sources: [203.0.113.0/24, "2001:db8::/32"]}}`, ""},
		{`{scim: {enabled: true}, oidc: {issuer: "https://login.example.com", client_id: x, roles: {g: operator}}}`, ""},
		{`{scim: {enabled: true}, oidc: {issuer: "https://login.example.com", client_id: x, roles: {g: security}}}`, "operators.oidc.roles.g: must not be security"},
		{`{scim: {sources: [203.0.113.0/24]}}`, "operators.scim.sources: needs operators.scim.enabled"},
		{`{scim: {enabled: true, sources: [203.0.113.0/33]}}`, "operators.scim.sources"},
		{`{approvals: sometimes}`, "operators.approvals"},
		{`{password: secret}`, "operators.password"},
	} {
		c, _, err := config.Parse("/etc/gatehouse/gatehouse.yaml", []byte(contract+"operators: "+test.section+"\n"), world())
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.section, err, test.want)
		}
		if err == nil && strings.Contains(test.section, "known.txt") && c.Operators.Breached != "/etc/gatehouse/known.txt" {
			t.Errorf("the list of passwords is at %s, want it beside the configuration", c.Operators.Breached)
		}
	}
	if _, _, err := config.Parse("/etc/gatehouse/gatehouse.yaml", []byte(minimal+"operators: {oidc: {issuer: \"https://a.example\", client_id: x}}\n"), world()); err == nil || !strings.Contains(err.Error(), "needs listen.console") {
		t.Errorf("single sign-on without a console: %v", err)
	}
	if _, _, err := config.Parse("/etc/gatehouse/gatehouse.yaml", []byte(minimal+"operators: {scim: {enabled: true}}\n"), world()); err == nil || !strings.Contains(err.Error(), "operators.scim: needs listen.console") {
		t.Errorf("SCIM without a console: %v", err)
	}
	got := (config.Operators{}).WithDefaults()
	if got.Idle != 30*time.Minute || got.MaxSession != 12*time.Hour || got.SuspendAfter != 90*24*time.Hour || got.EnrolWithin != 24*time.Hour || got.Approvals != "on" {
		t.Errorf("defaults: %+v", got)
	}
}
