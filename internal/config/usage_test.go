package config_test

import (
	"strings"
	"testing"

	"gatehouse/internal/config"
)

func TestUsage(t *testing.T) {
	for _, test := range []struct{ name, old, new, want string }{
		{"usage", "client_id: id,", "client_id: id, consumer_key: k, consumer_secret: env:S, usage: {app_id: '12345', tolerance: 100},", ""},
		{"usage of no app", "client_id: id,", "client_id: id, consumer_key: k, consumer_secret: env:S, usage: {tolerance: 5},", "apps.ax.usage.app_id: is needed"},
		{"usage of a name", "client_id: id,", "client_id: id, consumer_key: k, consumer_secret: env:S, usage: {app_id: myapp},", "apps.ax.usage.app_id: is needed"},
		{"usage within too much", "client_id: id,", "client_id: id, consumer_key: k, consumer_secret: env:S, usage: {app_id: '12345', tolerance: 101},", "apps.ax.usage.tolerance: must be between"},
		{"usage without a consumer key", "client_id: id,", "client_id: id, usage: {app_id: '12345'},", "apps.ax.consumer_key: is needed beside usage"},
		{"usage of Facebook", "client_id: 1234567890,", "client_id: 1234567890, usage: {app_id: '1'},", "apps.fb.usage: does not apply to platform facebook"},
	} {
		text := strings.Replace(minimal, test.old, test.new, 1)
		_, _, err := config.Parse("/etc/g.yaml", []byte(text), world())
		if text == minimal || (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error = %v\nwant it to contain %q", test.name, err, test.want)
		}
	}
}
