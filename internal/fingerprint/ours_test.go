package fingerprint_test

import (
	"testing"

	"gatehouse"
	"gatehouse/internal/fingerprint"
)

// What somebody claims that is the app's own stops nothing, by itself and as evidence;
// secrets are not concerned, nor is what else the person has.
func TestOurs(t *testing.T) {
	texts := []string{"support@example.com", "+49 30 123456", "event", "https://shop.example/checkout", "123456789012345", "app-secret-0011223344"}
	x, err := fingerprint.New(fingerprint.Config{Key: fingerprint.Key{1, 2, 3}, Ours: texts})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []owned{
		{1, gatehouse.EmailAddress, "Support@Example.com"}, {1, gatehouse.PhoneNumber, "004930123456"}, {1, gatehouse.PersonName, "Event"}, {1, gatehouse.Username, "context"},
		{1, gatehouse.ProfileLink, "http://www.shop.example/checkout/"}, {1, gatehouse.PhoneNumber, "123456789012345"}, {1, gatehouse.EmailAddress, "her@example.com"},
		{0, gatehouse.Credential, "app-secret-0011223344"},
	} {
		p, ok := x.Print(fingerprint.Value{Class: v.class, Text: v.text})
		if !ok {
			t.Fatalf("%q has no fingerprint", v.text)
		}
		x.Add(fingerprint.Entry{Print: p, Owner: v.owner, Class: v.class, Expires: later})
	}
	for text, want := range map[string]string{
		`{"from":"support@example.com","phone":"+4930123456","event":1,"context":{"url":"https://shop.example/checkout","pixel":123456789012345}}`: "",
		"her@example.com, context":    "email[1] username[1]",
		"xsupport@example.com, event": "",
		"app-secret-0011223344":       "secret[]",
	} {
		if got := kinds(search(x, []byte(text), whole)); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	for _, texts := range [][]string{{"ab"}, {"--- ---"}, {"event", "Event"}} {
		if _, err := fingerprint.New(fingerprint.Config{Key: fingerprint.Key{1}, Ours: texts}); err == nil {
			t.Errorf("%q are taken", texts)
		}
	}
}
