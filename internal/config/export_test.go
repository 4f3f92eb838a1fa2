package config_test

import (
	"reflect"
	"strings"
	"testing"

	"gatehouse/internal/config"
)

func TestExport(t *testing.T) {
	const otlp, syslog, lines = "name: otel, kind: otlp, url: 'https://collector.example.com:4318/v1/logs'",
		"name: siem, kind: syslog, address: 'siem.example.com:6514'", "name: file, kind: jsonl, path: log.jsonl"
	for _, test := range []struct{ name, sinks, want string }{
		{"none", ``, ""},
		{"one of each", `{` + otlp + `}, {` + syslog + `}, {` + lines + `}`, ""},
		{"all of otlp", `{` + otlp + `, headers: {Authorization: env:OTLP}, plain: true, tls: {ca_file: ca.pem, server_name: collector, cert: c.pem, key: c.key}, severity: notice, actions: [log.*, connect.revoke], from_now: true, stuck_after: 1h}`, ""},
		{"all of syslog", `{` + syslog + `, facility: 16, hostname: gate-1, sd_id: audit@48577, max_message: 65536, unconfirmed: true}`, ""},
		{"all of jsonl", `{` + lines + `, rotate_mb: 1, rotate_every: 1h, keep: 7}`, ""},
		{"no name", `{kind: jsonl, path: x}`, "audit.export[0].name"},
		{"a name twice", `{` + lines + `}, {name: file, kind: jsonl, path: y}`, "audit.export[1].name: another sink"},
		{"a file twice", `{` + lines + `}, {name: file2, kind: jsonl, path: ./log.jsonl}`, "audit.export[1].path: another sink"},
		{"another kind", `{name: x, kind: otpl}`, "audit.export[0].kind: is none of otlp, syslog, jsonl; did you mean otlp?"},
		{"of another kind", `{` + lines + `, address: 'x:1'}`, "audit.export[0].address: belongs to a sink of another kind: syslog"},
		{"tls of a file", `{` + lines + `, tls: {ca_file: x}}`, "audit.export[0].tls: belongs"},
		{"no address", `{name: otel, kind: otlp}`, "audit.export[0].url: is not a complete URL"},
		{"plain http", `{name: otel, kind: otlp, url: 'http://collector.example.com/'}`, "audit.export[0].url: must be https"},
		{"plain http on loopback", `{name: otel, kind: otlp, url: 'http://127.0.0.1:4318/v1/logs'}`, ""},
		{"plain http with TLS", `{name: otel, kind: otlp, url: 'http://127.0.0.1:4318/v1/logs', tls: {ca_file: x}}`, "audit.export[0].tls: is for https"},
		{"a password in the address", `{name: otel, kind: otlp, url: 'https://me:canary@collector.example.com/'}`, "audit.export[0].url: holds a user name"},
		{"a secret in clear", `{` + otlp + `, headers: {Authorization: Bearer canary}}`, "audit.export[0].headers.Authorization: a secret does not belong into this file"},
		{"a header of ours", `{` + otlp + `, headers: {content-type: env:OTLP}}`, "audit.export[0].headers: holds a name"},
		{"no header", `{` + otlp + `, headers: {"a b": env:OTLP}}`, "audit.export[0].headers"},
		{"no port", `{name: siem, kind: syslog, address: siem.example.com}`, "audit.export[0].address: must be host:port"},
		{"port 0", `{name: siem, kind: syslog, address: 'siem.example.com:0'}`, "audit.export[0].address: must be host:port"},
		{"no host", `{name: siem, kind: syslog, address: ':6514'}`, "audit.export[0].address: must be host:port"},
		{"facility", `{` + syslog + `, facility: 24}`, "audit.export[0].facility: must be from 1 to 23"},
		{"message", `{` + syslog + `, max_message: 2047}`, "audit.export[0].max_message: must be from 2048"},
		{"host", `{` + syslog + `, hostname: gate 1}`, "audit.export[0].hostname"},
		{"sd id", `{` + syslog + `, sd_id: gatehouse}`, "audit.export[0].sd_id"},
		{"no path", `{name: file, kind: jsonl}`, "audit.export[0].path: is needed"},
		{"half a pair", `{` + syslog + `, tls: {cert: c.pem}}`, "audit.export[0].tls: cert and key go together"},
		{"server name", `{` + syslog + `, tls: {server_name: Siem}}`, "audit.export[0].tls.server_name"},
		{"too short a time", `{` + lines + `, rotate_every: 59s}`, "audit.export[0].rotate_every"},
		{"too much to keep", `{` + lines + `, keep: 100001}`, "audit.export[0].keep"},
		{"too large", `{` + lines + `, rotate_mb: 1048577}`, "audit.export[0].rotate_mb"},
		{"severity", `{` + lines + `, severity: fatal}`, "audit.export[0].severity"},
		{"action", `{` + lines + `, actions: ["*"]}`, "audit.export[0].actions[0]"},
		{"stuck", `{` + lines + `, stuck_after: 9s}`, "audit.export[0].stuck_after"},
		{"too many", strings.Repeat(`{}, `, 16) + `{}`, "audit.export: more than 16 sinks"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := world()
			lookup := w.LookupEnv
			w.LookupEnv = func(name string) (string, bool) {
				if name == "OTLP" {
					return "Bearer reference", true
				}
				return lookup(name)
			}
			c, _, err := config.Parse("/etc/gatehouse/gatehouse.yaml", []byte(contract+"audit: {export: ["+test.sinks+"]}\n"), w)
			if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary")) {
				t.Fatalf("%v, want %q", err, test.want)
			}
			if err != nil {
				return
			}
			for _, s := range c.Audit.Export {
				if s.Path != "" && s.Path != "/etc/gatehouse/log.jsonl" {
					t.Errorf("path %s", s.Path)
				}
				if s.TLS.Cert != "" && !reflect.DeepEqual(s.TLS, config.SinkTLS{CAFile: "/etc/gatehouse/ca.pem", ServerName: "collector", Cert: "/etc/gatehouse/c.pem", Key: "/etc/gatehouse/c.key"}) {
					t.Errorf("tls %+v", s.TLS)
				}
				if h, ok := s.Headers["Authorization"]; ok && (h.Reference() != "env:OTLP" || h.Text().Reveal() != "Bearer reference") {
					t.Errorf("header %s", h.Reference())
				}
			}
			// What changed is said without secrets.
			for _, said := range config.Diff(nil, c) {
				if strings.Contains(said, "Bearer reference") {
					t.Errorf("a secret is repeated: %s", said)
				}
			}
		})
	}
}
