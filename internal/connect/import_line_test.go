package connect_test

import (
	"strings"
	"testing"

	"gatehouse/internal/connect"
)

// Each line is read as it says, or refused with the name of the member at fault
// and nothing of what stands in it.
func TestParseImportLine(t *testing.T) {
	l, err := connect.ParseImportLine([]byte(`{"id":"1","app":"main-x","service":"s","subject":"u","person":"9","kind":"user","access_token":"a","refresh_token":"r","scopes":["x"],"purposes":["p"],"expires_at":"2026-01-31T12:00:00Z"}`))
	if err != nil || l.ID != "1" || l.App != "main-x" || l.Service != "s" || l.Subject != "u" || l.PlatformUser != "9" || l.Kind != connect.KindUser ||
		l.Access.Reveal() != "a" || l.Refresh.Reveal() != "r" || len(l.Scopes) != 1 || len(l.Purposes) != 1 || l.Expires.Year() != 2026 {
		t.Errorf("%+v, %v", l, err)
	}
	if l, err = connect.ParseImportLine([]byte(`{"app":"x","kind":"oauth1","token":"a","token_secret":"b"}`)); err != nil || l.Access.Reveal() != "a" || l.Refresh.Reveal() != "b" {
		t.Errorf("%+v, %v", l, err)
	}
	for line, want := range map[string]string{
		``:                         "JSON object",
		`["canary"]`:               "JSON object",
		`{"app":"x"} {"app":"y"}`:  "JSON object",
		"{\"app\":\"canary\xff\"}": "JSON object",
		`{"acess_token":"canary"}`: "acess_token: there is no such member",
		`{"canary canary canary canary canary canary":"x"}`: "name is not known",
		`{"App":"canary"}`:                             "name is not known",
		`{"app":"canary","app":"canary"}`:              "app: it is given twice",
		`{"app":null}`:                                 "app: it must be",
		`{"app":""}`:                                   "app: it must be",
		`{"access_token":["canary"]}`:                  "access_token: it must be a string",
		`{"scopes":"canary"}`:                          "scopes: it must be a list",
		`{"expires_at":"canary"}`:                      "expires_at: it must be a time",
		`{"expires_at":1700000000}`:                    "expires_at: it must be a time",
		`{"expires_at":"0001-01-01T00:00:00Z"}`:        "expires_at: it must be a time",
		`{"token":"canary"}`:                           "token: it does not go with this kind",
		`{"kind":"oauth1","access_token":"canary"}`:    "access_token: it does not go with this kind",
		`{"app":"` + strings.Repeat("c", 65<<10) + `"`: "longer than 64 KiB",
	} {
		_, err := connect.ParseImportLine([]byte(line))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%.60s: %v, want %q", line, err, want)
		}
	}
}

func FuzzParseImportLine(f *testing.F) {
	f.Add([]byte(`{"app":"main-x","subject":"u","access_token":"a"}`))
	f.Add([]byte(`{"app":"main-x","kind":"oauth1","token":"a","token_secret":"b","expires_at":"2026-01-31T12:00:00Z"}`))
	f.Add([]byte(`{"scopes":["a"],"purposes":[],"parent":"1"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		l, err := connect.ParseImportLine(line)
		if err != nil {
			return
		}
		text, err := connect.LineText(l)
		if err != nil {
			t.Fatal(err)
		}
		if l.Kind == "" || l.App == "" || l.ID == "" || l.Service == "" || l.Subject == "" || l.Purposes == nil {
			return // Export never writes such a line
		}
		again, err := connect.ParseImportLine(text)
		if err != nil || !again.Access.Equal(l.Access) || !again.Refresh.Equal(l.Refresh) || again.Subject != l.Subject || !again.Expires.Equal(l.Expires) {
			t.Errorf("%q is written as %q: %v", line, text, err)
		}
	})
}
