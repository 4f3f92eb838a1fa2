package config

import "time"

// Reviews says when access is reviewed, and by whom.
type Reviews struct {
	Every     time.Duration `yaml:"every" doc:"How often a review of all access begins by itself, such as 2160h (90 days), from 48h. What nobody confirms until it is due ends. Default: only on command."`
	Due       time.Duration `yaml:"due" doc:"How long a review takes, from 24h to 2160h. Default 336h (14 days)."`
	Shortest  time.Duration `yaml:"shortest" doc:"How soon a review may be due that an operator begins who is no owner, from 24h to reviews.due. Default 168h (7 days), or reviews.due if that is sooner."`
	Unused    time.Duration `yaml:"unused" doc:"How long a right may be unused before its removal is proposed, from 24h. Default 2160h (90 days)."`
	Reviewers []string      `yaml:"reviewers" doc:"The roles that decide: owner, security. Default: both."`
}

// WithDefaults returns r with its defaults filled in.
func (r Reviews) WithDefaults() Reviews {
	orDefault(&r.Due, 14*24*time.Hour)
	orDefault(&r.Shortest, min(7*24*time.Hour, r.Due))
	orDefault(&r.Unused, 90*24*time.Hour)
	return r
}

func (c *Config) validateReviews(d *decoder) {
	const day, year = 24 * time.Hour, 366 * 24 * time.Hour
	for _, f := range []struct {
		field       string
		value       time.Duration
		least, most time.Duration
		words       string
	}{
		{"every", c.Reviews.Every, 2 * day, 2 * year, "from 48h to 17568h (two years)"},
		{"due", c.Reviews.Due, day, 90 * day, "from 24h to 2160h (90 days)"},
		{"shortest", c.Reviews.Shortest, day, 90 * day, "from 24h to reviews.due"},
		{"unused", c.Reviews.Unused, day, 2 * year, "from 24h to 17568h (two years)"},
	} {
		if f.value != 0 && (f.value < f.least || f.value > f.most) {
			d.failAt("reviews."+f.field, "must be "+f.words)
		}
	}
	if r := c.Reviews.WithDefaults(); r.Every > 0 && r.Every <= r.Due {
		d.failAt("reviews.every", "must be longer than reviews.due ("+r.Due.String()+")")
	}
	if r := c.Reviews.WithDefaults(); r.Shortest > r.Due {
		d.failAt("reviews.shortest", "must not be longer than reviews.due ("+r.Due.String()+")")
	}
	for _, role := range c.Reviews.Reviewers {
		d.oneOf("reviews.reviewers", role, "owner", "security")
	}
}
