package config

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"gatehouse"
)

// Stepup is about second factors of the app's own users. It is off while Services is
// empty.
type Stepup struct {
	Services   []gatehouse.ServiceName `yaml:"services" doc:"Services that may ask for a second factor of your users, redeem the result, and remove a person's factors. Default: none."`
	Returns    []string                `yaml:"returns" doc:"Where a person may be sent back to: URLs of your app, exactly, or everything below a path: https://app.example.com/confirmed/*"`
	Name       string                  `yaml:"name" doc:"What people see as who asks, on the page and in their authenticator. Default: the host of public_url."`
	Methods    []string                `yaml:"methods" doc:"What is offered: passkey, totp. Default: both; totp alone where public_url names an address in numbers, for which browsers make no passkeys."`
	Life       time.Duration           `yaml:"life" doc:"How long a person has, from 1m to 1h. Default 15m."`
	SigningKey int                     `yaml:"signing_key" doc:"The version of the key that signs results. Raise it by one to replace the key; what the one before signed stays valid. Default 1."`
}

// stepupMethods are those that can be offered.
var stepupMethods = []string{"passkey", "totp"}

// NoPasskeys reports whether browsers make no passkeys for the public address: its
// host is an address in numbers, or it is plain http elsewhere than on localhost.
func (c *Config) NoPasskeys() bool {
	u, err := url.Parse(c.PublicURL)
	if err != nil {
		return true
	}
	_, err = netip.ParseAddr(u.Hostname())
	return err == nil || u.Scheme != "https" && u.Hostname() != "localhost"
}

// StepupMethods returns what is offered, with the default filled in.
func (c *Config) StepupMethods() []string {
	switch {
	case len(c.Stepup.Methods) > 0:
		return c.Stepup.Methods
	case c.NoPasskeys():
		return []string{"totp"}
	}
	return stepupMethods
}

// StepupName returns what people see as who asks, with the default filled in.
func (c *Config) StepupName() string {
	if c.Stepup.Name != "" {
		return c.Stepup.Name
	}
	u, err := url.Parse(c.PublicURL)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

func (c *Config) validateStepup(d *decoder) {
	s := c.Stepup
	references(d, "stepup.services", "service", s.Services, c.Services)
	for i, r := range s.Returns {
		d.webURL("stepup.returns["+strconv.Itoa(i)+"]", r, true)
	}
	if len(s.Services) > 0 && len(s.Returns) == 0 && !d.failed("stepup.returns") {
		d.failAt("stepup.returns", "is needed: the addresses of your app to which a person comes back")
	}
	for i, m := range s.Methods {
		at := "stepup.methods[" + strconv.Itoa(i) + "]"
		switch {
		case !slices.Contains(stepupMethods, m):
			d.failAt(at, "is none of passkey, totp")
		case slices.Contains(s.Methods[:i], m):
			d.failAt(at, "stands in the list twice")
		case m == "passkey" && c.NoPasskeys():
			d.failAt(at, "browsers make no passkeys for this public_url: it needs a name, and https unless that is localhost")
		}
	}
	if utf8.RuneCountInString(s.Name) > 60 || slices.ContainsFunc([]rune(s.Name), unicode.IsControl) {
		d.failAt("stepup.name", "is at most 60 printable characters")
	}
	if s.Life != 0 && (s.Life < time.Minute || s.Life > time.Hour) {
		d.failAt("stepup.life", "must be from 1m to 1h")
	}
	if s.SigningKey > 1_000_000 {
		d.failAt("stepup.signing_key", "is a version, from 1 to 1000000")
	}
}
