package config_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/internal/config"
)

func TestLineage(t *testing.T) {
	for _, test := range []struct{ name, section, want string }{
		{"all of it", `{keep: 24h, keep_flows: 720h, max_fingerprints: 5, brands: [x:123, x:124], services: [scheduler], secrets: report}`, ""},
		{"nothing", `{}`, ""},
		{"kept too short", `{keep: 23h}`, "lineage.keep: must be from 24h"},
		{"kept too long", `{keep_flows: 87601h}`, "lineage.keep_flows: must be from 24h"},
		{"kept for ten years", `{keep_flows: 87600h}`, ""},
		{"a negative number", `{max_fingerprints: -1}`, "lineage.max_fingerprints: a whole number is needed"},
		{"too many", `{max_fingerprints: 1000000001}`, "lineage.max_fingerprints: must be from 1"},
		{"four people are not many", `{shared_by: 4}`, "lineage.shared_by: must be from 5 to 20"},
		{"more than are listed", `{shared_by: 21}`, "lineage.shared_by: must be from 5 to 20"},
		{"five people", `{shared_by: 5}`, ""},
		{"a brand without a platform", `{brands: ["123"]}`, "lineage.brands[0]: must be a platform"},
		{"a brand without an id", `{brands: ["x:"]}`, "lineage.brands[0]: must be a platform"},
		{"a brand elsewhere", `{brands: [threads:123]}`, "lineage.brands[0]: no app of this platform"},
		{"a brand twice", `{brands: [x:123, x:123]}`, "lineage.brands[1]: stands in the list twice"},
		{"a text that is too short", `{ours: [ab]}`, "lineage.ours[0]: must be a text of 3 to 1000 bytes"},
		{"a text twice", `{ours: [support@example.com, support@example.com]}`, "lineage.ours[1]: stands in the list twice"},
		{"texts of one's own", `{ours: [support@example.com, abc]}`, ""},
		{"an unknown service", `{services: [schedular]}`, "lineage.services[0]: there is no service of this name; did you mean scheduler?"},
		{"a service twice", `{services: [scheduler, scheduler]}`, "lineage.services[1]: stands in the list twice"},
		{"another word", `{secrets: allow}`, "lineage.secrets"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := config.Parse("/etc/gatehouse/gatehouse.yaml", []byte(contract+"lineage: "+test.section+"\n"), world())
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Fatalf("%v, want %q", err, test.want)
			}
		})
	}
	c, _ := load(t, contract)
	want := config.Lineage{Keep: 2160 * time.Hour, KeepFlows: 17520 * time.Hour, MaxFingerprints: 10_000_000, Secrets: "stop"}
	if got := c.Lineage.WithDefaults(); got.Keep != want.Keep || got.KeepFlows != want.KeepFlows || got.MaxFingerprints != want.MaxFingerprints || got.Secrets != want.Secrets {
		t.Errorf("the defaults are %+v", got)
	}
}
