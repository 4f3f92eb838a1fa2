package config

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse"
)

// Lineage says what is kept of whose data went where.
type Lineage struct {
	Keep            time.Duration           `yaml:"keep" doc:"How long a value is recognised after it was last delivered. Default 2160h (90 days)."`
	KeepFlows       time.Duration           `yaml:"keep_flows" doc:"How long a flow stays on record. Default 17520h (two years)."`
	MaxFingerprints int                     `yaml:"max_fingerprints" doc:"Most values that are recognised; beyond that the oldest are forgotten, and the log says so. Some 20 bytes of memory each, and 100 on disk. Default 10000000."`
	SharedBy        int                     `yaml:"shared_by" doc:"How many people must have an id, an e-mail address or a telephone number for it to be nobody's in particular, and reported at most: from 5 to 20. What is entered in forms does not count. Default 20."`
	Brands          []string                `yaml:"brands" doc:"Your own accounts, such as [x:12345]: their data is public on purpose, so it is reported at most and never stopped."`
	Ours            []string                `yaml:"ours" doc:"Texts that are nobody's, whoever claims them: your own addresses, numbers and pages, and words that your app sends all the time, such as [support@example.com, checkout]. They are never recognised. At most 1000."`
	Services        []gatehouse.ServiceName `yaml:"services" doc:"Services that may ask about everybody's data: GET /gatehouse/v1/lineage/…"`
	Secrets         string                  `yaml:"secrets" doc:"What happens to a transfer that holds a token or another secret: stop (the default), or report."`
}

// WithDefaults returns l with its defaults filled in.
func (l Lineage) WithDefaults() Lineage {
	orDefault(&l.Keep, 90*24*time.Hour)
	orDefault(&l.KeepFlows, 2*365*24*time.Hour)
	orDefault(&l.MaxFingerprints, 10_000_000)
	orDefault(&l.SharedBy, 20)
	orDefault(&l.Secrets, "stop")
	return l
}

// The bounds of what is kept. Fingerprints are noted again within a twenty-fourth
// of keep, which has to stay a time in which little happens.
const (
	minLineage      = 24 * time.Hour
	maxLineage      = 10 * 365 * 24 * time.Hour
	maxFingerprints = 1_000_000_000
)

func (c *Config) validateLineage(d *decoder) {
	l := &c.Lineage
	for _, f := range []struct {
		field string
		value time.Duration
	}{{"keep", l.Keep}, {"keep_flows", l.KeepFlows}} {
		if f.value != 0 && (f.value < minLineage || f.value > maxLineage) {
			d.failAt("lineage."+f.field, "must be from 24h to 87600h (ten years)")
		}
	}
	if l.MaxFingerprints < 0 || l.MaxFingerprints > maxFingerprints {
		d.failAt("lineage.max_fingerprints", "must be from 1 to 1000000000")
	}
	if l.SharedBy != 0 && (l.SharedBy < 5 || l.SharedBy > 20) {
		d.failAt("lineage.shared_by", "must be from 5 to 20")
	}
	d.oneOf("lineage.secrets", l.Secrets, "", "stop", "report")
	if len(l.Ours) > 1000 {
		d.failAt("lineage.ours", "more than 1000 texts")
	}
	for i, text := range l.Ours {
		at := "lineage.ours[" + strconv.Itoa(i) + "]"
		switch {
		case len(text) < 3 || len(text) > 1000:
			d.failAt(at, "must be a text of 3 to 1000 bytes")
		case slices.Contains(l.Ours[:i], text):
			d.failAt(at, "stands in the list twice")
		}
	}
	for i, brand := range l.Brands {
		at := "lineage.brands[" + strconv.Itoa(i) + "]"
		platform, id, cut := strings.Cut(brand, ":")
		switch {
		case !cut || id == "" || strings.ContainsAny(id, " \t"):
			d.failAt(at, "must be a platform and its id of the account: x:12345")
		case !c.usesPlatform(gatehouse.Platform(platform)):
			d.failAt(at, "no app of this platform is configured")
		case slices.Contains(l.Brands[:i], brand):
			d.failAt(at, "stands in the list twice")
		}
	}
	references(d, "lineage.services", "service", l.Services, c.Services)
}

func (c *Config) usesPlatform(p gatehouse.Platform) bool {
	for _, a := range c.Apps {
		if a.Platform == p {
			return true
		}
	}
	return false
}
