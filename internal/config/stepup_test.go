package config_test

import (
	"strings"
	"testing"

	"gatehouse/internal/config"
)

func TestStepupRefusals(t *testing.T) {
	for _, test := range []struct{ name, old, new, want string }{
		{"step-ups", "public_url: http://127.0.0.1:8103", "public_url: http://localhost:8103\nstepup: {services: [web], returns: [\"https://app.example/back\"], name: An app, methods: [totp, passkey], life: 5m, signing_key: 2}", ""},
		{"step-ups of a stranger", "services:", "stepup: {services: [wep], returns: [\"https://app.example/back\"]}\nservices:", "stepup.services[0]: there is no service of this name; did you mean web?"},
		{"step-ups without a way back", "services:", "stepup: {services: [web]}\nservices:", "stepup.returns: is needed"},
		{"step-ups back over http", "services:", "stepup: {returns: [\"http://app.example/back\"]}\nservices:", "stepup.returns[0]: must be https"},
		{"step-ups by text message", "services:", "stepup: {methods: [sms]}\nservices:", "stepup.methods[0]: is none of passkey, totp"},
		{"step-ups one way twice", "services:", "stepup: {methods: [totp, totp]}\nservices:", "stepup.methods[1]: stands in the list twice"},
		{"passkeys for numbers", "public_url: ", "stepup: {methods: [passkey]}\npublic_url: https://192.0.2.1 #", "stepup.methods[0]: browsers make no passkeys"},
		{"a long name for step-ups", "services:", "stepup: {name: \"" + strings.Repeat("n", 61) + "\"}\nservices:", "stepup.name: is at most 60"},
		{"step-ups in a hurry", "services:", "stepup: {life: 59s}\nservices:", "stepup.life: must be from 1m to 1h"},
		{"step-ups all day", "services:", "stepup: {life: 61m}\nservices:", "stepup.life: must be from 1m to 1h"},
		{"a signing key of the future", "services:", "stepup: {signing_key: 1000001}\nservices:", "stepup.signing_key: is a version"},
	} {
		text := strings.Replace(minimal, test.old, test.new, 1)
		_, _, err := config.Parse("/etc/g.yaml", []byte(text), world())
		switch {
		case text == minimal:
			t.Errorf("%s changes nothing", test.name)
		case test.want == "" && err != nil:
			t.Errorf("%s: refused: %v", test.name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

func TestStepupDefaults(t *testing.T) {
	for public, want := range map[string]string{
		"http://127.0.0.1:8103": "totp, as 127.0.0.1", "http://localhost:8103": "passkey totp, as localhost", "https://app.example": "passkey totp, as app.example", "https://[::1]": "totp, as ::1",
	} {
		c, _ := load(t, strings.Replace(minimal, "http://127.0.0.1:8103", public, 1))
		if got := strings.Join(c.StepupMethods(), " ") + ", as " + c.StepupName(); got != want {
			t.Errorf("%s: %s, want %s", public, got, want)
		}
	}
}
